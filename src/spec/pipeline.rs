//! The pipeline file.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::needs::templated;
use super::reading::{Fields, Key, Reading, first};
use super::schema::ID;
use super::{
    CacheMode, Node, NodeKind, Param, Retry, Spanned, Step, duration, limits, param, retry, schema,
    step,
};
use crate::base::{StepId, safe_name};
use crate::diagnostic::{Diagnostic, FileId, codes};

/// A pipeline as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The file.
    pub file: FileId,
    /// Its name; the file's stem when none is written.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its params in written order.
    pub params: IndexMap<String, Param>,
    /// Params that are declared, but not well enough to be used (an error says so).
    pub broken_params: Vec<String>,
    /// The server for steps that name none; a string, maybe a template.
    pub server: Option<Node>,
    /// The most tasks in flight at a time.
    pub max_parallel: Option<Spanned<u32>>,
    /// Named counters that steps may claim.
    pub limits: IndexMap<String, Spanned<u32>>,
    /// When steps are tried again that do not say themselves.
    pub retry: Option<Retry>,
    /// How long an attempt of a step may execute that does not say itself: a duration or a template.
    pub timeout: Option<Node>,
    /// How long an attempt of a step may be without progress that does not say itself: a duration or a template.
    pub stall_timeout: Option<Node>,
    /// Whether earlier results may stand for new ones, for steps that do not say themselves.
    pub cache: Option<Spanned<CacheMode>>,
    /// Its steps in written order.
    pub steps: IndexMap<StepId, Step>,
    /// Steps that are declared, but not well enough to be planned (an error says so).
    pub broken_steps: Vec<String>,
}

impl Pipeline {
    /// A pipeline with nothing in it yet.
    pub fn new(file: FileId, name: String) -> Self {
        Self {
            file,
            name,
            description: None,
            params: IndexMap::new(),
            broken_params: Vec::new(),
            server: None,
            max_parallel: None,
            limits: IndexMap::new(),
            retry: None,
            timeout: None,
            stall_timeout: None,
            cache: None,
            steps: IndexMap::new(),
            broken_steps: Vec::new(),
        }
    }
}

const KEYS: &[Key] = &[
    Key::new(
        "version",
        "The version of the pipeline format: 1. May be left out.",
        || json!({ "const": 1 }),
    ),
    Key::new(
        "name",
        "The pipeline's name, and the name of its folder among the outputs. Default: the file's name without its extension.",
        || json!({ "type": "string", "minLength": 1 }),
    ),
    Key::new(
        "description",
        "What the pipeline is for.",
        || json!({ "type": "string" }),
    ),
    Key::new(
        "params",
        "What can be chosen for a run with `-p name=value`; `params.<name>` in templates.",
        params_schema,
    ),
    Key::new(
        "server",
        "The server for steps that name none: a name from `kiln.yaml`, or an address.",
        schema::text,
    ),
    Key::new(
        "max_parallel",
        "The most tasks at work at a time, over all servers. Default: no limit but the servers' own.",
        || json!({ "type": "integer", "minimum": 1 }),
    ),
    Key::new(
        "limits",
        "Named counters that steps may claim, such as `{ upscaler: 1 }`: tasks that claim more than is left wait.",
        limits::limits_schema,
    ),
    Key::new(
        "retry",
        "When a failed attempt is followed by another one, for steps that do not say themselves.",
        retry::schema,
    ),
    Key::new(
        "timeout",
        "How long an attempt may execute, for steps that do not say themselves, such as `10m`.",
        duration::limit_schema,
    ),
    Key::new(
        "stall_timeout",
        "How long an attempt may be without progress, for steps that do not say themselves, such as `5m`.",
        duration::limit_schema,
    ),
    Key::new(
        "cache",
        "Whether earlier results may stand for new ones, for steps that do not say themselves.",
        step::cache_schema,
    ),
    Key::new(
        "steps",
        "The steps by id. A step waits for those whose results its templates use.",
        steps_schema,
    )
    .required(),
];

const A_STEP: &str = "add at least one step: `steps: { draw: { workflow: workflows/draw.json } }`";

/// Reads a pipeline from its file's tree; `path` gives it a name.
pub(super) fn read(
    file: FileId,
    path: &Path,
    root: &Node,
    reading: &mut Reading<'_>,
) -> Option<Pipeline> {
    if root.is_null() {
        reading.push(
            Diagnostic::error(&codes::MISSING_KEY, "the pipeline is empty")
                .at(root.span)
                .help(A_STEP),
        );
        return None;
    }
    let fields = reading.fields(root, "the pipeline", KEYS, true)?;
    version(&fields, reading);
    let name = name(&fields, path, reading);
    let description = fields
        .get("description")
        .and_then(|n| reading.prose(n, "`description`"));
    let server = fields
        .get("server")
        .and_then(|n| reading.text(n, "`server`"));
    let max_parallel = fields
        .get("max_parallel")
        .and_then(|n| reading.count(n, "`max_parallel`"));
    let mut pipeline = Pipeline {
        description,
        server,
        max_parallel,
        limits: fields
            .get("limits")
            .map_or_else(IndexMap::new, |n| limits::read_limits(n, reading)),
        retry: fields
            .entry("retry")
            .and_then(|(key, n)| retry::read(key.span, n, reading)),
        timeout: fields
            .get("timeout")
            .and_then(|n| duration::read_limit(n, "`timeout`", reading)),
        stall_timeout: fields
            .get("stall_timeout")
            .and_then(|n| duration::read_limit(n, "`stall_timeout`", reading)),
        cache: fields.get("cache").and_then(|n| step::cache(n, reading)),
        ..Pipeline::new(file, name)
    };
    params(&fields, &mut pipeline, reading);
    steps(&fields, root, &mut pipeline, reading);
    Some(pipeline)
}

fn version(fields: &Fields<'_>, reading: &mut Reading<'_>) {
    let Some(node) = fields.get("version") else {
        return;
    };
    match &node.kind {
        NodeKind::Number(number) if number.as_u64() == Some(1) => {}
        NodeKind::Number(_) => reading.push(
            Diagnostic::error(&codes::BAD_VALUE, "this kiln reads pipelines of version 1")
                .at(node.span)
                .help("write `version: 1`, or use the kiln that the pipeline was written for"),
        ),
        _ => reading.wrong_type(node, "`version`", "an integer"),
    }
}

fn name(fields: &Fields<'_>, path: &Path, reading: &mut Reading<'_>) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let fallback = safe_name(&stem.unwrap_or_else(|| "pipeline".to_owned()));
    let Some(node) = fields.get("name") else {
        return fallback;
    };
    let Some(name) = reading.string(node, "`name`") else {
        return fallback;
    };
    if templated(&name, "`name`", reading) {
        return fallback;
    }
    let safe = safe_name(&name.value);
    if safe != name.value {
        reading.push(
            Diagnostic::error(
                &codes::BAD_NAME,
                format!("`{}` cannot be the name of a pipeline", name.value),
            )
            .at(name.span)
            .help(format!("it also names a folder; `{safe}` would do")),
        );
    }
    safe
}

fn params(fields: &Fields<'_>, pipeline: &mut Pipeline, reading: &mut Reading<'_>) {
    let Some(node) = fields.get("params") else {
        return;
    };
    for (name, value) in reading.map(node, "`params`").unwrap_or_default() {
        reading.id(name, "the name of a param");
        match param::read(name, value, reading) {
            Some(param) => {
                pipeline.params.insert(name.value.clone(), param);
            }
            None => pipeline.broken_params.push(name.value.clone()),
        }
    }
}

fn steps(fields: &Fields<'_>, root: &Node, pipeline: &mut Pipeline, reading: &mut Reading<'_>) {
    let Some((key, node)) = fields.entry("steps") else {
        let example = "steps: { draw: { workflow: workflows/draw.json } }";
        reading.missing(fields, first(root), "the pipeline", "steps", example);
        return;
    };
    let entries = reading.map(node, "`steps`").unwrap_or_default();
    let own = |name: &str| name.starts_with("x-");
    if matches!(node.kind, NodeKind::Map(_)) && entries.iter().all(|(id, _)| own(&id.value)) {
        reading.push(
            Diagnostic::error(&codes::MISSING_KEY, "the pipeline has no steps")
                .at(key.span)
                .help("add at least one: `draw: { workflow: workflows/draw.json }`"),
        );
    }
    for (id, value) in entries.iter().filter(|(id, _)| !own(&id.value)) {
        reading.id(id, "the id of a step");
        match step::read(id, value, pipeline, reading) {
            Some(step) => {
                pipeline.steps.insert(StepId(id.value.clone()), step);
            }
            None => pipeline.broken_steps.push(id.value.clone()),
        }
    }
}

fn params_schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": ID },
        "additionalProperties": param::schema(),
    })
}

fn steps_schema() -> Value {
    let id = ID.trim_start_matches('^').trim_end_matches('$');
    json!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": format!("^(x-.*|{id})$") },
        "patternProperties": { "^x-": schema::free() },
        "additionalProperties": step::schema(),
    })
}

pub(super) fn schema() -> Value {
    schema::object(
        "A kiln pipeline: steps that run ComfyUI workflows and programs.",
        KEYS,
        true,
    )
}
