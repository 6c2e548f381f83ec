//! Remembers: runs with their sealed plans, and the journal of facts that the machine was told or decided.
//!
//! The state of a project lies in `.kiln/` beside its files: `kiln.db` (`SQLite`, WAL, so that other processes can read while a run
//! writes), `locks/`, and a `.gitignore` that keeps all of it out of git. One thread writes. It takes whatever has queued up into one
//! durable transaction (`synchronous=FULL`) and then answers every caller: a dispatcher turn costs one sync however many facts it has,
//! and turns that come while a sync is under way share the next one. The order of rows is the order in which they were handed over, so
//! a durable row implies that all rows before it are.
//!
//! The room never decides anything and never prints. A database of a newer kiln is never written to; a damaged one is reported, not
//! repaired. Locks are per output set and name their holder; the system releases them when the holder dies, however it dies.

mod database;
mod error;
mod lock;
mod open;
mod writer;

pub use error::{Holder, StoreError};
pub use lock::Lock;
pub use open::{Replay, STATE_FOLDER, Store, StoredRun};
pub use writer::{Ack, Journal};

#[cfg(test)]
mod tests;
