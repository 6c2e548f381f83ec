//! `kiln run`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::args::{RunArgs, TextOrJson};
use super::exit::{Exit, complain};
use super::screen;
use crate::report::{JsonReporter, Reporter};
use crate::run::RunOptions;
use crate::session::{self, Ask, Resume, Wishes};

/// Flags that a stored plan cannot follow.
const SHAPING: &[&str] = &[
    "server",
    "profile",
    "seed",
    "output_dir",
    "max_parallel",
    "to",
    "from",
    "only",
    "force",
    "no_plugins",
];

pub(super) fn run(args: &RunArgs, matches: &ArgMatches) -> ExitCode {
    let file = args.file.as_deref().unwrap_or(Path::new(""));
    let request = args.plan.request(file);
    let wishes = wishes(args, matches);
    match session::run(&request, &wishes, reporter(args)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            Exit::Internal.into()
        }
    }
}

fn wishes(args: &RunArgs, matches: &ArgMatches) -> Wishes {
    let flags = &args.run;
    let text = args.output == TextOrJson::Text;
    let (_, terminal) = screen::notes(args.preview);
    if text {
        screen::say_if_no_pictures(args.preview, terminal);
    }
    Wishes {
        options: RunOptions {
            keep_going: flags.keep_going,
            max_fail: flags.max_fail,
            deadline: flags.timeout,
        },
        wait: flags.wait,
        deny_warnings: flags.deny.is_some(),
        yes: flags.yes,
        ask: someone_to_ask(args),
        resume: flags.resume.clone().map(|run| Resume {
            run,
            fixed: typed(matches),
        }),
        hide_typing: text && terminal.live,
        previews: text && terminal.pictures.is_some(),
        watched: false,
    }
}

/// The shaping flags that were typed; those from the environment are for every run, and say nothing about this one.
fn typed(matches: &ArgMatches) -> Vec<String> {
    let Some((_, run)) = matches.subcommand() else {
        return Vec::new();
    };
    let typed = |id: &&&str| run.value_source(id) == Some(ValueSource::CommandLine);
    let typed = SHAPING.iter().filter(typed);
    typed
        .map(|id| format!("--{}", id.replace('_', "-")))
        .collect()
}

/// A person sits at the terminal, and stdin is not the pipeline.
fn someone_to_ask(args: &RunArgs) -> Option<Ask> {
    let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let free = args.output == TextOrJson::Text && std::env::var_os("CI").is_none();
    (there && free).then_some(ask)
}

fn ask(question: &str) -> bool {
    let mut err = anstream::stderr();
    let asked = write!(err, "{question}. Start it? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    asked.is_ok()
        && std::io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

fn reporter(args: &RunArgs) -> Box<dyn Reporter> {
    match args.output {
        TextOrJson::Json => Box::new(JsonReporter::new(anstream::stderr(), std::io::stdout())),
        TextOrJson::Text => Box::new(screen::reporter(args.preview)),
    }
}
