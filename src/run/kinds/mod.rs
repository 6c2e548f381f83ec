//! What tasks do: a job on a server, a program on this machine, or a plugin's work.

mod command;
mod gather;
mod job;
mod lines;
mod plugin;
mod program;
mod restarts;
mod stamps;
mod workflow;

pub(super) use command::keep;
