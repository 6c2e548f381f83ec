//! The steps in which kiln changes files that it leaves behind, told to whoever watches before each is made.
//!
//! Nothing watches in a normal run, and a step then costs one look at a flag. A test installs a watcher for its own folder: it can refuse a
//! step (a full disk, or the power is out: then every later step is refused too) and can keep count of what was synced, so that it knows
//! what a power cut would leave.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What is about to be done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskStep<'a> {
    /// A new, empty file appears.
    Create(&'a Path),
    /// Bytes are appended, or the content of another file is put in.
    Write(&'a Path, u64),
    /// The content written so far is made durable.
    Sync(&'a Path),
    /// A file takes its name, in place of what had it.
    Rename(&'a Path, &'a Path),
    /// The names in a folder are made durable.
    SyncFolder(&'a Path),
    /// A file goes.
    Remove(&'a Path),
}

impl DiskStep<'_> {
    /// The file or folder that it happens to.
    pub fn path(&self) -> &Path {
        match self {
            Self::Create(path)
            | Self::Write(path, _)
            | Self::Sync(path)
            | Self::Rename(_, path)
            | Self::SyncFolder(path)
            | Self::Remove(path) => path,
        }
    }
}

/// Is told of each step in a folder before it is made.
pub trait DiskWatcher: Send + Sync {
    /// An error refuses the step: whoever wanted it sees that error as the system's answer.
    ///
    /// # Errors
    /// Whatever the system shall have answered.
    fn before(&self, step: DiskStep<'_>) -> io::Result<()>;
}

type Installed = (PathBuf, Arc<dyn DiskWatcher>);

static WATCHERS: RwLock<Vec<Installed>> = RwLock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Takes its watcher away when it is dropped.
#[derive(Debug)]
pub struct Watching(PathBuf);

/// Has a watcher told of every step below a folder.
pub fn watch_disk(folder: &Path, watcher: Arc<dyn DiskWatcher>) -> Watching {
    let mut watchers = WATCHERS.write().unwrap_or_else(PoisonError::into_inner);
    watchers.push((folder.to_path_buf(), watcher));
    COUNT.store(watchers.len(), Ordering::Release);
    Watching(folder.to_path_buf())
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = WATCHERS.write().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|(folder, _)| *folder != self.0);
        COUNT.store(watchers.len(), Ordering::Release);
    }
}

/// Tells of a step that is about to be made.
///
/// # Errors
/// When a watcher refuses it.
pub(super) fn before(step: DiskStep<'_>) -> io::Result<()> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    let watching: Vec<Arc<dyn DiskWatcher>> = {
        let watchers = WATCHERS.read().unwrap_or_else(PoisonError::into_inner);
        let concerned = watchers
            .iter()
            .filter(|(folder, _)| step.path().starts_with(folder));
        concerned.map(|(_, watcher)| Arc::clone(watcher)).collect()
    };
    watching.iter().try_for_each(|watcher| watcher.before(step))
}
