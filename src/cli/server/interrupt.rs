//! `kiln server interrupt [ID]`: stops the job that runs.

use clap::Args;

use super::flags::{ServerFlags, show_one};
use super::jobs::{called, stopped};
use crate::cli::exit::Exit;
use crate::session::care;

#[derive(Debug, Args)]
pub(super) struct InterruptArgs {
    /// Stop this job, if it is the one that runs: its id, or a beginning of it
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Stop what runs, also when it belongs to somebody else
    #[arg(short = 'y', long)]
    yes: bool,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn interrupt(args: &InterruptArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        let done = care::interrupt(open, args.id.as_deref(), args.yes).await?;
        Ok((done, called(open)))
    });
    match asked {
        Ok((done, server)) => show_one(&args.flags, &done, |out| {
            stopped(out, &server, &done, &format!("nothing runs on {server}"))
        }),
        Err(exit) => exit,
    }
}
