//! What tasks do: a job on a server, or a program on this machine.

mod command;
mod gather;
mod job;
mod lines;
mod program;
mod stamps;
mod workflow;
