//! What plugins say, and what is said of them.

use std::io::Write;

use super::lines::complaint;
use super::style::Paint;
use super::terminal::TerminalReporter;
use super::text::tame;
use crate::diagnostic::{JsonDiagnostic, Severity};

impl<N: Write, R: Write> TerminalReporter<N, R> {
    /// Those before the run were shown with their lines, and errors are shown so in the end.
    pub(super) fn warned(&mut self, told: &JsonDiagnostic) {
        if told.severity != Severity::Warning || self.view.tasks.is_empty() {
            return;
        }
        for line in complaint(told, &self.paint) {
            self.say(&line);
        }
    }

    pub(super) fn plugin_said(&mut self, plugin: &str, level: &str, line: &str) {
        let Paint { bad, odd, dim, .. } = self.paint;
        let style = match level {
            "error" => bad,
            "warn" => odd,
            "info" => dim,
            // For the plugin's author, who has the event stream.
            _ => return,
        };
        let line = tame(line);
        self.say(&format!("  {style}{plugin}{style:#} │ {line}"));
    }
}
