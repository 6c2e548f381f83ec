//! `retry:` of a step or of all steps.

use serde::{Deserialize, Serialize};

use super::{Node, Spanned};
use crate::diagnostic::Span;

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Where `retry` stands.
    pub span: Span,
    /// Attempts in all, the first one counted.
    pub attempts: Spanned<u32>,
    /// The longest pause before the second attempt, milliseconds.
    pub delay: Option<Spanned<u64>>,
    /// What the doubling of the pause ends at, milliseconds.
    pub max_delay: Option<Spanned<u64>>,
    /// Failures that are worth another attempt, never empty. When none are written: `transient`, and `rejected` beside `until`.
    pub classes: Vec<Spanned<RetryClass>>,
    /// An expression that a good result fulfils; a boolean, or a string: the expression, bare or in `{{ }}`.
    pub until: Option<Node>,
}

/// Failures by what may be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// The way to the server, or the server itself for a moment.
    Transient,
    /// Out of memory.
    Oom,
    /// It took longer than `timeout`.
    Timeout,
    /// No progress for longer than `stall_timeout`.
    Stall,
    /// The result was not what `until` wants.
    Rejected,
    /// A node raised an exception, or a command ended with an error.
    NodeError,
    /// Whatever it was.
    Any,
}
