//! Exit codes, and how the end of a command is told.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use tokio::runtime::{Builder, Runtime};

use crate::diagnostic::{Report, SourceMap};
use crate::report::{exit_code, write_report};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Everything asked for was done.
    Done,
    /// A fault of kiln's own.
    Internal,
    /// The command line makes no sense.
    Usage,
    /// Something is wrong with files or servers; the report says which.
    Report(u8),
}

impl Exit {
    pub(super) fn from_clap(error: &clap::Error) -> Self {
        match error.kind() {
            clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => {
                Self::Done
            }
            _ => Self::Usage,
        }
    }
}

impl Exit {
    /// What a report calls for.
    pub(super) fn of_report(report: &Report, sources: &SourceMap) -> Self {
        match exit_code(report, sources) {
            0 => Self::Done,
            code => Self::Report(code),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::Report(code) => code,
        })
    }
}

/// What asynchronous work needs; where the system refuses it, that is told.
pub(super) fn runtime() -> Result<Runtime, Exit> {
    let built = Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| {
        complain(&format!("could not start: {error}"));
        Exit::Internal
    })
}

/// Prints diagnostics for people on stderr.
pub(super) fn tell(report: &Report, sources: &SourceMap) {
    // Nobody is left to tell when stderr is closed.
    let columns = columns().map(|ask| ask());
    let _ = write_report(&mut anstream::stderr().lock(), report, sources, columns);
}

/// Asks how wide the terminal behind stderr is at the moment; `None` when it is no terminal.
pub(super) fn columns() -> Option<fn() -> usize> {
    fn ask() -> usize {
        terminal_size::terminal_size_of(std::io::stderr())
            .map_or(80, |(width, _)| usize::from(width.0))
    }
    std::io::stderr().is_terminal().then_some(ask)
}

/// Prints one plain error line for people.
pub(super) fn complain(message: &str) {
    let style: Style = AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{style}error{style:#}: {message}");
}
