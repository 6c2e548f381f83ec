//! What is known about a run: observations and decisions, each one row of the journal.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shape::ServerIx;
use crate::artifact::Artifact;
use crate::diagnostic::JsonDiagnostic;
use crate::event::RunStatus;
use crate::plan::TaskIx;

/// One try of one attempt of a task. An attempt may need several tries when a server loses its job; templates see only the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The task.
    pub task: TaskIx,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The submission within the attempt, from 1.
    #[serde(rename = "try")]
    pub try_: u32,
}

/// One fact. Decisions are made by [`super::Machine::decide`], observations by the driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// Decision: the task is next on its server and is prepared: its graph is rendered, its files are sent.
    Assigned {
        /// Which try.
        ticket: Ticket,
        /// On which server.
        server: ServerIx,
        /// The files of a cached result were gone: the server must be made to execute again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fresh: bool,
    },
    /// Observation: everything is ready for the job to be submitted.
    Prepared {
        /// Which try.
        ticket: Ticket,
    },
    /// Decision: the task has a slot; its job is submitted.
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
    /// Decision: the job was lost or its files are gone; the task will be submitted again.
    Retried {
        /// The task.
        task: TaskIx,
        /// Not before this time (milliseconds of the driver's clock).
        not_before: u64,
        /// Whether the server must be made to execute again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fresh: bool,
    },
    /// Observation: someone wants the run to stop.
    Stop {
        /// How urgently.
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
                | Self::Accepted { .. }
                | Self::Released { .. }
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
    /// It failed and will not be tried again.
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

/// Why a task failed, as far as the exit code (and later the retry policy) must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A value could not be computed or does not fit, found before anything was sent.
    Invalid,
    /// A node raised an exception.
    Node,
    /// A node ran out of memory.
    Oom,
    /// The server refused the job.
    Rejected,
    /// The server does not answer, or not as itself.
    Connection,
    /// The server wants credentials that it did not get.
    Auth,
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
}

impl FailureClass {
    /// Whether the failure says nothing about the pipeline, only about the way to the server.
    pub fn is_connection(self) -> bool {
        matches!(self, Self::Connection | Self::Auth)
    }
}

/// Why tasks are cancelled; a later reason outranks an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// Stop in good order: cancel our jobs and wait for the server's word.
    Requested,
    /// Leave at once.
    Leave,
}

/// How a task ends without (another) try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "as")]
pub enum Settlement {
    /// It never started, because a task failed first.
    Skipped {
        /// The task that failed.
        cause: TaskIx,
    },
    /// It was stopped before its job was (re)submitted.
    Cancelled,
    /// Its job was lost too often.
    Lost {
        /// How often.
        times: u32,
    },
}
