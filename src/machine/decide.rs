//! What follows from a state: the decisions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fact::{Fact, RetryCause, Settlement, Ticket};
use super::shape::{EndpointIx, dense};
use super::state::{Machine, TaskState};
use crate::event::RunStatus;
use crate::plan::TaskIx;

/// Times that a lost job is submitted before its task fails.
const MAX_SUBMISSIONS: u32 = 3;
/// Tasks of one server that are prepared beyond the jobs it may hold, at least; so many, that the next job need not wait for the journal.
const AHEAD: u32 = 4;
/// Pause before the first resubmission of a lost job, doubled each time, in milliseconds.
const LOST_PAUSE: u64 = 250;

impl Machine {
    /// The decisions that follow from the state at `now` (milliseconds of the driver's clock, the same after a resume). The caller
    /// applies each of them; when they are applied, there may be further ones.
    ///
    /// A driver may die between any two of them, and the rest is then decided again from the state in between. So no decision stands with
    /// one that would change it or its place: what gives or takes room, or halts the run, is applied before what depends on it is decided.
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
            self.decide_starts(&mut facts);
            // A start makes room to prepare ahead.
            if facts.is_empty() {
                self.decide_assignments(now, &mut facts);
            }
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

    /// Every task in flight learns of a stop that outranks what it was told so far.
    fn decide_cancels(&self, facts: &mut Vec<Fact>) {
        let Some(reason) = self.stop else { return };
        for &task in &self.running {
            if let TaskState::Running {
                cancelling, phase, ..
            } = self.state(task)
                && phase.is_in_flight()
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
                // It halts the run: the others are cancelled, not retried.
                return;
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
                    attempt: false,
                    because: if gone {
                        RetryCause::Gone
                    } else {
                        RetryCause::Lost
                    },
                });
            }
        }
    }

    /// After a failure or a stop, whatever has not started never will.
    fn decide_rest(&self, facts: &mut Vec<Fact>) {
        if self.counts_total() + self.in_flight + self.unsettled.len() == self.states.len() {
            return;
        }
        for (at, state) in self.states.iter().enumerate() {
            let tried = match state {
                TaskState::Waiting(_) | TaskState::Ready => false,
                TaskState::Paused { .. } => true,
                TaskState::Running { ticket, phase, .. } if !phase.is_in_flight() => {
                    ticket.try_ > 1
                }
                _ => continue,
            };
            let settlement = match self.cause {
                Some(cause) if self.stop.is_none() && !tried => Settlement::Skipped { cause },
                _ => Settlement::Cancelled,
            };
            facts.push(Fact::Settled {
                task: TaskIx(dense(at)),
                settlement,
            });
        }
    }

    /// Slots go to prepared tasks, a server's slot and a place under `max_parallel` in one move.
    fn decide_starts(&self, facts: &mut Vec<Fact>) {
        let mut left = self
            .shape
            .max_parallel
            .map_or(usize::MAX, |n| n as usize)
            .saturating_sub(self.in_flight);
        let free = |server: usize| {
            self.shape.endpoints[server]
                .max_jobs
                .max(1)
                .saturating_sub(self.in_use[server])
        };
        // One cursor per server with room, so that a full server never holds up another one.
        let mut heads = BinaryHeap::new();
        let mut cursors: Vec<_> = self
            .prepared
            .iter()
            .enumerate()
            .map(|(server, ranks)| ranks.iter().take(free(server) as usize))
            .collect();
        for (server, cursor) in cursors.iter_mut().enumerate() {
            heads.extend(cursor.next().map(|rank| Reverse((*rank, server))));
        }
        while left > 0
            && let Some(Reverse(((_, task), server))) = heads.pop()
        {
            left -= 1;
            if let TaskState::Running { ticket, .. } = self.state(task) {
                facts.push(Fact::Started { ticket });
            }
            heads.extend(cursors[server].next().map(|rank| Reverse((*rank, server))));
        }
    }

    /// How many more tasks of a server may be prepared. While there is room for a job, no more than fit: the first in order are the
    /// first to start, not those that happen to be prepared sooner. Beyond that, some are prepared ahead.
    fn room(&self, server: usize) -> u32 {
        let most = self.shape.endpoints[server].max_jobs.max(1);
        let places = self
            .shape
            .max_parallel
            .map_or(u32::MAX, |n| n.saturating_sub(dense(self.in_flight)));
        let free = most.saturating_sub(self.in_use[server]).min(places);
        let window = if free > 0 {
            free
        } else {
            most.saturating_sub(self.in_use[server]) + most.max(AHEAD)
        };
        window.saturating_sub(self.ahead[server])
    }

    /// Each server has the tasks for its slots and some more prepared.
    fn decide_assignments(&self, now: u64, facts: &mut Vec<Fact>) {
        let mut room: Vec<u32> = (0..self.ahead.len())
            .map(|server| self.room(server))
            .collect();
        // What was lost goes first: it has waited longest.
        for &(_, task) in self.paused.iter().take_while(|(at, _)| *at <= now) {
            let server = self.servers[task.0 as usize];
            if let TaskState::Paused { ticket, fresh, .. } = self.state(task)
                && room[server] > 0
            {
                room[server] -= 1;
                facts.push(Fact::Assigned {
                    ticket,
                    endpoint: EndpointIx(dense(server)),
                    fresh,
                });
            }
        }
        for (server, ready) in self.ready.iter().enumerate() {
            for &(_, task) in ready.iter().take(room[server] as usize) {
                facts.push(Fact::Assigned {
                    ticket: Ticket {
                        task,
                        attempt: 1,
                        try_: 1,
                    },
                    endpoint: EndpointIx(dense(server)),
                    fresh: false,
                });
            }
        }
    }
}
