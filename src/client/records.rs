//! What a server's records say of a job: the only word that counts about how it ended.

use std::time::Duration;

use serde_json::{Value, json};

use super::connection::Connection;
use super::error::ClientError;
use super::follow::Outcome;
use super::http::{Call, Client, JSON_LIMIT, Payload};
use super::refusal::RefusalKind;
use crate::protocol::{Cancel, HistoryEntry, Ids, Job, JobStatus, Records, history_entry};

/// How long a question about a job may take before it counts as unanswered.
pub(super) const LOOKUP: Duration = Duration::from_secs(20);

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
    /// What the server knows of a job right now.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn lookup(&self, id: &str) -> Result<Lookup, ClientError> {
        Ok(match self.client().record(id).await? {
            Record::Absent => Lookup::Absent,
            Record::Pending => Lookup::Pending,
            Record::Running => Lookup::Running,
            Record::Ended(entry) => {
                Lookup::Ended(Outcome::of(*entry, self.client().is_cancelled(id)))
            }
        })
    }
}

impl Client {
    /// The record of an ended job, if it is written.
    pub(super) async fn ended(&self, id: &str) -> Result<Option<HistoryEntry>, ClientError> {
        if self.dialect().records == Records::Jobs {
            return Ok(match self.job_record(id).await? {
                Record::Ended(entry) => Some(*entry),
                _ => None,
            });
        }
        let call = Call::get(self.at(&["history", id])).within(LOOKUP);
        let text = self.text(call, JSON_LIMIT).await?;
        history_entry(&text.body, id).map_err(|error| text.unreadable(&error))
    }

    /// Everything the server's records say of a job. A job may move from waiting to running to ended between two questions, so absence
    /// is only believed when it is seen again later.
    pub(super) async fn record(&self, id: &str) -> Result<Record, ClientError> {
        let records = self.dialect().records;
        if records == Records::Jobs {
            return self.job_record(id).await;
        }
        if let Some(entry) = self.ended(id).await? {
            return Ok(Record::Ended(Box::new(entry)));
        }
        if records == Records::HistoryAndJobs {
            return match self.job(id).await? {
                None => Ok(Record::Absent),
                Some(value) => Ok(match Job::from_value(&value).status {
                    JobStatus::Pending => Record::Pending,
                    JobStatus::Running => Record::Running,
                    _ => match self.ended(id).await? {
                        Some(entry) => Record::Ended(Box::new(entry)),
                        None => Record::Running,
                    },
                }),
            };
        }
        let queue = self.queue().await?;
        let has = |ids: &[String]| ids.iter().any(|other| other == id);
        if has(&queue.running) {
            return Ok(Record::Running);
        }
        if has(&queue.pending) {
            return Ok(Record::Pending);
        }
        Ok(match self.ended(id).await? {
            Some(entry) => Record::Ended(Box::new(entry)),
            None => Record::Absent,
        })
    }

    /// Where `/api/jobs/{id}` tells everything.
    async fn job_record(&self, id: &str) -> Result<Record, ClientError> {
        let Some(value) = self.job(id).await? else {
            return Ok(Record::Absent);
        };
        Ok(match Job::from_value(&value).status {
            JobStatus::Pending => Record::Pending,
            JobStatus::Running => Record::Running,
            // It ran on a machine that is no more.
            JobStatus::Lost => Record::Absent,
            JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => {
                Record::Ended(Box::new(HistoryEntry::of_job(&value)))
            }
        })
    }

    /// The answer of `/api/jobs/{id}`; `None` when the server does not know the job.
    async fn job(&self, id: &str) -> Result<Option<Value>, ClientError> {
        let call = Call::get(self.at(&["jobs", id])).within(LOOKUP);
        match self.json(call, JSON_LIMIT).await {
            Ok(value) => Ok(Some(value)),
            Err(ClientError::Refused(no)) if no.kind == RefusalKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

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

    async fn ask_to_stop(&self, id: &str) -> Result<bool, ClientError> {
        let dialect = self.dialect();
        if dialect.cancel == Cancel::Job {
            let url = self.at(&["jobs", id, "cancel"]);
            let call = Call::post(url, Payload::Json("{}".into())).within(LOOKUP);
            match self.json(call, JSON_LIMIT).await {
                Ok(answer) => {
                    return Ok(answer.get("cancelled").and_then(Value::as_bool) == Some(true));
                }
                // Where the server names jobs there is no other way, and it says 404 to a job that it does not know.
                Err(ClientError::Refused(no))
                    if dialect.ids == Ids::Theirs && no.kind == RefusalKind::NotFound =>
                {
                    return Ok(false);
                }
                Err(error) if error.is_connection() || dialect.ids == Ids::Theirs => {
                    return Err(error);
                }
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

    /// Asks the server to forget the models and results that it holds in memory. It does so after the job that runs. Nothing happens where
    /// the memory is not ours to empty.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn free(&self) -> Result<(), ClientError> {
        if !self.dialect().free {
            return Ok(());
        }
        let all = json!({"unload_models": true, "free_memory": true});
        self.order(&["free"], &all).await
    }

    /// Posts an order, whose answer says nothing.
    pub(super) async fn order(&self, path: &[&str], body: &Value) -> Result<(), ClientError> {
        let body = Payload::Json(body.to_string().into());
        let call = Call::post(self.at(path), body).within(LOOKUP);
        self.text(call, JSON_LIMIT).await.map(drop)
    }
}
