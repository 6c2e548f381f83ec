//! What a run is given and what it gives back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::base::{Input, RunId, Secrets, TaskName, WriteError};
use crate::client::Picture;
use crate::diagnostic::{Diagnostic, Report, codes};
use crate::event::{Counts, RunEvent, RunStatus};
use crate::machine::{CancelReason, Contradiction, Fact};
use crate::plan::Plan;
use crate::servers::Servers;
use crate::store::{Journal, Lock, Store, StoreError};

/// Whether someone wants the run to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// No.
    #[default]
    None,
    /// Start nothing new, cancel our own jobs, keep what is done.
    Cancel,
    /// Leave now.
    Leave,
}

impl Stop {
    pub(super) fn reason(self) -> Option<CancelReason> {
        match self {
            Self::None => None,
            Self::Cancel => Some(CancelReason::Requested),
            Self::Leave => Some(CancelReason::Leave),
        }
    }
}

/// What the user wants of one run, beside the plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// A failure skips what depends on it and nothing else.
    pub keep_going: bool,
    /// Failures after which nothing new starts, whatever `keep_going` says.
    pub max_fail: Option<u32>,
    /// How long the run may take, from its start or its resumption.
    pub deadline: Option<Duration>,
}

/// A picture of what a task is at.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The task.
    pub task: TaskName,
    /// The picture, encoded.
    pub picture: Picture,
}

/// Everything a run needs.
#[derive(Debug)]
pub struct RunContext {
    /// The plan, sealed and checked.
    pub plan: Arc<Plan>,
    /// The run's id.
    pub run: RunId,
    /// The plan's servers, connected.
    pub servers: Arc<Servers>,
    /// The project's state.
    pub store: Store,
    /// The lock on the plan's output set; see [`super::output_set`].
    pub lock: Lock,
    /// The run's journal, opened or reopened.
    pub journal: Journal,
    /// What is in the journal already, when an earlier run is taken up again; each fact with its time in milliseconds since 1970.
    pub facts: Vec<(u64, Fact)>,
    /// Where events go.
    pub events: mpsc::UnboundedSender<RunEvent>,
    /// Rises when someone wants the run to stop.
    pub stop: watch::Receiver<Stop>,
    /// The exit code of a run that is stopped: it depends on who wants it.
    pub stop_code: Arc<AtomicU8>,
    /// Tasks that are let finish although the run is asked to stop: what they make is still wanted.
    pub spared: watch::Receiver<BTreeSet<TaskName>>,
    /// Where pictures of what tasks are at go, each in the place of the last one; `None` when nobody looks.
    pub previews: Option<watch::Sender<Option<Preview>>>,
    /// What the user wants of it.
    pub options: RunOptions,
    /// Where the values of secrets are.
    pub secrets: Secrets,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// How.
    pub status: RunStatus,
    /// The process's exit code: 0 done, 4 a step failed on its own account, 5 only connections failed, 130 or 143 stopped.
    pub exit_code: u8,
    /// Tasks by status.
    pub counts: Counts,
    /// The task that failed first.
    pub cause: Option<TaskName>,
    /// Everything there was to complain about, with its places; the same as the events told.
    pub report: Report,
    /// The run's folder; `None` when nothing was written.
    pub folder: Option<PathBuf>,
    /// Files and patterns that templates read which waited for results.
    pub read: Vec<Input>,
}

/// A run could not be carried out for a reason that lies in none of its steps.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The project's state cannot be used.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The output folder cannot be written; nothing was queued.
    #[error(transparent)]
    Folder(#[from] WriteError),
    /// A mistake in kiln.
    #[error("internal error: {0}")]
    Contradiction(#[from] Contradiction),
}

impl RunError {
    /// The complaint for people; `None` for a mistake of kiln's own.
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        match self {
            Self::State(error) => Some(error.diagnostic()),
            Self::Folder(error) => Some(
                Diagnostic::error(&codes::CANNOT_WRITE, error.to_string()).help(
                    "repair it, or put the outputs elsewhere with `output_dir` or `--output-dir`",
                ),
            ),
            Self::Contradiction(_) => None,
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::State(_) => 7,
            Self::Folder(_) => 3,
            Self::Contradiction(_) => 1,
        }
    }
}
