//! A recorded server: it says what was recorded, in time order, and has its records only when the recording has them.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use kiln::protocol::tolerant_json;
use kiln::workflow::Graph;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A second of the recording takes so long, and no silence longer than [`SILENCE`].
const SECOND: f64 = 0.1;
const SILENCE: Duration = Duration::from_millis(5);
const GREETING: &str =
    r#"{"type":"status","data":{"status":{"exec_info":{"queue_remaining":0}},"sid":"x"}}"#;
/// As Python tells of a thread that died. The recordings hold no log of that moment.
const DEATH: [&str; 4] = [
    "Exception in thread ",
    "Thread-2 (prompt_worker)",
    ":\n",
    "comfy_execution.graph.NodeNotFoundError: Node 404 not found\n",
];

/// A conversation: what the server answered and said about one job.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) graph: Graph,
    id: String,
    status: u16,
    answer: Value,
    said: Vec<Said>,
    /// How many messages came before the answer.
    before_answer: usize,
    /// The message with which the job runs, and the one before which its record is written.
    begins: usize,
    ends: usize,
    history: String,
    /// The same, read.
    record: Value,
    job: Value,
}

struct Said {
    at: f64,
    what: What,
}

#[derive(Clone)]
enum What {
    Text(String),
    Bytes(Vec<u8>),
}

impl Said {
    fn read(message: &Value, frames: &Path) -> Option<Self> {
        let at = message["t"].as_f64()?;
        let what = if message["binary"] == true {
            What::Bytes(frame(message, frames))
        } else {
            What::Text(message["text"].as_str()?.to_owned())
        };
        Some(Self { at, what })
    }

    /// Its type, or the number of a binary one.
    fn kind(&self) -> String {
        match &self.what {
            What::Bytes(bytes) => format!("binary {:?}", bytes.get(3)),
            What::Text(text) => {
                let value = tolerant_json(text).unwrap_or_default();
                value["type"].as_str().unwrap_or("?").to_owned()
            }
        }
    }

    fn is_end_of(&self, id: &str) -> bool {
        self.is("executing", id, |data| data["node"].is_null())
    }

    fn is(&self, kind: &str, id: &str, data: impl Fn(&Value) -> bool) -> bool {
        let What::Text(text) = &self.what else {
            return false;
        };
        let value = tolerant_json(text).unwrap_or_default();
        value["type"] == kind && value["data"]["prompt_id"] == id && data(&value["data"])
    }
}

/// The bytes of a frame: as they were kept, else as they were described.
fn frame(message: &Value, frames: &Path) -> Vec<u8> {
    let saved = message["saved"]
        .as_str()
        .and_then(|path| path.rsplit('/').next());
    if let Some(bytes) = saved.and_then(|name| std::fs::read(frames.join(name)).ok()) {
        return bytes;
    }
    let hex = message["first16_hex"].as_str().unwrap_or_default();
    let mut bytes: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok())
        .collect();
    let length = message["len"]
        .as_u64()
        .and_then(|length| usize::try_from(length).ok());
    bytes.resize(length.unwrap_or(bytes.len()), b' ');
    bytes
}

impl Recording {
    /// The conversation about one well-formed prompt; `None` for the others (several sockets), which have no single outcome.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let value = tolerant_json(&std::fs::read_to_string(path).ok()?).ok()?;
        let answer = value.pointer("/response/body")?.clone();
        let id = answer["prompt_id"].as_str().unwrap_or("none").to_owned();
        let (posted, answered) = (value["t_post"].as_f64()?, value["t_response"].as_f64()?);
        let frames = path.parent()?.parent()?.join("frames");
        let said = value["ws"].as_array()?.iter();
        let said = said.filter_map(|message| Said::read(message, &frames));
        let said: Vec<Said> = said.filter(|said| said.at >= posted).collect();
        let find = |is: &dyn Fn(&Said) -> bool| said.iter().position(is);
        let begins = find(&|said| said.is("execution_start", &id, |_| true));
        let ends = find(&|said| said.is_end_of(&id));
        let record = value.pointer("/history/body").cloned().unwrap_or(json!({}));
        Some(Self {
            name: path.file_stem()?.to_string_lossy().into_owned(),
            graph: serde_json::from_value(value.pointer("/request/body/prompt")?.clone()).ok()?,
            status: u16::try_from(value.pointer("/response/status")?.as_u64()?).ok()?,
            before_answer: said.iter().filter(|said| said.at < answered).count(),
            begins: begins.unwrap_or(0),
            ends: ends.unwrap_or(said.len()),
            history: record.to_string(),
            record,
            job: value.pointer("/job/body").cloned().unwrap_or_default(),
            id,
            answer,
            said,
        })
    }

    /// What the record tells of a failure.
    pub(crate) fn error(&self) -> Option<Value> {
        let messages = self.record[&self.id]["status"]["messages"].as_array()?;
        let error = messages
            .iter()
            .find(|message| message[0] == "execution_error")?;
        Some(error[1].clone())
    }

    /// How many results the record tells of: files, and texts of any kind are told apart by the decoder, so only nodes are counted.
    pub(crate) fn is_partial(&self) -> bool {
        let left_out = self.answer["node_errors"].as_object();
        self.status == 200 && left_out.is_some_and(|errors| !errors.is_empty())
    }

    pub(crate) fn says(&self) -> usize {
        self.said.len()
    }

    /// The first and the last message, and the first of each kind.
    pub(crate) fn landmarks(&self) -> Vec<usize> {
        let mut kinds = std::collections::HashSet::new();
        let last = self.said.len().checked_sub(1);
        let firsts = self.said.iter().enumerate();
        let mut at: Vec<usize> = firsts
            .filter(|(at, said)| kinds.insert(said.kind()) || Some(*at) == last)
            .map(|(at, _)| at)
            .collect();
        at.dedup();
        at
    }
}

/// What goes wrong in a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The socket is cut after this message. A new one hears only what is said to everybody.
    Cut(usize),
    /// As `Cut`, and a new one hears nothing at all.
    Deaf(usize),
    /// The record comes two seconds after the message that announces it.
    Late,
    /// The message of the end is missing.
    NoEnd,
    /// And so is that of success.
    NoEndNorSuccess,
}

/// How a server tells of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// By history and queue.
    Old,
    /// By history and jobs.
    New,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Absent,
    Pending,
    Running,
    Ended,
}

struct Live {
    ours: String,
    phase: Phase,
    /// Client id and sender of each open socket.
    sockets: Vec<(String, UnboundedSender<Option<What>>)>,
    owner: String,
    cut: bool,
}

pub(crate) struct Replay {
    recording: Arc<Recording>,
    fault: Fault,
    era: Era,
    live: Mutex<Live>,
}

type Shared = State<Arc<Replay>>;

impl Replay {
    /// Serves a recording; its address.
    pub(crate) async fn serve(recording: Arc<Recording>, fault: Fault, era: Era) -> String {
        let replay = Arc::new(Self {
            recording,
            fault,
            era,
            live: Mutex::new(Live {
                ours: String::new(),
                phase: Phase::Absent,
                sockets: Vec::new(),
                owner: String::new(),
                cut: false,
            }),
        });
        let mut router = Router::new()
            .route("/api/ws", get(socket))
            .route("/api/prompt", post(prompt))
            .route("/api/history/{id}", get(history))
            .route("/api/queue", get(queue))
            .route("/api/system_stats", get(stats))
            .route(
                "/api/jobs/{id}/cancel",
                post(|| async { r#"{"cancelled":true}"# }),
            )
            .route("/internal/logs/raw", get(log));
        if era == Era::New {
            router = router
                .route("/api/jobs", get(|| async { r#"{"jobs":[]}"# }))
                .route("/api/jobs/{id}", get(job));
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router.with_state(replay);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap()
    }

    /// Recorded text with our id in place of the recorded one.
    fn ours(&self, text: &str) -> String {
        text.replace(&self.recording.id, &self.live().ours)
    }

    fn phase(&self) -> Phase {
        self.live().phase
    }

    /// Says some of the messages, each at its time.
    async fn say(self: &Arc<Self>, from: usize, to: usize) {
        let said = &self.recording.said;
        for at in from..to {
            let gap = at
                .checked_sub(1)
                .map_or(0.0, |before| said[at].at - said[before].at);
            let gap = Duration::from_secs_f64(gap.max(0.0) * SECOND).min(SILENCE);
            if !gap.is_zero() {
                tokio::time::sleep(gap).await;
            }
            if at == self.recording.begins {
                self.live().phase = Phase::Running;
            }
            if at == self.recording.ends {
                self.end();
            }
            self.send(at);
        }
    }

    fn end(self: &Arc<Self>) {
        if self
            .recording
            .record
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
        {
            return;
        }
        if self.fault != Fault::Late {
            self.live().phase = Phase::Ended;
            return;
        }
        let late = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            late.live().phase = Phase::Ended;
        });
    }

    fn send(&self, at: usize) {
        let said = &self.recording.said[at];
        let id = &self.recording.id;
        let end = said.is_end_of(id);
        let success = said.is("execution_success", id, |_| true);
        let missing = match self.fault {
            Fault::NoEnd => end,
            Fault::NoEndNorSuccess => end || success,
            _ => false,
        };
        if missing {
            return;
        }
        let what = match &said.what {
            What::Text(text) => What::Text(self.ours(text)),
            bytes @ What::Bytes(_) => bytes.clone(),
        };
        let mut live = self.live();
        let deaf = live.cut && matches!(self.fault, Fault::Deaf(_));
        let to_all = said.kind() == "status";
        for (client, socket) in &live.sockets {
            if !deaf && (to_all || *client == live.owner) {
                let _ = socket.send(Some(what.clone()));
            }
        }
        if self.fault == Fault::Cut(at) || self.fault == Fault::Deaf(at) {
            live.cut = true;
            for (_, socket) in live.sockets.drain(..) {
                let _ = socket.send(None);
            }
        }
    }
}

async fn socket(
    State(replay): Shared,
    Query(query): Query<std::collections::HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (sender, said) = unbounded_channel();
    let client = query["clientId"].clone();
    upgrade.on_upgrade(move |socket| async move {
        replay.live().sockets.push((client, sender));
        speak(socket, said).await;
    })
}

async fn speak(mut socket: WebSocket, mut said: UnboundedReceiver<Option<What>>) {
    if socket.send(Message::text(GREETING)).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            what = said.recv() => {
                let message = match what {
                    Some(Some(What::Text(text))) => Message::text(text),
                    Some(Some(What::Bytes(bytes))) => Message::binary(bytes),
                    Some(None) | None => return,
                };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn prompt(State(replay): Shared, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let recording = Arc::clone(&replay.recording);
    {
        let mut live = replay.live();
        live.ours = text("prompt_id");
        live.owner = text("client_id");
        if recording.status == 200 {
            live.phase = Phase::Pending;
        }
    }
    replay.say(0, recording.before_answer).await;
    let answer = replay.ours(&recording.answer.to_string());
    tokio::spawn(async move {
        let all = replay.recording.said.len();
        replay.say(replay.recording.before_answer, all).await;
        if replay.recording.ends == all {
            replay.end();
        }
    });
    (StatusCode::from_u16(recording.status).unwrap(), answer).into_response()
}

async fn history(State(replay): Shared, Segment(id): Segment<String>) -> String {
    if replay.phase() == Phase::Ended && replay.live().ours == id {
        replay.ours(&replay.recording.history)
    } else {
        "{}".to_owned()
    }
}

async fn queue(State(replay): Shared) -> String {
    let item = json!([[0, replay.live().ours.clone(), {}, {}, []]]);
    let of = |phase| {
        if replay.phase() == phase {
            item.clone()
        } else {
            json!([])
        }
    };
    json!({"queue_running": of(Phase::Running), "queue_pending": of(Phase::Pending)}).to_string()
}

async fn job(State(replay): Shared, Segment(id): Segment<String>) -> Response {
    let phase = replay.phase();
    let word = match phase {
        _ if replay.live().ours != id => None,
        Phase::Absent => None,
        Phase::Pending => Some("pending"),
        Phase::Running => Some("in_progress"),
        Phase::Ended => {
            return replay
                .ours(&replay.recording.job.to_string())
                .into_response();
        }
    };
    match word {
        Some(word) => json!({"id": id, "status": word})
            .to_string()
            .into_response(),
        None => (StatusCode::NOT_FOUND, r#"{"error":"Job not found"}"#).into_response(),
    }
}

async fn stats(State(replay): Shared) -> String {
    let version = match replay.era {
        Era::Old => "0.3.64",
        Era::New => "0.33.0",
    };
    json!({"system": {"comfyui_version": version}, "devices": []}).to_string()
}

/// The job that the recording leaves running for ever killed the worker.
async fn log(State(replay): Shared) -> String {
    let dead = replay.recording.job["status"] == "in_progress";
    let said: &[&str] = if dead { &DEATH } else { &["got prompt\n"] };
    let entries: Vec<Value> = said
        .iter()
        .map(|said| json!({"t": "", "m": said}))
        .collect();
    json!({"entries": entries, "size": null}).to_string()
}
