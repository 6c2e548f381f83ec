//! A server whose worker has died while everything else of it lives on: it takes jobs, says that one runs, even that it cancelled it, and
//! nothing ever runs again. Its log tells.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::between::{self, Reply};
use super::wire::{Answer, Request};
use crate::proofs::{assert_right, two_by};
use crate::support::{Project, Server, settled};

/// As Python tells of it: in pieces.
const LOG: [&str; 5] = [
    "got prompt\n",
    "Exception in thread ",
    "Thread-4 (prompt_worker)",
    ":\nTraceback (most recent call last):\n  File \"main.py\", line 305, in prompt_worker\n",
    "KeyError: 'inputs'\n",
];

fn ok(body: &Value) -> Reply {
    Reply::Own(Answer::of(200, "application/json", &body.to_string()))
}

/// What it answers to whatever concerns jobs; the rest is a living server's.
fn answer(request: &Request, taken: &Mutex<Vec<String>>) -> Reply {
    let path = request.target().split('?').next().unwrap_or_default();
    let mut taken = taken.lock().unwrap();
    let tuple = |id: &String| json!([1, id, {}, {}, []]);
    if request.line.starts_with("POST ") && path == "/api/prompt" {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let id = body["prompt_id"].as_str().unwrap().to_owned();
        taken.push(id.clone());
        return ok(&json!({"prompt_id": id, "number": taken.len(), "node_errors": {}}));
    }
    if path.ends_with("/cancel") {
        return ok(&json!({"cancelled": true}));
    }
    if path == "/internal/logs/raw" {
        let entries: Vec<Value> = LOG.iter().map(|m| json!({"t": "now", "m": m})).collect();
        return ok(&json!({"entries": entries, "size": {"cols": 80, "rows": 24}}));
    }
    if path == "/api/queue" {
        let running: Vec<Value> = taken.iter().take(1).map(tuple).collect();
        let pending: Vec<Value> = taken.iter().skip(1).map(tuple).collect();
        return ok(&json!({"queue_running": running, "queue_pending": pending}));
    }
    if let Some(id) = path.strip_prefix("/api/jobs/") {
        return match taken.iter().position(|other| other == id) {
            Some(0) => ok(&json!({"id": id, "status": "in_progress"})),
            Some(_) => ok(&json!({"id": id, "status": "pending"})),
            None => Reply::Own(Answer::of(
                404,
                "application/json",
                "{\"error\":\"Job not found\"}",
            )),
        };
    }
    Reply::Pass
}

/// The address of one, and the living server behind it.
fn dead() -> (String, Server) {
    let server = Server::start(&[]);
    let taken = Mutex::new(Vec::new());
    let script = move |request: &Request| answer(request, &taken);
    (between::start(&server.url, Box::new(script)), server)
}

#[test]
fn a_dead_worker_is_named_with_what_its_log_says() {
    let (url, behind) = dead();
    let project = Project::of(&[("p.yaml", "steps:\n  one: { workflow: card.json }\n")]);
    project.file("card.json", crate::support::CARD);
    let done = project.kiln(&["run", "p.yaml", "--server", &url]);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    assert_eq!(done.code, 4);
    assert_eq!(behind.carried_out("card"), 0);
}

#[test]
fn the_jobs_of_a_dead_worker_go_to_another_server_of_its_pool() {
    let (url, behind) = dead();
    let alive = Server::start(&[]);
    let project = two_by(4, 40);
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  farm: {{ urls: [\"{url}\", \"{}\"], max_jobs: 2 }}\ndefault_server: farm\n",
            alive.url
        ),
    );
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says("prompt_worker");
    assert_right(&project.path().join("outputs/p/latest"), 4);
    let did = |prefix: &str| (alive.carried_out(prefix), behind.carried_out(prefix));
    assert_eq!((did("draw"), did("invert")), ((4, 0), (4, 0)));
}
