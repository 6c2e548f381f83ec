//! A server that says what a test tells it to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::base::ServerName;
use crate::client::Client;
use crate::client::follow::Timing;
use crate::client::socket::Pulse;
use crate::workflow::Graph;

/// Short times, so that tests of patience are quick.
pub(super) fn quick() -> Timing {
    Timing {
        poll: (Duration::from_millis(20), Duration::from_millis(80)),
        poll_deaf: Duration::from_millis(40),
        absent: Duration::from_millis(60),
        lost_after: Duration::from_millis(300),
        stall: Duration::from_millis(100),
        stop: Duration::from_millis(250),
        doubt: Duration::from_millis(60),
        pulse: Pulse::default(),
    }
}

/// Serves a router on a free port and gives its address.
pub(super) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

pub(super) fn client(url: &str) -> Client {
    Client::new(ServerName::from("test"), url).unwrap()
}

pub(super) fn graph() -> Graph {
    serde_json::from_str(
        r#"{"1":{"class_type":"EmptyImage","inputs":{}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0]}}}"#,
    )
    .unwrap()
}

/// What goes out on every socket.
#[derive(Clone)]
pub(super) enum Out {
    Text(String),
    Bytes(Vec<u8>),
    Close,
}

/// A server's memory and its orders.
pub(super) struct Fake {
    pub(super) history: Mutex<HashMap<String, String>>,
    pub(super) running: Mutex<Vec<String>>,
    pub(super) pending: Mutex<Vec<String>>,
    /// Bodies by path, in order.
    pub(super) posts: Mutex<Vec<(String, Value)>>,
    /// Client ids of sockets, in order.
    pub(super) sockets: Mutex<Vec<String>>,
    /// First messages of sockets.
    pub(super) flags: Mutex<Vec<String>>,
    /// The answer to `/prompt`.
    pub(super) answer: Mutex<(u16, String)>,
    pub(super) jobs_api: bool,
    /// What the server's log holds, in the pieces in which it was written.
    pub(super) log: Mutex<Vec<String>>,
    /// Whether the log is never answered.
    pub(super) log_hangs: Mutex<bool>,
    /// How often the records were asked for.
    pub(super) asked: Mutex<usize>,
    pub(super) out: broadcast::Sender<Out>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Self::with(true)
    }

    /// A server that may be older than `/api/jobs`.
    pub(super) fn with(jobs_api: bool) -> Arc<Self> {
        Arc::new(Self {
            history: Mutex::default(),
            running: Mutex::default(),
            pending: Mutex::default(),
            posts: Mutex::default(),
            sockets: Mutex::default(),
            flags: Mutex::default(),
            answer: Mutex::new((200, String::new())),
            jobs_api,
            log: Mutex::default(),
            log_hangs: Mutex::default(),
            asked: Mutex::default(),
            out: broadcast::Sender::new(4096),
        })
    }

    pub(super) fn router(self: &Arc<Self>) -> Router {
        let mut router = Router::new()
            .route("/api/ws", get(socket))
            .route("/api/prompt", post(prompt))
            .route("/api/history/{id}", get(history))
            .route("/api/queue", get(queue).post(noted))
            .route("/api/interrupt", post(noted))
            .route("/internal/logs/raw", get(log))
            .route("/api/features", get(|| async { Json(json!({"max_upload_size": 5000.0})) }))
            .route(
                "/api/system_stats",
                get(|| async {
                    Json(json!({"system": {"comfyui_version": "0.33.0"}, "devices": [{"name": "cpu", "type": "cpu", "index": null}]}))
                }),
            );
        if self.jobs_api {
            router = router
                .route("/api/jobs", get(|| async { Json(json!({"jobs": []})) }))
                .route("/api/jobs/{id}", get(job))
                .route("/api/jobs/{id}/cancel", post(cancel));
        }
        router.with_state(self.clone())
    }

    pub(super) fn say(&self, kind: &str, data: &Value) {
        let text = json!({"type": kind, "data": data}).to_string();
        let _ = self.out.send(Out::Text(text));
    }

    pub(super) fn start(&self, id: &str) {
        self.pending.lock().unwrap().retain(|other| other != id);
        self.running.lock().unwrap().push(id.to_owned());
        self.say("execution_start", &json!({"prompt_id": id}));
    }

    /// Writes the record of a job.
    pub(super) fn record(&self, id: &str, entry: &Value) {
        self.running.lock().unwrap().retain(|other| other != id);
        self.pending.lock().unwrap().retain(|other| other != id);
        let text = json!({id: entry}).to_string();
        self.history.lock().unwrap().insert(id.to_owned(), text);
    }

    pub(super) fn posted(&self, path: &str) -> Vec<Value> {
        let posts = self.posts.lock().unwrap();
        let of = posts.iter().filter(|(to, _)| to == path);
        of.map(|(_, body)| body.clone()).collect()
    }

    fn knows(&self, id: &str) -> Option<&'static str> {
        let has = |ids: &Mutex<Vec<String>>| ids.lock().unwrap().iter().any(|other| other == id);
        if has(&self.running) {
            Some("in_progress")
        } else if has(&self.pending) {
            Some("pending")
        } else {
            let ended = self.history.lock().unwrap().contains_key(id);
            ended.then_some("completed")
        }
    }
}

/// A record of success with one picture.
pub(super) fn success() -> Value {
    json!({
        "outputs": {"2": {"images": [{"filename": "a_00001_.png", "subfolder": "", "type": "output"}]}},
        "status": {"status_str": "success", "completed": true, "messages": [["execution_cached", {"nodes": ["1"]}]]}
    })
}

type Shared = State<Arc<Fake>>;

async fn socket(
    State(fake): Shared,
    Query(query): Query<BTreeMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let id = query["clientId"].clone();
    upgrade.on_upgrade(move |mut socket: WebSocket| async move {
        fake.sockets.lock().unwrap().push(id.clone());
        let mut out = fake.out.subscribe();
        let greeting = json!({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": id}});
        let _ = socket.send(Message::text(greeting.to_string())).await;
        loop {
            tokio::select! {
                order = out.recv() => {
                    let message = match order {
                        Ok(Out::Text(text)) => Message::text(text),
                        Ok(Out::Bytes(bytes)) => Message::binary(bytes),
                        Ok(Out::Close) | Err(_) => return,
                    };
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => fake.flags.lock().unwrap().push(text.to_string()),
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    })
}

async fn prompt(State(fake): Shared, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let id = body["prompt_id"].as_str().unwrap().to_owned();
    fake.posts
        .lock()
        .unwrap()
        .push(("/api/prompt".to_owned(), body));
    let (status, answer) = fake.answer.lock().unwrap().clone();
    if status == 200 {
        fake.pending.lock().unwrap().push(id.clone());
    }
    let answer = if answer.is_empty() {
        json!({"prompt_id": id, "number": 1, "node_errors": {}}).to_string()
    } else {
        answer.replace("ID", &id)
    };
    (StatusCode::from_u16(status).unwrap(), answer).into_response()
}

async fn history(State(fake): Shared, Path(id): Path<String>) -> String {
    *fake.asked.lock().unwrap() += 1;
    let history = fake.history.lock().unwrap();
    history.get(&id).cloned().unwrap_or_else(|| "{}".to_owned())
}

async fn log(State(fake): Shared) -> Json<Value> {
    if *fake.log_hangs.lock().unwrap() {
        std::future::pending::<()>().await;
    }
    let log = fake.log.lock().unwrap();
    let entries: Vec<Value> = log.iter().map(|m| json!({"t": "now", "m": m})).collect();
    Json(json!({"entries": entries, "size": null}))
}

async fn queue(State(fake): Shared) -> Json<Value> {
    *fake.asked.lock().unwrap() += 1;
    let list = |ids: &Mutex<Vec<String>>| -> Vec<Value> {
        let ids = ids.lock().unwrap();
        ids.iter().map(|id| json!([1, id, {}, {}, []])).collect()
    };
    Json(json!({"queue_running": list(&fake.running), "queue_pending": list(&fake.pending)}))
}

async fn noted(State(fake): Shared, uri: axum::http::Uri, body: Bytes) {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(ids) = body.get("delete").and_then(Value::as_array) {
        let mut pending = fake.pending.lock().unwrap();
        pending.retain(|id| !ids.iter().any(|other| other == id.as_str()));
    }
    let path = uri.path().to_owned();
    fake.posts.lock().unwrap().push((path, body));
}

async fn job(State(fake): Shared, Path(id): Path<String>) -> Response {
    match fake.knows(&id) {
        Some(status) => Json(json!({"id": id, "status": status})).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            Json(json!({"error": "Job not found"})),
        )
            .into_response(),
    }
}

async fn cancel(State(fake): Shared, Path(id): Path<String>) -> Json<Value> {
    let known = matches!(fake.knows(&id), Some("in_progress" | "pending"));
    fake.pending.lock().unwrap().retain(|other| *other != id);
    fake.posts
        .lock()
        .unwrap()
        .push(("cancel".to_owned(), json!(id)));
    Json(json!({"cancelled": known}))
}
