//! The project file, `kiln.yaml`.

use indexmap::IndexMap;

use super::{Node, Spanned};
use crate::diagnostic::FileId;

/// A project as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The file.
    pub file: FileId,
    /// Declared servers; the span is the name's.
    pub servers: IndexMap<String, Spanned<ServerSpec>>,
    /// Servers that are declared, but not well enough to be used (an error says so).
    pub broken_servers: Vec<String>,
    /// The server for steps that name none; a string, maybe a template.
    pub default_server: Option<Node>,
    /// Where results go, relative to the project; a string, maybe a template.
    pub output_dir: Option<Node>,
}

/// A server as written.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// What it is.
    pub kind: ServerKind,
    /// Jobs kept queued or running at a time; an integer of at least 1, or a template.
    pub max_jobs: Option<Node>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerKind {
    /// `ComfyUI` at an address.
    Comfy {
        /// Its address; a string, maybe a template.
        url: Node,
    },
    /// kiln's own server.
    Embedded,
}
