//! The beginning of a run, or of another session of one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::context::{RunContext, RunError, RunOptions, RunOutcome};
use super::dispatch::Dispatcher;
use super::facts::is_simulated;
use super::folder::Folder;
use super::hush::Hush;
use super::leftovers::end_programs;
use super::log::Log;
use super::log::now;
use super::recall::blocking;
use super::roster::Roster;
use super::shared::{Given, Shared};
use super::tell::Teller;
use super::telling::infos;
use crate::artifact::Artifact;
use crate::base::{AtomicFile, StepId};
use crate::event::RunEvent;
use crate::machine::{EndpointIx, Fact, Machine, Policy, Shape};
use crate::plan::{Plan, TaskIx};
use crate::servers::Servers;
use crate::store::{Blobs, Ensured};

/// Carries out a plan: from its first fact to `latest`. A run that was begun in an earlier session is gone on with.
///
/// # Errors
/// When the state or the output folder cannot be used. Whatever goes wrong with a task is in the outcome.
pub async fn execute(context: RunContext) -> Result<RunOutcome, RunError> {
    let RunContext {
        plan,
        run,
        servers,
        store,
        events,
        stop,
        stop_code,
        spared,
        previews,
        options,
        lock: _lock,
        journal,
        facts,
        secrets,
    } = context;
    let began = Instant::now();
    let hush = Arc::new(Hush::new(secrets, &plan));
    let teller = Teller::new(events, Arc::clone(&plan), Arc::clone(&hush), run.clone());
    let folder = Folder::open(&plan, &run)?;
    let expected = store.durations(&plan.pipeline).unwrap_or_default();
    tell_start(&teller, &plan, &folder, &servers, &expected);
    let (noting, notes) = mpsc::unbounded_channel();
    let machine = Machine::new(Shape::of(&plan, policy(options), &expected));
    let roster = Roster::new(&plan);
    let given = Given {
        plan,
        run,
        servers,
        store,
        previews,
    };
    let shared = Arc::new(Shared::new(given, teller, hush, folder, noting));
    let parts = (machine, roster, Log::new(journal));
    let stop = (stop, stop_code, spared);
    shared.tap_servers();
    let heeding = shared.heed_plugins();
    let mut dispatcher = Dispatcher::new(Arc::clone(&shared), parts, notes, stop);
    dispatcher.heeding = heeding;
    if !facts.is_empty()
        && let Err(error) = dispatcher.take_up(facts).await
    {
        return Err(dispatcher.break_off(error).await);
    }
    shared.watch_endpoints();
    dispatcher.run(began).await
}

fn policy(options: RunOptions) -> Policy {
    let deadline = options.deadline.map(|time| {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        now().saturating_add(time)
    });
    Policy {
        keep_going: options.keep_going,
        max_fail: options.max_fail,
        deadline,
    }
}

fn tell_start(
    teller: &Teller,
    plan: &Plan,
    folder: &Folder,
    servers: &Servers,
    expected: &HashMap<StepId, u64>,
) {
    teller.tell(RunEvent::RunStarted {
        pipeline: plan.pipeline.clone(),
        tasks: infos(plan),
        growing: plan.grows(),
        output_dir: folder.root().to_path_buf(),
        expected: told_durations(plan, expected),
    });
    for server in plan.servers.keys().flat_map(|name| servers.of(name)) {
        let Some(info) = server.info() else { continue };
        teller.tell(RunEvent::ServerReady {
            server: server.name.clone(),
            url: server.url.clone(),
            version: info.version.clone(),
            embedded: server.is_embedded(),
            cloud: server.is_cloud(),
            simulated: is_simulated(server),
        });
    }
}

/// What tasks of the plan's steps took before, in seconds.
fn told_durations(plan: &Plan, ms: &HashMap<StepId, u64>) -> BTreeMap<StepId, f64> {
    let known = plan.steps.keys().filter_map(|step| {
        let ms = u32::try_from(*ms.get(step)?).ok()?;
        Some((step.clone(), f64::from(ms) / 1000.0))
    });
    known.collect()
}

impl Dispatcher {
    /// Goes on where an earlier session ended: what is done stays done, what was under way is looked for on its server.
    async fn take_up(&mut self, facts: Vec<(u64, Fact)>) -> Result<(), RunError> {
        for (_, fact) in &facts {
            self.absorb(fact)?;
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || end_programs(&shared.store, &shared.run)).await;
        let stopping = self.was_stopping.clone();
        let again = self.restore_results().await;
        self.take(Fact::Resumed { again })?;
        self.was_stopping = stopping;
        self.failures.clear();
        for (at, endpoint) in (0..).zip(self.shared.servers.endpoints().to_vec()) {
            if endpoint.answered() {
                let endpoint = EndpointIx(at);
                self.take(Fact::ServerUp { endpoint })?;
            }
        }
        for owed in self.machine.owed() {
            self.attempt(owed.ticket, (owed.endpoint, owed.fresh), Some(owed.phase));
        }
        self.tell_added_before();
        Ok(())
    }

    /// Makes sure that the results of earlier sessions are what they were; tasks whose results cannot be had again run again.
    async fn restore_results(&mut self) -> Vec<TaskIx> {
        let mut wanted = Vec::new();
        for (task, _) in self.roster.iter() {
            for artifact in self.roster.artifacts(task) {
                if let Some(path) = &artifact.path {
                    self.shared.folder.reserve((task, artifact.index), path);
                    wanted.push((task, Arc::clone(artifact)));
                }
            }
        }
        let blobs = self.shared.store.blobs();
        let lost = blocking(move || {
            let mut lost: Vec<TaskIx> = wanted
                .into_iter()
                .filter(|(_, artifact)| !restore(&*blobs, artifact))
                .map(|(task, _)| task)
                .collect();
            lost.dedup();
            lost
        });
        lost.await
    }

    /// Tasks that became known in an earlier session, and what was done then.
    fn tell_added_before(&mut self) {
        self.tell_all_added();
        let ended: Vec<TaskIx> = self
            .roster
            .iter()
            .filter(|(task, _)| self.roster.outcome(*task).is_some())
            .map(|(task, _)| task)
            .collect();
        for task in ended {
            self.tell_if_ended(task);
        }
    }
}

/// Whether a result is what it was, or could be restored.
fn restore(blobs: &dyn Blobs, artifact: &Artifact) -> bool {
    let Some(path) = &artifact.path else {
        return true;
    };
    if let Some(text) = &artifact.text {
        return path.exists() || AtomicFile::put(path, text.as_bytes()).is_ok();
    }
    match blobs.ensure(&artifact.hash, path) {
        Ok(Ensured::Intact | Ensured::Restored) => true,
        // An edit is left alone: whoever needs the result as it was gets it from its blob.
        Ok(Ensured::Changed) => blobs.verify(&artifact.hash),
        Err(_) => false,
    }
}
