//! `kiln gc`: removes what nobody needs.

use std::io::{self, Write};

use clap::Args;

use super::args::TextOrJson;
use super::exit::Exit;
use super::runs::{HistoryFlags, conclude, from_here, json};
use super::table::{Table, bytes, columns};
use crate::diagnostic::Diagnostic;
use crate::report::plural;
use crate::session::history::{Cleaning, Swept, Tally, sweep};

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Remove all runs of each pipeline but the newest N
    #[arg(long, value_name = "N")]
    keep: Option<usize>,

    /// Remove runs that ended longer ago than this: 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<u64>,

    /// Say what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    history: HistoryFlags,
}

/// Milliseconds.
fn age(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 5] = [
        ('s', 1000),
        ('m', 60_000),
        ('h', 3_600_000),
        ('d', 86_400_000),
        ('w', 604_800_000),
    ];
    let wrong = || "an age is a whole number with a unit, such as 12h, 30d or 8w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - unit.len_utf8()]
        .parse()
        .map_err(|_| wrong())?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

pub(super) fn gc(args: &GcArgs) -> Exit {
    conclude(clean(args))
}

fn clean(args: &GcArgs) -> Result<(), Box<Diagnostic>> {
    let history = args.history.open()?;
    let wanted = Cleaning {
        keep: args.keep,
        older_than: args.older_than,
        dry_run: args.dry_run,
    };
    let swept = sweep(&history, &wanted)?;
    let mut out = io::stdout().lock();
    let _ = match args.history.output {
        TextOrJson::Text => to_text(&mut out, &swept),
        TextOrJson::Json => writeln!(out, "{}", json(&swept)),
    };
    Ok(())
}

fn to_text(out: &mut dyn Write, swept: &Swept) -> io::Result<()> {
    let done = if swept.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut table = Table::default();
    for run in &swept.runs {
        table.row([
            format!("run {}", run.run),
            run.pipeline.clone(),
            amount(run.results),
        ]);
    }
    let things = [
        (
            "content that nothing refers to",
            swept.blobs.unwrap_or_default(),
        ),
        ("damaged content", swept.quarantined),
        ("pictures made by `mask()`", swept.masks),
        ("what killed processes left", swept.leftovers),
        (
            "temporary files of killed kilns, of all projects",
            swept.strays,
        ),
    ];
    for (what, tally) in things.into_iter().filter(|(_, tally)| tally.files > 0) {
        table.row([what.to_owned(), String::new(), amount(tally)]);
    }
    table.write(out, 0, columns())?;
    for path in swept.runs.iter().flat_map(|run| &run.stay) {
        let path = from_here(path);
        writeln!(
            out,
            "kept {path}: kiln did not make it, or somebody changed it"
        )?;
    }
    for path in &swept.resisting {
        writeln!(out, "could not remove {}", from_here(path))?;
    }
    if swept.blobs.is_none() {
        let why = "a run is under way, and may need any of it";
        writeln!(
            out,
            "did not look for content that nothing refers to: {why}"
        )?;
    }
    let runs = plural(swept.runs.len(), "run");
    writeln!(out, "{done} {runs} and {}", bytes(swept.bytes()))
}

fn amount(tally: Tally) -> String {
    let files = usize::try_from(tally.files).unwrap_or(usize::MAX);
    format!("{}, {}", plural(files, "file"), bytes(tally.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(age("30d"), Ok(2_592_000_000));
        assert_eq!(age("0s"), Ok(0));
        for wrong in ["", "30", "d", "1.5d", "-1d", "3 d", "3é", "99999999999999w"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
