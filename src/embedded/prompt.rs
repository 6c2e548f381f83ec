//! `POST /prompt`: from a request to a job in the queue, or to the reasons why not.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Number, Value, json};

use super::answers::{json_with, trouble};
use super::emulate;
use super::queue::Job;
use super::routes::{body, truthy};
use super::state::{Server, now_ms};
use crate::base::NodeId;
use crate::protocol::{Dialect, Ids};
use crate::workflow::verdict::{self, FileOracle, JudgeOptions};
use crate::workflow::{self, Graph};

/// What `extra_data` may hold that is never shown again.
const SECRETS: [&str; 2] = ["auth_token_comfy_org", "api_key_comfy_org"];

/// The handler.
pub(super) async fn submit(State(server): State<Arc<Server>>, request: Request) -> Response {
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let submitted = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(members)) => members,
        // A list or a text has no `prompt` in it; it is not looked at more closely.
        Ok(Value::Array(_) | Value::String(_)) => Map::new(),
        Ok(_) | Err(_) => return trouble(),
    };
    match accept(&server, submitted, None) {
        Ok(answer) => json_with(StatusCode::OK, &answer),
        Err(refusal) => refusal.into_response(),
    }
}

/// Why a prompt is not taken.
pub(super) enum Refusal {
    /// The server does not understand it.
    Trouble,
    /// 400 with a body.
    Invalid(Value),
}

impl Refusal {
    pub(super) fn into_response(self) -> Response {
        match self {
            Self::Trouble => trouble(),
            Self::Invalid(body) => json_with(StatusCode::BAD_REQUEST, &body),
        }
    }

    fn because(kind: &str, message: &str, details: &str) -> Self {
        Self::Invalid(json!({
            "error": {
                "type": kind,
                "message": message,
                "details": details,
                "extra_info": {},
            },
            "node_errors": {},
        }))
    }
}

/// Takes a prompt in. The body of the answer; with a `fault`, its first node raises that exception.
pub(super) fn accept(
    server: &Server,
    mut submitted: Map<String, Value>,
    fault: Option<&'static str>,
) -> Result<Value, Refusal> {
    let number = number(server, &submitted)?;
    let prompt = submitted
        .remove("prompt")
        .ok_or_else(|| Refusal::because("no_prompt", "No prompt provided", "No prompt provided"))?;
    let id = id(submitted.get("prompt_id"), &server.dialect)?;
    let graph = workflow::from_request(prompt).map_err(|_| Refusal::Trouble)?;
    let targets = targets(submitted.get("partial_execution_targets"), &graph);
    let created = now_ms();
    let extra_data = extra_data(&mut submitted, created, &server.dialect)?;
    let catalog = server.catalog_for(&graph);
    let verdict = verdict::judge(
        &graph,
        &catalog,
        &JudgeOptions {
            targets: targets.as_deref(),
            files: &Files(server),
        },
    );
    let mut answer = emulate::answer(&server.dialect, &verdict);
    if let Some(refused) = emulate::dynamic(&server.dialect, &graph, &catalog, &verdict.runs) {
        answer = refused;
    }
    if answer.get("error").is_some() {
        return Err(Refusal::Invalid(answer));
    }
    answer["prompt_id"] = json!(id);
    answer["number"] = json!(number);
    server.board.put(Arc::new(Job {
        number,
        id,
        graph: verdict.coerced,
        extra_data,
        targets: verdict.runs,
        created,
        interrupt: AtomicBool::new(false),
        node: Mutex::new(None),
        fault,
    }));
    Ok(answer)
}

/// The place in the queue: as asked for, or the next of the counter, negative for the front.
fn number(server: &Server, submitted: &Map<String, Value>) -> Result<Number, Refusal> {
    let Some(asked) = submitted.get("number") else {
        let next = server.board.number();
        let front = truthy(submitted.get("front"));
        return Ok(if front { -next } else { next }.into());
    };
    let number = match asked {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    };
    number.and_then(Number::from_f64).ok_or(Refusal::Trouble)
}

/// The id that the client chose, where it may, or a new one.
fn id(asked: Option<&Value>, dialect: &Dialect) -> Result<String, Refusal> {
    match asked.filter(|_| dialect.ids == Ids::Ours) {
        None | Some(Value::Null) => Ok(uuid::Uuid::new_v4().to_string()),
        Some(Value::String(id)) if !dialect.uuids || is_id(&json!(id)) => Ok(id.clone()),
        Some(other) if !dialect.uuids => Ok(other.to_string()),
        Some(_) => Err(Refusal::because(
            "invalid_prompt_id",
            "prompt_id must be a valid UUID",
            "prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one",
        )),
    }
}

/// Whether a value is a UUID in its canonical form: lower case, with hyphens.
pub(super) fn is_id(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        uuid::Uuid::try_parse(text).is_ok_and(|uuid| uuid.hyphenated().to_string() == text)
    })
}

/// The output nodes to run; a text names all whose id is in it.
fn targets(asked: Option<&Value>, graph: &Graph) -> Option<Vec<NodeId>> {
    match asked? {
        Value::Array(ids) => Some(
            ids.iter()
                .filter_map(Value::as_str)
                .map(NodeId::from)
                .collect(),
        ),
        Value::String(text) => Some(
            graph
                .nodes
                .keys()
                .filter(|id| text.contains(id.as_str()))
                .cloned()
                .collect(),
        ),
        _ => None,
    }
}

fn extra_data(
    submitted: &mut Map<String, Value>,
    created: i64,
    dialect: &Dialect,
) -> Result<Map<String, Value>, Refusal> {
    let mut extra = match submitted.remove("extra_data") {
        None => Map::new(),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Refusal::Trouble),
    };
    for secret in SECRETS {
        extra.shift_remove(secret);
    }
    if let Some(client) = submitted.remove("client_id") {
        extra.insert("client_id".into(), client);
    }
    if dialect.jobs {
        extra.insert("create_time".into(), json!(created));
    }
    Ok(extra)
}

/// Which input files there are.
struct Files<'a>(&'a Server);

impl FileOracle for Files<'_> {
    fn exists(&self, _class: &str, _input: &str, value: &str) -> Option<bool> {
        let path = self.0.folders.annotated(value);
        Some(path.is_some_and(|path| path.is_file()))
    }
}
