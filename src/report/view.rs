//! The state of a run as its events tell it.
//!
//! All times are those of the events, in milliseconds since 1970, so that a stored run and a live one come to the same.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::spent::Spent;
use crate::artifact::Kind;
use crate::base::{ServerName, StepId, TaskName};
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskInfo, TaskStatus};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waiting for other tasks or a free slot.
    Waiting,
    /// It has its slot; its job is being sent.
    Preparing,
    /// The server has it in its queue.
    Queued,
    /// The server is at it.
    Executing,
    /// Its results are being fetched.
    Fetching,
    /// It ended.
    Ended(TaskStatus),
}

impl TaskState {
    /// Whether it began and has not ended.
    pub fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::Preparing | Self::Queued | Self::Executing | Self::Fetching
        )
    }
}

/// A task as its events tell it.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// Where it stands.
    pub state: TaskState,
    /// The server it was given to, or is meant for.
    pub server: ServerName,
    /// Where that is, when the server has several addresses.
    pub url: Option<String>,
    /// Its step.
    pub step: StepId,
    /// It is a command on this machine.
    pub command: bool,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Its place in the server's queue, from 1, where that is known.
    pub place: Option<u32>,
    /// Fraction done, 0 to 1.
    pub fraction: f64,
    /// The node at work.
    pub node_title: Option<String>,
    /// When its attempt began.
    pub started: i64,
    /// When it came to stand where it stands.
    pub since: i64,
    /// Seconds from start to end, once it ended.
    pub seconds: f64,
}

/// A step of a run, by its tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepView {
    /// Tasks known so far.
    pub tasks: usize,
    /// Tasks under way.
    pub running: usize,
    /// Tasks that ended, by status.
    pub ended: Counts,
    /// Attempts that were followed by another one.
    pub retried: usize,
    /// What it made, by kind.
    pub made: BTreeMap<Kind, usize>,
    /// What a task of it took in earlier runs, seconds.
    pub expected: Option<f64>,
    /// When its first task started and when something last happened to one.
    pub(super) span: Option<(i64, i64)>,
    /// Where the time of its tasks went.
    pub(super) spent: Spent,
}

impl StepView {
    /// Tasks that ended.
    pub fn finished(&self) -> usize {
        let Counts {
            done,
            cached,
            failed,
            skipped,
            cancelled,
        } = self.ended;
        done + cached + failed + skipped + cancelled
    }
}

/// Jobs that servers have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// How many.
    pub jobs: usize,
    /// The names of the servers.
    pub servers: Vec<String>,
}

/// A run as its events tell it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The pipeline's name.
    pub pipeline: String,
    /// Tasks in planned order.
    pub tasks: IndexMap<TaskName, TaskView>,
    /// Steps in planned order.
    pub steps: IndexMap<StepId, StepView>,
    /// More tasks may become known.
    pub growing: bool,
    /// Servers that end with this process.
    pub own_servers: Vec<ServerName>,
    /// Whether all servers are rehearsals, once one answered.
    pub rehearsal: Option<bool>,
    /// When work began.
    pub began: i64,
    /// The time of the last event that matters.
    pub at: i64,
    /// How it ended, once it did.
    pub ended: Option<(RunStatus, Counts)>,
    expected: BTreeMap<StepId, f64>,
    /// Addresses of servers that were told of.
    urls: BTreeSet<String>,
    /// Tasks under way, by their place among all.
    active: BTreeSet<usize>,
}

impl View {
    /// Takes the next event.
    pub fn apply(&mut self, envelope: &Envelope) {
        self.heed_time(envelope);
        match &envelope.event {
            RunEvent::RunStarted {
                pipeline,
                tasks,
                growing,
                expected,
                ..
            } => {
                *self = Self {
                    pipeline: pipeline.clone(),
                    growing: *growing,
                    expected: expected.clone(),
                    began: self.at,
                    at: self.at,
                    ..Self::default()
                };
                self.add(tasks);
            }
            RunEvent::TasksAdded { tasks, .. } => self.add(tasks),
            RunEvent::ServerReady {
                server,
                url,
                embedded,
                simulated,
                ..
            } => {
                self.urls.insert(url.clone());
                if *embedded {
                    self.own_servers.push(server.clone());
                }
                self.rehearsal = Some(self.rehearsal.unwrap_or(true) && *simulated);
            }
            RunEvent::RunFinished { status, counts, .. } => self.ended = Some((*status, *counts)),
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                seconds,
                ..
            } => self.finished(task, *status, outputs, *seconds),
            event => self.apply_to_task(event),
        }
    }

    /// What is cached costs no time, and there may be very much of it.
    fn heed_time(&mut self, envelope: &Envelope) {
        let costs_none = matches!(
            &envelope.event,
            RunEvent::TaskFinished {
                status: TaskStatus::Cached,
                ..
            }
        );
        if !costs_none && let Ok(time) = envelope.time.parse::<jiff::Timestamp>() {
            self.at = time.as_millisecond();
        }
    }

    fn apply_to_task(&mut self, event: &RunEvent) {
        match event {
            RunEvent::TaskRetried { task, .. } => {
                self.to(task, TaskState::Waiting);
                if let Some(step) = self.step_of(task) {
                    step.retried += 1;
                }
            }
            RunEvent::TaskStarted {
                task,
                server,
                attempt,
                url,
            } => {
                let at = self.at;
                self.urls.extend(url.clone());
                self.to(task, TaskState::Preparing);
                if let Some(task) = self.tasks.get_mut(task) {
                    task.server.clone_from(server);
                    task.url.clone_from(url);
                    task.attempt = *attempt;
                    task.place = None;
                    task.fraction = 0.0;
                    task.node_title = None;
                    task.started = at;
                }
            }
            RunEvent::TaskUploaded { task, seconds, .. } => {
                if let Some(step) = self.step_of(task) {
                    step.spent.sent(*seconds);
                }
            }
            RunEvent::TaskQueued { task, .. } => self.to(task, TaskState::Queued),
            RunEvent::TaskPlace { task, place } => {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.place = Some(*place);
                }
            }
            RunEvent::TaskExecuting { task } => self.to(task, TaskState::Executing),
            RunEvent::TaskProgress {
                task,
                fraction,
                node_title,
                ..
            } => {
                self.to(task, TaskState::Executing);
                if let Some(task) = self.tasks.get_mut(task) {
                    task.fraction = *fraction;
                    if node_title.is_some() {
                        task.node_title.clone_from(node_title);
                    }
                }
            }
            RunEvent::TaskFetching { task } => self.to(task, TaskState::Fetching),
            _ => {}
        }
    }

    fn finished(&mut self, task: &TaskName, status: TaskStatus, outputs: &[Output], seconds: f64) {
        self.to(task, TaskState::Ended(status));
        if let Some(task) = self.tasks.get_mut(task) {
            task.seconds = seconds;
        }
        if let Some(step) = self.step_of(task) {
            step.ended.add(status);
            for output in outputs {
                *step.made.entry(output.kind).or_default() += 1;
            }
        }
    }

    /// Tasks that are under way, in planned order.
    pub fn active(&self) -> impl Iterator<Item = (&TaskName, &TaskView)> {
        let tasks = self.active.iter();
        tasks.filter_map(|at| self.tasks.get_index(*at))
    }

    /// What a task's server is called: `farm`, or `farm (gpu-2)` where several machines go by that name.
    pub fn place(&self, task: &TaskView) -> String {
        let host = |url: &str| {
            let url = url::Url::parse(url).ok()?;
            Some((url.host_str()?.to_owned(), url.port()))
        };
        let Some((name, port)) = task.url.as_deref().and_then(host) else {
            return task.server.to_string();
        };
        let urls = self.urls.iter().filter_map(|url| host(url));
        let alike = urls.filter(|(other, _)| *other == name).count();
        match port.filter(|_| alike > 1) {
            Some(port) => format!("{} ({name}:{port})", task.server),
            None => format!("{} ({name})", task.server),
        }
    }

    /// Jobs that servers have, on all servers or on those that outlive this process.
    pub fn in_flight(&self, outliving: bool) -> InFlight {
        let mut found = InFlight::default();
        for (_, task) in self.active() {
            let gone = outliving && self.own_servers.contains(&task.server);
            if task.state == TaskState::Preparing || gone {
                continue;
            }
            found.jobs += 1;
            let server = task.server.to_string();
            if !found.servers.contains(&server) {
                found.servers.push(server);
            }
        }
        found
    }

    /// How many tasks ended.
    pub fn ended_tasks(&self) -> usize {
        self.steps.values().map(StepView::finished).sum()
    }

    /// How long what is left may take from `now` on, in milliseconds, as earlier runs say; `None` unless each step that is left ran before.
    pub fn left(&self, now: i64) -> Option<i64> {
        if self.growing {
            return None;
        }
        let mut seconds = 0.0;
        for step in self.steps.values() {
            let left = step.tasks.saturating_sub(step.finished());
            if left > 0 {
                seconds += f64::from(u32::try_from(left).ok()?) * step.expected?;
            }
        }
        let mut ms = whole(seconds * 1000.0);
        for (_, task) in self.active() {
            let expected = self.steps.get(&task.step)?.expected?;
            ms -= (now - task.started).clamp(0, whole(expected * 1000.0));
        }
        // What waits in a queue does not run beside the others.
        let at_work = self
            .active()
            .filter(|(_, task)| task.state != TaskState::Queued);
        let beside = i64::try_from(at_work.count()).ok()?.max(1);
        Some((ms / beside).max(0))
    }

    fn add(&mut self, tasks: &[TaskInfo]) {
        for info in tasks {
            let planned = TaskView {
                state: TaskState::Waiting,
                server: info.server.clone(),
                url: None,
                step: info.step.clone(),
                command: info.command,
                attempt: 1,
                place: None,
                fraction: 0.0,
                node_title: None,
                started: self.at,
                since: self.at,
                seconds: 0.0,
            };
            if self.tasks.insert(info.task.clone(), planned).is_none() {
                let step = self.steps.entry(info.step.clone()).or_default();
                step.tasks += 1;
                step.expected = self.expected.get(&info.step).copied();
            }
        }
    }

    fn step_of(&mut self, task: &TaskName) -> Option<&mut StepView> {
        let step = &self.tasks.get(task)?.step;
        self.steps.get_mut(step)
    }

    /// The task stands elsewhere from now on.
    fn to(&mut self, name: &TaskName, state: TaskState) {
        let now = self.at;
        let Some((at, _, task)) = self.tasks.get_full_mut(name) else {
            return;
        };
        if task.state == state {
            return;
        }
        let before = std::mem::replace(&mut task.state, state);
        let since = std::mem::replace(&mut task.since, now);
        if state == TaskState::Executing || state == TaskState::Fetching {
            task.place = None;
        }
        let Some(step) = self.steps.get_mut(&task.step) else {
            return;
        };
        step.spent.add(before, state, now - since);
        if before.is_under_way() || state.is_under_way() {
            let first = step.span.map_or(now, |(first, _)| first);
            step.span = Some((first, now));
        }
        match (before.is_under_way(), state.is_under_way()) {
            (false, true) => {
                step.running += 1;
                self.active.insert(at);
            }
            (true, false) => {
                step.running = step.running.saturating_sub(1);
                self.active.remove(&at);
            }
            _ => {}
        }
    }
}

/// Milliseconds for people: far below what a float holds exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates, and such times are told roughly"
)]
fn whole(ms: f64) -> i64 {
    ms as i64
}
