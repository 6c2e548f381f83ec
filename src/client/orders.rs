//! Orders that concern a whole server: stop, clear, forget, empty the memory.
//!
//! Each touches what it is named for and nothing else, on every dialect: where a server's own order would do more, jobs are named one by
//! one.

use serde_json::json;

use super::error::ClientError;
use super::http::Client;
use crate::protocol::{Cancel, Ids};

/// What to empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Models are unloaded.
    pub models: bool,
    /// Results of nodes are forgotten, and cached memory is given back.
    pub results: bool,
}

impl Client {
    /// Stops the job that runs; with an id, only if it is this one. Whether something ran that could be stopped.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn interrupt(&self, prompt_id: Option<&str>) -> Result<bool, ClientError> {
        let running = self.queue().await?.running;
        let named = prompt_id.map_or_else(|| running.first().map(String::as_str), Some);
        let Some(id) = named.filter(|id| running.iter().any(|other| other == id)) else {
            return Ok(false);
        };
        if self.dialect().cancel == Cancel::Job {
            return self.cancel(id).await;
        }
        self.order(&["interrupt"], &json!({"prompt_id": id}))
            .await?;
        Ok(true)
    }

    /// Takes waiting jobs out of the queue; running ones go on. The ids of those that do not wait any more and were taken out, as far as
    /// the server's queue tells.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn remove_waiting(&self, ids: &[String]) -> Result<Vec<String>, ClientError> {
        let before = self.queue().await?;
        let waits = |id: &&String| before.pending.contains(id);
        let waiting: Vec<String> = ids.iter().filter(waits).cloned().collect();
        if waiting.is_empty() {
            return Ok(waiting);
        }
        if self.dialect().ids == Ids::Theirs {
            // Deleting from such a queue stops running jobs as well, so each is looked at again right before.
            let mut removed = Vec::new();
            for id in waiting {
                if self.queue().await?.pending.contains(&id) && self.cancel(&id).await? {
                    removed.push(id);
                }
            }
            return Ok(removed);
        }
        self.order(&["queue"], &json!({"delete": waiting})).await?;
        let after = self.queue().await?;
        let stays = |id: &String| after.pending.contains(id) || after.running.contains(id);
        Ok(waiting.into_iter().filter(|id| !stays(id)).collect())
    }

    /// Takes every waiting job out of the queue; the running one goes on. Their ids.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn clear_queue(&self) -> Result<Vec<String>, ClientError> {
        let waiting = self.queue().await?.pending;
        self.remove_waiting(&waiting).await
    }

    /// Forgets the records of ended jobs. Their files stay.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn delete_history(&self, ids: &[String]) -> Result<(), ClientError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.order(&["history"], &json!({"delete": ids})).await
    }

    /// Forgets the records of all ended jobs. Their files stay.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn clear_history(&self) -> Result<(), ClientError> {
        self.order(&["history"], &json!({"clear": true})).await
    }

    /// Asks the server to empty its memory, which it does after the job that runs. `false` where the memory is not ours to empty.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn empty_memory(&self, what: Memory) -> Result<bool, ClientError> {
        if !self.dialect().free {
            return Ok(false);
        }
        let wanted = json!({"unload_models": what.models, "free_memory": what.results});
        self.order(&["free"], &wanted).await?;
        Ok(true)
    }
}
