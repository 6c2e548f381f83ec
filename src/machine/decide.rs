//! What follows from a state: the decisions.

use super::fact::{CancelReason, Cause, Fact, FailureClass, RetryCause, Settlement, Ticket};
use super::state::Machine;
use super::task::{TaskState, Trouble};
use crate::event::RunStatus;
use crate::plan::TaskIx;

/// Times that the job of one attempt is submitted before the attempt has failed.
pub(super) const MAX_SUBMISSIONS: u32 = 3;
/// Pause before the first resubmission of a lost job, doubled each time, in milliseconds.
const LOST_PAUSE: u64 = 250;

impl Machine {
    /// The next decision that follows from the state at `now` (milliseconds of the driver's clock, the same after a resume); none when
    /// there is nothing to decide. The caller applies it and asks again: there may be further ones.
    ///
    /// A driver may die between any two decisions, and the rest is then decided again from the state in between. Since one decision is
    /// made at a time, from the state alone, that is the rest which would have been decided anyway.
    pub fn decide(&self, now: u64) -> Vec<Fact> {
        self.decide_one(now).into_iter().collect()
    }

    fn decide_one(&self, now: u64) -> Option<Fact> {
        if self.finished.is_some() {
            return None;
        }
        if self.open_steps == 0 {
            let status = self.verdict();
            return Some(Fact::Finished { status });
        }
        self.decide_stop(now)
            .or_else(|| self.decide_cancel())
            .or_else(|| self.decide_due())
            .or_else(|| self.decide_unsettled(now))
            .or_else(|| {
                if self.halting() {
                    self.decide_rest()
                } else {
                    self.decide_woken()
                        .or_else(|| self.decide_leaving())
                        .or_else(|| self.decide_start())
                        .or_else(|| self.decide_assignment(now))
                        .or_else(|| self.decide_move())
                }
            })
            .or_else(|| self.decide_stuck())
    }

    fn verdict(&self) -> RunStatus {
        let stopped = self.counts.cancelled > 0 || self.cut_short;
        if stopped && (self.stop.is_some() || self.failures == 0) {
            RunStatus::Cancelled
        } else if self.failures > 0 {
            RunStatus::Failed
        } else {
            RunStatus::Done
        }
    }

    fn decide_stop(&self, now: u64) -> Option<Fact> {
        let reason = CancelReason::Deadline;
        let late = self.policy.deadline.is_some_and(|at| at <= now);
        (late && self.stop < Some(reason)).then_some(Fact::Stop { reason })
    }

    /// Every task in flight learns of a stop that outranks what it was told so far.
    fn decide_cancel(&self) -> Option<Fact> {
        let (task, reason) = (*self.untold.first()?, self.stop?);
        Some(Fact::Cancelling { task, reason })
    }

    /// What will never run is told so.
    fn decide_due(&self) -> Option<Fact> {
        if let Some((task, settlement)) = self.due.first_key_value() {
            return Some(Fact::Settled {
                task: *task,
                settlement: *settlement,
            });
        }
        let (step, cause) = self.due_steps.first_key_value()?;
        Some(Fact::StepSkipped {
            step: *step,
            cause: *cause,
        })
    }

    fn decide_unsettled(&self, now: u64) -> Option<Fact> {
        let task = *self.unsettled.first()?;
        let TaskState::Unsettled { ticket, trouble } = self.state(task) else {
            return None;
        };
        let losses = self.tasks[task.0 as usize].losses;
        let lost = trouble == Trouble::Lost || trouble == Trouble::Gone;
        let settled = |settlement| Some(Fact::Settled { task, settlement });
        let retried = |pause: u64, because| {
            Some(Fact::Retried {
                task,
                not_before: if pause == 0 {
                    0
                } else {
                    now.saturating_add(pause)
                },
                fresh: because == RetryCause::Gone,
                attempt: because == RetryCause::Failed,
                because,
            })
        };
        if lost && losses >= MAX_SUBMISSIONS {
            return if !self.halting() && self.may_retry(ticket, FailureClass::Lost) {
                retried(self.pause(ticket), RetryCause::Failed)
            } else {
                settled(Settlement::Lost { times: losses })
            };
        }
        match trouble {
            Trouble::Failed(_) if self.halting() => settled(Settlement::Failed),
            _ if self.halting() => settled(Settlement::Cancelled),
            Trouble::Failed(_) => retried(self.pause(ticket), RetryCause::Failed),
            Trouble::Lost => {
                let pause = LOST_PAUSE << losses.saturating_sub(1).min(8);
                retried(pause, RetryCause::Lost)
            }
            Trouble::Gone => retried(0, RetryCause::Gone),
        }
    }

    /// The pause after a failed attempt: anything up to the step's delay, doubled with each attempt. It is drawn from the run's seed, so
    /// that deciding again decides the same.
    fn pause(&self, ticket: Ticket) -> u64 {
        let step = self.tasks[ticket.task.0 as usize].step;
        let retry = &self.retries[step.0 as usize];
        let doublings = ticket.attempt.saturating_sub(1).min(32);
        let longest = retry
            .delay
            .saturating_mul(1 << doublings)
            .min(retry.max_delay);
        let drawn =
            scatter(scatter(self.seed ^ u64::from(ticket.task.0)) ^ u64::from(ticket.attempt));
        drawn % longest.saturating_add(1).max(1)
    }

    /// After a failure or a stop, whatever has not started never will.
    fn decide_rest(&self) -> Option<Fact> {
        if let Some(&task) = self.idle.first() {
            let settlement = match self.cause {
                Some(cause) if self.stop.is_none() && !self.was_tried(task) => {
                    Settlement::Skipped { cause }
                }
                _ => Settlement::Cancelled,
            };
            return Some(Fact::Settled { task, settlement });
        }
        let step = *self.growing.first()?;
        let cause = match self.cause {
            Some(cause) if self.stop.is_none() => cause,
            _ => Cause::Stop,
        };
        Some(Fact::StepSkipped { step, cause })
    }

    /// Whether an idle task was submitted in this session.
    fn was_tried(&self, task: TaskIx) -> bool {
        let known = &self.tasks[task.0 as usize];
        match known.state {
            TaskState::Running { ticket, .. } => {
                ticket.try_ > known.floor.saturating_add(1) || ticket.attempt > 1
            }
            TaskState::Ready | TaskState::Paused { .. } => {
                known.losses > 0 || known.next.attempt > 1
            }
            _ => false,
        }
    }

    /// What can never happen ends the run instead of keeping it up: steps that wait for each other, for instance.
    fn decide_stuck(&self) -> Option<Fact> {
        if !self.running.is_empty() || !self.paused.is_empty() || !self.expansions.is_empty() {
            return None;
        }
        if let Some(&task) = self.idle.first() {
            let settlement = Settlement::Impossible;
            return Some(Fact::Settled { task, settlement });
        }
        let step = *self.growing.first()?;
        let cause = Cause::Step(step);
        Some(Fact::StepSkipped { step, cause })
    }
}

/// Spreads a number over all 64 bits (the finaliser of `splitmix64`).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
