//! One entry under `steps:`.

use indexmap::IndexMap;

use super::{Node, SetNode, Spanned};
use crate::diagnostic::Span;

/// A step as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its id and where it stands.
    pub id: Spanned<String>,
    /// The workflow file, relative to the pipeline file; may be a template. A string node, so that places inside it can be shown.
    pub workflow: Node,
    /// Changes to the workflow's nodes, in written order.
    pub set: Vec<SetNode>,
    /// Steps it waits for beyond those its expressions use.
    pub needs: Vec<Spanned<String>>,
    /// Output name → where the name stands, and the node's id, title or class.
    pub outputs: IndexMap<String, (Span, Spanned<String>)>,
    /// How result files are named; a string.
    pub save_as: Option<Node>,
    /// The server it runs on; a string, maybe a template.
    pub server: Option<Node>,
    /// Whether scalars of the workflow file are templates: `None` follows the file's format.
    pub template: Option<bool>,
}
