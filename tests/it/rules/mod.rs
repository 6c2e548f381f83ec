//! Every rule of the language, seen at what a run leaves: each test runs the program and looks at files, texts, requests or statuses.

mod fan;
mod graphs;
mod project;
mod recorder;
mod results;
pub(crate) mod secrets;
mod steps;
mod traps;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Done, Project, names};

/// A workflow of one plain picture.
fn card() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}, "_meta": {"title": "Card"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "card"}, "_meta": {"title": "Save"}}
    })
}

/// A workflow that says its two texts with a dash between.
fn words() -> Value {
    json!({
        "1": {"class_type": "StringConcatenate", "inputs": {"string_a": "a", "string_b": "b", "delimiter": "-"}, "_meta": {"title": "Words"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}, "_meta": {"title": "Show"}}
    })
}

/// A project with a pipeline `p.yaml` and those two workflows.
fn project(pipeline: &str) -> Project {
    let project = Project::new();
    project.file("p.yaml", pipeline);
    project.file("card.json", card().to_string());
    project.file("words.json", words().to_string());
    project
}

/// The events of a run.
fn events(done: &Done) -> Vec<Value> {
    let lines = done.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn run(project: &Project, more: &[&str], code: i32) -> Vec<Value> {
    let mut args = vec!["run", "p.yaml", "--output", "json"];
    args.extend(more);
    events(&project.kiln(&args).code(code))
}

/// What became of a task: its last event.
#[track_caller]
fn ended<'a>(events: &'a [Value], task: &str) -> &'a Value {
    let mut ends = events.iter().filter(|e| e["event"] == "task_finished");
    ends.find(|e| e["task"] == task)
        .unwrap_or_else(|| panic!("{task} in {events:#?}"))
}

#[track_caller]
fn status<'a>(events: &'a [Value], task: &str) -> &'a str {
    ended(events, task)["status"].as_str().unwrap()
}

/// The text that a task made.
#[track_caller]
fn text<'a>(events: &'a [Value], task: &str) -> &'a str {
    let outputs = ended(events, task)["outputs"].as_array().unwrap();
    let mut texts = outputs.iter().filter_map(|o| o["text"].as_str());
    texts
        .next()
        .unwrap_or_else(|| panic!("{task} made no text: {outputs:?}"))
}

/// How many events of a kind there were.
fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|e| e["event"] == kind).count()
}

/// The message of the diagnostic with which a task failed.
#[track_caller]
fn complaint<'a>(events: &'a [Value], task: &str) -> &'a str {
    let end = ended(events, task);
    end["diagnostic"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{end}"))
}

fn latest(project: &Project) -> PathBuf {
    project.path().join("outputs/p/latest")
}

/// The record of the only result of a step.
#[track_caller]
fn record(project: &Project, step: &str) -> Value {
    let folder = latest(project).join(step);
    let names = names(&folder);
    assert_eq!(names.len(), 1, "{names:?}");
    let path = folder.join(format!("{}.kiln.json", names[0]));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn picture(path: &Path) -> image::RgbImage {
    image::open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_rgb8()
}

/// A plain PNG.
fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(width, height, image::Rgb(colour))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}
