//! The one thread that writes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use super::database::Opened;
use super::error::StoreError;
use super::queue::{Queue, Work};

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
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Waits on a thread that may block, outside of any runtime.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn wait_blocking(self) -> Result<(), StoreError> {
        let gone = self.gone();
        self.answer.blocking_recv().unwrap_or(Err(gone))
    }

    fn gone(&self) -> StoreError {
        gone(&self.path)
    }
}

fn gone(path: &Path) -> StoreError {
    StoreError::Unwritable {
        path: path.to_path_buf(),
        cause: "its writer has ended".to_owned(),
    }
}

/// Something to be written, in the order in which it was handed over.
pub(super) type Write = Box<dyn FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send>;

/// What is done once something is written, or could not be.
pub(super) type Then = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(opened: Opened, path: PathBuf) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::default());
        let (database, orders) = (path.clone(), Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("kiln-store".to_owned())
            .spawn(move || {
                let _closed = orders.closing();
                write_all(opened, &database, &orders);
            })
            .map_err(|error| StoreError::io(&path, error))?;
        Ok(Self {
            path,
            queue,
            thread: Some(thread),
        })
    }

    /// Hands over something whose durability somebody waits for.
    pub(super) fn write(&self, write: Write) -> Ack {
        let (ack, answer) = oneshot::channel();
        self.send(write, Some(ack), None);
        Ack {
            path: self.path.clone(),
            answer,
        }
    }

    /// Writes something and waits until it is durable, on a thread that may block for so long.
    pub(super) fn write_now(&self, write: Write) -> Result<(), StoreError> {
        let (tell, told) = channel();
        let then = Box::new(move || {
            let _ = tell.send(());
        });
        let (ack, mut answer) = oneshot::channel();
        self.send(write, Some(ack), Some(then));
        // The answer is there before whatever is done then.
        let _ = told.recv();
        answer.try_recv().unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> StoreError {
        gone(&self.path)
    }

    /// Hands over something that is durable with the next thing somebody waits for, or soon.
    pub(super) fn note(&self, write: Write) {
        self.send(write, None, None);
    }

    /// As [`Writer::note`]; `then` is done once readers can see it, or never will.
    pub(super) fn note_then(&self, write: Write, then: Then) {
        self.send(write, None, Some(then));
    }

    fn send(
        &self,
        write: Write,
        ack: Option<oneshot::Sender<Result<(), StoreError>>>,
        then: Option<Then>,
    ) {
        // When the thread is gone, the answer's channel is closed with the work, and whoever waits learns of it.
        self.queue.push(Work { write, ack, then });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(opened: Opened, path: &Path, queue: &Queue) {
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
    while let Some(group) = queue.next_group() {
        let (mut writes, mut acks, mut thens) = (Vec::new(), Vec::new(), Vec::new());
        for work in group {
            writes.push(work.write);
            acks.extend(work.ack);
            thens.extend(work.then);
        }
        let answer = match &broken {
            Some(error) => Err(error.clone()),
            None => {
                commit(&mut connection, writes).map_err(|error| StoreError::sqlite(path, &error))
            }
        };
        if let Err(error) = &answer {
            broken.get_or_insert_with(|| error.clone());
        }
        for ack in acks {
            let _ = ack.send(answer.clone());
        }
        for then in thens {
            then();
        }
    }
}

fn commit(connection: &mut Connection, group: Vec<Write>) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for write in group {
        write(&transaction)?;
    }
    transaction.commit()
}

/// `SQLite` has no unsigned numbers; times and counts are far below its limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Text as it is stored.
pub(super) fn to_text<T: serde::Serialize + ?Sized>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
