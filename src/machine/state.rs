//! The mutable side: one state per task, counters of what is taken, and the sets of what may start.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::fact::{CancelReason, Fact, Outcome, Settlement, Ticket};
use super::shape::{ServerIx, Shape, dense};
use crate::event::{Counts, RunStatus, TaskStatus};
use crate::plan::TaskIx;

/// Times that a lost job is submitted before its task fails.
const MAX_SUBMISSIONS: u32 = 3;
/// Pause before the first resubmission of a lost job, doubled each time, in milliseconds.
const LOST_PAUSE: u64 = 250;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for this many tasks.
    Waiting(u32),
    /// May start as soon as there is room.
    Ready,
    /// Has a slot.
    Running {
        /// Which try.
        ticket: Ticket,
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

/// Something to do in the world, once the facts that led to it are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a task.
    Start {
        /// Which try.
        ticket: Ticket,
        /// Where.
        server: ServerIx,
        /// The server must be made to execute again.
        fresh: bool,
    },
    /// Cancel a task's job.
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

/// Something that was assigned and has not ended.
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
type Rank = (Reverse<u32>, TaskIx);

/// The scheduler. See the room's documentation.
#[derive(Clone, Debug)]
pub struct Machine {
    shape: Shape,
    dependants: Vec<Vec<TaskIx>>,
    chains: Vec<u32>,
    states: Vec<TaskState>,
    losses: Vec<u32>,
    ready: Vec<BTreeSet<Rank>>,
    paused: BTreeSet<(u64, TaskIx)>,
    unsettled: Vec<TaskIx>,
    running: BTreeSet<TaskIx>,
    in_use: Vec<u32>,
    counts: Counts,
    cause: Option<TaskIx>,
    stop: Option<CancelReason>,
    finished: Option<RunStatus>,
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
            in_use: vec![0; shape.max_jobs.len()],
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

    /// The decisions that follow from the state at `now` (milliseconds of the driver's clock, the same after a resume). The caller
    /// applies each of them; when they are applied, there may be further ones.
    pub fn decide(&self, now: u64) -> Vec<Fact> {
        if self.finished.is_some() {
            return Vec::new();
        }
        let mut facts = Vec::new();
        self.decide_cancels(&mut facts);
        self.decide_unsettled(now, &mut facts);
        if self.halting() {
            self.decide_rest(&mut facts);
        } else if facts.is_empty() {
            self.decide_starts(now, &mut facts);
        }
        if facts.is_empty() && self.counts_total() == self.states.len() {
            facts.push(Fact::Finished {
                status: self.verdict(),
            });
        }
        facts
    }

    /// Whether nothing new may start.
    fn halting(&self) -> bool {
        self.stop.is_some() || self.cause.is_some() || self.counts.cancelled > 0
    }

    fn counts_total(&self) -> usize {
        let c = self.counts;
        c.done + c.failed + c.skipped + c.cancelled
    }

    fn verdict(&self) -> RunStatus {
        if self.counts.cancelled > 0 && (self.stop.is_some() || self.counts.failed == 0) {
            RunStatus::Cancelled
        } else if self.counts.failed > 0 {
            RunStatus::Failed
        } else {
            RunStatus::Done
        }
    }

    /// Every running task learns of a stop that outranks what it was told so far.
    fn decide_cancels(&self, facts: &mut Vec<Fact>) {
        let Some(reason) = self.stop else { return };
        for &task in &self.running {
            if let TaskState::Running { cancelling, .. } = self.state(task)
                && cancelling < Some(reason)
            {
                facts.push(Fact::Cancelling { task, reason });
            }
        }
    }

    fn decide_unsettled(&self, now: u64, facts: &mut Vec<Fact>) {
        for &task in &self.unsettled {
            let TaskState::Unsettled { gone, .. } = self.state(task) else {
                continue;
            };
            let losses = self.losses[task.0 as usize];
            if self.halting() {
                facts.push(Fact::Settled {
                    task,
                    settlement: Settlement::Cancelled,
                });
            } else if losses >= MAX_SUBMISSIONS {
                facts.push(Fact::Settled {
                    task,
                    settlement: Settlement::Lost { times: losses },
                });
            } else {
                let pause = if gone {
                    0
                } else {
                    LOST_PAUSE << losses.saturating_sub(1)
                };
                facts.push(Fact::Retried {
                    task,
                    not_before: now + pause,
                    fresh: gone,
                });
            }
        }
    }

    /// After a failure or a stop, whatever has not started never will.
    fn decide_rest(&self, facts: &mut Vec<Fact>) {
        if self.counts_total() + self.running.len() + self.unsettled.len() == self.states.len() {
            return;
        }
        for (at, state) in self.states.iter().enumerate() {
            let settlement = match (state, self.cause) {
                (TaskState::Waiting(_) | TaskState::Ready, Some(cause)) if self.stop.is_none() => {
                    Settlement::Skipped { cause }
                }
                (TaskState::Waiting(_) | TaskState::Ready | TaskState::Paused { .. }, _) => {
                    Settlement::Cancelled
                }
                _ => continue,
            };
            facts.push(Fact::Settled {
                task: TaskIx(dense(at)),
                settlement,
            });
        }
    }

    fn decide_starts(&self, now: u64, facts: &mut Vec<Fact>) {
        let mut left = self
            .shape
            .max_parallel
            .map_or(usize::MAX, |n| n as usize)
            .saturating_sub(self.running.len());
        let mut free: Vec<u32> = self
            .shape
            .max_jobs
            .iter()
            .zip(&self.in_use)
            .map(|(most, used)| most.saturating_sub(*used))
            .collect();
        // What was lost goes first: it has waited longest.
        for &(_, task) in self.paused.iter().take_while(|(at, _)| *at <= now) {
            let server = self.shape.tasks[task.0 as usize].server;
            if let TaskState::Paused { ticket, fresh, .. } = self.state(task)
                && left > 0
                && free[server.0 as usize] > 0
            {
                left -= 1;
                free[server.0 as usize] -= 1;
                facts.push(Fact::Assigned {
                    ticket,
                    server,
                    fresh,
                });
            }
        }
        // One cursor per server with room, so that a full server never holds up another one.
        let mut cursors: Vec<_> = self.ready.iter().map(BTreeSet::iter).collect();
        let mut heads: BinaryHeap<Reverse<(Rank, usize)>> = BinaryHeap::new();
        for (server, cursor) in cursors.iter_mut().enumerate() {
            if free[server] > 0
                && let Some(rank) = cursor.next()
            {
                heads.push(Reverse((*rank, server)));
            }
        }
        while left > 0
            && let Some(Reverse(((_, task), server))) = heads.pop()
        {
            left -= 1;
            free[server] -= 1;
            facts.push(Fact::Assigned {
                ticket: Ticket {
                    task,
                    attempt: 1,
                    try_: 1,
                },
                server: ServerIx(dense(server)),
                fresh: false,
            });
            if free[server] > 0
                && let Some(rank) = cursors[server].next()
            {
                heads.push(Reverse((*rank, server)));
            }
        }
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
            // The id is the driver's business: it follows from the ticket.
            Fact::Accepted { ticket, .. } => self.known(ticket.task, "accepted").map(drop),
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

    fn leave_queues(&mut self, task: TaskIx) {
        let rank = self.rank(task);
        let server = self.shape.tasks[task.0 as usize].server;
        match self.state(task) {
            TaskState::Ready => {
                self.ready[server.0 as usize].remove(&rank);
            }
            TaskState::Paused { not_before, .. } => {
                self.paused.remove(&(not_before, task));
            }
            TaskState::Unsettled { .. } => self.unsettled.retain(|t| *t != task),
            _ => {}
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
        self.leave_queues(task);
        self.in_use[server.0 as usize] += 1;
        self.running.insert(task);
        self.states[task.0 as usize] = TaskState::Running {
            ticket,
            cancelling: None,
            fresh,
        };
        self.actions.push(Action::Start {
            ticket,
            server,
            fresh,
        });
        Ok(())
    }

    fn end(&mut self, ticket: Ticket, outcome: &Outcome) -> Result<(), Contradiction> {
        let task = ticket.task;
        let TaskState::Running {
            ticket: current, ..
        } = self.known(task, "ended")?
        else {
            return Ok(());
        };
        if current != ticket {
            return Ok(());
        }
        self.running.remove(&task);
        let server = self.shape.tasks[task.0 as usize].server;
        self.in_use[server.0 as usize] -= 1;
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
        self.leave_queues(task);
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
        let TaskState::Running { ticket, fresh, .. } = self.known(task, what)? else {
            return Err(Contradiction { task, what });
        };
        self.states[task.0 as usize] = TaskState::Running {
            ticket,
            cancelling: Some(reason),
            fresh,
        };
        self.actions.push(Action::Cancel { task, reason });
        Ok(())
    }

    fn settle(&mut self, task: TaskIx, settlement: Settlement) -> Result<(), Contradiction> {
        let what = "settled";
        if matches!(
            self.known(task, what)?,
            TaskState::Running { .. } | TaskState::Ended(_)
        ) {
            return Err(Contradiction { task, what });
        }
        self.leave_queues(task);
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
