//! `kiln diff RUN RUN`: what differs between two runs.

use std::io::{self, Write};

use clap::Args;

use super::args::TextOrJson;
use super::exit::Exit;
use super::runs::{HistoryFlags, conclude, json};
use super::table::{Table, plain, short};
use crate::diagnostic::Diagnostic;
use crate::session::history::{Difference, compare};

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first run: its id, a beginning of it, or `last`
    #[arg(value_name = "RUN")]
    old: String,

    /// The second run
    #[arg(value_name = "RUN")]
    new: String,

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
    let found = compare(&history, &old, &new)?;
    let mut out = io::stdout().lock();
    // A broken pipe is success: the reader has seen enough.
    let _ = match args.history.output {
        TextOrJson::Text if found.is_empty() => {
            writeln!(out, "nothing differs between run {old} and run {new}")
        }
        TextOrJson::Text => {
            writeln!(out, "from run {old} to run {new}").and_then(|()| to_text(&mut out, &found))
        }
        TextOrJson::Json => found
            .iter()
            .try_for_each(|difference| writeln!(out, "{}", json(difference))),
    };
    Ok(())
}

fn to_text(out: &mut dyn Write, found: &[Difference]) -> io::Result<()> {
    const MOST: usize = 60;
    let mut about = "";
    let mut table = Table::default();
    for difference in found {
        if difference.about != about {
            table.write(out, 2)?;
            table = Table::default();
            about = difference.about;
            writeln!(out, "\n{about}")?;
        }
        let change = match (&difference.old, &difference.new) {
            (Some(old), Some(new)) => format!("{} → {}", short(old, MOST), short(new, MOST)),
            (None, Some(new)) => format!("new: {}", short(new, MOST)),
            (Some(old), None) => format!("gone: {}", short(old, MOST)),
            (None, None) => continue,
        };
        table.row([plain(&difference.what), change]);
    }
    table.write(out, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_kind() {
        let difference = |about, what: &str, old: Option<&str>, new: Option<&str>| Difference {
            about,
            what: what.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let found = [
            difference("params", "prompt", Some("\"a cat\""), Some("\"a dog\"")),
            difference("params", "n", None, Some("3")),
            difference("tasks", "draw", Some("failed"), None),
        ];
        let mut out = Vec::new();
        to_text(&mut out, &found).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\nparams\n  prompt  \"a cat\" → \"a dog\"\n  n       new: 3\n\ntasks\n  draw  gone: failed\n"
        );
    }
}
