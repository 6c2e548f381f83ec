//! Thousands of broken files: whatever happens to a file, reading it ends, soon and in words.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{catalog, field, node, socket};
use crate::diagnostic::SourceMap;
use crate::workflow::import::drawn;

/// What random parts are drawn from; the same cases each time.
const SEED: u64 = 20_261_122;

/// A file with a bit of everything.
fn whole() -> Value {
    json!({"last_node_id": 9, "nodes": [
        node(1, "Load", json!(["a.png", "image"]), json!([])),
        node(2, "s", json!([0.5]), json!([socket("picture", "IMAGE", json!(1)), field("factor", "FLOAT", json!(null))])),
        node(3, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(2)), socket("mask", "MASK", json!(6))])),
        node(4, "Reroute", json!(null), json!([socket("", "*", json!(3))])),
        {"id": 5, "type": "PrimitiveNode", "outputs": [{"type": "INT"}], "widgets_values": [7, "fixed"]},
        node(6, "Sampler", json!([1, "fixed", 20, "euler", 1.0]), json!([field("seed", "INT", json!(4))])),
        {"id": 7, "type": "SetNode", "inputs": [socket("IMAGE", "IMAGE", json!(5))], "widgets_values": ["x"]},
        {"id": 8, "type": "GetNode", "mode": 0, "outputs": [{"type": "IMAGE"}], "widgets_values": ["x"]},
        node(9, "workflow>G", json!(["a", "b", 1]), json!([])),
        node(10, "Format", json!(["jpg", 1, 2, "fixed", "x"]), json!([socket("images.image0", "IMAGE", json!(1))])),
    ], "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 1, 0, 4, 0, "*"], [4, 5, 0, 6, 1, "INT"], [5, 4, 0, 7, 0, "IMAGE"], [6, 8, 0, 3, 1, "MASK"]],
    "definitions": {"subgraphs": [{"id": "s", "name": "S", "inputNode": {"id": -10}, "outputNode": {"id": -20},
        "inputs": [{"name": "picture", "linkIds": [1]}, {"name": "factor", "linkIds": [3]}], "outputs": [{"name": "o", "linkIds": [4]}],
        "nodes": [node(7, "Blend", json!([0.1]), json!([socket("one", "IMAGE", json!(1)), field("factor", "FLOAT", json!(3))]))],
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 0}, {"id": 3, "origin_id": -10, "origin_slot": 1, "target_id": 7, "target_slot": 1}, {"id": 4, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0}]}]},
    "extra": {"groupNodes": {"G": {"nodes": [{"type": "Texts", "inputs": [], "outputs": [], "widgets_values": ["", "", 1]}], "links": [], "external": []}},
        "ue_links": [{"downstream": 3, "downstream_slot": 1, "upstream": 1, "upstream_slot": 1}]}})
}

/// A value from somewhere in the file, or one that nobody expects.
fn other(rng: &mut Rng, parts: &[Value]) -> Value {
    match rng.u8(..10) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(""),
        4 => json!([]),
        5 => json!({}),
        6 => json!("s"),
        _ => parts[rng.usize(..parts.len())].clone(),
    }
}

fn collect(value: &Value, parts: &mut Vec<Value>) {
    parts.push(value.clone());
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, parts)),
        Value::Object(members) => members.values().for_each(|item| collect(item, parts)),
        _ => {}
    }
}

/// Puts something else into one place of the file.
fn mutate(value: &mut Value, rng: &mut Rng, parts: &[Value]) {
    let here = rng.u8(..4) == 0;
    match value {
        Value::Array(items) if !items.is_empty() && !here => {
            let at = rng.usize(..items.len());
            mutate(&mut items[at], rng, parts);
        }
        Value::Object(members) if !members.is_empty() && !here => {
            let at = rng.usize(..members.len());
            let name = members.keys().nth(at).cloned().unwrap();
            if rng.u8(..12) == 0 {
                members.shift_remove(&name);
            } else {
                mutate(&mut members[&name], rng, parts);
            }
        }
        value => *value = other(rng, parts),
    }
}

fn survive(text: &str, catalog: &crate::catalog::Catalog) {
    let Some(drawn) = drawn(text) else { return };
    let imported = drawn.convert(catalog, 1);
    let mut sources = SourceMap::default();
    let file = sources.add_text("w.json", text);
    let report = imported.report(file, &sources);
    assert!(
        !imported.graph.nodes.is_empty() || report.has_errors(),
        "a file gives something to run, or says why not: {text}"
    );
}

#[test]
fn files_with_values_in_wrong_places_are_read_to_the_end() {
    let catalog = catalog();
    let mut rng = Rng::with_seed(SEED);
    let mut parts = Vec::new();
    collect(&whole(), &mut parts);
    for _ in 0..2500 {
        let mut file = whole();
        for _ in 0..=rng.u8(..4) {
            mutate(&mut file, &mut rng, &parts);
        }
        survive(&file.to_string(), &catalog);
    }
}

#[test]
fn files_with_damaged_bytes_are_read_to_the_end() {
    let catalog = catalog();
    let mut rng = Rng::with_seed(SEED);
    let text = whole().to_string();
    for _ in 0..1500 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=rng.u8(..3) {
            let at = rng.usize(..bytes.len());
            bytes[at] = b"{}[]\",:0129-ax \\"[rng.usize(..16)];
        }
        if rng.u8(..3) == 0 {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        if let Ok(text) = String::from_utf8(bytes) {
            survive(&text, &catalog);
        }
    }
}

#[test]
fn deep_files_are_refused_before_they_are_opened() {
    for open in ["[", "{\"a\":"] {
        assert!(drawn(&format!("{{\"nodes\":[{}", open.repeat(200_000))).is_none());
    }
}

#[test]
fn definitions_that_make_no_sense_do_no_harm() {
    let mut rng = Rng::with_seed(SEED);
    let text = whole().to_string();
    let info = json!({
        "Load": {"input": {"required": {"image": [["a.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
        "Sampler": {"input": {"required": {"seed": ["INT", {"control_after_generate": true}], "steps": ["INT", {}], "name": [["euler"]]}}, "output": ["LATENT"]},
        "Save": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}}, "output": []},
        "Format": {"input": {"required": {"format": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "jpg", "inputs": {"required": {"q": ["INT", {}]}}}]}],
            "images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image"}}]}}, "output": ["IMAGE"]},
    });
    let mut parts = Vec::new();
    collect(&info, &mut parts);
    for _ in 0..1000 {
        let mut info = info.clone();
        for _ in 0..=rng.u8(..3) {
            mutate(&mut info, &mut rng, &parts);
        }
        let (catalog, _) = crate::catalog::Catalog::from_object_info(&info);
        let imported = drawn(&text).unwrap().convert(&catalog, 1);
        assert!(!imported.graph.nodes.is_empty() || !imported.notices.is_empty());
    }
}
