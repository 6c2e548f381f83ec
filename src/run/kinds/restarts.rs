//! Whether a job worked on what it was to work on, and its results are its own.
//!
//! A server that is restarted counts the names of its files anew. A job sent to it just then, whose inputs name results on that server,
//! works on somebody else's files; and one that ended before may have its results under names that are somebody else's by now. As long as
//! one socket stays open the server was not restarted; otherwise it is asked.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::workflow::Ready;
use crate::client::ClientError;
use crate::machine::CancelReason;
use crate::run::attempt::{Ending, Try};
use crate::run::transfer::is_unchanged;
use crate::servers::Endpoint;

/// The socket that must stay open for nothing to be in doubt: the one under which the inputs were sent, or, where that was an earlier
/// session's doing, the one that is open when the job is found.
pub(super) fn session_of(ready: &Ready) -> Option<String> {
    if ready.attached {
        ready.connection.session()
    } else {
        ready.session.clone()
    }
}

/// Whether the server was not restarted since then.
pub(super) fn is_same(ready: &Ready, session: Option<&str>) -> bool {
    let unknown = ready.attached && !ready.referred.is_empty();
    !unknown && session.is_some() && ready.connection.session().as_deref() == session
}

impl Try {
    /// Whether a job failed on files that were not its own.
    pub(super) async fn was_misled(
        &mut self,
        server: &Endpoint,
        ready: &Ready,
        session: Option<&str>,
    ) -> bool {
        !is_same(ready, session) && matches!(self.worked_on_its_own(server, ready).await, Ok(false))
    }

    /// Whether the results that its inputs named on the server are still the same files there.
    pub(super) async fn worked_on_its_own(
        &mut self,
        server: &Endpoint,
        ready: &Ready,
    ) -> Result<bool, Ending> {
        for artifact in &ready.referred {
            let ask = || is_unchanged(server.client(), artifact).boxed();
            if !self.even_cancelled(server, ask).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks a server patiently. A job that has ended is kept although the run is being stopped: then the server is asked once.
    pub(super) async fn even_cancelled<'a, T>(
        &mut self,
        server: &Endpoint,
        mut ask: impl FnMut() -> BoxFuture<'a, Result<T, ClientError>> + Send,
    ) -> Result<T, Ending> {
        if !self.cancelling() {
            return self.patiently(server, CancelReason::Leave, ask).await;
        }
        tokio::select! {
            biased;
            answer = ask() => answer.map_err(|_| Ending::Cancelled),
            _ = self.cancel.wait_for(|reason| *reason >= Some(CancelReason::Leave)) => {
                Err(Ending::Cancelled)
            }
        }
    }
}
