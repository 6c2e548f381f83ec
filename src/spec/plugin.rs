//! One entry under `plugins:` of the project file.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reading::{Fields, Key, Reading, first};
use super::{Node, NodeKind, Spanned, duration, schema};
use crate::diagnostic::{Diagnostic, codes};

/// How long a call of a plugin may take, unless its entry says otherwise, milliseconds.
pub const PLUGIN_TIMEOUT_MS: u64 = 30_000;

/// A plugin as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// Its name and where it is declared.
    pub name: Spanned<String>,
    /// Where it is, relative to the project file.
    pub path: Spanned<String>,
    /// Its own settings: any value, maybe with templates in it.
    pub config: Option<Node>,
    /// What becomes of the run when it fails.
    pub on_error: OnError,
    /// How long a call may take, milliseconds.
    pub timeout_ms: u64,
    /// Where it runs.
    pub isolation: Isolation,
    /// The BLAKE3 hash that its file must have, hex.
    pub hash: Option<Spanned<String>>,
    /// The pipelines that it is for; `None`: all.
    pub pipelines: Option<Vec<Spanned<String>>>,
    /// The steps that it is for; `None`: all.
    pub steps: Option<Vec<Spanned<String>>>,
}

/// What becomes of a run when a plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The task fails that it failed at; a run whose events it failed at does not end well.
    #[default]
    Fail,
    /// It is told, and the run goes on without what it should have done.
    Warn,
}

/// Where a plugin runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In kiln's own process, on a thread of its own.
    #[default]
    None,
    /// In a process of its own.
    Process,
}

const KEYS: &[Key] = &[
    Key::new(
        "path",
        "The plugin's library, relative to this file: the file, its name without prefix and ending, or a folder with the library or its crate.",
        schema::text,
    )
    .required(),
    Key::new(
        "config",
        "The plugin's own settings. Texts may be templates with `env()` and `secret()`.",
        || json!({ "type": "object" }),
    ),
    Key::new(
        "on_error",
        "What becomes of the run when the plugin fails. `fail` (the default): the task fails, and a run whose events it failed at does not end well. `warn`: it is told, and the run goes on.",
        || json!({ "enum": ["fail", "warn"] }),
    ),
    Key::new(
        "timeout",
        "How long one call of the plugin may take, such as `10s`. Default: `30s`. Its steps have their own `timeout` in the pipeline.",
        duration::schema,
    ),
    Key::new(
        "isolation",
        "`none` (the default): the plugin runs in kiln's process. `process`: in one of its own, so that a crash is only a failed call.",
        || json!({ "enum": ["none", "process"] }),
    ),
    Key::new(
        "hash",
        "The BLAKE3 hash that the library must have, as `kiln plugin list` shows it: another one is not loaded.",
        || json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
    ),
    Key::new(
        "pipelines",
        "The pipelines that the plugin is for, by name. Default: all.",
        names_schema,
    ),
    Key::new(
        "steps",
        "The steps whose graphs and results the plugin may see and change. Default: all.",
        names_schema,
    ),
];

fn names_schema() -> Value {
    json!({ "type": "array", "items": { "type": "string", "minLength": 1 } })
}

/// Reads a plugin; `None` when it cannot be loaded.
pub(super) fn read(
    name: &Spanned<String>,
    node: &Node,
    reading: &mut Reading<'_>,
) -> Option<PluginSpec> {
    reading.id(name, "the name of a plugin");
    let owner = format!("the plugin `{}`", name.value);
    let fields = reading.fields(node, &owner, KEYS, false)?;
    let on_error = word(
        &fields,
        "on_error",
        &[("fail", OnError::Fail), ("warn", OnError::Warn)],
        reading,
    );
    let isolation = word(
        &fields,
        "isolation",
        &[("none", Isolation::None), ("process", Isolation::Process)],
        reading,
    );
    let timeout = fields.get("timeout").and_then(|n| timeout(n, reading));
    let hash = fields.get("hash").and_then(|n| hash(n, reading));
    let config = fields.get("config").filter(|node| {
        let good = matches!(node.kind, NodeKind::Map(_));
        if !good {
            reading.wrong_type(node, "`config`", "a map");
        }
        good
    });
    let pipelines = names(&fields, "pipelines", reading);
    let steps = names(&fields, "steps", reading);
    let Some(path) = fields.get("path") else {
        let at = match &node.kind {
            NodeKind::Map(entries) if entries.is_empty() => name.span,
            _ => first(node),
        };
        reading.missing(&fields, at, &owner, "path", "path: plugins/my-plugin");
        return None;
    };
    Some(PluginSpec {
        name: name.clone(),
        path: reading.string(path, "`path`")?,
        config: config.cloned(),
        on_error: on_error.unwrap_or_default(),
        timeout_ms: timeout.unwrap_or(PLUGIN_TIMEOUT_MS),
        isolation: isolation.unwrap_or_default(),
        hash,
        pipelines,
        steps,
    })
}

fn word<T: Copy>(
    fields: &Fields<'_>,
    key: &str,
    words: &[(&str, T)],
    reading: &mut Reading<'_>,
) -> Option<T> {
    let node = fields.get(key)?;
    let written = reading.string(node, &format!("`{key}`"))?;
    let found = words.iter().find(|(word, _)| *word == written.value);
    if found.is_none() {
        let known = || words.iter().map(|(word, _)| *word);
        let all: Vec<String> = known().map(|word| format!("`{word}`")).collect();
        let why = format!(
            "`{key}` must be {}, and not `{}`",
            all.join(" or "),
            written.value
        );
        let built = Diagnostic::error(&codes::BAD_VALUE, why).at(node.span);
        reading.push(built.suggest(&written.value, known()));
    }
    found.map(|(_, value)| *value)
}

fn timeout(node: &Node, reading: &mut Reading<'_>) -> Option<u64> {
    duration::read_limit(node, "`timeout`", reading)?;
    let text = node.as_str()?;
    let read = duration::parse_duration(text).ok();
    if read.is_none() {
        let why = "`timeout` of a plugin is a duration such as `10s`, and no template";
        reading.push(Diagnostic::error(&codes::BAD_DURATION, why).at(node.span));
    }
    read
}

fn hash(node: &Node, reading: &mut Reading<'_>) -> Option<Spanned<String>> {
    let written = reading.string(node, "`hash`")?;
    let hex = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
    if written.value.len() == 64 && written.value.chars().all(hex) {
        return Some(written);
    }
    let why = "`hash` must be a BLAKE3 hash: 64 digits and letters from `a` to `f`";
    reading.push(
        Diagnostic::error(&codes::BAD_VALUE, why)
            .at(node.span)
            .help("`kiln plugin list` shows the hash of each plugin"),
    );
    None
}

fn names(
    fields: &Fields<'_>,
    key: &str,
    reading: &mut Reading<'_>,
) -> Option<Vec<Spanned<String>>> {
    let node = fields.get(key)?;
    let NodeKind::List(items) = &node.kind else {
        reading.wrong_type(node, &format!("`{key}`"), "a list of names");
        return None;
    };
    let what = format!("a name in `{key}`");
    Some(
        items
            .iter()
            .filter_map(|item| reading.string(item, &what))
            .collect(),
    )
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": schema::ID },
        "additionalProperties": schema::object("A plugin: a library that kiln loads.", KEYS, false),
    })
}
