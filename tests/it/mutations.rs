//! Catalogs and workflows as broken and hostile ones would send them: nothing crashes, whatever is changed, and what is said points into
//! the file. The changes come from seeds, so that every run makes the same ones.

use kiln::catalog::Catalog;
use kiln::check::{Setting, editor, verdict_diagnostics};
use kiln::diagnostic::{
    FileId, Origin, Report, SarifLog, SourceMap, render_human, to_github, to_json,
};
use kiln::workflow::verdict::{JudgeOptions, judge};
use kiln::workflow::{self, Graph};
use serde_json::{Value, json};

/// Values that programs trip over.
fn odd(random: &mut fastrand::Rng) -> Value {
    let choices = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(0.1),
        json!(""),
        json!("*"),
        json!("IMAGE"),
        json!("IMAGE,MASK"),
        json!("COMFY_MATCHTYPE_V3"),
        json!("COMFY_AUTOGROW_V3"),
        json!("COMFY_DYNAMICCOMBO_V3"),
        json!("COMFY_DYNAMICSLOT_V3"),
        json!("{{ x }}"),
        json!("\u{0}\u{202e}ü\u{1f525}"),
        json!("a".repeat(300)),
        json!([]),
        json!({}),
        json!([[]]),
        json!(["1", 0]),
        json!(["1", -1]),
        json!(["9", 9_999_999_999_i64]),
        json!([1, "1"]),
        json!(["1", 0, 0]),
        json!({"__value__": ["1", 0]}),
        json!({"required": {"x": ["INT", {}]}}),
        json!(["COMBO", {"options": [1, "a", null, {}]}]),
        json!(["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"i": ["IMAGE", {}]}}, "prefix": "i", "min": 3, "max": 18_446_744_073_709_551_615_u64}}]),
        json!(["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": 1, "inputs": {"required": {"": ["INT", {}]}}}]}]),
    ];
    choices[random.usize(..choices.len())].clone()
}

/// Changes a few places of a value.
fn mutate(value: &mut Value, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..5) {
        let mut at = &mut *value;
        for _ in 0..random.usize(1..9) {
            let count = match &*at {
                Value::Object(members) => members.len(),
                Value::Array(items) => items.len(),
                _ => 0,
            };
            if count == 0 {
                break;
            }
            let chosen = random.usize(..count);
            at = match at {
                Value::Object(members) => members.values_mut().nth(chosen).unwrap(),
                Value::Array(items) => &mut items[chosen],
                _ => unreachable!("it has no members"),
            };
        }
        match (random.u8(..4), at) {
            (0, Value::Object(members)) => {
                let name =
                    ["", "1", "class_type", "inputs", "input", "required", "x"][random.usize(..7)];
                members.insert(name.to_owned(), odd(random));
            }
            (1, Value::Object(members)) if !members.is_empty() => {
                let name = members
                    .keys()
                    .nth(random.usize(..members.len()))
                    .unwrap()
                    .clone();
                members.shift_remove(&name);
            }
            (0 | 1, Value::Array(items)) => items.push(odd(random)),
            (_, at) => *at = odd(random),
        }
    }
}

fn catalog() -> Value {
    let matched = json!(["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "IMAGE,MASK"}}]);
    json!({
        "Empty": {"input": {"required": {"width": ["INT", {"default": 512, "min": 1, "max": 4096}], "f": ["FLOAT", {"min": 0.0}]}, "optional": {"on": ["BOOLEAN", {}], "text": ["STRING", {"multiline": true}]}}, "output": ["IMAGE", "MASK"], "output_is_list": [false, true], "output_name": ["image", "mask"]},
        "Load": {"input": {"required": {"image": [["a.png", "b.png"], {"image_upload": true}]}}, "output": ["IMAGE"], "python_module": "custom_nodes.Pack"},
        "LoadImage": {"input": {"required": {"image": [["a.png", "b.png"], {"image_upload": true}]}}, "output": ["IMAGE"], "deprecated": true},
        "Resize": {"input": {"required": {"image": matched, "by": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "factor", "inputs": {"required": {"factor": ["FLOAT", {}]}}}]}]}}, "output": ["COMFY_MATCHTYPE_V3"], "output_matchtypes": ["t"], "experimental": true},
        "Batch": {"input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 3}}]}}, "output": ["IMAGE"], "api_node": true},
        "Save": {"input": {"required": {"images": ["IMAGE", {}]}, "hidden": {"prompt": "PROMPT"}}, "output": [], "output_node": true},
    })
}

fn workflow() -> Value {
    json!({
        "1": {"class_type": "Empty", "inputs": {"width": 8, "f": 0.5, "on": "yes", "text": "x"}, "_meta": {"title": "Start"}},
        "2": {"class_type": "Resize", "inputs": {"image": ["1", 0], "by": "factor", "by.factor": 2}},
        "3": {"class_type": "Batch", "inputs": {"images.image0": ["2", 0], "images.image1": ["4", 0]}},
        "4": {"class_type": "LoadImage", "inputs": {"image": "sub/a.png"}},
        "5": {"class_type": "Save", "inputs": {"images": ["3", 0]}},
        "6": {"class_type": "Load", "inputs": {"image": "c.png"}},
    })
}

/// Everything that a check does with a text and a catalog, in every form of output.
fn check(text: &str, catalog: &Catalog) {
    let mut sources = SourceMap::default();
    let file = sources.add_text("w.json", text);
    let mut report = Report::default();
    let graph = serde_json::from_str(text)
        .ok()
        .and_then(|value| workflow::from_request(value).ok())
        .or_else(|| workflow::read(file, &sources, &mut report));
    if let Some(graph) = graph {
        told(&graph, file, catalog, &sources, &mut report);
        let fragment = editor::fragment("s", &graph, Some(catalog));
        let schema = kiln::spec::pipeline_schema_for([("s".to_owned(), fragment)]);
        assert!(schema["definitions"].is_object());
    } else {
        assert!(report.has_errors(), "it was refused without a word");
    }
    for diagnostic in &report.items {
        let told = to_json(diagnostic, &sources);
        if let Some(line) = told.line {
            assert!(line <= text.lines().count().max(1) + 1, "{told:?}");
        }
    }
    assert!(report.items.is_empty() || !render_human(&report, &sources).is_empty());
    let _ = to_github(&report, &sources, "w.json");
    let mut log = SarifLog::default();
    log.add("w.json", &report, &sources);
    let _ = log.finish(true);
}

fn told(graph: &Graph, file: FileId, catalog: &Catalog, sources: &SourceMap, report: &mut Report) {
    let verdict = judge(graph, catalog, &JudgeOptions::default());
    let _ = verdict.to_response();
    let places = |node: &kiln::base::NodeId, input: Option<&str>| {
        let pointer = match input {
            Some(input) => workflow::pointer([node.as_str(), "inputs", input]),
            None => workflow::pointer([node.as_str()]),
        };
        Some(Origin::Json { file, pointer })
    };
    report.extend(verdict_diagnostics(
        &verdict,
        graph,
        catalog,
        &places,
        sources,
        Setting::default(),
    ));
}

#[test]
fn no_catalog_crashes_a_check() {
    let text = workflow().to_string();
    for seed in 0..1500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut info = catalog();
        mutate(&mut info, &mut random);
        if let Ok(catalog) = Catalog::open(&info.to_string()) {
            check(&text, &catalog);
        }
    }
}

#[test]
fn no_workflow_crashes_a_check() {
    let catalog = Catalog::from_object_info(&catalog()).0;
    for seed in 0..1500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut graph = workflow();
        mutate(&mut graph, &mut random);
        let text = if random.bool() {
            graph.to_string()
        } else {
            format!("{graph:#}")
        };
        check(&text, &catalog);
    }
}

#[test]
fn no_text_crashes_a_check() {
    let good = Catalog::from_object_info(&catalog()).0;
    let texts = [
        workflow().to_string().into_bytes(),
        catalog().to_string().into_bytes(),
    ];
    for seed in 0..1500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = texts[random.usize(..2)].clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = random.u8(..),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]\",:\\\x00\xff"[random.usize(..10)]),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        check(&text, &good);
        if let Ok(catalog) = Catalog::open(&text) {
            check(&workflow().to_string(), &catalog);
        }
    }
}
