//! What all parts of one server share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::Cache;
use super::files::Folders;
use super::naming::Counters;
use super::queue::Board;
use super::sockets::Sockets;
use crate::base::ContentHash;

/// How many bytes of results are kept for later jobs.
const CACHE_LIMIT: usize = 512 * 1024 * 1024;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    /// Connected clients.
    pub(super) sockets: Arc<Sockets>,
    /// Queue and history.
    pub(super) board: Board,
    /// Results of nodes.
    pub(super) cache: Mutex<Cache>,
    /// Names of saved files.
    pub(super) counters: Mutex<Counters>,
    /// Where files are.
    pub(super) folders: Folders,
    /// Held while an upload finds its name, so that two never take the same.
    pub(super) placing: Mutex<()>,
    /// Sets previews apart from those of an earlier server in the same folder.
    pub(super) preview_tag: String,
}

impl Server {
    /// A server that has seen nothing yet.
    pub(super) fn new(folders: Folders) -> Self {
        let sockets = Arc::<Sockets>::default();
        Self {
            board: Board::new(Arc::clone(&sockets)),
            sockets,
            cache: Mutex::new(Cache::new(CACHE_LIMIT)),
            counters: Mutex::default(),
            folders,
            placing: Mutex::new(()),
            preview_tag: (0..5).map(|_| fastrand::lowercase()).collect(),
        }
    }

    /// The hash of a file that a node reads, by the node's own value.
    pub(super) fn file_hash(&self, name: &str) -> Option<ContentHash> {
        let path = self.folders.annotated(name)?;
        ContentHash::of_file(&path).ok().map(|(hash, _)| hash)
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Locks. A panic elsewhere does not matter: no lock is held while a node runs.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
