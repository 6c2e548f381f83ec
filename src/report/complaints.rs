//! Diagnostics for people, with a closing line that counts them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::fold::folded;
use super::text::plural;
use crate::diagnostic::{Report, SourceMap, render_styled};

/// Diagnostics with the same code that are shown at most.
const ALIKE: usize = 20;

/// Writes a report with styles (a stream that wants none strips them), cut to the columns of a terminal if it is one, and a last line that counts and points to `kiln explain`.
///
/// # Errors
/// When the stream cannot be written.
pub fn write_report(
    out: &mut dyn Write,
    report: &Report,
    sources: &SourceMap,
    columns: Option<usize>,
) -> std::io::Result<()> {
    if report.items.is_empty() {
        return Ok(());
    }
    let report = &folded(report);
    let shown = shown(report);
    let more = report.items.len() - shown.items.len();
    writeln!(out, "{}", render_styled(&shown, sources, columns))?;
    if more > 0 {
        writeln!(out, "… and {more} more like these\n")?;
    }
    let (errors, warnings) = report.counts();
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(plural(errors, "error"));
    }
    if warnings > 0 {
        parts.push(plural(warnings, "warning"));
    }
    let style: Style = if errors > 0 {
        AnsiColor::Red.on_default().bold()
    } else {
        AnsiColor::Yellow.on_default()
    };
    let explain = match report.items.iter().max_by_key(|d| d.severity) {
        Some(worst) if errors > 0 => {
            let first = report
                .items
                .iter()
                .find(|d| d.severity == worst.severity)
                .unwrap_or(worst);
            format!("; `kiln explain {}` tells more", first.code.id)
        }
        _ => String::new(),
    };
    writeln!(out, "{style}{}{style:#}{explain}", parts.join(", "))
}

/// The diagnostics that are worth a reader's time: of very many with the same code, the first.
fn shown(report: &Report) -> Cow<'_, Report> {
    if report.items.len() <= ALIKE {
        return Cow::Borrowed(report);
    }
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    let items = report.items.iter().filter(|item| {
        let count = seen.entry((item.code.id, item.severity)).or_default();
        *count += 1;
        *count <= ALIKE
    });
    Cow::Owned(Report {
        items: items.cloned().collect(),
    })
}

/// Says that stdout cannot be written.
pub(super) fn write_trouble(notes: &mut dyn Write, error: &std::io::Error) -> std::io::Result<()> {
    let style: Style = AnsiColor::Red.on_default().bold();
    writeln!(
        notes,
        "{style}error{style:#}: could not write to stdout: {error}"
    )?;
    notes.flush()
}
