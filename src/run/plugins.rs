//! Plugins at work in a run: they look on, are asked before a graph is sent and after its results came, and their complaints are told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kiln_plugin::abi::hook;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::attempt::{Ending, Try, discard};
use super::collect::place_of;
use super::context::Stop;
use super::dispatch::{Dispatcher, changed};
use super::failure::{About, Failure};
use super::kinds::keep;
use super::recall::blocking;
use super::shared::Shared;
use super::wire::Wire;
use crate::artifact::{Artifact, Kind};
use crate::base::{ContentHash, NodeId};
use crate::event::RunEvent;
use crate::machine::{CancelReason, FailureClass, Ticket};
use crate::plan::{Results, TaskPlan};
use crate::plugin::{
    self, Answer, Change, Content, Fault, Made, Notice, Plugins, Said, Watch, of_artifact,
};
use crate::spec::OnError;
use crate::workflow::{self, Graph};

/// How long the plugins of a run may take to end, and how long those of a run that is stopped may take to hear of everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells what plugins say, until it is dropped: it shares what the run's events go through, which must have an end.
pub(super) struct Heeding {
    task: JoinHandle<()>,
    notices: Arc<tokio::sync::Mutex<UnboundedReceiver<Notice>>>,
}

impl Drop for Heeding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    pub(super) fn plugins(&self) -> &Plugins {
        &self.plan.loaded
    }

    /// Lets plugins hear what the servers of the run say.
    pub(super) fn tap_servers(&self) {
        if !self.plugins().hear_servers() {
            return;
        }
        for endpoint in self.servers.endpoints().iter().filter(|e| !e.is_here()) {
            endpoint.set_tap(Arc::new(Wire {
                plugins: self.plugins().clone(),
                hush: Arc::clone(&self.hush),
                server: endpoint.name.clone(),
                run: self.run.clone(),
                jobs: Arc::clone(&self.jobs),
            }));
        }
    }

    /// Tells what plugins say from now on.
    pub(super) fn heed_plugins(self: &Arc<Self>) -> Option<Heeding> {
        let notices = Arc::new(tokio::sync::Mutex::new(self.plugins().notices()?));
        let (shared, heard) = (Arc::clone(self), Arc::clone(&notices));
        let task = tokio::spawn(async move {
            loop {
                let notice = heard.lock().await.recv().await;
                match notice {
                    Some(notice) => shared.heed(notice),
                    None => return,
                }
            }
        });
        Some(Heeding { task, notices })
    }

    fn heed(&self, notice: Notice) {
        let said = self.complaints().heed(self.plugins(), notice);
        match said {
            Some(Said::Line {
                plugin,
                level,
                line,
            }) => self.teller.tell_quietly(RunEvent::PluginLog {
                plugin,
                level: level.to_owned(),
                line,
            }),
            Some(Said::Complaint(built)) => self.teller.complain_quietly(*built),
            None => {}
        }
    }

    fn complaints(&self) -> std::sync::MutexGuard<'_, plugin::Complaints> {
        let complaints = self.plugin_complaints.lock();
        complaints.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    /// Lets plugins do what they were told so far, and tells what they say to it. As soon as somebody wants the run to stop, what takes
    /// too long is given up.
    pub(super) async fn settle_plugins(&mut self) {
        let shared = Arc::clone(&self.shared);
        let plugins = shared.plugins();
        if plugins.is_empty() {
            return;
        }
        loop {
            let stopping = self.machine.stopping();
            let patience = match (stopping, self.stop_seen) {
                (Some(CancelReason::Leave), _) | (_, Stop::Leave) => Some(Duration::ZERO),
                (Some(_), _) | (_, Stop::Cancel) => Some(PATIENCE),
                (None, Stop::None) => None,
            };
            tokio::select! {
                biased;
                () = plugins.settle() => break,
                Ok(()) = changed(&mut self.stop, self.stop_seen) => {
                    self.stop_seen = *self.stop.borrow_and_update();
                }
                () = tokio::time::sleep(patience.unwrap_or_default()), if patience.is_some() => {
                    plugins.give_up_rest();
                    break;
                }
            }
        }
        self.heed_rest().await;
    }

    /// Tells what plugins said so far.
    async fn heed_rest(&self) {
        let Some(heeding) = &self.heeding else {
            return;
        };
        // It stops between two notices, so none is lost.
        heeding.task.abort();
        let mut notices = heeding.notices.lock().await;
        while let Ok(notice) = notices.try_recv() {
            self.shared.heed(notice);
        }
    }

    /// Ends the plugins of the run, and tells how often they failed.
    pub(super) async fn end_plugins(&mut self) {
        if self.shared.plugins().is_empty() {
            return;
        }
        self.settle_plugins().await;
        self.shared.plugins().end(PATIENCE).await;
        self.heed_rest().await;
        for built in self.shared.complaints().often() {
            self.shared.teller.complain_quietly(built);
        }
    }
}

impl Try {
    /// What every request about a task says of it.
    pub(super) fn request(&self) -> Value {
        json!({
            "run": self.shared.run, "pipeline": self.shared.plan.pipeline, "step": self.step().id,
            "task": self.name(), "attempt": self.ticket.attempt,
        })
    }

    /// Asks a plugin for something, unless the try is cancelled.
    async fn ask_plugin(
        &mut self,
        name: &str,
        hook: &'static str,
        request: &Value,
    ) -> Result<Result<Answer, Fault>, Ending> {
        let called = self
            .shared
            .plugins()
            .call(name, hook, request, Watch::default());
        let mut calling = match called {
            Ok(calling) => calling,
            Err(fault) => return Ok(Err(fault)),
        };
        tokio::select! {
            biased;
            answer = calling.answer() => Ok(answer),
            _ = self.cancel.wait_for(Option::is_some) => {
                calling.cancel();
                Err(Ending::Cancelled)
            }
        }
    }

    /// A plugin failed at a hook of this task: the task fails, or goes on without it, and its result stands for no other one.
    fn plugin_failed(&mut self, name: &str, hook: &str, fault: &Fault) -> Result<(), Ending> {
        let Some(declared) = self.shared.plugins().declared(name) else {
            return Ok(());
        };
        let warn = declared.on_error == OnError::Warn;
        let built = self
            .about()
            .complain(plugin::failed(declared, hook, fault, warn));
        if !warn {
            return Err(Failure::one(FailureClass::Command, built).into());
        }
        self.partial = true;
        self.shared.teller.warn(self.name(), built);
        Ok(())
    }

    /// Lets plugins change the graph. Those that did, and the inputs and nodes that are not as they were.
    pub(super) async fn before_submit(
        &mut self,
        server: &str,
        graph: &mut Graph,
    ) -> Result<Changed, Ending> {
        let step = self.step().id.clone();
        let plugins = self.shared.plugins();
        let names = plugins.with_hook(&step, |about| about.before_submit);
        let mut changed = Changed::default();
        for name in names {
            let mut request = self.request();
            request["server"] = json!(server);
            request["prompt_id"] = json!(self.job());
            request["graph"] = serde_json::to_value(&*graph).unwrap_or_default();
            let answer = self.ask_plugin(&name, hook::BEFORE_SUBMIT, &request);
            let new = answer.await?.and_then(plugin::graph).and_then(|new| {
                new.map(|new| {
                    workflow::from_request(new).map_err(|problem| {
                        Fault::Wrong(format!("has a graph that is none: {problem}"))
                    })
                })
                .transpose()
            });
            match new {
                Ok(None) => {}
                Ok(Some(new)) => {
                    changed.note(&name, graph, &new);
                    *graph = new;
                }
                Err(fault) => self.plugin_failed(&name, hook::BEFORE_SUBMIT, &fault)?,
            }
        }
        Ok(changed)
    }

    /// Lets plugins change what a job left behind. Nothing of it is left when that fails.
    pub(super) async fn after_download(
        &mut self,
        mut artifacts: Vec<Arc<Artifact>>,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let shaped = self.shape_results(&mut artifacts).await;
        if shaped.is_err() {
            discard(&artifacts).await;
        }
        shaped.map(|()| artifacts)
    }

    async fn shape_results(&mut self, artifacts: &mut Vec<Arc<Artifact>>) -> Result<(), Ending> {
        let step = self.step().id.clone();
        let plugins = self.shared.plugins();
        let names = plugins.with_hook(&step, |about| about.after_download);
        for name in names {
            let folder = self.work_folder().await?;
            let mut request = self.request();
            request["folder"] = json!(folder.path().to_string_lossy());
            request["artifacts"] = artifacts.iter().map(|one| of_artifact(one)).collect();
            let answer = self.ask_plugin(&name, hook::AFTER_DOWNLOAD, &request);
            let count = artifacts.len();
            let changes = answer
                .await?
                .and_then(|answer| plugin::changes(&answer, count, folder.path()));
            match changes {
                Ok(None) => {}
                Ok(Some(changes)) => {
                    *artifacts = self.changed(&name, changes, artifacts.clone()).await?;
                }
                Err(fault) => self.plugin_failed(&name, hook::AFTER_DOWNLOAD, &fault)?,
            }
        }
        Ok(())
    }

    /// A job that an earlier session sent: whether a plugin that may fail did so at its graph is not known any more. Whether a plugin may
    /// have changed it.
    pub(super) fn note_unknown_shape(&mut self) -> bool {
        let plugins = self.shared.plugins();
        let names = plugins.with_hook(&self.step().id, |about| about.before_submit);
        let may_fail = |name: &String| {
            let declared = plugins.declared(name);
            declared.is_some_and(|declared| declared.on_error == OnError::Warn)
        };
        self.partial |= names.iter().any(may_fail);
        !names.is_empty()
    }

    async fn changed(
        &self,
        plugin: &str,
        changes: Vec<Change>,
        artifacts: Vec<Arc<Artifact>>,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let (shared, task) = (Arc::clone(&self.shared), Arc::clone(&self.task));
        let (results, ticket) = (Arc::clone(&self.results), self.ticket);
        let node = NodeId::from(plugin);
        let done = blocking(move || {
            let making = Making {
                shared: &shared,
                task: &task,
                at: (ticket, &results),
            };
            making.apply(&node, changes, &artifacts)
        });
        Ok(done.await?)
    }
}

/// What plugins changed in a graph.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Who did.
    pub(super) by: Vec<String>,
    /// Nodes that are new or of another class.
    nodes: BTreeSet<NodeId>,
    /// Inputs that have other values.
    inputs: BTreeSet<(NodeId, String)>,
}

impl Changed {
    fn note(&mut self, name: &str, before: &Graph, after: &Graph) {
        if before == after {
            return;
        }
        self.by.push(name.to_owned());
        for (id, node) in &after.nodes {
            match before.nodes.get(id) {
                Some(old) if old.class_type == node.class_type => {
                    let differs =
                        |(input, value): &(&String, &Value)| old.inputs.get(*input) != Some(*value);
                    let new = node.inputs.iter().filter(differs);
                    self.inputs
                        .extend(new.map(|(input, _)| (id.clone(), input.clone())));
                    let gone = old.inputs.keys();
                    let gone = gone.filter(|input| !node.inputs.contains_key(*input));
                    self.inputs
                        .extend(gone.map(|input| (id.clone(), input.clone())));
                }
                _ => drop(self.nodes.insert(id.clone())),
            }
        }
    }

    /// Whether a place is not as the user's files say.
    pub(super) fn has(&self, node: &NodeId, input: Option<&str>) -> bool {
        self.nodes.contains(node)
            || input.is_some_and(|input| self.inputs.contains(&(node.clone(), input.to_owned())))
    }
}

/// Puts what a plugin made where results are kept.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub(super) shared: &'a Shared,
    pub(super) task: &'a TaskPlan,
    pub(super) at: (Ticket, &'a Results),
}

impl Making<'_> {
    fn about(&self) -> About<'_> {
        About::of(&self.shared.plan, self.task)
    }

    fn apply(
        self,
        node: &NodeId,
        changes: Vec<Change>,
        artifacts: &[Arc<Artifact>],
    ) -> Result<Vec<Arc<Artifact>>, Failure> {
        let mut next = artifacts.iter().map(|one| one.index + 1).max().unwrap_or(0);
        let (mut kept, mut new) = (Vec::new(), Vec::<PathBuf>::new());
        for change in changes {
            let made = match change {
                Change::Keep(at) => Ok(Arc::clone(&artifacts[at])),
                Change::Replace(at, made) => self.replace(&artifacts[at], made).map(Arc::new),
                Change::Add(made) => {
                    let blank = self.blank(node.clone(), next);
                    next += 1;
                    self.made(blank, made).map(Arc::new)
                }
            };
            let made = made.inspect_err(|_| remove(new.iter().map(PathBuf::as_path)))?;
            let was_there = |path: &PathBuf| {
                let mut before = artifacts.iter();
                before.any(|one| one.path.as_ref() == Some(path))
            };
            new.extend(made.path.clone().filter(|path| !was_there(path)));
            kept.push(made);
        }
        let stays = |path: &Path| kept.iter().any(|one| one.path.as_deref() == Some(path));
        let before = artifacts.iter().filter_map(|one| one.path.as_deref());
        remove(before.filter(|path| !stays(path)));
        Ok(kept)
    }

    pub(super) fn blank(self, node: NodeId, index: usize) -> Artifact {
        Artifact {
            index,
            ..Artifact::blank(self.task.step.clone(), self.task.name.clone(), node)
        }
    }

    /// Another content under the names of the old one; a file of another kind gets its own extension.
    fn replace(self, old: &Artifact, made: Made) -> Result<Artifact, Failure> {
        let extension = |name: &str| {
            name.rsplit_once('.')
                .map(|(_, end)| end.to_ascii_lowercase())
        };
        let name = match (extension(&old.name), extension(&made.name)) {
            (before, Some(after)) if before.as_ref() != Some(&after) => {
                let stem = old
                    .name
                    .rsplit_once('.')
                    .map_or(&*old.name, |(stem, _)| stem);
                format!("{stem}.{after}")
            }
            _ => old.name.clone(),
        };
        let blank = Artifact {
            key: old.key.clone(),
            output: old.output.clone(),
            ..self.blank(old.node.clone(), old.index)
        };
        let named = Made {
            name,
            output: old.output.clone(),
            meta: old.meta.clone().into_iter().chain(made.meta).collect(),
            ..made
        };
        self.made(blank, named)
    }

    /// A file where results are kept, or a text.
    pub(super) fn made(self, blank: Artifact, made: Made) -> Result<Artifact, Failure> {
        let output = made.output.or(blank.output);
        let meta = self.shared.hush.mask_members(made.meta);
        let key = |usual: &str| match blank.key.as_str() {
            "" => usual.to_owned(),
            key => key.to_owned(),
        };
        match made.content {
            Content::Text(text) => {
                let text = self.shared.hush.mask(&text).into_owned();
                Ok(Artifact {
                    key: key("text"),
                    hash: ContentHash::of(text.as_bytes()),
                    size: text.len() as u64,
                    text: Some(text),
                    output,
                    meta,
                    ..blank
                })
            }
            Content::File(from) => {
                let artifact = Artifact {
                    key: key("files"),
                    kind: Kind::of_name(&made.name),
                    name: made.name,
                    output,
                    meta,
                    ..blank
                };
                let place = place_of(self.shared, (self.about(), self.task), self.at, &artifact)?;
                let (hash, size) =
                    keep(&from, &place.path).map_err(|error| self.about().cannot_write(&error))?;
                Ok(Artifact {
                    path: Some(place.path),
                    hash,
                    size,
                    ..artifact
                })
            }
        }
    }
}

/// Removes files of results that are none.
fn remove<'a>(paths: impl Iterator<Item = &'a Path>) {
    for path in paths {
        let _ = std::fs::remove_file(path);
    }
}
