//! What kiln tells people about a graph before it runs: a server's verdict in plain words at the user's own line, and what kiln
//! knows beyond the server.
//!
//! A server says nothing about a misspelt optional input, and dies of a link that leads nowhere where it does not look; those are
//! found here. This room never decides what a server accepts (that is `workflow::verdict`) and never prints.

mod across;
mod beyond;
mod circles;
pub mod editor;
mod graph;
mod links;
mod plan;
mod refusals;
mod relics;
mod standing;
mod uploads;
mod words;

pub use graph::{Places, Setting, verdict_diagnostics};
pub use plan::{Checked, plan};
pub use uploads::{too_large, too_wide};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod tests;
