//! The plugin, through the same table of functions that kiln uses.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use kiln_plugin::{abi::hook, json, testing};
use kiln_sidecar::Sidecar;

#[test]
fn every_file_gets_its_provenance_as_json_and_as_xmp() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = testing::host::<Sidecar>(json!({})).unwrap();
    let about =
        json!({ "run": "r", "pipeline": "p", "step": "draw", "task": "draw", "attempt": 1 });
    let mut job = about.clone();
    job["graph"] = json!({
        "1": { "class_type": "CLIPTextEncode", "inputs": { "text": "a <red> \"teapot\" & cup", "clip": ["2", 1] } },
        "2": { "class_type": "CheckpointLoaderSimple", "inputs": { "ckpt_name": "sd15.safetensors" } },
        "3": { "class_type": "KSampler", "inputs": { "seed": 42 } },
    });
    assert_eq!(host.call(hook::BEFORE_SUBMIT, job).unwrap(), json!(null));
    let mut results = about;
    results["folder"] = json!(dir.path());
    results["artifacts"] = json!([
        { "path": "/out/a.png", "name": "kiln_00001_.png", "kind": "image", "hash": "ab", "size": 9, "node": "9" },
        { "text": "said", "kind": "text" },
    ]);
    let answer = host.call(hook::AFTER_DOWNLOAD, results).unwrap();
    let changes = answer["artifacts"].as_array().unwrap();
    assert_eq!(changes[..2], [json!({ "keep": 0 }), json!({ "keep": 1 })]);
    assert_eq!(changes[2]["name"], "a.png.json");
    assert_eq!(changes[3]["name"], "a.xmp");
    let read = |at: usize| std::fs::read_to_string(changes[at]["path"].as_str().unwrap()).unwrap();
    let told: kiln_plugin::Value = kiln_plugin::serde_json::from_str(&read(2)).unwrap();
    assert_eq!(told["file"], "a.png", "as it is called where it lies");
    assert_eq!(changes[2]["meta"]["sidecar_of"], "a.png");
    assert_eq!(told["prompt"], "a <red> \"teapot\" & cup");
    assert_eq!(told["seeds"], json!(["42"]));
    assert_eq!(told["models"], json!(["sd15.safetensors"]));
    let xmp = read(3);
    assert!(
        xmp.contains("a &lt;red&gt; &quot;teapot&quot; &amp; cup"),
        "{xmp}"
    );
    assert!(xmp.contains("kiln:seeds=\"42\""), "{xmp}");
    assert!(xmp.contains("xmp:CreatorTool=\"kiln\""), "{xmp}");
}

#[test]
fn only_the_formats_that_are_wanted_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = testing::host::<Sidecar>(json!({ "formats": ["xmp"] })).unwrap();
    let results = json!({
        "run": "r", "task": "t", "folder": dir.path(),
        "artifacts": [{ "path": "/out/a.png", "name": "a.png", "hash": "ab" }],
    });
    let answer = host.call(hook::AFTER_DOWNLOAD, results).unwrap();
    assert_eq!(answer["artifacts"].as_array().unwrap().len(), 2);
}
