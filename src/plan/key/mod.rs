//! What a task's result depends on, as a key: tasks of equal keys have the same result.
//!
//! One writer walks over everything that shapes a result and hands tagged entries to a sink. There are two sinks: one hashes them (the
//! key), one keeps them as a [`Manifest`] beside the result, so that a later run can [`explain`] which entry changed. Nothing can be in
//! the key and not in the explanation, or the other way round.
//!
//! In the key: the format's version, the realm (a rehearsal never satisfies a real run), the graph (classes and inputs; the order of
//! nodes and keys never matters, nor does `_meta`), files by content, those of the server's own that its loaders name too, which output
//! nodes run, and the size of each model file where the server tells it. For a command: the program, its arguments, environment and stdin with files by content, and what it collects. Of each plugin
//! that shapes a result: its library by content, and its config; for a step of its own, what it is given.
//! `cache: strict` adds the server's version, its packs and the age of its models. Never in the key: names of steps, tasks, runs and
//! servers, `save_as`, times, and where files lie. Secrets are there as placeholders only: a new value alone is no new key.
//!
//! The encoding is fixed by golden vectors. A change of it is a new [`FORMAT`], and every earlier result is forgotten.

mod assume;
mod canonical;
mod command;
mod facts;
mod manifest;
mod plugin;
mod show;
mod stale;
mod workflow;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_command;

pub use assume::settle;
pub use command::{CommandInputs, Part, Paths, Program, command_manifest, of_command};
pub use facts::{LOADERS, ModelFact, Realm, Recorded, ServerFacts, server_files};
pub use manifest::{Entry, FORMAT, Manifest, Tag};
pub use plugin::{of_plugin, plugin_manifest};
pub use stale::{StaleReason, explain};
pub use workflow::{Memo, of_workflow, workflow_manifest};
