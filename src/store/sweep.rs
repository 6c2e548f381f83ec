//! What of the state nothing needs any more.
//!
//! A record is needed while the run that made it is there, or one that used it; a blob while a needed record names it, or a run that did
//! not end well and may go on. While any run is under way, blobs are left alone: it may be about to use one that nothing names yet. A run
//! that begins meanwhile waits until blobs were looked through.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::error::StoreError;
use super::journal::row_of;
use super::lock::{self, Refused};
use super::open::Store;
use super::writer::Ack;
use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId, TEMPORARY_PREFIX, TEMPORARY_SUFFIX};
use crate::event::RunStatus;
use crate::machine::{Fact, Outcome};
use crate::store::CacheRecord;

/// A file that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waste {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
}

/// A lock whose holder died.
#[derive(Debug)]
pub struct StaleLock {
    /// The lock itself, which may be gone.
    lock: PathBuf,
    /// The lock and its note, as far as they are there.
    pub files: Vec<Waste>,
}

/// What became of what a sweep found.
#[derive(Debug, Default)]
pub struct Removed {
    /// The locks that were removed, with their notes; the others were taken up since.
    pub locks: Vec<Waste>,
    /// What could not be removed.
    pub resisting: Vec<PathBuf>,
}

/// What of the state nothing needs once some runs are gone.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Keys whose results nothing refers to.
    pub records: Vec<ContentHash>,
    /// Blobs that nothing names; `None` while a run is under way.
    pub blobs: Option<Vec<Waste>>,
    /// Files that never got their name.
    pub leftovers: Vec<Waste>,
    /// The locks of dead processes, with their notes.
    pub locks: Vec<StaleLock>,
    /// Blobs that were found damaged.
    pub quarantined: Vec<Waste>,
    /// Keeps runs from beginning.
    _quiet: Option<File>,
}

/// Held by every run that is under way, together; by a sweep alone.
pub(super) fn run_gate(locks: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(locks)?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(locks.join("runs.gate"))
}

impl Store {
    /// Looks for what nothing needs once `gone` are gone. Removes nothing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sweep(&self, gone: &HashSet<RunId>) -> Result<Sweep, StoreError> {
        let locks = self.place().locks();
        let gate = run_gate(&locks).map_err(|error| StoreError::io(&locks, error))?;
        let quiet = gate.try_lock().is_ok().then_some(gate);
        let (records, needed) = self.needed(gone)?;
        let mut leftovers = Vec::new();
        let blobs = quiet.is_some().then(|| {
            let known = self.place().is_elsewhere().then(|| self.known_blobs());
            let files = files_below(&self.place().blobs());
            let (temporary, blobs): (Vec<Waste>, Vec<Waste>) = files
                .into_iter()
                .filter(|file| !is_needed(file, &needed, known.as_ref()))
                .partition(|file| is_temporary(&file.path));
            leftovers.extend(temporary);
            blobs
        });
        Ok(Sweep {
            records,
            blobs,
            leftovers,
            locks: stale_locks(&locks),
            quarantined: files_below(&self.place().quarantine()),
            _quiet: quiet,
        })
    }

    /// Removes what a sweep found.
    ///
    /// # Errors
    /// When the database cannot be written; no file was removed then.
    pub fn remove(&self, sweep: &Sweep) -> Result<Removed, StoreError> {
        let keys = sweep.records.clone();
        let hashes: Vec<ContentHash> = sweep
            .blobs
            .iter()
            .flatten()
            .filter_map(|file| hash_of(&file.path))
            .collect();
        // The records first: a record without its blob is a miss, a blob without a record is waste.
        let forgotten = self.writer.write(Box::new(move |transaction| {
            let mut record = transaction.prepare_cached("DELETE FROM cache WHERE key = ?1")?;
            for key in &keys {
                record.execute([key.as_bytes()])?;
            }
            let mut stamp = transaction.prepare_cached("DELETE FROM blobs WHERE hash = ?1")?;
            for hash in &hashes {
                stamp.execute([hash.as_bytes()])?;
            }
            Ok(())
        }));
        forgotten.wait_blocking()?;
        let mut removed = Removed::default();
        for stale in &sweep.locks {
            // Since it was looked at, a run may have taken it up again.
            match lock::remove_free(&stale.lock) {
                Ok(true) => removed.locks.extend(stale.files.iter().cloned()),
                Ok(false) => {}
                Err(_) => removed.resisting.push(stale.lock.clone()),
            }
        }
        for file in sweep
            .blobs
            .iter()
            .flatten()
            .chain(&sweep.leftovers)
            .chain(&sweep.quarantined)
        {
            if std::fs::remove_file(&file.path).is_err() && file.path.exists() {
                removed.resisting.push(file.path.clone());
            } else if let Some(folder) = file.path.parent() {
                // Only the last file of a folder takes it along.
                let _ = std::fs::remove_dir(folder);
            }
        }
        Ok(removed)
    }

    /// Forgets runs: their plans, facts and manifests. What they made stays where it is.
    pub fn forget_runs(&self, runs: Vec<RunId>) -> Ack {
        self.writer.write(Box::new(move |transaction| {
            for run in &runs {
                let name = run.as_str();
                let number: i64 = transaction.query_row(
                    "SELECT coalesce((SELECT id FROM runs WHERE run = ?1), 0)",
                    [name],
                    |row| row.get(0),
                )?;
                transaction.execute(
                    "DELETE FROM journal WHERE id >= ?1 AND id < ?2",
                    [row_of(number, 0), row_of(number + 1, 0)],
                )?;
                transaction.execute("DELETE FROM manifests WHERE run = ?1", [number])?;
                transaction.execute("DELETE FROM runs WHERE run = ?1", [name])?;
            }
            Ok(())
        }))
    }

    /// Gives the space of what was forgotten back to the file system. Does nothing while others use the database.
    pub fn compact(&self) {
        let path = self.place().database();
        if let Ok(connection) = rusqlite::Connection::open(path) {
            let _ = connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);");
        }
    }

    /// The keys of records that nothing needs, and the hashes of all content that something does.
    fn needed(
        &self,
        gone: &HashSet<RunId>,
    ) -> Result<(Vec<ContentHash>, HashSet<ContentHash>), StoreError> {
        let runs = self.reader.runs()?;
        let left = || runs.iter().filter(|run| !gone.contains(&run.run));
        let here: HashSet<&RunId> = left().map(|run| &run.run).collect();
        let mut used = HashSet::new();
        let mut needed = HashSet::new();
        for run in left() {
            self.used_keys(&run.run, &mut used)?;
            if run.status != Some(RunStatus::Done) {
                self.made(&run.run, &mut needed)?;
            }
        }
        let records = self
            .reader
            .all("SELECT key, record FROM cache", [], |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, String>(1)?))
            })?;
        let mut unneeded = Vec::new();
        for (key, text) in records {
            let key = ContentHash::from_bytes(key);
            match serde_json::from_str::<CacheRecord>(&text) {
                Ok(record) if here.contains(&record.run) || used.contains(&key) => {
                    needed.extend(hashes(&record.artifacts));
                }
                _ => unneeded.push(key),
            }
        }
        Ok((unneeded, needed))
    }

    /// The keys that a run asked for.
    fn used_keys(&self, run: &RunId, used: &mut HashSet<ContentHash>) -> Result<(), StoreError> {
        for fact in self.facts_like(run, "prepared")? {
            if let Fact::Prepared { key: Some(key), .. } = fact {
                used.insert(key);
            }
        }
        Ok(())
    }

    /// The content that a run made.
    fn made(&self, run: &RunId, needed: &mut HashSet<ContentHash>) -> Result<(), StoreError> {
        for fact in self.facts_like(run, "ended")? {
            if let Fact::Ended {
                outcome: Outcome::Done { artifacts } | Outcome::Cached { artifacts, .. },
                ..
            } = fact
            {
                needed.extend(hashes(&artifacts));
            }
        }
        Ok(())
    }

    fn facts_like(&self, run: &RunId, word: &str) -> Result<Vec<Fact>, StoreError> {
        let word = format!("{{\"fact\":\"{word}\"");
        let mut facts = Vec::new();
        for (_, _, text) in self.reader.journal_rows(run, 0)? {
            // Only those that are wanted are read.
            let row: Vec<&RawValue> = serde_json::from_str(&text).unwrap_or_default();
            let wanted = row.iter().filter(|fact| fact.get().starts_with(&word));
            facts.extend(wanted.filter_map(|fact| serde_json::from_str(fact.get()).ok()));
        }
        Ok(facts)
    }

    /// The blobs that this database knows; another machine's may know more.
    fn known_blobs(&self) -> HashSet<ContentHash> {
        let known = self.reader.all("SELECT hash FROM blobs", [], |row| {
            row.get::<_, [u8; 32]>(0).map(ContentHash::from_bytes)
        });
        known.unwrap_or_default().into_iter().collect()
    }
}

fn hashes(artifacts: &[std::sync::Arc<Artifact>]) -> impl Iterator<Item = ContentHash> {
    artifacts.iter().map(|artifact| artifact.hash)
}

fn is_needed(
    file: &Waste,
    needed: &HashSet<ContentHash>,
    known: Option<&HashSet<ContentHash>>,
) -> bool {
    match hash_of(&file.path) {
        Some(hash) => needed.contains(&hash) || known.is_some_and(|known| !known.contains(&hash)),
        // Not ours to judge.
        None => !is_temporary(&file.path),
    }
}

fn hash_of(path: &Path) -> Option<ContentHash> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Whether a file has not got its name yet.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX) && name.ends_with(TEMPORARY_SUFFIX))
}

fn files_below(folder: &Path) -> Vec<Waste> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| Waste {
            size: entry.metadata().map_or(0, |metadata| metadata.len()),
            path: entry.into_path(),
        })
        .collect()
}

/// Locks whose holders died, with their notes.
fn stale_locks(locks: &Path) -> Vec<StaleLock> {
    let mut by_stem: HashMap<PathBuf, Vec<Waste>> = HashMap::new();
    for file in files_below(locks) {
        let ours = file
            .path
            .extension()
            .is_some_and(|extension| extension == "lock" || extension == "json");
        if ours {
            let stem = file.path.with_extension("lock");
            by_stem.entry(stem).or_default().push(file);
        }
    }
    let free = by_stem.into_iter().filter(|(lock, _)| lock::is_free(lock));
    free.map(|(lock, files)| StaleLock { lock, files })
        .collect()
}

/// Takes part in keeping sweeps away, waiting for one that is under way.
pub(super) fn keep_sweeps_away(locks: &Path) -> Result<File, Refused> {
    let gate = run_gate(locks).map_err(Refused::Io)?;
    gate.lock_shared().map_err(Refused::Io)?;
    Ok(gate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state with the lock of a dead process, and what a sweep found of it.
    fn stale(project: &Path) -> (Store, Sweep, PathBuf) {
        let store = Store::open(project).unwrap();
        let locks = store.place().locks();
        std::fs::create_dir_all(&locks).unwrap();
        let lock = locks.join("run-20250101-120000-dead.lock");
        std::fs::write(&lock, "").unwrap();
        std::fs::write(lock.with_extension("json"), "{}").unwrap();
        let sweep = store.sweep(&HashSet::new()).unwrap();
        (store, sweep, lock)
    }

    #[test]
    fn a_lock_and_its_note_are_removed_as_one_and_told_as_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let (store, sweep, lock) = stale(dir.path());
        assert_eq!(sweep.locks.len(), 1);
        let removed = store.remove(&sweep).unwrap();
        assert_eq!(removed.locks.len(), 2);
        assert_eq!(removed.resisting, [] as [PathBuf; 0]);
        assert!(!lock.exists() && !lock.with_extension("json").exists());
    }

    #[test]
    fn a_lock_that_was_taken_up_since_is_not_told_as_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, sweep, lock) = stale(dir.path());
        let held = File::open(&lock).unwrap();
        held.try_lock().unwrap();
        let removed = store.remove(&sweep).unwrap();
        assert_eq!(removed.locks, []);
        assert!(lock.exists() && lock.with_extension("json").exists());
    }

    #[test]
    fn a_lock_that_cannot_be_removed_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let (store, sweep, lock) = stale(dir.path());
        let note = lock.with_extension("json");
        std::fs::remove_file(&note).unwrap();
        std::fs::create_dir(&note).unwrap();
        let removed = store.remove(&sweep).unwrap();
        assert_eq!(removed.resisting, [lock]);
        assert_eq!(removed.locks, []);
    }
}
