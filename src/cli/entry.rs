//! From the words typed to the command they name.

use std::io::Write;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue};

use super::args::{Cli, Command};
use super::exit::Exit;
use super::{
    args, cancel, check, completions, diff, doctor, explain, gc, import, init, man, new, plan,
    plugin, replay, run, runs, schema, serve, server, show, watch,
};

/// Parses the command line, does what it says, and tells the exit code.
pub fn main() -> ExitCode {
    completions::answer();
    let typed = args::without_empty_variables(args::command())
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match typed {
        Ok(typed) => typed,
        Err(error) => {
            let _ = error.print();
            if let Some(help) = meant(&error) {
                let _ = writeln!(anstream::stderr(), "\n{help}");
            }
            return Exit::from_clap(&error).into();
        }
    };
    let done = match &cli.command {
        Command::Run(args) => return run::run(args, &matches),
        Command::Watch(args) => return watch::watch(args),
        Command::Check(args) => check::check(args),
        Command::Plan(args) => plan::plan(args),
        Command::Runs(args) => runs::runs(args),
        Command::Show(args) => show::show(args),
        Command::Diff(args) => diff::diff(args),
        Command::Replay(args) => replay::replay(args),
        Command::Cancel(args) => cancel::cancel_run(args),
        Command::Gc(args) => gc::gc(args),
        Command::Server(args) => server::server(args),
        Command::Plugin(args) => plugin::plugin(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Serve(args) => serve::serve(args),
        Command::Schema(args) => schema::schema(args),
        Command::Explain(args) => explain::explain(args),
        Command::Import(args) => import::import(args),
        Command::New(args) => new::new(args),
        Command::Init(args) => init::init(args),
        Command::Completions(args) => completions::completions(args),
        Command::Man(args) => man::man(args),
    };
    done.into()
}

/// What to type instead of a flag or a command that other programs have.
fn meant(error: &clap::Error) -> Option<&'static str> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let typed = word(ContextKind::InvalidArg).or_else(|| word(ContextKind::InvalidSubcommand))?;
    Some(match typed.split('=').next().unwrap_or(typed) {
        "--dry-run" | "--dryrun" | "-n" | "dry-run" => {
            "`kiln plan FILE` says what a run would do, and queues nothing"
        }
        "validate" | "lint" | "verify" => {
            "`kiln check FILE…` finds mistakes without running anything"
        }
        "help" => "`kiln --help` lists the commands, `kiln COMMAND --help` tells about one",
        "list" | "ls" | "history" | "log" | "ps" => {
            "`kiln runs` lists what ran, `kiln show RUN` tells of one run"
        }
        "status" | "logs" => {
            "`kiln show` tells of the last run, `kiln show RUN --follow` what happens in one"
        }
        "clean" | "prune" => "`kiln gc` removes what nothing needs any more",
        "stop" | "kill" => "`kiln cancel RUN` stops a run of another terminal",
        "resume" => "`kiln run --resume last` goes on with the newest run",
        _ => return None,
    })
}
