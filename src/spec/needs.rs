//! `needs:` and `outputs:` of a step: names that no template may make.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::reading::{Key, Reading, first};
use super::schema::{self, ID};
use super::{Need, Node, NodeKind, Spanned};
use crate::base::safe_join;
use crate::diagnostic::{Diagnostic, Span, codes};

/// Reads `needs:`: one step, or a list of them.
pub(super) fn read_needs(node: &Node, reading: &mut Reading<'_>) -> Vec<Need> {
    let items = match &node.kind {
        NodeKind::List(items) => items.as_slice(),
        NodeKind::String(_) | NodeKind::Map(_) => std::slice::from_ref(node),
        _ => {
            reading.wrong_type(node, "`needs`", "a step's id or a list of them");
            return Vec::new();
        }
    };
    items
        .iter()
        .filter_map(|item| {
            let need = match item.kind {
                NodeKind::Map(_) => written_out(item, reading)?,
                _ => Need {
                    step: reading.string(item, "a step under `needs`")?,
                    optional: false,
                },
            };
            (!templated(&need.step, "`needs`", reading)).then_some(need)
        })
        .collect()
}

const KEYS: &[Key] = &[
    Key::new(
        "step",
        "The step's id.",
        || json!({ "type": "string", "pattern": ID }),
    )
    .required(),
    Key::new(
        "optional",
        "`true`: wait for it however it ends, and run also when it failed or was skipped. Default: `false`.",
        || json!({ "type": "boolean" }),
    ),
];

/// `{ step: X, optional: true }`.
fn written_out(node: &Node, reading: &mut Reading<'_>) -> Option<Need> {
    let owner = "an entry of `needs`";
    let fields = reading.fields(node, owner, KEYS, false)?;
    let Some(step) = fields.get("step") else {
        reading.missing(&fields, first(node), owner, "step", "step: draw");
        return None;
    };
    let optional = fields
        .get("optional")
        .and_then(|n| reading.boolean(n, "`optional`"));
    Some(Need {
        step: reading.string(step, "`step`")?,
        optional: optional.unwrap_or_default(),
    })
}

pub(super) fn needs_schema() -> Value {
    let id = json!({ "type": "string", "pattern": ID });
    let entry = schema::object("A step to wait for.", KEYS, false);
    json!({
        "oneOf": [
            id,
            entry,
            { "type": "array", "items": { "oneOf": [id, entry] }, "uniqueItems": true },
        ],
    })
}

/// What `outputs:` gives names to.
type Outputs = IndexMap<String, (Span, Spanned<String>)>;

/// Reads `outputs:`: names for nodes.
pub(super) fn read_outputs(node: &Node, reading: &mut Reading<'_>) -> Outputs {
    named(node, reading, |value, what, reading| {
        let target = match &value.kind {
            // A node's id is often a number.
            NodeKind::Number(number) if !number.is_f64() => {
                Spanned::new(number.to_string(), value.span)
            }
            _ => reading.string(value, what)?,
        };
        (!templated(&target, "`outputs`", reading)).then_some(target)
    })
}

/// Reads `outputs:` of a command: names for patterns of files.
pub(super) fn read_patterns(node: &Node, reading: &mut Reading<'_>) -> Outputs {
    named(node, reading, |value, what, reading| {
        let pattern = reading.string(value, what)?;
        if templated(&pattern, "a pattern in `outputs`", reading) {
            return None;
        }
        if let Err(error) = safe_join(Path::new(""), &pattern.value) {
            reading.push(
                Diagnostic::error(
                    &codes::UNSAFE_OUTPUT_PATH,
                    format!("the pattern {error}"),
                )
                .at(pattern.span)
                .help("a command runs in a folder of its own, and its outputs are files in it, e.g. `*.mp4` or `frames/*.png`"),
            );
        } else if let Err(error) = globset::Glob::new(&pattern.value) {
            reading.push(
                Diagnostic::error(
                    &codes::BAD_VALUE,
                    format!("`{}` is no pattern: {}", pattern.value, error.kind()),
                )
                .at(pattern.span)
                .help("`*` stands for anything in a name, `**` for folders, `?` for one character, `[ab]` for one of some"),
            );
        } else {
            return Some(pattern);
        }
        None
    })
}

/// Reads a map of names, each value as `read` does it, which is told what to call it.
fn named(
    node: &Node,
    reading: &mut Reading<'_>,
    read: impl Fn(&Node, &str, &mut Reading<'_>) -> Option<Spanned<String>>,
) -> Outputs {
    let mut outputs = IndexMap::new();
    for (name, value) in reading.map(node, "`outputs`").unwrap_or_default() {
        reading.id(name, "the name of an output");
        let what = format!("the output `{}`", name.value);
        if let Some(value) = read(value, &what, reading) {
            outputs.insert(name.value.clone(), (name.span, value));
        }
    }
    outputs
}

pub(super) fn outputs_schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": ID },
        "additionalProperties": {
            "description": "The node that makes it, by id, title or class; for a command the pattern of its files, such as `*.mp4`.",
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
            .help("it must be known before anything is evaluated: write it out"),
        );
    }
    found
}
