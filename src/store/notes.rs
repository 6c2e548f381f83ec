//! Small things worth remembering. None of them is ever needed to be right: they are written together with what is.

use rusqlite::{Params, params};
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

/// One statement with its values.
fn one(statement: &'static str, values: impl Params + Send + 'static) -> Write {
    Box::new(move |transaction| {
        let mut statement = transaction.prepare_cached(statement)?;
        statement.execute(values).map(drop)
    })
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
    one(
        "INSERT INTO durations (pipeline, step, ms) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET ms = (ms * 7 + excluded.ms * 3 + 5) / 10",
        (pipeline, step.0, signed(ms.min(1 << 40))),
    )
}

pub(super) fn upload(server: String, hash: ContentHash, known: KnownUpload) -> Write {
    one(
        "INSERT OR REPLACE INTO uploads (server, hash, name, etag) VALUES (?1, ?2, ?3, ?4)",
        (server, *hash.as_bytes(), known.name, known.etag),
    )
}

pub(super) fn no_upload(server: String, hash: ContentHash) -> Write {
    one(
        "DELETE FROM uploads WHERE server = ?1 AND hash = ?2",
        (server, *hash.as_bytes()),
    )
}

/// It may show up until then, milliseconds since 1970; 0: it is there, or it will never be.
pub(super) fn stray(server: String, prompt: String, until: u64) -> Write {
    one(
        "INSERT INTO strays (server, prompt, until) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
        (server, prompt, signed(until)),
    )
}

/// It is not there at `now`.
pub(super) fn absent_stray(server: String, prompt: String, now: u64) -> Write {
    one(
        "DELETE FROM strays WHERE server = ?1 AND prompt = ?2 AND until <= ?3",
        (server, prompt, signed(now)),
    )
}

pub(super) fn no_stray(server: String, prompt: String) -> Write {
    one(
        "DELETE FROM strays WHERE server = ?1 AND prompt = ?2",
        [server, prompt],
    )
}

pub(super) fn cancel(run: &RunId, at: u64) -> Write {
    one(
        "UPDATE runs SET cancel_asked = ?2 WHERE run = ?1",
        (run.to_string(), signed(at)),
    )
}

/// What was asked of an earlier process of the run is not meant for this one.
pub(super) fn no_cancel(run: &RunId) -> Write {
    one(
        "UPDATE runs SET cancel_asked = NULL WHERE run = ?1",
        [run.to_string()],
    )
}
