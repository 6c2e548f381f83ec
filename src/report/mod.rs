//! A run told to people and to tools.
//!
//! Reporters consume [`crate::event::Envelope`]s and never ask the engine anything. [`View`] is the run as folded from its events, so
//! that a live run and a stored one look the same.

mod complaints;
mod exit;
mod fold;
mod json;
mod lines;
mod reporter;
mod sink;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod view;

pub use complaints::write_report;
pub use exit::exit_code;
pub use json::JsonReporter;
pub use reporter::{ReportResult, Reporter};
pub use terminal::{Terminal, TerminalReporter};
pub use text::{cut, duration, plural, tame};
pub use view::{InFlight, StepView, TaskState, TaskView, View};
