//! How a run's tasks stand, folded from its facts alone.

use std::sync::Arc;

use serde::Serialize;

use crate::artifact::Artifact;
use crate::base::{RunId, ServerName, StepId, TaskName};
use crate::diagnostic::JsonDiagnostic;
use crate::event::{Counts, RunStatus, TaskStatus};
use crate::machine::{CancelReason, Cause, EndpointIx, Fact, Outcome, Settlement, Ticket};
use crate::plan::{Plan, ServerKind, TaskIx, TaskPlan};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for other tasks, for a free slot, or to be tried again.
    Waiting,
    /// Its inputs are rendered and transferred.
    Preparing,
    /// Its server has it.
    Running,
    /// Its results are fetched.
    Fetching,
    /// It ran and ended well.
    Done,
    /// It was done before.
    Cached,
    /// It failed.
    Failed,
    /// It never ran.
    Skipped,
    /// It was stopped.
    Cancelled,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Fetching => "fetching",
            Self::Done => "done",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to it unless the run is gone on with.
    pub fn has_ended(self) -> bool {
        self.end().is_some()
    }

    /// How it ended, if it did.
    pub fn end(self) -> Option<TaskStatus> {
        match self {
            Self::Waiting | Self::Preparing | Self::Running | Self::Fetching => None,
            Self::Done => Some(TaskStatus::Done),
            Self::Cached => Some(TaskStatus::Cached),
            Self::Failed => Some(TaskStatus::Failed),
            Self::Skipped => Some(TaskStatus::Skipped),
            Self::Cancelled => Some(TaskStatus::Cancelled),
        }
    }
}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some((*self as u8).cmp(&(*other as u8)))
    }
}

/// A task as the journal tells it.
#[derive(Clone, Debug, Serialize)]
pub struct TaskStanding {
    /// Its name.
    pub task: TaskName,
    /// Its step.
    pub step: StepId,
    /// Where it stands.
    pub status: State,
    /// Attempts so far.
    pub attempts: u32,
    /// Jobs that were prepared for it so far, over all attempts.
    pub tries: u32,
    /// Where its last try went: a server's name, with the address where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Its last try, and where it went.
    #[serde(skip)]
    pub(in crate::session) last: Option<(Ticket, EndpointIx)>,
    /// The id of its last job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<String>,
    /// When its last try began, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// When it ended, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// What it made.
    pub outputs: Vec<Arc<Artifact>>,
    /// The run whose results it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<RunId>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<JsonDiagnostic>>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

impl TaskStanding {
    fn new(task: &TaskPlan) -> Self {
        Self {
            task: task.name.clone(),
            step: task.step.clone(),
            status: State::Waiting,
            attempts: 0,
            tries: 0,
            server: None,
            last: None,
            prompt_id: None,
            started: None,
            ended: None,
            outputs: Vec::new(),
            from: None,
            failure: None,
            because: None,
        }
    }

    /// How long its last try took, milliseconds.
    pub fn took(&self) -> Option<u64> {
        Some(self.ended?.saturating_sub(self.started?))
    }
}

/// A run as the journal tells it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its tasks, as they became known.
    pub tasks: Vec<TaskStanding>,
    /// Steps that have no (more) tasks because of something, with the reason.
    pub skipped_steps: Vec<(StepId, String)>,
    /// Complaints about steps whose tasks cannot be known.
    pub step_failures: Vec<(StepId, Box<JsonDiagnostic>)>,
    /// Why it is to stop, if it is.
    pub stop: Option<CancelReason>,
    /// How it ended, once it did.
    pub finished: Option<RunStatus>,
    /// When the last thing happened, milliseconds since 1970.
    pub last: u64,
    /// How often it was gone on with.
    pub resumed: u32,
    /// How many facts there were.
    pub facts: u64,
    steps: Vec<StepId>,
    endpoints: Vec<String>,
}

impl Standing {
    /// A run of which nothing is known but its plan.
    pub fn new(plan: &Plan) -> Self {
        Self {
            tasks: plan.tasks.iter().map(TaskStanding::new).collect(),
            skipped_steps: Vec::new(),
            step_failures: Vec::new(),
            stop: None,
            finished: None,
            last: 0,
            resumed: 0,
            facts: 0,
            steps: plan.steps.keys().cloned().collect(),
            endpoints: endpoints(plan),
        }
    }

    /// Takes the next fact.
    pub fn apply(&mut self, at: u64, fact: &Fact) {
        self.last = self.last.max(at);
        self.facts += 1;
        match fact {
            Fact::Expanded { tasks, .. } => self.tasks.extend(tasks.iter().map(TaskStanding::new)),
            Fact::ExpandFailed {
                step, diagnostic, ..
            } => {
                let step = self.step(step.0);
                self.step_failures.push((step, diagnostic.clone()));
            }
            Fact::Assigned {
                ticket, endpoint, ..
            } => self.assigned(at, *ticket, *endpoint),
            Fact::Started { ticket } => {
                self.to(*ticket, State::Running);
                self.change(ticket.task, |task| task.started = Some(at));
            }
            Fact::Accepted {
                ticket, prompt_id, ..
            } => {
                self.to(*ticket, State::Running);
                self.change(ticket.task, |task| task.prompt_id = Some(prompt_id.clone()));
            }
            Fact::Released { ticket } => self.to(*ticket, State::Fetching),
            Fact::Ended { ticket, outcome } => {
                self.change(ticket.task, |task| end(task, at, outcome));
            }
            Fact::Retried { task, .. } => self.change(*task, |task| task.status = State::Waiting),
            Fact::Prepared { .. }
            | Fact::ServerDown { .. }
            | Fact::ServerUp { .. }
            | Fact::Cancelling { .. } => {}
            Fact::Stop { reason } => self.stop = self.stop.max(Some(*reason)),
            Fact::Settled { task, settlement } => self.settled(at, *task, *settlement),
            Fact::StepSkipped { step, cause } => {
                let because = self.cause(*cause);
                let step = self.step(step.0);
                self.skipped_steps.push((step, because));
            }
            Fact::Resumed { again } => self.resume(again),
            Fact::Finished { status } => self.finished = Some(*status),
        }
    }

    /// Tasks by status.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for status in self.tasks.iter().filter_map(|task| task.status.end()) {
            counts.add(status);
        }
        counts
    }

    /// A task by its name.
    pub fn task(&self, name: &str) -> Option<(TaskIx, &TaskStanding)> {
        let at = self.tasks.iter().position(|task| task.task.0 == name)?;
        Some((TaskIx(u32::try_from(at).ok()?), &self.tasks[at]))
    }

    /// What an endpoint is called.
    pub(super) fn endpoint(&self, endpoint: EndpointIx) -> &str {
        let name = self.endpoints.get(endpoint.0 as usize);
        name.map_or("a server", String::as_str)
    }

    /// Something's cause in words, to follow "because".
    pub(super) fn cause(&self, cause: Cause) -> String {
        match cause {
            Cause::Task(task) => {
                let task = self.tasks.get(task.0 as usize);
                task.map_or_else(
                    || "a task did not end well".to_owned(),
                    |task| format!("`{}` {}", task.task, was(task.status)),
                )
            }
            Cause::Step(step) => format!("step `{}` has no results", self.step(step.0)),
            Cause::Stop => "the run was stopped".to_owned(),
        }
    }

    fn assigned(&mut self, at: u64, ticket: Ticket, endpoint: EndpointIx) {
        let server = self.endpoint(endpoint).to_owned();
        self.change(ticket.task, |task| {
            task.status = State::Preparing;
            task.attempts = task.attempts.max(ticket.attempt);
            task.tries += 1;
            task.server = Some(server);
            task.last = Some((ticket, endpoint));
            task.prompt_id = None;
            task.started = Some(at);
            task.ended = None;
        });
    }

    fn settled(&mut self, at: u64, task: TaskIx, settlement: Settlement) {
        let because = match settlement {
            Settlement::Skipped { cause } => Some(self.cause(cause)),
            Settlement::Unwanted => Some("its `when` is false".to_owned()),
            Settlement::Lost { times } => Some(format!("its job was lost {times} times")),
            Settlement::Impossible => Some("it can never start".to_owned()),
            Settlement::Cancelled | Settlement::Failed => None,
        };
        self.change(task, |task| {
            task.status = match settlement {
                Settlement::Skipped { .. } | Settlement::Unwanted => State::Skipped,
                Settlement::Cancelled => State::Cancelled,
                Settlement::Failed | Settlement::Lost { .. } | Settlement::Impossible => {
                    State::Failed
                }
            };
            task.ended = Some(at);
            task.because = because;
        });
    }

    fn resume(&mut self, again: &[TaskIx]) {
        self.stop = None;
        self.finished = None;
        self.resumed += 1;
        self.skipped_steps.clear();
        self.step_failures.clear();
        for task in &mut self.tasks {
            if task.status.has_ended() && !matches!(task.status, State::Done | State::Cached) {
                task.status = State::Waiting;
                task.because = None;
                task.ended = None;
            }
        }
        for task in again {
            self.change(*task, |task| {
                task.status = State::Waiting;
                task.outputs.clear();
                task.ended = None;
            });
        }
    }

    fn to(&mut self, ticket: Ticket, state: State) {
        self.change(ticket.task, |task| task.status = state);
    }

    fn change(&mut self, task: TaskIx, how: impl FnOnce(&mut TaskStanding)) {
        if let Some(task) = self.tasks.get_mut(task.0 as usize) {
            how(task);
        }
    }

    pub(super) fn step(&self, at: u32) -> StepId {
        let step = self.steps.get(at as usize);
        step.cloned().unwrap_or_else(|| StepId::from("?"))
    }
}

fn was(state: State) -> &'static str {
    match state {
        State::Failed => "failed",
        State::Skipped => "was skipped",
        State::Cancelled => "was cancelled",
        _ => "did not end well",
    }
}

fn end(task: &mut TaskStanding, at: u64, outcome: &Outcome) {
    task.ended = Some(at);
    match outcome {
        Outcome::Done { artifacts } => {
            task.status = State::Done;
            task.outputs.clone_from(artifacts);
            task.failure = None;
        }
        Outcome::Cached { artifacts, from } => {
            task.status = State::Cached;
            task.outputs.clone_from(artifacts);
            task.from = Some(from.clone());
            task.failure = None;
        }
        Outcome::Skipped => {
            task.status = State::Skipped;
            task.because = Some("its `when` is false".to_owned());
        }
        Outcome::Failed { diagnostic, .. } => {
            task.status = State::Failed;
            task.failure = Some(diagnostic.clone());
        }
        Outcome::Cancelled => task.status = State::Cancelled,
        Outcome::Lost | Outcome::Gone => task.status = State::Waiting,
    }
}

/// What the endpoints of a plan are called.
fn endpoints(plan: &Plan) -> Vec<String> {
    let name = |(name, url): (ServerName, Option<String>)| match url {
        Some(url) => format!("{name} ({url})"),
        None => name.to_string(),
    };
    servers(plan).into_iter().map(name).collect()
}

/// The server of each endpoint and its address, where the server has several; in the machine's order: those of the first server, then those
/// of the second, and so on.
pub(super) fn servers(plan: &Plan) -> Vec<(ServerName, Option<String>)> {
    let mut endpoints = Vec::new();
    for (name, server) in &plan.servers {
        match &server.kind {
            ServerKind::Comfy { urls } if urls.len() > 1 => {
                endpoints.extend(urls.iter().map(|url| (name.clone(), Some(url.clone()))));
            }
            _ => endpoints.push((name.clone(), None)),
        }
    }
    endpoints
}
