//! What plugins say, and what is said of them.

use std::io::Write;

use super::{BAD, DIM, ODD, TerminalReporter, tame};
use crate::diagnostic::{JsonDiagnostic, Severity};
use crate::report::ReportResult;

impl<N: Write + Send, R: Write + Send> TerminalReporter<N, R> {
    /// Those before the run were shown with their lines, and errors are shown so in the end.
    pub(super) fn warned(&mut self, told: &JsonDiagnostic) -> ReportResult {
        if told.severity != Severity::Warning || self.view.tasks.is_empty() {
            return Ok(());
        }
        self.diagnostic(told)
    }

    pub(super) fn plugin_said(&mut self, plugin: &str, level: &str, line: &str) -> ReportResult {
        let style = match level {
            "error" => BAD,
            "warn" => ODD,
            "info" => DIM,
            // For the plugin's author, who has the event stream.
            _ => return Ok(()),
        };
        writeln!(self.notes, "  {style}{plugin}{style:#} │ {}", tame(line))
    }
}
