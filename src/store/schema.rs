//! The tables, and how an older database is brought to the present format.

use rusqlite::Connection;

/// Each entry leads from the format of its index to the next one.
const MIGRATIONS: &[&str] = &[
    "
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
",
    "
ALTER TABLE runs ADD COLUMN tasks INTEGER;
ALTER TABLE runs ADD COLUMN folder TEXT;
ALTER TABLE runs ADD COLUMN counts TEXT;
ALTER TABLE runs ADD COLUMN cancel_asked INTEGER;
CREATE TABLE cache (
    key         BLOB PRIMARY KEY,
    run         TEXT NOT NULL,
    made        INTEGER NOT NULL,
    record      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (
    hash        BLOB PRIMARY KEY,
    size        INTEGER NOT NULL,
    mtime       INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    boot        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE manifests (
    task        TEXT NOT NULL,
    run         INTEGER NOT NULL,
    manifest    TEXT NOT NULL,
    PRIMARY KEY (task, run)
) STRICT, WITHOUT ROWID;
CREATE TABLE durations (
    pipeline    TEXT NOT NULL,
    step        TEXT NOT NULL,
    ms          INTEGER NOT NULL,
    PRIMARY KEY (pipeline, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE uploads (
    server      TEXT NOT NULL,
    hash        BLOB NOT NULL,
    name        TEXT NOT NULL,
    PRIMARY KEY (server, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE strays (
    server      TEXT NOT NULL,
    prompt      TEXT NOT NULL,
    PRIMARY KEY (server, prompt)
) STRICT, WITHOUT ROWID;
",
    "
ALTER TABLE strays ADD COLUMN until INTEGER NOT NULL DEFAULT 0;
",
    "
ALTER TABLE uploads ADD COLUMN etag TEXT;
",
    // Facts that became known together are a row. Its id is the run's number times 2^40 and the number of its first fact.
    "
CREATE TABLE journal (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    facts       TEXT NOT NULL
) STRICT;
INSERT INTO journal SELECT run * 1099511627776 + seq, at, '[' || fact || ']' FROM facts;
DROP TABLE facts;
",
];

/// The format that this kiln writes.
pub(super) fn format() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The format that a database has; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database to the present format; one that is there or beyond is left alone.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_to(connection, MIGRATIONS.len())
}

fn migrate_to(connection: &mut Connection, to: usize) -> rusqlite::Result<()> {
    // The write lock comes first: two kilns may open a fresh project at once.
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let from = usize::try_from(version(&transaction)?).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().take(to).skip(from) {
        transaction.execute_batch(migration)?;
    }
    if from < to {
        let to = i64::try_from(to).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", to)?;
    }
    transaction.commit()
}

/// Makes a database as an earlier kiln left it.
#[cfg(test)]
pub(super) fn make_old(path: &std::path::Path, format: usize) -> Connection {
    let mut connection = Connection::open(path).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    migrate_to(&mut connection, format).unwrap();
    connection
}
