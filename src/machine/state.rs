//! The mutable side: one state per task, counters of what is taken, and the sets of what may start.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::fact::{CancelReason, Cause, Fact, Outcome, Settlement, Ticket};
use super::shape::{EndpointIx, Shape, StepIx, dense};
use crate::event::{Counts, RunStatus, TaskStatus};
use crate::plan::TaskIx;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for this many tasks.
    Waiting(u32),
    /// May start as soon as there is room.
    Ready,
    /// Is under way.
    Running {
        /// Which try.
        ticket: Ticket,
        /// How far.
        phase: Phase,
        /// Whether it is being cancelled.
        cancelling: Option<CancelReason>,
        /// Whether the server was told to execute again.
        fresh: bool,
    },
    /// Its try ended without a result; a decision about it is due.
    Unsettled {
        /// Which try.
        ticket: Ticket,
        /// Whether the job was known to the server but its files are gone.
        gone: bool,
    },
    /// Will be submitted again.
    Paused {
        /// The next try.
        ticket: Ticket,
        /// Not before, milliseconds.
        not_before: u64,
        /// Whether the server must be made to execute again.
        fresh: bool,
    },
    /// Ended.
    Ended(TaskStatus),
}

/// How far a running task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its graph is rendered and its files are sent.
    Preparing,
    /// It waits for a slot.
    Prepared,
    /// It has a slot.
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
    /// Prepare a task. This alone may be done before its facts are durable: it changes nothing that matters.
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
    /// Cancel a task: its job, or what prepares it.
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
    /// How far it was.
    pub phase: Phase,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// Those of its tasks that were wanted are done.
    Done,
    /// None of its tasks ran.
    Skipped,
    /// A task of it failed, or could not run because another one failed.
    Failed,
    /// A task of it was cancelled.
    Cancelled,
}

impl StepStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A fact that cannot follow from those before it: a damaged journal, or a mistake in a driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {} cannot be {what} now", task.0)]
pub struct Contradiction {
    /// The task.
    pub task: TaskIx,
    /// What the fact claims.
    pub what: &'static str,
}

/// Longest remaining chain first, then file order.
pub(super) type Rank = (Reverse<u32>, TaskIx);

/// The scheduler. See the room's documentation.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) shape: Shape,
    pub(super) servers: Vec<usize>,
    dependants: Vec<Vec<TaskIx>>,
    chains: Vec<u32>,
    pub(super) states: Vec<TaskState>,
    pub(super) losses: Vec<u32>,
    pub(super) ready: Vec<BTreeSet<Rank>>,
    pub(super) paused: BTreeSet<(u64, TaskIx)>,
    pub(super) unsettled: Vec<TaskIx>,
    pub(super) running: BTreeSet<TaskIx>,
    /// Prepared tasks that wait for a slot, by server.
    pub(super) prepared: Vec<BTreeSet<Rank>>,
    /// Tasks that are prepared or being so, by server.
    pub(super) ahead: Vec<u32>,
    /// Slots taken, by server.
    pub(super) in_use: Vec<u32>,
    /// Tasks that count against `max_parallel`.
    pub(super) in_flight: usize,
    pub(super) counts: Counts,
    pub(super) cause: Option<Cause>,
    pub(super) stop: Option<CancelReason>,
    pub(super) finished: Option<RunStatus>,
    actions: Vec<Action>,
}

impl Machine {
    /// A machine that has seen nothing yet.
    pub fn new(shape: Shape) -> Self {
        let needs = needs(&shape);
        let dependants = dependants(&needs);
        let chains = chains(&needs, &dependants);
        let servers: Vec<usize> = shape
            .tasks
            .iter()
            .map(|task| place(&shape, task.step))
            .collect();
        let places = shape.endpoints.len();
        let mut ready = vec![BTreeSet::new(); places];
        let states = shape
            .tasks
            .iter()
            .enumerate()
            .map(|(at, _)| {
                if needs[at].is_empty() {
                    ready[servers[at]].insert((Reverse(chains[at]), TaskIx(dense(at))));
                    TaskState::Ready
                } else {
                    TaskState::Waiting(dense(needs[at].len()))
                }
            })
            .collect();
        Self {
            states,
            losses: vec![0; shape.tasks.len()],
            ready,
            paused: BTreeSet::new(),
            unsettled: Vec::new(),
            running: BTreeSet::new(),
            prepared: vec![BTreeSet::new(); places],
            ahead: vec![0; places],
            in_use: vec![0; places],
            in_flight: 0,
            counts: Counts::default(),
            cause: None,
            stop: None,
            finished: None,
            actions: Vec::new(),
            servers,
            dependants,
            chains,
            shape,
        }
    }

    /// Where a task stands.
    pub fn state(&self, task: TaskIx) -> TaskState {
        self.states[task.0 as usize]
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
        self.paused
            .range((now + 1, TaskIx(0))..)
            .next()
            .map(|(at, _)| *at)
    }

    /// Takes a fact into the state.
    ///
    /// # Errors
    /// When it contradicts the facts before it; the state is then as it was.
    pub fn apply(&mut self, fact: &Fact) -> Result<(), Contradiction> {
        match fact {
            Fact::Assigned {
                ticket,
                endpoint,
                fresh,
            } => self.assign(*ticket, *endpoint, *fresh),
            Fact::Prepared { ticket, .. } => self.prepare(*ticket),
            Fact::Started { ticket } => self.start(*ticket),
            // The id is the driver's business: it follows from the ticket.
            Fact::Accepted { ticket, .. } => self.known(ticket.task, "accepted").map(drop),
            Fact::Released { ticket } => self.release(*ticket),
            Fact::Ended { ticket, outcome } => self.end(*ticket, outcome),
            Fact::Retried {
                task,
                not_before,
                fresh,
                ..
            } => self.retry(*task, *not_before, *fresh),
            Fact::Stop { reason } => {
                self.stop = self.stop.max(Some(*reason));
                Ok(())
            }
            Fact::Cancelling { task, reason } => self.cancel(*task, *reason),
            Fact::Settled { task, settlement } => self.settle(*task, *settlement),
            Fact::Expanded { step, .. }
            | Fact::ExpandFailed { step, .. }
            | Fact::StepSkipped { step, .. } => Err(Contradiction {
                task: TaskIx(step.0),
                what: "known later",
            }),
            Fact::ServerDown { .. } | Fact::ServerUp { .. } => Ok(()),
            Fact::Resumed => {
                self.stop = None;
                Ok(())
            }
            Fact::Finished { status } => {
                self.finished = Some(*status);
                self.actions.push(Action::Finish { status: *status });
                Ok(())
            }
        }
    }

    /// What to do now, each once.
    pub fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// After a replay: what was assigned and has not ended. Actions that the replay brought up are forgotten; they were performed, or
    /// are part of what is owed.
    pub fn owed(&mut self) -> Vec<Owed> {
        self.actions.clear();
        self.running
            .iter()
            .filter_map(|&task| match self.state(task) {
                TaskState::Running {
                    ticket,
                    cancelling,
                    fresh,
                    phase,
                } => Some(Owed {
                    ticket,
                    endpoint: EndpointIx(dense(self.servers[task.0 as usize])),
                    fresh,
                    cancelling,
                    phase,
                }),
                _ => None,
            })
            .collect()
    }

    fn known(&self, task: TaskIx, what: &'static str) -> Result<TaskState, Contradiction> {
        self.states
            .get(task.0 as usize)
            .copied()
            .ok_or(Contradiction { task, what })
    }

    fn rank(&self, task: TaskIx) -> Rank {
        (Reverse(self.chains[task.0 as usize]), task)
    }

    fn server(&self, task: TaskIx) -> usize {
        self.servers[task.0 as usize]
    }

    /// Gives back whatever the task's state holds or stands in.
    fn leave(&mut self, task: TaskIx) {
        let (rank, server) = (self.rank(task), self.server(task));
        match self.state(task) {
            TaskState::Ready => {
                self.ready[server].remove(&rank);
            }
            TaskState::Paused { not_before, .. } => {
                self.paused.remove(&(not_before, task));
            }
            TaskState::Unsettled { .. } => self.unsettled.retain(|t| *t != task),
            TaskState::Running { phase, .. } => {
                self.running.remove(&task);
                match phase {
                    Phase::Preparing => self.ahead[server] -= 1,
                    Phase::Prepared => {
                        self.ahead[server] -= 1;
                        self.prepared[server].remove(&rank);
                    }
                    Phase::Started => {
                        self.in_use[server] -= 1;
                        self.in_flight -= 1;
                    }
                    Phase::Released => self.in_flight -= 1,
                }
            }
            TaskState::Waiting(_) | TaskState::Ended(_) => {}
        }
    }

    fn assign(
        &mut self,
        ticket: Ticket,
        endpoint: EndpointIx,
        fresh: bool,
    ) -> Result<(), Contradiction> {
        let what = "assigned";
        let task = ticket.task;
        match self.known(task, what)? {
            TaskState::Ready => {}
            TaskState::Paused { ticket: next, .. } if next == ticket => {}
            _ => return Err(Contradiction { task, what }),
        }
        if self.servers[task.0 as usize] != endpoint.0 as usize {
            return Err(Contradiction { task, what });
        }
        self.leave(task);
        self.ahead[endpoint.0 as usize] += 1;
        self.running.insert(task);
        self.states[task.0 as usize] = TaskState::Running {
            ticket,
            phase: Phase::Preparing,
            cancelling: None,
            fresh,
        };
        self.actions.push(Action::Prepare {
            ticket,
            endpoint,
            fresh,
        });
        Ok(())
    }

    /// The phase of a try, when it is the one that the machine named last.
    fn phase_of(
        &mut self,
        ticket: Ticket,
        what: &'static str,
    ) -> Result<Option<&mut Phase>, Contradiction> {
        self.known(ticket.task, what)?;
        Ok(match &mut self.states[ticket.task.0 as usize] {
            TaskState::Running {
                ticket: current,
                phase,
                ..
            } if *current == ticket => Some(phase),
            _ => None,
        })
    }

    fn prepare(&mut self, ticket: Ticket) -> Result<(), Contradiction> {
        if let Some(phase @ Phase::Preparing) = self.phase_of(ticket, "prepared")? {
            *phase = Phase::Prepared;
            let (rank, server) = (self.rank(ticket.task), self.server(ticket.task));
            self.prepared[server].insert(rank);
        }
        Ok(())
    }

    fn start(&mut self, ticket: Ticket) -> Result<(), Contradiction> {
        let (task, what) = (ticket.task, "started");
        let Some(phase @ Phase::Prepared) = self.phase_of(ticket, what)? else {
            return Err(Contradiction { task, what });
        };
        *phase = Phase::Started;
        let (rank, server) = (self.rank(task), self.server(task));
        self.prepared[server].remove(&rank);
        self.ahead[server] -= 1;
        self.in_use[server] += 1;
        self.in_flight += 1;
        self.actions.push(Action::Start { ticket });
        Ok(())
    }

    fn release(&mut self, ticket: Ticket) -> Result<(), Contradiction> {
        if let Some(phase @ Phase::Started) = self.phase_of(ticket, "released")? {
            *phase = Phase::Released;
            let server = self.server(ticket.task);
            self.in_use[server] -= 1;
        }
        Ok(())
    }

    fn end(&mut self, ticket: Ticket, outcome: &Outcome) -> Result<(), Contradiction> {
        let task = ticket.task;
        if self.phase_of(ticket, "ended")?.is_none() {
            return Ok(());
        }
        self.leave(task);
        match outcome {
            Outcome::Done { .. } | Outcome::Cached { .. } => self.close(task, TaskStatus::Done),
            Outcome::Skipped => self.close(task, TaskStatus::Skipped),
            Outcome::Failed { .. } => self.close(task, TaskStatus::Failed),
            Outcome::Cancelled => self.close(task, TaskStatus::Cancelled),
            Outcome::Lost | Outcome::Gone => {
                self.losses[task.0 as usize] += 1;
                self.unsettled.push(task);
                self.states[task.0 as usize] = TaskState::Unsettled {
                    ticket,
                    gone: matches!(outcome, Outcome::Gone),
                };
            }
        }
        Ok(())
    }

    fn retry(&mut self, task: TaskIx, not_before: u64, fresh: bool) -> Result<(), Contradiction> {
        let what = "retried";
        let TaskState::Unsettled { ticket, .. } = self.known(task, what)? else {
            return Err(Contradiction { task, what });
        };
        self.leave(task);
        self.paused.insert((not_before, task));
        self.states[task.0 as usize] = TaskState::Paused {
            ticket: Ticket {
                try_: ticket.try_ + 1,
                ..ticket
            },
            not_before,
            fresh,
        };
        Ok(())
    }

    fn cancel(&mut self, task: TaskIx, reason: CancelReason) -> Result<(), Contradiction> {
        let what = "cancelled";
        self.known(task, what)?;
        let TaskState::Running { cancelling, .. } = &mut self.states[task.0 as usize] else {
            return Err(Contradiction { task, what });
        };
        *cancelling = Some(reason);
        self.actions.push(Action::Cancel { task, reason });
        Ok(())
    }

    fn settle(&mut self, task: TaskIx, settlement: Settlement) -> Result<(), Contradiction> {
        let what = "settled";
        match self.known(task, what)? {
            TaskState::Ended(_) => return Err(Contradiction { task, what }),
            TaskState::Running { phase, .. } if phase.is_in_flight() => {
                return Err(Contradiction { task, what });
            }
            TaskState::Running { .. } => self.actions.push(Action::Cancel {
                task,
                reason: CancelReason::Leave,
            }),
            _ => {}
        }
        self.leave(task);
        self.close(
            task,
            match settlement {
                Settlement::Skipped { .. } | Settlement::Unwanted => TaskStatus::Skipped,
                Settlement::Cancelled => TaskStatus::Cancelled,
                Settlement::Lost { .. } | Settlement::Failed | Settlement::Impossible => {
                    TaskStatus::Failed
                }
            },
        );
        Ok(())
    }

    fn close(&mut self, task: TaskIx, status: TaskStatus) {
        self.states[task.0 as usize] = TaskState::Ended(status);
        match status {
            TaskStatus::Cached => self.counts.cached += 1,
            TaskStatus::Done => {
                self.counts.done += 1;
                self.free_dependants(task);
            }
            TaskStatus::Failed => {
                self.counts.failed += 1;
                self.cause.get_or_insert(Cause::Task(task));
            }
            TaskStatus::Skipped => self.counts.skipped += 1,
            TaskStatus::Cancelled => self.counts.cancelled += 1,
        }
    }

    fn free_dependants(&mut self, task: TaskIx) {
        for at in 0..self.dependants[task.0 as usize].len() {
            let dependant = self.dependants[task.0 as usize][at];
            if let TaskState::Waiting(left) = self.state(dependant) {
                self.states[dependant.0 as usize] = if left > 1 {
                    TaskState::Waiting(left - 1)
                } else {
                    let rank = self.rank(dependant);
                    let server = self.server(dependant);
                    self.ready[server].insert(rank);
                    TaskState::Ready
                };
            }
        }
    }
}

/// The first endpoint of a step's server.
fn place(shape: &Shape, step: StepIx) -> usize {
    let server = shape.steps[step.0 as usize].server;
    let found = shape.endpoints.iter().position(|e| e.server == server);
    found.unwrap_or_default()
}

/// For each task, the tasks that it waits for.
fn needs(shape: &Shape) -> Vec<Vec<TaskIx>> {
    let mut of_step = vec![Vec::new(); shape.steps.len()];
    for (at, task) in shape.tasks.iter().enumerate() {
        of_step[task.step.0 as usize].push(TaskIx(dense(at)));
    }
    let of_task = |step: StepIx| {
        let needs = shape.steps[step.0 as usize].needs.iter();
        needs.flat_map(|need| of_step[need.step.0 as usize].iter().copied())
    };
    shape
        .tasks
        .iter()
        .map(|task| of_task(task.step).collect())
        .collect()
}

/// For each task, the tasks that wait for it.
fn dependants(needs: &[Vec<TaskIx>]) -> Vec<Vec<TaskIx>> {
    let mut dependants = vec![Vec::new(); needs.len()];
    for (at, needs) in needs.iter().enumerate() {
        for need in needs {
            dependants[need.0 as usize].push(TaskIx(dense(at)));
        }
    }
    dependants
}

/// For each task, the number of tasks on the longest chain that starts with it. A task on a cycle (which no plan has) counts 0.
fn chains(needs: &[Vec<TaskIx>], dependants: &[Vec<TaskIx>]) -> Vec<u32> {
    let mut chains = vec![0; needs.len()];
    let mut open: Vec<usize> = dependants.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..open.len()).filter(|&at| open[at] == 0).collect();
    while let Some(at) = ready.pop() {
        let below = dependants[at].iter().map(|d| chains[d.0 as usize]).max();
        chains[at] = below.unwrap_or(0) + 1;
        for need in &needs[at] {
            let need = need.0 as usize;
            open[need] -= 1;
            if open[need] == 0 {
                ready.push(need);
            }
        }
    }
    chains
}
