//! `command:` of a step: a program on this machine.

use super::{Node, Spanned};
use crate::diagnostic::Span;

/// A program, its arguments and what it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Where `command` stands.
    pub span: Span,
    /// The program and its arguments, at least one; scalars, maybe templates, or lists that are spliced.
    pub args: Vec<Node>,
    /// Its environment beside `PATH`, `HOME` and `TMPDIR`; scalars, maybe templates.
    pub env: Vec<(Spanned<String>, Node)>,
    /// What it reads; a scalar, maybe a template.
    pub stdin: Option<Node>,
}
