//! What a server does before it looks at a graph: nodes of classes that it does not have become those that took their place.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::types::Replaced;
use crate::base::NodeId;
use crate::catalog::{Catalog, Replacement};
use crate::workflow::{Graph, Node, is_link};

/// The graph as the server will look at it, and what it changes.
pub fn replaced<'g>(graph: &'g Graph, catalog: &Catalog) -> (Cow<'g, Graph>, Vec<Replaced>) {
    let found = graph.nodes.iter().filter_map(|(id, node)| {
        let stand_in = catalog.stand_in(&node.class_type)?;
        Some((id, node, stand_in))
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return (Cow::Borrowed(graph), Vec::new());
    }
    let mut changed = graph.clone();
    let mut told = Vec::new();
    let mut outputs: HashMap<&str, &Replacement> = HashMap::new();
    for (id, node, stand_in) in found {
        let (new, renamed) = put_in(node, stand_in.by);
        changed.nodes.insert(id.clone(), new.into());
        if stand_in.by.output_mapping.is_some() {
            outputs.insert(id.as_str(), stand_in.by);
        }
        told.push(Replaced {
            node: id.clone(),
            from: node.class_type.clone(),
            to: stand_in.by.new_node_id.clone(),
            renamed,
            certain: stand_in.certain,
            bare: node.meta.is_empty(),
        });
    }
    if !outputs.is_empty() {
        relink(&mut changed, &outputs);
    }
    (Cow::Owned(changed), told)
}

/// The node with the new class, and the inputs that have another name now.
fn put_in(node: &Node, by: &Replacement) -> (Node, Vec<(String, String)>) {
    let mut new = Node {
        class_type: by.new_node_id.clone(),
        ..node.clone()
    };
    let mut renamed = Vec::new();
    let mappings = by.input_mapping.as_deref().unwrap_or_default();
    for old in mappings
        .iter()
        .filter_map(|mapping| mapping.old_id.as_ref())
    {
        new.inputs.shift_remove(old);
    }
    for mapping in mappings {
        let taken = mapping.old_id.as_ref();
        let taken = taken.and_then(|old| Some((old, node.inputs.get(old)?)));
        if let Some(value) = &mapping.set_value {
            new.inputs.insert(mapping.new_id.clone(), value.clone());
        } else if let Some((old, value)) = taken {
            new.inputs.insert(mapping.new_id.clone(), value.clone());
            renamed.push((mapping.new_id.clone(), old.clone()));
        }
    }
    (new, renamed)
}

/// Leads links to outputs that have another place now.
fn relink(graph: &mut Graph, outputs: &HashMap<&str, &Replacement>) {
    let moved = |value: &Value| -> Option<i64> {
        let (target, slot) = is_link(value)?;
        let mappings = outputs.get(target)?.output_mapping.as_deref()?;
        let mapping = mappings.iter().find(|mapping| mapping.old_idx == slot)?;
        (mapping.new_idx != slot).then_some(mapping.new_idx)
    };
    let ids: Vec<NodeId> = graph.nodes.keys().cloned().collect();
    for id in ids {
        let Some(node) = graph.nodes.get_mut(&id) else {
            continue;
        };
        // A node is only copied when something in it changes.
        if node.inputs.values().all(|value| moved(value).is_none()) {
            continue;
        }
        for value in node.inputs.values_mut() {
            if let Some(slot) = moved(value)
                && let Some(place) = value.get_mut(1)
            {
                *place = Value::from(slot);
            }
        }
    }
}
