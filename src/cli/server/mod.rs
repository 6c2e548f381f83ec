//! `kiln server`: looking after servers. One file per command.

mod cancel;
mod catalog;
mod clear;
mod flags;
mod free;
mod history;
mod install;
mod interrupt;
mod jobs;
mod models;
mod nodes;
mod queue;
mod status;

pub(super) use flags::{ServerArgs, server, waited};
