//! What is known about results by the key of the task that made them.

use std::sync::Arc;

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
