//! What plugins are told, as it crosses the edge: made once, and shared by all that hear it.
//!
//! To write an event down takes no longer than to copy it for somebody who would write it down later, so that is done at once, and by
//! whoever tells it. Its name comes first: who hears of everything and wants little need not read the rest.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::base::{RunId, ServerName, TaskName};
use crate::event::{RunEvent, VERSION};

/// A message of a server about one of this run's jobs, or about none.
#[derive(Clone, Copy, Debug)]
pub struct ServerMessage<'a> {
    /// Its `type`; `progress_text` for a line of a node's progress text.
    pub kind: &'a str,
    /// The server.
    pub server: &'a ServerName,
    /// The task whose job it is about.
    pub task: Option<&'a TaskName>,
    /// The job.
    pub prompt_id: Option<&'a str>,
    /// The message as it came, JSON but for `NaN` and the like.
    pub message: &'a str,
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

/// The time as it was last written: many events share a millisecond.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Option<(i64, String)>>);

impl Clock {
    /// Adds a time to a text.
    fn write(&self, at: jiff::Timestamp, out: &mut String) {
        let millisecond = at.as_millisecond();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, text)) if *of == millisecond => out.push_str(text),
            _ => {
                let time = at.to_zoned(jiff::tz::TimeZone::system());
                let text = time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
                out.push_str(&text);
                *last = Some((millisecond, text));
            }
        }
    }
}

/// Adds a value to a text; nothing that is told can fail at that but a path that is no text, which is told as none.
fn add(out: &mut String, value: &(impl Serialize + ?Sized)) {
    out.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
}

/// A line of the event stream, without its position in it: events are numbered where they are told to people.
pub(super) fn of_run(event: &RunEvent, run: &RunId, at: jiff::Timestamp, clock: &Clock) -> Bytes {
    // Its own members follow its name.
    let own = serde_json::to_string(event)
        .unwrap_or_else(|_| format!("{{\"event\":\"{}\"}}", event.name()));
    let own = own.strip_prefix('{').unwrap_or(&own);
    let own = own.strip_suffix('}').unwrap_or(own);
    let mut out = String::with_capacity(own.len() + 128);
    out.push_str("{\"kind\":\"run\",");
    out.push_str(own);
    out.push_str(",\"v\":");
    add(&mut out, &VERSION);
    out.push_str(",\"time\":\"");
    clock.write(at, &mut out);
    out.push_str("\",\"run\":");
    add(&mut out, run);
    out.push('}');
    out.into_bytes().into()
}

/// A server's message.
pub(super) fn of_server(told: &ServerMessage<'_>, run: &RunId) -> Bytes {
    let mut out = String::with_capacity(told.message.len() + 256);
    out.push_str("{\"kind\":\"server\",\"type\":");
    add(&mut out, told.kind);
    out.push_str(",\"run\":");
    add(&mut out, run);
    out.push_str(",\"server\":");
    add(&mut out, told.server);
    out.push_str(",\"task\":");
    add(&mut out, &told.task);
    out.push_str(",\"prompt_id\":");
    add(&mut out, &told.prompt_id);
    out.push_str(",\"message\":");
    // As it is, if it is JSON as it is: it may be large, and its numbers are none of our business.
    match serde_json::from_str::<&RawValue>(told.message) {
        Ok(raw) => out.push_str(raw.get()),
        Err(_) => match crate::protocol::tolerant_json(told.message) {
            Ok(value) => add(&mut out, &value),
            Err(_) => add(&mut out, told.message),
        },
    }
    out.push('}');
    out.into_bytes().into()
}

/// What is known of a picture.
pub(super) fn of_preview(told: &Preview, run: &RunId) -> Bytes {
    let node = ["display_node_id", "node_id"]
        .iter()
        .find_map(|name| told.metadata.get(*name).and_then(Value::as_str));
    json!({
        "run": run, "server": told.server, "task": told.task, "prompt_id": told.prompt_id,
        "frame": told.frame, "media_type": told.media_type, "node": node, "metadata": told.metadata,
    })
    .to_string()
    .into_bytes()
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StopReason;

    fn read(told: &Bytes) -> Value {
        serde_json::from_slice(told).unwrap()
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_run_event_is_its_own_json_and_what_every_line_has() {
        let run = RunId::from("20261122-141530-k3f9");
        let clock = Clock::default();
        let events = [
            RunEvent::TaskOutput {
                task: TaskName("say[x=}]".to_owned()),
                line: "{\"a\": {}}}".to_owned(),
            },
            RunEvent::RunStopping {
                reason: StopReason::Interrupt,
                at_once: true,
            },
            RunEvent::RunStarted {
                pipeline: "p".to_owned(),
                tasks: Vec::new(),
                growing: true,
                output_dir: "out".into(),
                expected: [("draw".into(), 1.5)].into(),
            },
        ];
        for event in events {
            let told = of_run(&event, &run, at("2026-11-22T14:15:30.25Z"), &clock);
            let start = format!("{{\"kind\":\"run\",\"event\":\"{}\"", event.name());
            assert!(told.starts_with(start.as_bytes()), "the name comes first");
            let told = read(&told);
            let mut all = serde_json::to_value(&event).unwrap();
            all["kind"] = "run".into();
            all["v"] = VERSION.into();
            all["run"] = "20261122-141530-k3f9".into();
            all["time"] = told["time"].clone();
            assert_eq!(told, all);
            let time: jiff::Timestamp = told["time"].as_str().unwrap().parse().unwrap();
            assert_eq!(time, at("2026-11-22T14:15:30.25Z"));
        }
    }

    #[test]
    fn each_event_has_its_own_time_also_in_the_first_second_of_all() {
        let run = RunId::from("r");
        let clock = Clock::default();
        let event = RunEvent::TaskFetching {
            task: TaskName("draw".to_owned()),
        };
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-11-22T14:15:30.001Z",
            "2026-11-22T14:15:30.002Z",
        ] {
            let told = read(&of_run(&event, &run, at(text), &clock));
            let time: jiff::Timestamp = told["time"].as_str().unwrap().parse().unwrap();
            assert_eq!(time, at(text));
        }
    }

    #[test]
    fn a_message_crosses_as_it_came_and_one_that_is_no_json_as_what_can_be_read_of_it() {
        let (run, server, task) = (
            RunId::from("r"),
            ServerName::from("far"),
            TaskName("draw".to_owned()),
        );
        let told = |message: &str| {
            let message = ServerMessage {
                kind: "od\"d",
                server: &server,
                task: Some(&task),
                prompt_id: None,
                message,
            };
            of_server(&message, &run)
        };
        let exact =
            told("{\"type\":\"x\",\"data\":{\"n\":1.50,\"big\":123456789012345678901234567890}}");
        let exact = std::str::from_utf8(&exact).unwrap();
        assert!(
            exact.contains("1.50,\"big\":123456789012345678901234567890"),
            "{exact}"
        );
        let head = "{\"kind\":\"server\",\"type\":\"od\\\"d\",\"run\":\"r\",\"server\":\"far\",\"task\":\"draw\",\"prompt_id\":null,";
        assert!(exact.starts_with(head), "{exact}");
        assert_eq!(read(&told("{\"a\": NaN}"))["message"]["a"], Value::Null);
        assert_eq!(read(&told("no json at all"))["message"], "no json at all");
    }
}
