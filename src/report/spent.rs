//! Where the time of a step's tasks went.

use super::view::TaskState;

/// Sums over all tasks and attempts of a step, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// In queues of servers.
    pub(super) queue: i64,
    /// Sending inputs and jobs, and fetching results.
    pub(super) transfer: i64,
    /// At work.
    pub(super) execution: i64,
}

impl Spent {
    /// A task stood somewhere for so long, and now stands elsewhere.
    pub(super) fn add(&mut self, was: TaskState, is: TaskState, ms: i64) {
        let ms = ms.max(0);
        match was {
            TaskState::Preparing | TaskState::Fetching => self.transfer += ms,
            TaskState::Executing => self.execution += ms,
            // Of a job that is done nobody heard when it began: that it waited is not known.
            TaskState::Queued if is == TaskState::Fetching => self.execution += ms,
            TaskState::Queued => self.queue += ms,
            TaskState::Waiting | TaskState::Ended(_) => {}
        }
    }

    /// A file was sent before its task had a slot.
    pub(super) fn sent(&mut self, seconds: f64) {
        let ms =
            u32::try_from(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e6)).as_millis());
        self.transfer += i64::from(ms.unwrap_or(u32::MAX));
    }
}
