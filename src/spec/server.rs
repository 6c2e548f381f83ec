//! One entry under `servers:`.

use serde_json::{Value, json};

use super::reading::{Key, Reading};
use super::{Node, Spanned, schema};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};

/// A server as written.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// What it is.
    pub kind: ServerKind,
    /// Jobs kept queued or running at a time; an integer of at least 1, or a template.
    pub max_jobs: Option<Node>,
    /// A bearer token; a string, maybe a template. A secret, however it is written.
    pub token: Option<Node>,
    /// Headers of every request; strings, maybe templates. Secrets, however they are written.
    pub headers: Vec<(Spanned<String>, Node)>,
    /// A file with a root certificate to trust beside the system's, relative to the project file; a string, maybe a template.
    pub ca_cert: Option<Node>,
    /// How long a server that does not answer keeps its jobs, milliseconds.
    pub lost_after: Option<Spanned<u64>>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerKind {
    /// `ComfyUI` at one address, or at several equal ones.
    Comfy {
        /// Its addresses, at least one; strings, maybe templates.
        urls: Vec<Node>,
    },
    /// kiln's own server.
    Embedded {
        /// Whether classes that it does not have are painted as marked stand-ins.
        simulate: bool,
    },
}

const KINDS: &[&str] = &["comfy", "embedded"];

const KEYS: &[Key] = &[
    Key::new(
        "url",
        "The address of a ComfyUI server, such as `http://127.0.0.1:8188`.",
        schema::text,
    ),
    Key::new(
        "kind",
        "`comfy`: a ComfyUI server, local or remote (the default). `embedded`: kiln's own server, inside the kiln process.",
        || json!({ "enum": KINDS }),
    ),
    Key::new(
        "max_jobs",
        "The most jobs kept queued or running on it at a time. Default: 2, or the number of CPUs for `embedded`.",
        || schema::or_template(&json!({ "type": "integer", "minimum": 1 })),
    ),
];

/// Reads a server; `None` when it cannot be used.
pub(super) fn read(
    name: &Spanned<String>,
    node: &Node,
    reading: &mut Reading<'_>,
) -> Option<ServerSpec> {
    server_name(name, reading);
    let owner = format!("the server `{}`", name.value);
    let fields = reading.fields(node, &owner, KEYS, false)?;
    let max_jobs = fields.get("max_jobs").and_then(|n| {
        let template = n
            .as_str()
            .is_some_and(|t| t.contains("{{") || t.contains("{%"));
        (template || reading.count(n, "`max_jobs`").is_some()).then(|| n.clone())
    });
    let url = fields.get("url").map(|n| reading.text(n, "`url`"));
    let kind = match fields.get("kind") {
        Some(node) => kind(node, reading)?,
        None => "comfy",
    };
    let kind = match (kind, url, fields.entry("url")) {
        ("embedded", _, Some((key, _))) => {
            reading.push(
                Diagnostic::error(
                    &codes::BAD_VALUE,
                    format!("{owner} is embedded, and an embedded server has no `url`"),
                )
                .at(key.span)
                .help("leave `url` out, or leave `kind: embedded` out"),
            );
            return None;
        }
        ("embedded", ..) => ServerKind::Embedded { simulate: false },
        (_, Some(url), _) => ServerKind::Comfy { urls: vec![url?] },
        (_, None, _) => {
            let example = "url: http://127.0.0.1:8188";
            reading.missing(&fields, name.span, &owner, "url", example);
            return None;
        }
    };
    Some(ServerSpec {
        kind,
        max_jobs,
        token: None,
        headers: Vec::new(),
        ca_cert: None,
        lost_after: None,
    })
}

fn kind(node: &Node, reading: &mut Reading<'_>) -> Option<&'static str> {
    let written = reading.string(node, "`kind`")?;
    let known = KINDS.iter().copied();
    if let Some(kind) = known.clone().find(|k| *k == written.value) {
        return Some(kind);
    }
    let help = match did_you_mean(&written.value, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a server is `comfy` or `embedded`".to_owned(),
    };
    reading.push(
        Diagnostic::error(
            &codes::BAD_VALUE,
            format!("there is no server kind `{}`", written.value),
        )
        .at(written.span)
        .help(help),
    );
    None
}

/// A server's name must never look like an address: `--server` takes both.
fn server_name(name: &Spanned<String>, reading: &mut Reading<'_>) {
    let mut chars = name.value.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !good {
        reading.push(
            Diagnostic::error(
                &codes::BAD_NAME,
                format!("`{}` cannot be the name of a server", name.value),
            )
            .at(name.span)
            .help("names of servers consist of letters, digits, `-` and `_`"),
        );
    }
}

pub(super) fn schema() -> Value {
    let mut schema = schema::object("A server that runs jobs.", KEYS, false);
    schema["anyOf"] = json!([
        { "required": ["url"] },
        { "required": ["kind"], "properties": { "kind": { "const": "embedded" } } },
    ]);
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$" },
        "additionalProperties": schema,
    })
}
