//! What servers say of this run's jobs, for plugins: as it came, but for the values of secrets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::hush::Hush;
use crate::base::{RunId, ServerName, TaskName};
use crate::client::Tap;
use crate::plugin::{Plugins, Preview, ServerMessage};
use crate::protocol::Frame;

/// Our jobs that may be on servers, each with its task.
pub(super) type Jobs = Arc<Mutex<HashMap<String, TaskName>>>;

/// Looks on at one server's socket.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) plugins: Plugins,
    pub(super) hush: Arc<Hush>,
    pub(super) server: ServerName,
    pub(super) run: RunId,
    pub(super) jobs: Jobs,
}

impl Wire {
    /// The task of a job; `None` for somebody else's.
    fn task(&self, job: &str) -> Option<TaskName> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(job).cloned()
    }

    fn say(&self, kind: &str, message: &str, job: Option<(&str, &TaskName)>) {
        let (prompt_id, task) = job.unzip();
        let message = ServerMessage {
            kind,
            server: &self.server,
            task,
            prompt_id,
            message: &self.hush.mask(message),
        };
        self.plugins.publish_message(message, &self.run);
    }

    fn show(
        &self,
        (frame, media_type): (u32, &str),
        metadata: Map<String, Value>,
        (job, task): (&str, TaskName),
        picture: &bytes::Bytes,
    ) {
        let preview = Preview {
            server: self.server.clone(),
            task: Some(task),
            prompt_id: Some(job.to_owned()),
            frame,
            media_type: media_type.to_owned(),
            metadata: self.hush.mask_members(metadata),
        };
        self.plugins.publish_preview(&preview, picture, &self.run);
    }
}

impl Tap for Wire {
    fn text(&self, message: &str, kind: &str, prompt_id: Option<&str>) {
        if !self.plugins.wants_message(kind) {
            return;
        }
        let Some(job) = prompt_id else {
            return self.say(kind, message, None);
        };
        if let Some(task) = self.task(job) {
            self.say(kind, message, Some((job, &task)));
        }
    }

    fn binary(&self, message: &bytes::Bytes, current: Option<&str>) {
        const TEXT: &str = "progress_text";
        if !self.plugins.wants_previews() && !self.plugins.wants_message(TEXT) {
            return;
        }
        let ours = |job: Option<&str>| {
            let job = job?;
            Some((job.to_owned(), self.task(job)?))
        };
        let part = |bytes: &[u8]| message.slice_ref(bytes);
        match Frame::parse(message) {
            Ok(Frame::Text { node, text }) => {
                let Some((job, task)) = ours(current) else {
                    return;
                };
                let message = serde_json::json!({
                    "type": TEXT, "data": { "node": node, "text": text, "prompt_id": job },
                });
                self.say(TEXT, &message.to_string(), Some((&job, &task)));
            }
            Ok(Frame::Preview { media_type, image }) => {
                if let Some((job, task)) = ours(current) {
                    self.show((1, media_type), Map::new(), (&job, task), &part(image));
                }
            }
            Ok(Frame::PreviewWithMetadata { metadata, image }) => {
                let named = metadata.get("prompt_id").and_then(Value::as_str);
                if let Some((job, task)) = ours(named.or(current)) {
                    let media = metadata.get("image_type").and_then(Value::as_str);
                    let media = media.unwrap_or_default().to_owned();
                    self.show((4, &media), metadata, (&job, task), &part(image));
                }
            }
            Ok(Frame::Unknown { number, bytes }) => {
                if let Some((job, task)) = ours(current) {
                    self.show((number, ""), Map::new(), (&job, task), &part(bytes));
                }
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
