//! `set:` of a step: node → input → value.

use super::{Node, Spanned};

/// What `set` does to one node.
#[derive(Clone, Debug, PartialEq)]
pub struct SetNode {
    /// The node's id, title or class, as written.
    pub node: Spanned<String>,
    /// What happens to it.
    pub entry: SetEntry,
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum SetEntry {
    /// It is removed (`null`).
    Remove,
    /// Its inputs get values, in written order. A value may be or contain templates; `[string, integer]` is a link.
    Inputs(Vec<(Spanned<String>, Node)>),
}
