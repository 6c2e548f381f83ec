//! Where jobs stand in a server's queue: one answer serves all jobs on the server for a while. It tells every graph that waits, and a
//! server that has many to tell is kept from its work by the question.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::http::Client;
use crate::protocol::{Queue, Records};

/// How long an answer serves at most.
const FRESH: Duration = Duration::from_secs(1);
/// How long it is waited for: who does not learn here where a job stands asks about the job itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is executed.
    Running,
    /// It waits at this place, from 1.
    Waiting(u32),
}

/// What was last heard of a server's queue. Who wants to know while somebody asks waits for that answer.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    asked: Option<Instant>,
    queue: Option<Queue>,
}

impl Places {
    /// Where a job stood a moment ago, at most `within`. `None` when the server does not tell, or did not then: that says nothing of the job.
    pub(super) async fn of(&self, client: &Client, id: &str, within: Duration) -> Option<Standing> {
        if client.dialect().records == Records::Jobs {
            return None;
        }
        let mut heard = self.0.lock().await;
        if heard
            .asked
            .is_none_or(|asked| asked.elapsed() >= within.min(FRESH))
        {
            heard.queue = timeout(PATIENCE, client.queue())
                .await
                .ok()
                .and_then(Result::ok);
            heard.asked = Some(Instant::now());
        }
        let queue = heard.queue.as_ref()?;
        if queue.running.iter().any(|other| other == id) {
            return Some(Standing::Running);
        }
        let at = queue.pending.iter().position(|other| other == id)?;
        Some(Standing::Waiting(u32::try_from(at + 1).ok()?))
    }
}
