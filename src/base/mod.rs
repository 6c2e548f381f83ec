//! The ground floor: names and ids, the clock, safe paths, atomic files and the one recorded door to what is read before a run.
//!
//! Nothing here knows what a pipeline, a server or a workflow is. Every file that kiln leaves behind goes through [`AtomicFile`],
//! every path that came from outside through [`safe_join`] or [`safe_name`], and everything a plan reads through [`Inputs`].

mod atomic;
mod brief;
mod disk;
mod dotenv;
mod hash;
mod ids;
mod inputs;
mod nearby;
mod parallel;
mod path;
#[cfg(test)]
pub(crate) mod power;
pub mod programs;
mod room;
pub mod secret;
mod secrets;

pub use atomic::{
    Access, AtomicFile, Finished, TEMPORARY_PREFIX, TEMPORARY_SUFFIX, WriteError, copy_file,
    copy_file_unsynced, put_unsynced, sync_folder,
};
pub use brief::{brief, patient};
pub use disk::{DiskStep, DiskWatcher, Watching, watch_disk};
pub use dotenv::DotenvError;
pub use hash::{ContentHash, Hasher};
pub use ids::{NodeId, RunId, ServerName, StepId, TaskName, valid_id};
pub use inputs::{Input, Inputs, ReadError};
pub use nearby::{Looks, Nearby};
pub use parallel::parallel;
pub use path::{UnsafePath, display_path, display_path_from, safe_join, safe_name};
pub use room::{ensure_room, free_space};
pub use secret::Masker;
pub use secrets::Secrets;
