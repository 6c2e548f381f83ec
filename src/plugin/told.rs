//! What plugins are told, made into JSON on the thread of the first plugin that hears it.

use std::sync::OnceLock;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::base::{RunId, ServerName, TaskName};
use crate::event::RunEvent;

/// A message of a server about one of this run's jobs, or about none.
#[derive(Clone, Debug)]
pub struct ServerMessage {
    /// Its `type`; `progress_text` for a line of a node's progress text.
    pub kind: String,
    /// The server.
    pub server: ServerName,
    /// The task whose job it is about.
    pub task: Option<TaskName>,
    /// The job.
    pub prompt_id: Option<String>,
    /// The message as it came, JSON but for `NaN` and the like.
    pub message: String,
}

/// What is known of a preview frame.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The server.
    pub server: ServerName,
    /// The task whose job it is from.
    pub task: Option<TaskName>,
    /// The job.
    pub prompt_id: Option<String>,
    /// The number of its kind: 1, 4, or that of a custom node.
    pub frame: u32,
    /// `image/png`, …; empty when it is not known.
    pub media_type: String,
    /// What the server says of it.
    pub metadata: Map<String, Value>,
}

/// What is told.
#[derive(Debug)]
pub(super) enum What {
    Run {
        event: RunEvent,
        run: RunId,
        at: jiff::Timestamp,
    },
    Server(ServerMessage, RunId),
    Preview(Preview, RunId),
}

/// Something that is told, to as many plugins as want it.
#[derive(Debug)]
pub(super) struct Told {
    what: What,
    json: OnceLock<Vec<u8>>,
}

impl Told {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            json: OnceLock::new(),
        }
    }

    /// What crosses the edge.
    pub(super) fn json(&self) -> &[u8] {
        self.json.get_or_init(|| match &self.what {
            What::Run { event, run, at } => of_run(event, run, *at),
            What::Server(message, run) => of_server(message, run),
            What::Preview(preview, run) => of_preview(preview, run),
        })
    }
}

/// A line of the event stream, without its position in it: events are numbered where they are told to people.
fn of_run(event: &RunEvent, run: &RunId, at: jiff::Timestamp) -> Vec<u8> {
    let time = at.to_zoned(jiff::tz::TimeZone::system());
    let time = time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
    let mut all = json!({
        "kind": "run", "v": crate::event::VERSION, "time": time, "run": run,
    });
    if let (Value::Object(all), Ok(Value::Object(event))) = (&mut all, serde_json::to_value(event))
    {
        all.extend(event);
    }
    all.to_string().into_bytes()
}

fn of_server(told: &ServerMessage, run: &RunId) -> Vec<u8> {
    let mut out = json!({
        "kind": "server", "type": told.kind, "run": run, "server": told.server,
        "task": told.task, "prompt_id": told.prompt_id,
    })
    .to_string();
    out.pop();
    out.push_str(",\"message\":");
    // As it is, if it is JSON as it is: it may be large, and its numbers are none of our business.
    match serde_json::from_str::<&RawValue>(&told.message) {
        Ok(raw) => out.push_str(raw.get()),
        Err(_) => match crate::protocol::tolerant_json(&told.message) {
            Ok(value) => out.push_str(&value.to_string()),
            Err(_) => out.push_str(&Value::String(told.message.clone()).to_string()),
        },
    }
    out.push('}');
    out.into_bytes()
}

fn of_preview(told: &Preview, run: &RunId) -> Vec<u8> {
    let node = ["display_node_id", "node_id"]
        .iter()
        .find_map(|name| told.metadata.get(*name).and_then(Value::as_str));
    json!({
        "run": run, "server": told.server, "task": told.task, "prompt_id": told.prompt_id,
        "frame": told.frame, "media_type": told.media_type, "node": node, "metadata": told.metadata,
    })
    .to_string()
    .into_bytes()
}
