//! What tasks do: a job on a server, or a program on this machine.

mod gather;
mod program;
