//! `kiln server history`: the jobs that a server remembers.

use std::io::{self, Write};

use clap::Args;

use super::flags::{ServerFlags, show_one, show_rows};
use super::jobs::{called, short_ids, start, what};
use crate::cli::exit::Exit;
use crate::cli::sheet::{Cell, Column, Fit, Sheet, bad, odd, width};
use crate::cli::table::{time, took};
use crate::client::MOST_JOBS;
use crate::report::plural;
use crate::session::care::{self, HistoryRow};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only so many of the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_JOBS)))]
    limit: u32,

    /// Make the server forget this job: its id, or a beginning of it; may be repeated. Its files stay
    #[arg(long, value_name = "ID", conflicts_with = "clear")]
    delete: Vec<String>,

    /// Make the server forget all jobs that have ended. Their files stay
    #[arg(long)]
    clear: bool,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn history(args: &HistoryArgs) -> Exit {
    if args.clear || !args.delete.is_empty() {
        return forget(args);
    }
    let asked = args.flags.ask(async |open| {
        let rows = care::history(open, args.limit).await?;
        Ok((rows, called(open), open.is_pool()))
    });
    match asked {
        Ok((rows, server, pool)) => show_rows(&args.flags, &rows, |out| {
            to_text(out, &rows, &server, pool, width())
        }),
        Err(exit) => exit,
    }
}

fn forget(args: &HistoryArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        let named = (!args.clear).then_some(&args.delete[..]);
        let done = care::forget(open, named).await?;
        Ok((done, called(open)))
    });
    match asked {
        Ok((done, server)) => show_one(&args.flags, &done, |out| {
            let jobs = plural(done.forgotten.len(), "job");
            writeln!(
                out,
                "{server} has forgotten {jobs}; their files are still there"
            )
        }),
        Err(exit) => exit,
    }
}

fn to_text(
    out: &mut dyn Write,
    rows: &[HistoryRow],
    server: &str,
    pool: bool,
    width: Option<usize>,
) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{server} remembers no job");
    }
    let length = short_ids(rows.iter().map(|row| row.id.as_str()));
    let mut sheet = Sheet::new([
        Column::new("JOB", Fit::Whole),
        Column::new("STATUS", Fit::Whole),
        Column::new("ENDED", Fit::Spare(2)),
        Column::new("TOOK", Fit::Whole).right(),
        Column::new("RESULTS", Fit::Spare(1)).right(),
        Column::new("SERVER", Fit::Spare(3)),
        Column::new("WHAT", Fit::Cut(8)),
    ]);
    for row in rows {
        let status = match row.status {
            "failed" => Cell::styled(row.status, bad()),
            "interrupted" => Cell::styled(row.status, odd()),
            other => Cell::from(other),
        };
        let about = match (&row.node, &row.error) {
            (Some(node), Some(error)) => format!("{node}: {error}"),
            (None, Some(error)) => error.clone(),
            _ => what(&row.titles),
        };
        sheet.row([
            start(&row.id, length).into(),
            status,
            row.ended.map(time).unwrap_or_default().into(),
            row.took.map(took).unwrap_or_default().into(),
            row.results.to_string().into(),
            (if pool { row.url.as_str() } else { "" }).into(),
            about.into(),
        ]);
    }
    sheet.write(out, width)
}
