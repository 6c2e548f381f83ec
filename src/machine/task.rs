//! One task: its state, and what is remembered of it between states.

use std::cmp::Reverse;
use std::sync::Arc;

use super::fact::{CancelReason, Cause, FailureClass, Ticket};
use super::shape::{EndpointIx, StepIx, TaskShape};
use crate::base::ContentHash;
use crate::event::TaskStatus;
use crate::plan::TaskIx;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for steps or tasks.
    Waiting,
    /// May be prepared as soon as there is room.
    Ready,
    /// Is under way.
    Running {
        /// Which try.
        ticket: Ticket,
        /// Where.
        endpoint: EndpointIx,
        /// How far.
        phase: Phase,
        /// Whether it is being cancelled.
        cancelling: Option<CancelReason>,
        /// Whether the server was told to execute again.
        fresh: bool,
    },
    /// Waits for the end of another task with the same key.
    Parked {
        /// The try that found out.
        ticket: Ticket,
    },
    /// Its try ended without a result; a decision about it is due.
    Unsettled {
        /// Which try.
        ticket: Ticket,
        /// What went wrong.
        trouble: Trouble,
    },
    /// Will be prepared again.
    Paused {
        /// Not before, milliseconds.
        not_before: u64,
    },
    /// Ended.
    Ended(TaskStatus),
}

/// Why a try ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server does not know the job.
    Lost,
    /// The server knew the result, but its files are gone.
    Gone,
    /// The attempt failed, and the policy knows another one.
    Failed(FailureClass),
}

/// How far a running task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its graph is rendered and its files are sent.
    Preparing,
    /// It waits for a slot, its claims and a place.
    Prepared,
    /// It has them.
    Started,
    /// The server is done with it; its results are fetched.
    Released,
}

impl Phase {
    /// Whether it counts against `max_parallel`, and its job may be on a server.
    pub(super) fn is_in_flight(self) -> bool {
        matches!(self, Self::Started | Self::Released)
    }
}

/// Longest remaining chain first, then file order: the step, and the place in it, however late the task became known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) chain: Reverse<u64>,
    pub(super) step: StepIx,
    pub(super) order: Arc<[u32]>,
    pub(super) task: TaskIx,
}

/// A task and what is remembered of it.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other and of the state"
)]
pub(super) struct Task {
    pub(super) step: StepIx,
    pub(super) order: Arc<[u32]>,
    pub(super) needs: Vec<TaskIx>,
    /// Tasks that name it among their `needs`.
    pub(super) dependants: Vec<TaskIx>,
    pub(super) skip: bool,
    pub(super) state: TaskState,
    /// Tasks that it still waits for.
    pub(super) open_needs: u32,
    /// The next attempt and try, when it is neither under way nor has ended.
    pub(super) next: Ticket,
    /// Whether the server must then be made to execute again.
    pub(super) fresh: bool,
    /// The highest try that was ever given out; 0: none.
    pub(super) highest: u32,
    /// `highest` at the last resume: a new attempt's tries begin after it, so that no ticket is given out twice.
    pub(super) floor: u32,
    /// Submissions of this attempt that were lost.
    pub(super) losses: u32,
    /// Why it did not run.
    pub(super) why: Option<Cause>,
    /// Where it was last.
    pub(super) at: Option<EndpointIx>,
    /// Where something went wrong last.
    pub(super) avoid: Option<EndpointIx>,
    /// How often a lower-ranked task took what it waits for.
    pub(super) overtaken: u32,
    /// What decides its result, while it leads those with the same key or waits for the one that does.
    pub(super) key: Option<ContentHash>,
    /// It was prepared again since a task with its key had succeeded; it does not wait for that a second time.
    pub(super) doubled: bool,
    /// Its job may be on the endpoint although its start is not in the journal, so it stays there.
    pub(super) pinned: bool,
}

impl Task {
    pub(super) fn new(at: TaskIx, shape: TaskShape) -> Self {
        Self {
            step: shape.step,
            order: shape.order.into(),
            needs: shape.needs,
            dependants: Vec::new(),
            skip: shape.skip,
            state: TaskState::Waiting,
            open_needs: 0,
            next: Ticket {
                task: at,
                attempt: 1,
                try_: 1,
            },
            fresh: false,
            highest: 0,
            floor: 0,
            losses: 0,
            why: None,
            at: None,
            avoid: None,
            overtaken: 0,
            key: None,
            doubled: false,
            pinned: false,
        }
    }

    /// Another session gives it another chance. The attempt is the first again, so that what templates see is what it was.
    pub(super) fn revive(&mut self) {
        self.floor = self.highest;
        self.next = Ticket {
            attempt: 1,
            try_: self.floor.saturating_add(1),
            ..self.next
        };
        self.fresh = false;
        self.losses = 0;
        self.why = None;
        self.avoid = None;
        self.overtaken = 0;
        self.doubled = false;
    }

    pub(super) fn has_result(&self) -> bool {
        matches!(
            self.state,
            TaskState::Ended(TaskStatus::Done | TaskStatus::Cached)
        )
    }

    pub(super) fn status(&self) -> Option<TaskStatus> {
        match self.state {
            TaskState::Ended(status) => Some(status),
            _ => None,
        }
    }
}
