//! Where a connection really comes from: through sheets, past nodes that only pass on, around bypassed ones.

use serde_json::Value;

use super::convert::Converter;
use super::document::{Link, Mode, UiInput, UiNode};
use super::fields;
use super::notice::Lost;
use super::passing::{Passing, passing};

/// A chain with more links than this is a circle.
const LONGEST: usize = 4096;

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

/// A socket of a node in a frame.
#[derive(Clone, Copy)]
struct At<'a> {
    frame: usize,
    link: &'a str,
}

/// One step along the way.
enum Next<'a> {
    Link(At<'a>),
    End(Source),
}

impl<'a> Converter<'a> {
    /// What a connected input gets.
    pub(super) fn source(&self, frame: usize, input: &'a UiInput<'a>) -> Source {
        let Some(link) = &input.link else {
            return Source::Nothing(None);
        };
        let mut at = At { frame, link };
        for _ in 0..LONGEST {
            match self.step(at, &input.ty) {
                Next::Link(next) => at = next,
                Next::End(source) => return source,
            }
        }
        Source::Nothing(Some((String::new(), Lost::Circle)))
    }

    fn step(&self, at: At<'a>, wanted: &str) -> Next<'a> {
        let frame = &self.frames[at.frame];
        let Some(link) = frame.sheet.links.get(at.link) else {
            return Next::End(Source::Nothing(None));
        };
        if link.origin == frame.sheet.input_node && frame.host.is_some() {
            return self.outside(at.frame, link.origin_slot);
        }
        let Some(node) = frame.sheet.nodes.get(&link.origin) else {
            return Next::End(Source::Nothing(Some((link.origin.clone(), Lost::Missing))));
        };
        match node.mode {
            Mode::Muted => self.output(at.frame, node, link),
            Mode::Bypassed => self.bypassed(at.frame, node, link, wanted),
            Mode::Runs => self.through(at.frame, node, link),
        }
    }

    fn output(&self, frame: usize, node: &UiNode<'_>, link: &Link) -> Next<'a> {
        let id = format!("{}{}", self.frames[frame].prefix, node.number);
        Next::End(Source::Output(id, link.origin_slot))
    }

    /// From the inside of a sheet to what its node gets at the input of the same name.
    fn outside(&self, frame: usize, slot: usize) -> Next<'a> {
        let Some((outer, _)) = self.frames[frame].host else {
            return Next::End(Source::Nothing(None));
        };
        if let Some(link) = self
            .host_input(frame, slot)
            .and_then(|input| input.link.as_deref())
            && self.frames[outer].sheet.links.contains_key(link)
        {
            return Next::Link(At { frame: outer, link });
        }
        Next::End(match self.shown(frame).get(slot) {
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
        host.inputs.iter().find(|input| input.name == port.name)
    }

    fn through(&self, frame: usize, node: &'a UiNode<'a>, link: &Link) -> Next<'a> {
        if let Some(inside) = self.frames[frame].inside.get(node.id.as_str()) {
            let sheet = self.frames[*inside].sheet;
            let port = sheet.outputs.get(link.origin_slot);
            let named = port
                .into_iter()
                .flat_map(|port| &port.links)
                .find(|id| sheet.links.contains_key(*id));
            let found = named.map(String::as_str).or_else(|| {
                let ends_here = |inner: &Link| {
                    inner.target == sheet.output_node && inner.target_slot == link.origin_slot
                };
                let mut all = sheet.links.iter();
                all.find(|(_, inner)| ends_here(inner))
                    .map(|(id, _)| id.as_str())
            });
            return match found {
                Some(link) => Next::Link(At {
                    frame: *inside,
                    link,
                }),
                None => Next::End(Source::Nothing(None)),
            };
        }
        if self.def(node).is_some() {
            return self.output(frame, node, link);
        }
        let input = |slot: usize| {
            node.inputs
                .get(slot)
                .and_then(|input| input.link.as_deref())
        };
        match passing(node) {
            Some(Passing::SameInput) => follow(frame, input(link.origin_slot).or_else(|| input(0))),
            Some(Passing::Value) => Next::End(match node.saved.list.first() {
                None | Some(Value::Null) => Source::Nothing(None),
                Some(value) => {
                    Source::Typed(value.clone(), format!("{}/widgets_values/0", node.pointer))
                }
            }),
            Some(Passing::Gets(name)) => self.set_node(frame, name),
            Some(Passing::Nothing) => Next::End(Source::Nothing(None)),
            None => self.output(frame, node, link),
        }
    }

    /// What the `SetNode` of this name gets: on the same sheet, else on one around it.
    fn set_node(&self, frame: usize, name: &str) -> Next<'a> {
        let mut at = Some(frame);
        while let Some(here) = at {
            let frame = &self.frames[here];
            let set = frame.sheet.nodes.values().find(|node| {
                matches!(passing(node), Some(Passing::SameInput))
                    && node.class == "SetNode"
                    && node.saved.list.first().and_then(Value::as_str) == Some(name)
            });
            if let Some(set) = set {
                let link = set.inputs.iter().find_map(|input| input.link.as_deref());
                return follow(here, link);
            }
            at = frame.host.map(|(outer, _)| outer);
        }
        Next::End(Source::Nothing(Some((name.to_owned(), Lost::Missing))))
    }

    /// What a bypassed node passes on at an output.
    fn bypassed(&self, frame: usize, node: &'a UiNode<'a>, link: &Link, wanted: &str) -> Next<'a> {
        let sockets = self.sockets(node);
        let slot = link.origin_slot;
        let given = node.outputs.get(slot).map_or("*", String::as_str);
        let same = sockets.get(slot);
        let chosen = if is_any(wanted) {
            same.or(sockets.first())
        } else {
            same.filter(|socket| fits(&socket.ty, given) && fits(&socket.ty, wanted))
                .or_else(|| {
                    sockets
                        .iter()
                        .find(|socket| socket.ty.eq_ignore_ascii_case(wanted))
                })
                .or_else(|| sockets.iter().find(|socket| fits(&socket.ty, wanted)))
        };
        match chosen.and_then(|socket| socket.link) {
            Some(link) => Next::Link(At { frame, link }),
            None => Next::End(Source::Nothing(Some((
                node.title.unwrap_or(node.class).to_owned(),
                Lost::Bypassed,
            )))),
        }
    }

    /// The sockets of a node as the editor shows them: those that are only sockets, those of fields, and what else was saved.
    fn sockets(&self, node: &'a UiNode<'a>) -> Vec<Socket<'a>> {
        let saved = |name: &str| node.inputs.iter().find(|input| input.name == name);
        let mut sockets: Vec<Socket<'a>> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        if let Some(def) = self.def(node) {
            for with_field in [false, true] {
                for input in &def.inputs {
                    let many = matches!(input.ty, crate::catalog::InputType::Autogrow(_));
                    if many || fields::has_field(input) != with_field {
                        continue;
                    }
                    seen.push(&input.name);
                    let saved = saved(&input.name);
                    sockets.push(Socket {
                        ty: saved.map_or_else(|| socket_type(input), |input| input.ty.clone()),
                        link: saved.and_then(|input| input.link.as_deref()),
                    });
                }
            }
        }
        for input in &node.inputs {
            if !seen.contains(&input.name) {
                sockets.push(Socket {
                    ty: input.ty.clone(),
                    link: input.link.as_deref(),
                });
            }
        }
        sockets
    }
}

/// Goes on along a link, if there is one.
fn follow(frame: usize, link: Option<&str>) -> Next<'_> {
    match link {
        Some(link) => Next::Link(At { frame, link }),
        None => Next::End(Source::Nothing(None)),
    }
}

struct Socket<'a> {
    ty: String,
    link: Option<&'a str>,
}

fn socket_type(def: &crate::catalog::InputDef) -> String {
    match &def.ty {
        crate::catalog::InputType::MatchType { allowed, .. } => allowed.clone(),
        _ => def.type_name().to_owned(),
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
