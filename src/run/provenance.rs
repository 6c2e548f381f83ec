//! A record beside each result of what made it: `a.png` → `a.png.kiln.json`. Its format is in `docs/guide/provenance.md`.
//!
//! What is the same for all files of a task is put into text once. A record is not synced: it is convenient, and nothing in kiln reads
//! it. One that cannot be written is a warning, never a failure. Secrets are there by name, paths of this machine are not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cache::Made;
use crate::artifact::{Artifact, Datum, Kind};
use crate::base::{
    ContentHash, NodeId, RunId, ServerName, StepId, TaskName, WriteError, put_unsynced, secret,
};
use crate::diagnostic::{Diagnostic, codes};
use crate::plan::key::{Paths, Recorded};
use crate::plan::{Plan, Rendered, RenderedPlugin, StepPlan, Uploadable, task_seed};
use crate::workflow::Graph;

/// The version of a record.
const FORMAT: u32 = 1;
/// What is added to a file's name.
const ENDING: &str = ".kiln.json";

/// What a task did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Did<'a> {
    /// It had a graph executed. Inputs that took files hold what the server calls them.
    Graph(&'a Rendered),
    /// It had a graph executed that an earlier session sent. Plugins may have changed what is rendered here, and nobody tells how.
    Untold(&'a Rendered),
    /// It ran a program.
    Command {
        /// The program as it was written.
        program: &'a str,
        /// Its arguments.
        args: &'a [String],
        /// Its own variables.
        env: &'a IndexMap<String, String>,
        /// What it read.
        stdin: Option<&'a str>,
        /// Files whose paths it was given.
        files: &'a [(PathBuf, ContentHash)],
    },
    /// It had a plugin do it.
    Plugin(&'a RenderedPlugin),
}

/// The server that did it.
#[derive(Clone, Debug)]
pub(super) struct By<'a> {
    /// Its name.
    pub(super) name: &'a ServerName,
    /// Its address; empty for this machine.
    pub(super) url: &'a str,
    /// What it was then.
    pub(super) facts: &'a Recorded,
    /// It paints stand-ins for what it cannot compute.
    pub(super) simulated: bool,
}

/// Everything that is told of a task that ended well.
#[derive(Clone, Debug)]
pub(super) struct Provenance<'a> {
    pub(super) plan: &'a Plan,
    pub(super) run: &'a RunId,
    pub(super) step: &'a StepPlan,
    pub(super) task: &'a TaskName,
    /// Which attempt, from 1.
    pub(super) attempt: u32,
    pub(super) did: Did<'a>,
    pub(super) by: By<'a>,
    /// The job's id on the server.
    pub(super) prompt_id: Option<&'a str>,
    /// The task's key.
    pub(super) key: Option<&'a ContentHash>,
    /// Who really made it, when it was made before.
    pub(super) made: Option<&'a Made>,
    /// When the task started and ended, milliseconds since 1970.
    pub(super) times: (u64, u64),
}

/// What is told of one file.
#[derive(Serialize)]
struct OfFile<'a> {
    format: u32,
    kiln: &'static str,
    file: &'a str,
    kind: Kind,
    hash: &'a ContentHash,
    size: u64,
    node: &'a NodeId,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
}

/// What is told of all files of a task.
#[derive(Serialize)]
struct OfTask<'a> {
    pipeline: &'a str,
    run: &'a RunId,
    step: &'a StepId,
    task: &'a TaskName,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a ContentHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_from: Option<Value>,
    started_at: String,
    ended_at: String,
    server: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_id: Option<&'a str>,
    params: Map<String, Value>,
    seeds: Value,
    models: Vec<Value>,
    inputs: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<&'a Graph>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<Value>,
}

/// What the records of a task's files have in common, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Record {
    of_task: String,
}

impl Record {
    /// Writes the record of each of the task's files. Blocks. The answer is a warning about the first that could not be written.
    pub(super) fn write(&self, artifacts: &[Arc<Artifact>]) -> Option<Diagnostic> {
        let mut files = artifacts
            .iter()
            .filter_map(|artifact| Some((artifact, artifact.path.as_deref()?)));
        let failed = files.find_map(|(artifact, path)| put(artifact, path, &self.of_task).err())?;
        let message = format!("a result has no record of its origin: {failed}");
        Some(
            Diagnostic::warning(&codes::CANNOT_WRITE, message)
                .help("the result itself is complete"),
        )
    }
}

impl Provenance<'_> {
    /// The record, but for what is told of each file.
    pub(super) fn record(&self) -> Record {
        Record {
            of_task: self.of_task(),
        }
    }

    /// The members that all files share, as JSON text.
    fn of_task(&self) -> String {
        let (graph, command) = match self.did {
            // Plugins are not asked again about a result that is there: what they made of the graph is kept with it.
            Did::Graph(rendered) => {
                let kept = self.made.and_then(|made| made.graph.as_ref());
                (Some(kept.unwrap_or(&rendered.graph)), None)
            }
            Did::Command { .. } => (None, Some(self.command())),
            Did::Plugin(_) | Did::Untold(_) => (None, None),
        };
        let of_task = OfTask {
            pipeline: &self.plan.pipeline,
            run: self.run,
            step: &self.step.id,
            task: self.task,
            attempt: self.attempt,
            key: self.key,
            cached_from: self.made.map(
                |made| json!({ "run": made.run, "task": made.task, "ended_at": time(made.at) }),
            ),
            started_at: time(self.times.0),
            ended_at: time(self.times.1),
            server: self.server(),
            prompt_id: self.prompt_id,
            params: params(self.plan),
            seeds: json!({
                "run": self.plan.seed,
                "task": task_seed(self.plan.seed, self.task.as_str(), self.attempt),
                "graph": graph.map(seeds).unwrap_or_default(),
            }),
            models: self.models(),
            inputs: self.inputs(),
            graph,
            command,
            with: match self.did {
                Did::Plugin(rendered) => Some(with(rendered)),
                _ => None,
            },
            plugins: self.plugins(),
        };
        // Names and texts only: nothing in it can fail to become JSON.
        named_secrets(serde_json::to_string_pretty(&of_task).unwrap_or_default())
    }

    /// The plugins that did it, or had a hand in it.
    fn plugins(&self) -> Vec<Value> {
        let own = match self.did {
            Did::Plugin(rendered) => Some(&rendered.plugin),
            _ => None,
        };
        let names = self.step.shaped_by.iter().chain(own);
        let plugins = names.filter_map(|name| self.plan.plugins.get(name));
        plugins
            .map(|one| json!({ "name": one.name, "version": one.version, "hash": one.hash }))
            .collect()
    }

    fn server(&self) -> Value {
        let facts = match self.made {
            Some(made) => &made.server,
            None => self.by.facts,
        };
        let mut server = json!({
            "name": self.by.name,
            "url": without_credentials(self.by.url),
            "version": facts.version,
            "packs": facts.packs,
        });
        if self.by.simulated {
            server["simulated"] = true.into();
        }
        server
    }

    fn models(&self) -> Vec<Value> {
        let facts = self.made.map_or(self.by.facts, |made| &made.server);
        facts
            .models
            .iter()
            .map(|(name, model)| {
                json!({ "name": name, "size": model.size, "modified_at": model.modified.map(time) })
            })
            .collect()
    }

    fn inputs(&self) -> Vec<Value> {
        match self.did {
            Did::Graph(rendered) | Did::Untold(rendered) => rendered
                .uploads
                .iter()
                .map(|upload| {
                    let (name, hash, size) = match &upload.file {
                        Uploadable::File(file) => (file_name(&file.path), file.hash, file.size),
                        Uploadable::Artifact(made) => (made.name.clone(), made.hash, made.size),
                    };
                    json!({
                        "node": upload.node,
                        "input": upload.input,
                        "file": name,
                        "hash": hash,
                        "size": size,
                    })
                })
                .collect(),
            Did::Plugin(RenderedPlugin { files, .. }) => files
                .iter()
                .map(|(path, hash)| json!({ "file": file_name(path), "hash": hash }))
                .collect(),
            Did::Command { files, .. } => files
                .iter()
                .map(|(path, hash)| json!({ "file": file_name(path), "hash": hash }))
                .collect(),
        }
    }

    fn command(&self) -> Value {
        let Did::Command {
            program,
            args,
            env,
            stdin,
            files,
        } = self.did
        else {
            return Value::Null;
        };
        let paths = Paths::of(files);
        let plain = |text: &str| paths.of_here(text);
        json!({
            "program": program,
            "args": args.iter().map(|arg| plain(arg)).collect::<Vec<_>>(),
            "env": env.iter().map(|(k, v)| (k.clone(), plain(v).into())).collect::<Map<_, _>>(),
            "stdin": stdin.map(plain),
        })
    }
}

/// What a plugin was given; files by name and content.
fn with(rendered: &RenderedPlugin) -> Value {
    let with = rendered.with.iter();
    with.map(|(key, value)| (key.clone(), shown(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn put(artifact: &Artifact, path: &Path, of_task: &str) -> Result<(), WriteError> {
    let file = file_name(path);
    let of_file = OfFile {
        format: FORMAT,
        kiln: env!("CARGO_PKG_VERSION"),
        file: &file,
        kind: artifact.kind,
        hash: &artifact.hash,
        size: artifact.size,
        node: &artifact.node,
        output: artifact.output.as_deref(),
    };
    let mut text = serde_json::to_string_pretty(&of_file).unwrap_or_default();
    text.truncate(text.trim_end_matches('}').trim_end().len());
    text.push(',');
    text.push_str(of_task.trim_start_matches('{'));
    text.push('\n');
    put_unsynced(&beside(path), text.as_bytes())
}

/// Where the record of a file lies.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ENDING);
    PathBuf::from(name)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| ms.to_string(), |time| time.to_string())
}

/// A URL without a user, a password, and what may be one in its query.
fn without_credentials(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return String::new();
    };
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.set_query(None);
    parsed.set_fragment(None);
    parsed.as_str().trim_end_matches('/').to_owned()
}

fn params(plan: &Plan) -> Map<String, Value> {
    plan.params
        .iter()
        .map(|(name, param)| (name.clone(), shown(&param.value)))
        .collect()
}

/// A value; a file by name and content.
fn shown(value: &Datum) -> Value {
    match value {
        Datum::File(file) => json!({ "file": file_name(&file.path), "hash": file.hash }),
        Datum::Artifact(made) if made.as_text().is_none() => {
            json!({ "file": made.name, "hash": made.hash })
        }
        Datum::List(items) => items.iter().map(shown).collect(),
        Datum::Map(entries) => entries.iter().map(|(k, v)| (k.clone(), shown(v))).collect(),
        plain => plain.to_json(),
    }
}

/// Whole numbers that a graph has under a name that ends in `seed`, by node and input.
fn seeds(graph: &Graph) -> Map<String, Value> {
    let mut out = Map::new();
    for (id, node) in &graph.nodes {
        for (input, value) in &node.inputs {
            if input.ends_with("seed") && (value.is_u64() || value.is_i64()) {
                out.insert(format!("{id}.{input}"), value.clone());
            }
        }
    }
    out
}

/// Text with the names of secrets where kiln's own placeholders stand.
fn named_secrets(mut text: String) -> String {
    if secret::is_in(&text) {
        for name in secret::names_in(&text) {
            let shown = format!("{{{{ secret('{name}') }}}}");
            text = text.replace(&secret::placeholder(&name), &shown);
        }
    }
    text
}

#[cfg(test)]
mod tests;
