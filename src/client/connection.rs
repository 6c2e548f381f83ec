//! Jobs on one server: submitting, looking up, cancelling.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::error::ClientError;
use super::follow::{Follower, JobUpdate, Outcome, Timing};
use super::http::{Call, Client, JSON_LIMIT, Payload, Text, read_text};
use super::progress::Progress;
use super::socket::{Hub, keep_open};
use crate::base::NodeId;
use crate::protocol::{
    Cancel, HistoryEntry, Job, JobStatus, PromptAnswer, PromptNode, PromptRequest, Records,
    history_entry, tolerant_json,
};
use crate::workflow::Graph;

/// How long a question about a job may take before it counts as unanswered.
const LOOKUP: Duration = Duration::from_secs(20);

/// A server's socket and the jobs that were announced to it. Made once per server and run, before the first submission.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    hub: Arc<Hub>,
    timing: Timing,
    socket_error: Option<ClientError>,
    _stop: DropGuard,
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct JobRequest<'a> {
    /// Our id for it.
    pub prompt_id: Uuid,
    /// The graph, complete.
    pub graph: &'a Graph,
    /// The output nodes to run; empty for all.
    pub targets: &'a [NodeId],
    /// What goes beside the graph.
    pub extra_data: Map<String, Value>,
}

/// The server took a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The id under which the server knows it: ours.
    pub prompt_id: String,
    /// Its place in the queue.
    pub number: Option<f64>,
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

/// What a server knows of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// Nothing.
    Absent,
    /// It waits.
    Pending,
    /// It runs.
    Running,
    /// It has ended.
    Ended(Outcome),
}

/// What a server's records hold, before it is judged.
pub(super) enum Record {
    Absent,
    Pending,
    Running,
    Ended(Box<HistoryEntry>),
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

    /// [`Connection::open`] to a server that keeps its jobs for so long after it stopped to answer.
    ///
    /// # Errors
    /// When no connection to the server can be made.
    pub async fn open_patiently(
        client: Client,
        lost_after: Duration,
    ) -> Result<Arc<Self>, ClientError> {
        let timing = Timing {
            lost_after,
            ..Timing::default()
        };
        Self::open_with(client, timing).await
    }

    pub(super) async fn open_with(
        client: Client,
        timing: Timing,
    ) -> Result<Arc<Self>, ClientError> {
        let hub = Arc::new(Hub::default());
        let stop = CancellationToken::new();
        let (first, opened) = oneshot::channel();
        tokio::spawn(keep_open(client.clone(), hub.clone(), first, stop.clone()));
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
        let submitted = match body(request, &id, client_id) {
            Ok(body) => self.post_prompt(body, &id).await,
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

    async fn post_prompt(&self, body: Bytes, id: &str) -> Result<Accepted, SubmitError> {
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
        self.judge_answer(text, id).await
    }

    async fn judge_answer(&self, text: Text, id: &str) -> Result<Accepted, SubmitError> {
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
            (200..=299, Some(answer)) => {
                // The server would run the part that it finds valid: half a result is none.
                if let Some(queued) = &answer.prompt_id {
                    let _ = self.client.cancel(queued).await;
                    self.client.forget_cancelled(queued);
                }
                Err(SubmitError::Rejected(Box::new(answer)))
            }
            (400, Some(answer)) => Err(SubmitError::Rejected(Box::new(answer))),
            // ComfyUI said yes, and its answer was damaged on the way.
            (200..=299, None) => Err(match answer {
                Err(error @ ClientError::BadAnswer { .. }) => SubmitError::Ambiguous(error),
                Err(error) => SubmitError::Refused(error),
                Ok(_) => SubmitError::Refused(text.foreign()),
            }),
            _ => Err(SubmitError::Refused(text.refused())),
        }
    }

    async fn accepted(&self, answer: PromptAnswer, id: &str) -> Result<Accepted, SubmitError> {
        match answer.prompt_id {
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
                number: answer.number,
            }),
        }
    }

    /// Follows a job to its end. Never gives up on a server that answers; one that does not is given `lost_after` (2 minutes).
    ///
    /// Ending the wait early (dropping the future) does not touch the job.
    pub async fn follow(
        &self,
        prompt_id: Uuid,
        updates: mpsc::UnboundedSender<JobUpdate>,
    ) -> Outcome {
        let id = prompt_id.to_string();
        let registered = self.hub.claim(&id);
        let _forget = Forget {
            connection: self,
            id: &id,
        };
        Follower::new(self, &id, registered, updates, self.timing)
            .run()
            .await
    }

    /// Which socket is open: another one after each reconnect, and none while there is none. As long as it stays the same, the server was
    /// not restarted.
    pub fn session(&self) -> Option<String> {
        self.hub.session()
    }

    /// What the server knows of a job right now.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn lookup(&self, prompt_id: Uuid) -> Result<Lookup, ClientError> {
        let id = prompt_id.to_string();
        Ok(match self.record(&id).await? {
            Record::Absent => Lookup::Absent,
            Record::Pending => Lookup::Pending,
            Record::Running => Lookup::Running,
            Record::Ended(entry) => {
                Lookup::Ended(Outcome::of(&entry, self.client.is_cancelled(&id)))
            }
        })
    }

    /// After [`SubmitError::Ambiguous`]: whether the server has the job. Absent means absent twice, a second apart, so that a request
    /// still on its way has arrived.
    ///
    /// # Errors
    /// When the server cannot be asked; ask again later.
    pub async fn resolve_ambiguous(&self, prompt_id: Uuid) -> Result<Lookup, ClientError> {
        let first = self.lookup(prompt_id).await?;
        if first != Lookup::Absent {
            return Ok(first);
        }
        tokio::time::sleep(self.timing.absent).await;
        let second = self.lookup(prompt_id).await?;
        if second == Lookup::Absent {
            self.hub.forget(&prompt_id.to_string());
        }
        Ok(second)
    }

    /// Asks the server to stop a job; see [`Client::cancel`].
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn cancel(&self, prompt_id: Uuid) -> Result<bool, ClientError> {
        self.client.cancel(&prompt_id.to_string()).await
    }

    /// How many messages wait for the follower of an announced job.
    #[cfg(test)]
    pub(super) fn waiting(&self, prompt_id: Uuid) -> usize {
        self.hub.queued(&prompt_id.to_string())
    }

    /// The record of an ended job, if it is written.
    pub(super) async fn history(&self, id: &str) -> Result<Option<HistoryEntry>, ClientError> {
        let call = Call::get(self.client.at(&["history", id])).within(LOOKUP);
        let text = self.client.text(call, JSON_LIMIT).await?;
        history_entry(&text.body, id).map_err(|error| text.unreadable(&error))
    }

    /// Everything the server's records say of a job. A job may move from waiting to running to ended between two questions, so absence
    /// is only believed when it is seen again later.
    pub(super) async fn record(&self, id: &str) -> Result<Record, ClientError> {
        if let Some(entry) = self.history(id).await? {
            return Ok(Record::Ended(Box::new(entry)));
        }
        if self.client.dialect().records == Records::HistoryAndJobs {
            let call = Call::get(self.client.at(&["jobs", id])).within(LOOKUP);
            return match self.client.json(call, JSON_LIMIT).await {
                Ok(value) => Ok(match serde_json::from_value::<Job>(value) {
                    Ok(job) if job.status == JobStatus::Pending => Record::Pending,
                    Ok(job) if job.status == JobStatus::Running => Record::Running,
                    _ => match self.history(id).await? {
                        Some(entry) => Record::Ended(Box::new(entry)),
                        None => Record::Running,
                    },
                }),
                Err(ClientError::Refused { status: 404, .. }) => Ok(Record::Absent),
                Err(error) => Err(error),
            };
        }
        let queue = self.client.queue().await?;
        let has = |ids: &[String]| ids.iter().any(|other| other == id);
        if has(&queue.running) {
            return Ok(Record::Running);
        }
        if has(&queue.pending) {
            return Ok(Record::Pending);
        }
        Ok(match self.history(id).await? {
            Some(entry) => Record::Ended(Box::new(entry)),
            None => Record::Absent,
        })
    }
}

fn body(
    request: &JobRequest<'_>,
    id: &str,
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
        prompt_id: id.to_owned(),
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
    /// Asks the server to stop one job, waiting or running, and touches no other. Whether there was something to stop; how the job ended
    /// is for its record to say.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn cancel(&self, prompt_id: &str) -> Result<bool, ClientError> {
        let answer = self.ask_to_stop(prompt_id).await;
        self.mark_cancelled(prompt_id);
        answer
    }

    /// Asks the server to forget the models and results that it holds in memory. It does so after the job that runs.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn free(&self) -> Result<(), ClientError> {
        let all = json!({"unload_models": true, "free_memory": true});
        self.order(&["free"], &all).await
    }

    /// Whether the server answers the cheapest of questions.
    async fn answers(&self) -> bool {
        let call = Call::get(self.at(&["prompt"])).within(LOOKUP);
        self.text(call, JSON_LIMIT).await.is_ok()
    }

    async fn ask_to_stop(&self, id: &str) -> Result<bool, ClientError> {
        if self.dialect().cancel == Cancel::Job {
            let url = self.at(&["jobs", id, "cancel"]);
            let call = Call::post(url, Payload::Json(Bytes::from_static(b"{}"))).within(LOOKUP);
            match self.json(call, JSON_LIMIT).await {
                Ok(answer) => {
                    return Ok(answer.get("cancelled").and_then(Value::as_bool) == Some(true));
                }
                Err(error) if error.is_connection() => return Err(error),
                // The route is missing: an older server.
                Err(_) => {}
            }
        }
        let was_pending = self.queue().await?.pending.iter().any(|other| other == id);
        self.order(&["queue"], &json!({"delete": [id]})).await?;
        // It may have started in between; older servers stop whatever runs, so ours must be seen running.
        let runs = self.queue().await?.running.iter().any(|other| other == id);
        if runs {
            self.order(&["interrupt"], &json!({"prompt_id": id}))
                .await?;
        }
        Ok(runs || was_pending)
    }

    async fn order(&self, path: &[&str], body: &Value) -> Result<(), ClientError> {
        let body = Payload::Json(Bytes::from(body.to_string()));
        let call = Call::post(self.at(path), body).within(LOOKUP);
        self.text(call, JSON_LIMIT).await.map(drop)
    }
}
