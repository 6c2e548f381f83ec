//! `kiln server clear`: takes all waiting jobs out of the queue.

use clap::Args;

use super::flags::{ServerFlags, show_one};
use super::jobs::{called, stopped};
use crate::cli::exit::Exit;
use crate::session::care;

#[derive(Debug, Args)]
pub(super) struct ClearArgs {
    /// Take out jobs of somebody else, too
    #[arg(short = 'y', long)]
    yes: bool,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn clear(args: &ClearArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        let done = care::clear(open, args.yes).await?;
        Ok((done, called(open)))
    });
    match asked {
        Ok((done, server)) => show_one(&args.flags, &done, |out| {
            stopped(out, &server, &done, &format!("nothing waits on {server}"))
        }),
        Err(exit) => exit,
    }
}
