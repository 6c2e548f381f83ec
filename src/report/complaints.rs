//! Diagnostics for people, with a closing line that counts them.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use super::text::plural;
use crate::diagnostic::{Report, SourceMap, render_styled};

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
    writeln!(out, "{}", render_styled(report, sources, columns))?;
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

/// Says that stdout cannot be written.
pub(super) fn write_trouble(notes: &mut dyn Write, error: &std::io::Error) -> std::io::Result<()> {
    let style: Style = AnsiColor::Red.on_default().bold();
    writeln!(
        notes,
        "{style}error{style:#}: could not write to stdout: {error}"
    )?;
    notes.flush()
}
