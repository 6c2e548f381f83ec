//! The table of routes, and the handlers that only read or tell the board something. Every route exists under `/api` as well.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get, post};
use serde_json::{Map, Value, json};

use super::answers::{self, BODY_LIMIT, answer, empty, json_with, too_large, trouble};
use super::catalog::MODEL_FOLDERS;
use super::history;
use super::jobs::{self, Filter};
use super::queue::Job;
use super::sockets::{self, INBOUND_LIMIT, INBOUND_READ};
use super::state::Server;
use super::{prompt, upload, view};
use crate::protocol::{Cancel, StandIn, Version};

type Shared = State<Arc<Server>>;

/// All routes.
pub(super) fn router(server: Arc<Server>) -> Router {
    let both = Router::new()
        .route("/ws", get(socket))
        .route("/prompt", get(remaining).post(prompt::submit))
        .route("/queue", get(queue).post(change_queue))
        .route("/interrupt", post(interrupt))
        .route("/free", post(free))
        .route("/history", get(all_history).post(change_history))
        .route("/history/{id}", get(one_history))
        .route("/object_info", get(all_classes))
        .route("/object_info/{class}", get(one_class))
        .route("/models", get(model_folders))
        .route("/models/{folder}", get(models))
        .route("/embeddings", get(nothing))
        .route("/extensions", get(nothing))
        .route("/features", get(features))
        .route("/system_stats", get(system_stats))
        .route("/upload/image", post(upload::image))
        .route("/view", get(view::view));
    let mut all = Router::new().merge(both.clone()).nest("/api", both);
    if server.dialect.jobs {
        all = all
            .route("/api/jobs", get(list_jobs))
            .route("/api/jobs/{id}", get(one_job));
    }
    if server.dialect.cancel == Cancel::Job {
        all = all
            .route("/api/jobs/cancel", post(cancel_jobs))
            .route("/api/jobs/{id}/cancel", post(cancel_job));
    }
    all.fallback(any(|| async {
        answer(StatusCode::NOT_FOUND, "application/octet-stream", "")
    }))
    .layer(DefaultBodyLimit::max(BODY_LIMIT))
    .with_state(server)
}

/// A whole request body, or the answer that refuses it.
pub(super) async fn body(request: Request) -> Result<Bytes, Response> {
    axum::body::to_bytes(request.into_body(), BODY_LIMIT)
        .await
        .map_err(|_| too_large())
}

/// A request body as a JSON object; anything else is not understood.
pub(super) async fn object(request: Request) -> Result<Map<String, Value>, Response> {
    let bytes = body(request).await?;
    serde_json::from_slice(&bytes).map_err(|_| trouble())
}

/// Python's truth.
pub(super) fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(truth)) => *truth,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
    }
}

pub(super) fn ids(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

async fn socket(
    State(server): Shared,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let sid = query
        .get("clientId")
        .filter(|id| !id.is_empty())
        .cloned()
        .unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    upgrade
        .read_buffer_size(INBOUND_READ)
        .max_message_size(INBOUND_LIMIT)
        .max_frame_size(INBOUND_LIMIT)
        .on_upgrade(async move |socket| {
            let client = server.board.connect(sid);
            server.sockets.serve(socket, client).await;
        })
}

pub(super) async fn remaining(State(server): Shared) -> Response {
    answers::json(&json!({ "exec_info": { "queue_remaining": server.board.remaining() } }))
}

async fn queue(State(server): Shared) -> Response {
    let (running, pending) = server.board.queued();
    let tuples = |jobs: &[Arc<Job>]| jobs.iter().map(|job| job.tuple()).collect::<Vec<_>>();
    answers::json(&json!({
        "queue_running": tuples(&running),
        "queue_pending": tuples(&pending),
    }))
}

async fn change_queue(State(server): Shared, request: Request) -> Response {
    let change = match object(request).await {
        Ok(change) => change,
        Err(response) => return response,
    };
    if truthy(change.get("clear")) {
        server.board.clear();
    }
    for id in ids(change.get("delete")) {
        server.board.delete(id);
    }
    empty(StatusCode::OK)
}

async fn interrupt(State(server): Shared, request: Request) -> Response {
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    // A body that is no JSON counts as none; JSON that is no object is not understood.
    let which: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({}));
    let Some(which) = which.as_object() else {
        return trouble();
    };
    match which.get("prompt_id") {
        Some(id) if truthy(Some(id)) => {
            if let Some(id) = id.as_str() {
                server.board.interrupt(Some(id));
            }
        }
        _ => {
            server.board.interrupt(None);
        }
    }
    empty(StatusCode::OK)
}

async fn free(State(server): Shared, request: Request) -> Response {
    match object(request).await {
        Ok(what) => {
            if truthy(what.get("free_memory")) {
                server.board.free();
            }
            empty(StatusCode::OK)
        }
        Err(response) => response,
    }
}

async fn all_history(
    State(server): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let number = |name: &str| {
        query
            .get(name)
            .map(|text| text.trim().parse::<i64>())
            .transpose()
    };
    let (Ok(max_items), Ok(offset)) = (number("max_items"), number("offset")) else {
        return trouble();
    };
    let page = history::page(
        server.board.snapshot().ended,
        max_items,
        offset.unwrap_or(-1),
    );
    let all: Map<String, Value> = page
        .iter()
        .map(|ended| (ended.job.id.clone(), ended.to_json()))
        .collect();
    answers::json(&all)
}

async fn one_history(State(server): Shared, Path(id): Path<String>) -> Response {
    let one: Map<String, Value> = server
        .board
        .ended(&id)
        .map(|ended| (id, ended.to_json()))
        .into_iter()
        .collect();
    answers::json(&one)
}

async fn change_history(State(server): Shared, request: Request) -> Response {
    let change = match object(request).await {
        Ok(change) => change,
        Err(response) => return response,
    };
    if truthy(change.get("clear")) {
        server.board.forget(None);
    }
    for id in ids(change.get("delete")) {
        server.board.forget(Some(id));
    }
    empty(StatusCode::OK)
}

async fn list_jobs(
    State(server): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match Filter::read(&query) {
        Ok(filter) => answers::json(&filter.list(&server.board.snapshot())),
        Err(error) => json_with(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    }
}

async fn one_job(State(server): Shared, Path(id): Path<String>) -> Response {
    match server.board.find(&id) {
        Some(found) => answers::json(&jobs::detail(&found)),
        None => json_with(StatusCode::NOT_FOUND, &json!({ "error": "Job not found" })),
    }
}

async fn cancel_job(State(server): Shared, Path(id): Path<String>) -> Response {
    answers::json(&json!({ "cancelled": server.board.cancel(&id) }))
}

async fn cancel_jobs(State(server): Shared, request: Request) -> Response {
    let refuse = |error: Value| json_with(StatusCode::BAD_REQUEST, &error);
    let Ok(request) = object(request).await else {
        return refuse(json!({ "error": "Invalid JSON body" }));
    };
    let Some(ids) = request.get("job_ids").and_then(Value::as_array) else {
        return refuse(json!({ "error": "job_ids must be a list" }));
    };
    let (good, bad): (Vec<&Value>, Vec<&Value>) = ids.iter().partition(|id| prompt::is_id(id));
    if !bad.is_empty() {
        return refuse(json!({
            "error": "job_ids contains invalid id(s)",
            "invalid_ids": bad,
        }));
    }
    let mut any = false;
    for id in good.into_iter().filter_map(Value::as_str) {
        any |= server.board.cancel(id);
    }
    answers::json(&json!({ "cancelled": any }))
}

pub(super) async fn all_classes(State(server): Shared) -> Response {
    answers::json(&server.object_info())
}

pub(super) async fn one_class(State(server): Shared, Path(class): Path<String>) -> Response {
    let one: Map<String, Value> = server
        .class_info(&class)
        .map(|info| (class, info))
        .into_iter()
        .collect();
    answers::json(&one)
}

async fn model_folders() -> Response {
    answers::json(&MODEL_FOLDERS)
}

async fn models(Path(folder): Path<String>) -> Response {
    if MODEL_FOLDERS.contains(&folder.as_str()) {
        nothing().await
    } else {
        empty(StatusCode::NOT_FOUND)
    }
}

pub(super) async fn nothing() -> Response {
    answers::json(&json!([]))
}

pub(super) async fn features(State(server): Shared) -> Response {
    answers::json(&sockets::features(server.dialect.assets))
}

pub(super) async fn system_stats(State(server): Shared) -> Response {
    let (total, free) = memory();
    let stand_in = match server.simulation {
        None => StandIn::Embedded,
        Some(_) => StandIn::Simulated,
    };
    answers::json(&json!({
        "system": {
            "os": std::env::consts::OS,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": server.dialect.version.unwrap_or(Version::REFERENCE).to_string(),
            "required_frontend_version": null,
            "installed_templates_version": null,
            "required_templates_version": null,
            "comfy_package_versions": [],
            "python_version": "none",
            "pytorch_version": "none",
            "embedded_python": false,
            "deploy_environment": format!("{}{}", stand_in.mark(), env!("CARGO_PKG_VERSION")),
            "argv": [],
        },
        "devices": [{
            "name": "cpu",
            "type": "cpu",
            "index": null,
            "vram_total": total,
            "vram_free": free,
            "torch_vram_total": total,
            "torch_vram_free": free,
        }],
    }))
}

/// Total and available memory in bytes, where the system tells; else zeros.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    };
    (line("MemTotal:"), line("MemAvailable:"))
}
