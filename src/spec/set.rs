//! `set:` of a step: node → input → value.

use serde_json::{Value, json};

use super::reading::Reading;
use super::{Node, NodeKind, Spanned};

/// What `set` does to one node.
#[derive(Clone, Debug, PartialEq)]
pub struct SetNode {
    /// The node's id, title or class, as written.
    pub node: Spanned<String>,
    /// What happens to it.
    pub entry: SetEntry,
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum SetEntry {
    /// It is removed (`null`).
    Remove,
    /// It is taken out, and what it gets is passed on (`bypass`).
    Bypass,
    /// Its inputs get values, in written order. A value may be or contain templates; `[string, integer]` is a link.
    Inputs(Vec<(Spanned<String>, Node)>),
}

/// Reads `set:`; what is wrong is reported and left out.
pub(super) fn read(node: &Node, reading: &mut Reading<'_>) -> Vec<SetNode> {
    let Some(entries) = reading.map(node, "`set`") else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|(name, value)| {
            let entry = match &value.kind {
                NodeKind::Null => SetEntry::Remove,
                NodeKind::Map(inputs) => SetEntry::Inputs(inputs.clone()),
                _ => {
                    let what = format!("the node `{}` in `set`", name.value);
                    reading.wrong_type(value, &what, "a map from inputs to values, or `null`");
                    return None;
                }
            };
            Some(SetNode {
                node: name.clone(),
                entry,
            })
        })
        .collect()
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": {
            "description": "A node by its id, its title or its class: values for its inputs, or `null` to remove it.",
            "oneOf": [
                {
                    "type": "object",
                    "additionalProperties": {
                        "description": "The input's value: a template, a plain value, `null` to remove the input, or `[node, slot]` to link it to another node's output.",
                    },
                },
                { "type": "null" },
            ],
        },
    })
}
