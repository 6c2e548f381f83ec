//! What the server does not say: inputs it ignores, links it dies of, choices it finds wrong only when the node runs.

use std::collections::HashSet;

use serde_json::Value;

use super::words::{Scene, either, shown};
use super::{circles, links, standing};
use crate::base::{NodeId, secret};
use crate::catalog::{InputType, NodeDef};
use crate::diagnostic::{Diagnostic, Severity, codes, list_of};
use crate::workflow::verdict::{Replaced, Unsure, Verdict, takes_any_input};
use crate::workflow::{self, Node};

/// What to do about a secret in a graph.
pub(super) const SECRET_HELP: &str = "whoever gets such a picture can read it; a `command` step, or `token` and `headers` of a server, keep it out";

pub(super) fn beyond(scene: &Scene<'_>, verdict: &Verdict) -> Vec<Diagnostic> {
    let mut out = replaced(scene, verdict);
    let followed = followed(scene, &verdict.runs);
    out.extend(links::links(scene, &followed));
    out.extend(standing::standing(scene));
    let mut unseen = Vec::new();
    for (id, node) in &scene.graph.nodes {
        out.extend(secrets(scene, id, node));
        let Some(def) = scene.catalog.node(&node.class_type) else {
            continue;
        };
        let opened: HashSet<String> = def
            .open_inputs(&node.inputs)
            .into_iter()
            .map(|open| open.name)
            .collect();
        choices(scene, id, node, def, &mut out);
        for (input, value) in &node.inputs {
            if opened.contains(input) {
                continue;
            }
            let link = workflow::is_link(value).filter(|_| followed.contains(id));
            if let Some((target, _)) = link {
                if let Some(why) = value.as_array().and_then(|items| broken_link(scene, items)) {
                    out.push(dangling(scene, id, input, &why));
                    continue;
                }
                unseen.push(Unseen { id, input, target });
            }
            let value = if link.is_some() { None } else { Some(value) };
            out.extend(undeclared(scene, id, node, def, (input, value), &opened));
        }
    }
    out.extend(circles::circles(scene, &followed, &unseen));
    out.extend(unverified(scene, verdict));
    out
}

/// A link at an input that the class does not declare: the server does not look at it, and follows it all the same.
pub(super) struct Unseen<'a> {
    pub(super) id: &'a NodeId,
    pub(super) input: &'a str,
    pub(super) target: &'a str,
}

/// Files of which nobody here can tell whether the server has them.
fn unverified(scene: &Scene<'_>, verdict: &Verdict) -> Vec<Diagnostic> {
    let files = verdict.assumed.iter();
    let files = files.filter(|assumed| assumed.unsure == Unsure::File);
    let told = files.map(|assumed| {
        let name = scene.input_name(&assumed.node, &assumed.input);
        let value = scene
            .graph
            .nodes
            .get(&assumed.node)
            .and_then(|n| n.inputs.get(&assumed.input));
        let message = format!(
            "{name}: whether the server has {} cannot be told from its list",
            value.map(shown).unwrap_or_default()
        );
        let warning = scene.about(
            Diagnostic::warning(&codes::UNVERIFIED_FILE, message),
            &assumed.node,
            Some(&assumed.input),
        );
        match value
            .and_then(Value::as_str)
            .filter(|file| scene.is_here(file))
        {
            Some(file) => warning.help(format!(
                "`{file}` is here; to upload it {}",
                scene.how_to_upload(&assumed.node, &assumed.input, file)
            )),
            None => warning,
        }
    });
    told.collect()
}

/// Nodes whose class the server puts another one in the place of.
fn replaced(scene: &Scene<'_>, verdict: &Verdict) -> Vec<Diagnostic> {
    let told = verdict.replaced.iter().map(|replaced| {
        let Replaced { node, from, to, .. } = replaced;
        let message = if replaced.certain {
            format!("the server does not have the class `{from}`, and puts `{to}` in its place")
        } else {
            format!(
                "the node list does not have the class `{from}`; ComfyUI puts `{to}` in its place since version 0.24"
            )
        };
        let mut told = Diagnostic::warning(&codes::REPLACED_NODE, message);
        if replaced.certain && !replaced.bare {
            told.severity = Severity::Note;
        }
        if !replaced.certain {
            told = told.help(
                "a list that `kiln server catalog -o FILE` saves tells whether the server does so",
            );
        }
        if replaced.bare {
            told = told.help(
                "the node has no `_meta`, and ComfyUI fails over replacing it (status 500); kiln itself always sends one",
            );
        }
        let told = told.node(node.as_str(), from, None);
        match scene.span(node, None) {
            Some(span) => told.at(span),
            None => told,
        }
    });
    told.collect()
}

/// Inputs that hold a secret: the server keeps the graph, and writes it into what it saves.
fn secrets<'a>(
    scene: &'a Scene<'_>,
    id: &'a NodeId,
    node: &'a Node,
) -> impl Iterator<Item = Diagnostic> + 'a {
    node.inputs.iter().filter_map(move |(input, value)| {
        let text = match value {
            Value::String(text) => std::borrow::Cow::Borrowed(text.as_str()),
            Value::Array(_) | Value::Object(_) => value.to_string().into(),
            _ => return None,
        };
        let names = secret::names_in(&text);
        if names.is_empty() {
            return None;
        }
        let message = format!(
            "{}: {} {} part of the graph, which servers keep and write into the pictures they save",
            scene.input_name(id, input),
            list_of(names.iter().map(String::as_str), 4),
            if names.len() == 1 {
                "is a secret that becomes"
            } else {
                "are secrets that become"
            },
        );
        let warning = Diagnostic::warning(&codes::SECRET_IN_GRAPH, message).help(SECRET_HELP);
        Some(scene.about(warning, id, Some(input)))
    })
}

/// The nodes that the server's scheduler reaches from the outputs that run: it follows every link, declared or not.
fn followed(scene: &Scene<'_>, runs: &[NodeId]) -> HashSet<NodeId> {
    let mut reached: HashSet<NodeId> = HashSet::new();
    let mut open: Vec<NodeId> = runs.to_vec();
    while let Some(id) = open.pop() {
        let Some(node) = scene.graph.nodes.get(&id) else {
            continue;
        };
        if reached.insert(id) {
            let links = node.inputs.values().filter_map(workflow::is_link);
            open.extend(links.map(|(target, _)| NodeId::from(target)));
        }
    }
    reached
}

/// Why a link leads nowhere, as the end of a sentence; `None` when it is sound.
pub(super) fn broken_link(scene: &Scene<'_>, items: &[Value]) -> Option<String> {
    let [target, slot] = items else {
        return Some("is no link".to_owned());
    };
    let Some(target) = target.as_str() else {
        return Some(format!(
            "links to {}, but node ids are texts",
            shown(target)
        ));
    };
    let id = NodeId::from(target);
    let Some(node) = scene.graph.nodes.get(&id) else {
        return Some(format!("links to node `{target}`, which does not exist"));
    };
    let Some(number) = slot.as_i64() else {
        return Some(format!(
            "links to output {} of node `{target}`, but outputs are numbered from 0",
            shown(slot)
        ));
    };
    let def = scene.catalog.node(&node.class_type)?;
    let count = i64::try_from(def.outputs.len()).unwrap_or(i64::MAX);
    if (-count..count).contains(&number) {
        return None;
    }
    let has = match count {
        0 => "no outputs".to_owned(),
        1 => "only output 0".to_owned(),
        2 => "only outputs 0 and 1".to_owned(),
        _ => format!("only outputs 0 to {}", count - 1),
    };
    let name = scene.node_name(&id);
    Some(format!(
        "links to output {number} of {name}, which has {has}"
    ))
}

fn dangling(scene: &Scene<'_>, id: &NodeId, input: &str, why: &str) -> Diagnostic {
    let name = scene.input_name(id, input);
    let diagnostic = Diagnostic::error(&codes::DANGLING_LINK, format!("{name} {why}"))
        .help("a server accepts this and then stops working altogether; remove the input");
    scene.about(diagnostic, id, Some(input))
}

/// An input that the class does not declare, with its value, or none where the node is handed what comes over a link.
fn undeclared(
    scene: &Scene<'_>,
    id: &NodeId,
    node: &Node,
    def: &NodeDef,
    (input, value): (&str, Option<&Value>),
    opened: &HashSet<String>,
) -> Option<Diagnostic> {
    let class = node.class_type.as_str();
    let below_a_choice = def.inputs.iter().any(|declared| {
        matches!(declared.ty, InputType::DynamicCombo(_))
            && !opened.contains(&declared.name)
            && (input == declared.name || input.starts_with(&format!("{}.", declared.name)))
    });
    let module = def.python_module.as_deref().unwrap_or_default();
    let acted = module == crate::embedded::LENIENT;
    if acted || takes_any_input(class) || below_a_choice || def.hidden.iter().any(|h| h == input) {
        return None;
    }
    let free = opened.iter().map(String::as_str);
    let free = free.filter(|name| !node.inputs.contains_key(*name));
    let near = scene
        .near(input, free)
        .or_else(|| scene.near(input, opened.iter().map(String::as_str)));
    // The editor leaves an empty text for widgets that only show something.
    if near.is_none() && value.and_then(Value::as_str) == Some("") {
        return None;
    }
    // Classes of packs often take whatever they are given, and declare nothing of it.
    let pack = module.starts_with("custom_nodes.");
    let message = match (value.is_some(), pack) {
        (true, false) => format!("`{class}` has no input `{input}`; the server ignores it"),
        (true, true) => format!(
            "`{class}` declares no input `{input}`; the server ignores it unless the node takes any input"
        ),
        (false, false) => format!(
            "`{class}` has no input `{input}`, but is handed what comes over this link, and fails unless it takes any input"
        ),
        (false, true) => format!(
            "`{class}` declares no input `{input}`, and is handed what comes over this link: it fails unless it takes any input"
        ),
    };
    let mut told = Diagnostic::warning(&codes::UNDECLARED_INPUT, message);
    if pack && near.is_none() {
        told.severity = Severity::Note;
    }
    let told = scene.about_at(told, id, Some(input), scene.key_span(id, input));
    let group = opened
        .iter()
        .filter(|name| name.starts_with(&format!("{input}.")))
        .min();
    Some(match (near, group) {
        (_, Some(part)) => told.help(format!(
            "its parts are inputs of their own, such as `{part}`"
        )),
        (Some(near), None) => told.help(format!("did you mean `{near}`?")),
        (None, None) => {
            let mut names: Vec<&str> = opened.iter().map(String::as_str).collect();
            names.sort_unstable();
            told.help(format!("its inputs are {}", list_of(names, 12)))
        }
    })
}

/// Choices that bring inputs of their own: the server takes any value, and the node fails when it runs.
fn choices(scene: &Scene<'_>, id: &NodeId, node: &Node, def: &NodeDef, out: &mut Vec<Diagnostic>) {
    let mut open: Vec<(String, &crate::catalog::InputDef)> = def
        .inputs
        .iter()
        .map(|input| (input.name.clone(), input))
        .collect();
    while let Some((name, input)) = open.pop() {
        let InputType::DynamicCombo(options) = &input.ty else {
            continue;
        };
        let value = node.inputs.get(&name);
        let chosen = options.iter().find(|o| Some(&o.key) == value);
        if let Some(option) = chosen {
            let parts = option.inputs.iter();
            open.extend(parts.map(|part| (format!("{name}.{}", part.name), part)));
            continue;
        }
        let optional = input.section == crate::catalog::Section::Optional;
        let keys = || options.iter().filter_map(|o| o.key.as_str());
        let (message, at) = match value {
            None if optional => continue,
            None => (
                format!("{} needs the choice `{name}`", scene.node_name(id)),
                None,
            ),
            Some(value) if value.is_array() => continue,
            Some(value) => (
                format!(
                    "{}: {} is not one of its {} choices",
                    scene.input_name(id, &name),
                    shown(value),
                    options.len()
                ),
                Some(name.as_str()),
            ),
        };
        let diagnostic = Diagnostic::warning(&codes::BAD_DYNAMIC_CHOICE, message);
        let diagnostic = scene.about_at(diagnostic, id, Some(&name), scene.span(id, at));
        let near = value
            .and_then(Value::as_str)
            .and_then(|text| scene.near(text, keys()));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("choose {}", either(keys())),
        };
        out.push(
            diagnostic
                .help(help)
                .help("older servers accept this and fail when the node runs"),
        );
    }
}
