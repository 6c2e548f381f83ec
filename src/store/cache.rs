//! What is known about results by the key of the task that made them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::writer::{Write, signed, to_text};
use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId, TaskName};

/// The results of one task, under its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The key.
    pub key: ContentHash,
    /// What the task made, in order. Their paths are those of the run that made them.
    pub artifacts: Vec<Arc<Artifact>>,
    /// What was known about the server, for saying that a hit's differs.
    pub facts: serde_json::Value,
    /// The run that made them.
    pub run: RunId,
    /// The task that made them.
    pub task: TaskName,
    /// When, milliseconds since 1970.
    pub made_at: u64,
}

pub(super) fn keep(record: CacheRecord) -> Write {
    Box::new(move |transaction| {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO cache (key, run, made, record) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                record.key.as_bytes(),
                record.run.as_str(),
                signed(record.made_at),
                to_text(&record)?
            ])
            .map(drop)
    })
}

/// Records that were handed over and that readers may not see yet: a task that waited for its twin looks for them at once.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<ContentHash, (u32, CacheRecord)>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<ContentHash, (u32, CacheRecord)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, record: &CacheRecord) {
        let mut records = self.lock();
        let writes = records.get(&record.key).map_or(0, |(writes, _)| *writes);
        records.insert(record.key, (writes + 1, record.clone()));
    }

    /// One of the writes of a key has come to its end.
    pub(super) fn written(&self, key: &ContentHash) {
        let mut records = self.lock();
        match records.get_mut(key) {
            Some((writes, _)) if *writes > 1 => *writes -= 1,
            _ => drop(records.remove(key)),
        }
    }

    pub(super) fn get(&self, key: &ContentHash) -> Option<CacheRecord> {
        self.lock().get(key).map(|(_, record)| record.clone())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}
