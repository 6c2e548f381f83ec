//! `matrix:` of a step: lists whose combinations are its tasks.

use indexmap::IndexMap;

use super::Node;
use crate::diagnostic::Span;

/// A matrix as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Where `matrix` stands.
    pub span: Span,
    /// Key → where it stands, and its values: a list, or a string that is one whole template. The first key varies slowest.
    pub keys: IndexMap<String, (Span, Node)>,
    /// Combinations that are added, each a map with all keys; their values may be templates.
    pub include: Vec<Node>,
    /// Combinations that are left out, each a map with some or all keys; their values may be templates.
    pub exclude: Vec<Node>,
}
