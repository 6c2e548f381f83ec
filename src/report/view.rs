//! The state of a run as its events tell it.

use std::collections::BTreeMap;
use std::time::Instant;

use indexmap::IndexMap;

use crate::artifact::Kind;
use crate::base::{ServerName, StepId, TaskName};
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskInfo, TaskStatus};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waiting for other tasks or a free slot.
    Waiting,
    /// Its inputs are being rendered and transferred.
    Preparing,
    /// The server has it in its queue.
    Queued,
    /// The server is at it.
    Executing,
    /// It ended.
    Ended(TaskStatus),
}

/// A task as its events tell it.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// Where it stands.
    pub state: TaskState,
    /// The server it was given to, or is meant for.
    pub server: ServerName,
    /// Its step.
    pub step: StepId,
    /// Fraction done, 0 to 1.
    pub fraction: f64,
    /// The node at work.
    pub node_title: Option<String>,
    /// When it began to execute.
    pub began: Option<Instant>,
    /// Seconds from start to end, once it ended.
    pub seconds: f64,
}

/// A step of a run, by its tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

impl TaskView {
    /// Takes an event that tells how far the task is.
    fn advance(&mut self, event: &RunEvent) {
        match event {
            RunEvent::TaskStarted { server, .. } => {
                self.state = TaskState::Preparing;
                self.server = server.clone();
                self.fraction = 0.0;
                self.node_title = None;
                self.began = None;
            }
            RunEvent::TaskQueued { .. } => self.state = TaskState::Queued,
            RunEvent::TaskExecuting { .. } => {
                self.state = TaskState::Executing;
                self.began.get_or_insert_with(Instant::now);
            }
            RunEvent::TaskProgress {
                fraction,
                node_title,
                ..
            } => {
                self.state = TaskState::Executing;
                self.fraction = *fraction;
                if node_title.is_some() {
                    self.node_title.clone_from(node_title);
                }
            }
            // The others tell of its end, or of no task.
            _ => {}
        }
    }
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
    /// Servers that end with this process.
    pub own_servers: Vec<ServerName>,
    /// How it ended, once it did.
    pub ended: Option<(RunStatus, Counts)>,
}

impl View {
    /// Takes the next event.
    pub fn apply(&mut self, envelope: &Envelope) {
        match &envelope.event {
            RunEvent::RunStarted {
                pipeline, tasks, ..
            } => {
                self.pipeline.clone_from(pipeline);
                self.add(tasks);
            }
            RunEvent::TasksAdded { tasks, .. } => self.add(tasks),
            RunEvent::TaskRetried { task, .. } => {
                self.change(task, |t| t.state = TaskState::Waiting);
                if let Some(step) = self.step_of(task) {
                    step.retried += 1;
                }
            }
            RunEvent::ServerReady {
                server,
                embedded: true,
                ..
            } => self.own_servers.push(server.clone()),
            RunEvent::TaskStarted { task, .. }
            | RunEvent::TaskQueued { task, .. }
            | RunEvent::TaskExecuting { task }
            | RunEvent::TaskProgress { task, .. } => {
                self.change(task, |t| t.advance(&envelope.event));
            }
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                seconds,
                ..
            } => self.finished(task, *status, outputs, *seconds),
            RunEvent::RunFinished { status, counts, .. } => self.ended = Some((*status, *counts)),
            RunEvent::Diagnostic { .. }
            | RunEvent::RunWaiting { .. }
            | RunEvent::ServerReady { .. }
            | RunEvent::RunStopping { .. }
            | RunEvent::ServerLost { .. }
            | RunEvent::ServerBack { .. }
            | RunEvent::TaskUploaded { .. }
            | RunEvent::TaskOutput { .. }
            | RunEvent::PluginLog { .. }
            | RunEvent::TaskWarning { .. } => {}
        }
    }

    fn finished(&mut self, task: &TaskName, status: TaskStatus, outputs: &[Output], seconds: f64) {
        self.change(task, |t| {
            t.state = TaskState::Ended(status);
            t.seconds = seconds;
        });
        if let Some(step) = self.step_of(task) {
            step.ended.add(status);
            for output in outputs {
                *step.made.entry(output.kind).or_default() += 1;
            }
        }
    }

    /// Tasks that are under way, in planned order.
    pub fn active(&self) -> impl Iterator<Item = (&TaskName, &TaskView)> {
        self.tasks.iter().filter(|(_, t)| is_under_way(t.state))
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

    fn add(&mut self, tasks: &[TaskInfo]) {
        for info in tasks {
            let planned = TaskView {
                state: TaskState::Waiting,
                server: info.server.clone(),
                step: info.step.clone(),
                fraction: 0.0,
                node_title: None,
                began: None,
                seconds: 0.0,
            };
            if self.tasks.insert(info.task.clone(), planned).is_none() {
                self.steps.entry(info.step.clone()).or_default().tasks += 1;
            }
        }
    }

    fn step_of(&mut self, task: &TaskName) -> Option<&mut StepView> {
        let step = &self.tasks.get(task)?.step;
        self.steps.get_mut(step)
    }

    fn change(&mut self, task: &TaskName, how: impl FnOnce(&mut TaskView)) {
        let Some(view) = self.tasks.get_mut(task) else {
            return;
        };
        let before = is_under_way(view.state);
        how(view);
        let after = is_under_way(view.state);
        if before != after
            && let Some(step) = self.steps.get_mut(&view.step)
        {
            step.running = if after {
                step.running + 1
            } else {
                step.running.saturating_sub(1)
            };
        }
    }
}

fn is_under_way(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::Preparing | TaskState::Queued | TaskState::Executing
    )
}
