//! A pipeline written around a workflow: what people vary most become params, and everything else stays in the workflow beside it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::{Number, Value, json};

use crate::base::NodeId;
use crate::catalog::{Catalog, InputDef, InputType};
use crate::embedded;
use crate::workflow::{Graph, Node, is_link};

/// Ends of names of model files.
const MODELS: [&str; 9] = [
    ".safetensors",
    ".sft",
    ".ckpt",
    ".pt",
    ".pth",
    ".bin",
    ".gguf",
    ".onnx",
    ".engine",
];

/// A longer text stands in a block of its own.
const LONG: usize = 80;

/// The two files of a new pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// The pipeline, YAML.
    pub pipeline: String,
    /// The workflow, JSON.
    pub workflow: Value,
    /// How many params it has.
    pub params: usize,
    /// Those that must be given a value.
    pub required: Vec<String>,
}

/// What one param stands for.
struct Param {
    name: String,
    node: NodeId,
    input: String,
    declared: String,
}

/// Writes a pipeline around a graph. `server` runs it, when that was said.
pub fn create(
    name: &str,
    from: &str,
    mut graph: Graph,
    catalog: Option<&Catalog>,
    server: Option<&str>,
) -> Created {
    let renamed = address(&mut graph);
    let params = params(&graph, catalog);
    let mut out = format!("# Made from {from}; the workflow itself is workflows/{name}.json.\n");
    let needy = params.iter().filter(|p| !p.declared.contains("default:"));
    let required: Vec<String> = needy.map(|param| param.name.clone()).collect();
    let given = given(&required);
    let _ = writeln!(
        out,
        "# `kiln plan {name}.yaml{given}` shows what a run would do."
    );
    let _ = writeln!(out, "name: {}", quoted(&json!(name)));
    out.push_str(&server_line(&graph, server));
    if !params.is_empty() {
        out.push_str("\nparams:\n");
        for param in &params {
            let _ = writeln!(out, "  {}: {}", param.name, param.declared);
        }
    }
    let id = crate::base::valid_id(name);
    let step = if id {
        name.to_owned()
    } else {
        "draw".to_owned()
    };
    let _ = write!(
        out,
        "\nsteps:\n  {step}:\n    workflow: workflows/{name}.json\n"
    );
    if templated(&graph) {
        out.push_str("    template: false                         # the workflow's own texts hold `{{` or `{%`\n");
    }
    for note in &renamed {
        let _ = writeln!(out, "    # {note}");
    }
    if !params.is_empty() {
        out.push_str("    set:                                    # node -> input -> value; a node by its id, title or class\n");
    }
    let mut last = None;
    for param in &params {
        if last != Some(&param.node) {
            let _ = writeln!(out, "      {}:", quoted(&json!(key(&graph, &param.node))));
        }
        last = Some(&param.node);
        let _ = writeln!(
            out,
            "        {}: \"{{{{ params.{} }}}}\"",
            quoted(&json!(param.input)),
            param.name
        );
    }
    Created {
        pipeline: out,
        workflow: serde_json::to_value(&graph).unwrap_or_default(),
        params: params.len(),
        required,
    }
}

/// How values are given to params, on a command line.
pub fn given(required: &[String]) -> String {
    let mut typed = String::new();
    for name in required {
        typed.push_str(" -p ");
        typed.push_str(name);
        typed.push_str("=…");
    }
    typed
}

/// Which server runs it: the one that was named, else one with more than the embedded server has, where that is needed.
fn server_line(graph: &Graph, server: Option<&str>) -> String {
    if let Some(server) = server {
        return format!("server: {}\n", quoted(&json!(server)));
    }
    let own = embedded::catalog();
    let foreign = graph
        .nodes
        .values()
        .any(|node| own.node(&node.class_type).is_none());
    if foreign {
        "server: local                               # kiln's own server lacks some of its nodes\n"
            .to_owned()
    } else {
        String::new()
    }
}

/// Gives nodes titles that only one of them has, and says which were changed.
fn address(graph: &mut Graph) -> Vec<String> {
    let mut notes = Vec::new();
    let roles = roles(graph);
    for (id, role) in roles {
        if let Some(node) = graph.nodes.get_mut(&id)
            && !node
                .title()
                .is_some_and(|title| title.to_lowercase().contains(&role.to_lowercase()))
        {
            let title = format!("{role} Prompt");
            node.meta.insert("title".to_owned(), json!(title));
        }
    }
    let mut count: HashMap<String, usize> = HashMap::new();
    for node in graph.nodes.values() {
        *count.entry(node.label().to_owned()).or_default() += 1;
    }
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (id, node) in &mut graph.nodes {
        let label = node.label().to_owned();
        if count[&label] == 1 {
            continue;
        }
        let mut title = format!("{label} {id}");
        while count.contains_key(&title) || !used.insert(title.clone()) {
            title.push('\'');
        }
        node.meta.insert("title".to_owned(), json!(title));
    }
    let mut again: Vec<(&String, &usize)> = count.iter().filter(|(_, count)| **count > 1).collect();
    again.sort();
    for (label, count) in again {
        let label = label.replace(['\n', '\r'], " ");
        notes.push(format!(
            "{count} nodes were called `{label}`; here their ids stand behind that"
        ));
    }
    notes
}

/// Nodes whose text is all that something gets as `positive` or `negative`.
fn roles(graph: &Graph) -> Vec<(NodeId, &'static str)> {
    let mut found: HashMap<NodeId, BTreeSet<&'static str>> = HashMap::new();
    for node in graph.nodes.values() {
        for (input, role) in [("positive", "Positive"), ("negative", "Negative")] {
            let mut at = node.inputs.get(input).and_then(is_link);
            // Through nodes that only change what they get.
            for _ in 0..8 {
                let Some((origin, _)) = at else { break };
                let Some(node) = graph.nodes.get(origin) else {
                    break;
                };
                if node.inputs.get("text").is_some_and(Value::is_string) {
                    found.entry(NodeId::from(origin)).or_default().insert(role);
                    break;
                }
                at = ["conditioning", input]
                    .iter()
                    .find_map(|name| is_link(node.inputs.get(*name)?));
            }
        }
    }
    let single = found.into_iter().filter(|(_, roles)| roles.len() == 1);
    let mut roles: Vec<(NodeId, &str)> = single
        .flat_map(|(id, roles)| roles.into_iter().map(move |role| (id.clone(), role)))
        .collect();
    roles.sort();
    roles
}

/// How a node is addressed: by its title, unless that means another one too.
fn key(graph: &Graph, id: &NodeId) -> String {
    let node = &graph.nodes[id];
    match node.title() {
        Some(title) if crate::workflow::address(graph, title).is_ok_and(|found| found == *id) => {
            title.to_owned()
        }
        _ => id.0.clone(),
    }
}

/// Whether a text of the workflow looks like a template.
fn templated(graph: &Graph) -> bool {
    let texts = graph.nodes.values().flat_map(|node| node.inputs.values());
    texts.filter_map(Value::as_str).any(is_template)
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

fn params(graph: &Graph, catalog: Option<&Catalog>) -> Vec<Param> {
    let own = embedded::catalog();
    let mut names = Names::default();
    let mut params = Vec::new();
    for (id, node) in &graph.nodes {
        let def = catalog
            .and_then(|catalog| catalog.node(&node.class_type))
            .or_else(|| own.node(&node.class_type));
        for (input, value) in &node.inputs {
            let open = def.and_then(|def| def.open_input(input, &node.inputs));
            let def = open.as_ref().map(|open| open.def);
            let Some((wanted, declared)) = sensible(node, input, value, def) else {
                continue;
            };
            params.push(Param {
                name: names.free(&wanted),
                node: id.clone(),
                input: input.clone(),
                declared,
            });
        }
    }
    params
}

/// The name and the declaration of the param that an input is worth.
fn sensible(
    node: &Node,
    input: &str,
    value: &Value,
    def: Option<&InputDef>,
) -> Option<(String, String)> {
    let leaf = input.rsplit('.').next().unwrap_or(input);
    match value {
        Value::String(text) => {
            if is_file(node, leaf, def) {
                let about = json!(format!("In place of {text}."));
                return Some((
                    leaf.to_owned(),
                    format!("{{ type: file, description: {about} }}"),
                ));
            }
            let lower = text.to_lowercase();
            if MODELS.iter().any(|end| lower.ends_with(end)) {
                let default = quoted(value);
                return Some((
                    leaf.to_owned(),
                    format!("{{ type: string, default: {default} }}"),
                ));
            }
            let several_lines = def.is_some_and(|def| def.multiline)
                || def.is_none() && matches!(leaf, "text" | "prompt");
            let is_text = def.is_none_or(|def| matches!(def.ty, InputType::String));
            if !several_lines || !is_text || is_template(text) {
                return None;
            }
            let default = if text.chars().count() > LONG {
                format!("\n    type: string\n    default: {}", quoted(value))
            } else {
                format!("{{ type: string, default: {} }}", quoted(value))
            };
            Some((prompt_name(node, leaf), default))
        }
        Value::Number(number) if number.is_i64() || number.is_u64() => match leaf {
            "seed" | "noise_seed" if number.is_u64() => {
                let declared = format!(
                    "{{ type: seed, default: {number} }}             # `random` draws one for each run"
                );
                Some(("seed".to_owned(), declared))
            }
            "width" | "height" => {
                let least = match def {
                    Some(def) => def.bounds.min.as_ref().and_then(Number::as_i64),
                    None => Some(1),
                };
                // What the workflow says is not to be refused.
                let least = least.filter(|least| number.as_i64().is_none_or(|n| n >= *least));
                let minimum = least.map(|least| format!(", minimum: {least}"));
                let minimum = minimum.unwrap_or_default();
                let declared = format!("{{ type: integer, default: {number}{minimum} }}");
                Some((leaf.to_owned(), declared))
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_file(node: &Node, input: &str, def: Option<&InputDef>) -> bool {
    match def {
        Some(def) if def.upload => true,
        _ => {
            let loads = ["LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo"];
            loads.contains(&node.class_type.as_str())
                && matches!(input, "image" | "audio" | "file" | "video")
        }
    }
}

/// `prompt`, `negative_prompt`, or what the node is called.
fn prompt_name(node: &Node, input: &str) -> String {
    let title = node.title().unwrap_or_default().to_lowercase();
    if title.contains("negative") {
        "negative_prompt".to_owned()
    } else if title.contains("positive") || title.contains("prompt") || input == "prompt" {
        "prompt".to_owned()
    } else {
        input.to_owned()
    }
}

/// Names that are not given twice.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn free(&mut self, wanted: &str) -> String {
        let slug = slug::slugify(wanted).replace('-', "_");
        let base = if crate::base::valid_id(&slug) {
            slug
        } else {
            format!("p_{slug}")
        };
        let mut name = base.clone();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }
}

/// A value as YAML: plain where that is safe, else in the quotes of JSON, which YAML reads the same.
fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let plain = !text.is_empty()
                && text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
                && !matches!(
                    text.to_ascii_lowercase().as_str(),
                    "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
                );
            if plain {
                text.clone()
            } else {
                value.to_string()
            }
        }
        other => other.to_string(),
    }
}
