//! From the words typed to the command they name.

use std::process::ExitCode;

use clap::FromArgMatches;

use super::args::{Cli, Command};
use super::exit::Exit;
use super::{
    args, cancel, check, diff, doctor, explain, gc, init, plan, run, runs, schema, serve, server,
    show,
};

/// Parses the command line, does what it says, and tells the exit code.
pub fn main() -> ExitCode {
    let typed = args::without_empty_variables(args::command())
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match typed {
        Ok(typed) => typed,
        Err(error) => {
            let _ = error.print();
            return Exit::from_clap(&error).into();
        }
    };
    let done = match &cli.command {
        Command::Run(args) => return run::run(args, &matches),
        Command::Check(args) => check::check(args),
        Command::Plan(args) => plan::plan(args),
        Command::Runs(args) => runs::runs(args),
        Command::Show(args) => show::show(args),
        Command::Diff(args) => diff::diff(args),
        Command::Cancel(args) => cancel::cancel_run(args),
        Command::Gc(args) => gc::gc(args),
        Command::Server(args) => server::server(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Serve(args) => serve::serve(args),
        Command::Schema(args) => schema::schema(args),
        Command::Explain(args) => explain::explain(args),
        Command::Init(args) => init::init(args),
    };
    done.into()
}
