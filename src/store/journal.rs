//! The journal of one run.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rusqlite::{Transaction, params};

use super::lock::Lock;
use super::writer::{Ack, Write, Writer, signed, to_text};
use crate::base::RunId;
use crate::event::{Counts, RunStatus};
use crate::machine::Fact;

/// The row of a run.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) pipeline: String,
    pub(super) plan: String,
    pub(super) started: u64,
    pub(super) tasks: u64,
    pub(super) folder: String,
}

/// What comes with the first facts of this process.
#[derive(Debug)]
pub(super) enum Opening {
    /// The run is new.
    Begin(Begin),
    /// The run goes on: what it ended with is no longer so.
    Reopen,
}

/// The journal of one run. As long as a clone of it is left, others see that the run's process lives.
#[derive(Clone, Debug)]
pub struct Journal {
    writer: Arc<Writer>,
    run: RunId,
    /// The number of the run's row, once it is known.
    number: Arc<OnceLock<i64>>,
    state: Arc<Mutex<State>>,
    _alive: Arc<Lock>,
}

#[derive(Debug)]
struct State {
    opening: Option<Opening>,
    /// The number of the next fact.
    next: u64,
}

impl Journal {
    pub(super) fn new(
        writer: Arc<Writer>,
        run: RunId,
        opening: Opening,
        next: u64,
        alive: Lock,
    ) -> Self {
        Self {
            writer,
            run,
            number: Arc::default(),
            state: Arc::new(Mutex::new(State {
                opening: Some(opening),
                next,
            })),
            _alive: Arc::new(alive),
        }
    }

    /// Hands over facts that became known at `at` (milliseconds since 1970). Whatever was handed to the store before them is durable
    /// when they are.
    pub fn append(&self, at: u64, facts: Vec<Fact>) -> Ack {
        self.hand_over(at, facts, |writer, write| writer.write(write))
    }

    /// As [`Journal::append`], for facts that nothing waits for: they are written with the next that something does wait for, or soon.
    pub fn mention(&self, at: u64, facts: Vec<Fact>) {
        self.hand_over(at, facts, |writer, write| writer.note(write));
    }

    fn hand_over<T>(&self, at: u64, facts: Vec<Fact>, send: impl FnOnce(&Writer, Write) -> T) -> T {
        // Held until the work is sent: the order of numbers is the order of rows.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.next;
        state.next += facts.len() as u64;
        let opening = state.opening.take();
        let (run, number) = (self.run.clone(), Arc::clone(&self.number));
        let work = move |transaction: &Transaction<'_>| {
            match opening {
                Some(Opening::Begin(begin)) => insert(transaction, &run, &begin)?,
                Some(Opening::Reopen) => reopen(transaction, &run)?,
                None => {}
            }
            let id = if let Some(id) = number.get() {
                *id
            } else {
                let found = number_of(transaction, &run)?;
                *number.get_or_init(|| found)
            };
            write(transaction, id, first, at, &facts)
        };
        send(&self.writer, Box::new(work))
    }

    /// Hands over how the run ended.
    pub fn finish(&self, at: u64, status: RunStatus, exit_code: u8, counts: Counts) -> Ack {
        let run = self.run.clone();
        self.writer.write(Box::new(move |transaction| {
            let status = match status {
                RunStatus::Done => "done",
                RunStatus::Failed => "failed",
                RunStatus::Cancelled => "cancelled",
            };
            transaction
                .execute(
                    "UPDATE runs SET finished = ?2, status = ?3, exit_code = ?4, counts = ?5, cancel_asked = NULL WHERE run = ?1",
                    params![run.as_str(), signed(at), status, exit_code, to_text(&counts)?],
                )
                .map(drop)
        }))
    }
}

fn insert(transaction: &Transaction<'_>, run: &RunId, begin: &Begin) -> rusqlite::Result<()> {
    transaction
        .execute(
            "INSERT INTO runs (run, pipeline, plan, started, tasks, folder) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                run.as_str(),
                begin.pipeline,
                begin.plan,
                signed(begin.started),
                signed(begin.tasks),
                begin.folder,
            ],
        )
        .map(drop)
}

fn reopen(transaction: &Transaction<'_>, run: &RunId) -> rusqlite::Result<()> {
    transaction
        .execute(
            "UPDATE runs SET finished = NULL, status = NULL, exit_code = NULL, counts = NULL WHERE run = ?1",
            [run.as_str()],
        )
        .map(drop)
}

fn number_of(transaction: &Transaction<'_>, run: &RunId) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("SELECT id FROM runs WHERE run = ?1")?
        .query_row([run.as_str()], |row| row.get(0))
}

/// Facts that were handed over together are one row: what a row costs in the database is most of what keeping a fact costs.
fn write(
    transaction: &Transaction<'_>,
    run: i64,
    first: u64,
    at: u64,
    facts: &[Fact],
) -> rusqlite::Result<()> {
    if facts.is_empty() {
        return Ok(());
    }
    transaction
        .prepare_cached("INSERT INTO journal (id, at, facts) VALUES (?1, ?2, ?3)")?
        .execute(params![row_of(run, first), signed(at), to_text(facts)?])
        .map(drop)
}

/// How many facts a run can have.
const FACTS: i64 = 1 << 40;

/// The row in which the `first` fact of a run begins. Rows of a run lie together, in the order of its facts.
pub(super) fn row_of(run: i64, first: u64) -> i64 {
    run * FACTS + signed(first).min(FACTS - 1)
}

/// The first fact of a row.
pub(super) fn first_of(row: i64) -> u64 {
    (row % FACTS).unsigned_abs()
}
