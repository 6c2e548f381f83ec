//! `kiln server cancel ID…`: stops jobs by their ids.

use clap::Args;

use super::flags::{ServerFlags, show_one};
use super::jobs::{called, stopped};
use crate::cli::exit::Exit;
use crate::session::care;

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The jobs: their ids, or beginnings of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn cancel(args: &CancelArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        let done = care::cancel(open, &args.ids).await?;
        Ok((done, called(open)))
    });
    match asked {
        Ok((done, server)) => show_one(&args.flags, &done, |out| {
            stopped(out, &server, &done, "nothing to stop")
        }),
        Err(exit) => exit,
    }
}
