//! Opening the database: for the one writer, and for readers.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::schema::{format, migrate, version};

/// How long a writer waits for the other kiln of the same project to end its transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The most memory for pages of the writer, in the unit of `SQLite`: negative, and KiB. What a large transaction changes has room in it.
const PAGES: i64 = -16_384;

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
        return Err(newer(path, found));
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
        let now = version(&connection).map_err(wrap)?;
        if now > known {
            return Err(newer(path, now));
        }
    }
    if fresh {
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(wrap)?;
    }
    connection
        .pragma_update(None, "cache_size", PAGES)
        .map_err(wrap)?;
    keep_statements(&connection).map_err(wrap)?;
    Ok(Opened { connection, fresh })
}

fn newer(path: &Path, found: i64) -> StoreError {
    StoreError::Newer {
        path: path.to_path_buf(),
        found,
        known: format(),
    }
}

/// A connection of its own for a reader: it never waits for a writer, and nothing can be written through it.
///
/// # Errors
/// Also when the database has another format than this kiln's: an older one must be opened for writing first.
pub(super) fn read(path: &Path) -> Result<Connection, StoreError> {
    let wrap = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(wrap)?;
    // Readers of a write-ahead log wait only for its recovery after a crash.
    connection.busy_timeout(BUSY).map_err(wrap)?;
    keep_statements(&connection).map_err(wrap)?;
    Ok(connection)
}

/// A statement is prepared once, whatever values it is asked with.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// The format of a database on the disk; 0 when it was just made.
pub(super) fn format_of(path: &Path) -> Result<i64, StoreError> {
    let connection = read(path)?;
    let found = version(&connection).map_err(|error| StoreError::sqlite(path, &error))?;
    if found > format() {
        return Err(newer(path, found));
    }
    Ok(found)
}

/// Whether a database on the disk has the format of this kiln.
pub(super) fn is_current(path: &Path) -> Result<bool, StoreError> {
    Ok(format_of(path)? == format())
}
