//! The command line: arguments in, an exit code out. One file per command; the work is `session`'s.
//!
//! `args` is what was typed, each command's file turns it into what is meant.

mod args;
mod check;
mod entry;
mod exit;
mod explain;
mod init;
mod plan;
mod run;
mod schema;
mod serve;

pub use args::command;
pub use entry::main;
