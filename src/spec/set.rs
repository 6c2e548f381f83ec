//! `set:` of a step: node → input → value.

use serde_json::{Value, json};

use super::needs::templated;
use super::reading::Reading;
use super::{Node, NodeKind, Spanned};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};

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
            if templated(name, "a node's name in `set`", reading) {
                return None;
            }
            let entry = match &value.kind {
                NodeKind::Null => SetEntry::Remove,
                NodeKind::String(word) if word == "bypass" => SetEntry::Bypass,
                NodeKind::Map(inputs) => {
                    let fixed = |(key, _): &&(Spanned<String>, Node)| {
                        !templated(key, "an input's name in `set`", reading)
                    };
                    SetEntry::Inputs(inputs.iter().filter(fixed).cloned().collect())
                }
                _ if let Some(diagnostic) = dotted(name, value) => {
                    reading.push(diagnostic);
                    return None;
                }
                NodeKind::String(word) => {
                    reading.push(unknown_word(&name.value, word, value));
                    return None;
                }
                _ => {
                    let what = format!("the node `{}` in `set`", name.value);
                    reading.wrong_type(
                        value,
                        &what,
                        "a map from inputs to values, `bypass` or `null`",
                    );
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

/// `Photo.image: x`, where `Photo: { image: x }` is meant.
fn dotted(name: &Spanned<String>, value: &Node) -> Option<Diagnostic> {
    let (node, input) = name.value.rsplit_once('.')?;
    let input = input.trim_end_matches(':');
    if node.is_empty() || input.is_empty() || input.contains(' ') {
        return None;
    }
    let shown = match &value.kind {
        NodeKind::String(text) if text.contains(['\n', '"']) || text.len() > 60 => "…".to_owned(),
        NodeKind::String(text) => format!("\"{text}\""),
        NodeKind::Number(number) => number.to_string(),
        NodeKind::Bool(truth) => truth.to_string(),
        _ => "…".to_owned(),
    };
    let message = format!("`{}` is no name of a node", name.value);
    let diagnostic = Diagnostic::error(&codes::BAD_VALUE, message).at(name.span);
    Some(diagnostic.help(format!(
        "in a file, `set` goes from the node to its inputs: `{node}: {{ {input}: {shown} }}`"
    )))
}

fn unknown_word(name: &str, word: &str, value: &Node) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        &codes::BAD_VALUE,
        format!("`{word}` is nothing that `set` can do to the node `{name}`"),
    )
    .at(value.span);
    match word.to_ascii_lowercase().as_str() {
        "remove" | "delete" | "none" | "mute" | "off" | "disable" | "disabled" => {
            diagnostic.help("`null` removes it, `bypass` takes it out and passes on what it gets")
        }
        word if did_you_mean(word, ["bypass"]).is_some() => {
            diagnostic.help("did you mean `bypass`?")
        }
        _ => diagnostic
            .help("write a map from inputs to values, `bypass`, or `null` to remove the node"),
    }
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": {
            "description": "A node by its id, its title or its class: values for its inputs, `bypass` to take it out and pass on what it gets, or `null` to remove it.",
            "oneOf": [
                {
                    "type": "object",
                    "additionalProperties": {
                        "description": "The input's value: a template, a plain value, `null` to remove the input, or `[node, slot]` to link it to another node's output.",
                    },
                },
                { "const": "bypass" },
                { "type": "null" },
            ],
        },
    })
}
