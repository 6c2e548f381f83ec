//! Queue, jobs and history in the Cloud's shapes, and stopping jobs.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::access::{missing, refusal};
use super::routes::Cloud;
use crate::base::ContentHash;
use crate::embedded::answers::json;
use crate::embedded::files::{Folder, inside};
use crate::embedded::history::{self, Ended};
use crate::embedded::jobs::{self, Filter};
use crate::embedded::queue::{Found, Job};
use crate::embedded::routes::{ids, object, truthy};

/// How many jobs a page has unless it is told otherwise, and at the most.
const PAGE: (usize, usize) = (100, 1000);

fn unknown() -> Response {
    missing("JOB_NOT_FOUND", "there is no such job")
}

fn bad(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
}

/// `[number, id, graph, output nodes, {create_time}]`.
fn tuple(job: &Job) -> Value {
    json!([
        job.number,
        job.id,
        job.graph,
        job.targets,
        { "create_time": job.created },
    ])
}

pub(super) async fn queue(State(cloud): State<Cloud>) -> Response {
    let (running, pending) = cloud.server.board.queued();
    let tuples = |jobs: &[Arc<Job>]| jobs.iter().map(|job| tuple(job)).collect::<Vec<_>>();
    json(&json!({
        "queue_running": tuples(&running),
        "queue_pending": tuples(&pending),
    }))
}

/// Unlike the local one, it stops what runs as well, and says what it did.
pub(super) async fn change_queue(State(cloud): State<Cloud>, request: Request) -> Response {
    let Ok(change) = object(request).await else {
        return bad("the body must be a JSON object");
    };
    let board = &cloud.server.board;
    let cleared = truthy(change.get("clear"));
    if cleared {
        for job in board.queued().1 {
            board.cancel_for_the_record(&job.id);
        }
    }
    let deleted: Vec<&str> = ids(change.get("delete"))
        .filter(|id| board.cancel_for_the_record(id))
        .collect();
    json(&json!({ "deleted": deleted, "cleared": cleared }))
}

/// Stops the oldest job that runs, whatever the body says.
pub(super) async fn interrupt(State(cloud): State<Cloud>) -> Response {
    if let Some(job) = cloud.server.board.queued().0.first() {
        cloud.server.board.cancel_for_the_record(&job.id);
    }
    json(&json!({}))
}

pub(super) async fn cancel(State(cloud): State<Cloud>, Path(id): Path<String>) -> Response {
    if cloud.server.board.find(&id).is_none() {
        return unknown();
    }
    json(&json!({ "cancelled": cloud.server.board.cancel_for_the_record(&id) }))
}

pub(super) async fn cancel_all(State(cloud): State<Cloud>, request: Request) -> Response {
    let Ok(request) = object(request).await else {
        return bad("the body must be a JSON object");
    };
    let wanted: Vec<&str> = ids(request.get("job_ids")).collect();
    if wanted.is_empty() || wanted.len() > 100 {
        return bad("`job_ids` must hold 1 to 100 ids");
    }
    let cancelled: Vec<&str> = wanted
        .into_iter()
        .filter(|id| cloud.server.board.cancel_for_the_record(id))
        .collect();
    json(&json!({ "cancelled": cancelled }))
}

/// The list of jobs. It sorts by other words than the local one, and its pages have a limit.
pub(super) async fn list(
    State(cloud): State<Cloud>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Response {
    match query.get("sort_by").map(String::as_str) {
        None => {}
        Some("create_time") => drop(query.insert("sort_by".into(), "created_at".into())),
        Some("execution_time") => {
            drop(query.insert("sort_by".into(), "execution_duration".into()));
        }
        Some(_) => return bad("sort_by must be 'create_time' or 'execution_time'"),
    }
    let limit = match query.get("limit").map(|limit| limit.parse::<usize>()) {
        None => PAGE.0,
        Some(Ok(limit)) if (1..=PAGE.1).contains(&limit) => limit,
        Some(_) => return bad("limit must be 1 to 1000"),
    };
    query.insert("limit".into(), limit.to_string());
    if let Some(after) = query.remove("after") {
        query.insert("offset".into(), after);
    }
    let filter = match Filter::read(&query) {
        Ok(filter) => filter,
        Err(error) => return bad(&error),
    };
    let mut page = filter.list(&cloud.server.board.snapshot());
    let number = |name: &str| page["pagination"][name].as_u64().unwrap_or(0);
    let next = number("offset") + number("limit");
    if page["pagination"]["has_more"] == true {
        page["pagination"]["next_cursor"] = json!(next.to_string());
    }
    json(&page)
}

pub(super) async fn job(State(cloud): State<Cloud>, Path(id): Path<String>) -> Response {
    let Some(found) = cloud.server.board.find(&id) else {
        return unknown();
    };
    let mut detail = jobs::detail(&found);
    let updated = detail.get("execution_end_time").cloned();
    detail["update_time"] = updated.unwrap_or_else(|| detail["create_time"].clone());
    detail["user_id"] = json!(cloud.account.user());
    detail["workspace_id"] = json!("workspace");
    if let Found::Ended(ended) = &found {
        detail["execution_meta"] = ended.to_json()["meta"].clone();
    }
    json(&detail)
}

/// Where a job stands, in words of its own.
pub(super) async fn status(State(cloud): State<Cloud>, Path(id): Path<String>) -> Response {
    let (word, error) = match cloud.server.board.find(&id) {
        None => return unknown(),
        Some(Found::Pending(_)) => ("waiting_to_dispatch", None),
        Some(Found::Running(_)) => ("in_progress", None),
        Some(Found::Ended(ended)) => {
            let failure = ended.message("execution_error").cloned();
            match (ended.success, &failure) {
                (true, _) => ("completed", None),
                (false, Some(_)) => ("error", failure),
                (false, None) => ("cancelled", None),
            }
        }
    };
    json(
        &json!({ "id": id, "status": word, "error_message": error.map(|e| e["exception_message"].clone()) }),
    )
}

/// The record of an ended job; its prompt is an object.
fn entry(ended: &Ended) -> Map<String, Value> {
    let mut entry = match ended.to_json() {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let prompt = json!({
        "priority": ended.job.number,
        "prompt_id": ended.job.id,
        "extra_data": { "create_time": ended.job.created },
    });
    entry.insert("prompt".into(), prompt);
    entry
}

pub(super) async fn history(
    State(cloud): State<Cloud>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
    let mut ended = cloud.server.board.snapshot().ended;
    ended.reverse();
    let page = history::page(ended, number("max_items"), number("offset").unwrap_or(0));
    let entries: Vec<Map<String, Value>> = page
        .iter()
        .map(|ended| {
            let mut entry = entry(ended);
            entry.insert("prompt_id".into(), json!(ended.job.id));
            entry.insert("create_time".into(), json!(ended.job.created));
            entry
        })
        .collect();
    json(&json!({ "history": entries }))
}

pub(super) async fn one_history(State(cloud): State<Cloud>, Path(id): Path<String>) -> Response {
    let found = cloud.server.board.ended(&id);
    let one: Map<String, Value> = found
        .map(|ended| (id, Value::Object(entry(&ended))))
        .into_iter()
        .collect();
    json(&one)
}

/// The files of an ended job, each with the hash of its content.
pub(super) async fn assets(State(cloud): State<Cloud>, Path(id): Path<String>) -> Response {
    let Some(found) = cloud.server.board.find(&id) else {
        return unknown();
    };
    let mut assets = Vec::new();
    if let Found::Ended(ended) = found {
        for (node, output) in &ended.outputs {
            for (key, items) in output.as_object().into_iter().flatten() {
                let items = items.as_array().into_iter().flatten().enumerate();
                for (index, file) in items {
                    if let Some(hash) = hash(&cloud, file) {
                        assets.push(json!({
                            "node_id": node,
                            "output_key": key,
                            "output_index": index,
                            "hash": format!("blake3:{hash}"),
                            "name": file["filename"],
                        }));
                    }
                }
            }
        }
    }
    json(&json!({ "assets": assets }))
}

fn hash(cloud: &Cloud, file: &Value) -> Option<ContentHash> {
    let text = |name: &str| file.get(name).and_then(Value::as_str);
    let root = cloud.server.folders.path(Folder::named(text("type")?)?);
    let path = inside(&inside(&root, text("subfolder")?)?, text("filename")?)?;
    ContentHash::of_file(&path).ok().map(|(hash, _)| hash)
}
