//! How a project's state is, looked at without changing anything but a file that is gone at once.

use std::path::{Path, PathBuf};

use super::database;
use super::error::{Holder, StoreError};
use super::lock;
use super::place::{self, Place};
use super::schema;
use crate::base::{RunId, free_space};

/// How a project's state is.
#[derive(Debug)]
pub struct Health {
    /// Where it lies.
    pub place: Place,
    /// The database's format; `None` when there is no database.
    pub format: Option<Result<i64, StoreError>>,
    /// The format that this kiln writes.
    pub known: i64,
    /// The first folder that cannot be written, and why.
    pub unwritable: Option<StoreError>,
    /// Bytes that are free where results are kept, where the system tells.
    pub free: Option<u64>,
    /// The kind of the file system, where the system tells.
    pub file_system: Option<String>,
    /// Whether the project lies on a network file system.
    pub network: bool,
    /// Runs whose processes live.
    pub live: Vec<Holder>,
    /// Locks that dead processes left; they hold nobody up.
    pub stale: Vec<PathBuf>,
}

/// Looks at the state of a project.
pub fn health(project: &Path) -> Health {
    let place = Place::of(project);
    let path = place.database();
    let (live, stale) = locks(&place.locks());
    let folders = [&place.folder, &place.state];
    let unwritable = folders.into_iter().find_map(|folder| unwritable(folder));
    Health {
        format: path.exists().then(|| database::format_of(&path)),
        known: schema::format(),
        unwritable,
        free: free_space(&place.folder),
        file_system: file_system(&place.folder),
        network: place::is_network(&place.folder),
        live,
        stale,
        place,
    }
}

/// The nearest folder that exists: a missing one would be made in it.
fn nearest(folder: &Path) -> &Path {
    let mut all = folder.ancestors();
    all.find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

/// Why nothing can be written in a folder, or in the one that it would be made in.
fn unwritable(folder: &Path) -> Option<StoreError> {
    let there = nearest(folder);
    let error = tempfile::tempfile_in(there).err()?;
    Some(StoreError::io(there, error))
}

/// The locks of runs: who lives, and what the dead left.
fn locks(folder: &Path) -> (Vec<Holder>, Vec<PathBuf>) {
    let (mut live, mut stale) = (Vec::new(), Vec::new());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let run = name
            .and_then(|name| name.strip_prefix("run-"))
            .and_then(|name| name.strip_suffix(".lock"));
        let Some(run) = run else { continue };
        match lock::holder_of_run(folder, &RunId::from(run)) {
            Some(holder) => live.push(holder),
            None => stale.push(path),
        }
    }
    stale.sort();
    (live, stale)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn file_system(folder: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let path = std::fs::canonicalize(nearest(folder)).ok()?;
    place::fuse_kind(&mounts, &path).map(str::to_owned)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn file_system(_folder: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn what_the_dead_left_is_told_from_what_lives() {
        let dir = tempfile::tempdir().unwrap();
        let before = health(dir.path());
        assert!(before.format.is_none() && before.unwritable.is_none());
        let store = Store::open(dir.path()).unwrap();
        let locks = store.place().locks();
        std::fs::create_dir_all(&locks).unwrap();
        let run = RunId::from("20260101-120000-abcd");
        let held = lock::of_run(&locks, &run).unwrap();
        std::fs::write(locks.join("run-20250101-120000-dead.lock"), "").unwrap();
        let now = health(dir.path());
        assert_eq!(now.live.len(), 1);
        assert_eq!(now.live[0].run.as_ref(), Some(&run));
        assert_eq!(now.stale.len(), 1, "{:?}", now.stale);
        assert_eq!(now.format.unwrap().unwrap(), now.known);
        drop(held);
        assert!(health(dir.path()).live.is_empty());
    }
}
