//! Files in and out.

use reqwest::{StatusCode, multipart};
use serde_json::{Value, json};

use super::{Fixture, save, simple};

#[tokio::test]
async fn a_file_with_new_content_is_loaded_again() {
    let server = Fixture::new().await;
    let png = |color| {
        let image = kiln_pixels::empty_image(4, 4, 1, color).unwrap();
        kiln_pixels::encode_png(&image, 0, &[]).unwrap()
    };
    let graph = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
        "2": save("1", "copy"),
    });
    let file = |entry: &Value| entry["outputs"]["2"]["images"][0]["filename"].clone();
    server.upload("in.png", &png(1), &[]).await;
    assert_eq!(file(&server.run(graph.clone()).await), "copy_00001_.png");
    assert_eq!(file(&server.run(graph.clone()).await), "copy_00001_.png");
    server
        .upload("in.png", &png(2), &[("overwrite", "true")])
        .await;
    assert_eq!(file(&server.run(graph).await), "copy_00002_.png");
}

#[tokio::test]
async fn saved_pictures_carry_their_workflow() {
    let server = Fixture::new().await;
    let body = json!({
        "prompt": simple(3),
        "extra_data": {"extra_pnginfo": {"workflow": {"id": "größe"}}},
    });
    let answer: Value = server.post("/prompt", body).await.json().await.unwrap();
    let id = answer["prompt_id"].as_str().unwrap();
    server.ended(id).await;
    let file = server.get("/view?filename=b_00001_.png&subfolder=a").await;
    let bytes = file.bytes().await.unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b"tEXtprompt\0{\"1\""));
    assert!(has(b"tEXtworkflow\0{\"id\":\"gr\\u00f6\\u00dfe\"}"));
    assert_eq!(
        server.json(&format!("/api/jobs/{id}")).await["workflow_id"],
        "größe"
    );
}

#[tokio::test]
async fn uploads_never_overwrite_unless_asked() {
    let server = Fixture::new().await;
    let name = async |file: &str, bytes: &[u8], fields: &[(&str, &str)]| -> String {
        let answer: Value = server
            .upload(file, bytes, fields)
            .await
            .json()
            .await
            .unwrap();
        answer["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(name("up.png", b"one", &[]).await, "up.png");
    assert_eq!(name("up.png", b"one", &[]).await, "up.png");
    assert_eq!(name("up.png", b"two", &[]).await, "up (1).png");
    assert_eq!(name("up.png", b"three", &[]).await, "up (2).png");
    assert_eq!(
        name("up.png", b"two", &[("overwrite", "True")]).await,
        "up (1).png"
    );
    assert_eq!(
        name("up.png", b"four", &[("overwrite", "1")]).await,
        "up.png"
    );
    let status = async |file: &str, fields: &[(&str, &str)]| {
        server.upload(file, b"x", fields).await.status().as_u16()
    };
    assert_eq!(status("a.png", &[("subfolder", "../x")]).await, 400);
    assert_eq!(status("a.png", &[("subfolder", "/var/zzz")]).await, 400);
    assert_eq!(status("a.png", &[("type", "bogus")]).await, 500);
    assert_eq!(status("../../evil.png", &[]).await, 400);
    assert_eq!(
        status("a.png", &[("subfolder", "s/t"), ("type", "temp")]).await,
        200
    );
    let seen = server
        .get("/view?filename=a.png&subfolder=s/t&type=temp")
        .await;
    assert_eq!(seen.bytes().await.unwrap(), "x");
    let wrong = multipart::Form::new().part("file", multipart::Part::bytes(vec![1]).file_name("a"));
    let request = server
        .client
        .post(server.url("/upload/image"))
        .multipart(wrong);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 400);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let server = Fixture::new().await;
    let answer = server
        .upload("huge.bin", &vec![0; 100 * 1024 * 1024], &[])
        .await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        answer.text().await.unwrap(),
        "Maximum request body size 104857600 exceeded."
    );
}

#[tokio::test]
async fn a_file_is_seen_whole_in_part_or_not_again() {
    let server = Fixture::new().await;
    server.upload("v.txt", b"0123456789", &[]).await;
    let path = "/view?filename=v.txt&type=input";
    let whole = server.get(path).await;
    assert_eq!(whole.headers()["content-length"], "10");
    assert_eq!(whole.headers()["content-type"], "text/plain");
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let with = async |name: &str, value: &str| {
        let request = server.client.get(server.url(path)).header(name, value);
        request.send().await.unwrap()
    };
    let part = with("Range", "bytes=2-4").await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(part.text().await.unwrap(), "234");
    assert_eq!(
        with("If-None-Match", &etag).await.status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(
        with("Range", "bytes=99-").await.status(),
        StatusCode::RANGE_NOT_SATISFIABLE
    );
    server
        .upload("v.txt", b"other", &[("overwrite", "true")])
        .await;
    assert_eq!(with("If-None-Match", &etag).await.status(), StatusCode::OK);
    for (query, status) in [
        ("filename=../main.py", 400),
        ("filename=/etc/passwd", 400),
        ("filename=up..png&type=input", 400),
        ("filename=&type=input", 400),
        ("filename=v.txt&type=foo", 400),
        ("filename=v.txt&type=input&subfolder=..", 403),
        ("filename=nope.png", 404),
        ("", 404),
        ("filename=v.txt%20[input]", 200),
        ("filename=v.txt&type=input&preview=webp", 500),
    ] {
        assert_eq!(
            server.get(&format!("/view?{query}")).await.status(),
            status,
            "{query}"
        );
    }
}
