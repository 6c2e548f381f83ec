//! `needs:` and `outputs:` of a step: names that no template may make.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::reading::Reading;
use super::schema::ID;
use super::{Need, Node, NodeKind, Spanned};
use crate::diagnostic::{Diagnostic, Span, codes};

/// Reads `needs:`: one step, or a list of them.
pub(super) fn read_needs(node: &Node, reading: &mut Reading<'_>) -> Vec<Need> {
    let items = match &node.kind {
        NodeKind::List(items) => items.as_slice(),
        NodeKind::String(_) => std::slice::from_ref(node),
        _ => {
            reading.wrong_type(node, "`needs`", "a step's id or a list of them");
            return Vec::new();
        }
    };
    items
        .iter()
        .filter_map(|item| {
            let step = reading.string(item, "a step under `needs`")?;
            (!templated(&step, "`needs`", reading)).then_some(Need {
                step,
                optional: false,
            })
        })
        .collect()
}

pub(super) fn needs_schema() -> Value {
    json!({
        "oneOf": [
            { "type": "string", "pattern": ID },
            { "type": "array", "items": { "type": "string", "pattern": ID }, "uniqueItems": true },
        ],
    })
}

/// Reads `outputs:`: names for nodes.
pub(super) fn read_outputs(
    node: &Node,
    reading: &mut Reading<'_>,
) -> IndexMap<String, (Span, Spanned<String>)> {
    let mut outputs = IndexMap::new();
    for (name, value) in reading.map(node, "`outputs`").unwrap_or_default() {
        reading.id(name, "the name of an output");
        let target = match &value.kind {
            // A node's id is often a number.
            NodeKind::Number(number) if !number.is_f64() => {
                Some(Spanned::new(number.to_string(), value.span))
            }
            _ => reading.string(value, &format!("the output `{}`", name.value)),
        };
        if let Some(target) = target
            && !templated(&target, "`outputs`", reading)
        {
            outputs.insert(name.value.clone(), (name.span, target));
        }
    }
    outputs
}

pub(super) fn outputs_schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": ID },
        "additionalProperties": {
            "description": "The node that makes it, by id, title or class.",
            "type": ["string", "integer"],
        },
    })
}

/// Whether a text that no template may make has one in it; complains if so.
pub(super) fn templated(text: &Spanned<String>, place: &str, reading: &mut Reading<'_>) -> bool {
    let found = text.value.contains("{{") || text.value.contains("{%");
    if found {
        reading.push(
            Diagnostic::error(
                &codes::BAD_VALUE,
                format!("{place} cannot contain templates"),
            )
            .at(text.span)
            .help("it must be known before anything is evaluated: write the name itself"),
        );
    }
    found
}
