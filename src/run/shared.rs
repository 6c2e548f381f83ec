//! What all tries of a run share.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, watch};

use super::context::Preview;
use super::facts::Facts;
use super::folder::Folder;
use super::health::Health;
use super::hush::Hush;
use super::tell::Teller;
use super::transfer::Transfers;
use super::wire::Jobs;
use crate::base::{RunId, StepId, TaskName, safe_name};
use crate::machine::{EndpointIx, Fact};
use crate::plan::Plan;
use crate::plugin::Complaints;
use crate::servers::{Endpoint, Servers};
use crate::store::Store;

/// Tries that fetch results at a time, over all servers.
const FETCHING: usize = 32;

/// What all tries of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) run: RunId,
    pub(super) servers: Arc<Servers>,
    pub(super) store: Store,
    pub(super) teller: Teller,
    pub(super) folder: Folder,
    pub(super) transfers: Transfers,
    pub(super) health: Health,
    pub(super) hush: Arc<Hush>,
    pub(super) facts: Facts,
    /// Where pictures of what tasks are at go, when somebody looks.
    pub(super) previews: Option<watch::Sender<Option<Preview>>>,
    /// Where tries say how far they are.
    notes: mpsc::UnboundedSender<Fact>,
    /// Tries that fetch results, at most [`FETCHING`]: the next one keeps its slot until it may.
    pub(super) fetching: Semaphore,
    /// Our jobs that may be on servers, each with its task.
    pub(super) jobs: Jobs,
    /// How plugins failed at what nobody waits for.
    pub(super) plugin_complaints: Mutex<Complaints>,
    /// Steps of which it was said that a result has another name than it wanted.
    renamed: Mutex<HashSet<StepId>>,
}

/// What a run is about, for [`Shared::new`].
pub(super) struct Given {
    pub(super) plan: Arc<Plan>,
    pub(super) run: RunId,
    pub(super) servers: Arc<Servers>,
    pub(super) store: Store,
    pub(super) previews: Option<watch::Sender<Option<Preview>>>,
}

/// Where the folders of a run's commands lie while they run.
pub(super) fn work_folder(store: &Store, run: &RunId) -> PathBuf {
    store.folder().join("work").join(safe_name(run.as_str()))
}

impl Shared {
    pub(super) fn new(
        about: Given,
        teller: Teller,
        hush: Arc<Hush>,
        folder: Folder,
        notes: mpsc::UnboundedSender<Fact>,
    ) -> Self {
        Self {
            health: Health::new(&about.servers),
            plan: about.plan,
            run: about.run,
            servers: about.servers,
            store: about.store,
            previews: about.previews,
            teller,
            folder,
            transfers: Transfers::default(),
            hush,
            facts: Facts::default(),
            notes,
            fetching: Semaphore::new(FETCHING),
            jobs: Jobs::default(),
            plugin_complaints: Mutex::default(),
            renamed: Mutex::default(),
        }
    }

    /// Whether nothing was said yet of renamed results of a step: it may have thousands of tasks.
    pub(super) fn is_first_renamed(&self, step: &StepId) -> bool {
        let mut renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.insert(step.clone())
    }

    pub(super) fn note(&self, fact: Fact) {
        let _ = self.notes.send(fact);
    }

    pub(super) fn endpoint(&self, at: EndpointIx) -> &Arc<Endpoint> {
        &self.servers.endpoints()[at.0 as usize]
    }

    /// Where the folders of commands lie while they run.
    pub(super) fn work_folder(&self) -> PathBuf {
        work_folder(&self.store, &self.run)
    }

    pub(super) fn jobs(&self) -> MutexGuard<'_, HashMap<String, TaskName>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
