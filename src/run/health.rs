//! Which endpoints answer, and the jobs that were left on those that did not.
//!
//! An endpoint of a pool that cannot be reached twice in a row is taken out, asked now and then in the background, and taken in again when
//! it answers. A server of one endpoint is never taken out: its tasks wait for it, and fail when it stays away for too long. The same
//! happens when all endpoints of a pool stay away, or all of those where a step can run, since otherwise nothing would ever end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::log::now;
use super::shared::Shared;
use crate::client::ClientError;
use crate::machine::{EndpointIx, Fact};
use crate::plan::StepPlan;
use crate::servers::{Endpoint, EndpointKind, Servers};

/// Connections in a row that fail before an endpoint counts as down.
const STRIKES: u32 = 2;
/// The first and the longest pause between two questions to an endpoint that is down.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// How long the end of a run may wait for the last answers about jobs that were given up.
const CLEARING: Duration = Duration::from_secs(3);

/// The endpoints of a run, as far as they can be reached.
#[derive(Debug)]
pub(super) struct Health {
    states: Vec<Mutex<State>>,
    /// The run is over: nobody needs to be asked any more.
    over: CancellationToken,
    /// What asks endpoints for jobs that were given up.
    clearing: TaskTracker,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    strikes: u32,
    down_since: Option<Instant>,
}

impl Health {
    pub(super) fn new(servers: &Servers) -> Self {
        let states = servers.endpoints().iter().map(|_| Mutex::default());
        Self {
            states: states.collect(),
            over: CancellationToken::new(),
            clearing: TaskTracker::new(),
        }
    }

    fn state(&self, endpoint: EndpointIx) -> Option<MutexGuard<'_, State>> {
        let state = self.states.get(endpoint.0 as usize)?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_down(&self, endpoint: EndpointIx) -> bool {
        self.state(endpoint)
            .is_some_and(|state| state.down_since.is_some())
    }

    /// Nobody is asked any more, once the jobs that earlier runs gave up are dealt with, since a run may be over very soon; `at_once`: in
    /// any case.
    pub(super) async fn end(&self, at_once: bool) {
        self.over.cancel();
        self.clearing.close();
        if !at_once {
            let _ = tokio::time::timeout(CLEARING, self.clearing.wait()).await;
        }
    }
}

impl Shared {
    /// Finds out how the endpoints are at the beginning; what is already known to be down is said.
    pub(super) fn watch_endpoints(self: &Arc<Self>) {
        for at in self.endpoints() {
            let endpoint = self.endpoint(at);
            if !endpoint.answered() {
                self.set_down(at);
            } else if endpoint.kind == EndpointKind::Comfy {
                self.clear_strays(at);
            }
        }
    }

    fn endpoints(&self) -> impl Iterator<Item = EndpointIx> + use<> {
        let count = self.servers.endpoints().len();
        (0..u32::try_from(count).unwrap_or(u32::MAX)).map(EndpointIx)
    }

    /// The endpoints of the same server, this one too.
    fn pool(&self, at: EndpointIx) -> Vec<EndpointIx> {
        let name = &self.endpoint(at).name;
        self.endpoints()
            .filter(|other| self.endpoint(*other).name == *name)
            .collect()
    }

    /// The other endpoints of the same server where a step can run; where none has all that it uses, all of them.
    fn others(&self, at: EndpointIx, step: &StepPlan) -> Vec<EndpointIx> {
        let pool = self.pool(at);
        let fit = (0..).zip(&pool).filter(|(nth, _)| step.is_fit(*nth));
        let fit: Vec<EndpointIx> = fit.map(|(_, other)| *other).collect();
        let able = if fit.is_empty() { pool } else { fit };
        able.into_iter().filter(|other| *other != at).collect()
    }

    /// Whether the server has other endpoints where a step can run, whatever they are worth now.
    pub(super) fn is_pool(&self, at: EndpointIx, step: &StepPlan) -> bool {
        !self.others(at, step).is_empty()
    }

    /// Whether another endpoint of the same server can do a step's work in place of this one.
    pub(super) fn others_answer(&self, at: EndpointIx, step: &StepPlan) -> bool {
        let mut others = self.others(at, step).into_iter();
        others.any(|other| !self.health.is_down(other))
    }

    /// An endpoint answered.
    pub(super) fn answered(&self, at: EndpointIx) {
        if let Some(mut state) = self.health.state(at) {
            state.strikes = 0;
        }
        self.teller.back(self.endpoint(at));
    }

    /// An endpoint could not be reached.
    pub(super) fn missed(self: &Arc<Self>, at: EndpointIx, reason: &str) {
        self.teller.lost(self.endpoint(at), reason);
        let strikes = self.health.state(at).map_or(0, |mut state| {
            state.strikes = state.strikes.saturating_add(1);
            state.strikes
        });
        if strikes >= STRIKES {
            self.set_down(at);
        }
    }

    /// An endpoint answers, and will never work on a job again.
    pub(super) fn died(self: &Arc<Self>, at: EndpointIx, step: &StepPlan, proof: &str) {
        // The task says so itself where nobody else can do its work.
        if self.is_pool(at, step) {
            self.teller.lost(self.endpoint(at), proof);
        }
        self.set_down(at);
    }

    fn set_down(self: &Arc<Self>, at: EndpointIx) {
        if self.pool(at).len() < 2 {
            return;
        }
        match self.health.state(at) {
            Some(mut state) if state.down_since.is_none() => {
                state.down_since = Some(Instant::now());
            }
            _ => return,
        }
        self.note(Fact::ServerDown { endpoint: at });
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.await_return(at).await });
    }

    /// Asks an endpoint that is down until it answers.
    async fn await_return(self: Arc<Self>, at: EndpointIx) {
        let endpoint = Arc::clone(self.endpoint(at));
        let mut pause = PAUSE.0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.health.over.cancelled() => return,
            }
            if endpoint.probe().await.is_ok() && endpoint.client().dead_worker().await.is_none() {
                self.teller.back(&endpoint);
                break;
            }
            if self.gives_in(at, &endpoint) {
                break;
            }
            pause = (pause * 2).min(PAUSE.1);
        }
        if let Some(mut state) = self.health.state(at) {
            *state = State::default();
        }
        self.note(Fact::ServerUp { endpoint: at });
        self.clear_strays(at);
    }

    /// Whether the whole pool was away for so long that its tasks are to find out for themselves. The tasks of a step that can run only on
    /// some of it find out without this: where none of those is up, they are sent to one that is down.
    fn gives_in(&self, at: EndpointIx, endpoint: &Endpoint) -> bool {
        let since = self.health.state(at).and_then(|state| state.down_since);
        since.is_some_and(|since| since.elapsed() >= endpoint.lost_after)
            && self
                .pool(at)
                .into_iter()
                .all(|other| self.health.is_down(other))
    }

    /// Cancels the jobs that were given up while an endpoint was away, in this run or an earlier one.
    fn clear_strays(self: &Arc<Self>, at: EndpointIx) {
        let shared = Arc::clone(self);
        self.health.clearing.spawn(async move {
            let endpoint = shared.endpoint(at);
            for id in shared.store.strays(&endpoint.url).unwrap_or_default() {
                if shared.clear_stray(endpoint, &id).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Cancels a job that nobody wants any more. Whether it was there.
    async fn clear_stray(&self, endpoint: &Endpoint, id: &str) -> Result<bool, ClientError> {
        let was_there = endpoint.client().cancel(id).await?;
        if was_there {
            self.store.remove_stray(&endpoint.url, id);
        } else {
            self.store.miss_stray(&endpoint.url, id, now());
        }
        Ok(was_there)
    }

    /// A server does not know a job that may have been sent to it, so another one takes its place: should it show up after all, in this
    /// run or before a later one, it is cancelled.
    pub(super) fn expect_stray(self: &Arc<Self>, at: EndpointIx, id: String) {
        let (shared, endpoint) = (Arc::clone(self), Arc::clone(self.endpoint(at)));
        if endpoint.kind != EndpointKind::Comfy {
            return;
        }
        self.store.expect_stray(&endpoint.url, &id, now());
        self.health.clearing.spawn(async move {
            let mut pause = PAUSE.0;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shared.health.over.cancelled() => return,
                }
                if matches!(shared.clear_stray(&endpoint, &id).await, Ok(true)) {
                    return;
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        });
    }

    /// Asks an endpoint to stop a job; what cannot be asked now is asked when it returns.
    pub(super) async fn stop_job(&self, at: EndpointIx, id: &str) {
        let endpoint = self.endpoint(at);
        if endpoint.kind != EndpointKind::Comfy {
            let _ = endpoint.client().cancel(id).await;
            return;
        }
        // First: whoever leaves at once does not wait for the answer.
        self.store.add_stray(&endpoint.url, id);
        if endpoint.client().cancel(id).await.is_ok() {
            self.store.remove_stray(&endpoint.url, id);
        }
    }

    /// A job stays behind on an endpoint that does not answer.
    pub(super) fn leave_stray(&self, at: EndpointIx, id: &str) {
        self.store.add_stray(&self.endpoint(at).url, id);
    }
}
