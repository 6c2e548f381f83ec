//! Remembers: runs with their sealed plans and the journal of facts that the machine was told or decided; results by key and by content;
//! and small things that make the next run quicker.
//!
//! The state of a project lies in `.kiln/` beside its files: `kiln.db` (`SQLite`, WAL, so that other processes can read while a run
//! writes), `locks/`, `blobs/`, and a `.gitignore` that keeps all of it out of git. One thread writes. It takes whatever has queued up into
//! one durable transaction (`synchronous=FULL`) and then answers every caller: a dispatcher turn costs one sync however many facts it has,
//! and turns that come while a sync is under way share the next one. The order of rows is the order in which they were handed over, so
//! a durable row implies that all rows before it are. What nobody waits for is written with the next thing that somebody does.
//!
//! A result is committed in this order: its file (synced, then named), its blob, the record of its key, the fact that its task ended.
//! Each is only believed as far as it can be proven: a record counts while its blobs do, a blob while its content is what its hash says,
//! so whatever a power cut leaves costs at most work that is done again.
//!
//! The room never decides anything and never prints. A database of a newer kiln is never written to; a damaged one is reported, not
//! repaired. Locks are per output set and name their holder; the system releases them when the holder dies, however it dies.

mod blobs;
mod cache;
mod database;
mod error;
mod health;
mod journal;
mod lock;
mod notes;
mod open;
mod place;
mod queue;
mod reader;
mod schema;
mod sweep;
mod writer;

pub use blobs::{BlobError, Blobs, Ensured, Held, LocalBlobs};
pub use cache::CacheRecord;
pub use error::{Holder, StoreError};
pub use health::{Health, health};
pub use journal::Journal;
pub use lock::Lock;
pub use notes::KnownUpload;
pub use open::{Store, read};

pub use place::{Place, STATE_FOLDER, Shelf, is_network};
pub use reader::{KeptManifest, Reader, Replay, StoredRun, Unread};
pub use sweep::{Removed, StaleLock, Sweep, Waste, is_temporary};
pub use writer::Ack;

#[cfg(test)]
mod tests;
