//! What the server does not say: inputs it ignores, links it dies of, choices it finds wrong only when the node runs.

use std::collections::HashSet;

use serde_json::Value;

use super::words::{Scene, either, shown};
use super::{links, standing};
use crate::base::{NodeId, secret};
use crate::catalog::{InputType, NodeDef};
use crate::diagnostic::{Diagnostic, codes, did_you_mean, list_of};
use crate::workflow::verdict::{Verdict, takes_any_input};
use crate::workflow::{self, Node};

/// What to do about a secret in a graph.
pub(super) const SECRET_HELP: &str = "whoever gets such a picture can read it; a `command` step, or `token` and `headers` of a server, keep it out";

pub(super) fn beyond(scene: &Scene<'_>, verdict: &Verdict) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let followed = followed(scene, &verdict.runs);
    out.extend(links::links(scene, &followed));
    out.extend(standing::standing(scene));
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
            let link = value
                .as_array()
                .filter(|_| workflow::is_link(value).is_some());
            if let Some(items) = link
                && followed.contains(id)
                && let Some(why) = broken_link(scene, items)
            {
                out.push(dangling(scene, id, input, &why));
                continue;
            }
            undeclared(scene, id, node, def, (input, value), &opened, &mut out);
        }
    }
    out.extend(verdict.assumed.iter().map(|assumed| {
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
    }));
    out
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

fn undeclared(
    scene: &Scene<'_>,
    id: &NodeId,
    node: &Node,
    def: &NodeDef,
    (input, value): (&str, &Value),
    opened: &HashSet<String>,
    out: &mut Vec<Diagnostic>,
) {
    let class = node.class_type.as_str();
    let below_a_choice = def.inputs.iter().any(|declared| {
        matches!(declared.ty, InputType::DynamicCombo(_))
            && !opened.contains(&declared.name)
            && (input == declared.name || input.starts_with(&format!("{}.", declared.name)))
    });
    let acted = def.python_module.as_deref() == Some(crate::embedded::LENIENT);
    if acted || takes_any_input(class) || below_a_choice || def.hidden.iter().any(|h| h == input) {
        return;
    }
    let free: Vec<&str> = opened
        .iter()
        .map(String::as_str)
        .filter(|name| !node.inputs.contains_key(*name))
        .collect();
    let near = did_you_mean(input, free.iter().copied())
        .or_else(|| did_you_mean(input, opened.iter().map(String::as_str)));
    // The editor leaves an empty text for widgets that only show something.
    if near.is_none() && value.as_str() == Some("") {
        return;
    }
    let message = format!("`{class}` has no input `{input}`; the server ignores it");
    let diagnostic = scene.about_at(
        Diagnostic::warning(&codes::UNDECLARED_INPUT, message),
        id,
        Some(input),
        scene.key_span(id, input),
    );
    let group = opened
        .iter()
        .filter(|name| name.starts_with(&format!("{input}.")))
        .min();
    out.push(match (near, group) {
        (_, Some(part)) => diagnostic.help(format!(
            "its parts are inputs of their own, such as `{part}`"
        )),
        (Some(near), None) => diagnostic.help(format!("did you mean `{near}`?")),
        (None, None) => {
            let mut names: Vec<&str> = opened.iter().map(String::as_str).collect();
            names.sort_unstable();
            diagnostic.help(format!("its inputs are {}", list_of(names, 12)))
        }
    });
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
            .and_then(|text| did_you_mean(text, keys()));
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
