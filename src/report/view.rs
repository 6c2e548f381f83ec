//! The state of a run as its events tell it.

use indexmap::IndexMap;

use crate::base::{ServerName, TaskName};
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
    /// Fraction done, 0 to 1.
    pub fraction: f64,
    /// The node at work.
    pub node_title: Option<String>,
    /// What it made.
    pub outputs: Vec<Output>,
    /// Seconds from start to end, once it ended.
    pub seconds: f64,
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
            }
            RunEvent::ServerReady {
                server,
                embedded: true,
                ..
            } => self.own_servers.push(server.clone()),
            RunEvent::TaskStarted { task, server, .. } => self.change(task, |t| {
                t.state = TaskState::Preparing;
                t.server = server.clone();
                t.fraction = 0.0;
                t.node_title = None;
            }),
            RunEvent::TaskQueued { task, .. } => self.change(task, |t| t.state = TaskState::Queued),
            RunEvent::TaskExecuting { task } => {
                self.change(task, |t| t.state = TaskState::Executing);
            }
            RunEvent::TaskProgress {
                task,
                fraction,
                node_title,
                ..
            } => self.change(task, |t| {
                t.state = TaskState::Executing;
                t.fraction = *fraction;
                if node_title.is_some() {
                    t.node_title.clone_from(node_title);
                }
            }),
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                seconds,
                ..
            } => self.change(task, |t| {
                t.state = TaskState::Ended(*status);
                t.outputs.clone_from(outputs);
                t.seconds = *seconds;
            }),
            RunEvent::RunFinished { status, counts, .. } => self.ended = Some((*status, *counts)),
            RunEvent::Diagnostic { .. }
            | RunEvent::RunWaiting { .. }
            | RunEvent::ServerReady { .. }
            | RunEvent::RunStopping { .. }
            | RunEvent::ServerLost { .. }
            | RunEvent::ServerBack { .. }
            | RunEvent::TaskUploaded { .. }
            | RunEvent::TaskOutput { .. }
            | RunEvent::TaskWarning { .. } => {}
        }
    }

    /// Tasks that are under way, in planned order.
    pub fn active(&self) -> impl Iterator<Item = (&TaskName, &TaskView)> {
        self.tasks.iter().filter(|(_, t)| {
            matches!(
                t.state,
                TaskState::Preparing | TaskState::Queued | TaskState::Executing
            )
        })
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
        self.tasks
            .values()
            .filter(|t| matches!(t.state, TaskState::Ended(_)))
            .count()
    }

    fn add(&mut self, tasks: &[TaskInfo]) {
        for info in tasks {
            let planned = TaskView {
                state: TaskState::Waiting,
                server: info.server.clone(),
                fraction: 0.0,
                node_title: None,
                outputs: Vec::new(),
                seconds: 0.0,
            };
            self.tasks.insert(info.task.clone(), planned);
        }
    }

    fn change(&mut self, task: &TaskName, how: impl FnOnce(&mut TaskView)) {
        if let Some(view) = self.tasks.get_mut(task) {
            how(view);
        }
    }
}
