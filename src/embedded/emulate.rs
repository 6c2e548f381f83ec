//! What older and younger versions of `ComfyUI` answer otherwise than the one that the rest of this server follows.
//!
//! Which version does what is told by [`Dialect`] alone; here is only how an answer looks then.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::walk;
use crate::base::{ContentHash, NodeId};
use crate::catalog::{Catalog, InputDef, InputType};
use crate::protocol::{Dialect, Version};
use crate::workflow::verdict::Verdict;
use crate::workflow::{Graph, is_link};

/// Versions since which something is otherwise, and the two ends of what is known.
const KNOWN: [Version; 7] = [
    Version::OLDEST,
    Version(0, 7, 0),
    Version(0, 12, 1),
    Version(0, 24, 0),
    Version(0, 26, 0),
    Version::REFERENCE,
    Version::NEWEST,
];

/// A version that kiln cannot stand in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "ComfyUI {asked} cannot be emulated: kiln knows the versions from {oldest} to {newest}; something changed with each of {}",
    listed()
)]
pub struct UnknownVersion {
    /// What was asked for.
    pub asked: Version,
    oldest: Version,
    newest: Version,
}

fn listed() -> String {
    let versions: Vec<String> = KNOWN.iter().map(Version::to_string).collect();
    versions.join(", ")
}

/// How a version speaks; the reference without one.
pub(super) fn dialect(version: Option<Version>) -> Result<Dialect, UnknownVersion> {
    let asked = version.unwrap_or(Version::REFERENCE);
    if (Version::OLDEST..=Version::NEWEST).contains(&asked) {
        return Ok(Dialect::comfy(Some(asked)));
    }
    Err(UnknownVersion {
        asked,
        oldest: Version::OLDEST,
        newest: Version::NEWEST,
    })
}

/// The body of the answer to a graph.
pub(super) fn answer(dialect: &Dialect, verdict: &Verdict) -> Value {
    let mut answer = verdict.to_response();
    if let Some(error) = answer.get_mut("error") {
        unknown_class(dialect, error);
    }
    if !dialect.cycles_refused {
        let nodes = answer.get_mut("node_errors").and_then(Value::as_object_mut);
        for node in nodes.into_iter().flat_map(Map::values_mut) {
            let errors = node.get_mut("errors").and_then(Value::as_array_mut);
            for error in errors.into_iter().flatten() {
                endless(error);
            }
        }
    }
    answer
}

/// The complaint about a class that is not there.
fn unknown_class(dialect: &Dialect, error: &mut Value) {
    let found = error.get("type").and_then(Value::as_str);
    if found != Some("missing_node_type") || found == Some(dialect.unknown_class) {
        return;
    }
    let class = error.pointer("/extra_info/class_type");
    let message = match class.and_then(Value::as_str) {
        Some(class) => format!("Cannot execute because node {class} does not exist."),
        None => "Cannot execute because a node is missing the class_type property.".to_owned(),
    };
    error["type"] = json!(dialect.unknown_class);
    error["message"] = json!(message);
    error["extra_info"] = json!({});
}

/// A cycle, as it looked before anybody looked for cycles.
fn endless(error: &mut Value) {
    if error.get("type").and_then(Value::as_str) != Some("dependency_cycle") {
        return;
    }
    *error = json!({
        "type": "exception_during_inner_validation",
        "message": "Exception when validating inner node",
        "details": "maximum recursion depth exceeded",
        "extra_info": {
            "exception_message": "maximum recursion depth exceeded",
            "exception_type": "RecursionError",
            "traceback": [],
        },
    });
}

/// The refusal of a dynamic choice that is none of its options, from versions that look at it.
pub(super) fn dynamic(
    dialect: &Dialect,
    graph: &Graph,
    catalog: &Catalog,
    runs: &[NodeId],
) -> Option<Value> {
    if !dialect.dynamic_refused {
        return None;
    }
    let mut nodes = Map::new();
    for id in needed(graph, runs) {
        let Some(node) = graph.nodes.get(id.as_str()) else {
            continue;
        };
        let Some(def) = catalog.node(&node.class_type) else {
            continue;
        };
        let mut errors = Vec::new();
        for input in &def.inputs {
            choice(input, &input.name, &node.inputs, &mut errors);
        }
        if !errors.is_empty() {
            let about = json!({
                "errors": errors,
                "dependent_outputs": runs,
                "class_type": node.class_type,
            });
            nodes.insert(id.0, about);
        }
    }
    (!nodes.is_empty()).then(|| {
        json!({
            "error": {
                "type": "prompt_outputs_failed_validation",
                "message": "Prompt outputs failed validation",
                "details": "",
                "extra_info": {},
            },
            "node_errors": nodes,
        })
    })
}

fn choice(input: &InputDef, name: &str, values: &Map<String, Value>, errors: &mut Vec<Value>) {
    let InputType::DynamicCombo(options) = &input.ty else {
        return;
    };
    let Some(value) = values.get(name).filter(|value| is_link(value).is_none()) else {
        return;
    };
    match options.iter().find(|option| option.key == *value) {
        Some(option) => {
            for inner in &option.inputs {
                choice(inner, &format!("{name}.{}", inner.name), values, errors);
            }
        }
        None => errors.push(json!({
            "type": "invalid_dynamic_input",
            "message": "Invalid dynamic input",
            "details": format!("{name}: {value} is none of its options"),
            "extra_info": { "input_name": name },
        })),
    }
}

/// Some nodes and all that they need.
fn needed(graph: &Graph, runs: &[NodeId]) -> Vec<NodeId> {
    let mut seen = HashSet::new();
    let mut open: Vec<NodeId> = runs.to_vec();
    let mut order = Vec::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        if let Some(node) = graph.nodes.get(id.as_str()) {
            open.extend(walk::sources(node).map(NodeId::from));
        }
        order.push(id);
    }
    order
}

/// A node's result for people, each of its files with the id of an asset.
pub(super) fn with_asset_ids(ui: &Value) -> Value {
    match ui {
        Value::Array(items) => items.iter().map(with_asset_ids).collect(),
        Value::Object(members) => {
            let mut members: Map<String, Value> = members
                .iter()
                .map(|(name, value)| (name.clone(), with_asset_ids(value)))
                .collect();
            if members.contains_key("filename") {
                let id = asset_id(&Value::Object(members.clone()).to_string());
                members.insert("id".into(), json!(id));
                members.insert("preview_id".into(), Value::Null);
            }
            Value::Object(members)
        }
        other => other.clone(),
    }
}

/// The id of an asset: the same for the same thing.
pub(super) fn asset_id(of: &str) -> String {
    let hash = ContentHash::of(of.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_versions_are_emulated() {
        assert_eq!(dialect(None).unwrap().version, Some(Version::REFERENCE));
        assert!(!dialect(Some(Version(0, 3, 64))).unwrap().jobs);
        assert_eq!(
            dialect(Some(Version(1, 0, 0))).unwrap_err().to_string(),
            "ComfyUI 1.0.0 cannot be emulated: kiln knows the versions from 0.3.64 to 0.38.1; something changed with each of \
             0.3.64, 0.7.0, 0.12.1, 0.24.0, 0.26.0, 0.33.0, 0.38.1"
        );
        assert!(dialect(Some(Version(0, 3, 0))).is_err());
    }

    #[test]
    fn files_get_ids_wherever_they_are_and_nothing_else_does() {
        let ui = json!({"images": [{"filename": "a.png", "subfolder": "", "type": "output"}], "text": ["x"], "dims": [1, 2]});
        let with = with_asset_ids(&ui);
        assert!(uuid::Uuid::parse_str(with["images"][0]["id"].as_str().unwrap()).is_ok());
        assert_eq!(with["images"][0]["filename"], "a.png");
        assert_eq!((&with["text"], &with["dims"]), (&ui["text"], &ui["dims"]));
        assert_eq!(with, with_asset_ids(&ui), "the same file has the same id");
    }
}
