//! What a node class is to its own pack, and which nodes do nothing: deprecated and experimental classes, nodes that lead to no result.

use std::collections::{BTreeMap, HashSet};

use super::graph::MOST;
use super::words::Scene;
use crate::base::NodeId;
use crate::catalog::NodeDef;
use crate::diagnostic::{Code, Diagnostic, Severity, codes, list_of};
use crate::workflow;

pub(super) fn standing(scene: &Scene<'_>) -> Vec<Diagnostic> {
    let needed = needed(scene);
    let mut out = Vec::new();
    if needed.is_empty() {
        // Without a node that saves something there is nothing to run, which is said elsewhere.
        return out;
    }
    out.extend(of_classes(scene, &needed));
    out.extend(dead_ends(scene, &needed));
    out.extend(no_key(scene, &needed));
    out
}

/// The nodes that some output node needs, and these themselves.
fn needed(scene: &Scene<'_>) -> HashSet<NodeId> {
    let ends = scene.graph.nodes.iter().filter(|(_, node)| {
        let def = scene.catalog.node(&node.class_type);
        // Of a class that nobody knows it cannot be said that it saves nothing.
        def.is_none_or(|def| def.output_node)
    });
    let mut open: Vec<NodeId> = ends.map(|(id, _)| id.clone()).collect();
    let mut reached = HashSet::new();
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

/// Each class once, however many nodes of it there are.
fn of_classes(scene: &Scene<'_>, needed: &HashSet<NodeId>) -> Vec<Diagnostic> {
    let mut by_class: BTreeMap<&str, (&NodeDef, Vec<&NodeId>)> = BTreeMap::new();
    for (id, node) in &scene.graph.nodes {
        if let Some(def) = scene.catalog.node(&node.class_type)
            && needed.contains(id)
            && (def.deprecated || def.experimental || def.dev_only)
        {
            let entry = by_class.entry(&node.class_type);
            entry.or_insert_with(|| (def, Vec::new())).1.push(id);
        }
    }
    let mut found: Vec<(usize, Diagnostic)> = by_class
        .into_iter()
        .filter_map(|(class, (def, nodes))| {
            let first = *nodes.first()?;
            let at = scene.graph.nodes.get_index_of(first)?;
            Some((at, of_class(scene, class, def, &nodes)))
        })
        .collect();
    found.sort_by_key(|(at, _)| *at);
    found
        .into_iter()
        .map(|(_, diagnostic)| diagnostic)
        .collect()
}

fn of_class(scene: &Scene<'_>, class: &str, def: &NodeDef, nodes: &[&NodeId]) -> Diagnostic {
    let (code, severity, message): (&'static Code, _, _) = if def.deprecated {
        (
            &codes::DEPRECATED_NODE,
            Severity::Warning,
            format!("`{class}` is deprecated: later versions of its pack may drop it"),
        )
    } else {
        let why = if def.experimental {
            "experimental: its inputs and its results may change between versions"
        } else {
            "meant for those who develop nodes, and may change at any time"
        };
        (
            &codes::EXPERIMENTAL_NODE,
            Severity::Note,
            format!("`{class}` is {why}"),
        )
    };
    let diagnostic = Diagnostic {
        severity,
        ..Diagnostic::error(code, message)
    };
    let first = nodes.first().copied();
    let diagnostic = match first {
        Some(first) => scene.about(diagnostic, first, None),
        None => diagnostic,
    };
    if nodes.len() < 2 {
        return diagnostic;
    }
    let ids = nodes.iter().map(|id| id.as_str());
    diagnostic.help(format!("nodes of this class: {}", list_of(ids, 12)))
}

/// Partner nodes cost credits, and servers ask for the key of an account.
fn no_key(scene: &Scene<'_>, needed: &HashSet<NodeId>) -> Option<Diagnostic> {
    if scene.setting.partner_key || scene.setting.embedded {
        return None;
    }
    let paid = scene.graph.nodes.iter().filter(|(id, node)| {
        let def = scene.catalog.node(&node.class_type);
        needed.contains(*id) && def.is_some_and(|def| def.api_node)
    });
    let paid: Vec<(&NodeId, &str)> = paid.map(|(id, n)| (id, n.class_type.as_str())).collect();
    let (first, class) = *paid.first()?;
    let message = match paid.len() {
        1 => {
            format!("`{class}` is a partner node, which costs credits, and there is no key for it")
        }
        n => format!(
            "`{class}` and {} more are partner nodes, which cost credits, and there is no key for them",
            n - 1
        ),
    };
    let warning = Diagnostic::warning(&codes::NO_PARTNER_KEY, message).help(
        "write `partner_api_key: \"{{ secret('COMFY_API_KEY') }}\"` in kiln.yaml, and set that variable",
    );
    Some(scene.about(warning, first, None))
}

/// Nodes whose results nobody takes, each with what only works for it.
fn dead_ends(scene: &Scene<'_>, needed: &HashSet<NodeId>) -> Vec<Diagnostic> {
    let nodes = &scene.graph.nodes;
    let taken: HashSet<&str> = nodes
        .values()
        .flat_map(|node| node.inputs.values())
        .filter_map(workflow::is_link)
        .map(|(target, _)| target)
        .collect();
    nodes
        .keys()
        .filter(|id| !needed.contains(*id) && !taken.contains(id.as_str()))
        .enumerate()
        .map(|(nth, id)| {
            // Of more than these nothing is told, and to walk up from each would take for ever.
            let told = nth < MOST;
            let below = if told { feeding(scene, id, needed) } else { 0 };
            let name = scene.node_name(id);
            let message = match below {
                0 => format!("{name} leads to no result, so it never runs"),
                1 => {
                    format!("{name} leads to no result, so it and the node that feeds it never run")
                }
                n => format!(
                    "{name} leads to no result, so it and the {n} nodes that feed it never run"
                ),
            };
            let note = Diagnostic {
                severity: Severity::Note,
                ..Diagnostic::error(&codes::UNREACHABLE_NODE, message)
            };
            scene.about(note, id, None)
        })
        .collect()
}

/// How many nodes feed a node, and are needed by no result.
fn feeding(scene: &Scene<'_>, id: &NodeId, needed: &HashSet<NodeId>) -> usize {
    let mut seen: HashSet<&str> = HashSet::from([id.as_str()]);
    let mut open = vec![id.as_str()];
    while let Some(at) = open.pop() {
        let Some(node) = scene.graph.nodes.get(at) else {
            continue;
        };
        for (target, _) in node.inputs.values().filter_map(workflow::is_link) {
            let is_node = scene.graph.nodes.contains_key(target);
            let wanted = needed.contains(&NodeId::from(target));
            if is_node && !wanted && seen.insert(target) {
                open.push(target);
            }
        }
    }
    seen.len() - 1
}
