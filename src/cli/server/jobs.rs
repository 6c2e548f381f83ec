//! Lists of jobs, and what was done to some.

use std::io::{self, Write};

use crate::cli::sheet::{Cell, Column, Fit, Sheet, faint, good};
use crate::cli::table::took;
use crate::report::plural;
use crate::session::care::{Open, QueueRow, Stopped, Where};

/// The least of an id that is shown.
const SHORT: usize = 8;

/// As much of each id as tells it from all others.
pub(super) fn short_ids<'a>(ids: impl Iterator<Item = &'a str> + Clone) -> usize {
    let all: Vec<&str> = ids.collect();
    let longest = all.iter().map(|id| id.chars().count()).max().unwrap_or(0);
    let start = |id: &str, length: usize| id.chars().take(length).collect::<String>();
    (SHORT..longest)
        .find(|length| {
            let mut cut: Vec<String> = all.iter().map(|id| start(id, *length)).collect();
            cut.sort();
            cut.dedup();
            cut.len() == all.len()
        })
        .unwrap_or(longest)
}

pub(super) fn start(id: &str, length: usize) -> String {
    id.chars().take(length).collect()
}

/// What a job is, from the titles of its nodes.
pub(super) fn what(titles: &[String]) -> String {
    titles.join(", ")
}

pub(super) fn sheet(rows: &[QueueRow], pool: bool) -> Sheet {
    let length = short_ids(rows.iter().map(|row| row.id.as_str()));
    let mut sheet = Sheet::new([
        Column::new("JOB", Fit::Whole),
        Column::new("PLACE", Fit::Whole),
        Column::new("AGE", Fit::Whole).right(),
        Column::new("WHOSE", Fit::Cut(5)),
        Column::new("SERVER", Fit::Spare(2)),
        Column::new("NODES", Fit::Spare(1)).right(),
        Column::new("WHAT", Fit::Cut(6)),
    ]);
    for row in rows {
        let place = match row.state {
            Where::Running => Cell::styled("runs", good()),
            Where::Waiting => Cell::from(row.before.to_string()),
        };
        let whose = match &row.own {
            Some(own) => Cell::from(own.task.to_string()),
            None => Cell::styled("foreign", faint()),
        };
        let age = row.age.map(|seconds| took(seconds.saturating_mul(1000)));
        let url = if pool { row.url.as_str() } else { "" };
        sheet.row([
            start(&row.id, length).into(),
            place,
            age.unwrap_or_default().into(),
            whose,
            url.into(),
            row.nodes.to_string().into(),
            what(&row.titles).into(),
        ]);
    }
    sheet
}

/// What became of jobs that were to be stopped.
pub(super) fn stopped(
    out: &mut dyn Write,
    open: &str,
    done: &Stopped,
    nothing: &str,
) -> io::Result<()> {
    if done.stopped.is_empty() && done.gone.is_empty() {
        return writeln!(out, "{nothing}");
    }
    for row in &done.stopped {
        let did = match row.state {
            Where::Running => "stopped",
            Where::Waiting => "took out",
        };
        let whose = match &row.own {
            Some(own) => format!(", {} of run {}", own.task, own.run),
            None => String::new(),
        };
        writeln!(out, "{did} job {} on {open}{whose}", row.id)?;
    }
    for row in &done.gone {
        writeln!(out, "job {} was not there any more", row.id)?;
    }
    if done.stopped.len() + done.gone.len() > 3 {
        writeln!(out, "{} in all", plural(done.stopped.len(), "job"))?;
    }
    Ok(())
}

/// A server for sentences.
pub(super) fn called(open: &Open) -> String {
    format!("`{}`", open.name)
}
