//! `matrix:` of a step: lists whose combinations are its tasks.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::quoting::element;
use super::reading::Reading;
use super::schema::{self, ID};
use super::{Node, NodeKind, Spanned, template_diagnostic};
use crate::diagnostic::{Diagnostic, Span, codes, did_you_mean, list_of};
use crate::template::Template;

/// A matrix as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Where `matrix` stands.
    pub span: Span,
    /// Key → where it stands, and its values: a list, or a string that is one whole template. The first key varies slowest.
    pub keys: IndexMap<String, (Span, Node)>,
    /// Combinations that are added, each a map with all keys; their values may be templates.
    pub include: Vec<Node>,
    /// Combinations that are left out, each a map with some or all keys; their values may be templates.
    pub exclude: Vec<Node>,
}

/// Keys that are no keys of a combination.
const RESERVED: &[&str] = &["include", "exclude"];

/// Reads a `matrix`; `None` when it is no map.
pub(super) fn read(key: Span, node: &Node, reading: &mut Reading<'_>) -> Option<Matrix> {
    let entries = reading.map(node, "`matrix`")?;
    if entries.is_empty() {
        reading.push(
            Diagnostic::error(&codes::BAD_MATRIX, "`matrix` has no keys")
                .at(node.span)
                .help("give it a key with a list of values: `matrix: { style: [photo, ink] }`"),
        );
        return None;
    }
    let mut matrix = Matrix {
        span: key,
        keys: IndexMap::new(),
        include: Vec::new(),
        exclude: Vec::new(),
    };
    let own = |name: &str| !RESERVED.contains(&name);
    for (name, value) in entries.iter().filter(|(name, _)| own(&name.value)) {
        reading.id(name, "the key of a matrix");
        // One that cannot be used still is a key, of no values: what refers to it is no second mistake.
        let usable = values(name, value, reading);
        let values = if usable {
            value.clone()
        } else {
            Node {
                span: value.span,
                kind: NodeKind::List(Vec::new()),
            }
        };
        matrix.keys.insert(name.value.clone(), (name.span, values));
    }
    let combinations = |name: &str, reading: &mut Reading<'_>| {
        let (key, node) = entries.iter().find(|(key, _)| key.value == name)?;
        Some(combinations(key, node, &matrix.keys, reading))
    };
    let exclude = combinations("exclude", reading).unwrap_or_default();
    let include = combinations("include", reading).unwrap_or_default();
    Some(Matrix {
        include,
        exclude,
        ..matrix
    })
}

/// Whether a key's values can be a list; complains if not.
fn values(name: &Spanned<String>, node: &Node, reading: &mut Reading<'_>) -> bool {
    let key = &name.value;
    let list = |text: &str| format!("write `{key}: [{text}]`");
    let (what, help) = match &node.kind {
        NodeKind::List(_) => return true,
        NodeKind::String(text) if node.has_template() => match Template::parse(text) {
            Err(error) => {
                reading.push(template_diagnostic(&error, node, reading.sources));
                return false;
            }
            Ok(_) if text.trim().starts_with("{{") && Template::parse_expression(text).is_ok() => {
                return true;
            }
            Ok(_) => (
                "this template makes a text",
                format!(
                    "one whole template can give a list: `{key}: \"{{{{ params.values }}}}\"`; or {}",
                    list(&element(text))
                ),
            ),
        },
        NodeKind::String(text) if looks_like_expression(text) => (
            "this is a string",
            format!("if it is an expression, write `{key}: \"{{{{ {text} }}}}\"`"),
        ),
        NodeKind::String(text) => ("this is a string", list(&element(text))),
        NodeKind::Number(_) | NodeKind::Bool(_) => {
            let help = list(reading.source(node.span).trim());
            ("this is a single value", help)
        }
        NodeKind::Null => ("there is none", list("1, 2")),
        NodeKind::Map(_) => ("this is a map", list("1, 2")),
    };
    reading.push(
        Diagnostic::error(
            &codes::BAD_MATRIX,
            format!("the matrix key `{key}` must have a list of values, and {what}"),
        )
        .at(node.span)
        .help(help),
    );
    false
}

/// A bare path or call, as `for_each` would take it.
fn looks_like_expression(text: &str) -> bool {
    let named = ["params.", "steps.", "range(", "glob(", "read_"];
    named.iter().any(|start| text.starts_with(start)) && Template::parse_expression(text).is_ok()
}

/// The entries of `include` or `exclude`.
fn combinations(
    key: &Spanned<String>,
    node: &Node,
    keys: &IndexMap<String, (Span, Node)>,
    reading: &mut Reading<'_>,
) -> Vec<Node> {
    let name = key.value.as_str();
    let NodeKind::List(items) = &node.kind else {
        let mut diagnostic = Diagnostic::error(
            &codes::BAD_MATRIX,
            format!(
                "`{name}` must be a list of combinations, and this is {}",
                node.describe()
            ),
        )
        .at(node.span)
        .help(format!(
            "write a list of maps: `{name}: [{{ style: ink, size: 512 }}]`"
        ));
        if matches!(node.kind, NodeKind::String(_)) {
            diagnostic = diagnostic.help(format!(
                "`{name}` is reserved: a key of your own needs another name"
            ));
        }
        reading.push(diagnostic);
        return Vec::new();
    };
    // Without keys of its own the matrix is what the first entry of `include` says.
    let first = items
        .first()
        .filter(|_| keys.is_empty() && name == "include");
    let wanted: Vec<&str> = match first.map(|node| &node.kind) {
        Some(NodeKind::Map(entries)) => entries.iter().map(|(key, _)| &*key.value).collect(),
        _ => keys.keys().map(String::as_str).collect(),
    };
    items
        .iter()
        .filter(|item| combination(item, name, &wanted, first.is_some(), reading))
        .cloned()
        .collect()
}

/// Whether an entry can be used; complains if not.
fn combination(
    item: &Node,
    name: &str,
    keys: &[&str],
    defines: bool,
    reading: &mut Reading<'_>,
) -> bool {
    let Some(entries) = reading.map(item, &format!("an entry of `{name}`")) else {
        return false;
    };
    let mut good = true;
    let mut complain = |span: Span, why: String, help: String| {
        good = false;
        let diagnostic = Diagnostic::error(&codes::BAD_MATRIX, why)
            .at(span)
            .help(help);
        reading.push(diagnostic);
    };
    for (key, value) in entries {
        if !keys.contains(&key.value.as_str()) {
            let near = did_you_mean(&key.value, keys.iter().copied());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if keys.is_empty() => "give the matrix a key with a list of values".to_owned(),
                None => format!("its keys are {}", list_of(keys.iter().copied(), 12)),
            };
            let why = format!("the matrix has no key `{}`", key.value);
            complain(key.span, why, help);
        } else if value.is_null() {
            let why = format!("`{}` in `{name}` has no value", key.value);
            complain(key.span, why, "give it one".to_owned());
        }
    }
    let missing: Vec<&str> = keys
        .iter()
        .copied()
        .filter(|key| entries.iter().all(|(k, _)| k.value != *key))
        .collect();
    if entries.is_empty() {
        let why = format!("an entry of `{name}` is empty");
        complain(
            item.span,
            why,
            "give it keys of the matrix with their values".to_owned(),
        );
    } else if name == "include" && !missing.is_empty() {
        let missing = list_of(missing, 12);
        let why = format!("an entry of `include` has no value for {missing}");
        let help = "`include` adds whole combinations: give every key of the matrix a value";
        complain(item.span, why, help.to_owned());
    }
    if defines {
        for (key, _) in entries {
            reading.id(key, "the key of a matrix");
        }
    }
    good
}

pub(super) fn schema() -> Value {
    let combinations = |about: &str| {
        json!({
            "description": about,
            "type": "array",
            "items": { "type": "object", "minProperties": 1, "propertyNames": { "pattern": ID } },
        })
    };
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": ID },
        "properties": {
            "include": combinations("Combinations that are added, each with a value for every key."),
            "exclude": combinations("Combinations that are left out: all that have these values."),
        },
        "additionalProperties": schema::described(
            schema::or_template(&json!({ "type": "array" })),
            "The values: a list, or a template that gives one. `matrix.<key>` in templates.",
        ),
    })
}
