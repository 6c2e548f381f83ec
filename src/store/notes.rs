//! Small things worth remembering. None of them is ever needed to be right: they are written together with what is.

use rusqlite::params;
use serde_json::Value;

use super::writer::{Write, signed, to_text};
use crate::base::{ContentHash, RunId, StepId, TaskName};

/// What a server was once given. A hint: it may have forgotten or changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUpload {
    /// What an input there takes for it.
    pub name: String,
    /// What the server called this version of the file.
    pub etag: Option<String>,
}

pub(super) fn manifest(run: RunId, task: TaskName, manifest: Value) -> Write {
    Box::new(move |transaction| {
        // A run without a row has no facts either.
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO manifests (task, run, manifest) SELECT ?1, id, ?3 FROM runs WHERE run = ?2",
            )?
            .execute(params![task.as_str(), run.as_str(), to_text(&manifest)?])
            .map(drop)
    })
}

/// An exponential average: the last run counts three tenths.
pub(super) fn duration(pipeline: String, step: StepId, ms: u64) -> Write {
    Box::new(move |transaction| {
        transaction
            .prepare_cached(
                "INSERT INTO durations (pipeline, step, ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET ms = (ms * 7 + excluded.ms * 3 + 5) / 10",
            )?
            .execute(params![pipeline, step.as_str(), signed(ms.min(1 << 40))])
            .map(drop)
    })
}

pub(super) fn upload(server: String, hash: ContentHash, known: KnownUpload) -> Write {
    Box::new(move |transaction| {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO uploads (server, hash, name, etag) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![server, hash.as_bytes(), known.name, known.etag])
            .map(drop)
    })
}

pub(super) fn no_upload(server: String, hash: ContentHash) -> Write {
    Box::new(move |transaction| {
        transaction
            .execute(
                "DELETE FROM uploads WHERE server = ?1 AND hash = ?2",
                params![server, hash.as_bytes()],
            )
            .map(drop)
    })
}

/// It may show up until then, milliseconds since 1970; 0: it is there, or it will never be.
pub(super) fn stray(server: String, prompt: String, until: u64) -> Write {
    Box::new(move |transaction| {
        transaction
            .execute(
                "INSERT INTO strays (server, prompt, until) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                params![server, prompt, signed(until)],
            )
            .map(drop)
    })
}

/// It is not there at `now`.
pub(super) fn absent_stray(server: String, prompt: String, now: u64) -> Write {
    Box::new(move |transaction| {
        transaction
            .execute(
                "DELETE FROM strays WHERE server = ?1 AND prompt = ?2 AND until <= ?3",
                params![server, prompt, signed(now)],
            )
            .map(drop)
    })
}

pub(super) fn no_stray(server: String, prompt: String) -> Write {
    Box::new(move |transaction| {
        transaction
            .execute(
                "DELETE FROM strays WHERE server = ?1 AND prompt = ?2",
                [server, prompt],
            )
            .map(drop)
    })
}

pub(super) fn cancel(run: RunId, at: u64) -> Write {
    Box::new(move |transaction| {
        transaction
            .execute(
                "UPDATE runs SET cancel_asked = ?2 WHERE run = ?1",
                params![run.as_str(), signed(at)],
            )
            .map(drop)
    })
}

/// What was asked of an earlier process of the run is not meant for this one.
pub(super) fn no_cancel(run: RunId) -> Write {
    Box::new(move |transaction| {
        transaction
            .execute(
                "UPDATE runs SET cancel_asked = NULL WHERE run = ?1",
                [run.as_str()],
            )
            .map(drop)
    })
}
