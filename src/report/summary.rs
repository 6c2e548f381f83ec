//! Where the time of a run went, step by step.

use anstyle::Style;

use super::line::Line;
use super::style::Paint;
use super::text::{cut, lasting, padded, width};
use super::view::{StepView, View};
use crate::event::Counts;

/// Narrower terminals get only how long each step took.
const WIDE: usize = 72;
/// Narrower ones get no counts.
const ROOMY: usize = 100;

/// Whether there is something to tell: more than one step, or a step whose time is not plain.
pub(super) fn is_worth_it(view: &View) -> bool {
    let steps = view.steps.values();
    steps.filter(|step| step.span.is_some()).count() > 1
}

/// A line for each step at which something was done.
pub(super) fn table(view: &View, paint: &Paint, columns: usize) -> Vec<Line> {
    let steps = view.steps.iter().filter(|(_, step)| step.span.is_some());
    let rows: Vec<Vec<String>> = steps
        .map(|(name, step)| cells(name.as_str(), step, columns))
        .collect();
    let mut head = vec!["step"];
    if columns >= ROOMY {
        head.push("tasks");
    }
    head.push("took");
    if columns >= WIDE {
        head.extend(["queue", "transfer", "execution"]);
    }
    let texts = if columns >= ROOMY { 2 } else { 1 };
    let wide = |at: usize| {
        let cells = rows.iter().map(|row| width(&row[at]));
        cells.chain([width(head[at])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(wide).collect();
    let line = |style: Style, cells: &[&str]| {
        let mut line = Line::plain("  ");
        for (at, cell) in cells.iter().enumerate() {
            let style = if at == 0 { Style::new() } else { style };
            let text = if at < texts {
                padded(cell, widths[at])
            } else {
                format!("{cell:>wide$}", wide = widths[at])
            };
            let gap = if at == 0 { "" } else { "  " };
            line.add(style, format!("{gap}{text}"));
        }
        line.fitted(columns.saturating_sub(1))
    };
    let mut lines = vec![{
        let mut text = Line::default();
        let head = line(Style::new(), &head).to_string();
        text.add(paint.dim, head);
        text
    }];
    lines.extend(rows.iter().map(|row| {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        line(paint.dim, &cells)
    }));
    lines
}

fn cells(name: &str, step: &StepView, columns: usize) -> Vec<String> {
    let took = step.span.map_or(0, |(first, last)| last - first);
    let mut cells = vec![cut(name, (columns / 3).max(8))];
    if columns >= ROOMY {
        cells.push(fates(step.ended));
    }
    cells.push(lasting(took));
    if columns >= WIDE {
        let spent = step.spent;
        cells.extend([spent.queue, spent.transfer, spent.execution].map(some_time));
    }
    cells
}

/// Times that round to nothing are left out.
fn some_time(ms: i64) -> String {
    if ms < 50 {
        "–".to_owned()
    } else {
        lasting(ms)
    }
}

/// `25 new, 4 cached, 1 failed`.
fn fates(ended: Counts) -> String {
    let parts: Vec<String> = [
        (ended.done, "new"),
        (ended.cached, "cached"),
        (ended.failed, "failed"),
        (ended.skipped, "skipped"),
        (ended.cancelled, "cancelled"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    parts.join(", ")
}
