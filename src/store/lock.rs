//! Locks that name their holder and end with it, however it ends.
//!
//! A lock is the system's lock on a file; a note beside it says who has it, since some systems let nobody read a locked file. Two kinds
//! use it: the lock of an output set lies in that very folder, so that two projects which share it exclude each other, and the lock of a
//! run lies in the project's state and tells others that its process lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Holder;
use super::sweep::keep_sweeps_away;
use crate::base::RunId;

/// How often a reader that looks at a lock may be mistaken for its holder.
const MISTAKES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// A lock; released when it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// Removed with the lock when nothing else is in it.
    folder: Option<PathBuf>,
    /// Held as long.
    gate: Option<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // In this order: as long as the note is there, the lock is ours. Whoever waits for the removed file finds out by its identity.
        let _ = std::fs::remove_file(note_of(&self.path));
        let _ = std::fs::remove_file(&self.path);
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir(folder);
        }
        let _ = self.file.unlock();
        drop(self.gate.take());
    }
}

/// Why a lock is not had.
#[derive(Debug)]
pub(super) enum Refused {
    /// Someone else has it.
    Held(Holder),
    /// The file system does not let us.
    Io(io::Error),
}

/// The lock of an output set, in that folder, which is made for it.
pub(super) fn of_outputs(output_set: &Path, run: &RunId) -> Result<Lock, Refused> {
    let made = !output_set.exists();
    std::fs::create_dir_all(output_set).map_err(Refused::Io)?;
    let mut lock = take(&output_set.join(".kiln-lock"), run)?;
    lock.folder = made.then(|| output_set.to_path_buf());
    Ok(lock)
}

/// The lock that says that a run's process lives.
pub(super) fn of_run(folder: &Path, run: &RunId) -> Result<Lock, Refused> {
    let gate = keep_sweeps_away(folder)?;
    let mut lock = take(&run_lock(folder, run), run)?;
    lock.gate = Some(gate);
    Ok(lock)
}

/// Whether the process of a run lives, and who it is.
pub(super) fn holder_of_run(folder: &Path, run: &RunId) -> Option<Holder> {
    let path = run_lock(folder, run);
    (!is_free(&path)).then(|| read_note(&path))
}

/// Whether nobody has a lock.
pub(super) fn is_free(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().read(true).open(path) else {
        return true;
    };
    !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Removes a lock and its note, unless somebody has taken it. They are removed under the lock itself: whoever takes it meanwhile finds out
/// by the file's identity that it has to begin again. Whether anything was removed.
pub(super) fn remove_free(path: &Path) -> io::Result<bool> {
    let note = note_of(path);
    if !path.exists() && !note.exists() {
        return Ok(false);
    }
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) if is_at(&file, path) => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    match std::fs::remove_file(&note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::remove_file(path).map(|()| true),
    }
}

fn run_lock(folder: &Path, run: &RunId) -> PathBuf {
    folder.join(format!("run-{}.lock", crate::base::safe_name(run.as_str())))
}

/// Takes a lock, or tells who has it.
pub(super) fn take(path: &Path, run: &RunId) -> Result<Lock, Refused> {
    let mut mistakes = 0;
    let file = loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Refused::Io)?;
        match file.try_lock() {
            // Its last holder may have removed it after we opened it.
            Ok(()) if is_at(&file, path) => break file,
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_note(path);
                // Somebody who only looks has no note, and is gone at once.
                if holder.run.is_some() || mistakes == MISTAKES {
                    return Err(Refused::Held(holder));
                }
                mistakes += 1;
                std::thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
        }
    };
    let lock = Lock {
        file,
        path: path.to_path_buf(),
        folder: None,
        gate: None,
    };
    let note = Holder {
        run: Some(run.clone()),
        pid: std::process::id(),
        host: host(),
    };
    let text = serde_json::to_string(&note).unwrap_or_default();
    std::fs::write(note_of(path), text).map_err(Refused::Io)?;
    Ok(lock)
}

/// Whether the file that was opened is still the one with that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

fn note_of(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn read_note(path: &Path) -> Holder {
    std::fs::read(note_of(path))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Holder {
            run: None,
            pid: 0,
            host: String::new(),
        })
}

/// The name of this machine.
pub(super) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this machine".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_taken_since_it_was_looked_at_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::from("20250101-120000-dead");
        let path = run_lock(dir.path(), &run);
        std::fs::write(&path, "").unwrap();
        std::fs::write(note_of(&path), "{}").unwrap();
        assert!(is_free(&path));
        let held = take(&path, &run).ok().unwrap();
        assert!(!remove_free(&path).unwrap());
        assert!(is_at(&held.file, &path), "it is still the lock");
        assert_eq!(read_note(&path).run, Some(run));
        drop(held);
        std::fs::write(&path, "").unwrap();
        std::fs::write(note_of(&path), "{}").unwrap();
        assert!(remove_free(&path).unwrap());
        assert!(!remove_free(&path).unwrap(), "there is nothing left");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
