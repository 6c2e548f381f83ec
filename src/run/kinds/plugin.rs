//! A step that a plugin carries out: rendered, looked up, handed over with a fresh folder, what it made collected.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiln_plugin::abi::hook;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::artifact::Artifact;
use crate::base::{ContentHash, NodeId};
use crate::event::RunEvent;
use crate::machine::{Fact, FailureClass, Outcome};
use crate::plan::key::{Manifest, Recorded, of_plugin, plugin_manifest};
use crate::plan::{self, HERE, PluginStep, RenderedPlugin};
use crate::plugin::{self, Answer, Calling, Fault, Made, Watch, handed};
use crate::run::attempt::{Ending, Try};
use crate::run::cache::{self, Miss};
use crate::run::collect::write_text;
use crate::run::failure::{About, Failure, Overdue};
use crate::run::plugins::Making;
use crate::run::provenance::Did;
use crate::run::recall::{Recalled, blocking};
use crate::run::transfer::{Original, Source};

/// How long a plugin whose task is cancelled may take to notice.
const GRACE: Duration = Duration::from_secs(5);
/// Progress of one task is told at most this often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);

/// A task that only waits for its turn.
struct Ready {
    rendered: RenderedPlugin,
    key: ContentHash,
    manifest: Manifest,
    miss: Option<Miss>,
}

/// How a call ended that has no answer.
enum End {
    Fault(Fault),
    Cancelled,
    /// It was silent for so long.
    Silent(Duration),
}

enum Prepared {
    Hit(Outcome),
    Ready(Box<Ready>),
}

/// Takes how far a plugin is, from 0 to 1, and its note.
type Hear = Arc<dyn Fn(f64, &str) + Send + Sync>;

impl Try {
    pub(in crate::run) async fn plugin(&mut self, work: &PluginStep) -> Result<Outcome, Ending> {
        if self.owed.is_some() {
            // It ended with the session that started it.
            return Err(Ending::Lost);
        }
        let prepared = match self.prepare_plugin().await {
            Ok(Prepared::Hit(outcome)) => return Ok(outcome),
            Ok(Prepared::Ready(ready)) => Ok(ready),
            Err(ending) => Err(ending),
        };
        let key = prepared.as_ref().ok().map(|ready| ready.key);
        let key = key.filter(|_| cache::looks_up(self.step()));
        let ready = self.in_turn(key, prepared).await?;
        let artifacts = self.carry_out_plugin(work, &ready.rendered).await?;
        if artifacts.is_empty() {
            self.nothing()?;
        }
        let recalled = Recalled {
            keys: vec![ready.key],
            manifest: ready.manifest,
            miss: ready.miss,
            recorded: Recorded::default(),
            did: Did::Plugin(&ready.rendered),
            shaped: false,
            prompt_id: None,
        };
        self.conclude(artifacts, recalled).await
    }

    async fn prepare_plugin(&mut self) -> Result<Prepared, Ending> {
        let rendered = self.off_thread(plan::render_plugin).await?;
        let key = of_plugin(&rendered);
        let manifest = plugin_manifest(&self.shared.plan, &rendered);
        let did = Did::Plugin(&rendered);
        let miss = match self.recall(key, None, &Recorded::default(), did).await? {
            Ok(hit) => return Ok(Prepared::Hit(hit)),
            Err(miss) => miss,
        };
        Ok(Prepared::Ready(Box::new(Ready {
            rendered,
            key,
            manifest,
            miss,
        })))
    }

    /// Lets the plugin work in a folder of the task's own, which is gone when its files are collected.
    async fn carry_out_plugin(
        &mut self,
        work: &PluginStep,
        rendered: &RenderedPlugin,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let folder = self.work_folder().await?;
        let (moved, _originals) = self.restore_files(rendered).await?;
        let with = handed(&rendered.moved(&moved));
        let mut request = self.request();
        request["folder"] = json!(folder.path().to_string_lossy());
        request["with"] = self.reveal_json(with)?;
        self.shared.teller.tell(RunEvent::TaskExecuting {
            task: self.name().clone(),
        });
        let answer = self.call_plugin(work, &request).await?;
        let ticket = self.ticket;
        self.shared.note(Fact::Released { ticket });
        let made = plugin::artifacts(&answer, folder.path());
        let made = made.map_err(|fault| self.step_failed(work, &fault))?;
        let artifacts = self.collect_made(work, made).await?;
        tokio::task::spawn_blocking(move || drop(folder));
        Ok(artifacts)
    }

    /// Files that someone has changed since are put aside as they were, and the plugin is given those.
    async fn restore_files(
        &self,
        rendered: &RenderedPlugin,
    ) -> Result<(HashMap<PathBuf, PathBuf>, Vec<Original>), Ending> {
        let mut originals = Vec::new();
        let mut moved = HashMap::new();
        for (path, hash) in &rendered.files {
            let source = Source::new(path.clone(), *hash);
            let original = source.original(&self.shared.store).await;
            let original = original.map_err(|error| {
                let built = self.about().complain(error.diagnostic());
                Failure::one(FailureClass::Transfer, built)
            })?;
            if original.path() != path {
                moved.insert(path.clone(), original.path().to_path_buf());
                originals.push(original);
            }
        }
        Ok((moved, originals))
    }

    fn reveal_json(&self, value: Value) -> Result<Value, Ending> {
        let revealed = self.shared.hush.reveal_json(value);
        revealed.map_err(|error| self.without_secret(&error).into())
    }

    async fn call_plugin(&mut self, work: &PluginStep, request: &Value) -> Result<Answer, Ending> {
        let step = self.step();
        let limit = step.timeout_ms.map(Duration::from_millis);
        let stall = step.stall_timeout_ms.map(Duration::from_millis);
        let heard = Arc::new(Mutex::new(Instant::now()));
        let watch = Watch {
            limit: Some(limit),
            progress: Some(self.hear(&heard)),
        };
        let called = self
            .shared
            .plugins()
            .call(&work.plugin, hook::STEP, request, watch);
        let mut calling = called.map_err(|fault| self.step_failed(work, &fault))?;
        let ended = loop {
            let since = *heard.lock().unwrap_or_else(PoisonError::into_inner);
            // What waits for its turn is not silent.
            let since = calling.begun().map(|begun| since.max(begun.into()));
            let quiet = stall.map(|stall| since.unwrap_or_else(Instant::now) + stall);
            tokio::select! {
                biased;
                answer = calling.answer() => match answer {
                    Ok(answer) => return Ok(answer),
                    Err(fault) => break End::Fault(fault),
                },
                _ = self.cancel.wait_for(Option::is_some) => break End::Cancelled,
                () = sleep_until(quiet.unwrap_or_else(Instant::now)), if quiet.is_some() => {
                    let now = *heard.lock().unwrap_or_else(PoisonError::into_inner);
                    if let (Some(since), Some(stall)) = (since, stall)
                        && now <= since
                    {
                        break End::Silent(stall);
                    }
                }
            }
        };
        let overdue = |limit| Ending::from(self.about().overdue(&HERE.into(), limit));
        Err(match (ended, limit) {
            (End::Cancelled, _) => {
                give_up(&mut calling).await;
                Ending::Cancelled
            }
            (End::Silent(stall), _) => {
                give_up(&mut calling).await;
                overdue(Overdue::Stall(stall))
            }
            (End::Fault(Fault::Overdue(_)), Some(limit)) => overdue(Overdue::Timeout(limit)),
            (End::Fault(fault), _) => self.step_failed(work, &fault).into(),
        })
    }

    /// Tells how far the plugin is.
    fn hear(&self, heard: &Arc<Mutex<Instant>>) -> Hear {
        // A call that is given up keeps this for as long as its plugin lives, which may be longer than the run.
        let (shared, task) = (Arc::downgrade(&self.shared), self.name().clone());
        let heard = Arc::clone(heard);
        let told: Mutex<Option<Instant>> = Mutex::new(None);
        Arc::new(move |fraction, note| {
            let now = Instant::now();
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = now;
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_some_and(|at| now - at < PROGRESS_PAUSE) {
                return;
            }
            *told = Some(now);
            let Some(shared) = shared.upgrade() else {
                return;
            };
            shared.teller.tell(RunEvent::TaskProgress {
                task: task.clone(),
                fraction,
                node: None,
                node_title: (!note.is_empty()).then(|| note.to_owned()),
            });
        })
    }

    fn step_failed(&self, work: &PluginStep, fault: &Fault) -> Failure {
        let built = match self.shared.plugins().declared(&work.plugin) {
            Some(declared) => plugin::failed(declared, hook::STEP, fault, false),
            None => plugin::step_without(&work.plugin, work.span),
        };
        Failure::one(FailureClass::Command, self.about().complain(built))
    }

    async fn collect_made(
        &self,
        work: &PluginStep,
        made: Vec<Made>,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let (shared, task) = (Arc::clone(&self.shared), Arc::clone(&self.task));
        let (results, ticket) = (Arc::clone(&self.results), self.ticket);
        let (plugin, named) = (work.plugin.clone(), self.step().save_as.is_some());
        let collected = blocking(move || {
            let making = Making {
                shared: &shared,
                task: &task,
                at: (ticket, &results),
            };
            // Where a text is all there is, `save_as` is about it.
            let alone = made.len() == 1 && named;
            let mut artifacts = Vec::new();
            for (index, one) in made.into_iter().enumerate() {
                let node = NodeId(one.output.clone().unwrap_or_else(|| plugin.clone()));
                let mut artifact = making.made(making.blank(node, index), one)?;
                if alone && artifact.as_text().is_some() {
                    let about = About::of(&shared.plan, &task);
                    artifact = write_text(&shared, (about, &task), (ticket, &results), artifact)?;
                }
                artifacts.push(Arc::new(artifact));
            }
            Ok::<_, Failure>(artifacts)
        });
        Ok(collected.await?)
    }
}

/// Tells a plugin that nobody waits, and gives it up when it does not care.
async fn give_up(calling: &mut Calling) {
    calling.cancel();
    if tokio::time::timeout(GRACE, calling.answer()).await.is_err() {
        calling.abandon();
    }
}
