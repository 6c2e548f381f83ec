//! Where a connection really comes from: through sheets, past nodes that only pass on, around bypassed ones.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

use super::convert::Converter;
use super::document::{Link, Mode, Sheet, UiInput, UiNode};
use super::fields;
use super::notice::Lost;
use super::passing::{Passing, passing};

/// Ways of so many links are remembered.
const WORTH: usize = 16;

/// What an input gets.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// An output of a node: its id in the result, and the slot.
    Output(String, usize),
    /// A value that a node around the sheet holds, and where.
    Value(Value, Option<String>),
    /// A value typed into a node that only holds values, and where.
    Typed(Value, String),
    /// Nothing: the input's own field counts. With the node that is to blame, where one is.
    Nothing(Option<(String, Lost)>),
}

/// A link in a frame, and the type that is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct At<'a> {
    frame: usize,
    link: &'a str,
    wanted: &'a str,
}

/// One step along the way.
enum Next<'a> {
    Link(At<'a>),
    End(Source),
}

/// What was worked out already: long chains, and nodes that many connections pass, are walked once.
#[derive(Debug, Default)]
pub(super) struct Ways<'a> {
    known: HashMap<At<'a>, Rc<Source>>,
    sockets: HashMap<*const UiNode<'a>, Rc<Vec<Socket<'a>>>>,
    /// Which socket of a bypassed node passes on a type, given that of the output.
    choices: HashMap<(*const UiNode<'a>, &'a str, &'a str), Option<usize>>,
    named: HashMap<*const UiNode<'a>, Rc<HashMap<&'a str, usize>>>,
    /// By frame, the `SetNode`s by name.
    sets: HashMap<usize, Rc<HashMap<&'a str, &'a UiNode<'a>>>>,
}

impl<'a> Converter<'a> {
    /// What a connected input gets.
    pub(super) fn source(&self, frame: usize, input: &'a UiInput<'a>) -> Source {
        let Some(link) = &input.link else {
            return Source::Nothing(None);
        };
        let wanted = &input.ty;
        let mut at = At {
            frame,
            link,
            wanted,
        };
        let mut way = Vec::new();
        // Who goes round in a circle comes by the last mark again.
        let (mut mark, mut next_mark) = (at, 64);
        let source = loop {
            if let Some(known) = self.memory.borrow().ways.known.get(&at) {
                break Source::clone(known);
            }
            way.push(at);
            at = match self.step(at) {
                Next::Link(next) => next,
                Next::End(source) => break source,
            };
            if at == mark {
                break Source::Nothing(Some((String::new(), Lost::Circle)));
            }
            if way.len() == next_mark {
                (mark, next_mark) = (at, next_mark * 2);
            }
        };
        if way.len() >= WORTH {
            let shared = Rc::new(source.clone());
            let known = way.into_iter().map(|at| (at, Rc::clone(&shared)));
            self.memory.borrow_mut().ways.known.extend(known);
        }
        source
    }

    fn step(&self, at: At<'a>) -> Next<'a> {
        let frame = &self.frames[at.frame];
        let Some(link) = frame.sheet.links.get(at.link) else {
            return Next::End(Source::Nothing(None));
        };
        if link.origin == frame.sheet.input_node && frame.host.is_some() {
            return self.outside(at, link.origin_slot);
        }
        let Some(node) = frame.sheet.nodes.get(&link.origin) else {
            return Next::End(Source::Nothing(Some((link.origin.clone(), Lost::Missing))));
        };
        // Nodes that only exist in the editor take no part in a run, so that muting them changes nothing; and a value is copied out of one
        // before anything else.
        let passes = match self.def(node) {
            None => passing(node),
            Some(_) => None,
        };
        match (node.mode, passes) {
            (Mode::Bypassed, passes) if passes != Some(Passing::Value) => {
                self.bypassed(at, node, link)
            }
            (Mode::Muted, None) => self.output(at.frame, node, link),
            _ => self.through(at, node, link),
        }
    }

    fn output(&self, frame: usize, node: &UiNode<'_>, link: &Link) -> Next<'a> {
        let id = format!("{}{}", self.frames[frame].prefix, node.number);
        Next::End(Source::Output(id, link.origin_slot))
    }

    /// From the inside of a sheet to what its node gets at the input of the same name.
    fn outside(&self, at: At<'a>, slot: usize) -> Next<'a> {
        let Some((outer, _)) = self.frames[at.frame].host else {
            return Next::End(Source::Nothing(None));
        };
        if let Some(link) = self
            .host_input(at.frame, slot)
            .and_then(|input| input.link.as_deref())
            && self.frames[outer].sheet.links.contains_key(link)
        {
            return Next::Link(At {
                frame: outer,
                link,
                ..at
            });
        }
        Next::End(match self.shown(at.frame).get(slot) {
            Some(Some((value, place))) => Source::Value(value.clone(), place.clone()),
            _ => Source::Nothing(None),
        })
    }

    /// The socket of a sheet's node that stands for one of the sheet's inputs.
    pub(super) fn host_input(&self, frame: usize, slot: usize) -> Option<&'a UiInput<'a>> {
        let sheet = self.frames[frame].sheet;
        let (_, host) = self.frames[frame].host?;
        let port = sheet.inputs.get(slot)?;
        if sheet.group.is_some() {
            return host.inputs.get(slot);
        }
        let place = *self.inputs_by_name(host).get(port.name)?;
        host.inputs.get(place)
    }

    /// The places of a node's sockets, by name.
    fn inputs_by_name(&self, node: &'a UiNode<'a>) -> Rc<HashMap<&'a str, usize>> {
        let key: *const UiNode<'a> = node;
        if let Some(known) = self.memory.borrow().ways.named.get(&key) {
            return Rc::clone(known);
        }
        let mut named = HashMap::new();
        for (place, input) in node.inputs.iter().enumerate() {
            named.entry(input.name).or_insert(place);
        }
        let named = Rc::new(named);
        let mut memory = self.memory.borrow_mut();
        memory.ways.named.insert(key, Rc::clone(&named));
        named
    }

    fn through(&self, at: At<'a>, node: &'a UiNode<'a>, link: &Link) -> Next<'a> {
        if let Some(inside) = self.frames[at.frame].inside.get(node.id.as_str()) {
            let sheet = self.frames[*inside].sheet;
            let port = sheet.outputs.get(link.origin_slot);
            let named = port
                .into_iter()
                .flat_map(|port| &port.links)
                .find(|id| sheet.links.contains_key(*id));
            let found = named.or_else(|| sheet.index.to_output.get(&link.origin_slot));
            return match found {
                Some(link) => Next::Link(At {
                    frame: *inside,
                    link,
                    ..at
                }),
                None => Next::End(Source::Nothing(None)),
            };
        }
        if self.def(node).is_some() {
            return self.output(at.frame, node, link);
        }
        let input = |slot: usize| {
            node.inputs
                .get(slot)
                .and_then(|input| input.link.as_deref())
        };
        match passing(node) {
            Some(Passing::SameInput) => follow(at, input(link.origin_slot).or_else(|| input(0))),
            Some(Passing::Value) => Next::End(match node.saved.list.first() {
                None | Some(Value::Null) => Source::Nothing(None),
                Some(value) => {
                    Source::Typed(value.clone(), format!("{}/widgets_values/0", node.pointer))
                }
            }),
            Some(Passing::Gets(name)) => self.set_node(at, name),
            Some(Passing::Nothing) => Next::End(Source::Nothing(None)),
            None => self.output(at.frame, node, link),
        }
    }

    /// What the `SetNode` of this name gets: on the same sheet, else on one around it.
    fn set_node(&self, at: At<'a>, name: &str) -> Next<'a> {
        let mut here = Some(at.frame);
        while let Some(frame) = here {
            if let Some(set) = self.sets(frame).get(name) {
                let link = set.inputs.iter().find_map(|input| input.link.as_deref());
                return follow(At { frame, ..at }, link);
            }
            here = self.frames[frame].host.map(|(outer, _)| outer);
        }
        Next::End(Source::Nothing(Some((name.to_owned(), Lost::Missing))))
    }

    /// The `SetNode`s of a frame, by name.
    fn sets(&self, frame: usize) -> Rc<HashMap<&'a str, &'a UiNode<'a>>> {
        if let Some(known) = self.memory.borrow().ways.sets.get(&frame) {
            return Rc::clone(known);
        }
        let sheet: &'a Sheet<'a> = self.frames[frame].sheet;
        let mut sets = HashMap::new();
        for node in sheet.nodes.values().filter(|node| node.class == "SetNode") {
            if let Some(name) = node.saved.list.first().and_then(Value::as_str) {
                sets.entry(name).or_insert(node);
            }
        }
        let sets = Rc::new(sets);
        let mut memory = self.memory.borrow_mut();
        memory.ways.sets.insert(frame, Rc::clone(&sets));
        sets
    }

    /// What a bypassed node passes on at an output. From there on what that input takes is wanted.
    fn bypassed(&self, at: At<'a>, node: &'a UiNode<'a>, link: &Link) -> Next<'a> {
        let sockets = self.sockets(node);
        let given = node
            .outputs
            .get(link.origin_slot)
            .map_or("*", String::as_str);
        let chosen = self.choice(node, &sockets, link.origin_slot, (given, at.wanted));
        let chosen = chosen.and_then(|place| sockets.get(place));
        match chosen.and_then(|socket| Some((socket.ty, socket.link?))) {
            Some((wanted, link)) => Next::Link(At { link, wanted, ..at }),
            None => Next::End(Source::Nothing(Some((
                node.title.unwrap_or(node.class).to_owned(),
                Lost::Bypassed,
            )))),
        }
    }

    /// The socket that a bypassed node passes on at an output of type `given`, where `wanted` is wanted.
    fn choice(
        &self,
        node: &'a UiNode<'a>,
        sockets: &[Socket<'a>],
        slot: usize,
        (given, wanted): (&'a str, &'a str),
    ) -> Option<usize> {
        if is_any(wanted) {
            return Some(if slot < sockets.len() { slot } else { 0 });
        }
        let suits = |socket: &Socket<'_>| fits(socket.ty, given) && fits(socket.ty, wanted);
        if sockets.get(slot).is_some_and(suits) {
            return Some(slot);
        }
        let key = (std::ptr::from_ref(node), given, wanted);
        if let Some(known) = self.memory.borrow().ways.choices.get(&key) {
            return *known;
        }
        let equal = |socket: &Socket<'_>| socket.ty.eq_ignore_ascii_case(wanted);
        let chosen = sockets.iter().position(equal);
        let chosen = chosen.or_else(|| sockets.iter().position(suits));
        let mut memory = self.memory.borrow_mut();
        memory.ways.choices.insert(key, chosen);
        chosen
    }

    /// The sockets of a node as the editor shows them: those that are only sockets, those of fields, and what else was saved.
    fn sockets(&self, node: &'a UiNode<'a>) -> Rc<Vec<Socket<'a>>> {
        let key: *const UiNode<'a> = node;
        if let Some(known) = self.memory.borrow().ways.sockets.get(&key) {
            return Rc::clone(known);
        }
        let by_name = self.inputs_by_name(node);
        let mut sockets: Vec<Socket<'a>> = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        if let Some(def) = self.def(node) {
            for with_field in [false, true] {
                for input in &def.inputs {
                    let many = matches!(input.ty, crate::catalog::InputType::Autogrow(_));
                    if many || fields::has_field(input) != with_field {
                        continue;
                    }
                    seen.insert(&input.name);
                    let saved = by_name.get(input.name.as_str());
                    let saved = saved.and_then(|place| node.inputs.get(*place));
                    sockets.push(Socket {
                        ty: saved.map_or_else(|| socket_type(input), |input| input.ty.as_str()),
                        link: saved.and_then(|input| input.link.as_deref()),
                    });
                }
            }
        }
        let others = node.inputs.iter();
        let others = others.filter(|input| !seen.contains(input.name));
        sockets.extend(others.map(|input| Socket {
            ty: input.ty.as_str(),
            link: input.link.as_deref(),
        }));
        let sockets = Rc::new(sockets);
        let mut memory = self.memory.borrow_mut();
        memory.ways.sockets.insert(key, Rc::clone(&sockets));
        sockets
    }
}

/// Goes on along a link, if there is one.
fn follow<'a>(at: At<'a>, link: Option<&'a str>) -> Next<'a> {
    match link {
        Some(link) => Next::Link(At { link, ..at }),
        None => Next::End(Source::Nothing(None)),
    }
}

#[derive(Debug)]
struct Socket<'a> {
    ty: &'a str,
    link: Option<&'a str>,
}

fn socket_type(def: &crate::catalog::InputDef) -> &str {
    match &def.ty {
        crate::catalog::InputType::MatchType { allowed, .. } => allowed,
        _ => def.type_name(),
    }
}

fn is_any(ty: &str) -> bool {
    ty == "*" || ty.is_empty() || ty == "0"
}

/// Whether two types, each perhaps several with commas, have one in common.
fn fits(one: &str, other: &str) -> bool {
    is_any(one)
        || is_any(other)
        || one.split(',').any(|a| {
            let mut others = other.split(',');
            others.any(|b| a.trim().eq_ignore_ascii_case(b.trim()))
        })
}
