//! Diagnostics for people: a title, the user's own lines with a caret, and what to do.

use std::ops::Range;

use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Renderer, Snippet, renderer::DecorStyle,
};

use super::{Diagnostic, Label, Report, Severity, SourceMap, Span};

/// The user's lines are cut around the carets so that they take no more columns than these, unless a terminal says otherwise.
const COLUMNS: usize = 140;
/// A terminal narrower than this gets lines that wrap, since nothing would be left of them.
const LEAST_COLUMNS: usize = 30;

/// All diagnostics of a report as plain text, one blank line apart.
pub fn render_human(report: &Report, sources: &SourceMap) -> String {
    render(report, sources, Renderer::plain())
}

/// All diagnostics of a report with ANSI styles, for a terminal of so many columns, if it is one.
pub fn render_styled(report: &Report, sources: &SourceMap, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(COLUMNS).max(LEAST_COLUMNS);
    render(report, sources, Renderer::styled().term_width(columns))
}

fn render(report: &Report, sources: &SourceMap, renderer: Renderer) -> String {
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for diagnostic in &report.items {
        if !out.is_empty() {
            out.push('\n');
        }
        let text = renderer.render(&[group(diagnostic, sources)]);
        if diagnostic.primary.is_none() && diagnostic.secondary.is_empty() {
            without_gutter(&text, &mut out);
        } else {
            out.push_str(&text);
            out.push('\n');
        }
    }
    out
}

/// Without lines of the user's, the renderer still leaves an empty gutter above the help; the help moves to where it stands elsewhere.
fn without_gutter(text: &str, out: &mut String) {
    for line in text.lines() {
        let plain = anstream::adapter::strip_str(line).to_string();
        if plain.trim() == "|" {
            continue;
        }
        if plain.starts_with(' ') && !plain.trim().is_empty() {
            out.push(' ');
        }
        out.push_str(line);
        out.push('\n');
    }
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.id)
        .elements(snippets(diagnostic, sources));
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// One snippet per file, the primary label's file first.
fn snippets<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Vec<Element<'a>> {
    let mut files = Vec::new();
    let labels = || diagnostic.primary.iter().chain(&diagnostic.secondary);
    for label in labels() {
        if !files.contains(&label.span.file) {
            files.push(label.span.file);
        }
    }
    files
        .into_iter()
        .map(|file| {
            let here: Vec<(&Label, AnnotationKind)> = diagnostic
                .primary
                .iter()
                .map(|l| (l, AnnotationKind::Primary))
                .chain(
                    diagnostic
                        .secondary
                        .iter()
                        .map(|l| (l, AnnotationKind::Context)),
                )
                .filter(|(l, _)| l.span.file == file)
                .collect();
            let window = window(
                sources,
                &here.iter().map(|(l, _)| l.span).collect::<Vec<_>>(),
            );
            let text = &sources.file(file).text;
            let snippet = Snippet::source(&text[window.bytes.clone()])
                .line_start(window.first_line)
                .path(sources.file(file).name.as_str())
                .fold(true)
                .annotations(here.iter().map(|(label, kind)| {
                    let annotation = kind.span(shift(label.span, &window.bytes));
                    if label.message.is_empty() {
                        annotation
                    } else {
                        annotation.label(label.message.as_str())
                    }
                }));
            Element::from(snippet)
        })
        .collect()
}

struct Window {
    bytes: Range<usize>,
    first_line: usize,
}

/// The part of the file worth handing to the renderer: the whole lines of all spans. (It cuts long lines around the caret itself, and
/// needs them whole to tell the column.)
fn window(sources: &SourceMap, spans: &[Span]) -> Window {
    let first = spans.iter().min().copied();
    let Some(first) = first else {
        return Window {
            bytes: 0..0,
            first_line: 1,
        };
    };
    let text = &sources.file(first.file).text;
    let last = spans
        .iter()
        .map(|s| s.end)
        .max()
        .unwrap_or(first.end)
        .min(text.len());
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let from = floor(first.start);
    let start = text[..from].rfind('\n').map_or(0, |n| n + 1);
    let to = floor(last).max(from);
    let mut end = text[to..].find('\n').map_or(text.len(), |n| to + n);
    if end > to && text[..end].ends_with('\r') {
        end -= 1;
    }
    Window {
        bytes: start..end,
        first_line: sources.line_column(first).line,
    }
}

fn shift(span: Span, window: &Range<usize>) -> Range<usize> {
    let length = window.end - window.start;
    let start = span.start.saturating_sub(window.start).min(length);
    let end = span.end.saturating_sub(window.start).clamp(start, length);
    start..end
}
