//! `kiln runs`: what ran here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::TextOrJson;
use super::exit::{Exit, tell};
use super::table::{Table, columns, time, took};
use crate::base::secret;
use crate::diagnostic::{Diagnostic, Report, SourceMap, codes, list_of};
use crate::session::history::{Alive, History, RunRow};

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only runs of this pipeline
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<String>,

    /// Only so many of the newest
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,

    #[command(flatten)]
    history: HistoryFlags,
}

/// Whose runs, and how to tell of them.
#[derive(Debug, Args)]
pub(crate) struct HistoryFlags {
    /// The project's folder, instead of the one around the current folder
    #[arg(long, value_name = "DIR", env = "KILN_PROJECT")]
    project: Option<PathBuf>,

    /// Format of stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) output: TextOrJson,
}

impl HistoryFlags {
    pub(super) fn open(&self) -> Result<History, Box<Diagnostic>> {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let folder = match &self.project {
            Some(folder) => here.join(folder),
            None => here,
        };
        History::open(&folder)
    }
}

/// Ends a command as its result says.
pub(super) fn conclude(done: Result<(), Box<Diagnostic>>) -> Exit {
    match done {
        Ok(()) => Exit::Done,
        Err(diagnostic) => {
            let report = Report {
                items: vec![*diagnostic],
            };
            tell(&report, &SourceMap::default());
            Exit::of_report(&report, &SourceMap::default())
        }
    }
}

pub(super) fn runs(args: &RunsArgs) -> Exit {
    conclude(list(args))
}

fn list(args: &RunsArgs) -> Result<(), Box<Diagnostic>> {
    let history = args.history.open()?;
    let mut rows = history.rows()?;
    if let Some(pipeline) = &args.pipeline {
        if rows.iter().all(|row| row.pipeline != *pipeline) {
            return Err(Box::new(no_such_pipeline(pipeline, &rows)));
        }
        rows.retain(|row| row.pipeline == *pipeline);
    }
    rows.truncate(args.limit.unwrap_or(usize::MAX));
    let mut out = io::stdout().lock();
    // A broken pipe is success: the reader has seen enough.
    let _ = match args.history.output {
        TextOrJson::Text => write!(out, "{}", to_text(&rows)),
        TextOrJson::Json => rows
            .iter()
            .try_for_each(|row| writeln!(out, "{}", json(row))),
    };
    Ok(())
}

fn no_such_pipeline(typed: &str, rows: &[RunRow]) -> Diagnostic {
    let message = format!("no pipeline called `{typed}` ran here");
    let diagnostic = Diagnostic::error(&codes::BAD_ARGUMENT, message);
    let is_run = |row: &&RunRow| !typed.is_empty() && row.run.as_str().starts_with(typed);
    if rows.iter().any(|row| is_run(&row)) {
        return diagnostic.help(format!("`kiln show {typed}` shows that run"));
    }
    let names: BTreeSet<&str> = rows.iter().map(|row| row.pipeline.as_str()).collect();
    if names.is_empty() {
        return diagnostic.help("nothing ran here yet");
    }
    let stem = Path::new(typed).file_stem().and_then(|stem| stem.to_str());
    let diagnostic = diagnostic.suggest(stem.unwrap_or(typed), names.iter().copied());
    if diagnostic.help.is_empty() {
        return diagnostic.help(format!("what did: {}", list_of(names, 12)));
    }
    diagnostic
}

/// One line of JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    without_placeholders(&mut value);
    value.to_string()
}

/// `***` where a secret goes.
fn without_placeholders(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            if let std::borrow::Cow::Owned(masked) = secret::shown(text) {
                *text = masked;
            }
        }
        Value::Array(members) => members.iter_mut().for_each(without_placeholders),
        Value::Object(members) => members.values_mut().for_each(without_placeholders),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn to_text(rows: &[RunRow]) -> String {
    let mut table = Table::default();
    table.row(["RUN", "PIPELINE", "STATUS", "STARTED", "TOOK", "TASKS"]);
    for row in rows {
        table.row([
            row.run.to_string(),
            row.pipeline.clone(),
            row.status.word().to_owned(),
            time(row.started),
            took(row.ended.saturating_sub(row.started)),
            tasks(row),
        ]);
    }
    let mut out = Vec::new();
    let _ = table.write(&mut out, 0, columns());
    String::from_utf8_lossy(&out).into_owned()
}

/// `12`, or `9 of 12, 1 failed`.
fn tasks(row: &RunRow) -> String {
    let well = row.counts.done + row.counts.cached;
    let mut text = match row.status {
        Alive::Done if well == row.tasks => well.to_string(),
        _ => format!("{well} of {}", row.tasks),
    };
    for (count, word) in [
        (row.counts.failed, "failed"),
        (row.counts.skipped, "skipped"),
        (row.counts.cancelled, "cancelled"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    text
}

/// A path as people would write it from where they are.
pub(super) fn from_here(path: &Path) -> String {
    crate::base::display_path(path)
}
