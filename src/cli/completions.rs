//! `kiln completions SHELL`, and what a shell asks while somebody types.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use clap_complete::{Shell, generate};

use super::args;
use super::exit::{Exit, complain};
use crate::session::names;

/// Tells the program that a shell asks, and which.
const ASKED: &str = "KILN_COMPLETE";

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,

    /// Complete the names of steps, servers, profiles and runs, too: the script asks this program while you type
    #[arg(long)]
    dynamic: bool,
}

pub(super) fn completions(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    if args.dynamic {
        let shell = args.shell.to_string();
        let known = Shells::builtins();
        let Some(shell) = known.completer(&shell) else {
            complain(&format!(
                "{shell} cannot ask while you type: leave --dynamic out"
            ));
            return Exit::Usage;
        };
        let written = shell.write_registration(ASKED, "kiln", "kiln", "kiln", &mut script);
        if let Err(error) = written {
            complain(&error.to_string());
            return Exit::Internal;
        }
    } else {
        generate(args.shell, &mut args::command(), "kiln", &mut script);
    }
    // A broken pipe is success: the reader has seen enough.
    let _ = io::stdout().write_all(&script);
    Exit::Done
}

/// Answers a shell that asks, and ends the program; otherwise does nothing.
pub(super) fn answer() {
    if std::env::var_os(ASKED).is_some() {
        CompleteEnv::with_factory(with_names)
            .var(ASKED)
            .bin("kiln")
            .complete();
    }
}

/// The command line with completers for names.
fn with_names() -> Command {
    args::command().mut_subcommands(|command| {
        command.mut_args(|arg| match completer(arg.get_id().as_str()) {
            Some(completer) => arg.add(completer),
            None => arg,
        })
    })
}

fn completer(id: &str) -> Option<ArgValueCompleter> {
    Some(match id {
        "to" | "from" | "only" => ArgValueCompleter::new(|typed: &OsStr| {
            let steps = pipeline().map(|path| names::steps(&path));
            offered(typed, steps.unwrap_or_default())
        }),
        "server" => ArgValueCompleter::new(|typed: &OsStr| offered(typed, names::servers(&here()))),
        "profile" => {
            ArgValueCompleter::new(|typed: &OsStr| offered(typed, names::profiles(&here())))
        }
        "run" | "resume" | "old" | "new" => ArgValueCompleter::new(runs),
        _ => return None,
    })
}

fn offered(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    let fitting = names.into_iter().filter(|name| name.starts_with(&typed));
    fitting.map(CompletionCandidate::new).collect()
}

fn runs(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    let runs = names::runs(&here());
    let last = runs
        .first()
        .map(|(run, _)| ("last".to_owned(), run.clone()));
    last.into_iter()
        .chain(runs)
        .filter(|(name, _)| name.starts_with(&typed))
        .map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into())))
        .collect()
}

fn here() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match pipeline().as_deref().and_then(Path::parent) {
        Some(folder) => here.join(folder),
        None => here,
    }
}

/// The pipeline on the command line that is being typed.
fn pipeline() -> Option<PathBuf> {
    let words = std::env::args_os().skip(1).map(PathBuf::from);
    let is_yaml = |path: &PathBuf| {
        let extension = path.extension().and_then(OsStr::to_str);
        matches!(extension, Some("yaml" | "yml")) && path.is_file()
    };
    let mut words = words;
    words.find(is_yaml)
}
