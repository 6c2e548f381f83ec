//! The nodes of a workflow, by the names that people use for them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::input;
use crate::base::NodeId;
use crate::catalog::{Catalog, InputType, NodeDef, OutputType, Section};
use crate::spec::StepFragment;
use crate::workflow::verdict::takes_any_input;
use crate::workflow::{self, Graph, Names, Node};

/// What `set` and `outputs` of a step may hold, when it runs this workflow on a server with this catalog. `name` keeps its definitions
/// apart from those of other steps.
pub fn fragment(name: &str, graph: &Graph, catalog: Option<&Catalog>) -> StepFragment {
    let mut definitions = Map::new();
    let mut properties = Map::new();
    let mut others = Map::new();
    let names = Named::new(graph, catalog);
    for (at, (id, node)) in graph.nodes.iter().enumerate() {
        let key = format!("{name}.{at}");
        let schema = node_schema(id, node, &names, catalog);
        definitions.insert(key.clone(), schema);
        let about = about(id, node, catalog);
        let shown = names.shown(id);
        for address in names.all(id) {
            let reference = json!({ "$ref": format!("#/definitions/{key}") });
            if address == shown {
                let mut property = json!({ "description": about });
                property["allOf"] = json!([reference]);
                properties.insert(address.to_owned(), property);
            } else {
                // Accepted, and not offered: one name for each node is enough in a list.
                others.insert(format!("^{}$", escaped(address)), reference);
            }
        }
    }
    let mut set = json!({
        "description": "Changes to the workflow's nodes: node → input → value. A node is named by its id, its title or its class.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !others.is_empty() {
        set["patternProperties"] = Value::Object(others);
    }
    StepFragment {
        set,
        output: output_schema(&names, catalog),
        definitions,
    }
}

/// The nodes of a graph by the names that mean them, and by what they give.
struct Named<'g> {
    graph: &'g Graph,
    names: Names<'g>,
    /// By type, the nodes that give it, under the names that people would use. A workflow asks for the same few types again and again.
    sources: RefCell<HashMap<String, Vec<String>>>,
    catalog: Option<&'g Catalog>,
}

impl<'g> Named<'g> {
    fn new(graph: &'g Graph, catalog: Option<&'g Catalog>) -> Self {
        Self {
            graph,
            names: Names::new(graph),
            sources: RefCell::default(),
            catalog,
        }
    }

    /// The title, the class and the id of a node, in the order in which people would use them.
    fn written(&self, id: &'g NodeId) -> impl Iterator<Item = &'g str> {
        let node = self.graph.nodes.get(id);
        let title = node.and_then(|node| node.title());
        let class = node.map(|node| node.class_type.as_str());
        title.into_iter().chain(class).chain([id.as_str()])
    }

    /// Every name that means this node and no other.
    fn all(&self, id: &'g NodeId) -> BTreeSet<&'g str> {
        self.written(id)
            .filter(|name| self.names.means(name, id))
            .collect()
    }

    /// The name that people would use: the title, else the class, else the id.
    fn shown(&self, id: &'g NodeId) -> &'g str {
        let mut written = self.written(id);
        let named = written.find(|name| self.names.means(name, id));
        named.unwrap_or(id.as_str())
    }

    /// The nodes that give one of some types, by the names to write into a link.
    fn sources(&self, types: &str) -> Vec<String> {
        let Some(catalog) = self.catalog else {
            return Vec::new();
        };
        if let Some(known) = self.sources.borrow().get(types) {
            return known.clone();
        }
        let gives = |ty: &OutputType| gives(ty, types);
        let nodes = self.graph.nodes.iter().filter(|(_, node)| {
            let def = catalog.node(&node.class_type);
            def.is_some_and(|def| def.outputs.iter().any(|output| gives(&output.ty)))
        });
        let found: Vec<String> = nodes.map(|(id, _)| self.shown(id).to_owned()).collect();
        let mut sources = self.sources.borrow_mut();
        sources.insert(types.to_owned(), found.clone());
        found
    }
}

/// A name as a regular expression of JavaScript's with the flag `u`, which takes no needless backslash.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if "^$\\.*+?()[]{}|/".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn about(id: &NodeId, node: &Node, catalog: Option<&Catalog>) -> String {
    let def = catalog.and_then(|catalog| catalog.node(&node.class_type));
    let class = &node.class_type;
    let mut about = format!("`{class}`, node {id}");
    match def {
        Some(def) => {
            if let Some(name) = def.display_name.as_ref().filter(|name| *name != class) {
                let _ = write!(about, ": {name}");
            }
            if def.deprecated {
                about.push_str(" (deprecated)");
            }
        }
        None if catalog.is_some() => about.push_str(", which the server does not have"),
        None => {}
    }
    about
}

fn node_schema(id: &NodeId, node: &Node, names: &Named<'_>, catalog: Option<&Catalog>) -> Value {
    let def = catalog.and_then(|catalog| catalog.node(&node.class_type));
    let inputs = match def {
        Some(def) => declared(node, def, names),
        None => as_written(node),
    };
    json!({
        "description": about(id, node, catalog),
        "anyOf": [
            inputs,
            { "const": "bypass", "description": "Take the node out, and pass on what it gets." },
            { "type": "null", "description": "Remove the node." },
        ],
    })
}

/// The inputs of a node whose class nobody can be asked about.
fn as_written(node: &Node) -> Value {
    let inputs = node.inputs.iter().map(|(name, value)| {
        let about = match workflow::is_link(value) {
            Some((from, slot)) => format!("Linked to output {slot} of node {from}."),
            None => format!("The workflow says {}.", input::shown(value)),
        };
        (name.clone(), json!({ "description": about }))
    });
    json!({ "type": "object", "properties": inputs.collect::<Map<_, _>>() })
}

fn declared(node: &Node, def: &NodeDef, names: &Named<'_>) -> Value {
    let mut inputs = input::Inputs::new(node, |types| names.sources(types));
    for def in &def.inputs {
        inputs.add(def, "", None);
    }
    // Classes of packs often take whatever they are given, and declare nothing of it.
    let module = def.python_module.as_deref().unwrap_or_default();
    let any = takes_any_input(&node.class_type)
        || module.starts_with("custom_nodes.")
        || def.python_module.as_deref() == Some(crate::embedded::LENIENT);
    let mut schema = json!({
        "type": "object",
        "properties": inputs.properties,
        "additionalProperties": any,
    });
    if !inputs.patterns.is_empty() {
        schema["patternProperties"] = Value::Object(inputs.patterns);
    }
    schema
}

/// Whether an output gives one of some types.
fn gives(ty: &OutputType, types: &str) -> bool {
    match ty {
        OutputType::Named(name) => {
            let overlap = types.split(',').any(|wanted| {
                let wanted = wanted.trim();
                wanted == "*" || name.split(',').any(|ty| ty.trim() == wanted)
            });
            overlap || name == "*" || name == "COMFY_MATCHTYPE_V3"
        }
        OutputType::List(_) => types == "COMBO",
    }
}

/// What a name under `outputs` may stand for.
fn output_schema(names: &Named<'_>, catalog: Option<&Catalog>) -> Value {
    let saving = names.graph.nodes.iter().filter(|(_, node)| {
        let def = catalog.and_then(|catalog| catalog.node(&node.class_type));
        def.is_none_or(|def| def.output_node)
    });
    let mut shown = Vec::new();
    let mut accepted = BTreeSet::new();
    for (id, _) in saving {
        shown.push(names.shown(id).to_owned());
        accepted.extend(names.all(id).into_iter().map(str::to_owned));
    }
    for name in &shown {
        accepted.remove(name);
    }
    let patterns: Vec<String> = accepted.iter().map(|name| escaped(name)).collect();
    let mut forms = vec![json!({ "enum": shown })];
    if !patterns.is_empty() {
        let pattern = format!("^({})$", patterns.join("|"));
        forms.push(json!({ "type": "string", "pattern": pattern }));
    }
    forms.push(json!({ "type": "integer" }));
    json!({
        "description": "A node that saves or shows something.",
        "anyOf": forms,
    })
}

/// Whether an input is one that the node cannot do without.
pub(super) fn needed(section: Section, ty: &InputType) -> bool {
    section == Section::Required && !matches!(ty, InputType::Autogrow(_))
}
