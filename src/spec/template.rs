//! Template errors as diagnostics in the user's own lines.

use super::Node;
use super::quoting::quoted;
use crate::diagnostic::{Code, Diagnostic, SourceMap, Span, codes};
use crate::template::{TemplateError, TemplateErrorKind};

/// The code of a kind of template error.
pub fn template_code(kind: TemplateErrorKind) -> &'static Code {
    match kind {
        TemplateErrorKind::Syntax => &codes::TEMPLATE_SYNTAX,
        TemplateErrorKind::Undefined => &codes::UNDEFINED_NAME,
        TemplateErrorKind::Failed => &codes::TEMPLATE_FAILED,
        TemplateErrorKind::Fuel => &codes::TEMPLATE_FUEL,
        TemplateErrorKind::Count => &codes::ACCESSOR_COUNT,
        TemplateErrorKind::FileInText => &codes::WRONG_PLACE_FOR_FILE,
    }
}

/// A template error at a place that is already known.
pub fn template_diagnostic_at(error: &TemplateError, span: Option<Span>) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(template_code(error.kind), error.message.clone());
    if let Some(span) = span {
        diagnostic = diagnostic.at(span);
    }
    match &error.help {
        Some(help) => diagnostic.help(help.clone()),
        None => diagnostic,
    }
}

/// An error of the template in a scalar of a YAML file: it points at the very characters of the scalar that are to blame.
pub fn template_diagnostic(error: &TemplateError, node: &Node, sources: &SourceMap) -> Diagnostic {
    let span = node.span_within(sources, error.range.clone());
    let diagnostic = template_diagnostic_at(error, Some(span));
    if error.kind != TemplateErrorKind::Syntax {
        return diagnostic;
    }
    if let Some(whole) = cut_by_comment(node, sources) {
        return diagnostic.help(format!(
            "` #` begins a comment in YAML, and the value ends there: quote the whole value, `{}`",
            quoted(whole)
        ));
    }
    if cut_by_comma(node, sources) {
        return diagnostic.help(
            "inside `[ ]` and `{ }` a `,` ends a value: quote the whole value if the comma belongs to it",
        );
    }
    diagnostic
}

/// Whether a plain scalar ends at a `,`.
fn cut_by_comma(node: &Node, sources: &SourceMap) -> bool {
    let text = &sources.file(node.span.file).text;
    let plain = !sources.snippet(node.span).starts_with(['"', '\'']);
    let rest = text.get(node.span.end..).unwrap_or_default();
    plain && rest.trim_start_matches([' ', '\t']).starts_with(',')
}

/// What a plain scalar that ends at a ` #` would be without the comment.
fn cut_by_comment<'s>(node: &Node, sources: &'s SourceMap) -> Option<&'s str> {
    let text: &str = &sources.file(node.span.file).text;
    let plain = !sources.snippet(node.span).starts_with(['"', '\'']);
    let rest = text.get(node.span.end..)?;
    let comment = rest.trim_start_matches([' ', '\t']);
    if !plain || comment.len() == rest.len() || !comment.starts_with('#') {
        return None;
    }
    let line = comment.find(['\n', '\r']).unwrap_or(comment.len());
    let end = text.len() - comment.len() + line;
    text.get(node.span.start..end).map(str::trim_end)
}
