//! Jobs on one server: submitting, looking up, cancelling.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::error::ClientError;
use super::follow::{Follower, JobUpdate, Outcome, Timing};
use super::http::{Call, Client, JSON_LIMIT, Payload, Text, read_text};
use super::places::Places;
use super::progress::Progress;
use super::records::{LOOKUP, Lookup};
use super::socket::{Hub, Picture, keep_open};
use super::tap::Tap;
use super::worker::Log;
use crate::base::NodeId;
use crate::protocol::{Ids, PromptAnswer, PromptNode, PromptRequest, tolerant_json};
use crate::workflow::Graph;

/// A server's socket and the jobs that were announced to it. Made once per server and run, before the first submission.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    hub: Arc<Hub>,
    timing: Timing,
    socket_error: Option<ClientError>,
    pub(super) log: Log,
    pub(super) places: Places,
    _stop: DropGuard,
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct JobRequest<'a> {
    /// Our id for it. A server that names jobs itself does not hear of it.
    pub prompt_id: Uuid,
    /// The graph, complete.
    pub graph: &'a Graph,
    /// The output nodes to run; empty for all.
    pub targets: &'a [NodeId],
    /// What goes beside the graph.
    pub extra_data: Map<String, Value>,
    /// Whether a job of which the server leaves out invalid outputs is wanted all the same.
    pub allow_partial: bool,
}

/// The server took a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The id under which the server knows it: ours, unless it names jobs itself.
    pub prompt_id: String,
    /// Its place in the queue.
    pub number: Option<f64>,
    /// What the server found invalid and leaves out; only where that was allowed.
    pub left_out: Option<Box<PromptAnswer>>,
}

/// The server did not take a job, or did not say so.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The graph does not pass the server's validation; nothing of it runs.
    #[error("the server rejected the job: {}", .0.summary())]
    Rejected(Box<PromptAnswer>),
    /// No good answer came: the job may run. [`Connection::resolve_ambiguous`] tells.
    #[error("the server may or may not have taken the job: {0}")]
    Ambiguous(ClientError),
    /// No connection could be made: the job does not run.
    #[error(transparent)]
    Unreachable(ClientError),
    /// The server said no for another reason than the graph: the job does not run.
    #[error(transparent)]
    Refused(ClientError),
}

impl Connection {
    /// Opens the socket of a server and keeps it open until the connection is dropped.
    ///
    /// A server that answers HTTP but no socket is used all the same: its records tell how jobs end, only later.
    ///
    /// # Errors
    /// When no connection to the server can be made.
    pub async fn open(client: Client) -> Result<Arc<Self>, ClientError> {
        Self::open_with(client, Timing::default()).await
    }

    /// [`Connection::open`] to a server that keeps its jobs for so long after it stopped to answer; `tap` looks on at what the socket
    /// brings.
    ///
    /// # Errors
    /// When no connection to the server can be made.
    pub async fn open_patiently(
        client: Client,
        lost_after: Duration,
        tap: Option<Arc<dyn Tap>>,
    ) -> Result<Arc<Self>, ClientError> {
        let timing = Timing {
            lost_after,
            ..Timing::default()
        };
        Self::open_tapped(client, timing, tap).await
    }

    pub(super) async fn open_with(
        client: Client,
        timing: Timing,
    ) -> Result<Arc<Self>, ClientError> {
        Self::open_tapped(client, timing, None).await
    }

    async fn open_tapped(
        client: Client,
        timing: Timing,
        tap: Option<Arc<dyn Tap>>,
    ) -> Result<Arc<Self>, ClientError> {
        let hub = Arc::new(Hub::default());
        if let Some(tap) = tap {
            hub.set_tap(tap);
        }
        let stop = CancellationToken::new();
        let (first, opened) = oneshot::channel();
        tokio::spawn(keep_open(
            client.clone(),
            (hub.clone(), timing.pulse),
            first,
            stop.clone(),
        ));
        let socket_error = match opened.await {
            // Sockets do not go through proxies: the server may be there all the same.
            Ok(Err(error @ ClientError::Unreachable { .. })) if !client.answers().await => {
                stop.cancel();
                return Err(error);
            }
            Ok(Err(error)) => Some(error),
            Ok(Ok(())) | Err(_) => None,
        };
        Ok(Arc::new(Self {
            client,
            hub,
            timing,
            socket_error,
            log: Log::default(),
            places: Places::default(),
            _stop: stop.drop_guard(),
        }))
    }

    /// The client it uses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Why the first attempt at a socket failed; jobs run all the same, without live progress.
    pub fn socket_error(&self) -> Option<&ClientError> {
        self.socket_error.as_ref()
    }

    /// Submits a job. Nothing is ever submitted twice here.
    ///
    /// # Errors
    /// As [`SubmitError`] tells apart.
    pub async fn submit(&self, request: &JobRequest<'_>) -> Result<Accepted, SubmitError> {
        let id = request.prompt_id.to_string();
        let client_id = self
            .hub
            .announce(&id, Progress::of(request.graph, request.targets));
        let ours = self.client.dialect().ids == Ids::Ours;
        let submitted = match body(request, ours.then_some(&*id), client_id) {
            Ok(body) => self.post_prompt(body, (&id, request.allow_partial)).await,
            Err(error) => Err(SubmitError::Refused(ClientError::BadAnswer {
                url: self.client.url(),
                reason: error.to_string(),
            })),
        };
        match &submitted {
            // It may run, and then what the socket says of it is wanted.
            Ok(_) | Err(SubmitError::Ambiguous(_)) => {}
            Err(_) => self.hub.forget(&id),
        }
        submitted
    }

    async fn post_prompt(&self, body: Bytes, job: (&str, bool)) -> Result<Accepted, SubmitError> {
        let call = Call::post(self.client.at(&["prompt"]), Payload::Json(body));
        let silence = call.silence;
        let text = async {
            let response = self.client.send(call).await?;
            read_text(response, JSON_LIMIT, silence).await
        };
        let text = text.await.map_err(|error| match error {
            error @ ClientError::Unreachable { .. } => SubmitError::Unreachable(error),
            error if error.may_have_acted() => SubmitError::Ambiguous(error),
            // An answer that is too large came from a server that acted.
            error @ ClientError::TooLarge { .. } => SubmitError::Ambiguous(error),
            error => SubmitError::Refused(error),
        })?;
        self.judge_answer(text, job).await
    }

    async fn judge_answer(
        &self,
        text: Text,
        (id, allow_partial): (&str, bool),
    ) -> Result<Accepted, SubmitError> {
        let answer = tolerant_json(&text.body);
        let answer = answer.map_err(|error| text.unreadable(&error));
        let status = text.status.as_u16();
        if status >= 500 {
            return Err(SubmitError::Ambiguous(text.refused()));
        }
        let parsed = answer.as_ref().ok().and_then(PromptAnswer::from_value);
        match (status, parsed) {
            (200..=299, Some(answer))
                if answer.error.is_none() && answer.node_errors.is_empty() =>
            {
                self.accepted(answer, id).await
            }
            (200..=299, Some(answer)) if allow_partial && answer.is_partial() => {
                self.accepted(answer, id).await
            }
            (200..=299, Some(answer)) => {
                // The server would run the part that it finds valid: half a result is none.
                if let Some(queued) = &answer.prompt_id {
                    let _ = self.client.cancel(queued).await;
                    self.client.forget_cancelled(queued);
                }
                Err(SubmitError::Rejected(Box::new(answer)))
            }
            (400, Some(answer)) => Err(SubmitError::Rejected(Box::new(answer))),
            // Somebody said yes: ComfyUI, whose answer was damaged or replaced on the way, or something else that took nothing.
            (200..=299, None) => Err(SubmitError::Ambiguous(match answer {
                Err(error) => error,
                Ok(_) => text.foreign(),
            })),
            _ => Err(SubmitError::Refused(text.refused())),
        }
    }

    async fn accepted(&self, answer: PromptAnswer, id: &str) -> Result<Accepted, SubmitError> {
        let number = answer.number;
        let left_out = (!answer.node_errors.is_empty()).then(|| Box::new(answer.clone()));
        match answer.prompt_id {
            Some(theirs) if self.client.dialect().ids == Ids::Theirs => {
                self.hub.rename(id, &theirs);
                Ok(Accepted {
                    prompt_id: theirs,
                    number,
                    left_out,
                })
            }
            Some(other) if other != id => {
                let _ = self.client.cancel(&other).await;
                self.client.forget_cancelled(&other);
                Err(SubmitError::Refused(ClientError::BadAnswer {
                    url: self.client.url(),
                    reason: "it took the job under an id of its own; kiln needs ComfyUI 0.3.64 or younger".to_owned(),
                }))
            }
            _ => Ok(Accepted {
                prompt_id: id.to_owned(),
                number,
                left_out,
            }),
        }
    }

    /// The newest picture of what a job is at, while [`Connection::follow`] follows it, where its server tells such.
    pub fn pictures(&self, id: &str) -> watch::Receiver<Option<Picture>> {
        self.hub.pictures(id)
    }

    /// Follows a job to its end. Never gives up on a server that answers; one that does not is given `lost_after` (2 minutes).
    ///
    /// Ending the wait early (dropping the future) does not touch the job.
    pub async fn follow(&self, id: &str, updates: mpsc::UnboundedSender<JobUpdate>) -> Outcome {
        let registered = self.hub.claim(id);
        let _forget = Forget {
            connection: self,
            id,
        };
        Follower::new(self, id, registered, updates, self.timing)
            .run()
            .await
    }

    /// Which socket is open: another one after each reconnect, and none while there is none. As long as it stays the same, the server was
    /// not restarted.
    pub fn session(&self) -> Option<String> {
        self.hub.session()
    }

    /// After [`SubmitError::Ambiguous`]: whether the server has the job. Absent means absent twice, a second apart, so that a request
    /// still on its way has arrived.
    ///
    /// # Errors
    /// When the server cannot be asked; ask again later.
    pub async fn resolve_ambiguous(&self, id: &str) -> Result<Lookup, ClientError> {
        let first = self.lookup(id).await?;
        if first != Lookup::Absent {
            return Ok(first);
        }
        tokio::time::sleep(self.timing.absent).await;
        let second = self.lookup(id).await?;
        if second == Lookup::Absent {
            self.hub.forget(id);
        }
        Ok(second)
    }

    /// Asks the server to stop a job; see [`Client::cancel`].
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn cancel(&self, id: &str) -> Result<bool, ClientError> {
        self.client.cancel(id).await
    }

    /// How many messages wait for the follower of an announced job.
    #[cfg(test)]
    pub(super) fn waiting(&self, prompt_id: Uuid) -> usize {
        self.hub.queued(&prompt_id.to_string())
    }
}

fn body(
    request: &JobRequest<'_>,
    id: Option<&str>,
    client_id: Option<String>,
) -> Result<Bytes, serde_json::Error> {
    let targets: Vec<&str> = request.targets.iter().map(NodeId::as_str).collect();
    let prompt: IndexMap<&str, PromptNode> = request
        .graph
        .nodes
        .iter()
        .map(|(id, node)| {
            (
                id.as_str(),
                PromptNode::new(&node.class_type, &node.inputs, &node.meta),
            )
        })
        .collect();
    let body = PromptRequest {
        prompt,
        prompt_id: id.map(str::to_owned),
        client_id,
        partial_execution_targets: (!targets.is_empty()).then_some(targets),
        extra_data: request.extra_data.clone(),
    };
    serde_json::to_vec(&body).map(Bytes::from)
}

/// Stops listening when a follower is dropped.
struct Forget<'a> {
    connection: &'a Connection,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.connection.hub.forget(self.id);
        self.connection.client.forget_cancelled(self.id);
    }
}

impl Client {
    /// Whether the server answers the cheapest of questions.
    async fn answers(&self) -> bool {
        let call = Call::get(self.at(&["prompt"])).within(LOOKUP);
        self.text(call, JSON_LIMIT).await.is_ok()
    }
}
