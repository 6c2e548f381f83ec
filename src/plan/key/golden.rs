//! Keys that must never change while [`super::FORMAT`] is what it is: a change would forget every result that people have.

use serde_json::{Map, Value};

use super::command::{CommandInputs, Program, of_command};
use super::facts::{ModelFact, Realm, ServerFacts};
use super::tests::{Task, file};
use crate::base::{ContentHash, NodeId};
use crate::plan::CacheMode;

const VECTORS: &str = include_str!("golden.json");

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn pairs<T: FromIterator<(String, String)>>(value: &Value, name: &str) -> T {
    let empty = Map::new();
    let members = value.get(name).and_then(Value::as_object).unwrap_or(&empty);
    members
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

fn facts(vector: &Value) -> ServerFacts {
    let realm = serde_json::from_value(vector["realm"].clone()).unwrap();
    let mut facts = ServerFacts::new(realm);
    facts.version = text(vector, "version").map(str::to_owned);
    facts.packs = pairs(vector, "packs");
    for model in list(vector, "models") {
        let fact = ModelFact {
            folder: text(model, "folder").unwrap().to_owned(),
            size: model["size"].as_u64(),
            modified: model["modified"].as_u64(),
        };
        let name = text(model, "name").unwrap().to_owned();
        facts.models.entry(name).or_default().push(fact);
    }
    facts
}

fn key_of(vector: &Value) -> ContentHash {
    let Some(graph) = vector.get("graph") else {
        return key_of_command(vector);
    };
    let mut task = Task::new(graph.clone());
    task.facts = facts(vector);
    task.targets = list(vector, "targets")
        .map(|node| NodeId::from(node.as_str().unwrap()))
        .collect();
    task.uploads = list(vector, "files")
        .map(|found| {
            let member = |name| text(found, name).unwrap();
            file(
                member("node"),
                member("input"),
                text(found, "pointer").unwrap_or_default(),
                "any.png",
                member("content"),
            )
        })
        .collect();
    if let Some(mode) = vector.get("cache") {
        task.mode = serde_json::from_value::<CacheMode>(mode.clone()).unwrap();
    }
    task.key()
}

fn key_of_command(vector: &Value) -> ContentHash {
    let args: Vec<String> = list(vector, "args")
        .map(|arg| arg.as_str().unwrap().to_owned())
        .collect();
    let files: Vec<_> = list(vector, "files")
        .map(|found| {
            let content = text(found, "content").unwrap();
            let path = text(found, "path").unwrap();
            (path.into(), ContentHash::of(content.as_bytes()))
        })
        .collect();
    let program = match text(vector, "program_content") {
        Some(content) => Program::File(ContentHash::of(content.as_bytes())),
        None => Program::Named(text(vector, "program").unwrap()),
    };
    let inputs = CommandInputs {
        program,
        args: &args,
        env: &pairs(vector, "env"),
        stdin: text(vector, "stdin"),
        collect: &pairs(vector, "collect"),
        files: &files,
    };
    of_command(&inputs).unwrap()
}

#[test]
fn twenty_keys_are_what_they_always_were() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.len(), 20);
    let found: Vec<(&str, String)> = vectors
        .iter()
        .map(|vector| (text(vector, "name").unwrap(), key_of(vector).to_hex()))
        .collect();
    let recorded: Vec<(&str, String)> = vectors
        .iter()
        .map(|vector| {
            (
                text(vector, "name").unwrap(),
                text(vector, "key").unwrap().to_owned(),
            )
        })
        .collect();
    compare(&recorded, &found);
    let mut distinct: Vec<&String> = found.iter().map(|(_, key)| key).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 20, "no two vectors have the same key");
    assert_eq!(Realm::Here.name(), "here");
}

fn compare(recorded: &[(&str, String)], found: &[(&str, String)]) {
    let lines = |keys: &[(&str, String)]| -> String {
        let lines: Vec<String> = keys
            .iter()
            .map(|(name, key)| format!("{key} {name}"))
            .collect();
        lines.join("\n")
    };
    let (recorded, found) = (lines(recorded), lines(found));
    assert!(recorded == found, "recorded:\n{recorded}\nfound:\n{found}");
}
