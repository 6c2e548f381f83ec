//! A YAML file as a tree that knows where everything stands.

use indexmap::IndexMap;

use crate::artifact::Datum;
use crate::diagnostic::Span;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is written; for an aliased or merged value, where it is defined.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A YAML value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// A scalar: its whole text with quotes, a block scalar without its header and first indentation. A flow collection: from bracket
    /// to bracket. A block collection: its first key, or its first dash.
    pub span: Span,
    /// What it is.
    pub kind: NodeKind,
}

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer (exact up to u64) or a finite float.
    Number(serde_json::Number),
    /// Any other scalar, decoded.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in written order, keys as text, merged entries last.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a string with a template in it.
    pub fn has_template(&self) -> bool {
        self.as_str()
            .is_some_and(|text| text.contains("{{") || text.contains("{%"))
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind == NodeKind::Null
    }

    /// The word for its type in messages: `a string`, `an integer`, …
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            NodeKind::Null => "null",
            NodeKind::Bool(_) => "a boolean",
            NodeKind::Number(n) if n.is_f64() => "a number",
            NodeKind::Number(_) => "an integer",
            NodeKind::String(_) => "a string",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }

    /// The value as written; templates in it stay text.
    pub fn to_datum(&self) -> Datum {
        match &self.kind {
            NodeKind::Null => Datum::Null,
            NodeKind::Bool(value) => Datum::Bool(*value),
            NodeKind::Number(value) => Datum::Number(value.clone()),
            NodeKind::String(text) => Datum::String(text.clone()),
            NodeKind::List(items) => Datum::List(items.iter().map(Self::to_datum).collect()),
            NodeKind::Map(entries) => Datum::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.value.clone(), value.to_datum()))
                    .collect::<IndexMap<_, _>>(),
            ),
        }
    }
}
