//! Text messages of the socket.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::NodeFailure;
use super::json::without_nan;

/// The types of text messages that servers send of themselves; packs of nodes send others.
const TYPES: [&str; 11] = [
    "status",
    "feature_flags",
    "execution_start",
    "execution_cached",
    "execution_success",
    "execution_error",
    "execution_interrupted",
    "executing",
    "executed",
    "progress",
    "progress_state",
];

/// A text message.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The length of the queue changed; the first one on a socket tells the session's id.
    Status {
        /// Jobs running and waiting.
        queue_remaining: Option<u64>,
        /// The id under which the server knows this socket.
        sid: Option<String>,
    },
    /// A job began.
    ExecutionStart {
        /// The job.
        prompt_id: String,
    },
    /// Nodes of the job whose results are known already; always sent, often empty.
    ExecutionCached {
        /// The job.
        prompt_id: String,
        /// Their ids.
        nodes: Vec<String>,
    },
    /// Where every node touched so far stands.
    ProgressState {
        /// The job.
        prompt_id: String,
        /// By node id, expanded ones too.
        nodes: HashMap<String, NodeProgress>,
    },
    /// A node starts, or (without a node) the job has ended and its record can be read.
    Executing {
        /// The job; absent in the greeting after a reconnect.
        prompt_id: Option<String>,
        /// The node, possibly an expanded one.
        node: Option<String>,
        /// The node of the graph that it stands for.
        display_node: Option<String>,
    },
    /// A node moved on.
    Progress {
        /// The job; absent on old servers.
        prompt_id: Option<String>,
        /// The node, possibly an expanded one.
        node: Option<String>,
        /// How far.
        value: f64,
        /// Of how much.
        max: f64,
    },
    /// A node left something behind.
    Executed {
        /// The job.
        prompt_id: String,
        /// The node.
        node: String,
        /// What; `null` for a cached node without results.
        output: Value,
    },
    /// All nodes are done; the record is not written yet.
    ExecutionSuccess {
        /// The job.
        prompt_id: String,
    },
    /// A node failed. Not always the end of the job: a verbose blocker also sends it.
    ExecutionError {
        /// The job.
        prompt_id: String,
        /// How.
        failure: NodeFailure,
    },
    /// The job was stopped from outside.
    ExecutionInterrupted {
        /// The job.
        prompt_id: String,
    },
    /// Anything else: the server's flags, logs, custom nodes' messages.
    Other {
        /// Its `type`.
        kind: String,
        /// Its `data`.
        data: Value,
    },
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NodeProgress {
    /// How far.
    #[serde(default, deserialize_with = "number")]
    pub value: f64,
    /// Of how much.
    #[serde(default, deserialize_with = "number")]
    pub max: f64,
    /// Whether it runs or is done.
    #[serde(default)]
    pub state: NodeState,
    /// The node of the graph that it stands for.
    #[serde(default, deserialize_with = "maybe_text")]
    pub display_node_id: Option<String>,
}

/// Whether a node runs or is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// At work.
    Running,
    /// Done.
    Finished,
    /// A word that this code does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Event {
    /// Whether servers send messages of this type of themselves.
    pub fn is_known(kind: &str) -> bool {
        TYPES.contains(&kind)
    }

    /// Reads a message. A message of a known type in an unexpected shape becomes [`Event::Other`].
    ///
    /// # Errors
    /// When it is no JSON object with a `type`.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        match Self::parse_strict(text) {
            Ok(event) => Ok(event),
            Err(error) => match without_nan(text) {
                Cow::Owned(clean) => Self::parse_strict(&clean),
                Cow::Borrowed(_) => Err(error),
            },
        }
    }

    fn parse_strict(text: &str) -> Result<Self, serde_json::Error> {
        let envelope: Envelope = serde_json::from_str(text)?;
        let data = envelope.data.map_or("null", RawValue::get);
        if let Some(event) = known(&envelope.kind, data) {
            return Ok(event);
        }
        Ok(Self::Other {
            kind: envelope.kind.into_owned(),
            data: serde_json::from_str(data)?,
        })
    }

    /// The job that the message is about.
    pub fn prompt_id(&self) -> Option<&str> {
        match self {
            Self::ExecutionStart { prompt_id }
            | Self::ExecutionCached { prompt_id, .. }
            | Self::ProgressState { prompt_id, .. }
            | Self::Executed { prompt_id, .. }
            | Self::ExecutionSuccess { prompt_id }
            | Self::ExecutionError { prompt_id, .. }
            | Self::ExecutionInterrupted { prompt_id } => Some(prompt_id),
            Self::Executing { prompt_id, .. } | Self::Progress { prompt_id, .. } => {
                prompt_id.as_deref()
            }
            Self::Other { data, .. } => data.get("prompt_id").and_then(Value::as_str),
            Self::Status { .. } => None,
        }
    }
}

#[derive(Deserialize)]
struct Data {
    #[serde(default, deserialize_with = "maybe_text")]
    prompt_id: Option<String>,
    #[serde(default, deserialize_with = "maybe_text")]
    node: Option<String>,
    #[serde(default, deserialize_with = "maybe_text")]
    display_node: Option<String>,
    #[serde(default, deserialize_with = "number")]
    value: f64,
    #[serde(default, deserialize_with = "number")]
    max: f64,
}

#[derive(Deserialize)]
struct StatusData {
    #[serde(default)]
    status: StatusInfo,
    #[serde(default)]
    sid: Option<String>,
}

#[derive(Default, Deserialize)]
struct StatusInfo {
    #[serde(default)]
    exec_info: ExecInfo,
}

#[derive(Default, Deserialize)]
struct ExecInfo {
    #[serde(default)]
    queue_remaining: Option<u64>,
}

#[derive(Deserialize)]
struct StateData {
    prompt_id: String,
    #[serde(default)]
    nodes: HashMap<String, NodeProgress>,
}

#[derive(Deserialize)]
struct CachedData {
    prompt_id: String,
    #[serde(default)]
    nodes: Vec<String>,
}

#[derive(Deserialize)]
struct ExecutedData {
    prompt_id: String,
    #[serde(deserialize_with = "text")]
    node: String,
    #[serde(default)]
    output: Value,
}

fn known(kind: &str, data: &str) -> Option<Event> {
    fn of<'a, T: Deserialize<'a>>(data: &'a str) -> Option<T> {
        serde_json::from_str(data).ok()
    }
    let job = || of::<Data>(data).and_then(|d| d.prompt_id);
    Some(match kind {
        "status" => {
            let StatusData { status, sid } = of(data)?;
            Event::Status {
                queue_remaining: status.exec_info.queue_remaining,
                sid,
            }
        }
        "execution_start" => Event::ExecutionStart { prompt_id: job()? },
        "execution_success" => Event::ExecutionSuccess { prompt_id: job()? },
        "execution_interrupted" => Event::ExecutionInterrupted { prompt_id: job()? },
        "execution_cached" => {
            let CachedData { prompt_id, nodes } = of(data)?;
            Event::ExecutionCached { prompt_id, nodes }
        }
        "execution_error" => Event::ExecutionError {
            prompt_id: job()?,
            failure: NodeFailure::from_value(&of(data)?),
        },
        "progress_state" => {
            let StateData { prompt_id, nodes } = of(data)?;
            Event::ProgressState { prompt_id, nodes }
        }
        "executing" => {
            let data: Data = of(data)?;
            Event::Executing {
                prompt_id: data.prompt_id,
                node: data.node,
                display_node: data.display_node,
            }
        }
        "progress" => {
            let data: Data = of(data)?;
            Event::Progress {
                prompt_id: data.prompt_id,
                node: data.node,
                value: data.value,
                max: data.max,
            }
        }
        "executed" => {
            let data: ExecutedData = of(data)?;
            Event::Executed {
                prompt_id: data.prompt_id,
                node: data.node,
                output: data.output,
            }
        }
        _ => return None,
    })
}

/// Node ids are strings, but custom nodes have sent numbers.
fn maybe_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    maybe_text(deserializer)?.ok_or_else(|| serde::de::Error::custom("not a text"))
}

/// A finite number, else 0: `NaN` arrives as `null`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_job_is_an_executing_without_a_node() {
        assert_eq!(
            Event::parse(r#"{"type":"executing","data":{"node":null,"prompt_id":"p"}}"#).unwrap(),
            Event::Executing {
                prompt_id: Some("p".to_owned()),
                node: None,
                display_node: None
            }
        );
    }

    #[test]
    fn the_greeting_after_a_reconnect_names_no_job() {
        let event = Event::parse(r#"{"type":"executing","data":{"node":"2"}}"#).unwrap();
        assert_eq!(event.prompt_id(), None);
    }

    #[test]
    fn progress_may_be_fractional_or_broken() {
        let event = Event::parse(
            r#"{"type":"progress","data":{"value":NaN,"max":5.0,"prompt_id":"p","node":7,"new":1}}"#,
        );
        assert_eq!(
            event.unwrap(),
            Event::Progress {
                prompt_id: Some("p".to_owned()),
                node: Some("7".to_owned()),
                value: 0.0,
                max: 5.0
            }
        );
    }

    #[test]
    fn states_of_nodes_survive_unknown_words() {
        let event = Event::parse(
            r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{
                "1":{"value":1.0,"max":1.0,"state":"finished","display_node_id":"1","activity":"x"},
                "2":{"value":0,"max":4,"state":"dreaming"}}}}"#,
        );
        let Event::ProgressState { nodes, .. } = event.unwrap() else {
            panic!("wrong kind");
        };
        assert_eq!(nodes["1"].state, NodeState::Finished);
        assert_eq!(nodes["2"].state, NodeState::Unknown);
    }

    #[test]
    fn an_error_with_nan_inputs_is_read() {
        let event = Event::parse(
            r#"{"type":"execution_error","data":{"prompt_id":"p","node_id":"3","node_type":"K","exception_message":"bad\n",
                "exception_type":"ValueError","traceback":["a","b"],"current_inputs":{"a":[NaN]},"current_outputs":["4"]}}"#,
        );
        let Event::ExecutionError { failure, .. } = event.unwrap() else {
            panic!("wrong kind");
        };
        assert_eq!(failure.node_id, "3");
        assert_eq!(failure.message, "bad");
    }

    #[test]
    fn custom_messages_and_odd_shapes_are_kept() {
        for text in [
            r#"{"type":"probe.custom_event","data":{"x":1,"prompt_id":"p"}}"#,
            r#"{"type":"execution_cached","data":{"prompt_id":"p","nodes":"none"}}"#,
        ] {
            let event = Event::parse(text).unwrap();
            assert!(matches!(event, Event::Other { .. }), "{text}");
            assert_eq!(event.prompt_id(), Some("p"));
        }
        assert!(Event::parse("[1]").is_err());
        assert!(Event::parse(r#"{"type":"bare"}"#).is_ok());
    }

    #[test]
    fn the_first_status_tells_the_session() {
        assert_eq!(
            Event::parse(r#"{"type":"status","data":{"status":{"exec_info":{"queue_remaining":2}},"sid":"s"}}"#).unwrap(),
            Event::Status {
                queue_remaining: Some(2),
                sid: Some("s".to_owned())
            }
        );
    }
}
