//! Where jobs stand in a server's queue: one answer serves all jobs on the server for a while. It tells every graph that waits, and a
//! server that has many to tell is kept from its work by the question.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::http::Client;
use crate::protocol::Records;

/// How long an answer serves at least.
const FRESH: Duration = Duration::from_secs(1);
/// How many times as long as it took an answer serves: the server has other things to do.
const WORTH: u32 = 10;
/// How long it is waited for: who does not learn here where a job stands asks about the job itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long nobody asks again after there was no answer.
const LET_BE: Duration = Duration::from_secs(30);

/// What was last heard of a server's queue. Who wants to know while somebody asks waits for that answer.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Until when the answer serves.
    until: Option<Instant>,
    waiting: Vec<String>,
}

impl Places {
    /// A job's place among those that wait, from 1, as of a moment ago. `None` when it does not wait, or the server does not tell.
    pub(super) async fn of(&self, client: &Client, id: &str) -> Option<u32> {
        if client.dialect().records == Records::Jobs {
            return None;
        }
        let mut heard = self.0.lock().await;
        if heard.until.is_none_or(|until| until <= Instant::now()) {
            let asked = Instant::now();
            let answer = timeout(PATIENCE, client.queue()).await;
            let answer = answer.ok().and_then(Result::ok);
            let serves = match answer {
                Some(_) => FRESH.max(asked.elapsed() * WORTH),
                None => LET_BE,
            };
            heard.until = Some(Instant::now() + serves);
            heard.waiting = answer.map(|queue| queue.pending).unwrap_or_default();
        }
        let at = heard.waiting.iter().position(|other| other == id)?;
        u32::try_from(at + 1).ok()
    }
}
