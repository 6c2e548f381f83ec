//! What a task produced.

use super::kinds::Kind;
use crate::base::{ContentHash, NodeId, ServerName, StepId, TaskName, safe_name};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A file or text that a task produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is.
    pub kind: Kind,
    /// Its file name as the server gave it (made safe), e.g. `out_00001_.png`; empty for a text without a file.
    pub name: String,
    /// The absolute path of the downloaded file; `None` for a text that `save_as` gives no name.
    pub path: Option<PathBuf>,
    /// The text of a text artifact.
    pub text: Option<String>,
    /// Hash of the file's or the text's bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub size: u64,
    /// The node that made it.
    pub node: NodeId,
    /// The key of the node's result that held it, e.g. `images`.
    pub key: String,
    /// The name that `outputs:` gives the node, if any.
    pub output: Option<String>,
    /// Position among the task's artifacts: by node id, then in the server's order.
    pub index: usize,
    /// Whether the server holds it as a `temp` file.
    pub temp: bool,
    /// The step that made it.
    pub step: StepId,
    /// The task that made it.
    pub task: TaskName,
    /// Where the server keeps it, for passing it on by reference.
    pub remote: Option<RemoteFile>,
    /// Members beside `filename`, `subfolder` and `type` that the server told of the file (e.g. `frame_rate`).
    pub meta: serde_json::Map<String, serde_json::Value>,
}

impl Artifact {
    /// The node under which a command's stdout is told.
    pub const STDOUT: &str = "stdout";

    /// A text of nothing that a node of a task made, for what is known to be put over it.
    pub fn blank(step: StepId, task: TaskName, node: NodeId) -> Self {
        Self {
            kind: Kind::Text,
            name: String::new(),
            path: None,
            text: None,
            hash: ContentHash::of(b""),
            size: 0,
            node,
            key: String::new(),
            output: None,
            index: 0,
            temp: false,
            step,
            task,
            remote: None,
            meta: serde_json::Map::new(),
        }
    }

    /// Whether it is what a command printed.
    pub fn is_stdout(&self) -> bool {
        self.node.as_str() == Self::STDOUT && self.text.is_some() && self.output.is_none()
    }

    /// The text that stands for it, where it is no file.
    pub fn as_text(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.path.is_none())
    }

    /// The text as it is when `save_as` makes a file of it.
    #[must_use]
    pub fn text_file(self) -> Self {
        Self {
            name: safe_name(&format!("{}.txt", self.node)),
            ..self
        }
    }
}

/// A file as a server names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteFile {
    /// The server that keeps it.
    pub server: ServerName,
    /// The address of the endpoint of that server; empty where it was not noted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Its name there.
    pub filename: String,
    /// Its folder below the type's folder; often empty.
    pub subfolder: String,
    /// `output`, `temp` or `input`.
    pub folder: String,
    /// The `ETag` that its download answered.
    pub etag: Option<String>,
}
