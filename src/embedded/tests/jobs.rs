//! Jobs from submission to record.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Fixture, empty_image, kinds, next, save, simple, slow, until_end};

#[tokio::test]
async fn a_job_speaks_in_comfyuis_order() {
    let server = Fixture::new().await;
    let mut socket = server.socket("me").await;
    assert_eq!(next(&mut socket).await["data"]["sid"], "me");
    let body = json!({"prompt": simple(1), "client_id": "me"});
    let answer: Value = server.post("/api/prompt", body).await.json().await.unwrap();
    assert_eq!(answer["number"], 0);
    assert_eq!(answer["node_errors"], json!({}));
    let messages = until_end(&mut socket).await;
    assert_eq!(
        kinds(&messages),
        [
            "status",
            "status",
            "execution_start",
            "execution_cached",
            "progress_state",
            "executing",
            "progress_state",
            "progress_state",
            "executing",
            "executed",
            "progress_state",
            "execution_success",
            "status",
            "executing"
        ]
    );
    assert_eq!(
        messages[9]["data"]["output"],
        json!({"images": [{"filename": "b_00001_.png", "subfolder": "a", "type": "output"}]})
    );
    let id = answer["prompt_id"].as_str().unwrap();
    let entry = &server.json(&format!("/history/{id}")).await[id];
    assert_eq!(entry["status"]["status_str"], "success");
    assert_eq!(entry["outputs"]["2"], messages[9]["data"]["output"]);
    let job = server.json(&format!("/api/jobs/{id}")).await;
    assert_eq!(job["status"], "completed");
    assert_eq!(job["preview_output"]["filename"], "b_00001_.png");
}

#[tokio::test]
async fn the_same_again_executes_nothing_until_memory_is_freed() {
    let server = Fixture::new().await;
    let mut socket = server.socket("me").await;
    let file = |entry: &Value| entry["outputs"]["2"]["images"][0]["filename"].clone();
    let first = server.run(simple(7)).await;
    let again = json!({"prompt": simple(7), "client_id": "me"});
    server.post("/prompt", again).await;
    let mut messages = until_end(&mut socket).await;
    messages.retain(|message| message["type"] != "status");
    assert_eq!(
        kinds(&messages)[kinds(&messages).len() - 6..],
        [
            "execution_start",
            "execution_cached",
            "executed",
            "progress_state",
            "execution_success",
            "executing"
        ]
    );
    let cached = &messages[messages.len() - 5];
    assert_eq!(cached["data"]["nodes"], json!(["1", "2"]));
    let other_ids = json!({"x": empty_image(16, 7), "2": save("x", "a/b")});
    assert_eq!(file(&server.run(other_ids).await), file(&first));
    server.post("/free", json!({"free_memory": true})).await;
    assert_eq!(file(&server.run(simple(7)).await), "b_00002_.png");
}

#[tokio::test]
async fn a_running_job_is_interrupted_between_nodes_and_a_waiting_one_vanishes() {
    let server = Fixture::new().await;
    let mut socket = server.socket("me").await;
    let submit = async |graph: Value| -> String {
        let body = json!({"prompt": graph, "client_id": "me"});
        let answer: Value = server.post("/prompt", body).await.json().await.unwrap();
        answer["prompt_id"].as_str().unwrap().to_owned()
    };
    let (running, waiting) = (submit(slow(60)).await, submit(simple(4)).await);
    while next(&mut socket).await["type"] != "executing" {}
    let queue = server.json("/queue").await;
    assert_eq!(queue["queue_running"][0][1], json!(running));
    assert_eq!(queue["queue_pending"][0][1], json!(waiting));
    assert_eq!(server.json(&format!("/history/{running}")).await, json!({}));
    assert_eq!(
        server.json(&format!("/api/jobs/{running}")).await["status"],
        "in_progress"
    );
    server.post("/queue", json!({"delete": [waiting]})).await;
    let gone = server.get(&format!("/api/jobs/{waiting}")).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let cancel = server
        .post(&format!("/api/jobs/{running}/cancel"), json!(null))
        .await;
    assert_eq!(
        cancel.json::<Value>().await.unwrap(),
        json!({"cancelled": true})
    );
    let messages = until_end(&mut socket).await;
    let interrupted = &messages[messages.len() - 3];
    assert_eq!(interrupted["type"], "execution_interrupted");
    assert_eq!(interrupted["data"]["node_type"], "ImageBlur");
    assert_eq!(
        server.ended(&running).await["status"]["status_str"],
        "error"
    );
    assert_eq!(
        server.json(&format!("/api/jobs/{running}")).await["status"],
        "cancelled"
    );
    // What was interrupted does not interrupt the next.
    assert_eq!(
        server.run(simple(5)).await["status"]["status_str"],
        "success"
    );
}

#[tokio::test]
async fn a_failing_node_ends_its_job_alone() {
    let server = Fixture::new().await;
    server.upload("no.png", b"no picture", &[]).await;
    let bad = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "no.png"}},
        "2": save("1", "x"),
    });
    let entry = server.run(bad).await;
    assert_eq!(entry["status"]["status_str"], "error");
    let [kind, error] = &entry["status"]["messages"][2].as_array().unwrap()[..] else {
        panic!("{entry}");
    };
    assert_eq!(kind, "execution_error");
    assert_eq!(error["node_id"], "1");
    assert_eq!(error["node_type"], "LoadImage");
    assert_eq!(error["exception_type"], "PIL.UnidentifiedImageError");
    assert!(
        error["exception_message"]
            .as_str()
            .unwrap()
            .contains("no.png")
    );
    assert_eq!(error["current_inputs"], json!({"image": ["no.png"]}));
    for prefix in ["../../evil", "/var/evil"] {
        let entry = server
            .run(json!({"1": empty_image(8, 1), "2": save("1", prefix)}))
            .await;
        assert_eq!(entry["status"]["status_str"], "error", "{prefix}");
    }
    // ComfyUI's worker dies of a link to nowhere that no input declares.
    let mut nowhere = simple(1);
    nowhere["2"]["inputs"]["bogus"] = json!(["404", 0]);
    assert_eq!(server.run(nowhere).await["status"]["status_str"], "error");
    assert_eq!(
        server.run(simple(2)).await["status"]["status_str"],
        "success"
    );
}

#[tokio::test]
async fn a_refused_prompt_is_answered_in_comfyuis_words() {
    let server = Fixture::new().await;
    let answer = server
        .post(
            "/prompt",
            json!({"prompt": {"1": {"class_type": "KSampler", "inputs": {}}}}),
        )
        .await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["type"], "missing_node_type");
    let missing = json!({"1": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}, "2": save("1", "x")});
    let answer = server.post("/prompt", json!({"prompt": missing})).await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        body["node_errors"]["1"]["errors"][0]["type"],
        "custom_validation_failed"
    );
    for (bad, status) in [
        (json!(null), StatusCode::INTERNAL_SERVER_ERROR),
        (json!([]), StatusCode::BAD_REQUEST),
        (json!({"prompt": []}), StatusCode::INTERNAL_SERVER_ERROR),
        (
            json!({"prompt": {"1": "x"}}),
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        (
            json!({"prompt": simple(1), "number": "abc"}),
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        (
            json!({"prompt": simple(1), "extra_data": null}),
            StatusCode::INTERNAL_SERVER_ERROR,
        ),
        (
            json!({"prompt": simple(1), "prompt_id": "x"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            json!({"prompt": simple(1), "prompt_id": "0F8FAD5B-D9CB-469F-A165-70867728950E"}),
            StatusCode::BAD_REQUEST,
        ),
        (json!({"prompt": {}}), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(
            server.post("/prompt", bad.clone()).await.status(),
            status,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn only_the_targets_run_and_secrets_are_not_kept() {
    let server = Fixture::new().await;
    let body = json!({
        "prompt": {
            "1": empty_image(8, 1), "2": save("1", "two"),
            "3": empty_image(8, 2), "4": save("3", "four"),
        },
        "partial_execution_targets": ["4"],
        "number": -3,
        "prompt_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "extra_data": {"api_key_comfy_org": "SECRET", "label": "L"},
    });
    let answer: Value = server.post("/prompt", body).await.json().await.unwrap();
    assert_eq!(answer["number"], json!(-3.0));
    let entry = server.ended("0f8fad5b-d9cb-469f-a165-70867728950e").await;
    assert_eq!(
        entry["outputs"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["4"]
    );
    assert_eq!(entry["prompt"][4], json!(["4"]));
    assert_eq!(entry["prompt"][3]["label"], "L");
    assert!(!entry.to_string().contains("SECRET"));
}
