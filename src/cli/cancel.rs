//! `kiln cancel RUN`: stops a run of another process, or what a dead one left.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::Args;

use super::args::TextOrJson;
use super::exit::{Exit, runtime};
use super::runs::{HistoryFlags, conclude, json};
use crate::base::RunId;
use crate::diagnostic::Diagnostic;
use crate::report::plural;
use crate::session::history::{Cancelled, Fate, LeftJob, cancel};

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The run: its id, a beginning of it, or `last`
    #[arg(value_name = "RUN")]
    run: String,

    #[command(flatten)]
    history: HistoryFlags,
}

pub(super) fn cancel_run(args: &CancelArgs) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    conclude(runtime.block_on(stop(args)))
}

async fn stop(args: &CancelArgs) -> Result<(), Box<Diagnostic>> {
    let history = args.history.open()?;
    let run = history.find(&args.run)?;
    let cancelled = cancel(&history, &run).await?;
    let mut out = io::stdout().lock();
    let _ = match args.history.output {
        TextOrJson::Text => write!(out, "{}", to_text(&run.run, &cancelled)),
        TextOrJson::Json => writeln!(out, "{}", json(&cancelled)),
    };
    Ok(())
}

fn to_text(run: &RunId, cancelled: &Cancelled) -> String {
    match cancelled {
        Cancelled::Nothing { status } => {
            format!("run {run} has ended already: {}\n", status.word())
        }
        Cancelled::Asked { process } => format!(
            "asked process {} on {} to stop run {run}; `kiln show {run} --follow` tells when it has\n",
            process.pid, process.host
        ),
        Cancelled::Cleaned { jobs } => {
            let mut text = format!("run {run} had died; it is marked as cancelled now\n");
            for (fate, words) in [
                (Fate::Stopped, "stopped on its server"),
                (Fate::NotThere, "was not there any more"),
                (Fate::Gone, "died with the process"),
                (
                    Fate::Unreachable,
                    "may still be there: the server does not answer, and is told when a run uses it again",
                ),
            ] {
                let of_fate: Vec<&LeftJob> = jobs.iter().filter(|job| job.fate == fate).collect();
                if !of_fate.is_empty() {
                    let _ = writeln!(text, "  {} {words}", plural(of_fate.len(), "job"));
                }
            }
            let _ = writeln!(
                text,
                "`kiln run --resume {run}` would go on with what is left of it"
            );
            text
        }
    }
}
