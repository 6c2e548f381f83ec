//! Opening, migrating and reading the database.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::StoreError;
use super::{Replay, StoredRun};
use crate::base::RunId;

/// Each entry leads from the format of its index to the next one.
const MIGRATIONS: &[&str] = &["
CREATE TABLE runs (
    id          INTEGER PRIMARY KEY,
    run         TEXT NOT NULL UNIQUE,
    pipeline    TEXT NOT NULL,
    plan        TEXT NOT NULL,
    started     INTEGER NOT NULL,
    finished    INTEGER,
    status      TEXT,
    exit_code   INTEGER
) STRICT;
CREATE TABLE facts (
    run         INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    fact        TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
"];

/// How long a writer waits for the other kiln of the same project to end its transaction.
const BUSY: Duration = Duration::from_secs(10);

pub(super) fn prepare_folder(folder: &Path) -> Result<(), StoreError> {
    let ignore = folder.join(".gitignore");
    if ignore.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|error| StoreError::io(folder, error))?;
    std::fs::write(&ignore, "*\n").map_err(|error| StoreError::io(&ignore, error))
}

/// A database, ready for its writer.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// It was made just now and nothing of it is known to be on the disk: the writer syncs it before its first commit, while others go on.
    pub(super) fresh: bool,
}

/// Opens the database for writing and brings it to the present format.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let mut connection = Connection::open(path).map_err(wrap)?;
    connection.busy_timeout(BUSY).map_err(wrap)?;
    let known = format();
    // The format is read before anything is written, also before the journal mode is.
    let found = version(&connection).map_err(wrap)?;
    if found > known {
        return Err(newer(path, &connection, known));
    }
    let fresh = found == 0;
    let synchronous = if fresh { "OFF" } else { "FULL" };
    connection
        .pragma_update(None, "synchronous", synchronous)
        .map_err(wrap)?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(wrap)?;
    if found < known {
        migrate(&mut connection).map_err(wrap)?;
        if version(&connection).map_err(wrap)? > known {
            return Err(newer(path, &connection, known));
        }
    }
    if fresh {
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(wrap)?;
    }
    Ok(Opened { connection, fresh })
}

/// The format that this kiln writes.
fn format() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn newer(path: &Path, connection: &Connection, known: i64) -> StoreError {
    StoreError::Newer {
        path: path.to_path_buf(),
        found: version(connection).unwrap_or(known + 1),
        known,
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // The write lock comes first: two kilns may open a fresh project at once.
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let from = usize::try_from(version(&transaction)?).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    if from < MIGRATIONS.len() {
        transaction.pragma_update(None, "user_version", format())?;
    }
    transaction.commit()
}

/// A connection of its own for a reader: it never waits for a writer.
fn read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| StoreError::sqlite(path, &error))
}

pub(super) fn runs(path: &Path) -> Result<Vec<StoredRun>, StoreError> {
    let connection = read(path)?;
    let query = || -> rusqlite::Result<Vec<StoredRun>> {
        let mut statement = connection
            .prepare("SELECT run, pipeline, started, status FROM runs ORDER BY id DESC")?;
        let rows = statement.query_map([], |row| {
            Ok(StoredRun {
                run: RunId(row.get(0)?),
                pipeline: row.get(1)?,
                started: row.get::<_, i64>(2)?.unsigned_abs(),
                status: row
                    .get::<_, Option<String>>(3)?
                    .and_then(|word| serde_json::from_value(word.into()).ok()),
            })
        })?;
        rows.collect()
    };
    query().map_err(|error| StoreError::sqlite(path, &error))
}

pub(super) fn replay(path: &Path, run: &RunId) -> Result<Option<Replay>, StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        path: path.to_path_buf(),
        cause: format!("the journal of run {run} cannot be understood: {error}"),
    };
    let connection = read(path)?;
    let Some((id, plan)) = connection
        .query_row(
            "SELECT id, plan FROM runs WHERE run = ?1",
            [run.as_str()],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()
        .map_err(wrap)?
    else {
        return Ok(None);
    };
    let mut statement = connection
        .prepare("SELECT at, fact FROM facts WHERE run = ?1 ORDER BY seq")
        .map_err(wrap)?;
    let rows = statement
        .query_map([id], |row| {
            Ok((
                row.get::<_, i64>(0)?.unsigned_abs(),
                row.get::<_, String>(1)?,
            ))
        })
        .map_err(wrap)?;
    let mut facts = Vec::new();
    for row in rows {
        let (at, fact) = row.map_err(wrap)?;
        facts.push((at, serde_json::from_str(&fact).map_err(damaged)?));
    }
    Ok(Some(Replay {
        plan: serde_json::from_str(&plan).map_err(damaged)?,
        facts,
    }))
}
