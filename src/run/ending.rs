//! The end of a run, in good order or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::context::{RunError, RunOutcome, Stop};
use super::dispatch::Dispatcher;
use super::log::now;
use crate::event::{RunEvent, RunStatus};
use crate::machine::CancelReason;

/// How long tries are waited for when a run cannot go on.
const BROKEN_DEADLINE: Duration = Duration::from_secs(12);
/// How long tries that were told to leave at once may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

impl Dispatcher {
    pub(super) async fn finish(
        mut self,
        status: RunStatus,
        began: Instant,
    ) -> Result<RunOutcome, RunError> {
        // Tries that were only being prepared were told to leave.
        self.drain(LEAVE_DEADLINE).await;
        while self.forsaken.join_next().await.is_some() {}
        let leaving = self.machine.stopping() == Some(CancelReason::Leave);
        self.shared.health.end(leaving).await;
        self.settle_plugins().await;
        let mut status = self.without_plugins(status);
        let mut exit_code = self.exit_code(status);
        let folder = self.close_folder().await;
        let shared = Arc::clone(&self.shared);
        // Whatever the journal calls finished must still be there after a power cut.
        let _ = tokio::task::spawn_blocking(move || shared.folder.sync()).await;
        let plan = &self.shared.plan;
        for (step, (count, all)) in &self.took {
            let store = &self.shared.store;
            store.note_duration(&plan.pipeline, step, all / (*count).max(1));
        }
        let counts = self.machine.counts();
        let finished = self.log.finish(now(), status, exit_code, counts).await;
        if let Err(error) = finished {
            return Err(self.break_off(error.into()).await);
        }
        self.tell_end(status, exit_code, began);
        self.end_plugins().await;
        // That it is done was the last thing that plugins heard of, and one of them failed at that.
        if self.without_plugins(status) != status {
            status = RunStatus::Failed;
            exit_code = self.exit_code(status);
            let finished = self.log.finish(now(), status, exit_code, counts).await;
            if let Err(error) = finished {
                return Err(self.break_off(error.into()).await);
            }
        }
        Ok(RunOutcome {
            status,
            exit_code,
            counts,
            cause: self.cause(),
            report: self.shared.teller.report(),
            folder,
            read: self.roster.read(),
        })
    }

    /// Everything is done, and a plugin that had to hear of it did not: that is not done.
    fn without_plugins(&self, status: RunStatus) -> RunStatus {
        match status {
            RunStatus::Done if self.shared.plugins().failed() => RunStatus::Failed,
            status => status,
        }
    }

    /// The run cannot go on, for instance since its journal cannot be written: what runs is ours to stop, what is done is kept.
    pub(super) async fn break_off(mut self, error: RunError) -> RunError {
        self.shared.health.end(true).await;
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
        self.stop_seen = Stop::Cancel.max(self.stop_seen);
        self.settle_plugins().await;
        // Whoever tells what they say shares what tells of the run, and that must end.
        self.heeding = None;
        self.close_folder().await;
        error
    }

    /// Waits for all tries to end; whether they did.
    async fn drain(&mut self, patience: Duration) -> bool {
        let until = tokio::time::Instant::now() + patience;
        loop {
            match tokio::time::timeout_at(until, self.tries.join_next()).await {
                Ok(Some(Ok((ticket, outcome)))) => self.forsake(ticket.task, outcome),
                Ok(Some(Err(_))) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    async fn close_folder(&self) -> Option<PathBuf> {
        let mut made = self.roster.iter();
        let any = made.any(|(task, _)| {
            let mut artifacts = self.roster.artifacts(task).iter();
            artifacts.any(|made| made.path.is_some())
        });
        let shared = Arc::clone(&self.shared);
        let closed = tokio::task::spawn_blocking(move || {
            let _ = std::fs::remove_dir_all(shared.work_folder());
            shared.folder.close(any)
        });
        closed.await.ok().flatten()
    }

    fn tell_end(&self, status: RunStatus, exit_code: u8, began: Instant) {
        self.shared.teller.tell(RunEvent::RunFinished {
            status,
            exit_code,
            counts: self.machine.counts(),
            cause: self.cause(),
            latest: self.shared.folder.latest(),
            up_to_date: false,
            resume: None,
            seconds: began.elapsed().as_secs_f64(),
        });
    }

    fn exit_code(&self, status: RunStatus) -> u8 {
        match status {
            RunStatus::Done => 0,
            // Nobody interrupted it: it took too long by itself.
            RunStatus::Cancelled if self.machine.stopping() == Some(CancelReason::Deadline) => 4,
            RunStatus::Cancelled => self.stop_code.load(Ordering::Relaxed),
            RunStatus::Failed
                if !self.classes.is_empty()
                    && self.classes.iter().all(|class| class.is_connection()) =>
            {
                5
            }
            RunStatus::Failed => 4,
        }
    }
}
