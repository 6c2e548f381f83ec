//! A run that has ended, as the events that told of it, made anew from its journal.
//!
//! The journal holds what a run decided and found out, not what it only showed: progress, nodes, places in queues and when a server began
//! are not in it. A job counts as at work from when its server took it, and [`Replayed::notes`] say so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::find::{Alive, History, complain};
use super::standing::{Standing, State, servers};
use crate::base::{RunId, ServerName, TaskName};
use crate::diagnostic::{Diagnostic, codes};
use crate::event::{Output, RunEvent, RunStatus, StopReason, TaskInfo, TaskStatus};
use crate::machine::{CancelReason, EndpointIx, Fact, Outcome, RetryCause};
use crate::plan::{Plan, TaskIx};
use crate::run::{class_name, info, infos, output, run_folder};
use crate::store::StoredRun;

/// What there is to tell again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The run.
    pub run: RunId,
    /// What somebody should know who looks at it.
    pub notes: Vec<String>,
    /// What happened, each with its time in milliseconds since 1970.
    pub events: Vec<(i64, RunEvent)>,
}

/// The events of a run that has ended, well or not.
///
/// # Errors
/// When it is still under way, or the state cannot be read.
pub fn replayed(history: &History, run: &StoredRun) -> Result<Replayed, Box<Diagnostic>> {
    let alive = history.alive(run);
    if alive == Alive::Running {
        let message = format!("run {} is still under way", run.run);
        let help = format!("`kiln show {} --follow` tells what happens in it", run.run);
        return Err(Box::new(
            Diagnostic::error(&codes::BAD_ARGUMENT, message).help(help),
        ));
    }
    let Some(stored) = history.reader().replay(&run.run).map_err(complain)? else {
        let message = format!("run {} was removed just now", run.run);
        return Err(Box::new(Diagnostic::error(&codes::BAD_ARGUMENT, message)));
    };
    let mut teller = Teller::new(&stored.plan, run);
    let last_words = last_words(&stored.facts);
    for (nth, (at, fact)) in stored.facts.iter().enumerate() {
        teller.take(*at, fact);
        if last_words.contains(&nth) {
            teller.failed(*at, fact);
        }
    }
    let mut notes = vec![
        "replay: progress and waiting in queues are not stored; a job counts as running from when its server took it".to_owned(),
    ];
    if alive == Alive::Interrupted {
        notes.push(format!(
            "replay: the process of this run died; `kiln run --resume {}` goes on with it",
            run.run
        ));
    }
    teller.finish(alive);
    Ok(Replayed {
        run: run.run.clone(),
        notes,
        events: teller.events,
    })
}

/// The failures that no other attempt follows, and of which nothing else tells that they were the last.
fn last_words(facts: &[(u64, Fact)]) -> HashSet<usize> {
    let mut followed: HashSet<TaskIx> = HashSet::new();
    let mut last = HashSet::new();
    for (nth, (_, fact)) in facts.iter().enumerate().rev() {
        match fact {
            Fact::Retried { task, .. } | Fact::Settled { task, .. } => {
                followed.insert(*task);
            }
            // Another session tries again what failed in this one for good.
            Fact::Resumed { .. } => followed.clear(),
            Fact::Ended { ticket, outcome } => {
                let is_followed = followed.remove(&ticket.task);
                if !is_followed && matches!(outcome, Outcome::Failed { .. }) {
                    last.insert(nth);
                }
            }
            _ => {}
        }
    }
    last
}

/// Facts in, events out.
struct Teller<'a> {
    plan: &'a Plan,
    run: &'a StoredRun,
    standing: Standing,
    events: Vec<(i64, RunEvent)>,
    /// What each endpoint's server is called, and where it is when the server has several.
    servers: Vec<(ServerName, Option<String>)>,
    /// Tasks as they are told, in the order of their indices.
    tasks: Vec<TaskInfo>,
    /// Why the last attempt of a task failed, in the words of `retry.for`.
    classes: HashMap<TaskIx, &'static str>,
    /// Tasks whose end was told.
    told: HashSet<TaskIx>,
    /// Endpoints that do not answer.
    down: HashSet<EndpointIx>,
    cause: Option<TaskName>,
    began: u64,
}

impl<'a> Teller<'a> {
    fn new(plan: &'a Plan, run: &'a StoredRun) -> Self {
        let mut teller = Self {
            plan,
            run,
            standing: Standing::new(plan),
            events: Vec::new(),
            servers: servers(plan),
            tasks: infos(plan),
            classes: HashMap::new(),
            told: HashSet::new(),
            down: HashSet::new(),
            cause: None,
            began: run.started,
        };
        teller.start(run.started);
        teller
    }

    fn tell(&mut self, at: u64, event: RunEvent) {
        self.events.push((i64::try_from(at).unwrap_or(0), event));
    }

    fn start(&mut self, at: u64) {
        self.began = at;
        let folder = self.run.folder.clone();
        let event = RunEvent::RunStarted {
            pipeline: self.plan.pipeline.clone(),
            tasks: self.tasks.clone(),
            growing: self.plan.grows(),
            output_dir: folder.unwrap_or_else(|| run_folder(self.plan, &self.run.run)),
            expected: BTreeMap::new(),
        };
        self.tell(at, event);
    }

    fn name(&self, task: TaskIx) -> Option<TaskName> {
        let task = self.tasks.get(task.0 as usize)?;
        Some(task.task.clone())
    }

    fn take(&mut self, at: u64, fact: &Fact) {
        if let (Fact::Resumed { .. }, Some(status)) = (fact, self.standing.finished) {
            self.end_session(status);
        }
        self.standing.apply(at, fact);
        match fact {
            Fact::Expanded { step, tasks, .. } => {
                let plan = self.plan;
                let made = tasks.iter().map(|task| info(plan, task, Arc::default()));
                let tasks: Vec<TaskInfo> = made.collect();
                self.tasks.extend(tasks.iter().cloned());
                let step = self.standing.step(step.0);
                self.tell(at, RunEvent::TasksAdded { step, tasks });
            }
            Fact::ExpandFailed { diagnostic, .. } => {
                let diagnostic = (**diagnostic).clone();
                self.tell(at, RunEvent::Diagnostic { diagnostic });
            }
            Fact::Started { ticket } => self.started(at, ticket.task, ticket.attempt),
            Fact::Accepted {
                ticket, prompt_id, ..
            } => {
                if let Some(task) = self.name(ticket.task) {
                    let prompt_id = prompt_id.clone();
                    let queued = RunEvent::TaskQueued {
                        task: task.clone(),
                        prompt_id,
                    };
                    self.tell(at, queued);
                    self.tell(at, RunEvent::TaskExecuting { task });
                }
            }
            Fact::Released { ticket } => {
                if let Some(task) = self.name(ticket.task) {
                    self.tell(at, RunEvent::TaskFetching { task });
                }
            }
            Fact::Ended { ticket, outcome } => self.ended(at, ticket.task, outcome),
            Fact::Retried {
                task,
                not_before,
                because,
                ..
            } => self.retried(at, *task, *not_before, *because),
            Fact::Settled { task, .. } => self.task_finished(at, *task),
            Fact::Stop { reason } => self.stopping(at, *reason),
            Fact::Resumed { .. } => self.resumed(at),
            Fact::ServerDown { endpoint } => self.server_down(at, *endpoint),
            Fact::ServerUp { endpoint } => self.server_up(at, *endpoint),
            Fact::Assigned { .. }
            | Fact::Prepared { .. }
            | Fact::Cancelling { .. }
            | Fact::StepSkipped { .. }
            | Fact::Finished { .. } => {}
        }
    }

    /// A task failed, and no other attempt followed.
    fn failed(&mut self, at: u64, fact: &Fact) {
        if let Fact::Ended { ticket, .. } = fact {
            self.task_finished(at, ticket.task);
        }
    }

    fn server_down(&mut self, at: u64, endpoint: EndpointIx) {
        if let Some((server, url)) = self.servers.get(endpoint.0 as usize).cloned()
            && self.down.insert(endpoint)
        {
            let reason = match url {
                Some(url) => format!("no answer from {url}"),
                None => "no answer".to_owned(),
            };
            self.tell(at, RunEvent::ServerLost { server, reason });
        }
    }

    fn server_up(&mut self, at: u64, endpoint: EndpointIx) {
        if let Some((server, _)) = self.servers.get(endpoint.0 as usize).cloned()
            && self.down.remove(&endpoint)
        {
            self.tell(at, RunEvent::ServerBack { server });
        }
    }

    fn started(&mut self, at: u64, task: TaskIx, attempt: u32) {
        let Some(told) = self.tasks.get(task.0 as usize).cloned() else {
            return;
        };
        let started = RunEvent::TaskStarted {
            task: told.task.clone(),
            server: told.server.clone(),
            attempt,
            url: self.url_of(task),
        };
        self.tell(at, started);
        if told.command {
            self.tell(at, RunEvent::TaskExecuting { task: told.task });
        }
    }

    /// Where a task was sent last, when its server has several addresses.
    fn url_of(&self, task: TaskIx) -> Option<String> {
        let standing = self.standing.tasks.get(task.0 as usize)?;
        let (_, endpoint) = standing.last?;
        let (_, url) = self.servers.get(endpoint.0 as usize)?;
        url.clone()
    }

    fn ended(&mut self, at: u64, task: TaskIx, outcome: &Outcome) {
        match outcome {
            // Whether another attempt follows, the next fact about it says.
            Outcome::Failed { class, .. } => {
                self.classes.insert(task, class_name(*class));
            }
            Outcome::Lost | Outcome::Gone => {}
            Outcome::Done { .. }
            | Outcome::Cached { .. }
            | Outcome::Skipped
            | Outcome::Cancelled => self.task_finished(at, task),
        }
    }

    fn retried(&mut self, at: u64, task: TaskIx, not_before: u64, because: RetryCause) {
        let standing = self.standing.tasks.get(task.0 as usize);
        let (Some(name), Some(standing)) = (self.name(task), standing) else {
            return;
        };
        let (class, reason, next) = match because {
            RetryCause::Failed => {
                let failure = standing.failure.as_ref();
                let reason = failure.map_or_else(String::new, |failure| failure.message.clone());
                let class = self.classes.get(&task).copied().unwrap_or("other");
                (class, reason, 1)
            }
            RetryCause::Lost => ("lost", "its job was lost".to_owned(), 0),
            RetryCause::Gone | RetryCause::Moved | RetryCause::Twin => return,
        };
        let delay = u32::try_from(not_before.saturating_sub(at)).unwrap_or(0);
        let event = RunEvent::TaskRetried {
            task: name,
            attempt: standing.attempts + next,
            class: class.to_owned(),
            reason,
            delay_seconds: f64::from(delay) / 1000.0,
        };
        self.tell(at, event);
    }

    fn task_finished(&mut self, at: u64, task: TaskIx) {
        let standing = self.standing.tasks.get(task.0 as usize);
        let (Some(name), Some(standing)) = (self.name(task), standing) else {
            return;
        };
        let Some(status) = standing.status.end() else {
            return;
        };
        if !self.told.insert(task) {
            return;
        }
        let outputs: Vec<Output> = standing.outputs.iter().map(|made| output(made)).collect();
        let ran = matches!(
            status,
            TaskStatus::Done | TaskStatus::Failed | TaskStatus::Cancelled
        );
        let took = standing.took().filter(|_| ran).unwrap_or(0);
        let failure = standing.failure.as_deref().cloned();
        if status == TaskStatus::Failed && self.cause.is_none() {
            self.cause = Some(name.clone());
        }
        let event = RunEvent::TaskFinished {
            task: name,
            status,
            outputs,
            seconds: f64::from(u32::try_from(took).unwrap_or(u32::MAX)) / 1000.0,
            diagnostic: failure.filter(|_| status == TaskStatus::Failed),
        };
        self.tell(at, event);
    }

    fn stopping(&mut self, at: u64, reason: CancelReason) {
        let (reason, at_once) = match reason {
            CancelReason::Superseded | CancelReason::Failed => return,
            CancelReason::Deadline => (StopReason::Deadline, false),
            CancelReason::Requested => (StopReason::Requested, false),
            CancelReason::Leave => (StopReason::Requested, true),
        };
        self.tell(at, RunEvent::RunStopping { reason, at_once });
    }

    /// Another session begins, and tells first what is done already.
    fn resumed(&mut self, at: u64) {
        self.told.clear();
        self.down.clear();
        self.cause = None;
        self.start(at);
        for task in 0..self.tasks.len() {
            let is_done = self
                .standing
                .tasks
                .get(task)
                .is_some_and(|standing| matches!(standing.status, State::Done | State::Cached));
            if is_done && let Ok(task) = u32::try_from(task) {
                self.task_finished(at, TaskIx(task));
            }
        }
    }

    /// Tells of the tasks that ended and of which nothing told that.
    fn finish_tasks(&mut self, at: u64) {
        for task in 0..self.tasks.len() {
            if let Ok(task) = u32::try_from(task) {
                self.task_finished(at, TaskIx(task));
            }
        }
    }

    /// A session ended, and another one followed. What its process said at its end is not stored, nor which results were the newest then.
    fn end_session(&mut self, status: RunStatus) {
        let at = self.standing.last.max(self.began);
        self.finish_tasks(at);
        let exit_code = match status {
            RunStatus::Done => 0,
            RunStatus::Failed => 4,
            RunStatus::Cancelled => 130,
        };
        let event = self.ending(at, (status, exit_code), None);
        self.tell(at, event);
    }

    fn finish(&mut self, alive: Alive) {
        let at = self.run.finished.unwrap_or(self.standing.last);
        let at = at.max(self.standing.last).max(self.began);
        self.finish_tasks(at);
        let status = match alive {
            Alive::Done => RunStatus::Done,
            Alive::Failed => RunStatus::Failed,
            Alive::Cancelled => RunStatus::Cancelled,
            // It has no end that could be told.
            Alive::Running | Alive::Interrupted => return,
        };
        let folder = self.run.folder.clone().filter(|folder| folder.is_dir());
        let exit_code = self.run.exit_code.unwrap_or(0);
        let event = self.ending(at, (status, exit_code), folder);
        self.tell(at, event);
    }

    fn ending(
        &self,
        at: u64,
        (status, exit_code): (RunStatus, u8),
        latest: Option<PathBuf>,
    ) -> RunEvent {
        let seconds = u32::try_from(at - self.began).unwrap_or(u32::MAX);
        let resume = || format!("kiln run --resume {}", self.run.run);
        RunEvent::RunFinished {
            status,
            exit_code,
            counts: self.standing.counts(),
            cause: self.cause.clone(),
            latest,
            up_to_date: false,
            resume: (status != RunStatus::Done).then(resume),
            seconds: f64::from(seconds) / 1000.0,
        }
    }
}
