//! Recorded answers of `ComfyUI`, replayed against the client: what it makes of them must be what the server's own job list says, with the
//! one exception that a success with an error among its messages is a failure.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use kiln::base::ServerName;
use kiln::client::{Client, Connection, JobRequest, Outcome, SubmitError};
use kiln::protocol::{Frame, tolerant_json};
use kiln::workflow::Graph;
use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use uuid::Uuid;

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    vec![
        crate::trial(fixtures, "frames_are_read_whole", frames),
        crate::trial(
            fixtures,
            "conversations_end_as_the_server_says",
            conversations,
        ),
    ]
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

fn frames(folder: &Path) -> Result<(), Failed> {
    for path in files(&folder.join("frames"), "bin") {
        let bytes = std::fs::read(&path)?;
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let picture =
            |image: &[u8]| image.starts_with(b"\x89PNG") || image.starts_with(b"\xff\xd8");
        let good = match Frame::parse(&bytes)? {
            Frame::Preview { media_type, image } => !media_type.is_empty() && picture(image),
            Frame::PreviewWithMetadata { metadata, image } => {
                metadata["prompt_id"].is_string() && picture(image) && name.contains("meta")
            }
            Frame::Text { node, text } => node == "1" && text.starts_with("h\u{e9}llo \u{2713}"),
            Frame::Unknown { .. } => false,
        };
        if !good {
            return Err(format!("{name} is not read as it was sent").into());
        }
    }
    Ok(())
}

/// A conversation: what the server answered and said about one job.
struct Recorded {
    name: String,
    id: String,
    status: u16,
    answer: Value,
    messages: Vec<String>,
    history: String,
    job: Option<String>,
    graph: Graph,
}

/// The conversations about one well-formed prompt; the others (queues, several sockets) have no single outcome.
fn recorded(path: &Path) -> Option<Recorded> {
    let value = tolerant_json(&std::fs::read_to_string(path).ok()?).ok()?;
    let answer = value.pointer("/response/body")?.clone();
    let messages = value["ws"].as_array()?.iter();
    Some(Recorded {
        name: path.file_stem()?.to_string_lossy().into_owned(),
        id: answer["prompt_id"].as_str().unwrap_or("none").to_owned(),
        status: u16::try_from(value.pointer("/response/status")?.as_u64()?).ok()?,
        messages: messages
            .filter_map(|message| Some(message["text"].as_str()?.to_owned()))
            .filter(|text| text.starts_with('{'))
            .collect(),
        history: value
            .pointer("/history/body")
            .map_or_else(|| "{}".to_owned(), Value::to_string),
        job: value
            .pointer("/job/body/status")
            .and_then(Value::as_str)
            .map(str::to_owned),
        graph: serde_json::from_value(value.pointer("/request/body/prompt")?.clone()).ok()?,
        answer,
    })
}

/// The recorded server: speaks once a job is posted; the record is there once it has said all.
struct Replay {
    recorded: Recorded,
    ours: Mutex<String>,
    ended: Mutex<bool>,
    say: broadcast::Sender<String>,
}

impl Replay {
    /// Recorded text with our id in place of the recorded one.
    fn ours(&self, text: &str) -> String {
        text.replace(&self.recorded.id, &self.ours.lock().unwrap())
    }
}

async fn socket(State(replay): State<Arc<Replay>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        let mut said = replay.say.subscribe();
        let greeting =
            r#"{"type":"status","data":{"status":{"exec_info":{"queue_remaining":0}},"sid":"x"}}"#;
        let mut next = Ok(greeting.to_owned());
        while let Ok(text) = next {
            if socket.send(Message::text(text)).await.is_err() {
                return;
            }
            next = said.recv().await;
        }
    })
}

async fn prompt(State(replay): State<Arc<Replay>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["prompt_id"]
        .as_str()
        .unwrap()
        .clone_into(&mut replay.ours.lock().unwrap());
    let answer = replay.ours(&replay.recorded.answer.to_string());
    let status = StatusCode::from_u16(replay.recorded.status).unwrap();
    tokio::spawn(async move {
        for text in &replay.recorded.messages {
            let _ = replay.say.send(replay.ours(text));
        }
        *replay.ended.lock().unwrap() = true;
    });
    (status, answer).into_response()
}

async fn history(State(replay): State<Arc<Replay>>, Segment(_): Segment<String>) -> String {
    if *replay.ended.lock().unwrap() {
        replay.ours(&replay.recorded.history)
    } else {
        "{}".to_owned()
    }
}

async fn listen(replay: Arc<Replay>) -> String {
    let router = Router::new()
        .route("/api/ws", get(socket))
        .route("/api/prompt", post(prompt))
        .route("/api/history/{id}", get(history))
        .route(
            "/api/queue",
            get(|| async { r#"{"queue_running":[],"queue_pending":[]}"# }),
        )
        .with_state(replay);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// What the client made of a conversation, in the words of the server's job list.
async fn replayed(recorded: Recorded) -> String {
    let graph = recorded.graph.clone();
    let replay = Arc::new(Replay {
        recorded,
        ours: Mutex::default(),
        ended: Mutex::default(),
        say: broadcast::Sender::new(4096),
    });
    let client = Client::new(ServerName::from("recorded"), &listen(replay).await).unwrap();
    let connection = Connection::open(client).await.unwrap();
    let prompt_id = Uuid::new_v4();
    let request = JobRequest {
        prompt_id,
        graph: &graph,
        targets: &[],
        extra_data: Map::new(),
    };
    match connection.submit(&request).await {
        Ok(_) => {}
        Err(SubmitError::Rejected(_)) => return "rejected".to_owned(),
        Err(error) => return error.to_string(),
    }
    let (updates, _told) = tokio::sync::mpsc::unbounded_channel();
    let id = prompt_id.to_string();
    let following = connection.follow(&id, updates);
    match tokio::time::timeout(Duration::from_secs(10), following).await {
        Ok(Outcome::Succeeded { .. }) => "completed".to_owned(),
        Ok(Outcome::Failed(_)) => "failed".to_owned(),
        Ok(Outcome::Interrupted) => "cancelled".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(_) => "without end".to_owned(),
    }
}

fn expected(recorded: &Recorded) -> Option<String> {
    let complaints = recorded.answer["node_errors"].as_object();
    if recorded.status == 400 || complaints.is_some_and(|errors| !errors.is_empty()) {
        return Some("rejected".to_owned());
    }
    let failed = recorded.history.contains(r#"["execution_error","#);
    // Where the server's worker died, the job has no end.
    let job = recorded.job.clone().filter(|job| job != "in_progress")?;
    Some(if failed { "failed".to_owned() } else { job })
}

fn conversations(folder: &Path) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files(&folder.join("transcripts"), "json") {
        let Some(recorded) = recorded(&path) else {
            continue;
        };
        let Some(expected) = expected(&recorded) else {
            continue;
        };
        let name = recorded.name.clone();
        let made = runtime.block_on(replayed(recorded));
        count += 1;
        if made != expected {
            wrong.push(format!("{name}: {expected}, but the client says {made}"));
        }
    }
    println!(
        "conversations: {} of {count} end as they should",
        count - wrong.len()
    );
    if count < 100 || !wrong.is_empty() {
        return Err(wrong.join("\n").into());
    }
    Ok(())
}
