//! What the schema of a known pipeline accepts, refuses and offers.

use serde_json::{Value, json};

use super::fragment;
use crate::catalog::Catalog;
use crate::spec::pipeline_schema_for;
use crate::workflow::{Graph, from_request};

fn catalog() -> Catalog {
    let info = json!({
        "Sampler": {"input": {"required": {
            "model": ["MODEL", {"tooltip": "What draws."}],
            "seed": ["INT", {"default": 0, "min": 0, "max": u64::MAX}],
            "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "tooltip": "How close."}],
            "name": [["euler", "ddim"], {}],
        }, "optional": {"fast": ["BOOLEAN", {"default": false}], "text": ["STRING", {}], "count": [[1, 2], {}]}}, "output": ["LATENT"]},
        "Loader": {"input": {"required": {"ckpt": ["COMBO", {"options": ["a.safetensors", "b.safetensors"]}]}}, "output": ["MODEL"], "display_name": "Load Model"},
        "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": true}]}}, "output": ["IMAGE"]},
        "Resize": {"input": {"required": {"by": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "factor", "inputs": {"required": {"factor": ["FLOAT", {"default": 1.0}]}}},
            {"key": "size", "inputs": {"required": {"width": ["INT", {"min": 1}]}}}]}]}}, "output": ["IMAGE"]},
        "Batch": {"input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 2, "max": 50}}]}}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": true},
    });
    Catalog::from_object_info(&info).0
}

fn graph() -> Graph {
    from_request(json!({
        "1": {"class_type": "Loader", "inputs": {"ckpt": "a.safetensors"}},
        "2": {"class_type": "Sampler", "inputs": {"model": ["1", 0], "seed": 7, "cfg": 4.0, "name": "euler"}, "_meta": {"title": "First (draft)"}},
        "3": {"class_type": "Sampler", "inputs": {"model": ["1", 0]}},
        "4": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "5": {"class_type": "Resize", "inputs": {"by": "factor", "by.factor": 2.0}},
        "6": {"class_type": "Batch", "inputs": {"images.image0": ["4", 0]}},
        "7": {"class_type": "Save", "inputs": {"images": ["6", 0]}},
        "8": {"class_type": "Strange", "inputs": {"x": 1}},
    }))
    .unwrap()
}

fn schema(catalog: Option<&Catalog>) -> Value {
    pipeline_schema_for([("a".to_owned(), fragment("a", &graph(), catalog))])
}

fn wrong(schema: &Value, set: &str) -> bool {
    let text = format!(
        "steps: {{ a: {{ workflow: a.json, {set} }}, b: {{ workflow: b.json, set: {{ Any: {{ x: 1 }} }} }} }}"
    );
    let value: Value = serde_yaml::from_str(&text).unwrap();
    !jsonschema::draft7::new(schema).unwrap().is_valid(&value)
}

#[test]
fn what_kiln_accepts_is_accepted() {
    let schema = schema(Some(&catalog()));
    for good in [
        "set: { Loader: { ckpt: b.safetensors }, '2': { seed: 18446744073709551615 } }",
        "set: { First (draft): { cfg: 3, seed: '12', name: '{{ matrix.s }}', fast: 'true', text: 5, count: '2', model: null } }",
        "set: { '3': bypass, LoadImage: null }",
        "set: { LoadImage: { image: 'mine/other.png' } }",
        "set: { Resize: { by: size, by.width: 3, by.factor: '{{ params.f }}' } }",
        "set: { Batch: { images.image49: [LoadImage, 0], images.image0: '{{ steps.b.image }}' } }",
        "set: { First (draft): { model: [Loader, 0], seed: [Loader, 0], name: [Loader, 0] } }",
        "set: { Strange: { x: 1, y: [1, 2, 3] } }",
        "outputs: { final: Save, again: '7', number: 7 }",
    ] {
        assert!(!wrong(&schema, good), "{good}");
    }
}

#[test]
fn what_kiln_refuses_is_refused_where_a_schema_can_tell() {
    let schema = schema(Some(&catalog()));
    for bad in [
        "set: { Loder: { ckpt: b.safetensors } }",
        // Two nodes have this class.
        "set: { Sampler: { seed: 1 } }",
        "set: { Loader: { ckpt: c.safetensors } }",
        "set: { Loader: { cktp: a.safetensors } }",
        "set: { First (draft): { cfg: 101 } }",
        "set: { First (draft): { cfg: much } }",
        "set: { First (draft): { seed: -1 } }",
        "set: { First (draft): { seed: 1.5 } }",
        "set: { First (draft): { fast: maybe } }",
        "set: { First (draft): { model: sd15 } }",
        "set: { First (draft): { model: [Loader] } }",
        "set: { Resize: { by: third } }",
        "set: { Batch: { images: [LoadImage, 0] } }",
        "set: { Loader: remove }",
        "outputs: { final: LoadImage }",
    ] {
        assert!(wrong(&schema, bad), "{bad}");
    }
}

#[test]
fn without_a_catalog_the_nodes_and_inputs_of_the_file_are_known() {
    let schema = schema(None);
    assert!(!wrong(&schema, "set: { Loader: { anything: 1 } }"));
    assert!(wrong(&schema, "set: { Loder: { ckpt: b.safetensors } }"));
    let loader = &schema["definitions"]["a.0"]["anyOf"][0]["properties"]["ckpt"];
    assert_eq!(loader["description"], "The workflow says `a.safetensors`.");
}

#[test]
fn each_node_is_offered_under_the_name_that_people_use() {
    let schema = schema(Some(&catalog()));
    let set = &schema["properties"]["steps"]["properties"]["a"]["properties"]["set"];
    let names: Vec<&String> = set["properties"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "Loader",
            "First (draft)",
            "3",
            "LoadImage",
            "Resize",
            "Batch",
            "Save",
            "Strange"
        ]
    );
    let inputs = |at: usize| &schema["definitions"][format!("a.{at}")]["anyOf"][0]["properties"];
    assert_eq!(
        inputs(1)["cfg"]["description"],
        "FLOAT, 0.0 to 100.0. In the workflow: `4.0`\n\nHow close."
    );
    assert_eq!(inputs(1)["cfg"]["default"], 4.0);
    assert_eq!(
        inputs(2)["seed"]["description"],
        "INT, 0 to 18446744073709551615. Usually `0`"
    );
    assert_eq!(
        inputs(4)["by.width"]["description"],
        "INT, at least 1, with `by: size`"
    );
    let grown: Vec<&String> = inputs(5).as_object().unwrap().keys().collect();
    assert_eq!(grown, ["images.image0", "images.image1", "images.image2"]);
}
