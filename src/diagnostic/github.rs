//! Diagnostics as annotations of GitHub Actions: one workflow command per line, which GitHub shows at the line of a pull request.

use std::fmt::Write as _;

use super::{Report, Severity, SourceMap, Span};

/// The workflow commands of a report, a line each, in the order in which people read files.
///
/// A diagnostic without a place in a file stands at `fallback`, the file that was looked at.
pub fn to_github(report: &Report, sources: &SourceMap, fallback: &str) -> String {
    let mut out = String::new();
    for diagnostic in report.in_order() {
        let level = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let place = diagnostic.primary.as_ref().map(|label| label.span);
        let place = place.filter(|span| sources.file(span.file).path.is_some());
        let file = place.map_or(fallback, |span| sources.file(span.file).name.as_str());
        let _ = write!(out, "::{level} file={}", property(file));
        if let Some(span) = place {
            out.push_str(&range(span, sources));
        }
        let title = format!("{} {}", diagnostic.code.id, diagnostic.kind);
        let mut text = diagnostic.message.clone();
        for help in &diagnostic.help {
            let _ = write!(text, "\nhelp: {help}");
        }
        let _ = writeln!(out, ",title={}::{}", property(&title), data(&text));
    }
    out
}

fn range(span: Span, sources: &SourceMap) -> String {
    let start = sources.line_column(span);
    let end = sources.line_column(Span::new(span.file, span.end, span.end));
    // GitHub takes columns only for a place within one line.
    if end.line == start.line {
        format!(
            ",line={},endLine={},col={},endColumn={}",
            start.line, end.line, start.column, end.column
        )
    } else {
        format!(",line={},endLine={}", start.line, end.line)
    }
}

/// What stands after `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// What stands after `=`.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::diagnostic::{Diagnostic, codes};

    #[test]
    fn what_github_would_take_apart_is_escaped() {
        let mut sources = SourceMap::default();
        let file = sources.add_file(Path::new("/nowhere/a,b:c.yaml"), "x: 1\ny: é%\n");
        sources.rename(file, "a,b:c.yaml");
        let mut report = Report::default();
        let at = Span::new(file, 8, 11);
        report.push(
            Diagnostic::error(&codes::BAD_VALUE, "100 % wrong:\r\nreally")
                .at(at)
                .help("a, b"),
        );
        report.push(Diagnostic::warning(&codes::UNDECLARED_INPUT, "no place"));
        let whole = Span::new(file, 0, 12);
        report.push(Diagnostic {
            severity: Severity::Note,
            ..Diagnostic::error(&codes::CYCLE, "all of it").at(whole)
        });
        assert_eq!(
            to_github(&report, &sources, "w.json"),
            "::notice file=a%2Cb%3Ac.yaml,line=1,endLine=3,title=K0112 cycle::all of it\n\
             ::error file=a%2Cb%3Ac.yaml,line=2,endLine=2,col=4,endColumn=6,title=K0124 bad_value::100 %25 wrong:%0D%0Areally%0Ahelp: a, b\n\
             ::warning file=w.json,title=K0301 undeclared_input::no place\n"
        );
    }
}
