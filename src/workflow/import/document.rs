//! The editor's file as it stands: sheets of nodes and links, in both of its versions, read as tolerantly as the editor reads them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use serde_json::{Map, Value};

/// Definitions may stand inside definitions; deeper than this is no file of the editor's.
const DEEPEST: usize = 16;

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct Document<'a> {
    /// The sheet that is shown first.
    pub(super) root: Sheet<'a>,
    /// Sheets that stand behind nodes, by the class of those nodes.
    pub(super) parts: HashMap<&'a str, Sheet<'a>>,
    /// Places of what is no node, and what it is instead.
    pub(super) broken: Vec<(String, &'static str)>,
    /// Connections that a pack adds without drawing them: target node and input slot, origin node and output slot.
    pub(super) everywhere: Vec<(String, usize, String, usize)>,
}

/// Nodes and how they are connected.
#[derive(Debug, Default)]
pub(super) struct Sheet<'a> {
    /// What people call it.
    pub(super) name: &'a str,
    /// Nodes by id, in file order.
    pub(super) nodes: IndexMap<String, UiNode<'a>>,
    /// Links by id.
    pub(super) links: HashMap<String, Link>,
    /// What comes in from the node that stands for the sheet.
    pub(super) inputs: Vec<Port<'a>>,
    /// What goes out to it.
    pub(super) outputs: Vec<Port<'a>>,
    /// The id that links from outside start at.
    pub(super) input_node: String,
    /// The id that links to outside end at.
    pub(super) output_node: String,
    /// An old group: its inputs are counted, not named, and every field inside it shows on the group.
    pub(super) group: Option<&'a Map<String, Value>>,
    /// Where its nodes stand, as a JSON pointer.
    pub(super) pointer: String,
    /// What is looked for again and again.
    pub(super) index: Index<'a>,
}

/// A sheet's links and inputs, as they are looked for.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    /// Links from each of the sheet's inputs, in the order in which they were drawn.
    pub(super) from_input: HashMap<usize, Vec<String>>,
    /// The first link to each of its outputs.
    pub(super) to_output: HashMap<usize, String>,
    /// Nodes at which a link starts.
    pub(super) origins: HashSet<String>,
    /// The places of its inputs, by name.
    pub(super) inputs: HashMap<&'a str, usize>,
}

impl<'a> Index<'a> {
    fn of(sheet: &Sheet<'a>) -> Self {
        let mut index = Self::default();
        let mut links: Vec<(&String, &Link)> = sheet.links.iter().collect();
        // By number, where they are numbers.
        links.sort_by_key(|(id, _)| (id.len(), *id));
        for (id, link) in links {
            if link.origin == sheet.input_node {
                let from = index.from_input.entry(link.origin_slot).or_default();
                from.push(id.clone());
            }
            if link.target == sheet.output_node {
                let to = index.to_output.entry(link.target_slot);
                to.or_insert_with(|| id.clone());
            }
            index.origins.insert(link.origin.clone());
        }
        for (place, port) in sheet.inputs.iter().enumerate() {
            index.inputs.entry(port.name).or_insert(place);
        }
        index
    }
}

/// An input or output of a sheet.
#[derive(Debug)]
pub(super) struct Port<'a> {
    /// Its name, which links the node outside with it.
    pub(super) name: &'a str,
    /// Its links inside, in order.
    pub(super) links: Vec<String>,
}

/// A node as it was drawn.
#[derive(Debug)]
pub(super) struct UiNode<'a> {
    /// Its id within the sheet.
    pub(super) id: String,
    /// Its id in the result, before the ids of the nodes around it are put in front.
    pub(super) number: String,
    /// Its class.
    pub(super) class: &'a str,
    /// The title that people gave it.
    pub(super) title: Option<&'a str>,
    /// How it takes part.
    pub(super) mode: Mode,
    /// Sockets that were saved. Fields without a connection may be missing.
    pub(super) inputs: Vec<UiInput<'a>>,
    /// Types of its outputs.
    pub(super) outputs: Vec<String>,
    /// What its fields held.
    pub(super) saved: Saved<'a>,
    /// Whatever else packs keep.
    pub(super) properties: Option<&'a Map<String, Value>>,
    /// Where it stands, as a JSON pointer.
    pub(super) pointer: String,
}

/// How a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It runs.
    Runs,
    /// It is as if it were not there.
    Muted,
    /// What it gets is passed on.
    Bypassed,
}

/// A socket.
#[derive(Debug)]
pub(super) struct UiInput<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its type; several with commas.
    pub(super) ty: String,
    /// The link that ends in it.
    pub(super) link: Option<String>,
    /// The field that it is a socket of.
    pub(super) field: Option<&'a str>,
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The node it starts at.
    pub(super) origin: String,
    /// Which of its outputs.
    pub(super) origin_slot: usize,
    /// The node it ends at.
    pub(super) target: String,
    /// Which of its inputs.
    pub(super) target_slot: usize,
}

/// The values of a node's fields, as they were saved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved<'a> {
    /// In the order of the fields.
    pub(super) list: &'a [Value],
    /// By name, as some packs keep them.
    pub(super) map: Option<&'a Map<String, Value>>,
    /// By name, as newer editors write beside the list.
    pub(super) named: Option<&'a Map<String, Value>>,
}

impl<'a> Document<'a> {
    /// Reads a file that has `nodes`.
    pub(super) fn read(file: &'a Value) -> Self {
        let mut document = Self::default();
        document.root = sheet(file, String::new(), &mut document.broken);
        let mut order = Vec::new();
        document.parts(file, "", 0, &mut order);
        document.renumber(file, &order);
        document.groups(file);
        document.everywhere(file);
        document.root.index = Index::of(&document.root);
        for part in document.parts.values_mut() {
            part.index = Index::of(part);
        }
        document
    }

    fn parts(&mut self, holder: &'a Value, pointer: &str, depth: usize, order: &mut Vec<&'a str>) {
        let parts = holder.pointer("/definitions/subgraphs");
        for (at, part) in list(parts).iter().enumerate() {
            let Some(id) = part.get("id").and_then(Value::as_str) else {
                continue;
            };
            let pointer = format!("{pointer}/definitions/subgraphs/{at}");
            let mut sheet = sheet(part, pointer.clone(), &mut self.broken);
            sheet.name = part.get("name").and_then(Value::as_str).unwrap_or(id);
            sheet.inputs = list(part.get("inputs")).iter().map(port).collect();
            sheet.outputs = list(part.get("outputs")).iter().map(port).collect();
            let end = |name: &str, usual: &str| {
                let id = part.get(name).and_then(|node| node.get("id"));
                id.and_then(word).unwrap_or_else(|| usual.to_owned())
            };
            sheet.input_node = end("inputNode", "-10");
            sheet.output_node = end("outputNode", "-20");
            if let Entry::Vacant(place) = self.parts.entry(id) {
                place.insert(sheet);
                order.push(id);
            }
            if depth < DEEPEST {
                self.parts(part, &pointer, depth + 1, order);
            }
        }
    }

    /// The editor gives each node of a whole file a number of its own: of several with the same one, those on the first sheet keep it.
    fn renumber(&mut self, file: &Value, order: &[&'a str]) {
        let mut used: HashSet<u64> = numbers(&self.root).collect();
        let last = file
            .get("last_node_id")
            .or_else(|| file.pointer("/state/lastNodeId"))
            .and_then(Value::as_u64);
        let mut last = last.or_else(|| used.iter().max().copied()).unwrap_or(0);
        for id in order {
            for node in self
                .parts
                .get_mut(id)
                .into_iter()
                .flat_map(|sheet| sheet.nodes.values_mut())
            {
                let Ok(number) = node.id.parse::<u64>() else {
                    continue;
                };
                if used.insert(number) {
                    continue;
                }
                while let Some(next) = last.checked_add(1) {
                    last = next;
                    if used.insert(last) {
                        node.number = last.to_string();
                        break;
                    }
                }
            }
        }
    }

    /// Groups of nodes as editors kept them before there were sheets inside of sheets.
    fn groups(&mut self, file: &'a Value) {
        let groups = file.pointer("/extra/groupNodes").and_then(Value::as_object);
        for (name, group) in groups.into_iter().flatten() {
            let pointer = super::super::pointer(["extra", "groupNodes", name]);
            let sheet = super::group::sheet(name, group, &pointer, &mut self.broken);
            self.parts.entry(name.as_str()).or_insert(sheet);
        }
    }

    fn everywhere(&mut self, file: &'a Value) {
        for link in list(file.pointer("/extra/ue_links")) {
            let node = |name: &str| link.get(name).and_then(word);
            let slot = |name: &str| link.get(name).and_then(count);
            if let (Some(to), Some(to_slot), Some(from), Some(from_slot)) = (
                node("downstream"),
                slot("downstream_slot"),
                node("upstream"),
                slot("upstream_slot"),
            ) {
                self.everywhere.push((to, to_slot, from, from_slot));
            }
        }
    }

    /// The sheet behind nodes of a class.
    pub(super) fn part(&self, class: &str) -> Option<&Sheet<'a>> {
        let group = class
            .strip_prefix("workflow>")
            .or_else(|| class.strip_prefix("workflow/"));
        match group {
            Some(name) => self.parts.get(name).filter(|sheet| sheet.group.is_some()),
            None => self.parts.get(class).filter(|sheet| sheet.group.is_none()),
        }
    }
}

/// The ids of a sheet's nodes that are numbers.
fn numbers<'s>(sheet: &'s Sheet<'_>) -> impl Iterator<Item = u64> + 's {
    sheet.nodes.keys().filter_map(|id| id.parse().ok())
}

fn sheet<'a>(
    value: &'a Value,
    pointer: String,
    broken: &mut Vec<(String, &'static str)>,
) -> Sheet<'a> {
    let mut sheet = Sheet::default();
    for (at, value) in list(value.get("nodes")).iter().enumerate() {
        let pointer = format!("{pointer}/nodes/{at}");
        match node(value, None, &pointer) {
            Ok(node) => {
                sheet.nodes.insert(node.id.clone(), node);
            }
            Err(reason) => broken.push((pointer, reason)),
        }
    }
    match value.get("links") {
        Some(Value::Object(links)) => sheet.links.extend(links.values().filter_map(link)),
        links => sheet.links.extend(list(links).iter().filter_map(link)),
    }
    sheet.pointer = pointer;
    sheet
}

/// A node; inside a group its place stands for its id.
pub(super) fn node<'a>(
    value: &'a Value,
    place: Option<usize>,
    pointer: &str,
) -> Result<UiNode<'a>, &'static str> {
    let Value::Object(members) = value else {
        return Err("is no object");
    };
    let id = match place {
        Some(place) => Some(place.to_string()),
        None => members.get("id").and_then(word),
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let saved = members.get("widgets_values");
    let id = id.ok_or("has no `id`")?;
    Ok(UiNode {
        number: id.clone(),
        id,
        class: text("type").ok_or("has no `type`")?,
        title: text("title"),
        mode: match members.get("mode").and_then(Value::as_i64) {
            Some(2) => Mode::Muted,
            Some(4) => Mode::Bypassed,
            _ => Mode::Runs,
        },
        inputs: list(members.get("inputs"))
            .iter()
            .filter_map(input)
            .collect(),
        outputs: list(members.get("outputs"))
            .iter()
            .map(|output| ty(output.get("type")))
            .collect(),
        saved: Saved {
            list: list(saved),
            map: saved.and_then(Value::as_object),
            named: members
                .get("widgets_values_named")
                .and_then(Value::as_object),
        },
        properties: members.get("properties").and_then(Value::as_object),
        pointer: pointer.to_owned(),
    })
}

fn input(value: &Value) -> Option<UiInput<'_>> {
    let members = value.as_object()?;
    Some(UiInput {
        name: members.get("name").and_then(Value::as_str)?,
        ty: ty(members.get("type")),
        link: members.get("link").and_then(word),
        field: members
            .get("widget")
            .and_then(|field| field.get("name"))
            .and_then(Value::as_str),
    })
}

fn port(value: &Value) -> Port<'_> {
    Port {
        name: value.get("name").and_then(Value::as_str).unwrap_or(""),
        links: list(value.get("linkIds")).iter().filter_map(word).collect(),
    }
}

fn link(value: &Value) -> Option<(String, Link)> {
    let at = |place: usize, name: &str| match value {
        Value::Array(parts) => parts.get(place),
        _ => value.get(name),
    };
    let id = at(0, "id").and_then(word)?;
    Some((
        id,
        Link {
            origin: at(1, "origin_id").and_then(word)?,
            origin_slot: at(2, "origin_slot").and_then(count)?,
            target: at(3, "target_id").and_then(word)?,
            target_slot: at(4, "target_slot").and_then(count)?,
        },
    ))
}

/// A type as text; the editor also writes 0 and lists.
fn ty(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(_)) => "COMBO".to_owned(),
        _ => "*".to_owned(),
    }
}

/// An id, whether it was written as a number or as a text.
pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn count(value: &Value) -> Option<usize> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        _ => value.as_u64(),
    };
    number.and_then(|number| usize::try_from(number).ok())
}

pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
