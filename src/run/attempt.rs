//! One try of one task: what tries of all kinds have in common.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use super::failure::{About, Failure};
use super::identity::prompt_id;
use super::provenance::beside;
use super::recall::Recalled;
use super::shared::Shared;
use crate::artifact::Artifact;
use crate::base::{ContentHash, TaskName, brief, patient};
use crate::client::{ClientError, RefusalKind};
use crate::diagnostic::{Report, to_json};
use crate::machine::{CancelReason, EndpointIx, Fact, Outcome, Phase, Ticket};
use crate::plan::{self, Plan, Results, StepPlan, TaskOutcome, TaskPlan, Work};
use crate::servers::Endpoint;

/// Times that a server may answer a question with a failure of its own before that is taken for its word.
const FAULTS: u32 = 5;
/// The longest pause between two attempts to reach a server that is away, unless it wants a longer one.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// How long a server whose queue is full is asked again.
const BUSY: Duration = Duration::from_mins(15);
/// The longest pause between two attempts to get into a full queue, unless the server wants a longer one.
const BUSY_PAUSE: Duration = Duration::from_secs(30);

/// One try.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something else about what came before"
)]
pub(super) struct Try {
    pub(super) shared: Arc<Shared>,
    pub(super) ticket: Ticket,
    pub(super) task: Arc<TaskPlan>,
    pub(super) at: EndpointIx,
    /// The server must be made to execute again: the files of its remembered result are gone.
    pub(super) fresh: bool,
    /// It was under way when an earlier session ended, so far: its job may be on the server, or done.
    pub(super) owed: Option<Phase>,
    /// What the server calls its job, where servers name jobs.
    pub(super) named: Option<String>,
    /// Its job may lack outputs that the server refused, or what a plugin should have done.
    pub(super) partial: bool,
    /// What the server answered when it took its job is known.
    pub(super) answered: bool,
    /// The graph that an earlier session sent, as the server tells it.
    pub(super) sent: Option<serde_json::Value>,
    /// It was being stopped when that session ended.
    pub(super) was_stopping: bool,
    /// The attempt before this one ran out of memory.
    pub(super) after_oom: bool,
    /// Comes when the job may be submitted.
    pub(super) go: Option<oneshot::Receiver<()>>,
    /// Rises when the try is to be cancelled.
    pub(super) cancel: watch::Receiver<Option<CancelReason>>,
    pub(super) results: Arc<Results>,
    /// When it was given its slot, milliseconds since 1970.
    pub(super) started_at: u64,
}

/// Why a try has no results.
#[derive(Debug)]
pub(super) enum Ending {
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
            Ok(outcome) => outcome,
            Err(Ending::Failed(failure)) => self.failed(*failure),
            Err(Ending::Cancelled) => Outcome::Cancelled,
            Err(Ending::Lost) => Outcome::Lost,
            Err(Ending::Gone) => Outcome::Gone,
        };
        (self.ticket, outcome)
    }

    async fn work(&mut self) -> Result<Outcome, Ending> {
        let wanted = self.wanted().await;
        if matches!(wanted, Ok(false)) {
            return Ok(Outcome::Skipped);
        }
        if let Err(ending) = wanted {
            return self.in_turn(None, Err(ending)).await;
        }
        let plan = Arc::clone(&self.shared.plan);
        match &plan.steps[&self.task.step].work {
            Work::Workflow(work) => self.workflow(work).await,
            Work::Command(work) => self.command(work).await,
            Work::Plugin(work) => self.plugin(work).await,
        }
    }

    /// The first complaint is the failure; the others are told beside it.
    fn failed(&self, failure: Failure) -> Outcome {
        let mut diagnostics = failure.diagnostics.into_iter();
        let Some(first) = diagnostics.next() else {
            unreachable!("a failure has at least one diagnostic: every constructor gives it one")
        };
        let first = self.shared.hush.mask_diagnostic(first);
        let diagnostic = Box::new(to_json(&first, &self.shared.plan.sources));
        for more in diagnostics {
            self.shared.teller.warn(self.name(), more);
        }
        self.shared.teller.hold(self.ticket, first);
        Outcome::Failed {
            class: failure.class,
            diagnostic,
        }
    }

    pub(super) fn name(&self) -> &TaskName {
        &self.task.name
    }

    pub(super) fn step(&self) -> &StepPlan {
        &self.shared.plan.steps[&self.task.step]
    }

    pub(super) fn about(&self) -> About<'_> {
        About::of(&self.shared.plan, &self.task)
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(self.shared.endpoint(self.at))
    }

    /// Whether an earlier session had already given it its slot.
    pub(super) fn is_under_way(&self) -> bool {
        self.owed.is_some_and(has_slot)
    }

    /// What its job is called on the server: as we named it, unless the server names jobs.
    pub(super) fn job(&self) -> String {
        match &self.named {
            Some(named) => named.clone(),
            None => prompt_id(&self.shared.run, self.name(), self.ticket).to_string(),
        }
    }

    pub(super) fn cancelling(&self) -> bool {
        self.cancel.borrow().is_some()
    }

    /// Whether the task's `when` holds.
    async fn wanted(&self) -> Result<bool, Ending> {
        if self.is_under_way() || self.step().when.is_none() {
            return Ok(true);
        }
        self.off_thread(plan::condition).await
    }

    /// Evaluates something of the task's off the threads that drive the run.
    pub(super) async fn off_thread<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Plan, &TaskPlan, &Results, u32) -> Result<T, Report> + Send + 'static,
    ) -> Result<T, Ending> {
        let plan = Arc::clone(&self.shared.plan);
        let task = Arc::clone(&self.task);
        let results = Arc::clone(&self.results);
        let attempt = self.ticket.attempt;
        // A plugin's function may take any time.
        let slow = !plan.plugins.is_empty();
        let work = move || ask(&plan, &task, &results, attempt);
        let done = if slow {
            patient(work).await
        } else {
            brief(work).await
        };
        match done {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(report)) => Err(Failure::invalid(report.items).into()),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Waits for the task's turn, and only then says what went wrong before: the order of failures is the order of starts.
    pub(super) async fn in_turn<T>(
        &mut self,
        key: Option<ContentHash>,
        prepared: Result<T, Ending>,
    ) -> Result<T, Ending> {
        if matches!(prepared, Err(Ending::Cancelled | Ending::Lost)) {
            return prepared;
        }
        if !self.is_under_way() {
            let ticket = self.ticket;
            self.shared.note(Fact::Prepared { ticket, key });
        }
        self.await_slot().await?;
        self.started_at = super::log::now();
        prepared
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
    pub(super) async fn patiently<'a, T>(
        &mut self,
        server: &Endpoint,
        gives_up: CancelReason,
        mut ask: impl FnMut() -> BoxFuture<'a, Result<T, ClientError>> + Send,
    ) -> Result<T, Ending> {
        let (mut away, mut full): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut faults, mut busy) = (0, 0);
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
                    // What is remembered of a server does not say that it is there.
                    if away.is_some() {
                        self.shared.answered(self.at);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if error.is_busy() {
                away = None;
                let since = *full.get_or_insert_with(Instant::now);
                if let Some(pause) = busy_pause(&error, busy, since.elapsed()) {
                    busy += 1;
                    self.pause(pause).await?;
                    continue;
                }
            }
            let since = *away.get_or_insert_with(Instant::now);
            // A proxy's page in place of an answer, or half an answer, says nothing of what was asked.
            let fault = error.is_fault() || error.is_odd();
            faults += u32::from(fault);
            if error.is_connection() {
                self.shared.missed(self.at, &error.to_string());
            }
            let again = error.is_connection() || (fault && faults < FAULTS);
            if !again || since.elapsed() >= server.lost_after {
                if error.is_connection() && self.owed.is_some() {
                    // What an earlier session may have left here is cancelled when this one returns.
                    self.shared.leave_stray(self.at, &self.job());
                }
                if error.is_connection() && self.shared.others_answer(self.at, self.step()) {
                    return Err(Ending::Lost);
                }
                return Err(self.about().server(&server.name, &error).into());
            }
            self.pause(away_pause(&error)).await?;
        }
    }

    /// Sleeps, unless the try is cancelled.
    async fn pause(&mut self, time: Duration) -> Result<(), Ending> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            _ = self.cancel.wait_for(Option::is_some) => Err(Ending::Cancelled),
        }
    }

    /// What the task made, as the step's `until` sees it.
    async fn fulfils(&self, artifacts: &[Arc<Artifact>]) -> Result<bool, Ending> {
        if self.step().retry.until.is_none() {
            return Ok(true);
        }
        let result = TaskOutcome::of(&self.task, "done", artifacts.to_vec());
        self.off_thread(move |plan, task, results, attempt| {
            let result = result.following(results.item.as_ref());
            plan::until(plan, task, results, &result, attempt)
        })
        .await
    }

    /// As [`Try::fulfils`]; files of which that cannot be said are removed.
    pub(super) async fn fulfils_or_goes(
        &self,
        artifacts: &[Arc<Artifact>],
    ) -> Result<bool, Ending> {
        let judged = self.fulfils(artifacts).await;
        if !matches!(judged, Ok(true)) {
            discard(artifacts).await;
        }
        judged
    }

    /// Judges what the attempt made, and keeps it for later runs.
    pub(super) async fn conclude(
        &self,
        artifacts: Vec<Arc<Artifact>>,
        recalled: Recalled<'_>,
    ) -> Result<Outcome, Ending> {
        if !self.fulfils_or_goes(&artifacts).await? {
            return Err(self.about().rejected_by_until().into());
        }
        self.remember(&artifacts, recalled).await;
        Ok(Outcome::Done { artifacts })
    }
}

/// How long to wait before a server whose queue is full is asked again: as long as it says, else longer each time, with full jitter, so
/// that many tasks do not come back together. `None` when it is not that, or has been so for too long.
fn busy_pause(error: &ClientError, times: u32, since: Duration) -> Option<Duration> {
    let refusal = error.refusal()?;
    if refusal.kind != RefusalKind::Busy || since >= BUSY {
        return None;
    }
    let longest = Duration::from_secs(1 << times.min(5)).min(BUSY_PAUSE);
    let jitter = longest.mul_f64(fastrand::f64());
    Some(match refusal.retry_after {
        Some(wanted) => wanted + jitter.min(Duration::from_secs(1)),
        None => jitter.max(Duration::from_millis(100)),
    })
}

/// How long to wait before a server that is away is asked again: a second on average, with full jitter, or as long as the proxy in front of
/// it says, within bounds.
fn away_pause(error: &ClientError) -> Duration {
    let jitter = AWAY_PAUSE.mul_f64(fastrand::f64());
    match error.refusal().and_then(|no| no.retry_after) {
        Some(wanted) => wanted.min(BUSY_PAUSE) + jitter.min(Duration::from_secs(1)),
        None => jitter.max(Duration::from_millis(100)),
    }
}

/// Whether a task that was so far has its slot.
pub(super) fn has_slot(phase: Phase) -> bool {
    matches!(phase, Phase::Started | Phase::Released)
}

/// Removes the files of an attempt that counts no more, and their records.
pub(super) async fn discard(artifacts: &[Arc<Artifact>]) {
    let paths: Vec<_> = artifacts.iter().filter_map(|a| a.path.clone()).collect();
    let removed = brief(move || {
        for path in paths {
            let _ = std::fs::remove_file(beside(&path));
            let _ = std::fs::remove_file(path);
        }
    });
    let _ = removed.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Refusal;

    #[test]
    fn a_server_that_is_away_is_asked_again_when_it_says_and_else_at_random() {
        let away = |retry_after| {
            ClientError::Refused(Refusal {
                retry_after,
                ..Refusal::new(String::new(), 503, "")
            })
        };
        let silent: Vec<_> = (0..50).map(|_| away_pause(&away(None))).collect();
        assert!(silent.iter().all(|pause| *pause <= AWAY_PAUSE));
        assert!(silent.iter().any(|pause| *pause != silent[0]));
        let said = away_pause(&away(Some(Duration::from_secs(5))));
        assert!(said >= Duration::from_secs(5) && said <= Duration::from_secs(6));
        let much = away_pause(&away(Some(Duration::from_hours(1))));
        assert!(much <= BUSY_PAUSE + Duration::from_secs(1));
    }
}
