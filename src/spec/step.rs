//! One entry under `steps:`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::needs::{needs_schema, outputs_schema, read_needs, read_outputs, read_patterns};
use super::reading::{Fields, Key, Reading};
use super::{
    Command, Matrix, Node, NodeKind, Pipeline, Retry, SetNode, Spanned, command, duration,
    expression, limits, matrix, retry, schema, set,
};
use crate::diagnostic::{Diagnostic, Span, codes, did_you_mean};

/// A step as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its id and where it stands.
    pub id: Spanned<String>,
    /// What it does.
    pub work: StepWork,
    /// Whether a task runs, decided for each: a boolean, or a string: an expression, bare or in `{{ }}`.
    pub when: Option<Node>,
    /// Lists whose combinations are its tasks.
    pub matrix: Option<Matrix>,
    /// A list with a task for each item: a list, or a string: an expression, bare or in `{{ }}`.
    pub for_each: Option<Node>,
    /// Changes to the workflow's nodes, in written order.
    pub set: Vec<SetNode>,
    /// Steps it waits for beyond those its expressions use.
    pub needs: Vec<Need>,
    /// Output name → where the name stands, and the node's id, title or class; for a command the pattern of its files.
    pub outputs: IndexMap<String, (Span, Spanned<String>)>,
    /// How result files are named; a string.
    pub save_as: Option<Node>,
    /// The server it runs on; a string, maybe a template.
    pub server: Option<Node>,
    /// Whether scalars of the workflow file are templates: `None` follows the file's format.
    pub template: Option<bool>,
    /// When it is tried again; instead of the pipeline's.
    pub retry: Option<Retry>,
    /// How long an attempt may execute: a string that is a duration ([`parse_duration`](super::parse_duration)) or a template.
    pub timeout: Option<Node>,
    /// How long an attempt may be without progress: as `timeout`.
    pub stall_timeout: Option<Node>,
    /// What each task claims of the pipeline's limits.
    pub claims: IndexMap<String, Spanned<u32>>,
    /// Whether earlier results may stand for new ones.
    pub cache: Option<Spanned<CacheMode>>,
    /// How results get to its server.
    pub transfer: Option<Spanned<Transfer>>,
    /// A server may leave out outputs that it finds invalid, and run the others.
    pub allow_partial: bool,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum StepWork {
    /// It runs a workflow file, relative to the pipeline file: a string node, maybe a template, so that places inside it can be shown.
    Workflow(Node),
    /// It runs a program.
    Command(Command),
    /// A plugin carries it out.
    Plugin(PluginWork),
}

/// A step that a plugin carries out.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginWork {
    /// The plugin's name.
    pub plugin: Spanned<String>,
    /// What it is given: a map, maybe with templates in it; `None`: nothing.
    pub with: Option<Node>,
}

/// A step that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its id.
    pub step: Spanned<String>,
    /// It is waited for however it ends.
    pub optional: bool,
}

/// Whether earlier results may stand for new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// When the content that shaped them is the same.
    #[default]
    On,
    /// Never.
    Off,
    /// When the server's version, packs and models are the same, too.
    Strict,
}

/// How results get to a step's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// By upload, always.
    Upload,
}

impl Step {
    /// A step with nothing but its work.
    pub fn new(id: Spanned<String>, work: StepWork) -> Self {
        Self {
            id,
            work,
            when: None,
            matrix: None,
            for_each: None,
            set: Vec::new(),
            needs: Vec::new(),
            outputs: IndexMap::new(),
            save_as: None,
            server: None,
            template: None,
            retry: None,
            timeout: None,
            stall_timeout: None,
            claims: IndexMap::new(),
            cache: None,
            transfer: None,
            allow_partial: false,
        }
    }
}

const KEYS: &[Key] = &[
    Key::new(
        "workflow",
        "The workflow to run: a file in ComfyUI's API format, one that its interface saved, or a picture, film or the like that carries one. Relative to this file.",
        schema::text,
    ),
    Key::new(
        "command",
        "The program to run, and its arguments, as a list: no shell takes it apart. It runs in an empty folder of its own. Files become paths; a template that gives a list is spliced. A program with a `/` is relative to this file.",
        command::args_schema,
    ),
    Key::new(
        "plugin",
        "The plugin that carries the step out: a name from `plugins` in `kiln.yaml`.",
        schema::text,
    ),
    Key::new(
        "with",
        "What the plugin is given. Files are handed over as they are; `kiln plugin list` tells what a plugin takes.",
        || json!({ "type": "object" }),
    ),
    Key::new(
        "when",
        "An expression that decides for each task whether it runs; when it is false, the task is skipped.",
        expression::condition_schema,
    ),
    Key::new(
        "matrix",
        "Lists whose combinations are the step's tasks, the first key slowest. `exclude` takes combinations out, `include` adds some.",
        matrix::schema,
    ),
    Key::new(
        "for_each",
        "A list with a task for each item, which is `item` in templates: a list, or an expression. A bare path such as `steps.draw` or `steps.draw.images` starts tasks as those of `draw` end.",
        expression::list_schema,
    ),
    Key::new(
        "set",
        "Changes to the workflow's nodes: node → input → value. A node is named by its id, its title or its class.",
        set::schema,
    ),
    Key::new(
        "env",
        "Environment variables for the command, beside `PATH`, `HOME` and `TMPDIR`.",
        command::env_schema,
    ),
    Key::new(
        "stdin",
        "What the command reads from its standard input.",
        command::stdin_schema,
    ),
    Key::new(
        "needs",
        "Steps to wait for, beyond those whose results the templates use. `{ step: X, optional: true }` waits for X however it ends.",
        needs_schema,
    ),
    Key::new(
        "outputs",
        "Names for output nodes, for `steps.<step>.outputs.<name>`; only these nodes, and what they need, are run. For a command: names for the files it leaves, each with a pattern such as `*.mp4`.",
        outputs_schema,
    ),
    Key::new(
        "save_as",
        "How result files are named, relative to the step's folder. The file's extension is added when it is left out.",
        schema::text,
    ),
    Key::new(
        "server",
        "The server this step runs on: a name from `kiln.yaml`, or an address.",
        schema::text,
    ),
    Key::new(
        "template",
        "`false`: braces in the workflow file are text, not templates. `true`: templates also where they are off by default.",
        || json!({ "type": "boolean" }),
    ),
    Key::new(
        "claims",
        "What each task takes of the pipeline's `limits` while it is at work, such as `{ upscaler: 1 }`.",
        limits::claims_schema,
    ),
    Key::new(
        "retry",
        "When a failed attempt is followed by another one; instead of the pipeline's `retry`.",
        retry::schema,
    ),
    Key::new(
        "timeout",
        "How long an attempt may execute, such as `10m`. Waiting in a queue does not count.",
        duration::limit_schema,
    ),
    Key::new(
        "stall_timeout",
        "How long an attempt may be without progress, such as `5m`. Without it a warning comes after five minutes.",
        duration::limit_schema,
    ),
    Key::new(
        "cache",
        "`true` (the default): a task that was done before is not run again. `false`: it always runs. `strict`: it also runs again when the server's version, packs or models have changed.",
        cache_schema,
    ),
    Key::new(
        "transfer",
        "`upload`: results of other steps are always uploaded, never passed by reference on the same server.",
        || json!({ "const": "upload" }),
    ),
    Key::new(
        "allow_partial",
        "`true`: a server that refuses some outputs of the workflow runs the others, with a warning; the result does not go to the cache. `false` (the default): the step fails.",
        || json!({ "type": "boolean" }),
    ),
];

/// Keys that only a workflow can have, and why a command cannot.
const FOR_WORKFLOWS: &[(&str, &str)] = &[
    (
        "set",
        "`set` changes nodes of a workflow: give a command its values as arguments, in `env` or on `stdin`",
    ),
    (
        "template",
        "`template` is about texts inside a workflow file: what a command is given is always a template",
    ),
    (
        "transfer",
        "`transfer` is about files on a server: a command gets the paths of files on this machine",
    ),
    (
        "allow_partial",
        "`allow_partial` is about the outputs of a workflow: what a command leaves behind is named in `outputs`",
    ),
    (
        "server",
        "a command runs on this machine, whatever the servers are",
    ),
];

/// Keys that only a command can have, and why a workflow cannot.
const FOR_COMMANDS: &[(&str, &str)] = &[
    (
        "env",
        "`env` is for a program: give a workflow its values with `set`",
    ),
    (
        "stdin",
        "`stdin` is for a program: give a workflow its values with `set`",
    ),
];

/// Keys that only a step of a plugin can have.
const FOR_PLUGINS: &[(&str, &str)] = &[(
    "with",
    "`with` is for a plugin: give a workflow its values with `set`, and a command as arguments",
)];

/// Keys that only a workflow or a command can have.
const NOT_FOR_PLUGINS: &[(&str, &str)] = &[
    (
        "set",
        "`set` changes nodes of a workflow: give a plugin its values with `with`",
    ),
    (
        "template",
        "`template` is about texts inside a workflow file: texts in `with` are always templates",
    ),
    (
        "transfer",
        "`transfer` is about files on a server: a plugin gets files on this machine",
    ),
    (
        "allow_partial",
        "`allow_partial` is about the outputs of a workflow",
    ),
    (
        "server",
        "a plugin runs on this machine, whatever the servers are",
    ),
    (
        "env",
        "`env` is for a program: give a plugin its values with `with`",
    ),
    (
        "stdin",
        "`stdin` is for a program: give a plugin its values with `with`",
    ),
    (
        "outputs",
        "a plugin names its outputs itself; `kiln plugin list` shows them",
    ),
];

/// Reads a step; `None` when it does nothing that can be planned.
pub(super) fn read(
    id: &Spanned<String>,
    node: &Node,
    pipeline: &Pipeline,
    reading: &mut Reading<'_>,
) -> Option<Step> {
    let owner = format!("the step `{}`", id.value);
    let fields = reading.fields(node, &owner, KEYS, false)?;
    let work = work(&fields, id, &owner, reading);
    let command = fields.get("command").is_some() && fields.get("workflow").is_none();
    let plugin = matches!(work, Some(StepWork::Plugin(_)));
    // What it does stands in last: all its mistakes are told, also when it can do nothing.
    let mut step = Step::new(id.clone(), StepWork::Workflow(node.clone()));
    if let Some(outputs) = fields.get("outputs").filter(|_| !plugin) {
        step.outputs = if command {
            read_patterns(outputs, reading)
        } else {
            read_outputs(outputs, reading)
        };
    }
    if let Some(set) = fields.get("set").filter(|_| !command && !plugin) {
        step.set = set::read(set, reading);
    }
    if let Some(needs) = fields.get("needs") {
        step.needs = read_needs(needs, reading);
    }
    fan_out(&fields, &mut step, reading);
    texts(&fields, &mut step, reading);
    policies(&fields, &mut step, reading);
    if let Some(claims) = fields.get("claims") {
        let claims = limits::read_claims(claims, reading);
        step.claims = limits::check(&id.value, claims, pipeline, reading);
    }
    step.work = work?;
    Some(step)
}

/// What the step does: exactly one thing.
fn work(
    fields: &Fields<'_>,
    id: &Spanned<String>,
    owner: &str,
    reading: &mut Reading<'_>,
) -> Option<StepWork> {
    if let Some((key, node)) = fields.entry("plugin") {
        return plugin(fields, (key, node), owner, reading);
    }
    match (fields.entry("workflow"), fields.entry("command")) {
        (Some((workflow, _)), Some((command, _))) => {
            let later = workflow.span.max(command.span);
            let first = workflow.span.min(command.span);
            reading.push(
                Diagnostic::error(
                    &codes::WRONG_STEP_KIND,
                    format!("{owner} has both a `workflow` and a `command`"),
                )
                .at(later)
                .also(first, "the other one")
                .help("make two steps: the second one uses the results of the first, `{{ steps.first.images }}`"),
            );
            None
        }
        (Some((_, node)), None) => {
            misplaced(fields, FOR_COMMANDS, owner, "runs a workflow", reading);
            misplaced(fields, FOR_PLUGINS, owner, "runs a workflow", reading);
            Some(StepWork::Workflow(reading.text(node, "`workflow`")?))
        }
        (None, Some(_)) => {
            misplaced(fields, FOR_WORKFLOWS, owner, "runs a command", reading);
            misplaced(fields, FOR_PLUGINS, owner, "runs a command", reading);
            command::read(fields, reading).map(StepWork::Command)
        }
        (None, None) => {
            // A misspelt key has had its complaint.
            if !fields.meant("workflow") && !fields.meant("command") && !fields.meant("plugin") {
                reading.push(
                    Diagnostic::error(
                        &codes::MISSING_KEY,
                        format!("{owner} has neither a `workflow` nor a `command` nor a `plugin`"),
                    )
                    .at(id.span)
                    .help("add one, such as `workflow: workflows/example.json` or `command: [ffmpeg, -i, in.mp4, out.mp4]`"),
                );
            }
            None
        }
    }
}

/// A step of a plugin.
fn plugin(
    fields: &Fields<'_>,
    (key, node): (&Spanned<String>, &Node),
    owner: &str,
    reading: &mut Reading<'_>,
) -> Option<StepWork> {
    let other = ["workflow", "command"].into_iter();
    let other = other.filter_map(|name| Some((name, fields.entry(name)?.0.span)));
    if let Some((name, span)) = other.min_by_key(|(_, span)| *span) {
        reading.push(
            Diagnostic::error(
                &codes::WRONG_STEP_KIND,
                format!("{owner} has both a `{name}` and a `plugin`"),
            )
            .at(span.max(key.span))
            .also(span.min(key.span), "the other one")
            .help("make two steps: the second one uses the results of the first, `{{ steps.first.images }}`"),
        );
        return None;
    }
    misplaced(
        fields,
        NOT_FOR_PLUGINS,
        owner,
        "is carried out by a plugin",
        reading,
    );
    let with = fields.get("with").filter(|node| {
        let good = matches!(node.kind, NodeKind::Map(_));
        if !good {
            reading.wrong_type(node, "`with`", "a map");
        }
        good
    });
    let plugin = reading.string(node, "`plugin`")?;
    Some(StepWork::Plugin(PluginWork {
        plugin,
        with: with.cloned(),
    }))
}

fn misplaced(
    fields: &Fields<'_>,
    keys: &[(&str, &str)],
    owner: &str,
    does: &str,
    reading: &mut Reading<'_>,
) {
    for (name, why) in keys {
        if let Some((key, _)) = fields.entry(name) {
            reading.push(
                Diagnostic::error(
                    &codes::WRONG_STEP_KIND,
                    format!("{owner} {does}, and cannot have `{name}`"),
                )
                .at(key.span)
                .help(*why),
            );
        }
    }
}

fn fan_out(fields: &Fields<'_>, step: &mut Step, reading: &mut Reading<'_>) {
    step.when = fields
        .get("when")
        .and_then(|n| expression::condition("when", n, reading));
    step.matrix = fields
        .entry("matrix")
        .and_then(|(key, n)| matrix::read(key.span, n, reading));
    step.for_each = fields
        .get("for_each")
        .and_then(|n| expression::list("for_each", n, reading));
}

fn texts(fields: &Fields<'_>, step: &mut Step, reading: &mut Reading<'_>) {
    step.save_as = fields
        .get("save_as")
        .and_then(|n| reading.text(n, "`save_as`"));
    step.server = fields
        .get("server")
        .and_then(|n| reading.text(n, "`server`"));
    step.template = fields
        .get("template")
        .and_then(|n| reading.boolean(n, "`template`"));
}

fn policies(fields: &Fields<'_>, step: &mut Step, reading: &mut Reading<'_>) {
    step.retry = fields
        .entry("retry")
        .and_then(|(key, n)| retry::read(key.span, n, reading));
    step.timeout = fields
        .get("timeout")
        .and_then(|n| duration::read_limit(n, "`timeout`", reading));
    step.stall_timeout = fields
        .get("stall_timeout")
        .and_then(|n| duration::read_limit(n, "`stall_timeout`", reading));
    step.cache = fields.get("cache").and_then(|n| cache(n, reading));
    step.transfer = fields.get("transfer").and_then(|n| transfer(n, reading));
    step.allow_partial = fields
        .get("allow_partial")
        .and_then(|n| reading.boolean(n, "`allow_partial`"))
        .unwrap_or_default();
}

/// Reads `cache:`.
pub(super) fn cache(node: &Node, reading: &mut Reading<'_>) -> Option<Spanned<CacheMode>> {
    let mode = match &node.kind {
        NodeKind::Bool(true) => CacheMode::On,
        NodeKind::Bool(false) => CacheMode::Off,
        NodeKind::String(word) if word == "strict" => CacheMode::Strict,
        NodeKind::String(word) => {
            let help = match word.to_ascii_lowercase().as_str() {
                "no" | "off" | "never" | "false" => "write `cache: false`",
                "yes" | "on" | "always" | "true" => "write `cache: true`",
                word if did_you_mean(word, ["strict"]).is_some() => "did you mean `strict`?",
                _ => {
                    "write `cache: false` to run it always, or `cache: strict` to run it again when the server has changed"
                }
            };
            let why = format!("`cache` must be `true`, `false` or `strict`, and not `{word}`");
            reading.push(
                Diagnostic::error(&codes::BAD_VALUE, why)
                    .at(node.span)
                    .help(help),
            );
            return None;
        }
        _ => {
            reading.wrong_type(node, "`cache`", "`true`, `false` or `strict`");
            return None;
        }
    };
    Some(Spanned::new(mode, node.span))
}

fn transfer(node: &Node, reading: &mut Reading<'_>) -> Option<Spanned<Transfer>> {
    let written = reading.string(node, "`transfer`")?;
    if written.value == "upload" {
        return Some(Spanned::new(Transfer::Upload, node.span));
    }
    let why = format!("`transfer` must be `upload`, and not `{}`", written.value);
    let help = "leave it out to let results stay on a server where that is proven safe";
    reading.push(
        Diagnostic::error(&codes::BAD_VALUE, why)
            .at(node.span)
            .help(help),
    );
    None
}

pub(super) fn cache_schema() -> Value {
    json!({ "enum": [true, false, "strict"] })
}

pub(super) fn schema() -> Value {
    let mut schema = schema::object(
        "One step: a workflow, a program or a plugin's work, done once for each of its tasks.",
        KEYS,
        false,
    );
    let mut dependencies = Map::new();
    for (keys, work) in [
        (FOR_WORKFLOWS, "workflow"),
        (FOR_COMMANDS, "command"),
        (FOR_PLUGINS, "plugin"),
    ] {
        for (key, _) in keys {
            dependencies.insert((*key).to_owned(), json!([work]));
        }
    }
    let without = json!({ "not": { "required": ["plugin"] } });
    dependencies.insert("outputs".to_owned(), without);
    schema["dependencies"] = Value::Object(dependencies);
    let kinds = ["workflow", "command", "plugin"];
    schema["oneOf"] = kinds
        .iter()
        .map(|kind| json!({ "required": [kind] }))
        .collect();
    schema
}
