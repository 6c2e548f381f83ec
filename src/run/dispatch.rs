//! The dispatcher: owns the machine, turns its decisions into durable facts and then into deeds.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::attempt::{Try, discard, has_slot};
use super::context::{RunError, RunOutcome, Stop};
use super::log::Log;
use super::log::now;
use super::plugins::Heeding;
use super::roster::Roster;
use super::shared::Shared;
use crate::base::{StepId, TaskName};
use crate::diagnostic::{JsonDiagnostic, Report};
use crate::event::{RunEvent, RunStatus, StopReason, TaskStatus};
use crate::machine::{
    Action, CancelReason, EndpointIx, Fact, FailureClass, Machine, Outcome, Phase, StepIx,
    TaskState, Ticket,
};
use crate::plan::{self, Plan, StepPlan, TaskIx, TaskOutcome, TaskPlan};

/// Ends of tries that one turn takes at most.
const BATCH: usize = 256;

/// The way to a try under way.
pub(super) struct Handle {
    ticket: Ticket,
    go: Option<oneshot::Sender<()>>,
    pub(super) cancel: watch::Sender<Option<CancelReason>>,
}

/// What became of an attempt of which it is not told yet whether it was the last.
pub(super) struct Failed {
    pub(super) ticket: Ticket,
    pub(super) class: FailureClass,
    pub(super) diagnostic: JsonDiagnostic,
}

/// What stops a run: how urgently, with which exit code, and which tasks are let finish.
pub(super) type Stops = (
    watch::Receiver<Stop>,
    Arc<AtomicU8>,
    watch::Receiver<BTreeSet<TaskName>>,
);

/// The tasks of a step, or why they cannot be known.
type Expansion = ((StepIx, Option<TaskIx>), Result<Vec<TaskPlan>, Report>);

pub(super) struct Dispatcher {
    pub(super) machine: Machine,
    pub(super) roster: Roster,
    /// When tasks were given their slots.
    pub(super) started: HashMap<TaskIx, Instant>,
    /// What tasks of each step took: their number, and milliseconds in all.
    pub(super) took: HashMap<StepId, (u64, u64)>,
    /// How attempts failed.
    pub(super) failures: HashMap<TaskIx, Failed>,
    /// Tasks whose last attempt ran out of memory, in this session or an earlier one.
    out_of_memory: HashSet<TaskIx>,
    /// Tasks that were being stopped when an earlier session ended.
    pub(super) was_stopping: HashSet<TaskIx>,
    /// What servers call the jobs that they named themselves.
    named: HashMap<Ticket, String>,
    /// Why tasks failed, for the exit code.
    pub(super) classes: Vec<FailureClass>,
    pub(super) tries: JoinSet<(Ticket, Outcome)>,
    pub(super) handles: HashMap<TaskIx, Handle>,
    expansions: JoinSet<Expansion>,
    /// Removals of what no task made in the end.
    pub(super) forsaken: JoinSet<()>,
    /// The time at which the machine decided last.
    decided_at: u64,
    /// Facts that the machine knows and the journal does not yet.
    pending: Vec<Fact>,
    pub(super) log: Log,
    /// Actions that wait until a number of appends are durable, in order.
    held: VecDeque<(u64, Action)>,
    /// The append that holds the assignment of each task under way.
    assigned: HashMap<TaskIx, u64>,
    pub(super) shared: Arc<Shared>,
    notes: mpsc::UnboundedReceiver<Fact>,
    pub(super) stop: watch::Receiver<Stop>,
    /// The exit code of a run that is stopped.
    pub(super) stop_code: Arc<AtomicU8>,
    pub(super) stop_seen: Stop,
    /// Tasks that are let finish whatever stops the run, but for leaving at once.
    spared: watch::Receiver<BTreeSet<TaskName>>,
    /// Who tells what plugins say.
    pub(super) heeding: Option<Heeding>,
}

impl Dispatcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        (machine, roster, log): (Machine, Roster, Log),
        notes: mpsc::UnboundedReceiver<Fact>,
        (stop, stop_code, spares): Stops,
    ) -> Self {
        Self {
            machine,
            roster,
            started: HashMap::new(),
            took: HashMap::new(),
            failures: HashMap::new(),
            out_of_memory: HashSet::new(),
            was_stopping: HashSet::new(),
            named: HashMap::new(),
            classes: Vec::new(),
            tries: JoinSet::new(),
            handles: HashMap::new(),
            expansions: JoinSet::new(),
            forsaken: JoinSet::new(),
            decided_at: 0,
            pending: Vec::new(),
            log,
            held: VecDeque::new(),
            assigned: HashMap::new(),
            shared,
            notes,
            stop,
            stop_code,
            stop_seen: Stop::None,
            spared: spares,
            heeding: None,
        }
    }

    pub(super) async fn run(mut self, began: Instant) -> Result<RunOutcome, RunError> {
        match self.drive().await {
            Ok(status) => self.finish(status, began).await,
            Err(error) => Err(self.break_off(error).await),
        }
    }

    async fn drive(&mut self) -> Result<RunStatus, RunError> {
        // What is known already, such as endpoints that are down, counts before the first decision.
        while let Ok(note) = self.notes.try_recv() {
            self.take(note)?;
        }
        loop {
            if let Some(status) = self.turn().await? {
                return Ok(status);
            }
            self.wait_for_plugins().await;
            self.observe().await?;
        }
    }

    /// Waits for a plugin that does not keep up with events: nothing is observed meanwhile, so nothing new begins. A run that is to stop,
    /// or whose time is over, waits for nobody.
    async fn wait_for_plugins(&mut self) {
        let plugins = self.shared.plugins();
        if !plugins.is_full() || self.machine.stopping().is_some() {
            return;
        }
        let wake = self.machine.wakes_at(self.decided_at);
        tokio::select! {
            () = plugins.room() => {}
            Ok(()) = changed(&mut self.stop, self.stop_seen) => {}
            () = tokio::time::sleep(pause_until(wake)), if wake.is_some() => {}
        }
    }

    /// Decides, hands the facts to the journal, tells, and performs what need not wait until they are durable.
    async fn turn(&mut self) -> Result<Option<RunStatus>, RunError> {
        let at = now();
        self.decided_at = at;
        let mut decided = Vec::new();
        loop {
            let facts = self.machine.decide(at);
            if facts.is_empty() {
                break;
            }
            for fact in facts {
                self.machine.apply(&fact)?;
                decided.push(fact);
            }
        }
        self.pending.extend(decided.iter().cloned());
        if self.pending.iter().any(Fact::is_weighty) {
            self.log.append(at, std::mem::take(&mut self.pending));
        } else if !self.pending.is_empty() {
            self.log.mention(at, std::mem::take(&mut self.pending));
        }
        for fact in &decided {
            if let Fact::Assigned { ticket, .. } = fact {
                self.assigned.insert(ticket.task, self.log.sent);
            }
            self.tell_decision(fact);
        }
        let mut finished = None;
        for action in self.machine.actions() {
            match action {
                Action::Expand { step, source } => self.expand(step, source),
                Action::Prepare {
                    ticket,
                    endpoint,
                    fresh,
                } => self.prepare(ticket, endpoint, fresh),
                Action::Start { ticket } => {
                    let after = self.assigned.remove(&ticket.task).unwrap_or(0);
                    self.hold(after, action);
                }
                // Nothing of that try is on a server, and the next one may be prepared in this very turn.
                Action::Cancel {
                    reason: CancelReason::Superseded,
                    ..
                } => self.perform(action),
                Action::Cancel { .. } => self.hold(self.log.sent, action),
                Action::Finish { status } => finished = Some(status),
            }
        }
        if finished.is_some() {
            self.log.all_durable().await?;
            self.perform_durable();
        }
        Ok(finished)
    }

    /// Performs an action once the first `after` appends are durable.
    fn hold(&mut self, after: u64, action: Action) {
        if after <= self.log.durable {
            self.perform(action);
        } else {
            self.held.push_back((after, action));
        }
    }

    fn perform_durable(&mut self) {
        let durable = self.log.durable;
        let (now, later) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(after, _)| *after <= durable);
        self.held = later;
        for (_, action) in now {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { ticket } => {
                if let Some(handle) = self.handles.get_mut(&ticket.task)
                    && handle.ticket == ticket
                    && let Some(go) = handle.go.take()
                {
                    let _ = go.send(());
                }
            }
            Action::Cancel { task, reason } if !self.spares(task, reason) => {
                if let Some(handle) = self.handles.get(&task) {
                    handle.cancel.send_replace(Some(reason));
                }
            }
            Action::Cancel { .. }
            | Action::Expand { .. }
            | Action::Prepare { .. }
            | Action::Finish { .. } => {}
        }
    }

    /// Waits until there is something to tell the machine.
    async fn observe(&mut self) -> Result<(), RunError> {
        loop {
            // What fell due since the last decision is due.
            let wake = self.machine.wakes_at(self.decided_at);
            let pause = pause_until(wake);
            tokio::select! {
                biased;
                Some(note) = self.notes.recv() => {
                    // That a server took a job is worth remembering, but nothing to decide about.
                    let decides = !matches!(note, Fact::Accepted { theirs: false, .. });
                    self.take(note)?;
                    if decides {
                        return Ok(());
                    }
                }
                Some(ended) = self.tries.join_next() => {
                    self.ended(ended)?;
                    for _ in 1..BATCH {
                        let Some(ended) = self.tries.try_join_next() else { break };
                        self.ended(ended)?;
                    }
                    return Ok(());
                }
                Some(expanded) = self.expansions.join_next() => return self.expanded(expanded),
                Ok(()) = changed(&mut self.stop, self.stop_seen) => {
                    self.stop_seen = *self.stop.borrow_and_update();
                    if let Some(reason) = self.stop_seen.reason() {
                        self.take(Fact::Stop { reason })?;
                    }
                    return Ok(());
                }
                Ok(()) = self.spared.changed() => self.spare_fewer(),
                written = self.log.next_durable(), if self.log.is_behind() => {
                    written?;
                    self.perform_durable();
                }
                () = tokio::time::sleep(pause), if wake.is_some() => return Ok(()),
            }
        }
    }

    /// Whether a task is let finish that the machine would have cancelled. One that was not started yet never will be.
    fn spares(&self, task: TaskIx, reason: CancelReason) -> bool {
        let started = self.handles.get(&task).is_some_and(|h| h.go.is_none());
        reason == CancelReason::Requested
            && started
            && self.spared.borrow().contains(&self.roster.task(task).name)
    }

    /// Cancels what is not spared any more.
    fn spare_fewer(&mut self) {
        let spared = self.spared.borrow_and_update().clone();
        if self.machine.stopping() != Some(CancelReason::Requested) {
            return;
        }
        for (task, handle) in &self.handles {
            let wanted = spared.contains(&self.roster.task(*task).name);
            if !wanted && handle.cancel.borrow().is_none() {
                let reason = CancelReason::Requested;
                handle.cancel.send_replace(Some(reason));
            }
        }
    }

    /// Takes an observation.
    pub(super) fn take(&mut self, fact: Fact) -> Result<(), RunError> {
        self.absorb(&fact)?;
        self.pending.push(fact);
        Ok(())
    }

    /// Takes a fact that is in the journal, or will be, into everything that follows from facts.
    pub(super) fn absorb(&mut self, fact: &Fact) -> Result<(), RunError> {
        let known = self.machine.tasks();
        self.machine.apply(fact)?;
        match fact {
            Fact::Expanded { tasks, .. } => {
                let new = self.machine.tasks().saturating_sub(known);
                self.roster.extend(&tasks[..new.min(tasks.len())]);
            }
            Fact::Ended { ticket, outcome } => self.absorb_end(*ticket, outcome),
            Fact::Accepted {
                ticket,
                prompt_id,
                theirs: true,
            } => drop(self.named.insert(*ticket, prompt_id.clone())),
            Fact::Cancelling { task, .. } => drop(self.was_stopping.insert(*task)),
            Fact::Resumed { again } => {
                for task in again {
                    self.roster.unmake(*task);
                }
                self.roster.reopen();
            }
            _ => {}
        }
        Ok(())
    }

    fn absorb_end(&mut self, ticket: Ticket, outcome: &Outcome) {
        let task = ticket.task;
        self.was_stopping.remove(&task);
        self.named.remove(&ticket);
        match outcome {
            Outcome::Done { artifacts } => self.roster.made(task, "done", artifacts.clone()),
            Outcome::Cached { artifacts, .. } => {
                self.roster.made(task, "cached", artifacts.clone());
            }
            Outcome::Failed { class, diagnostic } => {
                if *class == FailureClass::Oom {
                    self.out_of_memory.insert(task);
                } else {
                    self.out_of_memory.remove(&task);
                }
                let failed = Failed {
                    ticket,
                    class: *class,
                    diagnostic: (**diagnostic).clone(),
                };
                self.failures.insert(task, failed);
            }
            Outcome::Skipped | Outcome::Cancelled | Outcome::Lost | Outcome::Gone => {}
        }
    }

    pub(super) fn step(&self, task: TaskIx) -> &StepPlan {
        &self.shared.plan.steps[&self.roster.task(task).step]
    }

    fn prepare(&mut self, ticket: Ticket, at: EndpointIx, fresh: bool) {
        self.attempt(ticket, (at, fresh), None);
    }

    /// Begins a try, or takes up one that an earlier session began.
    pub(super) fn attempt(
        &mut self,
        ticket: Ticket,
        (at, fresh): (EndpointIx, bool),
        owed: Option<Phase>,
    ) {
        let (cancel, cancelled) = watch::channel(None);
        let (go, gone) = oneshot::channel();
        let waits = !owed.is_some_and(has_slot);
        let handle = Handle {
            ticket,
            go: waits.then_some(go),
            cancel,
        };
        let task = ticket.task;
        if let Some(old) = self.handles.insert(task, handle) {
            // Whatever it was about to do, another try does it now.
            old.cancel.send_replace(Some(CancelReason::Superseded));
        }
        let plan = Arc::clone(&self.shared.plan);
        let step = &plan.steps[&self.roster.task(task).step];
        let about = (&*plan, &self.shared.run, &self.machine);
        let results = self.roster.results_for(about, step, Some(task));
        let work = Try {
            shared: Arc::clone(&self.shared),
            ticket,
            task: Arc::clone(self.roster.task(task)),
            at,
            fresh,
            owed,
            named: self.named.get(&ticket).cloned(),
            partial: false,
            sent: None,
            answered: false,
            was_stopping: owed.is_some() && self.was_stopping.contains(&task),
            after_oom: self.out_of_memory.contains(&task),
            go: waits.then_some(gone),
            cancel: cancelled,
            results: Arc::new(results),
            started_at: now(),
        };
        self.tries.spawn(work.run());
    }

    /// Finds out which tasks a step has, off this thread.
    fn expand(&mut self, at: StepIx, source: Option<TaskIx>) {
        let plan: Arc<Plan> = Arc::clone(&self.shared.plan);
        let Some((id, step)) = plan.steps.get_index(at.0 as usize) else {
            return;
        };
        let about = (&*plan, &self.shared.run, &self.machine);
        let results = self.roster.results_for(about, step, None);
        let id = id.clone();
        let followed = source.map(|task| {
            let made = self.roster.outcome(task).cloned();
            let none = || {
                Arc::new(TaskOutcome::of(
                    self.roster.task(task),
                    "failed",
                    Vec::new(),
                ))
            };
            (task, made.unwrap_or_else(none))
        });
        let shared = Arc::clone(&self.shared);
        let known = self.roster.len();
        self.expansions.spawn_blocking(move || {
            let followed = followed.as_ref().map(|(task, made)| (*task, &**made));
            let tasks = plan::expand(&shared.plan, &id, followed, &results).and_then(|tasks| {
                plan::room_for(&shared.plan, &id, known, tasks.len()).map(|()| tasks)
            });
            ((at, source), tasks)
        });
    }

    fn expanded(&mut self, ended: Result<Expansion, JoinError>) -> Result<(), RunError> {
        let ((step, source), tasks) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        match tasks {
            Ok(tasks) => {
                let known = self.roster.len();
                self.take(Fact::Expanded {
                    step,
                    source,
                    tasks,
                })?;
                self.tell_added(step, known);
                Ok(())
            }
            Err(report) => {
                let diagnostic = self.tell_not_expanded(step, report);
                self.take(Fact::ExpandFailed {
                    step,
                    source,
                    diagnostic: Box::new(diagnostic),
                })
            }
        }
    }

    fn ended(&mut self, ended: Result<(Ticket, Outcome), JoinError>) -> Result<(), RunError> {
        let (ticket, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        // What was said before the end comes before the end in the journal, too.
        while let Ok(note) = self.notes.try_recv() {
            self.take(note)?;
        }
        let task = ticket.task;
        if self.handles.get(&task).is_some_and(|h| h.ticket == ticket) {
            self.handles.remove(&task);
        }
        let current = matches!(
            self.machine.state(task),
            TaskState::Running { ticket: now, .. } if now == ticket
        );
        if !current {
            // It was settled or superseded while it was being prepared, and that was told.
            self.forsake(ticket.task, outcome);
            return Ok(());
        }
        if matches!(outcome, Outcome::Done { .. }) {
            self.note_duration(task);
        }
        self.take(Fact::Ended { ticket, outcome })?;
        self.tell_if_ended(task);
        Ok(())
    }

    /// What was found for a task that ended otherwise meanwhile, e.g. since another one failed, is not left lying about. Where another try
    /// carries it out, that one has the same places.
    pub(super) fn forsake(&mut self, task: TaskIx, outcome: Outcome) {
        let (Outcome::Done { artifacts } | Outcome::Cached { artifacts, .. }) = outcome else {
            return;
        };
        let TaskState::Ended(ended) = self.machine.state(task) else {
            return;
        };
        if !matches!(ended, TaskStatus::Done | TaskStatus::Cached) {
            self.forsaken
                .spawn(async move { discard(&artifacts).await });
        }
    }

    fn note_duration(&mut self, task: TaskIx) {
        if let Some(began) = self.started.get(&task) {
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let step = self.roster.task(task).step.clone();
            let (count, all) = self.took.entry(step).or_default();
            *count += 1;
            *all = all.saturating_add(ms);
        }
    }

    pub(super) fn tell_stopping(&self, reason: StopReason) {
        self.shared.teller.tell(RunEvent::RunStopping {
            reason,
            at_once: false,
        });
    }
}

/// How long it is until a moment, in milliseconds since 1970.
fn pause_until(wake: Option<u64>) -> Duration {
    wake.map_or(Duration::MAX, |at| {
        Duration::from_millis(at.saturating_sub(now()))
    })
}

/// Waits until someone wants the run to stop more urgently than is known.
pub(super) async fn changed(
    stop: &mut watch::Receiver<Stop>,
    seen: Stop,
) -> Result<(), watch::error::RecvError> {
    stop.wait_for(|wanted| *wanted > seen).await.map(drop)
}
