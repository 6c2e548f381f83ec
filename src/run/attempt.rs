//! One try of one task, from its slot to its files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::collect::{CollectError, Collector};
use super::failure::{About, Failure};
use super::folder::Folder;
use super::identity::{make_fresh, prompt_id};
use super::news::News;
use super::tell::Teller;
use super::transfer::{SendError, Transfers};
use crate::artifact::Artifact;
use crate::base::{NodeId, RunId, TaskName};
use crate::catalog::Catalog;
use crate::check;
use crate::client::{
    ClientError, Connection, JobRequest, Lookup, Outcome as JobOutcome, SubmitError,
};
use crate::diagnostic::{Severity, to_json};
use crate::event::RunEvent;
use crate::machine::{CancelReason, Fact, FailureClass, Outcome, Ticket};
use crate::plan::{self, EditValue, Plan, Rendered, Results, StepPlan, Work};
use crate::protocol::NodeResult;
use crate::servers::{Endpoint, Servers};
use crate::workflow::Graph;
use crate::workflow::verdict::{self, JudgeOptions};

/// How long a job that was asked to stop may take to say so.
const CANCEL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a server may be away before what is to be sent to it fails.
const AWAY: Duration = Duration::from_mins(2);
/// The pause between two attempts to reach a server that is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// What all tries of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) run: RunId,
    pub(super) servers: Arc<Servers>,
    pub(super) teller: Teller,
    pub(super) folder: Folder,
    pub(super) transfers: Transfers,
    /// Where tries say how far they are.
    pub(super) notes: mpsc::UnboundedSender<Fact>,
    /// Tries that fetch results, at most [`FETCHING`]: the next one keeps its slot until it may.
    pub(super) fetching: Semaphore,
}

/// Tries that fetch results at a time, over all servers.
pub(super) const FETCHING: usize = 32;

/// One try.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) shared: Arc<Shared>,
    pub(super) ticket: Ticket,
    /// The server must be made to execute again: the files of its remembered result are gone.
    pub(super) fresh: bool,
    /// Comes when the job may be submitted.
    pub(super) go: Option<oneshot::Receiver<()>>,
    /// Rises when the try is to be cancelled.
    pub(super) cancel: watch::Receiver<Option<CancelReason>>,
    pub(super) results: Arc<Results>,
}

/// A try that only waits for its slot.
struct Ready {
    rendered: Rendered,
    connection: Arc<Connection>,
    /// What was sent, to be told once the task has started.
    sent: Vec<RunEvent>,
}

/// Why a try has no results.
#[derive(Debug)]
enum Ending {
    Failed(Box<Failure>),
    Cancelled,
    Lost,
    Gone,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl Try {
    /// Carries the try out and says how it ended.
    pub(super) async fn run(mut self) -> (Ticket, Outcome) {
        let outcome = match self.work().await {
            Ok(artifacts) => Outcome::Done { artifacts },
            Err(Ending::Failed(failure)) => self.failed(*failure),
            Err(Ending::Cancelled) => Outcome::Cancelled,
            Err(Ending::Lost) => Outcome::Lost,
            Err(Ending::Gone) => Outcome::Gone,
        };
        (self.ticket, outcome)
    }

    /// The first complaint is the failure; the others are told beside it.
    fn failed(&self, failure: Failure) -> Outcome {
        let mut diagnostics = failure.diagnostics.into_iter();
        let Some(first) = diagnostics.next() else {
            unreachable!("a failure has at least one diagnostic: every constructor gives it one")
        };
        let diagnostic = Box::new(to_json(&first, &self.shared.plan.sources));
        self.shared.teller.keep(first);
        for more in diagnostics {
            self.shared.teller.warn(self.task(), more);
        }
        Outcome::Failed {
            class: failure.class,
            diagnostic,
        }
    }

    fn task(&self) -> &TaskName {
        &self.shared.plan.tasks[self.ticket.task.0 as usize].name
    }

    fn step(&self) -> &StepPlan {
        let task = &self.shared.plan.tasks[self.ticket.task.0 as usize];
        &self.shared.plan.steps[&task.step]
    }

    fn about(&self) -> About<'_> {
        About::of(&self.shared.plan, self.ticket.task)
    }

    fn cancelling(&self) -> bool {
        self.cancel.borrow().is_some()
    }

    async fn work(&mut self) -> Result<Vec<Arc<Artifact>>, Ending> {
        let shared = Arc::clone(&self.shared);
        let server = shared.servers.get(&self.step().server);
        let prepared = self.prepare(server).await;
        if matches!(prepared, Err(Ending::Cancelled)) {
            return Err(Ending::Cancelled);
        }
        // What went wrong is told when the task's turn has come, so that the order of failures is the order of starts.
        self.note(Fact::Prepared {
            ticket: self.ticket,
            key: None,
        });
        self.await_slot().await?;
        let Ready {
            rendered,
            connection,
            sent,
        } = prepared?;
        for event in sent {
            shared.teller.tell(event);
        }
        let id = prompt_id(&shared.run, self.task(), self.ticket);
        self.stop_strays(&connection).await;
        self.submit(server, &connection, &rendered, id).await?;
        let (found, cached) = self.follow(server, &connection, &rendered, id).await?;
        self.collect(server, found, &cached).await
    }

    fn note(&self, fact: Fact) {
        let _ = self.shared.notes.send(fact);
    }

    /// Everything that can be done before the task has a slot.
    async fn prepare(&mut self, server: &Endpoint) -> Result<Ready, Ending> {
        let (mut rendered, catalog) = self.render(server).await?;
        let sent = self.send_inputs(server, &mut rendered).await?;
        if self.fresh {
            make_fresh(&mut rendered.graph, &self.shared.run, self.ticket);
        }
        self.judge(&rendered, &catalog)?;
        let ask = || server.connection().boxed();
        let connection = self.patiently(server, CancelReason::Requested, ask).await?;
        Ok(Ready {
            rendered,
            connection,
            sent,
        })
    }

    async fn await_slot(&mut self) -> Result<(), Ending> {
        let Some(go) = self.go.take() else {
            return Ok(());
        };
        tokio::select! {
            biased;
            gone = go => gone.map_err(|_| Ending::Cancelled),
            _ = self.cancel.wait_for(Option::is_some) => Err(Ending::Cancelled),
        }
    }

    /// Whatever is asked of a server that is away is asked again until it is back or too long away. A cancel gives it up before it is
    /// asked (again); while it is being asked, only one of at least the reason `gives_up`.
    async fn patiently<'a, T>(
        &mut self,
        server: &Endpoint,
        gives_up: CancelReason,
        mut ask: impl FnMut() -> BoxFuture<'a, Result<T, ClientError>> + Send,
    ) -> Result<T, Ending> {
        let mut away: Option<Instant> = None;
        loop {
            if self.cancelling() {
                return Err(Ending::Cancelled);
            }
            let answer = tokio::select! {
                biased;
                answer = ask() => answer,
                _ = self.cancel.wait_for(|reason| *reason >= Some(gives_up)) => {
                    return Err(Ending::Cancelled);
                }
            };
            let error = match answer {
                Ok(answer) => {
                    self.shared.teller.back(&server.name);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let since = *away.get_or_insert_with(Instant::now);
            if !error.is_connection() || since.elapsed() >= AWAY {
                return Err(self.about().server(&server.name, &error).into());
            }
            self.shared.teller.lost(&server.name, &error.to_string());
            self.pause(AWAY_PAUSE).await?;
        }
    }

    /// Sleeps, unless the try is cancelled.
    async fn pause(&mut self, time: Duration) -> Result<(), Ending> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            _ = self.cancel.wait_for(Option::is_some) => Err(Ending::Cancelled),
        }
    }

    async fn render(&mut self, server: &Endpoint) -> Result<(Rendered, Arc<Catalog>), Ending> {
        let (plan, results) = (Arc::clone(&self.shared.plan), Arc::clone(&self.results));
        let Ticket { task, attempt, .. } = self.ticket;
        let planned = plan.tasks[task.0 as usize].clone();
        let Some(step) = plan.steps[&planned.step].workflow().cloned() else {
            // Commands do not come here.
            return Err(Ending::Cancelled);
        };
        let classes = classes(&step.graph);
        let ask = || server.catalog(&classes).boxed();
        let catalog = self.patiently(server, CancelReason::Requested, ask).await?;
        let shared = Arc::clone(&catalog);
        let work = move || plan::render(&plan, &planned, &step, &results, Some(&shared), attempt);
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(rendered)) => Ok((rendered, catalog)),
            Ok(Err(report)) => Err(Failure::invalid(report.items).into()),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    async fn send_inputs(
        &mut self,
        server: &Endpoint,
        rendered: &mut Rendered,
    ) -> Result<Vec<RunEvent>, Ending> {
        let shared = Arc::clone(&self.shared);
        let mut events = Vec::new();
        // After a loss, nothing that was sent before is taken for granted.
        let anew = self.ticket.try_ > 1;
        for at in 0..rendered.uploads.len() {
            let file = &rendered.uploads[at].file;
            let send = || {
                let sent = shared.transfers.send(server.client(), file, anew);
                sent.map(|sent| match sent {
                    Ok(sent) => Ok(Ok(sent)),
                    Err(SendError::Local(error)) => Ok(Err(error)),
                    Err(SendError::Server(error)) => Err(error),
                })
                .boxed()
            };
            let there = self
                .patiently(server, CancelReason::Requested, send)
                .await?
                .map_err(|error| {
                    let built = self.about().complain(error.diagnostic());
                    Failure::one(FailureClass::Transfer, built)
                })?;
            if let Some(size) = there.size {
                events.push(RunEvent::TaskUploaded {
                    task: self.task().clone(),
                    name: there.value.clone(),
                    size,
                });
            }
            rendered.fill(at, &there.value);
        }
        Ok(events)
    }

    /// Values that were not known before the run are judged before they are sent. Files are the server's own business: what was
    /// uploaded is there, and of others it knows best.
    fn judge(&self, rendered: &Rendered, catalog: &Catalog) -> Result<(), Ending> {
        let options = JudgeOptions {
            targets: (!rendered.targets.is_empty()).then_some(rendered.targets.as_slice()),
            files: &AllThere,
        };
        let verdict = verdict::judge(&rendered.graph, catalog, &options);
        let origin_of = |node: &NodeId, input: Option<&str>| rendered.origins.of(node, input);
        let found = check::verdict_diagnostics(
            &verdict,
            &rendered.graph,
            catalog,
            &origin_of,
            &self.shared.plan.sources,
            check::Setting::default(),
        );
        if found.iter().any(|d| d.severity == Severity::Error) {
            let about = self.about();
            return Err(
                Failure::invalid(found.into_iter().map(|d| about.complain(d)).collect()).into(),
            );
        }
        Ok(())
    }

    /// A try that was taken for lost may have arrived after all; its job would only waste the server's time.
    async fn stop_strays(&self, connection: &Connection) {
        for try_ in 1..self.ticket.try_ {
            let stray = Ticket {
                try_,
                ..self.ticket
            };
            let id = prompt_id(&self.shared.run, self.task(), stray);
            // Nothing depends on the answer.
            let _ = connection.cancel(id).await;
        }
    }

    async fn submit(
        &mut self,
        server: &Endpoint,
        connection: &Connection,
        rendered: &Rendered,
        id: Uuid,
    ) -> Result<(), Ending> {
        let request = JobRequest {
            prompt_id: id,
            graph: &rendered.graph,
            targets: &rendered.targets,
            extra_data: serde_json::Map::new(),
        };
        // `Unreachable` means that nothing was sent: the same id may be sent again.
        let submit = || {
            let submitted = connection.submit(&request);
            submitted
                .map(|submitted| match submitted {
                    Err(SubmitError::Unreachable(error)) => Err(error),
                    other => Ok(other),
                })
                .boxed()
        };
        let submitted = self.patiently(server, CancelReason::Leave, submit).await;
        if matches!(submitted, Err(Ending::Cancelled)) {
            // Given up while it was being sent: it may have arrived.
            let _ = connection.cancel(id).await;
        }
        match submitted? {
            Ok(_) => {}
            Err(SubmitError::Ambiguous(error)) => {
                self.shared.teller.lost(&server.name, &error.to_string());
                let ask = || connection.resolve_ambiguous(id).boxed();
                let found = self.patiently(server, CancelReason::Leave, ask).await;
                if matches!(found, Err(Ending::Cancelled)) {
                    // It may be there, and nobody will follow it.
                    let _ = connection.cancel(id).await;
                }
                if found? == Lookup::Absent {
                    return Err(Ending::Lost);
                }
            }
            Err(SubmitError::Rejected(answer)) => {
                return Err(self
                    .about()
                    .rejected(rendered, &server.name, &answer)
                    .into());
            }
            Err(SubmitError::Refused(error) | SubmitError::Unreachable(error)) => {
                return Err(self.about().server(&server.name, &error).into());
            }
        }
        self.note(Fact::Accepted {
            ticket: self.ticket,
            prompt_id: id.to_string(),
        });
        self.shared.teller.tell(RunEvent::TaskQueued {
            task: self.task().clone(),
            prompt_id: id.to_string(),
        });
        Ok(())
    }

    async fn follow(
        &mut self,
        server: &Endpoint,
        connection: &Arc<Connection>,
        rendered: &Rendered,
        id: Uuid,
    ) -> Result<(Vec<NodeResult>, HashSet<NodeId>), Ending> {
        let (updates, mut news) = mpsc::unbounded_channel();
        let job = connection.follow(id, updates);
        tokio::pin!(job);
        let shared = Arc::clone(&self.shared);
        let about = About::of(&shared.plan, self.ticket.task);
        let mut passing = News::new(about, &shared.teller, &server.name, rendered);
        let mut deadline: Option<Instant> = None;
        let ended = loop {
            let until = deadline.unwrap_or_else(Instant::now);
            let wanted = deadline.map(|_| CancelReason::Requested);
            tokio::select! {
                biased;
                Some(update) = news.recv() => passing.pass(update),
                ended = &mut job => break ended,
                Ok(reason) = cancelled_above(&mut self.cancel, wanted) => {
                    let connection = Arc::clone(connection);
                    tokio::spawn(async move { connection.cancel(id).await });
                    if reason == CancelReason::Leave {
                        return Err(Ending::Cancelled);
                    }
                    deadline = Some(Instant::now() + CANCEL_DEADLINE);
                }
                () = sleep_until(until), if deadline.is_some() => {
                    shared.teller.warn(self.task(), about.not_stopped(&server.name));
                    return Err(Ending::Cancelled);
                }
            }
        };
        while let Ok(update) = news.try_recv() {
            passing.pass(update);
        }
        shared.teller.back(&server.name);
        let cancelling = self.cancelling();
        match ended {
            JobOutcome::Succeeded { results, cached } => Ok((results, cached)),
            JobOutcome::Failed(failure) => Err(self.about().node_failed(rendered, &failure).into()),
            JobOutcome::Cancelled => Err(Ending::Cancelled),
            _ if cancelling => Err(Ending::Cancelled),
            JobOutcome::Interrupted => Err(self.about().interrupted(&server.name).into()),
            JobOutcome::Lost => Err(Ending::Lost),
            JobOutcome::Unreachable { cause } => {
                Err(self.about().unreachable(&server.name, &cause).into())
            }
            JobOutcome::Stuck => Err(self.about().stuck(&server.name).into()),
        }
    }

    async fn collect(
        &mut self,
        server: &Endpoint,
        found: Vec<NodeResult>,
        cached: &HashSet<NodeId>,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        let mut cancel = self.cancel.clone();
        let collector = Collector {
            about: self.about(),
            ticket: self.ticket,
            client: server.client(),
            folder: &self.shared.folder,
            teller: &self.shared.teller,
            results: &self.results,
        };
        // A job that succeeded is kept although the run is being cancelled; only leaving at once gives its files up.
        let (ticket, shared) = (self.ticket, &self.shared);
        let work = async {
            let permit = shared.fetching.acquire().await;
            let _ = shared.notes.send(Fact::Released { ticket });
            let collected = collector.collect(found).await;
            drop(permit);
            collected
        };
        let collected = tokio::select! {
            collected = work => collected,
            _ = cancel.wait_for(|reason| *reason == Some(CancelReason::Leave)) => {
                return Err(Ending::Cancelled);
            }
        };
        match collected {
            Ok(artifacts) if artifacts.is_empty() => self.nothing().map(|()| artifacts),
            Ok(artifacts) => Ok(artifacts),
            Err(CollectError::Gone(_)) if !self.fresh && !cached.is_empty() => Err(Ending::Gone),
            Err(CollectError::Gone(error)) => {
                Err(self.about().download(&server.name, &error).into())
            }
            Err(CollectError::Failed(failure)) => Err(Ending::Failed(failure)),
        }
    }

    /// The job left nothing behind: an error when another step uses its results.
    fn nothing(&self) -> Result<(), Ending> {
        let step = self.step();
        let user = self
            .shared
            .plan
            .steps
            .values()
            .find(|other| uses(other, step));
        let built = self.about().no_output(user.map(|s| s.id.as_str()));
        if user.is_some() {
            return Err(Failure::one(FailureClass::NoOutput, built).into());
        }
        self.shared.teller.warn(self.task(), built);
        Ok(())
    }
}

/// Waits until the try is to be cancelled for a reason that outranks `known`.
async fn cancelled_above(
    cancel: &mut watch::Receiver<Option<CancelReason>>,
    known: Option<CancelReason>,
) -> Result<CancelReason, watch::error::RecvError> {
    let reason = *cancel.wait_for(|reason| *reason > known).await?;
    Ok(reason.unwrap_or(CancelReason::Leave))
}

struct AllThere;

impl verdict::FileOracle for AllThere {
    fn exists(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        Some(true)
    }
}

fn classes(graph: &Graph) -> Vec<&str> {
    let mut classes: Vec<&str> = graph
        .nodes
        .values()
        .map(|n| n.class_type.as_str())
        .collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

/// Whether an expression of `other` uses the results of `step`.
fn uses(other: &StepPlan, step: &StepPlan) -> bool {
    fn value(value: &EditValue, step: &StepPlan) -> bool {
        match value {
            EditValue::Later(template) => template.steps.contains(&step.id),
            EditValue::List(items) => items.iter().any(|item| value_uses(item, step)),
            EditValue::Map(entries) => entries.values().any(|item| value_uses(item, step)),
            EditValue::Ready(_) | EditValue::Link { .. } => false,
        }
    }
    use value as value_uses;
    let shapes = match &other.work {
        Work::Workflow(workflow) => {
            let edits = workflow.edits.iter().map(|edit| &edit.value);
            let in_file = workflow.in_file.iter().map(|found| &found.value);
            edits.chain(in_file).any(|shape| value(shape, step))
        }
        Work::Command(command) => {
            let values = command.args.iter().chain(command.env.values());
            values.chain(&command.stdin).any(|shape| value(shape, step))
        }
    };
    shapes
        || other
            .save_as
            .as_ref()
            .is_some_and(|template| template.steps.contains(&step.id))
}
