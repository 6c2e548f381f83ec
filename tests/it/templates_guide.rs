//! Every `expression → result` of the guide to templates, evaluated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::repository;
use kiln::artifact::{Artifact, Datum, FileValue, Kind};
use kiln::base::{ContentHash, Masker, secret};
use kiln::template::{Engine, Scope, StepResult, TaskResult, Template, TemplateError, World};

/// The world that the first block of the guide describes.
struct Described {
    env: Value,
    files: Value,
}

impl Described {
    fn paths(&self) -> Vec<&str> {
        let files = self.files.as_object().unwrap();
        files.keys().map(String::as_str).collect()
    }
}

impl World for Described {
    fn file(&self, path: &str) -> Result<FileValue, String> {
        let text = self.read_text(path)?;
        Ok(FileValue {
            path: Path::new("/project").join(path),
            hash: ContentHash::of(text.as_bytes()),
            size: text.len() as u64,
        })
    }
    fn exists(&self, path: &str) -> bool {
        self.paths().contains(&path)
    }
    fn glob(&self, pattern: &str) -> Result<Vec<FileValue>, String> {
        let (before, after) = pattern.split_once('*').unwrap();
        let paths = self.paths().into_iter();
        paths
            .filter(|p| p.starts_with(before) && p.ends_with(after) && !p.contains("/."))
            .map(|path| self.file(path))
            .collect()
    }
    fn read_text(&self, path: &str) -> Result<String, String> {
        let path = path.trim_start_matches("/project/");
        let text = self.files[path].as_str().map(str::to_owned);
        text.ok_or_else(|| "there is no such file".to_owned())
    }
    fn env(&self, name: &str) -> Option<String> {
        self.env[name].as_str().map(str::to_owned)
    }
    fn run_seed(&self) -> u64 {
        7
    }
    fn now(&self) -> jiff::Zoned {
        "2026-11-22T14:15:30+01:00[Europe/Berlin]".parse().unwrap()
    }
}

fn artifact(task: &str, name: &str, text: Option<&str>, output: &Value) -> Arc<Artifact> {
    Arc::new(Artifact {
        kind: match text {
            Some(_) => Kind::Text,
            None => Kind::of_name(name),
        },
        name: name.to_owned(),
        path: text.is_none().then(|| PathBuf::from("/out").join(name)),
        text: text.map(str::to_owned),
        hash: ContentHash::of(name.as_bytes()),
        size: 7,
        key: "images".to_owned(),
        output: output.as_str().map(str::to_owned),
        ..Artifact::blank("step".into(), task.into(), "9".into())
    })
}

fn task(index: u32, told: &Value) -> TaskResult {
    let name = told["task"].as_str().unwrap();
    let files = told["files"].as_array().into_iter().flatten();
    let mut artifacts: Vec<_> = files
        .map(|file| artifact(name, file.as_str().unwrap(), None, &told["output"]))
        .collect();
    artifacts.extend(
        told["text"]
            .as_str()
            .map(|text| artifact(name, "", Some(text), &told["output"])),
    );
    let matrix = told["matrix"].as_object().cloned().unwrap_or_default();
    TaskResult {
        name: name.to_owned(),
        index,
        matrix: std::sync::Arc::new(
            matrix
                .into_iter()
                .map(|(k, v)| (k, Datum::from(v)))
                .collect(),
        ),
        status: "done".to_owned(),
        artifacts,
        ..TaskResult::default()
    }
}

/// The names and the world of the guide's first block.
fn described(yaml: &str) -> (Scope, Described) {
    let all: Value = serde_yaml::from_str(yaml).unwrap();
    let mut scope = Scope::default();
    for name in ["params", "matrix", "value"] {
        scope = scope.with(name, Datum::from(all[name].clone()));
    }
    for (id, tasks) in all["steps"].as_object().unwrap() {
        let tasks = tasks.as_array().unwrap();
        let result = StepResult {
            status: "done".to_owned(),
            tasks: (0..)
                .zip(tasks)
                .map(|(index, told)| task(index, told))
                .collect(),
            outputs: vec!["final".to_owned()],
        };
        scope = scope.with_step(id, result);
    }
    let world = Described {
        env: all["env"].clone(),
        files: all["files"].clone(),
    };
    (scope, world)
}

fn understood(text: &str, block: &str) -> Result<Template, TemplateError> {
    if !text.contains("{{") && !text.contains("{%") {
        return Template::parse_expression(text);
    }
    let template = match block {
        "jinja workflow" => Template::parse_in_workflow(text),
        _ => Template::parse(text),
    };
    Ok(template?.expect("a template"))
}

#[test]
fn every_example_of_the_guide_to_templates_gives_what_it_says() {
    let guide = std::fs::read_to_string(repository().join("docs/guide/templates.md")).unwrap();
    let blocks = crate::readme::blocks(&guide);
    let (scope, world) = described(&blocks[0].1);
    let key = world.env("API_KEY").unwrap();
    let masker = Masker::new([&key]);
    let engine = Engine::new(Arc::new(world));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (block, body) in &blocks {
        if !block.starts_with("jinja") {
            continue;
        }
        for line in body.lines() {
            let (left, right) = line.rsplit_once(" → ").unwrap_or_else(|| panic!("{line}"));
            let text: String = match left.strip_prefix('"') {
                Some(_) => serde_json::from_str(left).unwrap(),
                None => left.to_owned(),
            };
            let mut scope = scope.clone();
            if block == "jinja command" {
                scope = scope.with_paths();
            }
            let outcome = understood(&text, block).and_then(|t| engine.eval(&t, &scope));
            let given = match outcome.map(|datum| datum.to_json()) {
                Ok(Value::String(text)) => {
                    let revealed = secret::reveal(&text, &|_| Some(key.clone())).unwrap();
                    json!(masker.mask(&revealed))
                }
                Ok(value) => value,
                Err(error) => json!({"error": error.message}),
            };
            let expected = match right.strip_prefix("error: ") {
                Some(message) => json!({"error": message}),
                None => serde_json::from_str(right).unwrap_or_else(|e| panic!("{line}: {e}")),
            };
            seen += 1;
            if given != expected {
                wrong.push(format!("{left} → {given}"));
            }
        }
    }
    assert!(seen > 90, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_guide_names_every_function_and_filter_of_kilns_own() {
    let guide = std::fs::read_to_string(repository().join("docs/guide/templates.md")).unwrap();
    for name in [
        "`env(",
        "`secret(",
        "`file(",
        "`exists(",
        "`glob(",
        "`read_text(",
        "`read_json(",
        "`read_yaml(",
        "`read_csv(",
        "`range(",
        "`seed(",
        "`random()",
        "`mask(",
        "`now()",
        "`stem`",
        "`basename`",
        "`slug`",
        "`fromjson`",
        "`wildcard(",
    ] {
        assert!(guide.contains(name), "{name}");
    }
}
