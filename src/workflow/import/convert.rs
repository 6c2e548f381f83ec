//! The conversion itself: every node that runs, with what its fields hold and what it is connected to.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::choices;
use super::document::{Document, Mode, UiInput, UiNode};
use super::fields::{self, Field};
use super::frames::{self, Frame};
use super::notice::{Lost, Notice, What};
use super::passing::{is_everywhere, passing};
use super::prefix::{Names, is_filled};
use super::resolve::{Source, Ways};
use super::shown::{Overrides, Shown, Target};
use crate::base::NodeId;
use crate::catalog::{Catalog, InputDef, NodeDef};
use crate::workflow::{Graph, Node};

/// What a file in the editor's format says.
#[derive(Debug, Default)]
pub struct Imported {
    /// The graph.
    pub graph: Graph,
    /// Where everything in it comes from.
    pub places: Places,
    /// What is to be said about the conversion.
    pub notices: Vec<Notice>,
    /// Nodes whose class the server does not have.
    pub unknown: HashSet<NodeId>,
}

/// Places in the file of the editor's, as JSON pointers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Places {
    nodes: BTreeMap<String, String>,
    inputs: BTreeMap<String, BTreeMap<String, String>>,
}

impl Places {
    /// Where a node stands, or what an input of it comes from.
    pub fn of(&self, node: &str, input: Option<&str>) -> Option<&str> {
        let place = input.and_then(|input| self.inputs.get(node)?.get(input));
        place.or_else(|| self.nodes.get(node)).map(String::as_str)
    }

    /// Moves all places below a member of a bigger file.
    pub(super) fn below(&mut self, pointer: &str) {
        let inputs = self.inputs.values_mut().flat_map(BTreeMap::values_mut);
        for place in self.nodes.values_mut().chain(inputs) {
            place.insert_str(0, pointer);
        }
    }
}

/// Converts a parsed file that has `nodes`.
pub(super) fn convert(file: &Value, catalog: &Catalog, seed: u64) -> Imported {
    let document = Document::read(file);
    let mut imported = Imported::default();
    for (pointer, reason) in &document.broken {
        let notice = Notice::at(pointer, What::NoNode(reason));
        imported.notices.push(notice);
    }
    let frames = match frames::open(&document) {
        Ok(frames) => frames,
        Err(notice) => {
            imported.notices.push(*notice);
            return imported;
        }
    };
    let converter = Converter {
        document: &document,
        catalog,
        frames,
        seed,
        memory: RefCell::default(),
    };
    converter.sheet(0, &mut imported);
    converter.sweep(&mut imported);
    if imported.graph.nodes.is_empty() && imported.notices.iter().all(|n| !n.what.is_error()) {
        imported.notices.push(Notice::at("", What::Empty));
    }
    imported
}

/// What was worked out already.
#[derive(Debug, Default)]
pub(super) struct Memory<'a> {
    pub(super) shown: HashMap<usize, Rc<Vec<Shown>>>,
    pub(super) targets: HashMap<(usize, usize), Option<Target<'a>>>,
    pub(super) overrides: HashMap<usize, Rc<Overrides>>,
    pub(super) ways: Ways<'a>,
    fields: HashMap<*const UiNode<'a>, Rc<Own<'a>>>,
    /// Connections that a pack adds without drawing them, by target node and input slot.
    added: Option<Rc<Added<'a>>>,
    pub(super) by_name: Option<Rc<Names<'a>>>,
    /// What people call nodes, by their ids in the result.
    names: Option<Rc<HashMap<String, &'a str>>>,
}

/// The origin node and its output slot, by target node and input slot.
type Added<'a> = HashMap<(&'a str, usize), (&'a str, usize)>;

/// A node's fields by its own account, and their places by name.
#[derive(Debug, Default)]
struct Own<'a> {
    fields: Vec<Field<'a>>,
    by_name: HashMap<String, usize>,
}

pub(super) struct Converter<'a> {
    pub(super) document: &'a Document<'a>,
    catalog: &'a Catalog,
    pub(super) frames: Vec<Frame<'a>>,
    seed: u64,
    pub(super) memory: RefCell<Memory<'a>>,
}

impl<'a> Converter<'a> {
    pub(super) fn def(&self, node: &UiNode<'_>) -> Option<&'a NodeDef> {
        self.catalog.node(node.class)
    }

    fn own(&self, node: &'a UiNode<'a>) -> Rc<Own<'a>> {
        let key: *const UiNode<'a> = node;
        if let Some(known) = self.memory.borrow().fields.get(&key) {
            return Rc::clone(known);
        }
        let fields = match self.def(node) {
            Some(def) => fields::fields(node, def),
            None => fields::unnamed(node),
        };
        let mut by_name = HashMap::new();
        for (place, field) in fields.iter().enumerate() {
            by_name.entry(field.name.clone()).or_insert(place);
        }
        let own = Rc::new(Own { fields, by_name });
        let mut memory = self.memory.borrow_mut();
        memory.fields.insert(key, Rc::clone(&own));
        own
    }

    /// A node's fields by its own account.
    pub(super) fn own_fields(&self, node: &'a UiNode<'a>) -> Vec<Field<'a>> {
        self.own(node).fields.clone()
    }

    /// A node's fields with what the node around its sheet says of them, places whole.
    pub(super) fn fields(&self, frame: usize, node: &'a UiNode<'a>) -> Vec<Field<'a>> {
        let mut fields = self.own_fields(node);
        let overrides = self.overrides(frame);
        for field in &mut fields {
            over(field, node, &overrides);
        }
        fields
    }

    /// What one of these fields holds, and where.
    pub(super) fn field(&self, frame: usize, node: &'a UiNode<'a>, name: &str) -> Shown {
        let own = self.own(node);
        let place = *own.by_name.get(name)?;
        let mut field = own.fields.get(place)?.clone();
        over(&mut field, node, &self.overrides(frame));
        Some((field.value?, field.place))
    }

    fn sheet(&self, frame: usize, imported: &mut Imported) {
        let here = &self.frames[frame];
        for node in here.sheet.nodes.values() {
            let notice = |what| Notice::at(&node.pointer, what).of(node, &here.prefix);
            let known = self.def(node).is_some();
            let only_drawn = !known && passing(node).is_some();
            match node.mode {
                Mode::Muted if !only_drawn => imported.notices.push(notice(What::Muted)),
                Mode::Bypassed if !only_drawn => imported.notices.push(notice(What::Bypassed)),
                Mode::Runs if !only_drawn && !here.inside.contains_key(node.id.as_str()) => {
                    self.node(frame, node, imported);
                }
                _ => {}
            }
            if let Some(inside) = here.inside.get(node.id.as_str()) {
                self.sheet(*inside, imported);
            }
        }
    }

    fn node(&self, frame: usize, node: &'a UiNode<'a>, imported: &mut Imported) {
        let here = &self.frames[frame];
        let id = NodeId(format!("{}{}", here.prefix, node.number));
        let notice = |what| Notice::at(&node.pointer, what).of(node, &here.prefix);
        let def = self.def(node);
        if def.is_none() {
            if node.class.starts_with("workflow>") || node.class.starts_with("workflow/") {
                imported.notices.push(notice(What::NoGroup));
                return;
            }
            if is_everywhere(node.class) {
                return;
            }
            if !self.is_connected(frame, node) {
                imported.notices.push(notice(What::NotConnected));
                return;
            }
            imported.notices.push(notice(What::UnknownClass));
            imported.unknown.insert(id.clone());
        }
        let mut inputs = Map::new();
        let mut places = BTreeMap::new();
        for field in self.fields(frame, node) {
            let Some(value) = field.value else { continue };
            let value = match field.def {
                Some(def) => self.drawn(value, def, &id, imported, || {
                    (node, field.place.clone().unwrap_or_default())
                }),
                None => value,
            };
            let place = field.place.as_ref().unwrap_or(&node.pointer);
            let value = match value {
                Value::String(text) if is_filled(node.class, &field.name) => {
                    let (text, left) = self.filled(&text);
                    let left = left.into_iter().map(What::NotFilled);
                    let told = left.map(|what| Notice::at(place, what).of(node, &here.prefix));
                    imported.notices.extend(told);
                    Value::String(text)
                }
                value => value,
            };
            if let Some(place) = field.place {
                places.insert(field.name.clone(), place);
            }
            inputs.insert(field.name, wrapped(value));
        }
        self.connections(frame, node, &id, imported, &mut inputs, &mut places);
        let meta = meta(node, def);
        imported
            .places
            .nodes
            .insert(id.0.clone(), format!("{}/type", node.pointer));
        imported.places.inputs.insert(id.0.clone(), places);
        let node = Node {
            class_type: node.class.to_owned(),
            inputs,
            meta,
        };
        imported.graph.nodes.insert(id, node.into());
    }

    fn is_connected(&self, frame: usize, node: &UiNode<'_>) -> bool {
        let origins = &self.frames[frame].sheet.index.origins;
        node.inputs.iter().any(|input| input.link.is_some()) || origins.contains(&node.id)
    }

    fn connections(
        &self,
        frame: usize,
        node: &'a UiNode<'a>,
        id: &NodeId,
        imported: &mut Imported,
        inputs: &mut Map<String, Value>,
        places: &mut BTreeMap<String, String>,
    ) {
        for (slot, input) in node.inputs.iter().enumerate() {
            let source = match self.added(frame, node, slot, input) {
                Some(added) => added,
                None => self.source(frame, input),
            };
            let pointer = format!("{}/inputs/{slot}/name", node.pointer);
            match source {
                Source::Output(origin, slot) => {
                    places.insert(input.name.to_owned(), pointer);
                    inputs.insert(input.name.to_owned(), json!([origin, slot]));
                }
                Source::Value(value, place) => {
                    places.insert(input.name.to_owned(), place.unwrap_or(pointer));
                    inputs.insert(input.name.to_owned(), wrapped(value));
                }
                Source::Typed(value, place) => {
                    let def = self.def(node).and_then(|def| def.input(input.name));
                    let value = match def {
                        Some(def) => self.drawn(value, def, id, imported, || (node, place.clone())),
                        None => value,
                    };
                    places.insert(input.name.to_owned(), place);
                    inputs.insert(input.name.to_owned(), wrapped(value));
                }
                Source::Nothing(Some((source, why))) if !inputs.contains_key(input.name) => {
                    let what = What::InputLost {
                        input: input.name.to_owned(),
                        source,
                        why,
                    };
                    let prefix = &self.frames[frame].prefix;
                    imported
                        .notices
                        .push(Notice::at(&pointer, what).of(node, prefix));
                }
                Source::Nothing(_) => {}
            }
        }
    }

    /// A connection that a pack adds without drawing it.
    fn added(
        &self,
        frame: usize,
        node: &UiNode<'_>,
        slot: usize,
        input: &UiInput<'_>,
    ) -> Option<Source> {
        if frame != 0 || input.link.is_some() {
            return None;
        }
        let added = self.all_added();
        let (origin, origin_slot) = added.get(&(node.id.as_str(), slot))?;
        let origin = self.frames[0].sheet.nodes.get(*origin)?;
        (origin.mode == Mode::Runs && self.def(origin).is_some())
            .then(|| Source::Output(origin.number.clone(), *origin_slot))
    }

    /// All connections that a pack adds, where a node of its takes part.
    fn all_added(&self) -> Rc<Added<'a>> {
        if let Some(known) = &self.memory.borrow().added {
            return Rc::clone(known);
        }
        let document: &'a Document<'a> = self.document;
        let mut nodes = document.root.nodes.values();
        let takes_part = nodes.any(|node| is_everywhere(node.class) && node.mode == Mode::Runs);
        let mut added = Added::new();
        for (to, to_slot, from, from_slot) in document.everywhere.iter().filter(|_| takes_part) {
            let input = added.entry((to.as_str(), *to_slot));
            input.or_insert((from.as_str(), *from_slot));
        }
        let added = Rc::new(added);
        self.memory.borrow_mut().added = Some(Rc::clone(&added));
        added
    }

    /// A text as it is sent, where the editor draws choices inside it.
    fn drawn(
        &self,
        value: Value,
        def: &InputDef,
        id: &NodeId,
        imported: &mut Imported,
        place: impl Fn() -> (&'a UiNode<'a>, String),
    ) -> Value {
        let Value::String(text) = &value else {
            return value;
        };
        if !def.field.choices {
            return value;
        }
        let mut count = 0_u32;
        let (sent, chosen) = choices::draw(text, &mut |many| {
            count += 1;
            pick(self.seed, id.as_str(), &def.name, count, many)
        });
        if chosen {
            let (node, pointer) = place();
            let pointer = if pointer.is_empty() {
                node.pointer.clone()
            } else {
                pointer
            };
            let mut notice = Notice::at(&pointer, What::Drawn(sent.clone())).of(node, "");
            notice.node = Some(id.0.clone());
            imported.notices.push(notice);
        }
        Value::String(sent)
    }

    /// Takes out links to nodes that are not there.
    fn sweep(&self, imported: &mut Imported) {
        let ids: HashSet<String> = imported.graph.nodes.keys().map(|id| id.0.clone()).collect();
        for (id, node) in &mut imported.graph.nodes {
            let lost: Vec<(String, String)> = node
                .inputs
                .iter()
                .filter_map(|(name, value)| {
                    let (origin, _) = crate::workflow::is_link(value)?;
                    (!ids.contains(origin)).then(|| (name.clone(), origin.to_owned()))
                })
                .collect();
            for (input, origin) in lost {
                node.inputs.shift_remove(&input);
                let source = self.called(&origin);
                let pointer = imported
                    .places
                    .of(id.as_str(), Some(&input))
                    .unwrap_or_default();
                let what = What::InputLost {
                    input,
                    source,
                    why: Lost::Muted,
                };
                let mut notice = Notice::at(pointer, what);
                notice.node = Some(id.0.clone());
                notice.class = Some(node.class_type.clone());
                notice.title = node.title().map(str::to_owned);
                imported.notices.push(notice);
            }
        }
    }

    /// What people call the node of an id.
    fn called(&self, id: &str) -> String {
        self.names().get(id).copied().unwrap_or(id).to_owned()
    }

    fn names(&self) -> Rc<HashMap<String, &'a str>> {
        if let Some(known) = &self.memory.borrow().names {
            return Rc::clone(known);
        }
        let mut names = HashMap::new();
        for frame in &self.frames {
            for node in frame.sheet.nodes.values() {
                let id = format!("{}{}", frame.prefix, node.number);
                names.entry(id).or_insert(node.title.unwrap_or(node.class));
            }
        }
        let names = Rc::new(names);
        self.memory.borrow_mut().names = Some(Rc::clone(&names));
        names
    }
}

/// What the node around a sheet says of a field, and the field's place in the file.
fn over(field: &mut Field<'_>, node: &UiNode<'_>, overrides: &Overrides) {
    let said = (!overrides.is_empty()).then(|| (node.id.clone(), field.name.clone()));
    if let Some((value, place)) = said.and_then(|key| overrides.get(&key)) {
        field.value = Some(value.clone());
        field.place = Some(place.clone());
    } else {
        let place = field.place.as_ref();
        field.place = place.map(|place| format!("{}{place}", node.pointer));
    }
}

/// The title that people gave a node, else what the editor shows.
fn meta(node: &UiNode<'_>, def: Option<&NodeDef>) -> Map<String, Value> {
    let shown = |def: &NodeDef| def.display_name.clone().unwrap_or_else(|| def.name.clone());
    let title = node.title.map(str::to_owned).or_else(|| def.map(shown));
    let titled = title.map(|title| ("title".to_owned(), Value::String(title)));
    titled.into_iter().collect()
}

/// A list is wrapped, so that the server does not take it for a link.
fn wrapped(value: Value) -> Value {
    if value.is_array() {
        json!({ "__value__": value })
    } else {
        value
    }
}

/// A number below `many` that hangs on nothing but these.
fn pick(seed: u64, node: &str, input: &str, count: u32, many: usize) -> usize {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(node.as_bytes());
    hasher.update(&[0]);
    hasher.update(input.as_bytes());
    hasher.update(&count.to_le_bytes());
    let hash = hasher.finalize();
    let mut bytes = [0_u8; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    let drawn = u64::from_le_bytes(bytes) % many.max(1) as u64;
    usize::try_from(drawn).unwrap_or(0)
}
