//! The one thread that writes, and the handles that give it work.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, params};
use tokio::sync::oneshot;

use super::database::Opened;
use super::error::StoreError;
use crate::base::RunId;
use crate::event::RunStatus;
use crate::machine::Fact;

/// Resolves once what was handed over is durable, or could not be made so.
#[derive(Debug)]
pub struct Ack {
    path: PathBuf,
    answer: oneshot::Receiver<Result<(), StoreError>>,
}

impl Ack {
    /// Waits.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn durable(mut self) -> Result<(), StoreError> {
        self.wait().await
    }

    /// Waits without giving the ack away, so that the wait can be broken off and taken up again. Once it has answered, it is spent.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn wait(&mut self) -> Result<(), StoreError> {
        (&mut self.answer).await.unwrap_or_else(|_| {
            Err(StoreError::Unwritable {
                path: self.path.clone(),
                cause: "its writer has ended".to_owned(),
            })
        })
    }
}

/// The row of a run.
#[derive(Debug)]
struct Begin {
    pipeline: String,
    plan: String,
    started: u64,
}

enum Work {
    Facts {
        run: RunId,
        /// Comes with the run's first facts.
        begin: Option<Begin>,
        first: u64,
        at: u64,
        facts: Vec<Fact>,
        ack: oneshot::Sender<Result<(), StoreError>>,
    },
    Finish {
        run: RunId,
        at: u64,
        status: RunStatus,
        exit_code: u8,
        ack: oneshot::Sender<Result<(), StoreError>>,
    },
}

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    sender: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(opened: Opened, path: PathBuf) -> Result<Self, StoreError> {
        let (sender, receiver) = channel();
        let database = path.clone();
        let thread = std::thread::Builder::new()
            .name("kiln-store".to_owned())
            .spawn(move || write_all(opened, &database, &receiver))
            .map_err(|error| StoreError::io(&path, error))?;
        Ok(Self {
            path,
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    fn send(&self, work: Work) {
        // When the thread is gone, the answer's channel is closed with the work, and whoever waits learns of it.
        if let Some(sender) = &self.sender {
            let _ = sender.send(work);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The journal of one run.
#[derive(Clone, Debug)]
pub struct Journal {
    writer: Arc<Writer>,
    run: RunId,
    state: Arc<Mutex<JournalState>>,
}

#[derive(Debug)]
struct JournalState {
    begin: Option<Begin>,
    /// The number of the next fact.
    next: u64,
}

impl Journal {
    pub(super) fn begin(
        writer: Arc<Writer>,
        run: RunId,
        pipeline: String,
        plan: String,
        started: u64,
    ) -> Self {
        let begin = Begin {
            pipeline,
            plan,
            started,
        };
        Self {
            writer,
            run,
            state: Arc::new(Mutex::new(JournalState {
                begin: Some(begin),
                next: 0,
            })),
        }
    }

    /// Hands over facts that became known at `at` (milliseconds since 1970).
    pub fn append(&self, at: u64, facts: Vec<Fact>) -> Ack {
        let (ack, answer) = oneshot::channel();
        // Held until the work is sent: the order of numbers is the order of rows.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.next;
        state.next += facts.len() as u64;
        self.writer.send(Work::Facts {
            run: self.run.clone(),
            begin: state.begin.take(),
            first,
            at,
            facts,
            ack,
        });
        Ack {
            path: self.writer.path.clone(),
            answer,
        }
    }

    /// Hands over how the run ended.
    pub fn finish(&self, at: u64, status: RunStatus, exit_code: u8) -> Ack {
        let (ack, answer) = oneshot::channel();
        self.writer.send(Work::Finish {
            run: self.run.clone(),
            at,
            status,
            exit_code,
            ack,
        });
        Ack {
            path: self.writer.path.clone(),
            answer,
        }
    }
}

fn write_all(opened: Opened, path: &Path, receiver: &Receiver<Work>) {
    let Opened {
        mut connection,
        fresh,
    } = opened;
    // Once a commit failed, later ones must not succeed: the journal would have a hole.
    let mut broken: Option<StoreError> = None;
    if fresh {
        // A commit syncs the write-ahead log alone, and a log without its database is thrown away.
        let synced = File::open(path).and_then(|database| database.sync_all());
        broken = synced.err().map(|error| StoreError::io(path, error));
    }
    while let Ok(first) = receiver.recv() {
        let mut group = vec![first];
        group.extend(receiver.try_iter());
        let answer = match &broken {
            Some(error) => Err(error.clone()),
            None => {
                commit(&mut connection, &group).map_err(|error| StoreError::sqlite(path, &error))
            }
        };
        if let Err(error) = &answer {
            broken.get_or_insert_with(|| error.clone());
        }
        for work in group {
            match work {
                Work::Facts { ack, .. } | Work::Finish { ack, .. } => {
                    let _ = ack.send(answer.clone());
                }
            }
        }
    }
}

fn commit(connection: &mut Connection, group: &[Work]) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for work in group {
        write(&transaction, work)?;
    }
    transaction.commit()
}

fn write(transaction: &Transaction<'_>, work: &Work) -> rusqlite::Result<()> {
    match work {
        Work::Facts {
            run,
            begin,
            first,
            at,
            facts,
            ..
        } => {
            if let Some(begin) = begin {
                transaction.execute(
                    "INSERT INTO runs (run, pipeline, plan, started) VALUES (?1, ?2, ?3, ?4)",
                    params![
                        run.as_str(),
                        begin.pipeline,
                        begin.plan,
                        signed(begin.started)
                    ],
                )?;
            }
            let id: i64 = transaction
                .prepare_cached("SELECT id FROM runs WHERE run = ?1")?
                .query_row([run.as_str()], |row| row.get(0))?;
            let mut insert = transaction
                .prepare_cached("INSERT INTO facts (run, seq, at, fact) VALUES (?1, ?2, ?3, ?4)")?;
            for (fact, seq) in facts.iter().zip(*first..) {
                let json = serde_json::to_string(fact)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                insert.execute(params![id, signed(seq), signed(*at), json])?;
            }
        }
        Work::Finish {
            run,
            at,
            status,
            exit_code,
            ..
        } => {
            let status = match status {
                RunStatus::Done => "done",
                RunStatus::Failed => "failed",
                RunStatus::Cancelled => "cancelled",
            };
            transaction.execute(
                "UPDATE runs SET finished = ?2, status = ?3, exit_code = ?4 WHERE run = ?1",
                params![run.as_str(), signed(*at), status, exit_code],
            )?;
        }
    }
    Ok(())
}

/// `SQLite` has no unsigned numbers; times and counts are far below its limit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
