//! Installing node packs and models through ComfyUI-Manager, an extension that a server may have.
//!
//! It keeps a queue of its own: what is to be installed is queued, the queue started, and its state asked for. Older Managers answer below
//! `/manager`, newer ones below `/v2/manager`. Documented by ComfyUI-Manager; kiln was not tried with one.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT};
use super::refusal::RefusalKind;

/// Where Managers answer, newest first.
const ROOTS: [&[&str]; 2] = [&["v2", "manager"], &["manager"]];
/// How often the Manager is asked how far it is.
const PAUSE: Duration = Duration::from_secs(1);
/// How long its queue may stand still. A large model takes its time, and no number moves meanwhile.
const STILL: Duration = Duration::from_hours(2);

/// A server's Manager.
#[derive(Clone, Debug)]
pub struct Manager {
    client: Client,
    root: &'static [&'static str],
}

/// How far a Manager is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Installing {
    /// How much was queued.
    pub total: u64,
    /// How much of it is done, well or not.
    pub done: u64,
    /// Whether it is at it.
    pub busy: bool,
}

/// A model to be fetched by a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelWish {
    /// Where it is.
    pub url: String,
    /// The folder of models, e.g. `checkpoints`.
    pub folder: String,
    /// Its name there.
    pub filename: String,
}

/// Why something was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The server has no Manager.
    #[error("the server has no ComfyUI-Manager")]
    Absent,
    /// The Manager's security level forbids it.
    #[error("the security level of the server's ComfyUI-Manager forbids it")]
    Forbidden,
    /// The Manager only fetches models of its own list.
    #[error("the server's ComfyUI-Manager does not take it{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    NotListed(String),
    /// It was queued, and then nothing moved for a long time.
    #[error("the server's ComfyUI-Manager does not get on with it")]
    Stuck,
    /// The server cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Client {
    /// The server's Manager.
    ///
    /// # Errors
    /// When it has none, or cannot be asked.
    pub async fn manager(&self) -> Result<Manager, InstallError> {
        for root in ROOTS {
            let manager = Manager {
                client: self.clone(),
                root,
            };
            match manager.state().await {
                Ok(_) => return Ok(manager),
                // What answers in the Manager's place with no state is the page of an editor.
                Err(
                    InstallError::Absent
                    | InstallError::Client(
                        ClientError::BadAnswer { .. } | ClientError::NotComfyUi { .. },
                    ),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(InstallError::Absent)
    }
}

impl Manager {
    /// How far it is.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn state(&self) -> Result<Installing, InstallError> {
        let url = self.at(&["queue", "status"]);
        let asked = self.client.json(Call::get(url.clone()), JSON_LIMIT).await;
        let told = asked.map_err(means)?;
        let number = |name: &str| told.get(name).and_then(Value::as_u64);
        let Some(total) = number("total_count") else {
            return Err(ClientError::odd(&url, "it holds no state of a queue").into());
        };
        let busy = told.get("is_processing").and_then(Value::as_bool);
        Ok(Installing {
            total,
            done: number("done_count").unwrap_or(0),
            busy: busy.unwrap_or_else(|| number("in_progress_count").unwrap_or(0) > 0),
        })
    }

    /// Queues a node pack from a git repository.
    ///
    /// # Errors
    /// When the Manager does not take it.
    pub async fn install_nodes(&self, git_url: &str) -> Result<(), InstallError> {
        let id = Uuid::new_v4().to_string();
        let wish = json!({
            "git_url": git_url,
            "id": git_url,
            "repository": git_url,
            "files": [git_url],
            "version": "unknown",
            "selected_version": "unknown",
            "channel": "default",
            "mode": "remote",
            "ui_id": id,
        });
        match self.post(&["queue", "install"], &wish).await {
            // The newest take every kind of wish at one place.
            Err(InstallError::Absent) => {
                let task =
                    json!({"kind": "install", "params": wish, "ui_id": id, "client_id": "kiln"});
                self.post(&["queue", "task"], &task).await
            }
            other => other,
        }
    }

    /// Queues a model.
    ///
    /// # Errors
    /// When the Manager does not take it: most only fetch models that their own list knows.
    pub async fn install_model(&self, wish: &ModelWish) -> Result<(), InstallError> {
        let id = Uuid::new_v4().to_string();
        let body = json!({
            "name": wish.filename,
            "url": wish.url,
            "path": wish.folder,
            "save_path": wish.folder,
            "type": wish.folder,
            "base": "",
            "filename": wish.filename,
            "ui_id": id,
            "client_id": "kiln",
        });
        self.post(&["queue", "install_model"], &body).await
    }

    /// Starts the queue and waits until it is empty, telling each step.
    ///
    /// # Errors
    /// When the Manager cannot be asked any more, or nothing moves for hours.
    pub async fn run(&self, mut told: impl FnMut(Installing)) -> Result<Installing, InstallError> {
        self.start().await?;
        let (mut last, mut still) = (None, Duration::ZERO);
        loop {
            let state = self.state().await?;
            if last != Some(state) {
                told(state);
                (last, still) = (Some(state), Duration::ZERO);
            }
            if !state.busy && state.done >= state.total {
                return Ok(state);
            }
            if still >= STILL {
                return Err(InstallError::Stuck);
            }
            tokio::time::sleep(PAUSE).await;
            still += PAUSE;
        }
    }

    async fn start(&self) -> Result<(), InstallError> {
        match self.post(&["queue", "start"], &json!({})).await {
            // Older ones want it asked for.
            Err(InstallError::Client(ClientError::Refused(no))) if no.status == 405 => {
                let call = Call::get(self.at(&["queue", "start"]));
                self.client.text(call, JSON_LIMIT).await.map_err(means)?;
                Ok(())
            }
            other => other,
        }
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<(), InstallError> {
        let asked = self.client.ask(self.at(path), body).await;
        asked.map(drop).map_err(means)
    }

    fn at(&self, path: &[&str]) -> Url {
        self.client.at(&[self.root, path].concat())
    }
}

/// What an answer of a Manager means.
fn means(error: ClientError) -> InstallError {
    match error {
        ClientError::Refused(no) if no.kind == RefusalKind::NotFound => InstallError::Absent,
        ClientError::Refused(no) if no.kind == RefusalKind::Forbidden => InstallError::Forbidden,
        ClientError::Refused(no) if no.status == 400 => InstallError::NotListed(no.said),
        other => InstallError::Client(other),
    }
}
