//! The embedded server's node classes against `ComfyUI`'s `object_info`: names, types, bounds, defaults, options, outputs.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::server::Running;
use crate::transcripts::difference;

/// Members that are words for people, which are kiln's own or absent.
const WORDS: [&str; 4] = [
    "description",
    "search_aliases",
    "essentials_category",
    "tooltip",
];

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    vec![crate::trial(
        fixtures,
        "classes::declared_as_in_comfyui",
        compare,
    )]
}

fn compare(folder: &Path) -> Result<(), Failed> {
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("object_info.json")).unwrap())
            .unwrap();
    let made = Running::with(async |server| server.get("/object_info").await.body);
    let mut wrong = Vec::new();
    for (class, made) in made.as_object().unwrap() {
        let (mut made, mut expected) = (made.clone(), expected[class].clone());
        for info in [&mut made, &mut expected] {
            without_words(info);
            if class == "LoadImage" {
                info["input"]["required"]["image"][0] = Value::Null;
            }
        }
        if made != expected {
            wrong.push(difference(class, &made, &expected));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// An input with nothing but words in its options is declared without options, so empty ones are taken away as well.
fn without_words(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !WORDS.contains(&key.as_str()));
            members.values_mut().for_each(without_words);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(without_words);
            if items.len() == 2 && items[1].as_object().is_some_and(serde_json::Map::is_empty) {
                items.pop();
            }
        }
        _ => {}
    }
}
