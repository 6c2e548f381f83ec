//! What plugins hear of what servers say: of our own jobs alone, and whatever comes.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::base::Secrets;
use crate::plugin::staged::{Asked, Part};

/// A wire to one plugin that hears of everything, with one job of ours.
fn wire() -> (Wire, Asked) {
    let part = Part::new("it");
    let asked = Arc::clone(&part.asked);
    let jobs = HashMap::from([("ours".to_owned(), TaskName("draw".to_owned()))]);
    let wire = Wire {
        plugins: Plugins::staged([part]),
        hush: Arc::new(Hush::empty(Secrets::of(Arc::default()))),
        server: ServerName::from("far"),
        run: RunId::from("r"),
        jobs: Arc::new(Mutex::new(jobs)),
    };
    (wire, asked)
}

/// What was heard and shown: the kind of each, its task, and what it holds.
async fn heard(wire: &Wire, asked: &Asked) -> Vec<Value> {
    wire.plugins.settle().await;
    let asked = asked.lock().unwrap();
    asked.iter().map(|(_, given)| given.clone()).collect()
}

/// A binary message: its number, and what follows.
fn frame(number: u32, parts: &[&[u8]]) -> bytes::Bytes {
    let mut all = number.to_be_bytes().to_vec();
    all.extend(parts.concat());
    all.into()
}

#[tokio::test]
async fn all_types_of_messages_about_our_jobs_are_heard_and_unknown_ones_too() {
    let (wire, asked) = wire();
    let types = [
        "status",
        "feature_flags",
        "execution_start",
        "execution_cached",
        "executing",
        "progress",
        "progress_state",
        "executed",
        "execution_success",
        "execution_error",
        "execution_interrupted",
        "pack.says",
    ];
    for kind in types {
        let message = json!({ "type": kind, "data": { "prompt_id": "ours", "n": 1 } }).to_string();
        wire.text(&message, kind, Some("ours"));
        wire.text(&message.replace("ours", "theirs"), kind, Some("theirs"));
    }
    wire.text("{\"type\": \"status\", \"data\": {}}", "status", None);
    let heard = heard(&wire, &asked).await;
    let told: Vec<(&str, &Value)> = heard
        .iter()
        .map(|one| (one["type"].as_str().unwrap(), &one["task"]))
        .collect();
    let (ours, nobodys) = (json!("draw"), Value::Null);
    let mut wanted: Vec<(&str, &Value)> = types.iter().map(|kind| (*kind, &ours)).collect();
    wanted.push(("status", &nobodys));
    assert_eq!(told, wanted, "and nothing of other people's jobs");
    assert_eq!(heard[0]["message"]["data"]["n"], 1);
    assert_eq!(
        (&heard[0]["server"], &heard[0]["run"]),
        (&json!("far"), &json!("r"))
    );
}

#[tokio::test]
async fn a_nodes_own_text_belongs_to_the_job_under_way() {
    let (wire, asked) = wire();
    let text = frame(3, &[&1_u32.to_be_bytes(), b"9", b"half done"]);
    wire.binary(&text, Some("ours"));
    wire.binary(&text, Some("theirs"));
    wire.binary(&text, None);
    let heard = heard(&wire, &asked).await;
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert_eq!(heard[0]["type"], "progress_text");
    assert_eq!(
        heard[0]["message"]["data"],
        json!({ "node": "9", "text": "half done", "prompt_id": "ours" })
    );
}

#[tokio::test]
async fn pictures_come_with_all_that_is_known_of_them() {
    let (wire, asked) = wire();
    let png = 2_u32.to_be_bytes();
    wire.binary(&frame(1, &[&png, b"1"]), Some("ours"));
    let metadata = |job: &str| {
        json!({ "prompt_id": job, "node_id": "3", "display_node_id": "7", "image_type": "image/webp" })
            .to_string()
            .into_bytes()
    };
    for (job, picture) in [("ours", b"2"), ("theirs", b"3")] {
        let metadata = metadata(job);
        let length = u32::try_from(metadata.len()).unwrap().to_be_bytes();
        // Whose it is, it says itself.
        wire.binary(&frame(4, &[&length, &metadata, picture]), Some("theirs"));
    }
    let first = heard(&wire, &asked).await;
    asked.lock().unwrap().clear();
    // A pack's own kind of picture.
    wire.binary(&frame(77, &[b"4"]), Some("ours"));
    // Cut short, and nobody's.
    wire.binary(&bytes::Bytes::from_static(&[0, 0]), Some("ours"));
    wire.binary(&frame(77, &[b"5"]), None);
    let second = heard(&wire, &asked).await;
    // Of each job's pictures the newest that waits is shown, so the first may be left out.
    let shown = &first[first.len() - 2..];
    assert_eq!(shown[1], json!(2));
    assert_eq!(
        shown[0],
        json!({
            "run": "r", "server": "far", "task": "draw", "prompt_id": "ours", "frame": 4,
            "media_type": "image/webp", "node": "7",
            "metadata": { "prompt_id": "ours", "node_id": "3", "display_node_id": "7", "image_type": "image/webp" },
        })
    );
    assert_eq!((second.len(), &second[1]), (2, &json!(4)));
    assert_eq!(
        (&second[0]["frame"], &second[0]["media_type"]),
        (&json!(77), &json!(""))
    );
}

#[tokio::test]
async fn nothing_is_made_of_what_no_plugin_hears() {
    let mut part = Part::new("it");
    part.hears_only("executed");
    let asked = Arc::clone(&part.asked);
    let wire = Wire {
        plugins: Plugins::staged([part]),
        ..wire().0
    };
    for kind in ["executing", "executed"] {
        wire.text("{}", kind, Some("ours"));
    }
    wire.binary(
        &frame(3, &[&1_u32.to_be_bytes(), b"9", b"text"]),
        Some("ours"),
    );
    wire.binary(&frame(1, &[&2_u32.to_be_bytes(), b"1"]), Some("ours"));
    let heard = heard(&wire, &asked).await;
    let kinds: Vec<&Value> = heard.iter().map(|one| &one["type"]).collect();
    assert_eq!(kinds, [&json!("executed")]);
}

#[tokio::test]
async fn the_values_of_secrets_are_taken_out_of_what_servers_say() {
    let (wire, asked) = wire();
    let value = std::env::var("PATH").unwrap();
    wire.hush.learn(&crate::base::secret::placeholder("PATH"));
    let message = json!({ "type": "executed", "data": { "said": value } }).to_string();
    wire.text(&message, "executed", Some("ours"));
    let metadata = json!({ "prompt_id": "ours", "said": value }).to_string();
    let length = u32::try_from(metadata.len()).unwrap().to_be_bytes();
    wire.binary(&frame(4, &[&length, metadata.as_bytes(), b"1"]), None);
    let heard = heard(&wire, &asked).await;
    assert_eq!(heard[0]["message"]["data"]["said"], "***");
    assert_eq!(heard[1]["metadata"]["said"], "***");
}
