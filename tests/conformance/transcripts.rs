//! Recorded conversations with `ComfyUI`, replayed over plain JSON against the embedded server.
//!
//! What is left to chance (ids, times, counters, the tags of previews) or is the server's own business (tracebacks, words of exceptions,
//! printed tensors) is made equal first; all else must be: status and body of the answer, every message in its order, the record, the job.

use std::path::Path;

use kiln::catalog::Catalog;
use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value, json};

use crate::pixels::is_known;
use crate::server::{Answer, Running, next};

/// Conversations that the embedded server deliberately does not have, and why.
const DIFFERENT: [(&str, &str); 5] = [
    ("assets_loadimage_by_hash", "assets are off"),
    ("assets_saveimage", "assets are off"),
    (
        "m_same_graph_other_ids",
        "ComfyUI's record names ids of the earlier job",
    ),
    (
        "x_uncached_optional_extra_link",
        "ComfyUI's worker dies; here the job fails",
    ),
    (
        "partial_two_bad_outputs_dependents",
        "ComfyUI's order of outputs is chance",
    ),
];

/// Requests that the embedded server deliberately answers otherwise, or whose routes it does not have.
const OTHER_REQUESTS: [&str; 14] = [
    // Node replacements: the classes are refused by name.
    "replaced_node_no_meta",
    "replaced_node_T2IAdapter_no_meta",
    "replaced_node_T2IAdapter_with_meta",
    // Exceptions while validating a node without inputs; here it has none and that is told.
    "node_without_inputs_connected",
    // The words of another HTTP library.
    "ws_plain_get",
    "put_prompt",
    // No example picture in the input folder.
    "head_view",
    // Depends on which jobs there were.
    "jobs_limit1",
    // Settings and user data.
    "settings_post",
    "setting_post_id",
    "userdata_post",
    "userdata_get",
    "userdata_nooverwrite",
    "userdata_traversal",
];

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    let Some(fixtures) = fixtures else {
        return vec![Trial::test("transcripts", || Ok(())).with_ignored_flag(true)];
    };
    let catalog = kiln::embedded::catalog();
    let mut files: Vec<_> = std::fs::read_dir(fixtures.join("transcripts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let mut trials = Vec::new();
    for path in files {
        // Some hold NaN, which no JSON reader takes; their classes are not ours.
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(transcript) = serde_json::from_str::<Value>(&text) else {
            continue;
        };
        let name = transcript["case"].as_str().unwrap().to_owned();
        let different = DIFFERENT.iter().any(|(case, _)| *case == name);
        if is_ours(&transcript, &catalog) {
            let trial = Trial::test(format!("transcripts::{name}"), move || replay(&transcript));
            trials.push(trial.with_ignored_flag(different));
        }
    }
    let requests = fixtures.join("http/malformed_and_misc.json");
    let text = std::fs::read_to_string(requests).unwrap();
    let requests: Vec<Value> = serde_json::from_str(&text).unwrap();
    trials.push(Trial::test("transcripts::requests", move || {
        answers(&requests)
    }));
    let forms = fixtures.join("http/upload_raw_multipart.json");
    let forms: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(forms).unwrap()).unwrap();
    trials.push(Trial::test("transcripts::forms", move || uploads(&forms)));
    trials
}

/// Whether the server has all classes of a conversation, or refuses it for a class as `ComfyUI` did.
fn is_ours(transcript: &Value, catalog: &Catalog) -> bool {
    let prompt = &transcript["request"]["body"]["prompt"];
    let refused = transcript["response"]["body"]["error"]["type"] == "missing_node_type";
    refused && !mentions_other_classes(transcript, catalog) || !refused && is_known(prompt, catalog)
}

/// A refusal names the first class that is missing: classes that only `ComfyUI` has must not be there.
fn mentions_other_classes(transcript: &Value, catalog: &Catalog) -> bool {
    let named = &transcript["response"]["body"]["error"]["extra_info"]["node_id"];
    let prompt = transcript["request"]["body"]["prompt"].as_object();
    prompt.into_iter().flatten().any(|(id, node)| {
        named != id.as_str()
            && node["class_type"]
                .as_str()
                .is_some_and(|class| catalog.node(class).is_none())
    })
}

fn replay(transcript: &Value) -> Result<(), Failed> {
    Running::with(async |server| {
        let request = &transcript["request"]["body"];
        let expected = Spoken::recorded(transcript);
        prepare(server, transcript).await;
        // The client of some conversations is not the one that listens.
        let client = request["client_id"].as_str().unwrap_or("listener");
        let mut socket = server.socket(client).await;
        let mut messages = vec![next(&mut socket, 5000).await.unwrap()];
        let answer = server.post("/prompt", request).await;
        let id = answer.body["prompt_id"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        let mut interrupts = interrupts(transcript);
        while messages.len() < expected.messages.len() {
            let Some(message) = next(&mut socket, 10_000).await else {
                break;
            };
            messages.push(message);
            let started = messages.iter().filter(|m| is_start(m)).count();
            if interrupts.is_some_and(|at| at == started) {
                interrupts = None;
                server.post("/interrupt", &json!({ "prompt_id": id })).await;
            }
        }
        messages.extend(next(&mut socket, 50).await);
        if id != "none" {
            server.ended(&id).await;
        }
        let spoken = Spoken {
            answer,
            messages,
            history: server.get(&format!("/history/{id}")).await.body,
            job: server.get(&format!("/api/jobs/{id}")).await.body,
        };
        compare(spoken, expected, transcript)
    })
}

/// One conversation.
struct Spoken {
    answer: Answer,
    messages: Vec<Value>,
    history: Value,
    job: Value,
}

impl Spoken {
    fn recorded(transcript: &Value) -> Self {
        let response = &transcript["response"];
        let body = match &response["body"] {
            Value::Null => response["body_text"].clone(),
            body => body.clone(),
        };
        Self {
            answer: Answer {
                status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
                body,
            },
            messages: transcript["ws"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| serde_json::from_str(message["text"].as_str().unwrap()).unwrap())
                .collect(),
            history: transcript["history"]["body"].clone(),
            job: transcript["job"]["body"].clone(),
        }
    }
}

fn compare(made: Spoken, expected: Spoken, transcript: &Value) -> Result<(), Failed> {
    let same_status = made.answer.status == expected.answer.status;
    let (made, expected) = (normal(made), normal(expected));
    let mut wrong = Vec::new();
    if !same_status {
        wrong.push("the status differs".to_owned());
    }
    let refused = transcript["response"]["body"].get("prompt_id").is_none();
    for (part, made, expected) in [
        ("answer", &made[0], &expected[0]),
        ("messages", &made[1], &expected[1]),
        ("history", &made[2], &expected[2]),
        ("job", &made[3], &expected[3]),
    ] {
        // There is no record of a job that was refused.
        if made != expected && !(refused && matches!(part, "history" | "job")) {
            wrong.push(difference(part, made, expected));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// The first place where two values differ.
pub(crate) fn difference(at: &str, made: &Value, expected: &Value) -> String {
    match (made, expected) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let (a, b) = (&made[key], &expected[key]);
                if a != b {
                    return difference(&format!("{at}.{key}"), a, b);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for n in 0..a.len().max(b.len()) {
                let (a, b) = (a.get(n), b.get(n));
                if a != b {
                    let null = Value::Null;
                    let (a, b) = (a.unwrap_or(&null), b.unwrap_or(&null));
                    return difference(&format!("{at}[{n}]"), a, b);
                }
            }
        }
        _ => {}
    }
    format!("{at}: {made}, not {expected}")
}

/// The four parts without chance in them.
fn normal(spoken: Spoken) -> [Value; 4] {
    let id = spoken.answer.body["prompt_id"].clone();
    let mut parts = [
        spoken.answer.body,
        Value::Array(spoken.messages),
        spoken.history,
        spoken.job,
    ];
    for part in &mut parts {
        smooth(part, &id);
    }
    parts
}

fn smooth(value: &mut Value, id: &Value) {
    match value {
        Value::String(text) => {
            if Some(text.as_str()) == id.as_str() {
                "JOB".clone_into(text);
            } else if text.ends_with("_.png") {
                *text = without_chance(text);
            }
        }
        Value::Array(items) => {
            for item in items.iter_mut() {
                smooth(item, id);
            }
            // The tuple of the queue: its number depends on what was before.
            if items.len() == 5 && items[0].is_number() && items[1] == "JOB" {
                items[0] = json!(0);
            }
        }
        Value::Object(members) => {
            let mut smoothed = Map::new();
            for (key, mut value) in std::mem::take(members) {
                smooth_member(&key, &mut value);
                smooth(&mut value, id);
                let key = if Some(key.as_str()) == id.as_str() {
                    "JOB".to_owned()
                } else {
                    key
                };
                smoothed.insert(key, value);
            }
            *members = smoothed;
        }
        _ => {}
    }
}

fn smooth_member(key: &str, value: &mut Value) {
    match key {
        "timestamp"
        | "create_time"
        | "execution_start_time"
        | "execution_end_time"
        | "number"
        | "priority" => *value = json!(0),
        "sid" | "client_id" => *value = json!("CLIENT"),
        // The server's own words and paths.
        "traceback" | "exception_message" | "exception_type" | "current_inputs" | "is_changed" => {
            *value = Value::Null;
        }
        // Sets.
        "executed" | "current_outputs" | "dependent_outputs" => {
            if let Some(items) = value.as_array_mut() {
                items.sort_by_key(Value::to_string);
            }
        }
        "extra_data" => {
            if let Some(members) = value.as_object_mut() {
                members.remove("client_id");
            }
        }
        _ => {}
    }
}

/// `ComfyUI_temp_abcde_00009_.png` → `ComfyUI_temp_TAG_N_.png`.
fn without_chance(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('_').collect();
    let last = parts.len() - 2;
    parts[last] = "N";
    if name.starts_with("ComfyUI_temp_") {
        parts[last - 1] = "TAG";
    }
    parts.join("_")
}

/// Puts the server into the state in which the conversation began: the files that it loads, and what was cached.
async fn prepare(server: &Running, transcript: &Value) {
    let request = &transcript["request"]["body"];
    let succeeds = transcript["history"]["body"]
        .to_string()
        .contains("execution_success");
    let taken = transcript["response"]["status"] == 200;
    let prompt = request["prompt"].as_object().cloned().unwrap_or_default();
    for node in prompt
        .values()
        .filter(|node| taken && node["class_type"] == "LoadImage")
    {
        let name = node["inputs"]["image"].as_str().unwrap();
        let (path, folder) = match name.rsplit_once(" [") {
            Some((path, folder)) => (path, folder.trim_end_matches(']')),
            None => (name, "input"),
        };
        let (subfolder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let picture = kiln_pixels::empty_image(8, 8, 1, 7).unwrap();
        let bytes = if succeeds {
            kiln_pixels::encode_png(&picture, 0, &[]).unwrap()
        } else {
            b"no picture".to_vec()
        };
        let fields = [("subfolder", subfolder), ("type", folder)];
        server.upload(file, bytes, &fields).await;
    }
    let messages = Spoken::recorded(transcript).messages;
    let cached = messages
        .iter()
        .find(|message| message["type"] == "execution_cached")
        .map(|message| message["data"]["nodes"].clone());
    let cached: Vec<String> = serde_json::from_value(cached.unwrap_or(json!([]))).unwrap();
    if cached.is_empty() {
        return;
    }
    let mut warm = prompt.clone();
    let mut targets = Vec::new();
    for id in &cached {
        let class = prompt[id]["class_type"].as_str().unwrap();
        if matches!(class, "SaveImage" | "PreviewImage" | "PreviewAny") {
            targets.push(id.clone());
        } else {
            let show = json!({"class_type": "PreviewAny", "inputs": {"source": [id, 0]}});
            targets.push(format!("warm-{id}"));
            warm.insert(format!("warm-{id}"), show);
        }
    }
    let body = json!({ "prompt": warm, "partial_execution_targets": targets });
    let answer = server.post("/prompt", &body).await;
    server
        .ended(answer.body["prompt_id"].as_str().unwrap())
        .await;
}

fn is_start(message: &Value) -> bool {
    message["type"] == "executing" && !message["data"]["node"].is_null()
}

/// After how many started nodes the conversation's interrupt was sent: before the last one that started.
fn interrupts(transcript: &Value) -> Option<usize> {
    let actions = transcript["actions"].as_array()?;
    actions
        .iter()
        .find(|action| action["POST"] == "/interrupt")?;
    let messages = Spoken::recorded(transcript).messages;
    Some(messages.iter().filter(|m| is_start(m)).count() - 1)
}

/// Single requests and their answers.
fn answers(requests: &[Value]) -> Result<(), Failed> {
    Running::with(async |server| {
        let mut wrong = Vec::new();
        for request in requests {
            let name = request["name"].as_str().unwrap();
            let path = request["path"].as_str().unwrap();
            if OTHER_REQUESTS.contains(&name) || path.starts_with("/userdata") {
                continue;
            }
            let method = request["method"].as_str().unwrap().parse().unwrap();
            let mut sent = server.client.request(method, server.url(path));
            for (header, value) in request["req_headers"].as_object().into_iter().flatten() {
                let port = server.server.url();
                let port = port.rsplit_once(':').unwrap().1;
                let value = value.as_str().unwrap().replace("8189", port);
                sent = sent.header(header, value);
            }
            if let Some(body) = request["req_body"].as_str() {
                sent = sent.body(python_text(body));
            } else if !request["req_body"].is_null() {
                sent = sent.body(request["req_body"].to_string());
            }
            let made = Answer::of(sent.send().await.unwrap()).await;
            let text = request["body"].as_str().unwrap_or_default();
            let expected = serde_json::from_str(text).unwrap_or(Value::String(text.to_owned()));
            let (mut body, mut expected_body) = (made.body, expected);
            for body in [&mut body, &mut expected_body] {
                let id = body["prompt_id"].clone();
                let number = body["number"].clone();
                smooth(body, &id);
                if !number.is_null() {
                    body["number"] = number;
                }
            }
            let status = request["status"].as_u64();
            // Counters agree only as far as every earlier request was sent.
            if let (Some(a), Some(b)) = (body["number"].as_i64(), expected_body["number"].as_i64())
                && a.signum() == b.signum()
            {
                body["number"] = expected_body["number"].clone();
            }
            let history = path.starts_with("/history?") && body.is_object();
            if Some(u64::from(made.status)) != status || (body != expected_body && !history) {
                let text = difference(name, &body, &expected_body);
                wrong.push(format!("{} {status:?} {text}", made.status));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n").into())
        }
    })
}

/// A body that was noted as Python prints bytes: `b'…'`.
fn python_text(body: &str) -> String {
    body.strip_prefix("b'")
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or(body)
        .to_owned()
}

/// Forms with all manner of file names.
fn uploads(forms: &[Value]) -> Result<(), Failed> {
    Running::with(async |server| {
        let mut wrong = Vec::new();
        for form in forms {
            // Refused here as well, but as what it is.
            if form["name"] == "abs" {
                continue;
            }
            let disposition = form["content_disposition"].as_str().unwrap();
            let mut body = format!(
                "--x\r\nContent-Disposition: form-data; name=\"image\"; {disposition}\r\nContent-Type: image/png\r\n\r\nbytes\r\n"
            );
            let expected = form["body"].as_str().unwrap();
            if expected.contains("\"subx\"") {
                body.push_str(
                    "--x\r\nContent-Disposition: form-data; name=\"subfolder\"\r\n\r\nsubx\r\n",
                );
            }
            body.push_str("--x--\r\n");
            let sent = server.client.post(server.url("/upload/image"));
            let sent = sent
                .header("Content-Type", "multipart/form-data; boundary=x")
                .body(body);
            let made = Answer::of(sent.send().await.unwrap()).await;
            let status = form["status"].as_str().unwrap();
            let json = serde_json::from_str(expected).unwrap_or(Value::String(expected.to_owned()));
            if !status.contains(&format!(" {} ", made.status)) || made.body != json {
                wrong.push(format!(
                    "{}: {made:?}, not {status} {expected}",
                    form["name"]
                ));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n").into())
        }
    })
}
