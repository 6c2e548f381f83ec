//! What facts about tries do to tasks.

use super::fact::{CancelReason, FailureClass, Outcome, RetryCause, Settlement, Ticket};
use super::shape::EndpointIx;
use super::state::{Action, Contradiction, Machine, no_task};
use super::task::{Phase, TaskState, Trouble};
use crate::base::ContentHash;
use crate::event::TaskStatus;
use crate::plan::{RetryClass, TaskIx};

impl Machine {
    /// Refuses a fact about a try that cannot have been.
    pub(super) fn given_out(
        &self,
        ticket: Ticket,
        what: &'static str,
    ) -> Result<(), Contradiction> {
        match self.known(ticket.task) {
            Some(task) if task.highest > 0 => Ok(()),
            _ => Err(no_task(ticket.task, what)),
        }
    }

    /// The state of a try, when it is the one that the machine named last; what an older one says is ignored.
    fn current(
        &self,
        ticket: Ticket,
        what: &'static str,
    ) -> Result<Option<(EndpointIx, Phase)>, Contradiction> {
        self.given_out(ticket, what)?;
        Ok(match self.tasks[ticket.task.0 as usize].state {
            TaskState::Running {
                ticket: current,
                endpoint,
                phase,
                ..
            } if current == ticket => Some((endpoint, phase)),
            _ => None,
        })
    }

    fn move_on(&mut self, task: TaskIx, to: Phase) {
        let mut state = self.tasks[task.0 as usize].state;
        if let TaskState::Running { phase, .. } = &mut state {
            *phase = to;
        }
        self.put(task, state);
    }

    pub(super) fn assign(
        &mut self,
        ticket: Ticket,
        endpoint: EndpointIx,
        fresh: bool,
    ) -> Result<(), Contradiction> {
        let task = ticket.task;
        let contradiction = no_task(task, "assigned");
        let known = self.known(task).ok_or(contradiction)?;
        let waits = matches!(known.state, TaskState::Ready | TaskState::Paused { .. });
        let step = known.step;
        if !waits || known.next != ticket || !self.places.lane(step).pool.contains(&endpoint) {
            return Err(contradiction);
        }
        self.put(
            task,
            TaskState::Running {
                ticket,
                endpoint,
                phase: Phase::Preparing,
                cancelling: None,
                fresh,
            },
        );
        let known = self.task(task);
        known.highest = known.highest.max(ticket.try_);
        known.at = Some(endpoint);
        known.pinned = false;
        self.steps[step.0 as usize].at = Some(endpoint);
        self.actions.push(Action::Prepare {
            ticket,
            endpoint,
            fresh,
        });
        Ok(())
    }

    pub(super) fn prepare(
        &mut self,
        ticket: Ticket,
        key: Option<ContentHash>,
    ) -> Result<(), Contradiction> {
        let Some((_, Phase::Preparing)) = self.current(ticket, "prepared")? else {
            return Ok(());
        };
        let task = ticket.task;
        match key {
            Some(key) if self.joins(task, key) => {
                self.put(task, TaskState::Parked { ticket });
                let reason = CancelReason::Superseded;
                self.actions.push(Action::Cancel { task, reason });
            }
            Some(_) => self.move_on(task, Phase::Prepared),
            None => {
                self.abdicate(task, false);
                self.move_on(task, Phase::Prepared);
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, ticket: Ticket) -> Result<(), Contradiction> {
        let (task, what) = (ticket.task, "started");
        let Some((_, Phase::Prepared)) = self.current(ticket, what)? else {
            return Err(no_task(task, what));
        };
        self.move_on(task, Phase::Started);
        self.task(task).overtaken = 0;
        self.count_overtaken(task);
        self.actions.push(Action::Start { ticket });
        Ok(())
    }

    /// Whoever is first in a lane and waits for what a lower-ranked task has just taken remembers it.
    fn count_overtaken(&mut self, by: TaskIx) {
        let lane = self.places.lane_of(self.tasks[by.0 as usize].step);
        if self.places.lanes[lane].claims.is_empty() {
            return;
        }
        let rank = self.rank(by);
        let mut overtaken = Vec::new();
        for endpoint in &self.places.endpoints {
            for (other, ranks) in &endpoint.prepared {
                let shares =
                    self.places.lanes[*other].shares_a_claim_with(&self.places.lanes[lane]);
                overtaken.extend(
                    ranks
                        .first()
                        .filter(|first| shares && **first < rank)
                        .cloned(),
                );
            }
        }
        for rank in overtaken {
            let known = self.task(rank.task);
            known.overtaken = known.overtaken.saturating_add(1);
        }
    }

    pub(super) fn release(&mut self, ticket: Ticket) -> Result<(), Contradiction> {
        if let Some((_, Phase::Started)) = self.current(ticket, "released")? {
            self.move_on(ticket.task, Phase::Released);
        }
        Ok(())
    }

    pub(super) fn end(&mut self, ticket: Ticket, outcome: &Outcome) -> Result<(), Contradiction> {
        let task = ticket.task;
        let Some((endpoint, _)) = self.current(ticket, "ended")? else {
            return Ok(());
        };
        let good = matches!(outcome, Outcome::Done { .. } | Outcome::Cached { .. });
        self.abdicate(task, good);
        let told = match self.tasks[task.0 as usize].state {
            TaskState::Running { cancelling, .. } => cancelling.is_some() || self.stop.is_some(),
            _ => false,
        };
        let ended = match outcome {
            Outcome::Done { .. } => Ok(TaskStatus::Done),
            Outcome::Cached { .. } => Ok(TaskStatus::Cached),
            Outcome::Skipped => Ok(TaskStatus::Skipped),
            Outcome::Failed { class, .. } if self.may_retry(ticket, *class) => {
                Err(Trouble::Failed(*class))
            }
            Outcome::Failed { .. } => Ok(TaskStatus::Failed),
            Outcome::Cancelled if told => Ok(TaskStatus::Cancelled),
            // Nobody who counts any more wanted that, for instance a session before this one.
            Outcome::Cancelled | Outcome::Lost => Err(Trouble::Lost),
            Outcome::Gone => Err(Trouble::Gone),
        };
        let trouble = match ended {
            Ok(status) => {
                self.close(task, status, None);
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        let known = self.task(task);
        if !matches!(trouble, Trouble::Failed(_)) {
            known.losses = known.losses.saturating_add(1);
        }
        if trouble != Trouble::Gone {
            known.avoid = Some(endpoint);
        }
        self.put(task, TaskState::Unsettled { ticket, trouble });
        Ok(())
    }

    /// Whether the step's `retry` knows another attempt after one that failed in this way.
    pub(super) fn may_retry(&self, ticket: Ticket, class: FailureClass) -> bool {
        let step = self.tasks[ticket.task.0 as usize].step;
        let retry = &self.retries[step.0 as usize];
        let covers =
            |class| retry.classes.contains(&RetryClass::Any) || retry.classes.contains(&class);
        ticket.attempt < retry.attempts && class.retry_class().is_some_and(covers)
    }

    pub(super) fn retry(
        &mut self,
        task: TaskIx,
        not_before: u64,
        fresh: bool,
        attempt: bool,
        because: RetryCause,
    ) -> Result<(), Contradiction> {
        let contradiction = no_task(task, "retried");
        let last = match self.known(task).ok_or(contradiction)?.state {
            TaskState::Unsettled { ticket, .. } => ticket,
            TaskState::Running { ticket, phase, .. }
                if because == RetryCause::Moved && !phase.is_in_flight() =>
            {
                let reason = CancelReason::Superseded;
                self.actions.push(Action::Cancel { task, reason });
                ticket
            }
            TaskState::Parked { ticket } if self.is_woken(task) => ticket,
            _ => return Err(contradiction),
        };
        self.twins.woken.remove(&task);
        let known = self.task(task);
        known.fresh = fresh;
        known.next = if attempt {
            known.losses = 0;
            Ticket {
                attempt: last.attempt.saturating_add(1),
                try_: known.floor.saturating_add(1),
                ..last
            }
        } else {
            last.again()
        };
        self.put(task, TaskState::Waiting);
        // What it needs may have got another chance in a resumed run.
        self.weigh(task);
        if self.state(task) == TaskState::Ready && not_before > 0 {
            self.put(task, TaskState::Paused { not_before });
        }
        Ok(())
    }

    pub(super) fn cancel(
        &mut self,
        task: TaskIx,
        reason: CancelReason,
    ) -> Result<(), Contradiction> {
        let contradiction = no_task(task, "cancelled");
        let mut state = self.known(task).ok_or(contradiction)?.state;
        let TaskState::Running { cancelling, .. } = &mut state else {
            return Err(contradiction);
        };
        *cancelling = (*cancelling).max(Some(reason));
        self.put(task, state);
        self.actions.push(Action::Cancel { task, reason });
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        task: TaskIx,
        settlement: Settlement,
    ) -> Result<(), Contradiction> {
        let contradiction = no_task(task, "settled");
        match self.known(task).ok_or(contradiction)?.state {
            TaskState::Ended(_) => return Err(contradiction),
            TaskState::Running { phase, .. } if phase.is_in_flight() => return Err(contradiction),
            TaskState::Running { .. } => self.actions.push(Action::Cancel {
                task,
                reason: CancelReason::Leave,
            }),
            _ => {}
        }
        self.abdicate(task, false);
        match settlement {
            Settlement::Skipped { cause } => self.close(task, TaskStatus::Skipped, Some(cause)),
            Settlement::Unwanted => self.close(task, TaskStatus::Skipped, None),
            Settlement::Cancelled => self.close(task, TaskStatus::Cancelled, None),
            Settlement::Failed | Settlement::Lost { .. } | Settlement::Impossible => {
                self.close(task, TaskStatus::Failed, None);
            }
        }
        Ok(())
    }
}
