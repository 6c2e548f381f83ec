//! The in-process server that speaks `ComfyUI`'s protocol, so that everything can be tried and tested without `ComfyUI`.
//!
//! Real HTTP and WebSocket on loopback, real pixels for nodes that need no model; every other class is refused by name. Whether a prompt is
//! accepted is decided by `workflow::verdict` alone. It knows nothing of pipelines: a client cannot tell it from a small `ComfyUI` but by what
//! `/system_stats` says.
//!
//! Invariants: the server listens on loopback only; a job is in the queue, running or in the history, never in none or two of them; a node
//! that fails or panics ends its job alone; nothing that a request names is opened outside the server's folders.
//!
//! It differs from `ComfyUI` 0.33 on purpose where that does harm: the worker survives links to nowhere and nodes without inputs, a closing
//! socket does not deafen a newer one of the same id, a client that does not read delays nobody, and equal numbers with equal ids are no 500.

mod answers;
mod cache;
mod catalog;
mod cloud;
mod emulate;
mod executor;
mod files;
mod history;
mod jobs;
mod naming;
mod nodes;
mod prompt;
mod queue;
mod routes;
mod server;
mod simulate;
mod sockets;
mod state;
#[cfg(test)]
mod tests;
mod upload;
mod view;
mod walk;

pub use catalog::catalog;
pub use cloud::CloudOptions;
pub use emulate::UnknownVersion;
pub use files::{ALIVE, TEMPORARY_FOLDER};
pub use server::{Embedded, Options, Simulate, StartError, start};
pub use simulate::{LENIENT, simulated_catalog};
