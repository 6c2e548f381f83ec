//! `kiln run`.

use std::io::IsTerminal;
use std::process::ExitCode;

use super::args::{RunArgs, TextOrJson};
use super::exit::{Exit, complain};
use crate::report::{JsonReporter, Reporter, Terminal, TerminalReporter};
use crate::session;

pub(super) fn run(args: &RunArgs) -> ExitCode {
    match session::run(&args.plan.request(&args.file), reporter(args.output)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            Exit::Internal.into()
        }
    }
}

fn reporter(output: TextOrJson) -> Box<dyn Reporter> {
    match output {
        TextOrJson::Json => Box::new(JsonReporter::new(std::io::stdout())),
        TextOrJson::Text => {
            let stderr = std::io::stderr();
            let width = stderr.is_terminal().then(|| {
                terminal_size::terminal_size_of(&stderr)
                    .map_or(80, |(width, _)| usize::from(width.0))
            });
            let terminal = Terminal {
                live: width.filter(|_| std::env::var_os("CI").is_none()),
                shared: stderr.is_terminal() && std::io::stdout().is_terminal(),
            };
            Box::new(TerminalReporter::new(
                anstream::stderr(),
                std::io::stdout(),
                terminal,
            ))
        }
    }
}
