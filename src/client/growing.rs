//! A file that is passed on to another server while it is still being fetched.
//!
//! Whoever passes it on reads the unfinished file on disk, as far as it has come: nothing is held in memory, a slow receiver does not slow
//! the download, and one that fails does not touch it. What was passed on is hashed, so that it counts only when it is what was fetched.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::error::ClientError;
use super::http::Client;
use super::upload::{FilePart, Uploaded};
use crate::base::{ContentHash, Hasher};

/// Bytes read from disk at a time.
const PIECE: u64 = 256 * 1024;

/// A file on its way here, for whoever wants to pass it on meanwhile.
#[derive(Clone, Debug)]
pub struct Growing {
    /// Where it lies until it is whole, once it is there.
    unfinished: Arc<OnceLock<PathBuf>>,
    /// Where it lies then.
    target: PathBuf,
    grown: watch::Receiver<u64>,
    total: u64,
    etag: String,
}

/// Tells how far a file has come. When it is dropped early, the file is not what it seemed, or will never be whole.
#[derive(Debug)]
pub(super) struct Growth {
    pub(super) unfinished: Arc<OnceLock<PathBuf>>,
    pub(super) grown: watch::Sender<u64>,
}

impl Growing {
    /// A file of a known length and version that will lie at `target`.
    pub(super) fn new(target: PathBuf, total: u64, etag: String) -> (Self, Growth) {
        let unfinished = Arc::default();
        let (tell, grown) = watch::channel(0);
        let growth = Growth {
            unfinished: Arc::clone(&unfinished),
            grown: tell,
        };
        let growing = Self {
            unfinished,
            target,
            grown,
            total,
            etag,
        };
        (growing, growth)
    }

    /// How long it will be, bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What the server that it comes from calls this version of it.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Its bytes as they come; an error when no more will.
    pub(super) fn pieces(
        self,
        hasher: Arc<Mutex<Hasher>>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let state = (self, None::<File>, 0u64, hasher);
        stream::try_unfold(state, |(mut growing, mut file, at, hasher)| async move {
            if at >= growing.total {
                return Ok(None);
            }
            let there = growing.beyond(at).await?;
            let mut open = match file.take() {
                Some(open) => open,
                None => growing.open().await?,
            };
            let wanted = (there - at).min(PIECE);
            let mut piece = BytesMut::with_capacity(usize::try_from(wanted).unwrap_or_default());
            let mut part = (&mut open).take(wanted);
            while part.read_buf(&mut piece).await? > 0 {}
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let piece = piece.freeze();
            let mut known = hasher.lock().unwrap_or_else(PoisonError::into_inner);
            known.update(&piece);
            drop(known);
            let at = at + piece.len() as u64;
            Ok(Some((piece, (growing, Some(open), at, hasher))))
        })
    }

    /// Waits until there is more than `at` bytes of it.
    async fn beyond(&mut self, at: u64) -> io::Result<u64> {
        let grown = self.grown.wait_for(|grown| *grown > at).await;
        match grown {
            Ok(grown) => Ok((*grown).min(self.total)),
            Err(_) => Err(io::Error::other("it is not fetched any further")),
        }
    }

    async fn open(&self) -> io::Result<File> {
        if let Some(path) = self.unfinished.get()
            && let Ok(file) = File::open(path).await
        {
            return Ok(file);
        }
        File::open(&self.target).await
    }
}

impl Client {
    /// Sends a file to the server's inputs while it comes from another one, and tells the hash of what was sent. Nothing is tried again:
    /// when the file has come, it can be sent as any other.
    ///
    /// # Errors
    /// When the file does not come whole, or the server does not take it.
    pub async fn pass_on(
        &self,
        growing: Growing,
        name: &str,
    ) -> Result<(Uploaded, ContentHash), ClientError> {
        let hasher = Arc::new(Mutex::new(Hasher::default()));
        let part = FilePart::growing(growing, Arc::clone(&hasher), name);
        let uploaded = self.upload_once(part).await?;
        let hasher = hasher.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((uploaded, hasher.finish().0))
    }
}
