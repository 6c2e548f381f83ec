//! Where jobs stand in a server's queue: one answer serves all jobs on the server for a while, since it tells every graph that waits.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::http::Client;
use crate::protocol::Records;

/// How long an answer serves.
const FRESH: Duration = Duration::from_secs(3);
/// How long it is waited for: nothing depends on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was last heard of a server's queue.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    asked: Option<Instant>,
    waiting: Vec<String>,
}

impl Places {
    /// A job's place among those that wait, from 1; `None` when the server does not tell.
    pub(super) async fn of(&self, client: &Client, id: &str) -> Option<u32> {
        if client.dialect().records == Records::Jobs {
            return None;
        }
        if self.is_due() {
            let queue = timeout(PATIENCE, client.queue()).await.ok()?.ok()?;
            self.heard().waiting = queue.pending;
        }
        let at = self.heard().waiting.iter().position(|other| other == id)?;
        u32::try_from(at + 1).ok()
    }

    /// Whether the answer is too old; only one of many who want to know asks.
    fn is_due(&self) -> bool {
        let mut heard = self.heard();
        let due = heard.asked.is_none_or(|asked| asked.elapsed() >= FRESH);
        if due {
            heard.asked = Some(Instant::now());
        }
        due
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
