//! Plugins at work in a run: they look on, are asked before a graph is sent and after its results came, and their complaints are told.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kiln_plugin::abi::{hook, level};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::attempt::{Ending, Try};
use super::collect::place_of;
use super::failure::{About, Failure};
use super::kinds::keep;
use super::recall::blocking;
use super::shared::Shared;
use super::wire::Wire;
use crate::artifact::{Artifact, Kind};
use crate::base::{ContentHash, NodeId};
use crate::diagnostic::{Diagnostic, codes};
use crate::event::RunEvent;
use crate::machine::{FailureClass, Ticket};
use crate::plan::{Results, TaskPlan};
use crate::plugin::{
    self, Answer, Change, Content, Fault, Made, Notice, Plugins, Watch, of_artifact,
};
use crate::spec::OnError;
use crate::workflow::{self, Graph};

/// How long the plugins of a run may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What plugins say and how they fail, as long as somebody heeds it.
pub(super) type Notices = Arc<tokio::sync::Mutex<UnboundedReceiver<Notice>>>;

/// How often a plugin failed in one way.
pub(super) type Failures = HashMap<(String, String), u64>;

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

    /// Tells what plugins say, until it is stopped.
    pub(super) fn heed_plugins(self: &Arc<Self>) -> Option<(JoinHandle<()>, Notices)> {
        let notices = Arc::new(tokio::sync::Mutex::new(self.plugins().notices()?));
        let (shared, heard) = (Arc::clone(self), Arc::clone(&notices));
        let heeding = tokio::spawn(async move {
            loop {
                let notice = heard.lock().await.recv().await;
                match notice {
                    Some(notice) => shared.heed(notice),
                    None => return,
                }
            }
        });
        Some((heeding, notices))
    }

    fn heed(&self, notice: Notice) {
        match notice {
            Notice::Log {
                plugin,
                level,
                text,
            } => self.teller.tell_quietly(RunEvent::PluginLog {
                plugin,
                level: level_name(level).to_owned(),
                line: text,
            }),
            Notice::Failed {
                plugin,
                hook,
                fault,
            } => {
                let Some(declared) = self.plugins().declared(&plugin) else {
                    return;
                };
                let warn = declared.on_error == OnError::Warn;
                if !warn {
                    self.plugins().mark_failed();
                }
                let mut failures = self.failures();
                let count = failures.entry((plugin, fault.to_string())).or_default();
                *count += 1;
                if *count == 1 {
                    drop(failures);
                    let built = plugin::failed(declared, hook, &fault, warn);
                    self.teller.complain_quietly(built);
                }
            }
            Notice::GivenUp { plugin, fault } => {
                let Some(declared) = self.plugins().declared(&plugin) else {
                    return;
                };
                let warn = declared.on_error == OnError::Warn;
                if !warn {
                    self.plugins().mark_failed();
                }
                let built = plugin::given_up(declared, &fault, warn);
                self.teller.complain_quietly(built);
            }
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        let failures = self.plugin_failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets plugins do what they were told so far, and tells what they say to it.
    pub(super) async fn settle_plugins(&self, heeding: Option<&(JoinHandle<()>, Notices)>) {
        if self.plugins().is_empty() {
            return;
        }
        self.plugins().settle().await;
        self.heed_rest(heeding).await;
    }

    async fn heed_rest(&self, heeding: Option<&(JoinHandle<()>, Notices)>) {
        let Some((task, notices)) = heeding else {
            return;
        };
        // It stops between two notices, so none is lost.
        task.abort();
        let mut notices = notices.lock().await;
        while let Ok(notice) = notices.try_recv() {
            self.heed(notice);
        }
    }

    /// Ends the plugins of the run, and tells how often they failed.
    pub(super) async fn end_plugins(&self, heeding: Option<&(JoinHandle<()>, Notices)>) {
        if self.plugins().is_empty() {
            return;
        }
        self.plugins().settle().await;
        self.plugins().end(PATIENCE).await;
        self.heed_rest(heeding).await;
        let failures = std::mem::take(&mut *self.failures());
        let mut often: Vec<_> = failures.into_iter().filter(|(_, n)| *n > 1).collect();
        often.sort();
        for ((plugin, words), count) in often {
            let message = format!(
                "plugin `{plugin}` failed {} more times in the same way: {words}",
                count - 1
            );
            let built = Diagnostic::warning(&codes::PLUGIN_FAILED, message);
            self.teller.complain_quietly(built);
        }
    }
}

fn level_name(number: u32) -> &'static str {
    match number {
        level::ERROR => "error",
        level::WARN => "warn",
        level::INFO => "info",
        _ => "debug",
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

    /// Lets plugins change what a job left behind.
    pub(super) async fn after_download(
        &mut self,
        mut artifacts: Vec<Arc<Artifact>>,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
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
                    artifacts = self.changed(&name, changes, artifacts).await?;
                }
                Err(fault) => self.plugin_failed(&name, hook::AFTER_DOWNLOAD, &fault)?,
            }
        }
        Ok(artifacts)
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
        let mut kept = Vec::new();
        for change in changes {
            kept.push(match change {
                Change::Keep(at) => Arc::clone(&artifacts[at]),
                Change::Replace(at, made) => Arc::new(self.replace(&artifacts[at], made)?),
                Change::Add(made) => {
                    let blank = self.blank(node.clone(), next);
                    next += 1;
                    Arc::new(self.made(blank, made)?)
                }
            });
        }
        let stays = |path: &Path| kept.iter().any(|one| one.path.as_deref() == Some(path));
        for old in artifacts.iter().filter_map(|one| one.path.as_deref()) {
            if !stays(old) {
                let _ = std::fs::remove_file(old);
            }
        }
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
