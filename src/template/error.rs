//! What can be wrong with a template, told without any value in it.

use std::error::Error as _;
use std::ops::Range;

use minijinja::{Error, ErrorKind};

/// A template that cannot be read or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// The bytes of the decoded text that are to blame.
    pub range: Range<usize>,
    /// What kind of error it is.
    pub kind: TemplateErrorKind,
    /// One sentence, lower case.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Kinds of template errors; each has a diagnostic code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateErrorKind {
    /// The text is no template.
    Syntax,
    /// A name, or a part of the result, is not defined; or there is no such function or filter.
    Undefined,
    /// A function, filter or operator failed.
    Failed,
    /// The template ran or wrote for too long.
    Fuel,
    /// A singular accessor (`.image`) was asked of a step that made none or several.
    Count,
    /// A file stands inside longer text.
    FileInText,
}

/// An error of kiln's own that travels through minijinja as an error's source.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Raised {
    pub(super) kind: TemplateErrorKind,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// A minijinja error that carries one of kiln's own.
pub(super) fn raise(kind: TemplateErrorKind, message: String, help: Option<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised {
        kind,
        message,
        help,
    })
}

/// The failure of a function or filter.
pub(super) fn failed(message: impl Into<String>) -> Error {
    raise(TemplateErrorKind::Failed, message.into(), None)
}

/// The error of a template whose text grows without end.
pub(super) fn too_long() -> Error {
    raise(
        TemplateErrorKind::Fuel,
        format!(
            "the template wrote more than {} MiB of text",
            super::engine::LONGEST >> 20
        ),
        None,
    )
}

/// One of kiln's own errors inside `error`, however deep.
pub(super) fn raised(error: &Error) -> Option<&Raised> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(raised) = inner.downcast_ref::<Raised>() {
            return Some(raised);
        }
        source = inner.source();
    }
    None
}

/// A syntax error of `text`.
pub(super) fn from_syntax(text: &str, error: &Error) -> TemplateError {
    let range = clamp(text, error.range().unwrap_or(0..text.len()));
    TemplateError {
        range,
        kind: TemplateErrorKind::Syntax,
        message: detail(error),
        help: None,
    }
}

/// minijinja's own words for what happened, without places or values.
pub(super) fn detail(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

/// A range that lies inside `text`, on character boundaries, and is not empty unless the text is.
pub(super) fn clamp(text: &str, range: Range<usize>) -> Range<usize> {
    let mut start = range.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = range.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    if start == end {
        match text[start..].chars().next() {
            Some(c) => end += c.len_utf8(),
            None => {
                start -= text[..start].chars().next_back().map_or(0, char::len_utf8);
            }
        }
    }
    start..end
}
