//! Results of earlier runs, looked up before a task is carried out and kept after it was.

use std::sync::Arc;

use tokio::task::JoinError;

use super::attempt::{Ending, Try};
use super::cache::{self, Found, Made, Miss, Restored, Unrestored};
use super::collect::place_of;
use super::facts::is_simulated;
use super::failure::About;
use super::provenance::{By, Did, Provenance, Record};
use crate::artifact::Artifact;
use crate::base::{ContentHash, brief};
use crate::diagnostic::Diagnostic;
use crate::machine::Outcome;
use crate::plan::key::{Manifest, Recorded};
use crate::store::{BlobError, Store, StoreError};

/// Up to so much in all, bytes, copies of results are made in a moment.
const SMALL: u64 = 1 << 20;

/// What a task's result is kept under, and what is told of its making.
#[derive(Debug)]
pub(super) struct Recalled<'a> {
    /// The task's key, and that of its first attempt; none when its results are neither looked up nor kept.
    pub(super) keys: Vec<ContentHash>,
    /// What its key is made of.
    pub(super) manifest: Manifest,
    /// What the lookup said.
    pub(super) miss: Option<Miss>,
    /// What the server was.
    pub(super) recorded: Recorded,
    pub(super) did: Did<'a>,
    /// Plugins changed the graph.
    pub(super) shaped: bool,
    pub(super) prompt_id: Option<String>,
}

/// What is under a key, if anything, or that the database cannot be read.
pub(super) type LookedUp = Result<Result<Found, Miss>, StoreError>;

/// Looks a key up. Blocks.
pub(super) fn look_up(store: &Store, key: &ContentHash) -> LookedUp {
    cache::find(store, key)
}

impl Try {
    /// Whether a result of an earlier run would do.
    pub(super) fn recalls(&self) -> bool {
        cache::looks_up(self.step()) && self.owed.is_none() && !self.fresh
    }

    /// The result of an earlier run, put where this run wants it, or what the lookup said. `looked_up` is what was found under the key, if
    /// that was asked already.
    pub(super) async fn recall(
        &self,
        key: ContentHash,
        looked_up: Option<LookedUp>,
        recorded: &Recorded,
        did: Did<'_>,
    ) -> Result<Result<Outcome, Option<Miss>>, Ending> {
        if !self.recalls() {
            return Ok(Err(None));
        }
        let looked_up = if let Some(looked_up) = looked_up {
            looked_up
        } else {
            let store = self.shared.store.clone();
            blocking(move || look_up(&store, &key)).await
        };
        let found = match looked_up {
            Ok(Ok(found)) => found,
            Ok(Err(miss)) => {
                if let Miss::Damaged {
                    error: Some(error), ..
                } = &miss
                {
                    self.tell_aside(Some(error.diagnostic()));
                }
                return Ok(Err(Some(miss)));
            }
            // A database that cannot be read will be complained about by whoever writes to it.
            Err(_) => return Ok(Err(None)),
        };
        let Some(restored) = self.restore(&found).await? else {
            return Ok(Err(None));
        };
        // It is judged as it is now in its place: where it lay before, anything may be by now.
        if !self.fulfils_or_goes(&restored.artifacts).await? {
            return Ok(Err(Some(Miss::Unfit)));
        }
        let Restored { artifacts, record } = restored;
        self.shared.store.keep(record);
        self.tell_differences(&found, recorded);
        let now = super::log::now();
        let made = &found.made;
        let ids = (Some(&key), made.prompt_id.as_deref());
        let record = self.provenance((recorded, did), (now, now), ids, Some(made));
        let files = artifacts.clone();
        self.tell_aside(blocking(move || record.write(&files)).await);
        let from = made.run.clone();
        Ok(Ok(Outcome::Cached { artifacts, from }))
    }

    fn tell_differences(&self, found: &Found, recorded: &Recorded) {
        let differences = found.differences(recorded);
        if differences.is_empty() {
            return;
        }
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let built = self.about().server_differs(&told.join(", "));
        self.shared.teller.warn(self.name(), built);
    }

    /// `None` when it could not be had after all.
    async fn restore(&self, found: &Found) -> Result<Option<Restored>, Ending> {
        let (shared, task) = (Arc::clone(&self.shared), Arc::clone(&self.task));
        let (results, ticket) = (Arc::clone(&self.results), self.ticket);
        let found = found.clone();
        let restored = blocking(move || {
            let step = &shared.plan.steps[&task.step];
            let about = About::of(&shared.plan, &task);
            let place = |artifact: &Artifact| {
                let place = place_of(&shared, (about, &task), (ticket, &results), artifact);
                place.map(|place| place.path)
            };
            let run = (step, &task.name, &shared.run);
            found.restore(&*shared.store.blobs(), run, place)
        });
        match restored.await {
            Ok(restored) => Ok(Some(restored)),
            Err(Unrestored::Place(failure)) => Err(failure.into()),
            Err(Unrestored::Blob(BlobError::Unwritable(error))) => {
                Err(self.about().cannot_write(&error).into())
            }
            Err(Unrestored::Blob(error)) => {
                self.tell_aside(Some(error.diagnostic()));
                Ok(None)
            }
        }
    }

    /// Keeps what was made for later runs, and writes down how it was made. Nothing of this can fail a task.
    pub(super) async fn remember(&self, artifacts: &[Arc<Artifact>], recalled: Recalled<'_>) {
        let times = (self.started_at, super::log::now());
        let ids = (recalled.keys.first(), recalled.prompt_id.as_deref());
        let files = artifacts.iter().any(|artifact| artifact.path.is_some());
        let as_now = (&recalled.recorded, recalled.did);
        let record = files.then(|| self.provenance(as_now, times, ids, None));
        let (shared, task) = (Arc::clone(&self.shared), Arc::clone(&self.task));
        let artifacts = artifacts.to_vec();
        let Recalled {
            keys,
            manifest,
            miss,
            recorded,
            did,
            shaped,
            prompt_id,
        } = recalled;
        let graph = match did {
            Did::Graph(rendered) if shaped => Some(rendered.graph.clone()),
            _ => None,
        };
        let made = Made {
            run: shared.run.clone(),
            task: task.name.clone(),
            at: times.1,
            attempt: self.ticket.attempt,
            server: recorded,
            prompt_id,
            graph,
            stamps: Vec::new(),
        };
        let size: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
        let work = move || {
            let unwritten = record.and_then(|record| record.write(&artifacts));
            let step = &shared.plan.steps[&task.step];
            let ids = (shared.plan.pipeline.as_str(), &shared.run, &task.name);
            cache::note(&shared.store, ids, step, miss.as_ref(), manifest);
            if keys.is_empty() || !cache::keeps(step) {
                return (unwritten, Ok(()));
            }
            let kept = cache::keep(&*shared.store.blobs(), &keys, &artifacts, made);
            let kept = kept.map(|records| {
                for record in records {
                    shared.store.keep(record);
                }
            });
            (unwritten, kept)
        };
        let (unwritten, kept) = if size <= SMALL {
            joined(brief(work).await)
        } else {
            blocking(work).await
        };
        self.tell_aside(unwritten);
        if let Err(error) = kept {
            let built = self.about().complain(error.diagnostic());
            self.shared.teller.warn(self.name(), built);
        }
    }

    fn provenance(
        &self,
        (recorded, did): (&Recorded, Did<'_>),
        times: (u64, u64),
        (key, prompt_id): (Option<&ContentHash>, Option<&str>),
        made: Option<&Made>,
    ) -> Record {
        let endpoint = self.endpoint();
        let provenance = Provenance {
            plan: &self.shared.plan,
            run: &self.shared.run,
            step: self.step(),
            task: self.name(),
            attempt: self.ticket.attempt,
            did,
            by: By {
                name: &endpoint.name,
                url: &endpoint.url,
                facts: recorded,
                simulated: is_simulated(&endpoint),
            },
            prompt_id,
            key,
            made,
            times,
        };
        provenance.record()
    }

    fn tell_aside(&self, warning: Option<Diagnostic>) {
        if let Some(warning) = warning {
            self.shared
                .teller
                .warn(self.name(), self.about().complain(warning));
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
