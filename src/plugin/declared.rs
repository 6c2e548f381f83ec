//! A plugin as a project declares it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::{ContentHash, StepId};
use crate::diagnostic::Span;
pub(super) use crate::spec::{Isolation, OnError};

/// A plugin of a plan. What is known only when it is loaded is put in then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    /// What `kiln.yaml` calls it.
    pub name: String,
    /// Where it is looked for, absolute.
    pub path: PathBuf,
    /// The project's folder, absolute.
    pub project: PathBuf,
    /// Its config, with placeholders for secrets.
    pub config: Value,
    /// What becomes of the run when it fails.
    pub on_error: OnError,
    /// How long a call may take, milliseconds.
    pub timeout_ms: u64,
    /// Where it runs.
    pub isolation: Isolation,
    /// The BLAKE3 hash that its file must have, hex.
    pub pin: Option<String>,
    /// The steps that it is for; `None`: all.
    pub steps: Option<Vec<StepId>>,
    /// Where its name stands.
    pub span: Option<Span>,
    /// Where its path stands.
    pub path_span: Option<Span>,
    /// Where its config stands.
    pub config_span: Option<Span>,
    /// The hash of the file that was loaded.
    pub hash: Option<ContentHash>,
    /// The version that it says it has.
    pub version: String,
}

impl Declared {
    /// A plugin at its usual settings.
    pub fn new(name: &str, path: PathBuf, project: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            path,
            project,
            config: Value::Null,
            on_error: OnError::Fail,
            timeout_ms: crate::spec::PLUGIN_TIMEOUT_MS,
            isolation: Isolation::None,
            pin: None,
            steps: None,
            span: None,
            path_span: None,
            config_span: None,
            hash: None,
            version: String::new(),
        }
    }

    /// Whether it is for a step.
    pub fn is_for(&self, step: &StepId) -> bool {
        let steps = self.steps.as_ref();
        steps.is_none_or(|steps| steps.contains(step))
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// What it adds to the key of a result that it shapes.
    pub fn shape(&self) -> Shape {
        Shape {
            name: self.name.clone(),
            hash: self.hash.map(ContentHash::to_hex).unwrap_or_default(),
            config: by_content(&self.config),
        }
    }
}

/// A value with the content and the names of files in the place of where they lie.
fn by_content(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(by_content).collect(),
        Value::Object(members) => match (members.get("path"), members.get("hash")) {
            (Some(Value::String(_)), Some(Value::String(hash))) => {
                json!({ "file": hash, "name": members.get("name") })
            }
            _ => members
                .iter()
                .map(|(key, member)| (key.clone(), by_content(member)))
                .collect(),
        },
        plain => plain.clone(),
    }
}

/// What a plugin adds to the key of a result that it shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What `kiln.yaml` calls it.
    pub name: String,
    /// The hash of its file.
    pub hash: String,
    /// Its config, with placeholders for secrets and files by content.
    pub config: Value,
}
