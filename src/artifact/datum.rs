//! A value as kiln's language knows it: JSON, and files.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::Artifact;
use crate::base::ContentHash;

/// A file of the user's: a `file` param or `file(path)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileValue {
    /// Absolute path.
    pub path: PathBuf,
    /// Hash of its content when the plan was made.
    pub hash: ContentHash,
    /// Length in bytes.
    pub size: u64,
}

/// The result of an expression or a literal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Datum {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer (exact up to u64) or a finite float.
    Number(serde_json::Number),
    /// A text.
    String(String),
    /// A list.
    List(Vec<Datum>),
    /// A map in its written order.
    Map(IndexMap<String, Datum>),
    /// A file of the user's.
    File(FileValue),
    /// Something a task made.
    Artifact(Arc<Artifact>),
}

impl Datum {
    /// The word for the value's type in messages: `a string`, `an integer`, …
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(n) if n.is_f64() => "a number",
            Self::Number(_) => "an integer",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::File(_) => "a file",
            Self::Artifact(_) => "an artifact",
        }
    }

    /// A text that two values share only when they are equal, for looking one up among many. The order of a map's entries is nothing.
    pub fn identity(&self) -> String {
        match self {
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::identity).collect();
                format!("[{}]", items.join(","))
            }
            Self::Map(entries) => {
                let mut entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{key:?}:{}", value.identity()))
                    .collect();
                entries.sort_unstable();
                format!("{{{}}}", entries.join(","))
            }
            Self::Number(number) => number.to_string(),
            Self::String(text) => format!("{text:?}"),
            Self::File(file) => format!("file {} {}", file.path.display(), file.hash),
            other => format!("{} {}", other.describe(), other.to_json()),
        }
    }

    /// The value as plain JSON; a file becomes its path, a text artifact its text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Number(n) => Value::Number(n.clone()),
            Self::String(s) => Value::String(s.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(k, v)| (k.clone(), v.to_json()))
                    .collect(),
            ),
            Self::File(file) => Value::String(file.path.display().to_string()),
            Self::Artifact(artifact) => match (&artifact.path, &artifact.text) {
                (Some(path), _) => Value::String(path.display().to_string()),
                (None, Some(text)) => Value::String(text.clone()),
                (None, None) => Value::Null,
            },
        }
    }
}

impl From<serde_json::Value> for Datum {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Number(n) => Self::Number(n),
            Value::String(s) => Self::String(s),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(entries) => Self::Map(
                entries
                    .into_iter()
                    .map(|(k, v)| (k, Self::from(v)))
                    .collect(),
            ),
        }
    }
}
