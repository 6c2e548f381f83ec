//! What is wrong with a setup, and what to do: the project, its servers, its pipelines, its state.
//!
//! Everything is looked at, whatever was found before; nothing is changed. What only the command line knows (the terminal, the variables of
//! flags) it adds itself.

mod examine;
mod finding;
mod pipelines;
mod project;
mod servers;
mod state;

pub use examine::examine;
pub use finding::{Area, Checkup, Finding, Level};
