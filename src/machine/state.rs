//! The machine as a value: what it holds, what can be asked of it, and the door through which facts come in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use super::fact::{CancelReason, Cause, Fact, Settlement, Ticket};
use super::places::Places;
use super::shape::{EndpointIx, Policy, RetryShape, Shape, StepIx, TaskShape, dense};
use super::step::{Step, StepStatus};
use super::task::{Phase, Rank, Task, TaskState};
use super::twins::Twins;
use crate::event::{Counts, RunStatus, TaskStatus};
use crate::plan::TaskIx;

/// Something to do in the world, once the facts that led to it are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out which tasks a step has, and report [`Fact::Expanded`] or [`Fact::ExpandFailed`]. It changes nothing in the world and need
    /// not wait until anything is durable.
    Expand {
        /// The step.
        step: StepIx,
        /// The task that ended, in a step that streams; it may have ended without a result.
        source: Option<TaskIx>,
    },
    /// Prepare a task. This may be done before its facts are durable, too: it changes nothing that matters.
    Prepare {
        /// Which try.
        ticket: Ticket,
        /// Where.
        endpoint: EndpointIx,
        /// The server must be made to execute again.
        fresh: bool,
    },
    /// Submit a prepared task's job, once its assignment is durable.
    Start {
        /// Which try.
        ticket: Ticket,
    },
    /// Cancel what runs for a task: its job, or what prepares it. With [`CancelReason::Superseded`] nothing is at a server yet, the
    /// task itself goes on under another ticket, and nobody waits for word of this one.
    Cancel {
        /// The task.
        task: TaskIx,
        /// Why.
        reason: CancelReason,
    },
    /// Tie up: every task has ended.
    Finish {
        /// How.
        status: RunStatus,
    },
}

/// Something that was assigned and has not ended. Its job may have been submitted: ask the server before it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Which try.
    pub ticket: Ticket,
    /// Where.
    pub endpoint: EndpointIx,
    /// Whether the server was told to execute again.
    pub fresh: bool,
    /// Whether it is being cancelled.
    pub cancelling: Option<CancelReason>,
    /// How far it was. Below [`Phase::Started`] it has to be prepared again, and waits for its [`Action::Start`].
    pub phase: Phase,
}

/// A fact that cannot follow from those before it: a damaged journal, or a mistake in a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// About a task.
    #[error("task {} cannot be {what} now", task.0)]
    Task {
        /// The task.
        task: TaskIx,
        /// What the fact claims.
        what: &'static str,
    },
    /// About a step.
    #[error("step {} cannot be {what} now", step.0)]
    Step {
        /// The step.
        step: StepIx,
        /// What the fact claims.
        what: &'static str,
    },
    /// About an endpoint that is not there.
    #[error("there is no endpoint {}", endpoint.0)]
    Endpoint {
        /// The endpoint.
        endpoint: EndpointIx,
    },
    /// About the whole run.
    #[error("the run has not ended")]
    Unfinished,
}

pub(super) fn no_task(task: TaskIx, what: &'static str) -> Contradiction {
    Contradiction::Task { task, what }
}

/// The scheduler. See the room's documentation.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) seed: u64,
    pub(super) policy: Policy,
    pub(super) retries: Vec<RetryShape>,
    pub(super) steps: Vec<Step>,
    pub(super) tasks: Vec<Task>,
    pub(super) places: Places,
    /// Tasks under way.
    pub(super) running: BTreeSet<TaskIx>,
    /// Tasks that have neither ended nor anything on a server.
    pub(super) idle: BTreeSet<TaskIx>,
    /// Tasks whose try ended without a result.
    pub(super) unsettled: BTreeSet<TaskIx>,
    /// Tasks in flight that were not told yet to stop.
    pub(super) untold: BTreeSet<TaskIx>,
    /// Paused tasks by time.
    pub(super) paused: BTreeSet<(u64, TaskIx)>,
    /// Tasks that will never run, and why.
    pub(super) due: BTreeMap<TaskIx, Settlement>,
    /// Steps that will never have (more) tasks, and why.
    pub(super) due_steps: BTreeMap<StepIx, Cause>,
    /// Steps of which (more) tasks may become known.
    pub(super) growing: BTreeSet<StepIx>,
    /// What is to be expanded.
    pub(super) expansions: BTreeSet<(StepIx, Option<TaskIx>)>,
    /// Those of `expansions` that were not asked for yet.
    pub(super) unasked: Vec<(StepIx, Option<TaskIx>)>,
    /// What was expanded.
    pub(super) expanded: HashSet<(StepIx, Option<TaskIx>)>,
    /// Steps that ended and whose dependants do not know it yet.
    pub(super) ended: VecDeque<StepIx>,
    pub(super) open_steps: usize,
    pub(super) twins: Twins,
    pub(super) counts: Counts,
    /// Failures of tasks and of expansions.
    pub(super) failures: u32,
    pub(super) cause: Option<Cause>,
    pub(super) stop: Option<CancelReason>,
    /// A stop kept tasks from becoming known.
    pub(super) cut_short: bool,
    pub(super) finished: Option<RunStatus>,
    pub(super) actions: Vec<Action>,
}

impl Machine {
    /// A machine that has seen nothing yet.
    pub fn new(shape: Shape) -> Self {
        let shape = shape.total();
        let places = Places::new(&shape);
        let steps = Step::all(&shape);
        let mut machine = Self {
            seed: shape.seed,
            policy: shape.policy,
            retries: shape.steps.into_iter().map(|step| step.retry).collect(),
            steps,
            tasks: Vec::with_capacity(shape.tasks.len()),
            places,
            running: BTreeSet::new(),
            idle: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            untold: BTreeSet::new(),
            paused: BTreeSet::new(),
            due: BTreeMap::new(),
            due_steps: BTreeMap::new(),
            growing: BTreeSet::new(),
            expansions: BTreeSet::new(),
            unasked: Vec::new(),
            expanded: HashSet::new(),
            ended: VecDeque::new(),
            open_steps: 0,
            twins: Twins::default(),
            counts: Counts::default(),
            failures: 0,
            cause: None,
            stop: None,
            cut_short: false,
            finished: None,
            actions: Vec::new(),
        };
        for task in shape.tasks {
            machine.add(task);
        }
        machine.open_gates();
        machine
    }

    /// Where a task stands. One that is not known (yet) waits.
    pub fn state(&self, task: TaskIx) -> TaskState {
        self.known(task).map_or(TaskState::Waiting, |t| t.state)
    }

    /// How many tasks are known. The next one that becomes known gets this index.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Whether an expansion is awaited; else [`Fact::Expanded`] about it adds no tasks.
    pub fn expects(&self, step: StepIx, source: Option<TaskIx>) -> bool {
        self.expansions.contains(&(step, source))
    }

    /// The attempt and try that a task has next, when it is neither under way nor has ended.
    pub fn next(&self, task: TaskIx) -> Option<Ticket> {
        self.known(task).map(|t| t.next)
    }

    /// Where a task is, or was last.
    pub fn endpoint(&self, task: TaskIx) -> Option<EndpointIx> {
        self.known(task)?.at
    }

    /// Why a task did not run, when it was skipped for a reason other than its own `when`.
    pub fn why(&self, task: TaskIx) -> Option<Cause> {
        self.known(task)?.why
    }

    /// How a step ended.
    pub fn step_status(&self, step: StepIx) -> Option<StepStatus> {
        self.steps.get(step.0 as usize)?.status
    }

    /// The tasks of a step that have results, in the order in which they would be written down.
    pub fn results(&self, step: StepIx) -> Vec<TaskIx> {
        let Some(step) = self.steps.get(step.0 as usize) else {
            return Vec::new();
        };
        let with = |task: &TaskIx| self.tasks[task.0 as usize].has_result();
        let mut tasks: Vec<TaskIx> = step.tasks.iter().copied().filter(with).collect();
        tasks.sort_by(|a, b| {
            let order = |task: &TaskIx| &self.tasks[task.0 as usize].order;
            order(a).cmp(order(b)).then(a.cmp(b))
        });
        tasks
    }

    /// Tasks by terminal status.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What went wrong first.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether the run is to stop, and how urgently.
    pub fn stopping(&self) -> Option<CancelReason> {
        self.stop
    }

    /// How the run ended.
    pub fn finished(&self) -> Option<RunStatus> {
        self.finished
    }

    /// The next time after `now` when [`Self::decide`] may have something to say although nothing was observed.
    pub fn wakes_at(&self, now: u64) -> Option<u64> {
        if self.finished.is_some() {
            return None;
        }
        let later = (now.saturating_add(1), TaskIx(0));
        let paused = self.paused.range(later..).next().map(|(at, _)| *at);
        let deadline = self
            .policy
            .deadline
            .filter(|at| *at > now && self.stop < Some(CancelReason::Deadline));
        [paused, deadline].into_iter().flatten().min()
    }

    /// Takes a fact into the state.
    ///
    /// # Errors
    /// When it contradicts the facts before it; the state is then as it was.
    pub fn apply(&mut self, fact: &Fact) -> Result<(), Contradiction> {
        match fact {
            Fact::Expanded {
                step,
                source,
                tasks,
            } => self.expand(*step, *source, tasks)?,
            Fact::ExpandFailed { step, source, .. } => self.fail_to_expand(*step, *source)?,
            Fact::Assigned {
                ticket,
                endpoint,
                fresh,
            } => self.assign(*ticket, *endpoint, *fresh)?,
            Fact::Prepared { ticket, key } => self.prepare(*ticket, *key)?,
            Fact::Started { ticket } => self.start(*ticket)?,
            // The id is the driver's business: it follows from the ticket.
            Fact::Accepted { ticket, .. } => self.given_out(*ticket, "accepted").map(drop)?,
            Fact::Released { ticket } => self.release(*ticket)?,
            Fact::Ended { ticket, outcome } => self.end(*ticket, outcome)?,
            Fact::Retried {
                task,
                not_before,
                fresh,
                attempt,
                because,
            } => {
                self.retry(*task, *not_before, *fresh, *attempt, *because)?;
            }
            Fact::ServerDown { endpoint } => self.set_up(*endpoint, false)?,
            Fact::ServerUp { endpoint } => self.set_up(*endpoint, true)?,
            Fact::Stop { reason } => self.stop(*reason),
            Fact::Cancelling { task, reason } => self.cancel(*task, *reason)?,
            Fact::Settled { task, settlement } => self.settle(*task, *settlement)?,
            Fact::StepSkipped { step, cause } => self.skip_step(*step, *cause)?,
            Fact::Resumed { again } => self.resume(again),
            Fact::Finished { status } => self.finish(*status)?,
        }
        self.spread();
        Ok(())
    }

    /// What to do now, each once.
    pub fn actions(&mut self) -> Vec<Action> {
        if !self.halting() {
            let unasked = std::mem::take(&mut self.unasked);
            for (step, source) in unasked {
                if self.expansions.contains(&(step, source)) {
                    self.actions.push(Action::Expand { step, source });
                }
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// After a replay: what was assigned and has not ended. Actions that the replay brought up are forgotten; they were performed, or
    /// are part of what is owed. Expansions that are owed come up as actions.
    pub fn owed(&mut self) -> Vec<Owed> {
        self.actions.clear();
        self.unasked = self.expansions.iter().copied().collect();
        let mut owed = Vec::with_capacity(self.running.len());
        for task in &self.running {
            let task = &mut self.tasks[task.0 as usize];
            if let TaskState::Running {
                ticket,
                endpoint,
                phase,
                cancelling,
                fresh,
            } = task.state
            {
                task.pinned = true;
                owed.push(Owed {
                    ticket,
                    endpoint,
                    fresh,
                    cancelling,
                    phase,
                });
            }
        }
        owed
    }

    /// Whether nothing new may start.
    pub(super) fn halting(&self) -> bool {
        self.stop.is_some()
            || self.counts.cancelled > 0
            || (self.failures > 0 && !self.policy.keep_going)
            || self
                .policy
                .max_fail
                .is_some_and(|most| self.failures >= most.max(1))
    }

    fn stop(&mut self, reason: CancelReason) {
        if self.stop < Some(reason) {
            self.stop = Some(reason);
            let told_less = |task: &TaskIx| match self.tasks[task.0 as usize].state {
                TaskState::Running {
                    phase, cancelling, ..
                } => phase.is_in_flight() && cancelling < Some(reason),
                _ => false,
            };
            self.untold = self.running.iter().copied().filter(told_less).collect();
        }
    }

    fn set_up(&mut self, endpoint: EndpointIx, up: bool) -> Result<(), Contradiction> {
        match self.places.endpoints.get_mut(endpoint.0 as usize) {
            Some(found) => found.up = up,
            None => return Err(Contradiction::Endpoint { endpoint }),
        }
        Ok(())
    }

    fn finish(&mut self, status: RunStatus) -> Result<(), Contradiction> {
        if self.open_steps > 0 || self.finished.is_some() {
            return Err(Contradiction::Unfinished);
        }
        self.finished = Some(status);
        self.actions.push(Action::Finish { status });
        Ok(())
    }

    pub(super) fn known(&self, task: TaskIx) -> Option<&Task> {
        self.tasks.get(task.0 as usize)
    }

    pub(super) fn task(&mut self, task: TaskIx) -> &mut Task {
        &mut self.tasks[task.0 as usize]
    }

    pub(super) fn rank(&self, task: TaskIx) -> Rank {
        let known = &self.tasks[task.0 as usize];
        Rank {
            chain: Reverse(self.steps[known.step.0 as usize].chain),
            step: known.step,
            order: Arc::clone(&known.order),
            task,
        }
    }

    /// Adds a task that waits.
    pub(super) fn add(&mut self, shape: TaskShape) {
        let task = TaskIx(dense(self.tasks.len()));
        let step = &mut self.steps[shape.step.0 as usize];
        step.tasks.push(task);
        if shape.skip {
            self.due.insert(task, Settlement::Unwanted);
        }
        for need in &shape.needs {
            if let Some(need) = self.tasks.get_mut(need.0 as usize) {
                need.dependants.push(task);
            }
        }
        self.tasks.push(Task::new(task, shape));
        self.idle.insert(task);
    }

    /// Moves a task from one state into another, with everything that it holds and stands in.
    pub(super) fn put(&mut self, task: TaskIx, state: TaskState) {
        let old = std::mem::replace(&mut self.task(task).state, state);
        self.account(task, old, false);
        self.account(task, state, true);
        if let TaskState::Running {
            phase, cancelling, ..
        } = state
            && phase.is_in_flight()
            && cancelling < self.stop
        {
            self.untold.insert(task);
        }
        if !self.idle.contains(&task) {
            self.due.remove(&task);
        }
    }

    /// Enters a task into everything that its state says, or takes it out.
    fn account(&mut self, task: TaskIx, state: TaskState, comes: bool) {
        let idle = match state {
            TaskState::Running { phase, .. } => !phase.is_in_flight(),
            state => !matches!(state, TaskState::Ended(_)),
        };
        if idle {
            toggle(&mut self.idle, task, comes);
        }
        let step = self.tasks[task.0 as usize].step;
        match state {
            TaskState::Ready => {
                let rank = self.rank(task);
                toggle(&mut self.places.lane_mut(step).ready, rank, comes);
            }
            TaskState::Paused { not_before } => {
                toggle(&mut self.paused, (not_before, task), comes);
                let lane = self.places.lane_mut(step);
                toggle(&mut lane.paused, (not_before, task), comes);
            }
            TaskState::Unsettled { .. } => toggle(&mut self.unsettled, task, comes),
            TaskState::Running {
                endpoint, phase, ..
            } => {
                toggle(&mut self.running, task, comes);
                self.account_running(task, endpoint, phase, comes);
            }
            TaskState::Ended(status) => {
                let count = match status {
                    TaskStatus::Done => &mut self.counts.done,
                    TaskStatus::Cached => &mut self.counts.cached,
                    TaskStatus::Failed => &mut self.counts.failed,
                    TaskStatus::Skipped => &mut self.counts.skipped,
                    TaskStatus::Cancelled => &mut self.counts.cancelled,
                };
                *count = if comes { *count + 1 } else { *count - 1 };
            }
            TaskState::Waiting | TaskState::Parked { .. } => {}
        }
    }

    fn account_running(&mut self, task: TaskIx, at: EndpointIx, phase: Phase, comes: bool) {
        let lane = self.places.lane_of(self.tasks[task.0 as usize].step);
        match phase {
            Phase::Preparing | Phase::Prepared => {
                self.places.count_ahead(lane, comes);
                toggle(&mut self.places.endpoint(at).ahead, task, comes);
            }
            Phase::Started | Phase::Released => self.places.count_in_flight(lane, comes),
        }
        match phase {
            Phase::Preparing => count(&mut self.places.endpoint(at).preparing, comes),
            Phase::Prepared if comes => {
                let rank = self.rank(task);
                self.places.add_prepared(at, lane, rank);
            }
            Phase::Prepared => {
                let rank = self.rank(task);
                self.places.remove_prepared(at, lane, &rank);
            }
            Phase::Started => count(&mut self.places.endpoint(at).in_use, comes),
            Phase::Released => {}
        }
        if !comes {
            self.untold.remove(&task);
        }
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, item: T, comes: bool) {
    if comes {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

fn count(count: &mut u32, comes: bool) {
    *count = if comes {
        count.saturating_add(1)
    } else {
        count.saturating_sub(1)
    };
}
