//! What is known about a run: observations and decisions, each one row of the journal.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shape::{EndpointIx, StepIx};
use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId};
use crate::diagnostic::JsonDiagnostic;
use crate::event::RunStatus;
use crate::plan::{RetryClass, TaskIx, TaskPlan};

/// One try of one attempt of a task. An attempt may need several tries when a server loses its job; templates see only the attempt. No
/// ticket is ever given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The task.
    pub task: TaskIx,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The submission within the attempt, from 1; after a resume, tries go on from the last one.
    #[serde(rename = "try")]
    pub try_: u32,
}

impl Ticket {
    /// The next try of the same attempt.
    pub(super) fn again(self) -> Self {
        Self {
            try_: self.try_.saturating_add(1),
            ..self
        }
    }
}

/// One fact. Decisions are made by [`super::Machine::decide`], observations by the driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// Observation: tasks of a step became known. Each gets the next free index.
    Expanded {
        /// The step.
        step: StepIx,
        /// The task whose result they follow from, in a step that streams.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<TaskIx>,
        /// They, in order.
        tasks: Vec<TaskPlan>,
    },
    /// Observation: the tasks of a step cannot be known.
    ExpandFailed {
        /// The step.
        step: StepIx,
        /// The task whose result it was about, in a step that streams.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<TaskIx>,
        /// What people are told.
        diagnostic: Box<JsonDiagnostic>,
    },
    /// Decision: the task is next on an endpoint and is prepared: its graph is rendered, its files are sent.
    Assigned {
        /// Which try.
        ticket: Ticket,
        /// Where.
        endpoint: EndpointIx,
        /// The files of a cached result were gone: the server must be made to execute again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fresh: bool,
    },
    /// Observation: everything is ready for the job to be submitted.
    Prepared {
        /// Which try.
        ticket: Ticket,
        /// What decides its result. Of tasks with equal keys only one runs at a time; `None`: it shares its result with nobody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<ContentHash>,
    },
    /// Decision: the task has a slot, its claims and a place; its job is submitted.
    Started {
        /// Which try.
        ticket: Ticket,
    },
    /// Observation: the server took the job.
    Accepted {
        /// Which try.
        ticket: Ticket,
        /// The job's id on the server.
        prompt_id: String,
        /// The server named the job: nothing else tells its id.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        theirs: bool,
    },
    /// Observation: the server is done with the job; its results are still to be fetched.
    Released {
        /// Which try.
        ticket: Ticket,
    },
    /// Observation: the try ended.
    Ended {
        /// Which try.
        ticket: Ticket,
        /// How.
        outcome: Outcome,
    },
    /// Decision: the task will be prepared again under another ticket.
    Retried {
        /// The task.
        task: TaskIx,
        /// Not before this time (milliseconds of the driver's clock); 0: in its turn.
        not_before: u64,
        /// Whether the server must be made to execute again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fresh: bool,
        /// Whether it is a new attempt, not only a new try.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        attempt: bool,
        /// Why.
        because: RetryCause,
    },
    /// Observation: an endpoint does not answer any more.
    ServerDown {
        /// Which.
        endpoint: EndpointIx,
    },
    /// Observation: an endpoint answers again.
    ServerUp {
        /// Which.
        endpoint: EndpointIx,
    },
    /// Observation, or decision when the run's time is up: the run is to stop.
    Stop {
        /// Why, and how urgently.
        reason: CancelReason,
    },
    /// Decision: a running task is to be cancelled.
    Cancelling {
        /// The task.
        task: TaskIx,
        /// Why.
        reason: CancelReason,
    },
    /// Decision: a task ends without (another) try.
    Settled {
        /// The task.
        task: TaskIx,
        /// How.
        settlement: Settlement,
    },
    /// Decision: no (more) tasks of a step will become known.
    StepSkipped {
        /// The step.
        step: StepIx,
        /// Why.
        cause: Cause,
    },
    /// Observation: the run goes on in another session. Whatever is neither done nor under way has another chance.
    Resumed {
        /// Tasks that were done, and whose results are gone: they run again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        again: Vec<TaskIx>,
    },
    /// Decision: every task has ended.
    Finished {
        /// How.
        status: RunStatus,
    },
}

impl Fact {
    /// Whether something waits for the fact to be durable: an effect that follows from it, or the right to forget what it says. The others
    /// may be written together with the next one that is.
    pub fn is_weighty(&self) -> bool {
        !matches!(
            self,
            Self::Prepared { .. }
                | Self::Started { .. }
                | Self::Accepted { theirs: false, .. }
                | Self::Released { .. }
                | Self::ServerDown { .. }
                | Self::ServerUp { .. }
        )
    }
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Outcome {
    /// Its results are here.
    Done {
        /// What it made, in order.
        artifacts: Vec<Arc<Artifact>>,
    },
    /// It was done before, and its results are here.
    Cached {
        /// What it made then, in order.
        artifacts: Vec<Arc<Artifact>>,
        /// The run that made it.
        from: RunId,
    },
    /// Its `when` is false.
    Skipped,
    /// The attempt failed. Whether there is another one, the machine decides.
    Failed {
        /// Whose fault it is.
        class: FailureClass,
        /// What people are told.
        diagnostic: Box<JsonDiagnostic>,
    },
    /// It was stopped at our wish.
    Cancelled,
    /// A reachable server does not know the job (any more).
    Lost,
    /// The server answered with an earlier result whose files are no longer there.
    Gone,
}

/// Why a task is prepared again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryCause {
    /// Its server lost the job.
    Lost,
    /// The files of the server's earlier result were gone.
    Gone,
    /// The attempt failed, and the step's `retry` grants another one.
    Failed,
    /// It had not been submitted, and another endpoint can take it sooner.
    Moved,
    /// Another task with the same key ended: its result may serve, or this one is to run itself.
    Twin,
}

/// Why a task failed, for the retry policy and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A value could not be computed or does not fit, found before anything was sent.
    Invalid,
    /// A node raised an exception.
    Node,
    /// A node ran out of memory.
    Oom,
    /// A command ended with an error.
    Command,
    /// The attempt executed longer than `timeout`.
    Timeout,
    /// There was no progress for longer than `stall_timeout`.
    Stall,
    /// The result is not what `until` wants.
    Until,
    /// The server refused the job.
    Rejected,
    /// The server does not answer, or not as itself.
    Connection,
    /// The server wants credentials that it did not get.
    Auth,
    /// The server wants an account that has paid for it.
    Credit,
    /// The server's queue is full.
    Busy,
    /// A file could not be sent or fetched although the server answers.
    Transfer,
    /// A result could not be written on this machine.
    Write,
    /// The job left nothing behind.
    NoOutput,
    /// Someone else stopped the job.
    Interrupted,
    /// The server's worker is dead.
    Stuck,
    /// The server lost the job more often than it is worth trying.
    Lost,
    /// Nobody can tell whether the job exists, and another one would cost money.
    Ambiguous,
}

impl FailureClass {
    /// Whether the failure says nothing about the pipeline, only about the way to the server.
    pub fn is_connection(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::Auth | Self::Credit | Self::Busy | Self::Ambiguous
        )
    }

    /// What `retry.for` calls it; `None` when another attempt could only go wrong in the same way or do harm. Failures that no written
    /// class but `any` covers are [`RetryClass::Any`].
    pub fn retry_class(self) -> Option<RetryClass> {
        match self {
            Self::Invalid | Self::Ambiguous | Self::Credit => None,
            Self::Connection | Self::Busy | Self::Transfer | Self::Stuck | Self::Lost => {
                Some(RetryClass::Transient)
            }
            Self::Node | Self::Command | Self::NoOutput => Some(RetryClass::NodeError),
            Self::Oom => Some(RetryClass::Oom),
            Self::Timeout => Some(RetryClass::Timeout),
            Self::Stall => Some(RetryClass::Stall),
            Self::Until | Self::Rejected => Some(RetryClass::Rejected),
            Self::Auth | Self::Write | Self::Interrupted => Some(RetryClass::Any),
        }
    }
}

/// Why tasks are cancelled; a later reason outranks an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// The try counts no more; another one takes its place.
    Superseded,
    /// Another task failed.
    Failed,
    /// The run's time is up.
    Deadline,
    /// Stop in good order: cancel our jobs and wait for the server's word.
    Requested,
    /// Leave at once.
    Leave,
}

/// Why something did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A task failed, or was cancelled or skipped.
    Task(TaskIx),
    /// A step has no results: it has no tasks, each of them was skipped, or what they are could not be known.
    Step(StepIx),
    /// The run was stopped.
    Stop,
}

/// How a task ends without (another) try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "as")]
pub enum Settlement {
    /// It never ran, because of something that went wrong first.
    Skipped {
        /// What.
        cause: Cause,
    },
    /// Its `when` was false when the plan was made.
    Unwanted,
    /// It was stopped before its job was (re)submitted.
    Cancelled,
    /// Its last attempt failed, and there is no other one.
    Failed,
    /// Its job was lost too often.
    Lost {
        /// How often.
        times: u32,
    },
    /// It can never start: it claims more than there is, or has no server.
    Impossible,
}
