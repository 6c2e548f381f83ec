//! Recorded conversations with `ComfyUI`, replayed against the client in time order: what it makes of them must be what the line of
//! `index.jsonl` says, whatever happens to its socket and however late the records come, with the one exception that a success with an
//! error among its messages is a failure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use kiln::base::ServerName;
use kiln::client::{Client, Connection, JobRequest, JobUpdate, Outcome, SubmitError};
use kiln::protocol::Frame;
use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::replay::{Era, Fault, Recording, Replay};

/// Replays at the same time.
const ABREAST: usize = 48;
/// Longer than any replay may take: a job whose record comes late and whose socket is deaf is asked for every five seconds.
const DEADLINE: Duration = Duration::from_secs(40);

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    vec![
        crate::trial(fixtures, "frames_are_read_whole", frames),
        crate::trial(fixtures, "conversations_end_as_the_server_says", |folder| {
            all(folder, &|_| {
                vec![(Fault::None, Era::New), (Fault::None, Era::Old)]
            })
        }),
        crate::trial(fixtures, "a_cut_socket_changes_no_outcome", |folder| {
            all(folder, &|recording| {
                let long = std::env::var("KILN_PROOF").is_ok_and(|proof| proof == "long");
                let cuts = if long {
                    (0..recording.says()).collect()
                } else {
                    recording.landmarks()
                };
                cuts.into_iter()
                    .map(|at| (Fault::Cut(at), Era::New))
                    .collect()
            })
        }),
        crate::trial(fixtures, "deafness_changes_no_outcome", |folder| {
            all(folder, &|_| {
                vec![(Fault::Deaf(0), Era::New), (Fault::Deaf(2), Era::Old)]
            })
        }),
        crate::trial(fixtures, "late_records_change_no_outcome", |folder| {
            all(folder, &|_| {
                vec![(Fault::Late, Era::New), (Fault::Late, Era::Old)]
            })
        }),
        crate::trial(fixtures, "a_missing_end_changes_no_outcome", |folder| {
            all(folder, &|_| {
                vec![(Fault::NoEnd, Era::New), (Fault::NoEndNorSuccess, Era::Old)]
            })
        }),
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

/// What the client made of a conversation, in the words of the server's job list.
#[derive(Debug, PartialEq)]
struct Made {
    word: String,
    failure: Option<[String; 3]>,
}

impl Made {
    fn word(word: &str) -> Self {
        Self {
            word: word.to_owned(),
            failure: None,
        }
    }

    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded { .. } => Self::word("completed"),
            Outcome::Interrupted => Self::word("cancelled"),
            Outcome::Stalled { .. } => Self::word("in_progress"),
            Outcome::Failed(failure) => Self {
                word: "failed".to_owned(),
                failure: Some([failure.node_id, failure.node_type, failure.exception_type]),
            },
            other => Self::word(&format!("{other:?}")),
        }
    }

    /// What the recording's line says; `None` where there is none.
    fn expected(recording: &Recording, line: &Value) -> Option<Self> {
        if line["http_status"] == 400 {
            return Some(Self::word("rejected"));
        }
        if let Some(error) = recording.error() {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            return Some(Self {
                word: "failed".to_owned(),
                failure: Some([text("node_id"), text("node_type"), text("exception_type")]),
            });
        }
        line["job_status"].as_str().map(Self::word)
    }
}

/// A job from its submission to its end, and what is wrong with what was told on the way.
async fn replayed(recording: Arc<Recording>, fault: Fault, era: Era) -> Result<Made, String> {
    let url = Replay::serve(Arc::clone(&recording), fault, era).await;
    let client = Client::new(ServerName::from("recorded"), &url).map_err(|e| e.to_string())?;
    client.probe().await.map_err(|error| error.to_string())?;
    let connection = Connection::open(client).await.map_err(|e| e.to_string())?;
    let request = JobRequest {
        prompt_id: Uuid::new_v4(),
        graph: &recording.graph,
        targets: &[],
        extra_data: Map::new(),
        allow_partial: recording.is_partial(),
    };
    match connection.submit(&request).await {
        Ok(accepted) if accepted.left_out.is_some() == recording.is_partial() => {}
        Ok(_) => return Err("nobody says what is left out".to_owned()),
        Err(SubmitError::Rejected(_)) => return Ok(Made::word("rejected")),
        Err(error) => return Err(error.to_string()),
    }
    let (updates, mut told) = mpsc::unbounded_channel();
    let id = request.prompt_id.to_string();
    let outcome = connection.follow(&id, updates).await;
    let mut last = 0.0;
    while let Some(update) = told.recv().await {
        let JobUpdate::Progress { fraction, node } = update else {
            continue;
        };
        if !(last..1.0).contains(&fraction) {
            return Err(format!("progress {fraction} after {last}"));
        }
        last = fraction;
        if let Some(node) = node
            && !recording.graph.nodes.contains_key(&node)
        {
            return Err(format!(
                "progress of node {node}, which is none of the graph's"
            ));
        }
    }
    Ok(Made::of(outcome))
}

fn lines(folder: &Path) -> HashMap<String, Value> {
    let text = std::fs::read_to_string(folder.join("transcripts/index.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter_map(|line| Some((line["file"].as_str()?.rsplit('/').next()?.to_owned(), line)))
        .collect()
}

type Variants<'a> = &'a dyn Fn(&Recording) -> Vec<(Fault, Era)>;

/// Replays every conversation in all of its variants.
fn all(folder: &Path, variants: Variants<'_>) -> Result<(), Failed> {
    let lines = lines(folder);
    let mut replays = Vec::new();
    let mut conversations = 0;
    for path in files(&folder.join("transcripts"), "json") {
        let Some(recording) = Recording::read(&path) else {
            continue;
        };
        let line = &lines[&*path.file_name().unwrap().to_string_lossy()];
        let Some(expected) = Made::expected(&recording, line) else {
            continue;
        };
        conversations += 1;
        let (recording, expected) = (Arc::new(recording), Arc::new(expected));
        for (fault, era) in variants(&recording) {
            replays.push((Arc::clone(&recording), Arc::clone(&expected), fault, era));
        }
    }
    let count = replays.len();
    let replays = replays
        .into_iter()
        .map(|(recording, expected, fault, era)| async move {
            let name = recording.name.clone();
            let replay = tokio::spawn(tokio::time::timeout(
                DEADLINE,
                replayed(recording, fault, era),
            ));
            let wrong = match replay.await {
                Ok(Ok(Ok(made))) if made == *expected => return None,
                Ok(Ok(Ok(made))) => format!("{made:?}, and not {expected:?}"),
                Ok(Ok(Err(wrong))) => wrong,
                Ok(Err(_)) => "without end".to_owned(),
                Err(panicked) => panicked.to_string(),
            };
            Some(format!("{name}, {fault:?}, {era:?}: {wrong}"))
        });
    let wrong: Vec<String> = tokio::runtime::Runtime::new()?.block_on(
        stream::iter(replays)
            .buffer_unordered(ABREAST)
            .filter_map(std::future::ready)
            .collect(),
    );
    println!(
        "conversations: {conversations}; replays: {} of {count} end as they should",
        count - wrong.len()
    );
    if conversations < 100 || !wrong.is_empty() {
        return Err(wrong.join("\n").into());
    }
    Ok(())
}
