//! What nodes left behind: files under any key, and texts.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::NodeId;

/// A file as the server names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileRef {
    /// Its name, without a folder.
    pub filename: String,
    /// Its folder below the type's folder; often empty.
    #[serde(default)]
    pub subfolder: String,
    /// `output`, `temp` or `input`.
    #[serde(rename = "type", default = "output")]
    pub folder: String,
}

fn output() -> String {
    "output".to_owned()
}

impl FileRef {
    /// The value that input nodes take for it: `sub/name.png`, with ` [output]` or ` [temp]` where it does not lie among the inputs.
    pub fn annotated(&self) -> String {
        let slash = if self.subfolder.is_empty() { "" } else { "/" };
        let name = format!("{}{slash}{}", self.subfolder, self.filename);
        if self.folder == "input" {
            name
        } else {
            format!("{name} [{}]", self.folder)
        }
    }

    /// The file that input nodes take for a value: what [`FileRef::annotated`] made, or somebody wrote.
    pub fn named(value: &str) -> Self {
        let folders = ["output", "input", "temp"];
        let annotated = folders.iter().find_map(|folder| {
            let name = value.strip_suffix(&format!("[{folder}]"))?;
            Some((name.trim_end(), *folder))
        });
        let (name, folder) = annotated.unwrap_or((value, "input"));
        let (subfolder, filename) = name.rsplit_once('/').unwrap_or(("", name));
        Self {
            filename: filename.to_owned(),
            subfolder: subfolder.to_owned(),
            folder: folder.to_owned(),
        }
    }
}

/// One thing that a node left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeResult {
    /// The node, as the graph names it.
    pub node: NodeId,
    /// The key that held it, e.g. `images`, `gifs`, `text`.
    pub key: String,
    /// The thing.
    pub value: ResultValue,
    /// Members of a file's object beside its name and place, e.g. `frame_rate`.
    pub meta: Map<String, Value>,
}

/// A file or a text.
#[derive(Clone, Debug, PartialEq)]
pub enum ResultValue {
    /// A file to fetch.
    File(FileRef),
    /// A text, whole.
    Text(String),
}

/// More than this from one job is an accident or an attack.
const MOST: usize = 100_000;
/// Lists of lists deeper than this are not looked into.
const DEEPEST: usize = 8;

/// Every file and text in the `outputs` of a job, by node id (numbers by value, before words), then in the server's order.
///
/// Files are objects with a `filename`, at any depth under any key: servers put videos under `images`, and custom nodes invent keys. Texts
/// are the strings under `text`. A file that a node names twice counts once. Other strings (`result` of 3D previews) are no files: they do
/// not tell the folder they are in.
pub fn results(outputs: &Value) -> Vec<NodeResult> {
    let Some(outputs) = outputs.as_object() else {
        return Vec::new();
    };
    let mut nodes: Vec<_> = outputs.iter().collect();
    nodes.sort_by(|a, b| node_order(a.0, b.0));
    let mut found = Vec::new();
    for (node, output) in nodes {
        let mut seen = HashSet::new();
        for (key, value) in output.as_object().into_iter().flatten() {
            walk(node, key, value, 0, &mut seen, &mut found);
        }
    }
    found
}

fn walk(
    node: &str,
    key: &str,
    value: &Value,
    depth: usize,
    seen: &mut HashSet<FileRef>,
    found: &mut Vec<NodeResult>,
) {
    if depth > DEEPEST || found.len() >= MOST {
        return;
    }
    let mut push = |value, meta| {
        let result = NodeResult {
            node: NodeId::from(node),
            key: key.to_owned(),
            value,
            meta,
        };
        let again = matches!(&result.value, ResultValue::File(file) if !seen.insert(file.clone()));
        if !again {
            found.push(result);
        }
    };
    match value {
        Value::String(text) if key == "text" => push(ResultValue::Text(text.clone()), Map::new()),
        Value::Object(members) => match file(members) {
            Some((file, meta)) => push(ResultValue::File(file), meta),
            None => {
                for value in members.values().filter(|v| !v.is_string()) {
                    walk(node, key, value, depth + 1, seen, found);
                }
            }
        },
        Value::Array(items) => {
            for item in items {
                walk(node, key, item, depth + 1, seen, found);
            }
        }
        _ => {}
    }
}

fn file(members: &Map<String, Value>) -> Option<(FileRef, Map<String, Value>)> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let filename = text("filename").filter(|name| !name.is_empty())?;
    let meta = members
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "filename" | "subfolder" | "type"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let file = FileRef {
        filename: filename.to_owned(),
        subfolder: text("subfolder").unwrap_or_default().to_owned(),
        folder: text("type").unwrap_or("output").to_owned(),
    };
    Some((file, meta))
}

pub(super) fn node_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(x), Ok(y)) => x.cmp(&y).then_with(|| a.cmp(b)),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(outputs: &Value) -> Vec<String> {
        results(outputs)
            .into_iter()
            .map(|r| match r.value {
                ResultValue::File(f) => format!("{}.{} {}", r.node, r.key, f.annotated()),
                ResultValue::Text(t) => format!("{}.{} '{t}'", r.node, r.key),
            })
            .collect()
    }

    #[test]
    fn a_value_names_the_file_that_it_was_made_for() {
        for value in [
            "a.png",
            "deep/er/a.png",
            "sub/a.png [output]",
            "a.png [temp]",
        ] {
            assert_eq!(FileRef::named(value).annotated(), value);
        }
        assert_eq!(
            FileRef::named("a.png[output]").annotated(),
            "a.png [output]"
        );
        assert_eq!(FileRef::named("a [1].png").filename, "a [1].png");
    }

    #[test]
    fn files_are_found_under_every_key_and_at_every_depth() {
        let outputs = json!({
            "10": {"images": [{"filename": "v.mp4", "subfolder": "video", "type": "output"}], "animated": [true]},
            "9": {"gifs": [{"filename": "g.gif", "subfolder": "", "type": "temp", "frame_rate": 8.0}]},
            "b": {"pairs": [[{"filename": "x.png", "type": "input"}], {"left": {"filename": "y.png"}}]},
            "a": {"dims": [64, 64], "3d": [{"filename": "m.glb", "subfolder": "", "type": "output"}]},
        });
        assert_eq!(
            names(&outputs),
            [
                "9.gifs g.gif [temp]",
                "10.images video/v.mp4 [output]",
                "a.3d m.glb [output]",
                "b.pairs x.png",
                "b.pairs y.png [output]",
            ]
        );
        assert_eq!(results(&outputs)[0].meta["frame_rate"], 8.0);
    }

    #[test]
    fn texts_come_from_the_key_text_alone() {
        let outputs = json!({
            "1": {"text": ["one", "two"], "result": ["3d/tri.glb", null], "ui": "x"},
            "2": {"text": "bare", "files": [{"filename": "t.md"}]},
            "3": null,
            "4": {"text": [3, null]},
        });
        assert_eq!(
            names(&outputs),
            [
                "1.text 'one'",
                "1.text 'two'",
                "2.text 'bare'",
                "2.files t.md [output]"
            ]
        );
    }

    #[test]
    fn an_absurd_number_of_files_is_read_quickly_and_cut() {
        let files: Vec<Value> = (0..MOST + 10)
            .map(|n| json!({"filename": format!("{n}.png")}))
            .collect();
        let began = std::time::Instant::now();
        assert_eq!(results(&json!({"1": {"images": files}})).len(), MOST);
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn a_file_named_twice_by_a_node_counts_once() {
        let file = json!({"filename": "a.png", "subfolder": "", "type": "output"});
        let outputs = json!({"1": {"images": [file], "preview": [file]}, "2": {"images": [file]}});
        assert_eq!(results(&outputs).len(), 2);
    }
}
