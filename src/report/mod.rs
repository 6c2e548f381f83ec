//! A run told to people and to tools.
//!
//! Reporters consume [`crate::event::Envelope`]s and never ask the engine anything. [`View`] is the run as folded from its events, so
//! that a live run and a stored one look the same.

mod complaints;
mod exit;
mod fold;
mod glimpse;
mod groups;
mod json;
mod line;
mod lines;
mod links;
mod live;
mod pictures;
mod plugins;
mod reporter;
mod screen;
mod sink;
mod sixel;
mod spent;
mod stage;
mod story;
mod style;
mod summary;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
pub mod tty;
mod view;

pub use complaints::write_report;
pub use exit::exit_code;
pub use groups::Folding;
pub use json::JsonReporter;
pub use pictures::Protocol;
pub use reporter::{ReportResult, Reporter};
pub use stage::{Stage, label_width};
pub use terminal::{Clock, Terminal, TerminalReporter};
pub use text::{cut, duration, plural, tame};
pub use view::{InFlight, StepView, TaskState, TaskView, View};
