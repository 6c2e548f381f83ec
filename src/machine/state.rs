//! The mutable side: one state per task, counters of what is taken, and the sets of what may start.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::fact::{CancelReason, Fact, Outcome, Settlement, Ticket};
use super::shape::{ServerIx, Shape, dense};
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
    /// Prepare a task. This alone may be done before its facts are durable: it changes nothing that matters.
    Prepare {
        /// Which try.
        ticket: Ticket,
        /// Where.
        server: ServerIx,
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
    pub server: ServerIx,
    /// Whether the server was told to execute again.
    pub fresh: bool,
    /// Whether it is being cancelled.
    pub cancelling: Option<CancelReason>,
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
    pub(super) cause: Option<TaskIx>,
    pub(super) stop: Option<CancelReason>,
    pub(super) finished: Option<RunStatus>,
    actions: Vec<Action>,
}

impl Machine {
    /// A machine that has seen nothing yet.
    pub fn new(shape: Shape) -> Self {
        let dependants = shape.dependants();
        let chains = shape.chains(&dependants);
        let mut ready = vec![BTreeSet::new(); shape.max_jobs.len()];
        let states = shape
            .tasks
            .iter()
            .enumerate()
            .map(|(at, task)| {
                if task.needs.is_empty() {
                    ready[task.server.0 as usize].insert((Reverse(chains[at]), TaskIx(dense(at))));
                    TaskState::Ready
                } else {
                    TaskState::Waiting(dense(task.needs.len()))
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
            prepared: vec![BTreeSet::new(); shape.max_jobs.len()],
            ahead: vec![0; shape.max_jobs.len()],
            in_use: vec![0; shape.max_jobs.len()],
            in_flight: 0,
            counts: Counts::default(),
            cause: None,
            stop: None,
            finished: None,
            actions: Vec::new(),
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

    /// The task that failed first.
    pub fn cause(&self) -> Option<TaskIx> {
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
                server,
                fresh,
            } => self.assign(*ticket, *server, *fresh),
            Fact::Prepared { ticket } => self.prepare(*ticket),
            Fact::Started { ticket } => self.start(*ticket),
            // The id is the driver's business: it follows from the ticket.
            Fact::Accepted { ticket, .. } => self.known(ticket.task, "accepted").map(drop),
            Fact::Released { ticket } => self.release(*ticket),
            Fact::Ended { ticket, outcome } => self.end(*ticket, outcome),
            Fact::Retried {
                task,
                not_before,
                fresh,
            } => self.retry(*task, *not_before, *fresh),
            Fact::Stop { reason } => {
                self.stop = self.stop.max(Some(*reason));
                Ok(())
            }
            Fact::Cancelling { task, reason } => self.cancel(*task, *reason),
            Fact::Settled { task, settlement } => self.settle(*task, *settlement),
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
                    ..
                } => Some(Owed {
                    ticket,
                    server: self.shape.tasks[task.0 as usize].server,
                    fresh,
                    cancelling,
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
        self.shape.tasks[task.0 as usize].server.0 as usize
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
        server: ServerIx,
        fresh: bool,
    ) -> Result<(), Contradiction> {
        let what = "assigned";
        let task = ticket.task;
        match self.known(task, what)? {
            TaskState::Ready => {}
            TaskState::Paused { ticket: next, .. } if next == ticket => {}
            _ => return Err(Contradiction { task, what }),
        }
        if self.shape.tasks[task.0 as usize].server != server {
            return Err(Contradiction { task, what });
        }
        self.leave(task);
        self.ahead[server.0 as usize] += 1;
        self.running.insert(task);
        self.states[task.0 as usize] = TaskState::Running {
            ticket,
            phase: Phase::Preparing,
            cancelling: None,
            fresh,
        };
        self.actions.push(Action::Prepare {
            ticket,
            server,
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
            Outcome::Done { .. } => self.close(task, TaskStatus::Done),
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
                Settlement::Skipped { .. } => TaskStatus::Skipped,
                Settlement::Cancelled => TaskStatus::Cancelled,
                Settlement::Lost { .. } => TaskStatus::Failed,
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
                self.cause.get_or_insert(task);
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
                    let server = self.shape.tasks[dependant.0 as usize].server;
                    let rank = self.rank(dependant);
                    self.ready[server.0 as usize].insert(rank);
                    TaskState::Ready
                };
            }
        }
    }
}
