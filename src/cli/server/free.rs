//! `kiln server free`: empties the memory of a server.

use clap::Args;

use super::flags::{ServerFlags, show_rows};
use super::jobs::called;
use crate::cli::exit::Exit;
use crate::client::Memory;
use crate::session::care;

#[derive(Debug, Args)]
pub(super) struct FreeArgs {
    /// Only unload models
    #[arg(long, conflicts_with = "results")]
    models: bool,

    /// Only forget the results of nodes, and give cached memory back
    #[arg(long)]
    results: bool,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn free(args: &FreeArgs) -> Exit {
    let what = Memory {
        models: !args.results,
        results: !args.models,
    };
    let asked = args.flags.ask(async |open| {
        let rows = care::free(open, what).await?;
        Ok((rows, called(open)))
    });
    let (rows, server) = match asked {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    show_rows(&args.flags, &rows, |out| {
        for row in &rows {
            if !row.asked {
                writeln!(out, "the memory of {server} is not ours to empty")?;
                continue;
            }
            let did = match (row.models, row.results) {
                (true, false) => "unloads its models",
                (false, true) => "forgets the results of nodes",
                _ => "unloads its models and forgets the results of nodes",
            };
            let when = if row.after_job {
                ", once the job that runs has ended"
            } else {
                ""
            };
            writeln!(out, "{server} ({}) {did}{when}", row.url)?;
        }
        Ok(())
    })
}
