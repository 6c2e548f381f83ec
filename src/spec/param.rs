//! One entry under `params:`.

use super::{Node, Spanned};

/// A param as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name and where it is declared.
    pub name: Spanned<String>,
    /// Its type.
    pub kind: ParamKind,
    /// Its default; absent: required, `null`: optional. May be a template.
    pub default: Option<Node>,
    /// What it is for.
    pub description: Option<String>,
    /// The values it may have; empty: any.
    pub choices: Vec<Node>,
    /// The smallest value.
    pub minimum: Option<Spanned<serde_json::Number>>,
    /// The largest value.
    pub maximum: Option<Spanned<serde_json::Number>>,
}

/// The type of a param.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A text.
    String,
    /// A whole number, exact from -2^63 to 2^64 - 1.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0, or `random`: drawn once per run.
    Seed,
    /// A path to a file.
    File,
}
