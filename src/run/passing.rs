//! Results that go on to another server while they are still being fetched.
//!
//! What a step on one server makes and a step on another takes would cross the network twice, one way after the other. Where the plan and
//! the records of earlier runs say that a result will be needed elsewhere, it is sent there as it comes. It is committed here all the same, dependants start when it is,
//! and what arrived counts only when its hash is that of what was fetched and the other server has all of it; else it is sent as any other
//! file. Its name there tells where it comes from: what is in it is known only at its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use super::cache;
use super::transfer::remote_name;
use crate::base::{ContentHash, RunId, StepId};
use crate::client::{Growing, Uploaded};
use crate::plan::key::LOADERS;
use crate::plan::{EditValue, Grow, Plan, StepPlan, TemplateText, WorkflowStep};
use crate::protocol::FileRef;
use crate::servers::{Endpoint, Servers};
use crate::store::Store;

/// Smaller files are sent under the name of their content, which is worth more than the moment that they take.
const WORTH_IT: u64 = 4 << 20;

/// A file on its way to a server: what it became there, and the hash of what was sent.
type Arriving = JoinHandle<Option<(Uploaded, ContentHash)>>;

/// Files on their way from one server to another.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// By the address of the server and the content.
    arriving: Mutex<HashMap<(String, ContentHash), Arriving>>,
    /// Whether the tasks of a step will be carried out, whatever they are given.
    certain: Mutex<HashMap<StepId, bool>>,
}

/// Files whose content is known when they have come.
pub(super) type Started = Vec<(String, Arriving)>;

impl Passing {
    /// Notes what was in the files that were started.
    pub(super) fn started(&self, started: Started, hash: ContentHash) {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        for (url, handle) in started {
            arriving.insert((url, hash), handle);
        }
    }

    /// Whether the tasks of a step will certainly need their files: none of them looks for a result of an earlier run, or no earlier run has
    /// left any. It is asked once for each step.
    pub(super) fn is_certain(
        &self,
        store: &Store,
        (plan, run): (&Plan, &RunId),
        step: &StepPlan,
    ) -> bool {
        if !cache::looks_up(step) {
            return true;
        }
        let mut certain = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        *certain.entry(step.id.clone()).or_insert_with(|| {
            let before = store.ended_well_before(plan.pipeline.as_str(), &step.id, run);
            before.is_ok_and(|before| !before)
        })
    }

    /// Waits for a file that was sent on to a server; `None` when none was, or it did not arrive. It is told once.
    pub(super) async fn arrival(
        &self,
        url: &str,
        hash: ContentHash,
    ) -> Option<(Uploaded, ContentHash)> {
        let handle = {
            let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
            arriving.remove(&(url.to_owned(), hash))?
        };
        handle.await.ok().flatten()
    }
}

/// Whether a file is so large that it is worth passing on.
pub(super) fn is_worth_it(growing: &Growing) -> bool {
    growing.total() >= WORTH_IT
}

/// Sends a file on to every one of these servers that takes it.
pub(super) fn pass_on(
    growing: &Growing,
    file: &FileRef,
    from: &str,
    to: &[Arc<Endpoint>],
) -> Started {
    let name = name(growing, file, from);
    let takes = |to: &&Arc<Endpoint>| to.client().dialect().uploads.takes(growing.total());
    to.iter()
        .filter(takes)
        .map(|to| {
            let (client, growing, name) = (to.client().clone(), growing.clone(), name.clone());
            let sent = tokio::spawn(async move { client.pass_on(growing, &name).await.ok() });
            (to.url.clone(), sent)
        })
        .collect()
}

/// The same version of the same file has the same name.
fn name(growing: &Growing, file: &FileRef, from: &str) -> String {
    let etag = growing.etag();
    let origin = format!("{from}\n{}\n{etag}\n{}", file.annotated(), growing.total());
    let hash = ContentHash::of(origin.as_bytes());
    remote_name(file.filename.as_ref(), hash)
}

/// The servers other than the one at `from` that will be given a result of a step, one of so many, by steps that will need it for certain.
pub(super) fn onward(
    plan: &Plan,
    servers: &Servers,
    step: &StepPlan,
    from: &str,
    results: usize,
    is_certain: impl Fn(&StepPlan) -> bool,
) -> Vec<Arc<Endpoint>> {
    let mut found: Vec<Arc<Endpoint>> = Vec::new();
    for other in plan.steps.values() {
        // Where a pool's task will be, or whether it will be, is not known yet; and who asks for uploads wants names by content.
        let [only] = servers.of(&other.server) else {
            continue;
        };
        let elsewhere = !only.is_embedded() && !only.is_here() && only.url != from;
        if elsewhere
            && other.when.is_none()
            && !other.transfer_upload
            && !found.iter().any(|known| known.url == only.url)
            && other
                .workflow()
                .is_some_and(|work| takes(other, work, step, results))
            && is_certain(other)
        {
            found.push(Arc::clone(only));
        }
    }
    found
}

/// Whether an input of `other` that loads a file takes what `step` leaves: the only result, or each of them.
fn takes(other: &StepPlan, work: &WorkflowStep, step: &StepPlan, results: usize) -> bool {
    let of_step = |template: &TemplateText| template.steps.contains(&step.id);
    let follows = match &other.grow {
        Grow::Known => false,
        Grow::Later { list } => of_step(list),
        Grow::Stream { from, .. } => *from == step.id,
    };
    let mut edits = work.edits.iter();
    edits.any(|edit| {
        let class = work.graph.nodes.get(&edit.node);
        let loads = class
            .is_some_and(|node| LOADERS.contains(&(node.class_type.as_str(), edit.input.as_str())));
        let EditValue::Later(template) = &edit.value else {
            return false;
        };
        loads && (follows || (results == 1 && of_step(template)))
    })
}
