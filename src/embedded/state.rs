//! What all parts of one server share.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;

use super::cache::Cache;
use super::catalog::{CATALOG, object_info};
use super::files::Folders;
use super::naming::Counters;
use super::nodes;
use super::queue::Board;
use super::simulate::Simulation;
use super::sockets::Sockets;
use crate::base::ContentHash;
use crate::catalog::Catalog;
use crate::protocol::Dialect;
use crate::workflow::Graph;

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
    /// What is acted, when anything is.
    pub(super) simulation: Option<Simulation>,
    /// How it speaks.
    pub(super) dialect: Dialect,
}

impl Server {
    /// A server that has seen nothing yet.
    pub(super) fn speaking(dialect: Dialect, folders: Folders) -> Self {
        let sockets = Arc::new(Sockets::new(dialect.socket.broadcast, dialect.assets));
        Self {
            board: Board::new(Arc::clone(&sockets)),
            sockets,
            cache: Mutex::new(Cache::new(CACHE_LIMIT)),
            counters: Mutex::default(),
            folders,
            placing: Mutex::new(()),
            preview_tag: (0..5).map(|_| fastrand::lowercase()).collect(),
            simulation: None,
            dialect,
        }
    }

    /// The same server, acting what it cannot compute.
    pub(super) fn simulating(self, simulation: Option<Simulation>) -> Self {
        Self { simulation, ..self }
    }

    /// The definitions that a graph is judged by.
    pub(super) fn catalog_for(&self, graph: &Graph) -> Cow<'_, Catalog> {
        match &self.simulation {
            Some(simulation) => simulation.catalog_for(graph),
            None => Cow::Borrowed(&CATALOG),
        }
    }

    /// Every class, as `/object_info` shows it.
    pub(super) fn object_info(&self) -> Json {
        let mut info = object_info(&self.folders.pictures());
        if let (Some(simulation), Json::Object(own)) = (&self.simulation, &mut info) {
            for (class, declared) in simulation.info() {
                own.entry(class).or_insert_with(|| declared.clone());
            }
        }
        info
    }

    /// One class, as `/object_info` shows it.
    pub(super) fn class_info(&self, class: &str) -> Option<Json> {
        let own = nodes::class(class).map(|found| found.info(&self.folders.pictures()));
        own.or_else(|| self.simulation.as_ref()?.info().get(class).cloned())
    }

    /// Whether a class ends a graph.
    pub(super) fn ends_a_graph(&self, class: &str) -> bool {
        match nodes::class(class) {
            Some(class) => class.output_node,
            // One that is nowhere declared may end a graph.
            None => self.simulation.as_ref().is_some_and(|simulation| {
                simulation
                    .definition(class)
                    .is_none_or(|def| def.output_node)
            }),
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
