//! The rest of the API: lists of jobs, orders, facts, files of the user, masks, the Manager.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, any};
use serde_json::{Value, json};

use super::fake::{client, serve};
use crate::base::ServerName;
use crate::client::{
    Access, Client, ClientError, InstallError, Installing, JobQuery, JobSort, Memory, ModelWish,
};
use crate::protocol::{Dialect, FileRef, Flavour, JobStatus, Version};

type Answer = (&'static str, u16, String);

/// Answers by `METHOD /path`; each but the last of a path is given once.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Script {
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(line, _)| line.clone()).collect()
    }

    /// The bodies that were sent to a path.
    fn sent(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let here = asked.iter().filter(|(line, _)| line == path);
        here.map(|(_, body)| body.clone()).collect()
    }
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let path = line.split('?').next().unwrap().to_owned();
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    script.asked.lock().unwrap().push((line, body));
    let mut answers = script.answers.lock().unwrap();
    let found = answers.iter().position(|(known, ..)| *known == path);
    let Some(at) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let more = answers
        .iter()
        .skip(at + 1)
        .any(|(known, ..)| *known == path);
    let (_, status, text) = if more {
        answers.remove(at)
    } else {
        answers[at].clone()
    };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), kind, text).into_response()
}

async fn scripted(answers: Vec<(&'static str, u16, Value)>) -> (String, Script) {
    let answers = answers
        .into_iter()
        .map(|(path, status, value)| match value {
            Value::Null => (path, status, String::new()),
            value => (path, status, value.to_string()),
        })
        .collect();
    let script = Script {
        answers: Arc::new(Mutex::new(answers)),
        ..Script::default()
    };
    let router = Router::new()
        .fallback(any(answer))
        .with_state(script.clone());
    (serve(router).await, script)
}

async fn local(answers: Vec<(&'static str, u16, Value)>) -> (Client, Script) {
    let (url, script) = scripted(answers).await;
    let client = client(&url);
    client.learn(Dialect::comfy(Some(Version::REFERENCE)));
    (client, script)
}

async fn cloud(answers: Vec<(&'static str, u16, Value)>) -> (Client, Script) {
    let (url, script) = scripted(answers).await;
    let access = Access {
        flavour: Flavour::Cloud,
        ..Access::default()
    };
    let client = Client::with_access(ServerName::from("cloud"), &url, access).unwrap();
    (client, script)
}

fn queue() -> Value {
    json!({
        "queue_running": [[7, "r", {"1": {"class_type": "EmptyImage", "inputs": {}}}, {"create_time": 5}, ["1"]]],
        "queue_pending": [[9, "b", {}, {}, []], [8, "a", {}, {}, []]],
    })
}

#[tokio::test]
async fn jobs_are_asked_for_in_the_words_of_each_dialect() {
    let page = json!({"jobs": [{"id": "a", "status": "pending"}], "pagination": {"total": 1, "has_more": false}});
    let query = JobQuery {
        statuses: vec![JobStatus::Pending, JobStatus::Running],
        sort: JobSort::Duration,
        ascending: true,
        limit: 5000,
        offset: 20,
        ..JobQuery::default()
    };
    let (here, asked) = local(vec![("GET /api/jobs", 200, page.clone())]).await;
    assert_eq!(here.jobs(&query).await.unwrap().jobs.len(), 1);
    assert_eq!(
        asked.asked(),
        [
            "GET /api/jobs?status=pending%2Cin_progress&sort_by=execution_duration&sort_order=asc&limit=1000&offset=20"
        ]
    );
    let (there, asked) = cloud(vec![("GET /api/jobs", 200, page)]).await;
    let next = JobQuery {
        sort: JobSort::Created,
        after: Some("x".to_owned()),
        ..query
    };
    there.jobs(&next).await.unwrap();
    assert_eq!(
        asked.asked(),
        [
            "GET /api/jobs?status=pending%2Cin_progress&sort_by=create_time&sort_order=asc&limit=1000&after=x"
        ]
    );
}

#[tokio::test]
async fn where_jobs_cannot_be_listed_queue_and_history_are_put_together() {
    let history = json!({"h": {"prompt": [1, "h", {}, {"create_time": 3}, []], "outputs": {},
        "status": {"status_str": "error", "messages": [["execution_interrupted", {"timestamp": 4}]]}}});
    let (client, _) = local(vec![]).await;
    assert!(
        client.jobs(&JobQuery::default()).await.is_err(),
        "the route is missing"
    );
    let (url, _script) = scripted(vec![
        ("GET /api/queue", 200, queue()),
        ("GET /api/history", 200, history),
    ])
    .await;
    let old = super::fake::client(&url);
    let page = old.jobs(&JobQuery::default()).await.unwrap();
    let found: Vec<_> = page.jobs.iter().map(|job| (&*job.id, job.status)).collect();
    assert_eq!(
        found[..2],
        [("r", JobStatus::Running), ("h", JobStatus::Cancelled)]
    );
    assert_eq!((page.total, page.more), (Some(4), false));
    let one = JobQuery {
        statuses: vec![JobStatus::Pending],
        limit: 1,
        ..JobQuery::default()
    };
    let page = old.jobs(&one).await.unwrap();
    assert_eq!((page.jobs.len(), page.total, page.more), (1, Some(2), true));
}

#[tokio::test]
async fn the_history_is_never_asked_for_without_a_bound() {
    let (here, asked) = local(vec![("GET /api/history", 200, json!({}))]).await;
    assert!(here.history(0).await.unwrap().is_empty());
    assert_eq!(asked.asked(), ["GET /api/history?max_items=1"]);
    let list = json!({"history": [{"prompt_id": "a", "status": "failed"}]});
    let (there, asked) = cloud(vec![("GET /api/history_v2", 200, list)]).await;
    let items = there.history(u32::MAX).await.unwrap();
    assert_eq!(asked.asked(), ["GET /api/history_v2?max_items=1000"]);
    assert!(matches!(
        items[0].verdict,
        crate::protocol::Verdict::Failed(_)
    ));
}

#[tokio::test]
async fn clearing_names_the_waiting_jobs_and_leaves_the_running_one() {
    let after = json!({"queue_running": [[8, "a", {}, {}, []]], "queue_pending": []});
    let (client, asked) = local(vec![
        ("GET /api/queue", 200, queue()),
        ("GET /api/queue", 200, queue()),
        ("GET /api/queue", 200, after),
        ("POST /api/queue", 200, Value::Null),
    ])
    .await;
    let removed = client.clear_queue().await.unwrap();
    assert_eq!(asked.sent("POST /api/queue"), [r#"{"delete":["a","b"]}"#]);
    assert_eq!(removed, ["b"], "`a` began to run in between, and goes on");
}

#[tokio::test]
async fn where_deleting_stops_running_jobs_each_is_looked_at_again() {
    let runs = json!({"queue_running": [[8, "a"]], "queue_pending": [[9, "b"]]});
    let waits = json!({"queue_running": [[7, "r"]], "queue_pending": [[8, "a"], [9, "b"]]});
    let (client, asked) = cloud(vec![
        ("GET /api/queue", 200, waits.clone()),
        ("GET /api/queue", 200, waits),
        ("GET /api/queue", 200, runs),
        ("POST /api/jobs/b/cancel", 200, json!({"cancelled": true})),
    ])
    .await;
    assert_eq!(client.clear_queue().await.unwrap(), ["b"]);
    let posts: Vec<_> = asked
        .asked()
        .into_iter()
        .filter(|l| l.starts_with("POST"))
        .collect();
    assert_eq!(
        posts,
        ["POST /api/jobs/b/cancel"],
        "neither `a`, which runs now, nor `r`"
    );
}

#[tokio::test]
async fn only_the_job_that_runs_is_interrupted_and_only_when_it_is_meant() {
    let (client, asked) = local(vec![
        ("GET /api/queue", 200, queue()),
        ("POST /api/jobs/r/cancel", 200, json!({"cancelled": true})),
    ])
    .await;
    assert!(!client.interrupt(Some("a")).await.unwrap(), "it waits");
    assert!(client.interrupt(None).await.unwrap());
    let posts: Vec<_> = asked
        .asked()
        .into_iter()
        .filter(|l| l.starts_with("POST"))
        .collect();
    assert_eq!(posts, ["POST /api/jobs/r/cancel"]);
    let (url, asked) = scripted(vec![
        ("GET /api/queue", 200, queue()),
        ("POST /api/interrupt", 200, Value::Null),
    ])
    .await;
    let old = super::fake::client(&url);
    assert!(old.interrupt(Some("r")).await.unwrap());
    assert_eq!(asked.sent("POST /api/interrupt"), [r#"{"prompt_id":"r"}"#]);
}

#[tokio::test]
async fn memory_and_history_are_emptied_as_far_as_is_asked() {
    let (here, asked) = local(vec![
        ("POST /api/free", 200, Value::Null),
        ("POST /api/history", 200, Value::Null),
    ])
    .await;
    let models = Memory {
        models: true,
        results: false,
    };
    assert!(here.empty_memory(models).await.unwrap());
    assert_eq!(
        asked.sent("POST /api/free"),
        [r#"{"unload_models":true,"free_memory":false}"#]
    );
    here.delete_history(&[]).await.unwrap();
    here.delete_history(&["x".to_owned()]).await.unwrap();
    here.clear_history().await.unwrap();
    assert_eq!(
        asked.sent("POST /api/history"),
        [r#"{"delete":["x"]}"#, r#"{"clear":true}"#]
    );
    let (there, asked) = cloud(vec![]).await;
    assert!(!there.empty_memory(models).await.unwrap());
    assert!(asked.asked().is_empty(), "it is not ours to empty");
}

#[tokio::test]
async fn what_a_server_tells_of_itself_is_read_with_whatever_is_missing() {
    let (client, _) = local(vec![
        ("GET /api/system_stats", 200, json!({"system": {"os": "linux", "ram_free": 7, "argv": ["main.py", 3]},
            "devices": [{"name": "cpu", "type": "cpu", "index": null}, "odd"]})),
        ("GET /api/features", 200, json!({"assets": false})),
        ("GET /api/embeddings", 200, json!(["easy", 1])),
        ("GET /api/settings", 200, json!({"a": 1})),
        ("GET /api/settings/b.c", 200, json!(3)),
        ("POST /api/settings/b.c", 200, Value::Null),
        ("GET /api/users", 200, json!({"storage": "server", "users": {"u1": "Ada"}})),
        ("GET /api/node_replacements", 200, json!({"Old": [{"new_node_id": "New", "input_mapping": [{"new_id": "a", "old_id": "b"}]}, 7]})),
        ("GET /api/view_metadata/loras", 200, json!({"ss_steps": "12"})),
        ("GET /internal/logs/raw", 200, json!({"entries": [{"t": "now", "m": "one\n"}, {}], "size": null})),
        ("GET /internal/files/output", 200, json!(["a.png [output]"])),
    ])
    .await;
    let system = client.system().await.unwrap();
    assert_eq!(
        (system.os.as_deref(), system.ram_free),
        (Some("linux"), Some(7))
    );
    assert_eq!((system.argv.len(), system.devices.len()), (1, 1));
    assert_eq!(client.features().await.unwrap()["assets"], false);
    assert_eq!(client.embeddings().await.unwrap(), ["easy"]);
    assert_eq!(client.settings().await.unwrap()["a"], 1);
    assert_eq!(client.setting("b.c").await.unwrap(), 3);
    client.set_setting("b.c", &json!(4)).await.unwrap();
    assert_eq!(client.users().await.unwrap().unwrap()["u1"], "Ada");
    assert_eq!(client.account().await.unwrap(), None);
    let replaced = client.node_replacements().await.unwrap();
    assert_eq!(replaced["Old"][0].new_node_id, "New");
    let metadata = client
        .model_metadata("loras", "x.safetensors")
        .await
        .unwrap();
    assert_eq!(metadata.unwrap()["ss_steps"], "12");
    assert_eq!(client.model_metadata("vae", "x").await.unwrap(), None);
    assert_eq!(client.logs().await.unwrap(), ["one\n"]);
    assert_eq!(client.files("output").await.unwrap(), ["a.png [output]"]);
    assert!(client.extensions().await.is_err());
}

#[tokio::test]
async fn an_older_server_without_replacements_has_none() {
    let (client, _) = local(vec![(
        "GET /api/users",
        200,
        json!({"storage": "server", "migrated": true}),
    )])
    .await;
    assert!(client.node_replacements().await.unwrap().is_empty());
    assert_eq!(client.users().await.unwrap(), None);
}

#[tokio::test]
async fn the_doorway_tells_clock_and_proxy() {
    let here = || async {
        let then = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        let head = [
            (header::DATE, httpdate::fmt_http_date(then)),
            (header::SERVER, "nginx/1.25".to_owned()),
        ];
        (head, "{}")
    };
    let client = client(&serve(Router::new().route("/api/prompt", any(here))).await);
    let door = client.doorway().await.unwrap();
    assert_eq!(door.proxy.as_deref(), Some("nginx/1.25"));
    assert!((3590..=3601).contains(&door.ahead.unwrap()), "{door:?}");
}

#[tokio::test]
async fn files_of_the_user_are_named_in_one_segment() {
    let (client, asked) = local(vec![
        ("GET /api/userdata", 200, json!([{"path": "a.json", "size": 3, "modified": 1.5, "created": 1}, "b.json", ["c/d.json", "c", "d.json"]])),
        ("GET /api/userdata/workflows%2Fa%20b.json", 200, json!({"x": 1})),
        ("POST /api/userdata/workflows%2Fa%20b.json", 200, json!({"path": "workflows/a b.json", "size": 2})),
        ("POST /api/userdata/old/move/workflows%2Fnew", 409, json!("exists")),
        ("DELETE /api/userdata/a", 204, Value::Null),
    ])
    .await;
    let files = client.userdata("workflows").await.unwrap();
    let paths: Vec<_> = files.iter().map(|file| &*file.path).collect();
    assert_eq!(paths, ["a.json", "b.json", "c/d.json"]);
    let name = "workflows/a b.json";
    assert_eq!(
        client.userdata_get(name).await.unwrap().unwrap(),
        br#"{"x":1}"#
    );
    assert_eq!(client.userdata_get("none").await.unwrap(), None);
    let put = client.userdata_put(name, "{}".into(), true).await.unwrap();
    assert_eq!(put.unwrap().size, Some(2));
    let moved = client.userdata_move("old", "workflows/new", false).await;
    assert_eq!(moved.unwrap(), None, "there is one already");
    assert!(client.userdata_delete("a").await.unwrap());
    assert!(!client.userdata_delete("b").await.unwrap());
    let put = asked
        .asked()
        .into_iter()
        .find(|line| line.starts_with("POST"));
    assert_eq!(
        put.unwrap(),
        "POST /api/userdata/workflows%2Fa%20b.json?overwrite=true&full_info=true"
    );
    let (none, _) = local(vec![]).await;
    assert!(none.userdata("nowhere").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_mask_counts_only_when_its_file_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mask.png");
    std::fs::write(&path, b"\x89PNG mask").unwrap();
    let original = FileRef {
        filename: "photo.png".to_owned(),
        subfolder: String::new(),
        folder: "input".to_owned(),
    };
    let taken = json!({"name": "m.png", "subfolder": "kiln", "type": "input"});
    let (client, asked) = local(vec![
        ("POST /api/upload/mask", 200, taken.clone()),
        ("GET /api/view", 200, json!("bytes")),
    ])
    .await;
    let uploaded = client
        .upload_mask(&path, "kiln/m.png", &original)
        .await
        .unwrap();
    assert_eq!((&*uploaded.subfolder, &*uploaded.name), ("kiln", "m.png"));
    let sent = asked.sent("POST /api/upload/mask").remove(0);
    for part in [
        "name=\"original_ref\"",
        r#"{"filename":"photo.png","subfolder":"","type":"input"}"#,
        "mask",
        "name=\"subfolder\"\r\n\r\nkiln",
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    let (client, _) = local(vec![("POST /api/upload/mask", 200, taken)]).await;
    let error = client
        .upload_mask(&path, "m.png", &original)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
}

fn state(total: u64, done: u64, busy: bool) -> Value {
    json!({"total_count": total, "done_count": done, "in_progress_count": u8::from(busy), "is_processing": busy})
}

fn model() -> ModelWish {
    ModelWish {
        url: "https://example.org/a.safetensors".to_owned(),
        folder: "loras".to_owned(),
        filename: "a.safetensors".to_owned(),
    }
}

#[tokio::test]
async fn a_manager_is_found_old_or_new_and_waited_for() {
    for (status, install, start) in [
        (
            "GET /api/manager/queue/status",
            "POST /api/manager/queue/install_model",
            "POST /api/manager/queue/start",
        ),
        (
            "GET /api/v2/manager/queue/status",
            "POST /api/v2/manager/queue/install_model",
            "POST /api/v2/manager/queue/start",
        ),
    ] {
        let (client, asked) = local(vec![
            (status, 200, state(0, 0, false)),
            (status, 200, state(1, 0, true)),
            (status, 200, state(1, 1, false)),
            (install, 200, Value::Null),
            (start, 200, Value::Null),
        ])
        .await;
        let manager = client.manager().await.unwrap();
        manager.install_model(&model()).await.unwrap();
        let sent: Value = serde_json::from_str(&asked.sent(install)[0]).unwrap();
        assert_eq!(
            (&sent["path"], &sent["filename"]),
            (&json!("loras"), &json!("a.safetensors"))
        );
        let mut told = Vec::new();
        let end = manager.run(|state| told.push(state)).await.unwrap();
        assert_eq!(told.len(), 2);
        let done = Installing {
            total: 1,
            done: 1,
            busy: false,
        };
        assert_eq!(end, done);
    }
}

#[tokio::test]
async fn a_manager_that_refuses_says_why() {
    let (none, _) = local(vec![]).await;
    assert!(matches!(none.manager().await, Err(InstallError::Absent)));
    let (client, asked) = local(vec![
        ("GET /api/manager/queue/status", 200, state(0, 0, false)),
        ("POST /api/manager/queue/install", 403, Value::Null),
        (
            "POST /api/manager/queue/install_model",
            400,
            json!({"error": "not in the list"}),
        ),
        ("GET /api/manager/queue/start", 200, Value::Null),
        ("POST /api/manager/queue/start", 405, Value::Null),
    ])
    .await;
    let manager = client.manager().await.unwrap();
    let refused = manager.install_nodes("https://example.org/pack").await;
    assert!(
        matches!(refused, Err(InstallError::Forbidden)),
        "{refused:?}"
    );
    let refused = manager.install_model(&model()).await;
    assert!(
        matches!(refused, Err(InstallError::NotListed(ref why)) if why == "not in the list"),
        "{refused:?}"
    );
    manager.run(|_| ()).await.unwrap();
    let asked = asked.asked();
    assert!(
        asked.contains(&"GET /api/manager/queue/start".to_owned()),
        "{asked:?}"
    );
}
