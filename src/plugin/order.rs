//! A call under way, as the one who waits for it sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::fault::Fault;
use super::member::Member;

/// What a call gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The reply; null when there was none.
    pub reply: Value,
    /// Artifacts that were added on the way.
    pub added: Vec<Value>,
}

/// Where an answer goes.
pub(super) type Reply = Box<dyn FnOnce(Result<Answer, Fault>) + Send>;

/// Hears how far a call is: a fraction and a few words.
pub(super) type Hear = Arc<dyn Fn(f64, &str) + Send + Sync>;

/// How a call is watched.
#[derive(Clone, Default)]
pub struct Watch {
    /// How long it may take, instead of what the plugin's declaration says; `Some(None)`: as long as it wants.
    pub limit: Option<Option<Duration>>,
    /// Hears how far it is.
    pub progress: Option<Hear>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A call under way. Dropping it does not end the call.
#[derive(Debug)]
pub struct Calling {
    pub(super) answer: oneshot::Receiver<Result<Answer, Fault>>,
    pub(super) member: Arc<Member>,
    pub(super) id: u64,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) begun: Arc<OnceLock<Instant>>,
}

impl Calling {
    /// Waits for the answer. Dropping the wait loses nothing.
    pub async fn answer(&mut self) -> Result<Answer, Fault> {
        (&mut self.answer).await.unwrap_or(Err(Fault::GivenUp))
    }

    /// When the plugin began with it; `None`: it waits for its turn.
    pub fn begun(&self) -> Option<Instant> {
        self.begun.get().copied()
    }

    /// Tells the plugin that nobody waits any more. One that has not begun never will.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Gives the plugin up, or ends its process, if it is still at this call: it was told that nobody waits, and does not care.
    pub fn abandon(&self) {
        self.member.abandon(self.id, &Fault::Cancelled);
    }
}
