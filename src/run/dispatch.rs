//! The dispatcher: owns the machine, turns its decisions into durable facts and then into deeds.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::attempt::{Shared, Try};
use super::context::{RunContext, RunError, RunOutcome, Stop};
use super::failure::About;
use super::folder::{Folder, output_set};
use super::tell::{Teller, output};
use super::transfer::Transfers;
use crate::artifact::Artifact;
use crate::base::{StepId, TaskName};
use crate::diagnostic::to_json;
use crate::event::{RunEvent, RunStatus, TaskInfo, TaskStatus};
use crate::machine::{
    Action, CancelReason, Fact, FailureClass, Machine, Outcome, Settlement, Shape, Ticket,
};
use crate::plan::{Plan, Results, StepOutcome, TaskIx};
use crate::servers::Servers;
use crate::store::Journal;

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
    } = context;
    survive_file_limits();
    let began = Instant::now();
    let _lock = store.lock(&output_set(&plan), &run)?;
    let folder = Folder::open(&plan, &run)?;
    let journal = store.begin(&run, &plan, now())?;
    let (accepted, acceptances) = mpsc::unbounded_channel();
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
        accepted,
    });
    let dispatcher = Dispatcher {
        machine: Machine::new(Shape::of(&plan)),
        tasks_of: tasks_of(&plan),
        made: vec![Vec::new(); plan.tasks.len()],
        started: vec![None; plan.tasks.len()],
        classes: Vec::new(),
        tries: JoinSet::new(),
        cancels: HashMap::new(),
        pending: Vec::new(),
        journal,
        shared,
        acceptances,
        stop,
        stop_seen: Stop::None,
    };
    dispatcher.run(began).await
}

/// A process limit on file sizes is an error to be told, not a signal that kills the run.
fn survive_file_limits() {
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
    {
        const SIGXFSZ: i32 = 25;
        let kind = tokio::signal::unix::SignalKind::from_raw(SIGXFSZ);
        // Listening once is enough to replace the deadly default for the life of the process.
        let _ = tokio::signal::unix::signal(kind);
    }
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
            needs: task
                .needs
                .iter()
                .map(|need| plan.tasks[need.0 as usize].name.clone())
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
    for server in plan.servers.keys().map(|name| servers.get(name)) {
        teller.tell(RunEvent::ServerReady {
            server: server.name.clone(),
            url: server.url.clone(),
            version: server.info.version.clone(),
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

struct Dispatcher {
    machine: Machine,
    tasks_of: IndexMap<StepId, Vec<TaskIx>>,
    /// What each task made.
    made: Vec<Vec<Arc<Artifact>>>,
    started: Vec<Option<Instant>>,
    /// Why tasks failed, for the exit code.
    classes: Vec<FailureClass>,
    tries: JoinSet<(Ticket, Outcome)>,
    cancels: HashMap<TaskIx, watch::Sender<Option<CancelReason>>>,
    /// Facts that the machine knows and the journal does not yet.
    pending: Vec<Fact>,
    journal: Journal,
    shared: Arc<Shared>,
    acceptances: mpsc::UnboundedReceiver<(Ticket, Uuid)>,
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

    /// Decides, makes durable, tells, performs.
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
        if !self.pending.is_empty() {
            let facts = std::mem::take(&mut self.pending);
            self.journal.append(at, facts).durable().await?;
        }
        for fact in &decided {
            self.tell_decision(fact);
        }
        let mut finished = None;
        for action in self.machine.actions() {
            match action {
                Action::Start { ticket, fresh, .. } => self.start(ticket, fresh),
                Action::Cancel { task, reason } => {
                    if let Some(cancel) = self.cancels.get(&task) {
                        cancel.send_replace(Some(reason));
                    }
                }
                Action::Finish { status } => finished = Some(status),
            }
        }
        Ok(finished)
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
                // Worth remembering, but nothing to decide about: it becomes durable with the next turn.
                Some((ticket, id)) = self.acceptances.recv() => {
                    self.take(Fact::Accepted { ticket, prompt_id: id.to_string() })?;
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

    fn start(&mut self, ticket: Ticket, fresh: bool) {
        let task = ticket.task;
        let (cancel, cancelled) = watch::channel(None);
        self.cancels.insert(task, cancel);
        let results = Arc::new(self.results_for(task));
        let work = Try {
            shared: Arc::clone(&self.shared),
            ticket,
            fresh,
            cancel: cancelled,
            results,
        };
        self.tries.spawn(work.run());
    }

    /// What a task may see: the steps that its own one waits for.
    fn results_for(&self, task: TaskIx) -> Results {
        let plan = &self.shared.plan;
        let mut results = Results::new(self.shared.run.clone());
        let step = &plan.steps[&plan.tasks[task.0 as usize].step];
        for need in &step.needs {
            let tasks = self.tasks_of.get(need).map(Vec::as_slice);
            let artifacts = tasks
                .unwrap_or_default()
                .iter()
                .flat_map(|task| self.made[task.0 as usize].iter().cloned())
                .collect();
            let outcome = StepOutcome {
                status: "done".to_owned(),
                artifacts,
            };
            results.steps.insert(need.clone(), outcome);
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
        // What the server said before the end comes before the end in the journal, too.
        while let Ok((accepted, id)) = self.acceptances.try_recv() {
            self.take(Fact::Accepted {
                ticket: accepted,
                prompt_id: id.to_string(),
            })?;
        }
        self.cancels.remove(&ticket.task);
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
            // The machine decides what becomes of it.
            Outcome::Lost | Outcome::Gone => {}
        }
        self.take(Fact::Ended { ticket, outcome })
    }

    fn tell_decision(&mut self, fact: &Fact) {
        let plan = Arc::clone(&self.shared.plan);
        match fact {
            Fact::Assigned { ticket, .. } => {
                let task = &plan.tasks[ticket.task.0 as usize];
                self.started[ticket.task.0 as usize].get_or_insert_with(Instant::now);
                self.shared.teller.tell(RunEvent::TaskStarted {
                    task: task.name.clone(),
                    server: plan.steps[&task.step].server.clone(),
                    attempt: ticket.attempt,
                });
            }
            Fact::Settled { task, settlement } => match settlement {
                Settlement::Skipped { .. } => self.tell_finished(*task, TaskStatus::Skipped, None),
                Settlement::Cancelled => self.tell_finished(*task, TaskStatus::Cancelled, None),
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

    fn name(&self, task: TaskIx) -> TaskName {
        self.shared.plan.tasks[task.0 as usize].name.clone()
    }

    async fn finish(self, status: RunStatus, began: Instant) -> Result<RunOutcome, RunError> {
        let exit_code = self.exit_code(status);
        let folder = self.close_folder().await;
        let written = self.journal.finish(now(), status, exit_code).durable();
        if let Err(error) = written.await {
            return Err(self.break_off(error.into()).await);
        }
        self.tell_end(status, exit_code, began);
        Ok(RunOutcome {
            status,
            exit_code,
            counts: self.machine.counts(),
            cause: self.machine.cause().map(|task| self.name(task)),
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
            for cancel in self.cancels.values() {
                cancel.send_replace(Some(reason));
            }
            let drained = async { while self.tries.join_next().await.is_some() {} };
            if tokio::time::timeout(patience, drained).await.is_ok() {
                break;
            }
        }
        self.tries.abort_all();
        self.close_folder().await;
        error
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
            cause: self.machine.cause().map(|task| self.name(task)),
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
