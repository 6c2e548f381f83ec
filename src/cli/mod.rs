//! The command line: arguments in, an exit code out. One file per command; the work is `session`'s.
//!
//! `args` is what was typed, each command's file turns it into what is meant.

mod args;
mod cancel;
mod check;
mod completions;
mod diff;
mod doctor;
mod entry;
mod exit;
mod explain;
mod gc;
mod import;
mod init;
mod man;
mod new;
mod plan;
mod plugin;
mod replay;
mod run;
mod runs;
mod schema;
mod screen;
mod serve;
mod server;
mod sheet;
mod show;
mod table;
mod watch;

pub use args::command;
pub use entry::main;
