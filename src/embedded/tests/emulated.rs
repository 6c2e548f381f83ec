//! Other versions of `ComfyUI`, where they answer otherwise.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Fixture, empty_image, save, simple};
use crate::embedded::{Options, Simulate, StartError, start};
use crate::protocol::Version;

async fn version(text: &str) -> Fixture {
    let emulate = Version::parse(text);
    Fixture::with(Options {
        emulate,
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn routes_come_with_their_versions() {
    for (text, jobs, cancel) in [
        ("0.3.64", 404, 404),
        ("0.7.0", 200, 404),
        ("0.25.0", 200, 404),
        ("0.26.0", 200, 200),
        ("0.38.1", 200, 200),
    ] {
        let server = version(text).await;
        let stats = server.json("/system_stats").await;
        assert_eq!(stats["system"]["comfyui_version"], text);
        assert_eq!(
            server.get("/api/jobs").await.status().as_u16(),
            jobs,
            "{text}"
        );
        let answer = server.post("/api/jobs/x/cancel", json!({})).await;
        assert_eq!(answer.status().as_u16(), cancel, "{text}");
        let entry = server.run(simple(1)).await;
        assert_eq!(entry["prompt"][3].get("create_time").is_some(), jobs == 200);
    }
}

#[tokio::test]
async fn an_unknown_class_has_its_versions_name() {
    for (text, kind) in [
        ("0.12.0", "invalid_prompt"),
        ("0.12.1", "missing_node_type"),
    ] {
        let server = version(text).await;
        let graph = json!({"1": {"class_type": "Nope", "inputs": {}}});
        let answer = server.post("/prompt", json!({"prompt": graph})).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["error"]["type"], kind);
        assert!(told["error"]["message"].as_str().unwrap().contains("Nope"));
    }
}

#[tokio::test]
async fn any_text_was_an_id_once_and_a_cycle_a_recursion_without_end() {
    let invert = |from: &str| json!({"class_type": "ImageInvert", "inputs": {"image": [from, 0]}});
    let cycle = json!({"1": invert("2"), "2": invert("1"), "9": save("1", "x")});
    for (text, id, error) in [
        (
            "0.23.0",
            StatusCode::OK,
            "exception_during_inner_validation",
        ),
        ("0.24.0", StatusCode::BAD_REQUEST, "dependency_cycle"),
    ] {
        let server = version(text).await;
        let body = json!({"prompt": simple(1), "prompt_id": "mine"});
        assert_eq!(server.post("/prompt", body).await.status(), id, "{text}");
        let answer = server.post("/prompt", json!({"prompt": cycle})).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let told: Value = answer.json().await.unwrap();
        assert_eq!(
            told["node_errors"]["1"]["errors"][0]["type"], error,
            "{told}"
        );
    }
}

#[tokio::test]
async fn files_are_assets_since_038() {
    let server = version("0.38.1").await;
    assert_eq!(server.json("/features").await["assets"], true);
    let entry = server
        .run(json!({"1": empty_image(8, 1), "2": save("1", "a")}))
        .await;
    assert!(entry["outputs"]["2"]["images"][0]["id"].is_string());
    let uploaded = server.upload("a.txt", b"abc", &[]).await;
    let uploaded: Value = uploaded.json().await.unwrap();
    assert!(
        uploaded["asset"]["asset_hash"]
            .as_str()
            .unwrap()
            .starts_with("blake3:")
    );
    let before = version("0.33.0").await;
    assert_eq!(before.json("/features").await["assets"], false);
    let uploaded = before.upload("a.txt", b"abc", &[]).await;
    assert!(
        uploaded
            .json::<Value>()
            .await
            .unwrap()
            .get("asset")
            .is_none()
    );
}

#[tokio::test]
async fn a_choice_that_is_none_is_refused_since_038() {
    let catalog = json!({
        "Pick": {
            "input": {"required": {"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [
                {"key": "one", "inputs": {"required": {}}},
                {"key": "two", "inputs": {"required": {}}},
            ]}]}},
            "output": [], "output_is_list": [], "output_name": [], "name": "Pick", "display_name": "Pick",
            "description": "", "category": "", "output_node": true, "python_module": "nodes",
        },
    });
    for (text, status) in [("0.33.0", 200), ("0.38.0", 400)] {
        let server = Fixture::with(Options {
            emulate: Version::parse(text),
            simulate: Some(Simulate {
                catalog: Some(catalog.clone().into()),
            }),
            ..Options::default()
        })
        .await;
        let graph = json!({"1": {"class_type": "Pick", "inputs": {"mode": "three"}}});
        let answer = server.post("/prompt", json!({"prompt": graph})).await;
        assert_eq!(answer.status().as_u16(), status, "{text}");
        if status == 400 {
            let told: Value = answer.json().await.unwrap();
            assert_eq!(
                told["node_errors"]["1"]["errors"][0]["type"],
                "invalid_dynamic_input"
            );
        }
    }
}

#[tokio::test]
async fn a_version_that_nobody_knows_is_not_emulated() {
    for text in ["0.39.0", "0.3.0", "1.2.3"] {
        let options = Options {
            emulate: Version::parse(text),
            ..Options::default()
        };
        let error = start(options).await.unwrap_err();
        assert!(matches!(error, StartError::Version(_)), "{text}: {error}");
    }
}
