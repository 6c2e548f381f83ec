//! `kiln diff RUN RUN`: what differs between two runs.

use std::collections::HashSet;
use std::io::{self, Write};

use clap::Args;

use super::args::TextOrJson;
use super::exit::Exit;
use super::runs::{HistoryFlags, conclude, json};
use super::table::{Table, columns, plain, short};
use crate::diagnostic::Diagnostic;
use crate::session::history::{Comparison, Difference, compare};

/// Differences of one kind that are shown, unless all are wanted.
const SHOWN: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first run: its id, a beginning of it, or `last`
    #[arg(value_name = "RUN")]
    old: String,

    /// The second run
    #[arg(value_name = "RUN")]
    new: String,

    /// Show every difference, however many there are
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    history: HistoryFlags,
}

pub(super) fn diff(args: &DiffArgs) -> Exit {
    conclude(show(args))
}

fn show(args: &DiffArgs) -> Result<(), Box<Diagnostic>> {
    let history = args.history.open()?;
    let old = history.find(&args.old)?.run;
    let new = history.find(&args.new)?.run;
    let compared = compare(&history, &old, &new)?;
    let mut out = io::stdout().lock();
    let most = if args.all { usize::MAX } else { SHOWN };
    // A broken pipe is success: the reader has seen enough.
    let _ = match args.history.output {
        TextOrJson::Text if compared.found.is_empty() => {
            writeln!(out, "nothing differs between run {old} and run {new}")
        }
        TextOrJson::Text => writeln!(out, "from run {old} to run {new}")
            .and_then(|()| to_text(&mut out, &compared, most, columns())),
        TextOrJson::Json => compared
            .found
            .iter()
            .try_for_each(|difference| writeln!(out, "{}", json(difference))),
    };
    Ok(())
}

/// How many there are of each kind, then the first of each kind.
fn to_text(
    out: &mut dyn Write,
    compared: &Comparison,
    most: usize,
    columns: Option<usize>,
) -> io::Result<()> {
    let found = without_parts(&compared.found);
    let of = |about: &'static str| found.iter().filter(move |d| d.about == about);
    let mut sums = Table::default();
    for (about, same) in &compared.same {
        let changed = of(about).filter(|d| d.old.is_some() && d.new.is_some());
        let gone = of(about).filter(|d| d.new.is_none());
        let added = of(about).filter(|d| d.old.is_none());
        let counts = [
            (changed.count(), "changed"),
            (gone.count(), "gone"),
            (added.count(), "new"),
            (*same, "the same"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        if !counts.is_empty() {
            sums.row([(*about).to_owned(), counts.join(", ")]);
        }
    }
    sums.write(out, 2, columns)?;
    let mut left = 0;
    for about in compared.same.keys() {
        if of(about).next().is_none() {
            continue;
        }
        writeln!(out, "\n{about}")?;
        let mut table = Table::default();
        for difference in of(about).take(most) {
            table.row([plain(&difference.what), change(difference)]);
        }
        table.write(out, 2, columns)?;
        let more = of(about).count().saturating_sub(most);
        if more > 0 {
            writeln!(out, "  … and {more} more")?;
        }
        left += more;
    }
    if left > 0 {
        writeln!(out, "\n`--all` shows everything")?;
    }
    Ok(())
}

/// Of a step that only one run has, nothing but that.
fn without_parts(found: &[Difference]) -> Vec<&Difference> {
    let lone: HashSet<&str> = found
        .iter()
        .filter(|d| d.about == "plan" && (d.old.is_none() || d.new.is_none()))
        .filter_map(|d| d.what.strip_prefix("step "))
        .collect();
    let is_part = |difference: &Difference| {
        let of = difference.what.split_once('.').map(|(step, _)| step);
        difference.about == "plan" && of.is_some_and(|step| lone.contains(step))
    };
    found.iter().filter(|d| !is_part(d)).collect()
}

fn change(difference: &Difference) -> String {
    const MOST: usize = 60;
    match (&difference.old, &difference.new) {
        (Some(old), Some(new)) => format!("{} → {}", short(old, MOST), short(new, MOST)),
        (None, Some(new)) => format!("new: {}", short(new, MOST)),
        (Some(old), None) => format!("gone: {}", short(old, MOST)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(
        about: &'static str,
        what: &str,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Difference {
        Difference {
            about,
            what: what.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        }
    }

    fn text(found: Vec<Difference>, most: usize) -> String {
        let same = [("params", 2), ("plan", 0), ("tasks", 3)];
        let compared = Comparison {
            found,
            same: same.into_iter().collect(),
        };
        let mut out = Vec::new();
        to_text(&mut out, &compared, most, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn differences_are_counted_and_told_by_kind() {
        let found = vec![
            difference("params", "prompt", Some("\"a cat\""), Some("\"a dog\"")),
            difference("params", "n", None, Some("3")),
            difference("tasks", "draw", Some("failed"), None),
        ];
        assert_eq!(
            text(found, SHOWN),
            "  params  1 changed, 1 new, 2 the same\n  tasks   1 gone, 3 the same\n\nparams\n  prompt  \"a cat\" → \"a dog\"\n  n       new: 3\n\ntasks\n  draw  gone: failed\n"
        );
    }

    #[test]
    fn of_very_different_runs_only_the_first_differences_are_told() {
        let mut found: Vec<Difference> = (0..30)
            .map(|n| difference("tasks", &format!("draw[{n}]"), Some("done"), None))
            .collect();
        found.push(difference("plan", "step draw", None, Some("there")));
        found.push(difference("plan", "draw.1 (node 1).seed", None, Some("7")));
        assert_eq!(
            text(found.clone(), 2),
            "  params  2 the same\n  plan    1 new\n  tasks   30 gone, 3 the same\n\nplan\n  step draw  new: there\n\ntasks\n  draw[0]  gone: done\n  draw[1]  gone: done\n  … and 28 more\n\n`--all` shows everything\n"
        );
        assert_eq!(text(found, usize::MAX).matches("gone: done").count(), 30);
    }
}
