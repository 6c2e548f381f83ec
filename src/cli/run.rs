//! `kiln run`.

use std::io::IsTerminal;
use std::process::ExitCode;

use super::args::{RunArgs, TextOrJson};
use super::exit::{Exit, columns, complain};
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
        TextOrJson::Json => Box::new(JsonReporter::new(anstream::stderr(), std::io::stdout())),
        TextOrJson::Text => {
            let columns = columns();
            let terminal = Terminal {
                columns,
                live: columns.is_some() && std::env::var_os("CI").is_none(),
                shared: columns.is_some() && std::io::stdout().is_terminal(),
            };
            Box::new(TerminalReporter::new(
                anstream::stderr(),
                std::io::stdout(),
                terminal,
            ))
        }
    }
}
