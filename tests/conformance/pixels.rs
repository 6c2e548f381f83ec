//! The embedded server's pictures against `ComfyUI`'s, through real HTTP: decoded pixels within 2 of 255.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln::catalog::Catalog;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::server::Running;

/// How far a channel of a pixel may be off.
const TOLERANCE: u8 = 2;

/// One trial per node class. Cases with classes that the server does not have are left out.
pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    let Some(fixtures) = fixtures else {
        return vec![Trial::test("pixels", || Ok(())).with_ignored_flag(true)];
    };
    let folder = fixtures.join("images");
    let catalog = kiln::embedded::catalog();
    let text = std::fs::read_to_string(folder.join("cases.jsonl")).unwrap();
    let mut by_class: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if case["status"] == "success" && is_known(&case["workflow"], &catalog) {
            let id = case["id"].as_str().unwrap();
            let class = id.split('-').next().unwrap().to_owned();
            by_class.entry(class).or_default().push(case);
        }
    }
    by_class
        .into_iter()
        .map(|(class, cases)| {
            let folder = folder.clone();
            let name = format!("pixels::{class} ({} cases)", cases.len());
            Trial::test(name, move || compare_all(folder, cases))
        })
        .collect()
}

/// Whether the server has every class of a graph.
pub(crate) fn is_known(workflow: &Value, catalog: &Catalog) -> bool {
    workflow.as_object().is_some_and(|nodes| {
        nodes.values().all(|node| {
            node["class_type"]
                .as_str()
                .is_some_and(|class| catalog.node(class).is_some())
        })
    })
}

fn compare_all(folder: PathBuf, cases: Vec<Value>) -> Result<(), Failed> {
    Running::with(async move |server| {
        for name in ["kiln-a.png", "kiln-b.png"] {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            server.upload(name, bytes, &[]).await;
        }
        let mut wrong = Vec::new();
        for case in &cases {
            if let Err(why) = compare(server, &folder, case).await {
                wrong.push(format!("{}: {why}", case["id"]));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n").into())
        }
    })
}

async fn compare(server: &Running, folder: &Path, case: &Value) -> Result<(), String> {
    let answer = server
        .post("/prompt", &json!({ "prompt": case["workflow"] }))
        .await;
    let id = answer.body["prompt_id"]
        .as_str()
        .ok_or_else(|| format!("refused: {}", answer.body))?;
    let made = &server.ended(id).await["outputs"];
    for (node, expected) in case["outputs"].as_object().unwrap() {
        for (key, expected) in expected.as_object().unwrap() {
            let made = &made[node][key];
            if key != "images" {
                if made != expected {
                    return Err(format!("node {node} gave {made}, not {expected}"));
                }
                continue;
            }
            let (made, expected) = (list(made), list(expected));
            if made.len() != expected.len() {
                return Err(format!("{} pictures, not {}", made.len(), expected.len()));
            }
            for (made, expected) in made.iter().zip(&expected) {
                let bytes = server.view(made).await;
                let made = image::load_from_memory(&bytes).map_err(|e| e.to_string())?;
                let expected = image::open(folder.join(expected.as_str().unwrap())).unwrap();
                same(&made, &expected)?;
            }
        }
    }
    Ok(())
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn same(made: &image::DynamicImage, expected: &image::DynamicImage) -> Result<(), String> {
    let shape = |image: &image::DynamicImage| (image.width(), image.height(), image.color());
    if shape(made) != shape(expected) {
        return Err(format!("{:?}, not {:?}", shape(made), shape(expected)));
    }
    let off = made
        .as_bytes()
        .iter()
        .zip(expected.as_bytes())
        .map(|(a, b)| a.abs_diff(*b))
        .max()
        .unwrap_or(0);
    if off > TOLERANCE {
        return Err(format!("off by {off}"));
    }
    Ok(())
}
