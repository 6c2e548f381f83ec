//! Each diagnostic's exact text, over a small catalog of our own.

use serde_json::{Value, json};

use super::verdict_diagnostics;
use crate::catalog::Catalog;
use crate::diagnostic::{Origin, Report, SourceMap, render_human};
use crate::workflow::verdict::{JudgeOptions, judge};
use crate::workflow::{self, pointer};

fn catalog() -> Catalog {
    let models: Vec<String> = (0..30)
        .map(|n| format!("sdxl/model-{n}.safetensors"))
        .collect();
    let info = json!({
        "Empty": {"input": {"required": {
            "width": ["INT", {"default": 512, "min": 16, "max": 4096}],
            "scale": ["FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0}],
        }, "optional": {"color": ["INT", {"default": 0}]}}, "output": ["IMAGE", "MASK"]},
        "Blend": {"input": {"required": {"image": ["IMAGE"], "mode": [["normal", "multiply"]]}}, "output": ["IMAGE"]},
        "Loader": {"input": {"required": {"ckpt_name": [models]}}, "output": ["MODEL"]},
        "NoModels": {"input": {"required": {"ckpt_name": [[]]}}, "output": ["MODEL"]},
        "LoadImage": {"input": {"required": {"image": [["kiln.png", "harbour.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
        "Load3D": {"input": {"required": {"model_file": ["COMBO", {"options": ["none"], "file_upload": true}]}}, "output": ["IMAGE"]},
        "Resize": {"input": {"required": {"image": ["IMAGE"], "by": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "factor", "inputs": {"required": {"factor": ["FLOAT", {"default": 1.0}]}}},
            {"key": "size", "inputs": {"required": {"width": ["INT", {}]}}}]}]}}, "output": ["IMAGE"]},
        "Batch": {"input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 3}}]}}, "output": ["IMAGE"]},
        "Show": {"input": {"required": {"source": ["*", {}]}}, "output": [], "output_node": true},
        "Save": {"input": {"required": {"images": ["IMAGE"], "prefix": ["STRING", {"default": "out"}]}}, "output": [], "output_node": true},
    });
    let (catalog, warnings) = Catalog::from_object_info(&info);
    assert!(warnings.is_empty(), "{warnings:?}");
    catalog
}

/// What is said about a workflow of these nodes; a node `save` that saves node `1` is added.
fn told(mut nodes: Value) -> String {
    nodes["save"] = json!({"class_type": "Save", "inputs": {"images": ["1", 0], "prefix": "x"}});
    raw(&nodes)
}

fn raw(nodes: &Value) -> String {
    let lines: Vec<String> = nodes
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, node)| format!("  {}: {node}", json!(id)))
        .collect();
    let text = format!("{{\n{}\n}}", lines.join(",\n"));
    let mut sources = SourceMap::default();
    let file = sources.add_text("w.json", &text);
    let mut report = Report::default();
    let graph = workflow::read_for_verdict(file, &sources, &mut report).unwrap();
    let catalog = catalog();
    let verdict = judge(&graph, &catalog, &JudgeOptions::default());
    let origin_of = |node: &crate::base::NodeId, input: Option<&str>| {
        let pointer = match input {
            Some(input) => pointer([node.as_str(), "inputs", input]),
            None => pointer([node.as_str()]),
        };
        Some(Origin::Json { file, pointer })
    };
    report.extend(verdict_diagnostics(
        &verdict,
        &graph,
        &catalog,
        &origin_of,
        &sources,
        super::Setting::default(),
    ));
    render_human(&report, &sources)
}

fn empty(inputs: &Value) -> Value {
    let mut all = json!({"width": 64, "scale": 1.0});
    for (name, value) in inputs.as_object().unwrap() {
        all[name] = value.clone();
    }
    json!({"class_type": "Empty", "inputs": all})
}

#[test]
fn a_sound_workflow_needs_no_words() {
    assert_eq!(told(json!({"1": empty(&json!({}))})), "");
}

#[test]
fn missing_node_types() {
    insta::assert_snapshot!(told(json!({
        "1": {"class_type": "Emty", "inputs": {}},
        "2": {"class_type": "FaceDetailer", "inputs": {}},
        "3": {"inputs": {}},
    })));
}

#[test]
fn required_inputs() {
    insta::assert_snapshot!(told(
        json!({"1": {"class_type": "Empty", "inputs": {"widht": 64}}})
    ));
    insta::assert_snapshot!(told(
        json!({"1": {"class_type": "Blend", "inputs": {"mode": "normal"}}})
    ));
    insta::assert_snapshot!(told(
        json!({"1": {"class_type": "Batch", "inputs": {"images": {"image0": 1}}}})
    ));
}

#[test]
fn values_not_in_lists() {
    insta::assert_snapshot!(told(json!({
        "0": empty(&json!({})),
        "1": {"class_type": "Blend", "inputs": {"image": ["0", 0], "mode": "Multiply "}},
    })));
    insta::assert_snapshot!(told(json!({
        "0": empty(&json!({})),
        "1": {"class_type": "Blend", "inputs": {"image": ["0", 0], "mode": "screen"}},
    })));
}

#[test]
fn model_files() {
    let text = |class: &str, name: &str| {
        let nodes = json!({
            "1": {"class_type": class, "inputs": {"ckpt_name": name}},
            "2": {"class_type": "Show", "inputs": {"source": ["1", 0]}},
        });
        raw(&nodes)
    };
    insta::assert_snapshot!(text("Loader", "sdxl\\model-3.safetensors"));
    insta::assert_snapshot!(text("Loader", "model-3.safetensors"));
    insta::assert_snapshot!(text("Loader", "flux1-dev.safetensors"));
    insta::assert_snapshot!(text("NoModels", "sd15.safetensors"));
}

#[test]
fn wrong_values() {
    insta::assert_snapshot!(told(
        json!({"1": empty(&json!({"width": "abc", "scale": null}))})
    ));
    insta::assert_snapshot!(told(
        json!({"1": empty(&json!({"width": 0, "scale": 9.5}))})
    ));
    insta::assert_snapshot!(told(json!({"1": empty(&json!({"width": [16]}))})));
}

#[test]
fn wrong_links() {
    insta::assert_snapshot!(told(json!({
        "0": empty(&json!({})),
        "1": {"class_type": "Blend", "inputs": {"image": ["0", 1], "mode": "normal"}},
    })));
    insta::assert_snapshot!(told(json!({
        "1": {"class_type": "Blend", "inputs": {"image": ["7", 0], "mode": "normal"}},
    })));
    insta::assert_snapshot!(raw(&json!({
        "0": empty(&json!({})),
        "save": {"class_type": "Save", "inputs": {"images": ["0", 5], "prefix": "x"}},
    })));
    insta::assert_snapshot!(told(json!({
        "1": {"class_type": "Blend", "inputs": {"image": ["2", 0], "mode": "normal"}},
        "2": {"class_type": "Blend", "inputs": {"image": ["1", 0], "mode": "normal"}, "_meta": {"title": "Second"}},
    })));
}

#[test]
fn input_files() {
    insta::assert_snapshot!(told(
        json!({"1": {"class_type": "LoadImage", "inputs": {"image": "Harbour.jpg"}}})
    ));
    insta::assert_snapshot!(told(
        json!({"1": {"class_type": "LoadImage", "inputs": {"image": "none.png [output]"}}})
    ));
    insta::assert_snapshot!(told(json!({
        "0": empty(&json!({})),
        "1": {"class_type": "LoadImage", "inputs": {"image": ["0", 0]}},
    })));
    insta::assert_snapshot!(told(
        json!({"1": {"class_type": "Load3D", "inputs": {"model_file": "toy.glb"}}})
    ));
}

#[test]
fn nothing_to_run() {
    insta::assert_snapshot!(raw(&json!({"1": empty(&json!({}))})));
}

#[test]
fn undeclared_inputs() {
    insta::assert_snapshot!(told(json!({"1": empty(&json!({"colour": 3}))})));
    insta::assert_snapshot!(told(json!({"1": empty(&json!({"denoise": 0.5}))})));
    assert_eq!(told(json!({"1": empty(&json!({"preview": ""}))})), "");
}

#[test]
fn links_that_a_server_dies_of() {
    insta::assert_snapshot!(told(json!({"1": empty(&json!({"bogus": ["404", 0]}))})));
    let unreached =
        told(json!({"1": empty(&json!({})), "2": empty(&json!({"bogus": ["404", 0]}))}));
    assert!(!unreached.contains("K0302"), "{unreached}");
}

#[test]
fn choices_that_bring_inputs() {
    let resize = |inputs: Value| {
        let mut node = json!({"class_type": "Resize", "inputs": inputs});
        node["inputs"]["image"] = json!(["0", 0]);
        told(json!({"0": empty(&json!({})), "1": node}))
    };
    insta::assert_snapshot!(resize(json!({"by": "factr", "by.factor": 2.0})));
    insta::assert_snapshot!(resize(json!({})));
    assert_eq!(resize(json!({"by": "size", "by.width": 64})), "");
}
