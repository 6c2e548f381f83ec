//! Whether what executes a server's jobs still lives.
//!
//! Some errors outside of a node's own code end the one thread that executes jobs, while the web server lives on: it takes jobs, says that
//! one runs, even says that it cancelled it, and nothing ever runs again. Silence proves nothing, since a node may be at work for hours
//! and a server that loads a model sends nothing. What proves it is the server's own log, where Python tells of a thread that died; the
//! log lives and dies with the process, so such a line is about this one. It is believed only when it is read twice while the head of the
//! queue stays the same and nothing is heard of the job.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::http::Client;

/// How long the log may keep us waiting: nothing depends on it.
const LOG: Duration = Duration::from_secs(5);
/// The same words are not asked for again before.
const FRESH: Duration = Duration::from_millis(500);

impl Client {
    /// In what words the server's own log tells that the thread that executes jobs has died; `None` when it does not, or cannot be read.
    pub async fn dead_worker(&self) -> Option<String> {
        if !self.dialect().logs {
            return None;
        }
        let said = timeout(LOG, self.logs()).await.ok()?.ok()?;
        // Python writes one line in several pieces.
        death(&said.concat())
    }
}

/// The last death of the worker that a log tells of, with its exception.
fn death(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().rposition(|line| {
        line.contains("Exception in thread ") && line.contains("(prompt_worker)")
    })?;
    let thread = lines[at].trim().trim_end_matches(':');
    let thread = &thread[thread.find("Exception in thread ")?..];
    let exception = lines[at + 1..].iter().take(400).find(|line| {
        !line.is_empty() && !line.starts_with([' ', '\t']) && !line.starts_with("Traceback")
    });
    Some(match exception {
        Some(exception) => format!("{thread}: {}", exception.trim_end()),
        None => thread.to_owned(),
    })
}

/// One question to the log for all followers of a connection.
#[derive(Debug, Default)]
pub(super) struct Log {
    last: Mutex<Option<(Instant, Option<String>)>>,
}

impl Log {
    pub(super) async fn death(&self, client: &Client) -> Option<String> {
        let mut last = self.last.lock().await;
        if let Some((at, said)) = &*last
            && at.elapsed() < FRESH
        {
            return said.clone();
        }
        let said = client.dead_worker().await;
        *last = Some((Instant::now(), said.clone()));
        said
    }
}

/// A death that was read of once.
#[derive(Debug)]
pub(super) struct Suspicion {
    pub(super) since: Instant,
    /// What the server said to work on.
    pub(super) head: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_death_of_the_worker_is_told_from_that_of_any_other_thread() {
        let other = "got prompt\nException in thread Thread-9 (download):\nTraceback (most recent call last):\nOSError: no\n";
        assert_eq!(death(other), None);
        let ours = format!(
            "{other}Exception in thread Thread-4 (prompt_worker):\nTraceback (most recent call last):\n  File \"/x/threading.py\", line 1, in run\n    self.run()\nKeyError: 'inputs'\ngot prompt\n"
        );
        assert_eq!(
            death(&ours).as_deref(),
            Some("Exception in thread Thread-4 (prompt_worker): KeyError: 'inputs'")
        );
        assert_eq!(
            death("Exception in thread Thread-4 (prompt_worker):").as_deref(),
            Some("Exception in thread Thread-4 (prompt_worker)")
        );
        assert_eq!(death(""), None);
    }
}
