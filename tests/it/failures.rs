//! What a run says when a step fails, whoever is to blame: exact texts, against the real server or one that misbehaves on purpose.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::support::{CARD, Done, Project, Running, Server, settled, slow};

const PIPELINE: &str = "steps:\n  card:\n    workflow: card.json\n";

fn project(workflow: &str, pipeline: &str) -> Project {
    Project::of(&[("card.json", workflow), ("pipeline.yaml", pipeline)])
}

fn told(project: &Project, done: &Done) -> String {
    settled(&done.stderr, project.path())
}

/// A server that takes every job and does with it what its script says.
struct Fake {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone, Default)]
struct Script {
    /// Answers `GET /api/system_stats`.
    stats: Option<(u16, &'static str)>,
    /// Answers `POST /api/prompt`.
    prompt: Option<(u16, Value)>,
    /// What a job's record says; without one, jobs are forgotten at once.
    record: Option<Value>,
    /// Answers `GET /api/view`.
    view: Option<u16>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/api/system_stats", get(stats))
            .route("/api/object_info/{class}", get(class))
            .route("/api/prompt", post(prompt))
            .route("/api/history/{id}", get(history))
            .route(
                "/api/queue",
                get(async || Json(json!({ "queue_running": [], "queue_pending": [] }))),
            )
            .route("/api/view", get(view))
            .with_state(script);
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self {
            url,
            _runtime: runtime,
        }
    }
}

async fn stats(State(script): State<Script>) -> Response {
    if let Some((status, body)) = script.stats {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    Json(json!({ "system": { "comfyui_version": "0.33.0", "os": "posix" }, "devices": [] }))
        .into_response()
}

async fn class(Path(class): Path<String>) -> Json<Value> {
    let int = |default: i64| json!(["INT", { "default": default, "min": 0, "max": 0xff_ffff }]);
    Json(match class.as_str() {
        "EmptyImage" => json!({ "EmptyImage": {
            "input": { "required": { "width": int(512), "height": int(512), "batch_size": int(1), "color": int(0) } },
            "output": ["IMAGE"], "output_is_list": [false], "output_name": ["IMAGE"], "name": "EmptyImage",
            "display_name": "EmptyImage", "category": "image", "output_node": false,
        } }),
        "SaveImage" => json!({ "SaveImage": {
            "input": { "required": { "images": ["IMAGE"], "filename_prefix": ["STRING", { "default": "ComfyUI" }] } },
            "output": [], "output_is_list": [], "output_name": [], "name": "SaveImage",
            "display_name": "Save Image", "category": "image", "output_node": true,
        } }),
        _ => json!({}),
    })
}

async fn prompt(State(script): State<Script>, Json(body): Json<Value>) -> Response {
    if let Some((status, answer)) = script.prompt {
        return (StatusCode::from_u16(status).unwrap(), Json(answer)).into_response();
    }
    let id = body["prompt_id"].as_str().unwrap().to_owned();
    script.seen.lock().unwrap().push(id.clone());
    Json(json!({ "prompt_id": id, "number": 0, "node_errors": {} })).into_response()
}

async fn history(State(script): State<Script>, Path(id): Path<String>) -> Json<Value> {
    match script.record {
        Some(record) if script.seen.lock().unwrap().contains(&id) => Json(json!({ id: record })),
        _ => Json(json!({})),
    }
}

async fn view(State(script): State<Script>) -> Response {
    let status = script.view.map_or(StatusCode::OK, |status| {
        StatusCode::from_u16(status).unwrap()
    });
    (status, Body::from("not a picture")).into_response()
}

fn record(status: &str, outputs: &Value, messages: &Value) -> Value {
    json!({
        "prompt": [0, "id", {}, {}, ["9"]],
        "outputs": outputs,
        "status": { "status_str": status, "completed": status == "success", "messages": messages },
        "meta": {},
    })
}

/// What a run of the card says on a server with this script.
fn on(script: Script, code: i32) -> String {
    let fake = Fake::start(script);
    let project = project(CARD, PIPELINE);
    let done = project
        .kiln(&["run", "pipeline.yaml", "--server", &fake.url])
        .code(code);
    assert_eq!(done.stdout, "");
    told(&project, &done)
}

#[test]
fn a_key_of_set_that_means_two_nodes() {
    let two = CARD.replace(
        "  \"9\": {",
        "  \"2\": { \"class_type\": \"EmptyImage\", \"inputs\": {}, \"_meta\": { \"title\": \"Other\" } },\n  \"9\": {",
    );
    let project = project(
        &two,
        "steps:\n  card:\n    workflow: card.json\n    set:\n      EmptyImage: { width: 32 }\n",
    );
    let done = project.kiln(&["run", "pipeline.yaml"]).code(3);
    insta::assert_snapshot!(told(&project, &done));
}

#[test]
fn a_node_that_fails() {
    let project = project(&CARD.replace("\"card\"", "\"../card\""), PIPELINE);
    let done = project.kiln(&["run", "pipeline.yaml"]).code(4);
    insta::assert_snapshot!(told(&project, &done));
}

#[test]
fn a_node_that_runs_out_of_memory() {
    let messages = json!([["execution_start", {}], ["execution_error", {
        "prompt_id": "x", "node_id": "1", "node_type": "EmptyImage", "executed": [],
        "exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory. Tried to allocate 20.00 GiB.\n",
        "traceback": ["  File \"/srv/nodes.py\"\n"], "current_inputs": {}, "current_outputs": [], "timestamp": 1,
    }]]);
    insta::assert_snapshot!(on(
        Script {
            record: Some(record("error", &json!({}), &messages)),
            ..Script::default()
        },
        4
    ));
}

#[test]
fn a_job_that_the_server_refuses_although_it_passed_the_check() {
    let answer = json!({
        "error": { "type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "", "extra_info": {} },
        "node_errors": { "1": {
            "errors": [{ "type": "value_bigger_than_max", "message": "Value 64 bigger than max of 32", "details": "width", "extra_info": { "input_name": "width" } }],
            "dependent_outputs": ["9"], "class_type": "EmptyImage",
        } },
    });
    insta::assert_snapshot!(on(
        Script {
            prompt: Some((400, answer)),
            ..Script::default()
        },
        4
    ));
}

#[test]
fn a_job_that_the_server_forgets_again_and_again() {
    insta::assert_snapshot!(on(Script::default(), 4));
}

#[test]
fn a_job_that_somebody_else_interrupted() {
    let messages = json!([["execution_start", {}], ["execution_interrupted", {
        "prompt_id": "x", "node_id": "1", "node_type": "EmptyImage", "executed": [], "timestamp": 1,
    }]]);
    insta::assert_snapshot!(on(
        Script {
            record: Some(record("error", &json!({}), &messages)),
            ..Script::default()
        },
        4
    ));
}

#[test]
fn a_result_that_the_server_does_not_hand_out() {
    let outputs = json!({ "9": { "images": [{ "filename": "card_00001_.png", "subfolder": "", "type": "output" }] } });
    insta::assert_snapshot!(on(
        Script {
            record: Some(record("success", &outputs, &json!([]))),
            view: Some(403),
            ..Script::default()
        },
        5
    ));
}

#[test]
fn a_job_that_leaves_nothing_although_a_step_needs_it() {
    let fake = Fake::start(Script {
        record: Some(record("success", &json!({}), &json!([]))),
        ..Script::default()
    });
    let project = project(
        CARD,
        "steps:\n  card:\n    workflow: card.json\n  next:\n    workflow: card.json\n    set:\n      Card: { color: \"{{ steps.card.files | length }}\" }\n",
    );
    let done = project
        .kiln(&["run", "pipeline.yaml", "--server", &fake.url])
        .code(4);
    insta::assert_snapshot!(told(&project, &done));
}

#[test]
fn a_server_that_wants_to_know_who_is_there() {
    insta::assert_snapshot!(on(
        Script {
            stats: Some((401, "{\"error\": \"login first\"}")),
            ..Script::default()
        },
        5
    ));
}

#[test]
fn two_results_that_want_one_name() {
    let two = CARD.replace(
        "  \"9\": {",
        "  \"8\": { \"class_type\": \"SaveImage\", \"inputs\": { \"images\": [\"1\", 0], \"filename_prefix\": \"b\" } },\n  \"9\": {",
    );
    let project = project(
        &two,
        "steps:\n  card:\n    workflow: card.json\n    save_as: final\n",
    );
    let done = project.kiln(&["run", "pipeline.yaml"]).ok();
    assert_eq!(done.stdout.lines().count(), 2, "{}", done.stdout);
    insta::assert_snapshot!(told(&project, &done));
}

#[test]
fn a_damaged_state() {
    let project = project(CARD, PIPELINE);
    project.file(
        ".kiln/kiln.db",
        "this is no database, and long enough to be looked at as one".repeat(40),
    );
    let done = project.kiln(&["run", "pipeline.yaml"]).code(7);
    insta::assert_snapshot!(told(&project, &done));
}

#[test]
fn outputs_that_another_kiln_is_writing() {
    let server = Server::start(&[]);
    let project = project(&slow(1, 30).to_string(), PIPELINE);
    let args = ["pipeline.yaml", "--server", &server.url];
    let mut first = Running::start(&project, &args);
    first.until("run_started");
    let done = project
        .kiln(&["run", "pipeline.yaml", "--server", &server.url])
        .code(7);
    let text = told(&project, &done).replace(&first.child.id().to_string(), "[pid]");
    insta::assert_snapshot!(
        text.lines()
            .map(without_host)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

fn without_host(line: &str) -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    match host.trim() {
        "" => line.to_owned(),
        host => line.replace(host, "[host]"),
    }
}
