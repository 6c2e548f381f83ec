//! One entry under `profiles:`.

use serde_json::{Value, json};

use super::reading::{Key, Reading};
use super::{Node, NodeKind, Spanned, schema};
use crate::diagnostic::{Diagnostic, codes};

/// Settings that `--profile NAME` chooses together.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name and where it is declared.
    pub name: Spanned<String>,
    /// The server that every step is moved to; a string, maybe a template.
    pub server: Option<Node>,
    /// Values for params, maybe templates; those that a pipeline lacks are ignored.
    pub params: Vec<(Spanned<String>, Node)>,
    /// Where results go, relative to the project; a string, maybe a template.
    pub output_dir: Option<Node>,
    /// The most tasks at work at a time.
    pub max_parallel: Option<Spanned<u32>>,
}

const KEYS: &[Key] = &[
    Key::new(
        "server",
        "The server that every step runs on, whatever it says itself: a name from `servers`, or an address.",
        schema::text,
    ),
    Key::new(
        "params",
        "Values for params; `-p` and `--params` win over them. Those that a pipeline does not have are ignored.",
        || {
            json!({
                "type": "object",
                "additionalProperties": { "description": "The param's value, or a template with `env()`." },
            })
        },
    ),
    Key::new(
        "output_dir",
        "Where results go, relative to this file, instead of the project's.",
        schema::text,
    ),
    Key::new(
        "max_parallel",
        "The most tasks at work at a time, over all servers, instead of the pipeline's.",
        || json!({ "type": "integer", "minimum": 1 }),
    ),
];

/// Reads a profile. One that is no map is empty: whoever chooses it gets no second complaint.
pub(super) fn read(name: &Spanned<String>, node: &Node, reading: &mut Reading<'_>) -> Profile {
    let owner = format!("the profile `{}`", name.value);
    profile_name(name, reading);
    let mut profile = Profile {
        name: name.clone(),
        server: None,
        params: Vec::new(),
        output_dir: None,
        max_parallel: None,
    };
    let Some(fields) = reading.fields(node, &owner, KEYS, false) else {
        return profile;
    };
    if let Some(node) = fields.get("params") {
        profile.params = reading.map(node, "`params`").unwrap_or_default().to_vec();
    }
    for (key, value) in &profile.params {
        if matches!(value.kind, NodeKind::Map(_)) {
            reading.push(
                Diagnostic::error(
                    &codes::WRONG_TYPE,
                    format!(
                        "`{}` in a profile is a value, and no declaration",
                        key.value
                    ),
                )
                .at(key.span)
                .help(format!(
                    "write `{}: VALUE`; the pipeline declares the param",
                    key.value
                )),
            );
        }
    }
    profile.server = fields
        .get("server")
        .and_then(|n| reading.text(n, "`server`"));
    profile.output_dir = fields
        .get("output_dir")
        .and_then(|n| reading.text(n, "`output_dir`"));
    profile.max_parallel = fields
        .get("max_parallel")
        .and_then(|n| reading.count(n, "`max_parallel`"));
    profile
}

/// It is typed after `--profile`.
fn profile_name(name: &Spanned<String>, reading: &mut Reading<'_>) {
    if !super::server::plain_name(&name.value) {
        reading.push(
            Diagnostic::error(
                &codes::BAD_NAME,
                format!("`{}` cannot be the name of a profile", name.value),
            )
            .at(name.span)
            .help("names of profiles consist of letters, digits, `-` and `_`"),
        );
    }
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": super::server::NAME },
        "additionalProperties": schema::object("Settings that `--profile` chooses together.", KEYS, false),
    })
}
