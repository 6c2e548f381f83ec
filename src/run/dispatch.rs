//! The dispatcher: owns the machine, turns its decisions into durable facts and then into deeds.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::attempt::{FETCHING, Shared, Try};
use super::context::{RunContext, RunError, RunOutcome, Stop};
use super::failure::About;
use super::folder::{Folder, output_set};
use super::log::Log;
use super::tell::{Teller, output};
use super::transfer::Transfers;
use crate::artifact::Artifact;
use crate::base::{StepId, TaskName};
use crate::diagnostic::to_json;
use crate::event::{RunEvent, RunStatus, TaskInfo, TaskStatus};
use crate::machine::{
    Action, CancelReason, Cause, Fact, FailureClass, Machine, Outcome, Policy, RetryCause,
    Settlement, Shape, TaskState, Ticket,
};
use crate::plan::{NeedPlan, Plan, Results, StepOutcome, TaskIx, TaskOutcome};
use crate::servers::Servers;

/// Ends of tries that one turn takes at most.
const BATCH: usize = 256;
/// How long tries are waited for when a run cannot go on.
const BROKEN_DEADLINE: Duration = Duration::from_secs(12);
/// How long tries that were told to leave at once may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// Carries out a plan: from its first fact to `latest`.
///
/// # Errors
/// When the state or the output folder cannot be used. Whatever goes wrong with a task is in the outcome.
pub async fn execute(context: RunContext) -> Result<RunOutcome, RunError> {
    let RunContext {
        plan,
        run,
        servers,
        store,
        events,
        stop,
        options: _,
        resumed: _,
    } = context;
    let began = Instant::now();
    let _lock = store.lock(&output_set(&plan), &run)?;
    let folder = Folder::open(&plan, &run)?;
    let journal = store.begin(&run, &plan, now())?;
    let (noting, notes) = mpsc::unbounded_channel();
    let teller = Teller::new(events, Arc::clone(&plan));
    tell_start(&teller, &plan, &folder);
    tell_servers(&teller, &plan, &servers);
    let shared = Arc::new(Shared {
        plan: Arc::clone(&plan),
        run,
        servers,
        teller,
        folder,
        transfers: Transfers::default(),
        notes: noting,
        fetching: Semaphore::new(FETCHING),
    });
    let dispatcher = Dispatcher {
        machine: Machine::new(Shape::of(&plan, Policy::default(), &HashMap::new())),
        tasks_of: tasks_of(&plan),
        made: vec![Vec::new(); plan.tasks.len()],
        started: vec![None; plan.tasks.len()],
        classes: Vec::new(),
        tries: JoinSet::new(),
        handles: HashMap::new(),
        pending: Vec::new(),
        log: Log::new(journal),
        held: VecDeque::new(),
        assigned: vec![0; plan.tasks.len()],
        shared,
        notes,
        stop,
        stop_seen: Stop::None,
    };
    dispatcher.run(began).await
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn tell_start(teller: &Teller, plan: &Plan, folder: &Folder) {
    let tasks = plan
        .tasks
        .iter()
        .map(|task| TaskInfo {
            task: task.name.clone(),
            step: task.step.clone(),
            server: plan.steps[&task.step].server.clone(),
            command: plan.steps[&task.step].workflow().is_none(),
            needs: plan
                .tasks
                .iter()
                .filter(|other| plan.steps[&task.step].waits_for(&other.step))
                .map(|other| other.name.clone())
                .collect(),
        })
        .collect();
    teller.tell(RunEvent::RunStarted {
        pipeline: plan.pipeline.clone(),
        tasks,
        output_dir: folder.root().to_path_buf(),
    });
}

fn tell_servers(teller: &Teller, plan: &Plan, servers: &Servers) {
    for server in plan.servers.keys().flat_map(|name| servers.of(name)) {
        let Some(info) = server.info() else { continue };
        teller.tell(RunEvent::ServerReady {
            server: server.name.clone(),
            url: server.url.clone(),
            version: info.version.clone(),
            embedded: server.is_embedded(),
        });
    }
}

fn tasks_of(plan: &Plan) -> IndexMap<StepId, Vec<TaskIx>> {
    let mut tasks: IndexMap<StepId, Vec<TaskIx>> = IndexMap::new();
    for (task, at) in plan.tasks.iter().zip(0..) {
        tasks.entry(task.step.clone()).or_default().push(TaskIx(at));
    }
    tasks
}

/// The way to a try under way.
struct Handle {
    ticket: Ticket,
    go: Option<oneshot::Sender<()>>,
    cancel: watch::Sender<Option<CancelReason>>,
}

struct Dispatcher {
    machine: Machine,
    tasks_of: IndexMap<StepId, Vec<TaskIx>>,
    /// What each task made.
    made: Vec<Vec<Arc<Artifact>>>,
    started: Vec<Option<Instant>>,
    /// Why tasks failed, for the exit code.
    classes: Vec<FailureClass>,
    tries: JoinSet<(Ticket, Outcome)>,
    handles: HashMap<TaskIx, Handle>,
    /// Facts that the machine knows and the journal does not yet.
    pending: Vec<Fact>,
    log: Log,
    /// Actions that wait until a number of appends are durable, in order.
    held: VecDeque<(u64, Action)>,
    /// The append that holds each task's assignment.
    assigned: Vec<u64>,
    shared: Arc<Shared>,
    notes: mpsc::UnboundedReceiver<Fact>,
    stop: watch::Receiver<Stop>,
    stop_seen: Stop,
}

impl Dispatcher {
    async fn run(mut self, began: Instant) -> Result<RunOutcome, RunError> {
        match self.drive().await {
            Ok(status) => self.finish(status, began).await,
            Err(error) => Err(self.break_off(error).await),
        }
    }

    async fn drive(&mut self) -> Result<RunStatus, RunError> {
        loop {
            if let Some(status) = self.turn().await? {
                return Ok(status);
            }
            self.observe().await?;
        }
    }

    /// Decides, hands the facts to the journal, tells, and performs what need not wait until they are durable.
    async fn turn(&mut self) -> Result<Option<RunStatus>, RunError> {
        let at = now();
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
        }
        for fact in &decided {
            if let Fact::Assigned { ticket, .. } = fact {
                self.assigned[ticket.task.0 as usize] = self.log.sent;
            }
            self.tell_decision(fact);
        }
        let mut finished = None;
        for action in self.machine.actions() {
            match action {
                Action::Prepare { ticket, fresh, .. } => self.prepare(ticket, fresh),
                Action::Start { ticket } => {
                    self.hold(self.assigned[ticket.task.0 as usize], action);
                }
                Action::Cancel { .. } => self.hold(self.log.sent, action),
                Action::Finish { status } => finished = Some(status),
                Action::Expand { .. } => {}
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
            Action::Cancel { task, reason } => {
                if let Some(handle) = self.handles.get(&task) {
                    handle.cancel.send_replace(Some(reason));
                }
            }
            Action::Expand { .. } | Action::Prepare { .. } | Action::Finish { .. } => {}
        }
    }

    /// Waits until there is something to tell the machine.
    async fn observe(&mut self) -> Result<(), RunError> {
        loop {
            let wake = self.machine.wakes_at(now());
            let pause = wake.map_or(Duration::MAX, |at| {
                Duration::from_millis(at.saturating_sub(now()))
            });
            tokio::select! {
                biased;
                Some(note) = self.notes.recv() => {
                    // That a server took a job is worth remembering, but nothing to decide about.
                    let decides = !matches!(note, Fact::Accepted { .. });
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
                Ok(()) = changed(&mut self.stop, self.stop_seen) => {
                    self.stop_seen = *self.stop.borrow_and_update();
                    if let Some(reason) = self.stop_seen.reason() {
                        self.take(Fact::Stop { reason })?;
                    }
                    return Ok(());
                }
                written = self.log.next_durable(), if self.log.is_behind() => {
                    written?;
                    self.perform_durable();
                }
                () = tokio::time::sleep(pause), if wake.is_some() => return Ok(()),
            }
        }
    }

    fn take(&mut self, fact: Fact) -> Result<(), RunError> {
        self.machine.apply(&fact)?;
        self.pending.push(fact);
        Ok(())
    }

    fn prepare(&mut self, ticket: Ticket, fresh: bool) {
        let (cancel, cancelled) = watch::channel(None);
        let (go, gone) = oneshot::channel();
        let handle = Handle {
            ticket,
            go: Some(go),
            cancel,
        };
        self.handles.insert(ticket.task, handle);
        let work = Try {
            shared: Arc::clone(&self.shared),
            ticket,
            fresh,
            go: Some(gone),
            cancel: cancelled,
            results: Arc::new(self.results_for(ticket.task)),
        };
        self.tries.spawn(work.run());
    }

    fn outcome_of(&self, task: TaskIx, index: u32) -> Arc<TaskOutcome> {
        let planned = &self.shared.plan.tasks[task.0 as usize];
        Arc::new(TaskOutcome {
            name: planned.name.clone(),
            index,
            matrix: planned.matrix.clone(),
            item: None,
            status: "done".to_owned(),
            artifacts: self.made[task.0 as usize].clone(),
        })
    }

    /// What a task may see: the steps that its own one waits for.
    fn results_for(&self, task: TaskIx) -> Results {
        let plan = &self.shared.plan;
        let mut results = Results::new(self.shared.run.clone());
        let step = &plan.steps[&plan.tasks[task.0 as usize].step];
        for NeedPlan { step: need, .. } in &step.needs {
            let tasks = self.tasks_of.get(need).map(Vec::as_slice);
            let tasks = tasks.unwrap_or_default().iter().zip(0..);
            let outcome = StepOutcome {
                status: "done".to_owned(),
                tasks: tasks.map(|(task, at)| self.outcome_of(*task, at)).collect(),
            };
            results.steps.insert(need.clone(), Arc::new(outcome));
        }
        results
    }

    fn ended(
        &mut self,
        ended: Result<(Ticket, Outcome), tokio::task::JoinError>,
    ) -> Result<(), RunError> {
        let (ticket, outcome) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        // What was said before the end comes before the end in the journal, too.
        while let Ok(note) = self.notes.try_recv() {
            self.take(note)?;
        }
        self.handles.remove(&ticket.task);
        if matches!(self.machine.state(ticket.task), TaskState::Ended(_)) {
            // It was settled while it was being prepared, and that was told.
            return Ok(());
        }
        match &outcome {
            Outcome::Done { artifacts } => {
                self.made[ticket.task.0 as usize].clone_from(artifacts);
                self.tell_finished(ticket.task, TaskStatus::Done, None);
            }
            Outcome::Failed { class, diagnostic } => {
                self.classes.push(*class);
                let diagnostic = Some((**diagnostic).clone());
                self.tell_finished(ticket.task, TaskStatus::Failed, diagnostic);
            }
            Outcome::Cancelled => self.tell_finished(ticket.task, TaskStatus::Cancelled, None),
            Outcome::Cached { artifacts, .. } => {
                self.made[ticket.task.0 as usize].clone_from(artifacts);
                self.tell_finished(ticket.task, TaskStatus::Done, None);
            }
            Outcome::Skipped => self.tell_finished(ticket.task, TaskStatus::Skipped, None),
            // The machine decides what becomes of it.
            Outcome::Lost | Outcome::Gone => {}
        }
        self.take(Fact::Ended { ticket, outcome })
    }

    fn tell_decision(&mut self, fact: &Fact) {
        let plan = Arc::clone(&self.shared.plan);
        match fact {
            Fact::Started { ticket } => {
                let task = &plan.tasks[ticket.task.0 as usize];
                self.started[ticket.task.0 as usize].get_or_insert_with(Instant::now);
                self.shared.teller.tell(RunEvent::TaskStarted {
                    task: task.name.clone(),
                    server: plan.steps[&task.step].server.clone(),
                    attempt: ticket.attempt,
                });
            }
            Fact::Retried {
                task,
                because: RetryCause::Lost,
                ..
            } => {
                let about = About::of(&plan, *task);
                let lost = about.lost_once(&about.step.server);
                self.shared.teller.warn(about.task, lost);
            }
            Fact::Settled { task, settlement } => match settlement {
                Settlement::Skipped { .. } | Settlement::Unwanted => {
                    self.tell_finished(*task, TaskStatus::Skipped, None)
                }
                Settlement::Cancelled => self.tell_finished(*task, TaskStatus::Cancelled, None),
                Settlement::Failed | Settlement::Impossible => {
                    self.tell_finished(*task, TaskStatus::Failed, None);
                }
                Settlement::Lost { times } => {
                    self.classes.push(FailureClass::Lost);
                    let about = About::of(&plan, *task);
                    let lost = about.lost(&about.step.server, *times);
                    let diagnostic = to_json(&lost, &plan.sources);
                    self.shared.teller.keep(lost);
                    self.tell_finished(*task, TaskStatus::Failed, Some(diagnostic));
                }
            },
            _ => {}
        }
    }

    fn tell_finished(
        &self,
        task: TaskIx,
        status: TaskStatus,
        diagnostic: Option<crate::diagnostic::JsonDiagnostic>,
    ) {
        let at = task.0 as usize;
        self.shared.teller.tell(RunEvent::TaskFinished {
            task: self.name(task),
            status,
            outputs: self.made[at].iter().map(|made| output(made)).collect(),
            seconds: self.started[at].map_or(0.0, |began| began.elapsed().as_secs_f64()),
            diagnostic,
        });
    }

    /// The task, or the step, that went wrong first.
    fn cause(&self) -> Option<TaskName> {
        let plan = &self.shared.plan;
        match self.machine.cause()? {
            Cause::Task(task) => Some(self.name(task)),
            Cause::Step(step) => {
                let (id, _) = plan.steps.get_index(step.0 as usize)?;
                Some(TaskName(id.0.clone()))
            }
            Cause::Stop => None,
        }
    }

    fn name(&self, task: TaskIx) -> TaskName {
        self.shared.plan.tasks[task.0 as usize].name.clone()
    }

    async fn finish(mut self, status: RunStatus, began: Instant) -> Result<RunOutcome, RunError> {
        // Tries that were only being prepared were told to leave.
        self.drain(LEAVE_DEADLINE).await;
        let exit_code = self.exit_code(status);
        let folder = self.close_folder().await;
        let shared = Arc::clone(&self.shared);
        // Whatever the journal calls finished must still be there after a power cut.
        let _ = tokio::task::spawn_blocking(move || shared.folder.sync()).await;
        let counts = self.machine.counts();
        let finished = self.log.finish(now(), status, exit_code, counts).await;
        if let Err(error) = finished {
            return Err(self.break_off(error.into()).await);
        }
        self.tell_end(status, exit_code, began);
        Ok(RunOutcome {
            status,
            exit_code,
            counts: self.machine.counts(),
            cause: self.cause(),
            report: self.shared.teller.report(),
            folder,
        })
    }

    /// The run cannot go on, for instance since its journal cannot be written: what runs is ours to stop, what is done is kept.
    async fn break_off(mut self, error: RunError) -> RunError {
        for (reason, patience) in [
            (CancelReason::Requested, BROKEN_DEADLINE),
            (CancelReason::Leave, LEAVE_DEADLINE),
        ] {
            for handle in self.handles.values() {
                handle.cancel.send_replace(Some(reason));
            }
            if self.drain(patience).await {
                break;
            }
        }
        self.tries.abort_all();
        self.close_folder().await;
        error
    }

    /// Waits for all tries to end; whether they did.
    async fn drain(&mut self, patience: Duration) -> bool {
        let drained = async { while self.tries.join_next().await.is_some() {} };
        tokio::time::timeout(patience, drained).await.is_ok()
    }

    async fn close_folder(&self) -> Option<PathBuf> {
        let any = self.made.iter().flatten().any(|made| made.path.is_some());
        let shared = Arc::clone(&self.shared);
        let closed = tokio::task::spawn_blocking(move || shared.folder.close(any)).await;
        closed.ok().flatten()
    }

    fn tell_end(&self, status: RunStatus, exit_code: u8, began: Instant) {
        self.shared.teller.tell(RunEvent::RunFinished {
            status,
            exit_code,
            counts: self.machine.counts(),
            cause: self.cause(),
            latest: self.shared.folder.latest(),
            seconds: began.elapsed().as_secs_f64(),
        });
    }

    fn exit_code(&self, status: RunStatus) -> u8 {
        match status {
            RunStatus::Done => 0,
            RunStatus::Cancelled => 130,
            RunStatus::Failed if self.classes.iter().all(|class| class.is_connection()) => 5,
            RunStatus::Failed => 4,
        }
    }
}

/// Waits until someone wants the run to stop more urgently than is known.
async fn changed(
    stop: &mut watch::Receiver<Stop>,
    seen: Stop,
) -> Result<(), watch::error::RecvError> {
    stop.wait_for(|wanted| *wanted > seen).await.map(drop)
}
