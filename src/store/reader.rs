//! What is read from the database: by the run itself, and by other processes while it writes.

use std::collections::HashMap;
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Params, Row, Rows};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::cache::CacheRecord;
use super::database;
use super::error::{Holder, StoreError};
use super::journal::{first_of, row_of};
use super::lock;
use super::notes::KnownUpload;
use super::place::Place;
use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId, StepId, TaskName};
use crate::event::{Counts, RunStatus};
use crate::machine::Fact;
use crate::plan::Plan;

/// A run as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// Its id.
    pub run: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// When it started, milliseconds since 1970.
    pub started: u64,
    /// When it ended, milliseconds since 1970.
    pub finished: Option<u64>,
    /// How it ended; `None` while it runs, or when its process died.
    pub status: Option<RunStatus>,
    /// The exit code that it ended with.
    pub exit_code: Option<u8>,
    /// Its tasks by status, once it ended.
    pub counts: Option<Counts>,
    /// How many tasks were planned before it began; `None` for runs of an early kiln.
    pub tasks: Option<u64>,
    /// Where its results are; `None` for runs of an early kiln.
    pub folder: Option<PathBuf>,
}

/// Everything needed to go on with a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The plan as it was sealed.
    pub plan: Plan,
    /// Its facts in order, each with its time in milliseconds since 1970.
    pub facts: Vec<(u64, Fact)>,
}

/// What a task's key was made of, the last time it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptManifest {
    /// The run it was made in.
    pub run: RunId,
    /// The manifest.
    pub manifest: Value,
}

/// What is kept under a key, as it lies in the database.
#[derive(Clone, Debug)]
pub struct Unread(String);

/// A record whose facts are not read yet.
#[derive(Deserialize)]
struct Halfway<'a> {
    key: ContentHash,
    artifacts: Vec<Arc<Artifact>>,
    #[serde(borrow)]
    facts: &'a RawValue,
    run: RunId,
    task: TaskName,
    made_at: u64,
}

impl Unread {
    /// The record; one that cannot be understood is none: the task runs again.
    pub fn read(&self) -> Option<CacheRecord> {
        serde_json::from_str(&self.0).ok()
    }

    /// The record without its facts, and those as what they are, if they are that.
    pub fn read_apart<T: DeserializeOwned>(&self) -> Option<(CacheRecord, Option<T>)> {
        let read: Halfway<'_> = serde_json::from_str(&self.0).ok()?;
        let facts = serde_json::from_str(read.facts.get()).ok();
        let record = CacheRecord {
            key: read.key,
            artifacts: read.artifacts,
            facts: Value::Null,
            run: read.run,
            task: read.task,
            made_at: read.made_at,
        };
        Some((record, facts))
    }
}

/// A door to the database that cannot write. Never waits for a running run.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    locks: PathBuf,
    connection: Mutex<Connection>,
}

impl Reader {
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        let path = place.database();
        Ok(Self {
            connection: Mutex::new(database::read(&path)?),
            locks: place.locks(),
            path,
        })
    }

    /// The process that carries out a run; `None` when it has ended, well or not.
    pub fn process_of(&self, run: &RunId) -> Option<Holder> {
        lock::holder_of_run(&self.locks, run)
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn runs(&self) -> Result<Vec<StoredRun>, StoreError> {
        let sql = format!("SELECT {RUN} FROM runs ORDER BY id DESC");
        self.all(&sql, [], stored_run)
    }

    /// One run; `None` when there is no such run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn run(&self, run: &RunId) -> Result<Option<StoredRun>, StoreError> {
        let sql = format!("SELECT {RUN} FROM runs WHERE run = ?1");
        self.one(&sql, [run.as_str()], stored_run)
    }

    /// The plan and the facts of a run; `None` when there is no such run.
    ///
    /// # Errors
    /// When the database cannot be read or its rows cannot be understood.
    pub fn replay(&self, run: &RunId) -> Result<Option<Replay>, StoreError> {
        let Some(plan) = self.plan(run)? else {
            return Ok(None);
        };
        let facts = self.facts(run, 0)?;
        Ok(Some(Replay { plan, facts }))
    }

    /// The plan of a run; `None` when there is no such run.
    ///
    /// # Errors
    /// When the database cannot be read or the plan cannot be understood.
    pub fn plan(&self, run: &RunId) -> Result<Option<Plan>, StoreError> {
        let sql = "SELECT plan FROM runs WHERE run = ?1";
        let text: Option<String> = self.one(sql, [run.as_str()], |row| row.get(0))?;
        text.map(|text| self.understand(run, &text)).transpose()
    }

    /// The facts of a run from the one numbered `from` (the first is 0), each with its time in milliseconds since 1970.
    ///
    /// # Errors
    /// When the database cannot be read or a fact cannot be understood.
    pub fn facts(&self, run: &RunId, from: u64) -> Result<Vec<(u64, Fact)>, StoreError> {
        let mut facts = Vec::new();
        for (first, at, text) in self.journal_rows(run, from)? {
            let row: Vec<Fact> = self.understand(run, &text)?;
            let known = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
            facts.extend(row.into_iter().skip(known).map(|fact| (at, fact)));
        }
        Ok(facts)
    }

    /// The rows of a run's journal from the one that holds the fact numbered `from`: the number of each one's first fact, its time, and its
    /// facts as a JSON array.
    pub(super) fn journal_rows(
        &self,
        run: &RunId,
        from: u64,
    ) -> Result<Vec<(u64, u64, String)>, StoreError> {
        let number: Option<i64> =
            self.one("SELECT id FROM runs WHERE run = ?1", [run.as_str()], |r| {
                r.get(0)
            })?;
        let Some(number) = number else {
            return Ok(Vec::new());
        };
        // The row that holds a fact begins with it or before it.
        let sql = "SELECT id, at, facts FROM journal WHERE id < ?3 AND id >=
            coalesce((SELECT max(id) FROM journal WHERE id BETWEEN ?1 AND ?2), ?1) ORDER BY id";
        let rows = (
            row_of(number, 0),
            row_of(number, from),
            row_of(number + 1, 0),
        );
        self.all(sql, rows, |row| {
            let at: i64 = row.get(1)?;
            Ok((first_of(row.get(0)?), at.unsigned_abs(), row.get(2)?))
        })
    }

    /// What is kept under a key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn cached(&self, key: &ContentHash) -> Result<Option<CacheRecord>, StoreError> {
        let sql = "SELECT record FROM cache WHERE key = ?1";
        let text: Option<String> = self.one(sql, [key.as_bytes()], |row| row.get(0))?;
        // A record that cannot be understood is none: the task runs again.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// What is kept under each of many keys, in their order; reading it is left to the caller, who may have several threads for that.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn cached_many(&self, keys: &[ContentHash]) -> Result<Vec<Option<Unread>>, StoreError> {
        // In the order of the table each of its pages is read once.
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|at| keys[*at]);
        self.query(|connection| {
            // One transaction: otherwise every look takes and gives back the reader's mark.
            let transaction = connection.unchecked_transaction()?;
            let mut statement = transaction
                .prepare_cached("SELECT key, record FROM cache WHERE key >= ?1 ORDER BY key")?;
            let mut found: Vec<Option<Unread>> = Vec::new();
            found.resize_with(keys.len(), || None);
            let mut wanted = order.into_iter().peekable();
            while let Some(first) = wanted.peek() {
                let rows = statement.query([keys[*first].as_bytes()])?;
                pass_along(rows, keys, &mut wanted, &mut found)?;
            }
            Ok(found)
        })
    }

    /// What a task's key was made of the last time, in any run of the pipeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn manifest(
        &self,
        pipeline: &str,
        task: &TaskName,
    ) -> Result<Option<KeptManifest>, StoreError> {
        let sql = "SELECT runs.run, manifests.manifest FROM manifests JOIN runs ON runs.id = manifests.run
            WHERE manifests.task = ?1 AND runs.pipeline = ?2 ORDER BY manifests.run DESC LIMIT 1";
        self.one(sql, (task.as_str(), pipeline), kept_manifest)
            .map(Option::flatten)
    }

    /// Whether a task of a step ended well in another run of the pipeline, so that its result may still be there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn ended_well_before(
        &self,
        pipeline: &str,
        step: &StepId,
        run: &RunId,
    ) -> Result<bool, StoreError> {
        // The names of its tasks: the step's own, or that and what tells them apart in brackets; `\` is what follows `[`.
        let sql = r"SELECT EXISTS (SELECT 1 FROM manifests JOIN runs ON runs.id = manifests.run
            WHERE (manifests.task = ?1 OR (manifests.task >= ?1 || '[' AND manifests.task < ?1 || '\'))
            AND runs.pipeline = ?2 AND runs.run <> ?3)";
        let found = self.one(sql, (step.as_str(), pipeline, run.as_str()), |row| {
            row.get(0)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// What a task's key was made of in one run.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn manifest_of(&self, run: &RunId, task: &TaskName) -> Result<Option<Value>, StoreError> {
        let sql = "SELECT runs.run, manifests.manifest FROM manifests JOIN runs ON runs.id = manifests.run
            WHERE manifests.task = ?1 AND runs.run = ?2";
        let found = self.one(sql, (task.as_str(), run.as_str()), kept_manifest)?;
        Ok(found.flatten().map(|kept| kept.manifest))
    }

    /// What a task of a step takes, in milliseconds, by earlier runs of the pipeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn durations(&self, pipeline: &str) -> Result<HashMap<StepId, u64>, StoreError> {
        let sql = "SELECT step, ms FROM durations WHERE pipeline = ?1";
        let rows = self.all(sql, [pipeline], |row| {
            Ok((StepId(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// How a server was once given some content.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn known_upload(
        &self,
        server: &str,
        hash: &ContentHash,
    ) -> Result<Option<KnownUpload>, StoreError> {
        let sql = "SELECT name, etag FROM uploads WHERE server = ?1 AND hash = ?2";
        self.one(sql, (server, hash.as_bytes()), |row| {
            Ok(KnownUpload {
                name: row.get(0)?,
                etag: row.get(1)?,
            })
        })
    }

    /// The ids of jobs that were given up while a server could not be reached, to be cancelled when it returns.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn strays(&self, server: &str) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT prompt FROM strays WHERE server = ?1 ORDER BY prompt";
        self.all(sql, [server], |row| row.get(0))
    }

    /// Whether another process asked a run to stop.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn cancel_requested(&self, run: &RunId) -> Result<bool, StoreError> {
        let sql = "SELECT cancel_asked IS NOT NULL FROM runs WHERE run = ?1";
        let asked = self.one(sql, [run.as_str()], |row| row.get(0))?;
        Ok(asked.unwrap_or(false))
    }

    /// Runs a query on the connection.
    pub(super) fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        query(&connection).map_err(|error| StoreError::sqlite(&self.path, &error))
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(params, read)?.collect()
        })
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row(params, read).optional()
        })
    }

    fn understand<T: DeserializeOwned>(&self, run: &RunId, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| StoreError::Damaged {
            path: self.path.clone(),
            cause: format!("the journal of run {run} cannot be understood: {error}"),
        })
    }
}

/// Rows without a wanted key that are passed before the next wanted one is looked for by itself: passing costs less than looking.
const PASSED: u32 = 8;

/// Goes along rows in the order of their keys and takes those that are wanted, as long as they are not too far apart. At least the first
/// wanted key is found, or found not to be there.
fn pass_along(
    mut rows: Rows<'_>,
    keys: &[ContentHash],
    wanted: &mut Peekable<impl Iterator<Item = usize>>,
    found: &mut [Option<Unread>],
) -> rusqlite::Result<()> {
    let mut passed = 0;
    while passed < PASSED && wanted.peek().is_some() {
        let Some(row) = rows.next()? else {
            // Beyond the last row there is nothing.
            wanted.by_ref().for_each(drop);
            return Ok(());
        };
        let key = row.get_ref(0)?.as_blob()?;
        passed += 1;
        while wanted
            .next_if(|at| &keys[*at].as_bytes()[..] < key)
            .is_some()
        {}
        while let Some(at) = wanted.next_if(|at| &keys[*at].as_bytes()[..] == key) {
            found[at] = Some(Unread(row.get(1)?));
            passed = 0;
        }
    }
    Ok(())
}

const RUN: &str = "run, pipeline, started, finished, status, exit_code, counts, tasks, folder";

fn stored_run(row: &Row<'_>) -> rusqlite::Result<StoredRun> {
    let number = |index| -> rusqlite::Result<Option<u64>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(i64::unsigned_abs))
    };
    let text = |index| row.get::<_, Option<String>>(index);
    Ok(StoredRun {
        run: RunId(row.get(0)?),
        pipeline: row.get(1)?,
        started: row.get::<_, i64>(2)?.unsigned_abs(),
        finished: number(3)?,
        status: text(4)?.and_then(|word| serde_json::from_value(word.into()).ok()),
        exit_code: number(5)?.and_then(|code| u8::try_from(code).ok()),
        counts: text(6)?.and_then(|text| serde_json::from_str(&text).ok()),
        tasks: number(7)?,
        folder: text(8)?.map(PathBuf::from),
    })
}

fn kept_manifest(row: &Row<'_>) -> rusqlite::Result<Option<KeptManifest>> {
    let manifest = serde_json::from_str(&row.get::<_, String>(1)?).ok();
    let run = RunId(row.get(0)?);
    Ok(manifest.map(|manifest| KeptManifest { run, manifest }))
}
