//! Bytes on their way to a file that appears when it is whole.
//!
//! A small file is collected and then written in one go: handing pieces to another thread costs more than they do. What grows beyond that
//! goes, as it comes, to a thread that hashes and writes while the next piece is read.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::growing::{Growing, Growth};
use crate::base::{AtomicFile, Finished, WriteError, brief, ensure_room};

/// Up to this size a file is held until it is whole, bytes.
const SMALL: usize = 128 << 10;
/// Pieces between socket and disk; the transport makes them up to some 400 kB.
const QUEUE: usize = 16;

/// A file that is being fetched.
#[derive(Debug)]
pub(super) struct Sink {
    target: PathBuf,
    held: Vec<Bytes>,
    length: usize,
    writer: Option<Writer>,
    growth: Option<Growth>,
}

impl Sink {
    pub(super) fn new(target: &Path) -> Self {
        Self {
            target: target.to_path_buf(),
            held: Vec::new(),
            length: 0,
            writer: None,
            growth: None,
        }
    }

    /// What is to come is this long: it must fit on the disk.
    pub(super) fn expect(&self, length: u64) -> Result<(), WriteError> {
        // A small file is not worth the question.
        if usize::try_from(length).is_ok_and(|length| length <= SMALL) {
            return Ok(());
        }
        ensure_room(&self.target, length)
    }

    /// The file for whoever wants to pass it on while it comes: of this length in the end, and this version. `None` when it is not worth
    /// it, or when some of it has come already.
    pub(super) fn growing(&mut self, total: u64, etag: &str) -> Option<Growing> {
        if total <= SMALL as u64 || self.writer.is_some() || self.length > 0 {
            return None;
        }
        let (growing, growth) = Growing::new(self.target.clone(), total, etag.to_owned());
        self.growth = Some(growth);
        Some(growing)
    }

    /// Appends bytes. When what was appended before could not be written, that is the answer.
    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<(), WriteError> {
        if let Some(writer) = &mut self.writer {
            return writer.append(bytes).await;
        }
        self.length += bytes.len();
        self.held.push(bytes);
        if self.length <= SMALL {
            return Ok(());
        }
        let writer = Writer::start(&self.target, self.growth.take());
        let writer = self.writer.insert(writer);
        for bytes in self.held.drain(..) {
            writer.append(bytes).await?;
        }
        Ok(())
    }

    /// Forgets all bytes. What was written is gone from the disk before this returns, so that its room is there for what comes.
    pub(super) async fn start_again(&mut self) {
        self.held.clear();
        self.length = 0;
        self.growth = None;
        if let Some(writer) = self.writer.take() {
            writer.abandon().await;
        }
    }

    /// Gives the file up and waits until its traces are gone.
    pub(super) async fn abandon(self) {
        if let Some(writer) = self.writer {
            writer.abandon().await;
        }
    }

    /// Makes the bytes durable and gives the file its name.
    pub(super) async fn finish(self) -> Result<Finished, WriteError> {
        let (target, held) = (self.target, self.held);
        match self.writer {
            Some(writer) => writer.finish().await,
            None => joined(brief(move || put(&target, &held)).await),
        }
    }
}

fn put(target: &Path, pieces: &[Bytes]) -> Result<Finished, WriteError> {
    let mut file = AtomicFile::create(target)?;
    for piece in pieces {
        file.write(piece)?;
    }
    file.commit()
}

/// The thread that hashes and writes. It ends when its queue closes; the file takes its name only when [`Writer::finish`] asks.
#[derive(Debug)]
struct Writer {
    pieces: mpsc::Sender<Bytes>,
    /// Taken when its answer was heard.
    thread: Option<JoinHandle<Result<AtomicFile, WriteError>>>,
}

impl Writer {
    fn start(target: &Path, growth: Option<Growth>) -> Self {
        let (pieces, mut queue) = mpsc::channel::<Bytes>(QUEUE);
        let target = target.to_path_buf();
        let thread = spawn_blocking(move || {
            let mut file = AtomicFile::create(&target)?;
            if let Some(growth) = &growth {
                let _ = growth.unfinished.set(file.unfinished().to_path_buf());
            }
            let mut length = 0;
            while let Some(bytes) = queue.blocking_recv() {
                file.write(&bytes)?;
                length += bytes.len() as u64;
                if let Some(growth) = &growth {
                    growth.grown.send_replace(length);
                }
            }
            Ok(file)
        });
        Self {
            pieces,
            thread: Some(thread),
        }
    }

    /// Queues a piece; when the thread has stopped, its error is the answer.
    async fn append(&mut self, piece: Bytes) -> Result<(), WriteError> {
        if self.pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        self.answer().await.map(drop)
    }

    /// What the thread made of the pieces.
    async fn answer(&mut self) -> Result<AtomicFile, WriteError> {
        match self.thread.take() {
            Some(thread) => joined(thread.await),
            None => unreachable!("nobody asks again after an error"),
        }
    }

    /// Gives the file up and waits until its traces are gone.
    async fn abandon(self) {
        drop(self.pieces);
        if let Some(thread) = self.thread {
            let _ = thread.await;
        }
    }

    async fn finish(mut self) -> Result<Finished, WriteError> {
        let (closed, _) = mpsc::channel(1);
        self.pieces = closed;
        let file = self.answer().await?;
        joined(spawn_blocking(move || file.commit()).await)
    }
}

fn joined<T>(answer: Result<Result<T, WriteError>, JoinError>) -> Result<T, WriteError> {
    answer.unwrap_or_else(|error| {
        Err(WriteError::new(
            Path::new(""),
            std::io::Error::other(error.to_string()),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ContentHash;

    async fn fill(sink: &mut Sink, pieces: usize, each: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for at in 0..pieces {
            let piece = vec![u8::try_from(at % 251).unwrap(); each];
            all.extend_from_slice(&piece);
            sink.append(piece.into()).await.unwrap();
        }
        all
    }

    #[tokio::test]
    async fn files_below_and_above_the_limit_are_what_was_appended() {
        let dir = tempfile::tempdir().unwrap();
        for (name, pieces, each) in [
            ("none", 0, 0),
            ("small", 3, 1000),
            ("full", 2, SMALL / 2),
            ("just-above", 3, SMALL / 2),
            ("large", 40, 50_000),
        ] {
            let target = dir.path().join(name);
            let mut sink = Sink::new(&target);
            let bytes = fill(&mut sink, pieces, each).await;
            assert!(!target.exists(), "{name} appears when it is whole");
            let finished = sink.finish().await.unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), bytes, "{name}");
            assert_eq!(finished.hash, ContentHash::of(&bytes), "{name}");
            assert_eq!(finished.size, bytes.len() as u64, "{name}");
        }
    }

    #[tokio::test]
    async fn starting_again_forgets_what_was_held_and_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        for before in [1, 40] {
            let target = dir.path().join(format!("again-{before}"));
            let mut sink = Sink::new(&target);
            fill(&mut sink, before, 50_000).await;
            sink.start_again().await;
            // Its room is there for what comes, which is asked for next.
            let left = std::fs::read_dir(dir.path()).unwrap();
            let half =
                left.filter(|entry| entry.as_ref().unwrap().path() != dir.path().join("again-1"));
            assert_eq!(half.count(), 0);
            let bytes = fill(&mut sink, 4, 10).await;
            sink.finish().await.unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for pieces in [1, 40] {
            let mut sink = Sink::new(&dir.path().join("gone"));
            fill(&mut sink, pieces, 50_000).await;
            sink.abandon().await;
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
