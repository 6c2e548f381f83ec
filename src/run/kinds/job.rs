//! A job from its slot to its files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::restarts::{is_same, session_of};
use super::workflow::Ready;
use crate::artifact::Artifact;
use crate::base::NodeId;
use crate::client::{
    Accepted, JobRequest, JobUpdate, Lookup, Outcome as JobOutcome, Picture, SubmitError,
};
use crate::event::RunEvent;
use crate::machine::{CancelReason, Fact, FailureClass, Ticket};
use crate::plan::StepPlan;
use crate::protocol::{Ids, NodeResult};
use crate::run::attempt::{Ending, Try, discard};
use crate::run::collect::{CollectError, Collector};
use crate::run::failure::{About, Failure, Overdue};
use crate::run::identity::prompt_id;
use crate::run::news::News;
use crate::run::uses::uses;
use crate::servers::Endpoint;

/// Times that the results of one job are fetched from a server that breaks the connection each time.
const ROUNDS: u32 = 4;
/// How long a job that was asked to stop may take to say so.
const CANCEL_DEADLINE: Duration = Duration::from_secs(10);

/// Everything a job left behind, and the nodes whose results the server remembered.
type Found = (Vec<NodeResult>, HashSet<NodeId>);

/// The next picture of what a job is at, when somebody looks; `None` once, when there will be no more.
async fn next(pictures: &mut Option<watch::Receiver<Option<Picture>>>) -> Option<Picture> {
    let changed = match pictures {
        Some(open) => open.changed().await,
        None => std::future::pending().await,
    };
    let picture = pictures.as_mut().filter(|_| changed.is_ok());
    let picture = picture.and_then(|open| open.borrow_and_update().clone());
    if changed.is_err() {
        *pictures = None;
    }
    picture
}

impl Try {
    /// From the slot to the files.
    pub(super) async fn carry_out(
        &mut self,
        server: &Endpoint,
        ready: &Ready,
    ) -> Result<Vec<Arc<Artifact>>, Ending> {
        self.shared.jobs().insert(self.job(), self.name().clone());
        // What the server said when it took the job is known only to the session that sent it.
        self.partial |= ready.attached && self.step().allow_partial;
        if !ready.attached {
            self.stop_strays(server).await;
            self.make_room(server).await;
            self.submit(server, ready).await?;
        }
        let session = session_of(ready);
        self.accepted();
        let (found, cached) = match self.follow(server, ready).await {
            Err(Ending::Failed(failure))
                if failure.class != FailureClass::Connection
                    && self.was_misled(server, ready, session.as_deref()).await =>
            {
                return Err(Ending::Lost);
            }
            followed => followed?,
        };
        let id = self.job();
        let mut rounds = 0;
        loop {
            rounds += 1;
            let collected = self.collect(server, found.clone(), &cached).await;
            let again = match &collected {
                Ok(_) if is_same(ready, session.as_deref()) => return collected,
                Ok(_) => false,
                Err(Ending::Failed(failure)) => match failure.class {
                    FailureClass::Connection => rounds < ROUNDS,
                    FailureClass::Transfer => false,
                    _ => return collected,
                },
                Err(_) => return collected,
            };
            let known = self
                .even_cancelled(server, || ready.connection.lookup(&id).boxed())
                .await;
            let ending = match known {
                Ok(Lookup::Absent) => Ending::Lost,
                Ok(_) if again => continue,
                Ok(_) if collected.is_err() => return collected,
                Ok(_) => match self.worked_on_its_own(server, ready).await {
                    Ok(true) => return collected,
                    Ok(false) => Ending::Lost,
                    Err(ending) => ending,
                },
                Err(ending) => ending,
            };
            if let Ok(artifacts) = collected {
                discard(&artifacts).await;
            }
            return Err(ending);
        }
    }

    /// A try that was taken for lost may have arrived after all; its job would only waste the server's time.
    async fn stop_strays(&self, server: &Endpoint) {
        if names_jobs(server) {
            return;
        }
        for try_ in 1..self.ticket.try_ {
            let stray = Ticket {
                try_,
                ..self.ticket
            };
            let id = prompt_id(&self.shared.run, self.name(), stray);
            // Nothing depends on the answer.
            let _ = server.client().cancel(&id.to_string()).await;
        }
    }

    /// After a job ran out of memory, the server forgets what it holds, if nobody else works on it.
    async fn make_room(&self, server: &Endpoint) {
        if !self.after_oom {
            return;
        }
        let Ok(queue) = server.client().queue().await else {
            return;
        };
        let alone = {
            let ours = self.shared.jobs();
            let mut there = queue.running.iter().chain(&queue.pending);
            there.all(|id| ours.contains_key(id))
        };
        if alone {
            let _ = server.client().free().await;
        }
    }

    async fn submit(&mut self, server: &Endpoint, ready: &Ready) -> Result<(), Ending> {
        let revealed = self.shared.hush.reveal_graph(&ready.rendered.graph);
        let revealed = revealed.map_err(|error| self.without_secret(&error))?;
        let request = JobRequest {
            prompt_id: prompt_id(&self.shared.run, self.name(), self.ticket),
            graph: revealed.as_ref().unwrap_or(&ready.rendered.graph),
            targets: &ready.rendered.targets,
            extra_data: ready.extra.clone(),
            allow_partial: self.step().allow_partial,
        };
        let connection = &ready.connection;
        // `Unreachable` means that nothing was sent: the same id may be sent again.
        let submit = || {
            let submitted = connection.submit(&request);
            submitted
                .map(|submitted| match submitted {
                    Err(SubmitError::Unreachable(error)) => Err(error),
                    // Its queue is full: nothing was taken.
                    Err(SubmitError::Refused(error)) if error.is_busy() => Err(error),
                    other => Ok(other),
                })
                .boxed()
        };
        let submitted = self.patiently(server, CancelReason::Leave, submit).await;
        if matches!(submitted, Err(Ending::Cancelled)) {
            self.given_up(server).await;
        }
        match submitted? {
            Ok(accepted) => {
                self.taken(server, ready, accepted);
                Ok(())
            }
            Err(SubmitError::Ambiguous(error)) if names_jobs(server) => {
                let failure = self.about().ambiguous(&server.name, &error.to_string());
                Err(failure.into())
            }
            Err(SubmitError::Ambiguous(error)) => {
                self.shared.missed(self.at, &error.to_string());
                self.find_out(server, ready).await
            }
            // It was restarted since: what it had been sent may be gone, and then nothing else is wrong with the job.
            Err(SubmitError::Rejected(_))
                if ready.session != connection.session() && !ready.rendered.uploads.is_empty() =>
            {
                Err(Ending::Lost)
            }
            Err(SubmitError::Rejected(answer)) => {
                let about = self.about();
                Err(about
                    .rejected(&ready.rendered, &server.name, &answer)
                    .into())
            }
            Err(SubmitError::Refused(error) | SubmitError::Unreachable(error)) => {
                Err(self.about().server(&server.name, &error).into())
            }
        }
    }

    /// The server has the job, or what of it can run.
    fn taken(&mut self, server: &Endpoint, ready: &Ready, accepted: Accepted) {
        self.answered = true;
        self.shared.answered(self.at);
        if names_jobs(server) {
            let id = accepted.prompt_id.clone();
            self.shared.jobs().insert(id, self.name().clone());
            self.named = Some(accepted.prompt_id);
        }
        if let Some(answer) = accepted.left_out {
            self.partial = true;
            let about = self.about();
            let built = about.left_out(&ready.rendered, &server.name, &answer);
            self.shared.teller.warn(self.name(), built);
        }
    }

    /// A submission got no good answer: whether the server has the job, it alone knows.
    async fn find_out(&mut self, server: &Endpoint, ready: &Ready) -> Result<(), Ending> {
        let (connection, id) = (&ready.connection, self.job());
        let ask = || connection.resolve_ambiguous(&id).boxed();
        let found = self.patiently(server, CancelReason::Leave, ask).await;
        match found {
            Ok(Lookup::Absent) => {
                self.shared.expect_stray(self.at, id.clone());
                Err(Ending::Lost)
            }
            Ok(_) => {
                self.partial = self.step().allow_partial;
                Ok(())
            }
            Err(Ending::Cancelled) => {
                // It may be there, and nobody will follow it.
                self.shared.stop_job(self.at, &id).await;
                Err(Ending::Cancelled)
            }
            Err(ending) => {
                self.shared.leave_stray(self.at, &id);
                Err(ending)
            }
        }
    }

    /// The job was given up while it was being sent: it may have arrived.
    async fn given_up(&self, server: &Endpoint) {
        if names_jobs(server) {
            let failure = self.about().ambiguous(&server.name, "kiln was stopped");
            for built in failure.diagnostics {
                self.shared.teller.warn(self.name(), built);
            }
        } else {
            self.shared.stop_job(self.at, &self.job()).await;
        }
    }

    fn accepted(&self) {
        let prompt_id = self.job();
        self.shared.note(Fact::Accepted {
            ticket: self.ticket,
            prompt_id: prompt_id.clone(),
            theirs: self.named.is_some(),
        });
        self.shared.teller.tell(RunEvent::TaskQueued {
            task: self.name().clone(),
            prompt_id,
        });
    }

    /// Follows the job to its end. One that must stop, for whatever reason, is cancelled, and its record is waited for.
    async fn follow(&mut self, server: &Endpoint, ready: &Ready) -> Result<Found, Ending> {
        let (updates, mut news) = mpsc::unbounded_channel();
        let id = self.job();
        let wanted = self.shared.previews.is_some();
        let mut pictures = wanted.then(|| ready.connection.pictures(&id));
        let job = ready.connection.follow(&id, updates);
        tokio::pin!(job);
        let shared = Arc::clone(&self.shared);
        let task = Arc::clone(&self.task);
        let about = About::of(&shared.plan, &task);
        let mut passing = News::new(about, &shared, self.at, &ready.rendered);
        let mut patience = Patience::new(self.step(), ready.connection.socket_error().is_some());
        let (mut asked, mut deadline) = (None, None);
        let ended = loop {
            let until = deadline.unwrap_or_else(Instant::now);
            let due = patience.due();
            tokio::select! {
                biased;
                Some(update) = news.recv() => {
                    patience.hear(&update);
                    passing.pass(update);
                }
                ended = &mut job => break ended,
                Some(picture) = next(&mut pictures) => passing.show(picture),
                Ok(reason) = cancelled_above(&mut self.cancel, asked) => {
                    self.ask_to_stop();
                    if reason == CancelReason::Leave {
                        return Err(Ending::Cancelled);
                    }
                    asked = Some(reason);
                    deadline.get_or_insert_with(|| Instant::now() + CANCEL_DEADLINE);
                }
                () = sleep_until(until), if deadline.is_some() => {
                    shared.teller.warn(self.name(), about.not_stopped(&server.name));
                    return Err(Ending::Cancelled);
                }
                () = sleep_until(due.map_or(until, |(at, _)| at)), if due.is_some() => {
                    patience.over = due.map(|(_, overdue)| overdue);
                    self.ask_to_stop();
                }
            }
        };
        while let Ok(update) = news.try_recv() {
            passing.pass(update);
        }
        let mut ended = ended;
        if let JobOutcome::Succeeded { graph, .. } = &mut ended
            && ready.attached
        {
            self.sent = graph.take();
        }
        self.judge_end(server, ready, (ended, patience.over))
    }

    fn ask_to_stop(&self) {
        let (shared, at, id) = (Arc::clone(&self.shared), self.at, self.job());
        tokio::spawn(async move { shared.stop_job(at, &id).await });
    }

    fn judge_end(
        &self,
        server: &Endpoint,
        ready: &Ready,
        (ended, overdue): (JobOutcome, Option<Overdue>),
    ) -> Result<Found, Ending> {
        let about = self.about();
        match &ended {
            JobOutcome::Unreachable { cause } => {
                self.shared.missed(self.at, cause);
                self.shared.leave_stray(self.at, &self.job());
            }
            JobOutcome::Stalled { proof } => self.shared.died(self.at, self.step(), proof),
            _ => self.shared.answered(self.at),
        }
        // One that succeeded is kept, however late.
        if let JobOutcome::Succeeded {
            results,
            cached,
            taken,
            ..
        } = ended
        {
            self.left_out(server, ready, taken.as_ref())?;
            return Ok((results, cached));
        }
        if self.cancelling() {
            return Err(Ending::Cancelled);
        }
        if let Some(overdue) = overdue {
            return Err(about.overdue(&server.name, overdue).into());
        }
        match ended {
            JobOutcome::Succeeded {
                results, cached, ..
            } => Ok((results, cached)),
            // A session whose journal could not be written stops its jobs without a note of it: what an earlier session began and
            // somebody stopped is sent again.
            JobOutcome::Interrupted if self.was_stopping || self.owed.is_some() => {
                Err(Ending::Lost)
            }
            JobOutcome::Unreachable { .. } | JobOutcome::Stalled { .. }
                if self.shared.is_pool(self.at, self.step()) =>
            {
                Err(Ending::Lost)
            }
            JobOutcome::Failed(failure) => Err(about.node_failed(&ready.rendered, &failure).into()),
            JobOutcome::Cancelled => Err(Ending::Cancelled),
            JobOutcome::Interrupted => Err(about.interrupted(&server.name).into()),
            JobOutcome::Lost => Err(Ending::Lost),
            JobOutcome::Unreachable { cause } => {
                Err(about.unreachable(&server.name, &cause).into())
            }
            JobOutcome::Stuck => Err(about.stuck(&server.name).into()),
            JobOutcome::Stalled { proof } => Err(about.worker_died(&server.name, &proof).into()),
        }
    }

    /// A server answers what it leaves out of a job. Where that answer was lost, the job's record tells.
    fn left_out(
        &self,
        server: &Endpoint,
        ready: &Ready,
        taken: Option<&HashSet<NodeId>>,
    ) -> Result<(), Ending> {
        let Some(taken) = taken.filter(|_| !self.answered) else {
            return Ok(());
        };
        let missing = ready.ends.iter().filter(|node| !taken.contains(*node));
        let missing: Vec<&NodeId> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        let allowed = self.step().allow_partial;
        let about = self.about();
        let built = about.left_out_unheard(&ready.rendered, &server.name, (&missing, allowed));
        if !allowed {
            return Err(Failure::one(FailureClass::Rejected, built).into());
        }
        self.shared.teller.warn(self.name(), built);
        Ok(())
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
            task: &self.task,
            ticket: self.ticket,
            client: server.client(),
            url: &server.url,
            shared: &self.shared,
            results: &self.results,
        };
        // A job that succeeded is kept although the run is being cancelled; only leaving at once gives its files up.
        let (ticket, shared) = (self.ticket, &self.shared);
        let work = async {
            let permit = shared.fetching.acquire().await;
            shared.note(Fact::Released { ticket });
            shared.teller.tell(RunEvent::TaskFetching {
                task: self.name().clone(),
            });
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
    pub(super) fn nothing(&self) -> Result<(), Ending> {
        let step = self.step();
        let mut steps = self.shared.plan.steps.values();
        let user = steps.find(|other| uses(other, step));
        let built = self.about().no_output(user.map(|s| s.id.as_str()));
        if user.is_some() {
            return Err(Failure::one(FailureClass::NoOutput, built).into());
        }
        self.shared.teller.warn(self.name(), built);
        Ok(())
    }
}

/// Whether the server names jobs, so that only its answer tells what one is called.
pub(super) fn names_jobs(server: &Endpoint) -> bool {
    server.client().dialect().ids == Ids::Theirs
}

/// How long a step waits for its job.
struct Patience {
    timeout: Option<Duration>,
    stall: Option<Duration>,
    executing_since: Option<Instant>,
    heard: Instant,
    /// Which limit was passed.
    over: Option<Overdue>,
}

impl Patience {
    /// Of a job whose server has no socket, progress is never heard.
    fn new(step: &StepPlan, deaf: bool) -> Self {
        Self {
            timeout: step.timeout_ms.map(Duration::from_millis),
            stall: step
                .stall_timeout_ms
                .map(Duration::from_millis)
                .filter(|_| !deaf),
            executing_since: None,
            heard: Instant::now(),
            over: None,
        }
    }

    fn hear(&mut self, update: &JobUpdate) {
        let now = Instant::now();
        match update {
            JobUpdate::Executing
            | JobUpdate::Progress { .. }
            | JobUpdate::Text { .. }
            | JobUpdate::Blocked(_) => {
                self.executing_since.get_or_insert(now);
                self.heard = now;
            }
            // Silence means nothing any more.
            JobUpdate::Unheard => self.stall = None,
            // A server that is away tells nothing of its jobs.
            JobUpdate::Unreachable { .. } | JobUpdate::Reachable => self.heard = now,
            JobUpdate::Stalled { .. } | JobUpdate::Place(_) => {}
        }
    }

    /// The next limit, and when it is passed. Time in the queue counts for none of them.
    fn due(&self) -> Option<(Instant, Overdue)> {
        let since = self.executing_since?;
        if self.over.is_some() {
            return None;
        }
        let timeout = self.timeout.map(|t| (since + t, Overdue::Timeout(t)));
        let stall = self.stall.map(|t| (self.heard + t, Overdue::Stall(t)));
        [timeout, stall]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

/// Waits until the try is to be cancelled for a reason that outranks `known`. Reasons that leave the job its time outrank each other in
/// vain: it was asked already.
async fn cancelled_above(
    cancel: &mut watch::Receiver<Option<CancelReason>>,
    known: Option<CancelReason>,
) -> Result<CancelReason, watch::error::RecvError> {
    let most = known.map(|_| CancelReason::Requested);
    let reason = *cancel.wait_for(|reason| *reason > most).await?;
    Ok(reason.unwrap_or(CancelReason::Leave))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(timeout: Option<u64>, stall: Option<u64>) -> Patience {
        Patience {
            timeout: timeout.map(Duration::from_secs),
            stall: stall.map(Duration::from_secs),
            executing_since: None,
            heard: Instant::now(),
            over: None,
        }
    }

    #[test]
    fn time_in_the_queue_counts_for_no_limit() {
        let mut patience = patience(Some(10), Some(5));
        assert!(patience.due().is_none());
        patience.hear(&JobUpdate::Executing);
        let (_, overdue) = patience.due().unwrap();
        assert_eq!(overdue, Overdue::Stall(Duration::from_secs(5)));
    }

    #[test]
    fn a_job_that_cannot_be_heard_any_more_is_not_stalled() {
        let mut patience = patience(Some(10), Some(5));
        patience.hear(&JobUpdate::Executing);
        patience.hear(&JobUpdate::Unheard);
        let (_, overdue) = patience.due().unwrap();
        assert_eq!(overdue, Overdue::Timeout(Duration::from_secs(10)));
    }

    #[test]
    fn progress_puts_a_stall_off_and_a_timeout_not() {
        let mut patience = patience(Some(10), Some(5));
        patience.hear(&JobUpdate::Executing);
        patience.executing_since = Instant::now().checked_sub(Duration::from_secs(9));
        patience.hear(&JobUpdate::Progress {
            fraction: 0.5,
            node: None,
        });
        let (at, overdue) = patience.due().unwrap();
        assert_eq!(overdue, Overdue::Timeout(Duration::from_secs(10)));
        assert!(at <= Instant::now() + Duration::from_secs(1));
        patience.over = Some(overdue);
        assert!(patience.due().is_none(), "a limit is passed once");
    }
}
