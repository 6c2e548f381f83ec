//! For tests: what must hold of a journal, worked out from its facts alone, and how the tasks of an orderly world must end, worked out
//! from the pipeline alone. Neither asks the machine.

use std::collections::{BTreeMap, HashSet};

use super::choose::MAX_OVERTAKEN;
use super::decide::MAX_SUBMISSIONS;
use super::entry::{Entry, Live};
use super::foresight::ran;
use super::scenario::TaskId;
use super::*;
use crate::event::{RunStatus, TaskStatus};
use crate::plan::{RetryClass, TaskIx, TaskPlan};

type Verdict<T = ()> = Result<T, String>;

/// Follows a journal and refuses what must not be.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    shape: Shape,
    chains: Vec<u64>,
    entries: Vec<Entry>,
    tickets: HashSet<Ticket>,
    used: Vec<u32>,
    claimed: Vec<u32>,
    in_flight: usize,
    failures: u32,
    cancelled: u32,
    stopped: Option<CancelReason>,
    expanded: HashSet<(StepIx, Option<TaskIx>)>,
    broken: HashSet<StepIx>,
    closed: HashSet<StepIx>,
    finished: Option<RunStatus>,
}

fn check(holds: bool, wrong: impl Fn() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(wrong()) }
}

impl Ledger {
    pub(super) fn new(shape: &Shape) -> Self {
        let mut chains = vec![0; shape.steps.len()];
        for at in (0..shape.steps.len()).rev() {
            chains[at] += shape.steps[at].expected_ms;
            for need in &shape.steps[at].needs {
                let need = need.step.0 as usize;
                chains[need] = chains[need].max(chains[at]);
            }
        }
        let mut ledger = Self {
            chains,
            entries: Vec::new(),
            tickets: HashSet::new(),
            used: vec![0; shape.endpoints.len()],
            claimed: vec![0; shape.limits.len()],
            in_flight: 0,
            failures: 0,
            cancelled: 0,
            stopped: None,
            expanded: HashSet::new(),
            broken: HashSet::new(),
            closed: HashSet::new(),
            finished: None,
            shape: shape.clone(),
        };
        for task in &shape.tasks {
            let (step, order) = (task.step, task.order.clone());
            ledger.add(TaskId { step, order }, Vec::new());
        }
        ledger
    }

    fn add(&mut self, id: TaskId, needs: Vec<TaskIx>) {
        self.entries.push(Entry {
            id,
            needs,
            live: None,
            status: None,
            asked_before: false,
            unwanted: false,
            put_back: false,
            unsettled: false,
            submissions: 0,
        });
    }

    /// Another session may have another policy.
    pub(super) fn obey(&mut self, policy: Policy) {
        self.shape.policy = policy;
    }

    pub(super) fn tasks(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn id(&self, task: TaskIx) -> TaskId {
        self.entries[task.0 as usize].id.clone()
    }

    pub(super) fn statuses(&self) -> BTreeMap<TaskId, Option<TaskStatus>> {
        let of = |entry: &Entry| (entry.id.clone(), entry.status);
        self.entries.iter().map(of).collect()
    }

    pub(super) fn status(&self, task: TaskIx) -> Option<TaskStatus> {
        self.entries.get(task.0 as usize)?.status
    }

    pub(super) fn is_released(&self, ticket: Ticket) -> bool {
        let live = self.entries[ticket.task.0 as usize].live.as_ref();
        live.is_some_and(|live| live.ticket == ticket && live.phase == Phase::Released)
    }

    /// Once everything is decided, whatever runs knows of a stop.
    pub(super) fn check_told(&self) -> Verdict {
        let live = self.entries.iter().filter_map(|entry| entry.live.as_ref());
        let mut flying = live.filter(|live| live.phase >= Phase::Started);
        let untold = flying.find(|live| live.told < self.stopped);
        check(untold.is_none(), || format!("{untold:?} was not told"))
    }

    pub(super) fn live(&self) -> Vec<(Ticket, EndpointIx)> {
        let live = self.entries.iter().filter_map(|entry| entry.live.as_ref());
        live.map(|live| (live.ticket, live.endpoint)).collect()
    }

    fn entry(&mut self, task: TaskIx) -> Verdict<&mut Entry> {
        let known = self.entries.get_mut(task.0 as usize);
        known.ok_or_else(|| format!("there is no {task:?}"))
    }

    fn current(&mut self, ticket: Ticket) -> Verdict<Option<&mut Live>> {
        let live = self.entry(ticket.task)?.live.as_mut();
        Ok(live.filter(|live| live.ticket == ticket))
    }

    fn halted(&self) -> bool {
        let policy = self.shape.policy;
        self.stopped.is_some()
            || self.cancelled > 0
            || (self.failures > 0 && !policy.keep_going)
            || policy.max_fail.is_some_and(|most| self.failures >= most)
    }

    fn step_of(&self, task: TaskIx) -> &StepShape {
        &self.shape.steps[self.entries[task.0 as usize].id.step.0 as usize]
    }

    /// Takes the next fact.
    pub(super) fn note(&mut self, now: u64, fact: &Fact) -> Verdict {
        check(self.finished.is_none() || !is_decision(fact), || {
            format!("after the end: {fact:?}")
        })?;
        match fact {
            Fact::Expanded {
                step,
                source,
                tasks,
            } => self.grown(*step, *source, tasks)?,
            Fact::ExpandFailed { step, .. } if !self.closed.contains(step) => {
                self.failures += 1;
                self.broken.insert(*step);
            }
            Fact::Assigned {
                ticket, endpoint, ..
            } => self.assigned(*ticket, *endpoint)?,
            Fact::Prepared { ticket, key } => {
                if let Some(live) = self.current(*ticket)?
                    && live.phase == Phase::Preparing
                {
                    (live.phase, live.key) = (Phase::Prepared, *key);
                }
            }
            Fact::Started { ticket } => self.started(*ticket)?,
            Fact::Released { ticket } => self.released(*ticket)?,
            Fact::Ended { ticket, outcome } => self.ended(*ticket, outcome)?,
            Fact::Retried {
                task,
                attempt,
                because,
                not_before,
                ..
            } => {
                check(*not_before == 0 || *not_before > now, || {
                    format!("{fact:?} in the past")
                })?;
                self.retried(*task, *attempt, *because)?;
            }
            Fact::Stop { reason } => self.stopped = self.stopped.max(Some(*reason)),
            Fact::Cancelling { task, reason } => self.cancelling(*task, *reason)?,
            Fact::Settled { task, settlement } => self.settled(*task, *settlement)?,
            Fact::StepSkipped { step, .. } => {
                check(self.closed.insert(*step), || format!("twice: {fact:?}"))?;
            }
            Fact::Resumed { again } => self.resumed(again),
            Fact::Finished { status } => self.finish(*status)?,
            Fact::ExpandFailed { .. }
            | Fact::Accepted { .. }
            | Fact::ServerDown { .. }
            | Fact::ServerUp { .. } => {}
        }
        Ok(())
    }

    fn cancelling(&mut self, task: TaskIx, reason: CancelReason) -> Verdict {
        check(self.stopped >= Some(reason), || {
            format!("nobody wants {task:?} cancelled: {reason:?}")
        })?;
        match &mut self.entry(task)?.live {
            Some(live) if live.phase >= Phase::Started => live.told = Some(reason),
            _ => return Err(format!("nothing to cancel: {task:?}")),
        }
        Ok(())
    }

    fn grown(&mut self, step: StepIx, source: Option<TaskIx>, tasks: &[TaskPlan]) -> Verdict {
        if !self.closed.contains(&step) {
            let first = self.expanded.insert((step, source));
            check(first, || format!("{step:?} expanded twice for {source:?}"))?;
            for task in tasks {
                let order = task.order.clone();
                self.add(TaskId { step, order }, task.needs.clone());
            }
        }
        Ok(())
    }

    fn assigned(&mut self, ticket: Ticket, endpoint: EndpointIx) -> Verdict {
        check(!self.halted(), || format!("{ticket:?} after the halt"))?;
        let new = self.tickets.insert(ticket);
        check(new, || format!("{ticket:?} is given out twice"))?;
        let server = self.step_of(ticket.task).server;
        let there = self.shape.endpoints[endpoint.0 as usize].server;
        check(there == server, || format!("{ticket:?} is elsewhere"))?;
        self.may_run(ticket.task)?;
        let entry = self.entry(ticket.task)?;
        entry.ask_again();
        check(
            entry.live.is_none() && entry.status.is_none() && !entry.unsettled,
            || format!("{ticket:?} while {entry:?}"),
        )?;
        entry.live = Some(Live {
            ticket,
            endpoint,
            phase: Phase::Preparing,
            key: None,
            told: None,
            overtaken: 0,
        });
        Ok(())
    }

    /// Everything that a task needs has ended as it must.
    fn may_run(&self, task: TaskIx) -> Verdict {
        for need in &self.entries[task.0 as usize].needs {
            let need = &self.entries[need.0 as usize];
            check(ran(need.status), || format!("{task:?} without {need:?}"))?;
        }
        let step = self.step_of(task);
        for need in step
            .needs
            .iter()
            .filter(|need| step.grow != Grows::Stream(need.step))
        {
            let tasks: Vec<_> = self
                .entries
                .iter()
                .filter(|e| e.id.step == need.step)
                .collect();
            let ended = tasks.iter().all(|entry| entry.status.is_some());
            check(ended && self.has_grown(need.step), || {
                format!("{task:?} before {need:?}")
            })?;
            let bad = |entry: &&Entry| {
                matches!(
                    entry.status,
                    Some(TaskStatus::Failed | TaskStatus::Cancelled)
                )
            };
            let good = tasks.iter().any(|entry| ran(entry.status))
                && !tasks.iter().any(bad)
                && !self.broken.contains(&need.step);
            check(good || need.optional, || {
                format!("{task:?} although {need:?} went wrong")
            })?;
        }
        Ok(())
    }

    fn has_grown(&self, step: StepIx) -> bool {
        let all = self.entries.iter().zip(0..);
        self.closed.contains(&step)
            || self.broken.contains(&step)
            || match self.shape.steps[step.0 as usize].grow {
                Grows::Known => true,
                Grows::Once => self.expanded.contains(&(step, None)),
                Grows::Stream(from) => all
                    .filter(|(entry, _)| entry.id.step == from && ran(entry.status))
                    .all(|(_, at)| self.expanded.contains(&(step, Some(TaskIx(at))))),
            }
    }

    fn started(&mut self, ticket: Ticket) -> Verdict {
        self.may_run(ticket.task)?;
        check(!self.halted(), || {
            format!("{ticket:?} started after the run halted")
        })?;
        let Some(live) = self.current(ticket)? else {
            return Err(format!("{ticket:?} is not live"));
        };
        check(live.phase == Phase::Prepared, || {
            format!("{ticket:?} is not prepared")
        })?;
        live.phase = Phase::Started;
        let (endpoint, key) = (live.endpoint, live.key);
        let same = |other: &Live| {
            key.is_some()
                && other.key == key
                && other.phase >= Phase::Started
                && other.ticket != ticket
        };
        let others = self.entries.iter().filter_map(|entry| entry.live.as_ref());
        let twin = others.clone().any(same);
        check(!twin, || format!("{ticket:?} runs beside its twin"))?;
        self.used[endpoint.0 as usize] += 1;
        self.in_flight += 1;
        for (limit, n) in self.step_of(ticket.task).claims.clone() {
            self.claimed[limit.0 as usize] += n;
        }
        let entry = self.entry(ticket.task)?;
        entry.submissions += 1;
        let times = entry.submissions;
        check(times <= MAX_SUBMISSIONS, || {
            format!("{ticket:?} is submission {times}")
        })?;
        self.check_resources()?;
        self.check_overtaking(ticket.task)
    }

    fn check_resources(&self) -> Verdict {
        for (used, endpoint) in self.used.iter().zip(&self.shape.endpoints) {
            check(*used <= endpoint.max_jobs, || {
                format!("{used} jobs on {endpoint:?}")
            })?;
        }
        for (claimed, limit) in self.claimed.iter().zip(&self.shape.limits) {
            check(claimed <= limit, || format!("{claimed} of {limit} claimed"))?;
        }
        let most = self.shape.max_parallel.map_or(usize::MAX, |n| n as usize);
        check(self.in_flight <= most, || {
            format!("{} in flight", self.in_flight)
        })
    }

    fn rank(&self, task: TaskIx) -> (std::cmp::Reverse<u64>, TaskId, TaskIx) {
        let id = self.id(task);
        (std::cmp::Reverse(self.chains[id.step.0 as usize]), id, task)
    }

    /// A prepared task, the first of its kind on its endpoint, is passed by lower ones only so often.
    fn check_overtaking(&mut self, by: TaskIx) -> Verdict {
        let rank = self.rank(by);
        let claims = self.step_of(by).claims.clone();
        let waiting: Vec<TaskIx> = self
            .entries
            .iter()
            .filter_map(|entry| entry.live.as_ref())
            .filter(|live| live.phase == Phase::Prepared)
            .map(|live| live.ticket.task)
            .collect();
        for task in &waiting {
            let step = self.step_of(*task).clone();
            let kind = |other: &TaskIx| {
                let other_step = self.step_of(*other);
                let place = |task: &TaskIx| {
                    self.entries[task.0 as usize]
                        .live
                        .as_ref()
                        .map(|l| l.endpoint)
                };
                other_step.claims == step.claims && place(other) == place(task)
            };
            let first = waiting
                .iter()
                .filter(|other| kind(other))
                .map(|t| self.rank(*t))
                .min();
            let shares = step
                .claims
                .iter()
                .any(|(l, _)| claims.iter().any(|(m, _)| l == m));
            if first
                .as_ref()
                .is_some_and(|first| first.2 == *task && *first < rank)
                && shares
            {
                let live = self.entry(*task)?.live.as_mut().ok_or("not live")?;
                live.overtaken += 1;
                let times = live.overtaken;
                check(times <= MAX_OVERTAKEN, || {
                    format!("{task:?} overtaken {times} times")
                })?;
            }
        }
        Ok(())
    }

    fn released(&mut self, ticket: Ticket) -> Verdict {
        if let Some(live) = self.current(ticket)?
            && live.phase == Phase::Started
        {
            live.phase = Phase::Released;
            let endpoint = live.endpoint;
            self.used[endpoint.0 as usize] -= 1;
        }
        Ok(())
    }

    fn ended(&mut self, ticket: Ticket, outcome: &Outcome) -> Verdict {
        let stopped = self.stopped.is_some();
        let Some(live) = self.current(ticket)?.cloned() else {
            return Ok(());
        };
        self.entry(ticket.task)?.live = None;
        if live.phase == Phase::Started {
            self.used[live.endpoint.0 as usize] -= 1;
        }
        if live.phase >= Phase::Started {
            self.in_flight -= 1;
            for (limit, n) in self.step_of(ticket.task).claims.clone() {
                self.claimed[limit.0 as usize] -= n;
            }
        }
        let retry = self.step_of(ticket.task).retry.clone();
        let status = match outcome {
            Outcome::Done { .. } => TaskStatus::Done,
            Outcome::Cached { .. } => TaskStatus::Cached,
            Outcome::Skipped => {
                self.entry(ticket.task)?.unwanted = true;
                TaskStatus::Skipped
            }
            Outcome::Cancelled if live.told.is_some() || stopped => TaskStatus::Cancelled,
            Outcome::Failed { class, .. }
                if ticket.attempt >= retry.attempts
                    || class.retry_class().is_none_or(|class| {
                        !retry.classes.contains(&class) && !retry.classes.contains(&RetryClass::Any)
                    }) =>
            {
                TaskStatus::Failed
            }
            outcome => {
                let entry = self.entry(ticket.task)?;
                entry.unsettled = true;
                if matches!(outcome, Outcome::Failed { .. }) {
                    entry.submissions = 0;
                }
                return Ok(());
            }
        };
        self.close(ticket.task, status)
    }

    fn close(&mut self, task: TaskIx, status: TaskStatus) -> Verdict {
        let entry = self.entry(task)?;
        check(entry.status.is_none(), || format!("{task:?} ends twice"))?;
        entry.status = Some(status);
        entry.unsettled = false;
        self.failures += u32::from(status == TaskStatus::Failed);
        self.cancelled += u32::from(status == TaskStatus::Cancelled);
        Ok(())
    }

    fn retried(&mut self, task: TaskIx, attempt: bool, because: RetryCause) -> Verdict {
        check(!self.halted(), || {
            format!("{task:?} retried after the run halted")
        })?;
        let entry = self.entry(task)?;
        let live = entry.live.as_ref();
        let waits = live.is_some_and(|live| live.phase <= Phase::Prepared);
        let fits = match because {
            RetryCause::Moved | RetryCause::Twin => waits && !attempt,
            RetryCause::Lost | RetryCause::Gone => entry.unsettled && !attempt,
            RetryCause::Failed => entry.unsettled && attempt,
        };
        check(fits, || format!("{because:?} {entry:?}"))?;
        entry.live = None;
        entry.unsettled = false;
        if attempt {
            entry.submissions = 0;
        }
        Ok(())
    }

    fn settled(&mut self, task: TaskIx, settlement: Settlement) -> Verdict {
        let entry = self.entry(task)?;
        entry.ask_again();
        entry.unwanted = settlement == Settlement::Unwanted;
        let live = entry.live.as_ref();
        let flies = live.is_some_and(|live| live.phase >= Phase::Started);
        check(!flies, || {
            format!("{settlement:?} although it runs: {entry:?}")
        })?;
        entry.live = None;
        self.close(
            task,
            match settlement {
                Settlement::Skipped { .. } | Settlement::Unwanted => TaskStatus::Skipped,
                Settlement::Cancelled => TaskStatus::Cancelled,
                Settlement::Failed | Settlement::Lost { .. } | Settlement::Impossible => {
                    TaskStatus::Failed
                }
            },
        )
    }

    fn resumed(&mut self, again: &[TaskIx]) {
        (self.failures, self.cancelled, self.stopped, self.finished) = (0, 0, None, None);
        self.closed.clear();
        self.broken.clear();
        for (entry, at) in self.entries.iter_mut().zip(0..) {
            let gone = again.contains(&TaskIx(at));
            if entry.status == Some(TaskStatus::Skipped) && entry.unwanted {
                entry.asked_before = true;
            } else if gone || !ran(entry.status) {
                entry.status = None;
            }
            match &mut entry.live {
                Some(live) if live.phase >= Phase::Started => {
                    live.told = None;
                    entry.submissions = entry.submissions.min(1);
                    continue;
                }
                Some(_) => entry.put_back = true,
                None if entry.unsettled => entry.put_back = true,
                None => {}
            }
            // Losses count within a session: the end of one may have caused them.
            entry.submissions = 0;
        }
    }

    fn finish(&mut self, status: RunStatus) -> Verdict {
        let open = self.entries.iter().find(|entry| entry.status.is_none());
        check(open.is_none(), || format!("the run ends before {open:?}"))?;
        let fits = match status {
            RunStatus::Done => self.failures == 0 && self.cancelled == 0,
            RunStatus::Failed => self.failures > 0,
            RunStatus::Cancelled => self.stopped.is_some(),
        };
        check(fits, || format!("the run ends as {status:?}"))?;
        self.finished = Some(status);
        Ok(())
    }
}

fn is_decision(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Assigned { .. } | Fact::Started { .. } | Fact::Retried { .. } | Fact::Settled { .. }
    )
}
