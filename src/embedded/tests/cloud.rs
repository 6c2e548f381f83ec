//! The stand-in for Comfy Cloud as its clients see it.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, multipart, redirect};
use serde_json::{Value, json};

use super::{Socket, empty_image, kinds, next, save, simple, slow};
use crate::base::ContentHash;
use crate::embedded::{CloudOptions, Embedded, Options, start};

struct Rehearsal {
    server: Embedded,
    client: Client,
    key: &'static str,
}

impl Rehearsal {
    async fn new() -> Self {
        Self::with("k", 1, 100).await
    }

    async fn with(key: &'static str, jobs: usize, queue: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = Options {
            jobs,
            cloud: Some(CloudOptions {
                api_key: "k".to_owned(),
                queue,
            }),
            ..Options::default()
        };
        let client = Client::builder().redirect(redirect::Policy::none());
        Self {
            server: start(options).await.unwrap(),
            client: client.build().unwrap(),
            key,
        }
    }

    fn keyless(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.server.url());
        self.client.request(method, url)
    }

    async fn get(&self, path: &str) -> Response {
        let request = self
            .keyless(Method::GET, path)
            .header("X-API-Key", self.key);
        request.send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.keyless(Method::POST, path);
        let request = request.bearer_auth(self.key).body(body.to_string());
        request.send().await.unwrap()
    }

    async fn submit(&self, graph: Value) -> String {
        let answer = self.post("/api/prompt", json!({ "prompt": graph })).await;
        let answer: Value = answer.json().await.unwrap();
        answer["prompt_id"].as_str().unwrap().to_owned()
    }

    async fn until(&self, id: &str, status: &str) -> Value {
        for _ in 0..4000 {
            let job = self.json(&format!("/api/jobs/{id}")).await;
            if job["status"] == status {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("job {id} is never {status}");
    }

    async fn upload(&self, name: &str, bytes: Vec<u8>) -> Response {
        let part = multipart::Part::bytes(bytes).file_name(name.to_owned());
        let form = multipart::Form::new().part("image", part);
        let form = form.text("type", "input").text("subfolder", "kiln");
        let request = self.keyless(Method::POST, "/api/upload/image");
        let request = request.bearer_auth(self.key).multipart(form);
        request.send().await.unwrap()
    }

    async fn socket(&self, id: &str) -> Socket {
        let url = format!("{}/ws?clientId={id}&token={}", self.server.url(), self.key);
        let url = url.replace("http", "ws");
        tokio_tungstenite::connect_async(url).await.unwrap().0
    }
}

#[tokio::test]
async fn nobody_gets_in_without_the_key_but_to_ask_what_it_is() {
    let cloud = Rehearsal::with("other", 1, 1).await;
    for path in [
        "/api/user",
        "/api/jobs",
        "/api/view?filename=a",
        "/api/none",
    ] {
        for answer in [
            cloud.keyless(Method::GET, path).send().await.unwrap(),
            cloud.get(path).await,
        ] {
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            let told: Value = answer.json().await.unwrap();
            assert!(told["code"].is_string() && told["message"].is_string());
        }
    }
    let stats = cloud.keyless(Method::GET, "/api/system_stats").send();
    assert_eq!(stats.await.unwrap().status(), StatusCode::OK);
    let url = format!("{}/ws?clientId=a", cloud.server.url()).replace("http", "ws");
    assert!(tokio_tungstenite::connect_async(url).await.is_err());
}

#[tokio::test]
async fn routes_that_a_cloud_lacks_are_not_there() {
    let cloud = Rehearsal::new().await;
    for path in [
        "/api/history",
        "/history",
        "/api/models",
        "/system_stats",
        "/prompt",
        "/api/job",
    ] {
        let answer = cloud.get(path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(
        cloud.post("/api/free", json!({})).await.status(),
        StatusCode::NOT_FOUND
    );
    let folder = cloud.get("/api/experiment/models/checkpoints").await;
    assert_eq!(folder.status(), StatusCode::NOT_FOUND);
    let told: Value = folder.json().await.unwrap();
    assert_eq!(told["code"], "folder_not_found");
    assert!(cloud.json("/api/experiment/models").await[0]["name"].is_string());
    assert!(cloud.json("/api/user").await["id"].is_string());
}

#[tokio::test]
async fn a_job_has_an_id_of_the_servers_own_and_a_record_in_every_shape() {
    let cloud = Rehearsal::new().await;
    let ours = uuid::Uuid::new_v4().to_string();
    let body = json!({"prompt": simple(1), "prompt_id": ours, "client_id": "me"});
    let answer: Value = cloud.post("/api/prompt", body).await.json().await.unwrap();
    let id = answer["prompt_id"].as_str().unwrap();
    assert_ne!(id, ours);
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    let job = cloud.until(id, "completed").await;
    assert!(job["update_time"].is_i64() && job["execution_meta"].is_object());
    assert!(job["user_id"].is_string());
    assert_eq!(
        cloud.get(&format!("/api/jobs/{ours}")).await.status(),
        StatusCode::NOT_FOUND
    );
    let status = cloud.json(&format!("/api/job/{id}/status")).await;
    assert_eq!(status["status"], "completed");
    let list = cloud.json("/api/history_v2").await;
    assert_eq!(list["history"][0]["prompt_id"], id);
    let one = cloud.json(&format!("/api/history_v2/{id}")).await;
    assert_eq!(one[id]["prompt"]["prompt_id"], id);
    assert_eq!(one[id]["status"]["status_str"], "success");
    let assets = cloud.json(&format!("/api/jobs/{id}/assets")).await;
    assert!(
        assets["assets"][0]["hash"]
            .as_str()
            .unwrap()
            .starts_with("blake3:")
    );
    let jobs = cloud.json("/api/jobs?sort_by=create_time&limit=1").await;
    assert_eq!(jobs["jobs"][0]["id"], id);
    for bad in ["sort_by=created_at", "limit=0", "limit=1001"] {
        let answer = cloud.get(&format!("/api/jobs?{bad}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn a_waiting_job_that_is_cancelled_keeps_its_record() {
    let cloud = Rehearsal::new().await;
    let first = cloud.submit(slow(40)).await;
    let second = cloud.submit(simple(2)).await;
    cloud.until(&first, "in_progress").await;
    let queue = cloud.json("/api/queue").await;
    assert_eq!(queue["queue_pending"][0][1], second.as_str());
    assert!(
        queue["queue_pending"][0][3].is_array(),
        "the outputs come fourth"
    );
    assert!(queue["queue_pending"][0][4]["create_time"].is_i64());
    let word = cloud.json(&format!("/api/job/{second}/status")).await;
    assert_eq!(word["status"], "waiting_to_dispatch");
    let answer = cloud
        .post(&format!("/api/jobs/{second}/cancel"), json!({}))
        .await;
    assert_eq!(answer.json::<Value>().await.unwrap()["cancelled"], true);
    cloud.until(&second, "cancelled").await;
    let unknown = cloud.post("/api/jobs/none/cancel", json!({})).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let answer = cloud
        .post("/api/queue", json!({"delete": [first, "none"]}))
        .await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer, json!({"deleted": [first], "cleared": false}));
    cloud.until(&first, "cancelled").await;
}

#[tokio::test]
async fn as_many_jobs_run_as_the_plan_has_and_the_queue_has_an_end() {
    let cloud = Rehearsal::with("k", 2, 1).await;
    let color = |color: u32| {
        let mut graph = slow(40);
        graph["0"] = empty_image(700, color);
        graph
    };
    let first = cloud.submit(color(1)).await;
    cloud.until(&first, "in_progress").await;
    let second = cloud.submit(color(2)).await;
    cloud.until(&second, "in_progress").await;
    let third = cloud.submit(color(3)).await;
    assert_eq!(cloud.until(&third, "pending").await["id"], third.as_str());
    let full = cloud
        .post("/api/prompt", json!({"prompt": simple(4)}))
        .await;
    assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(full.headers()["retry-after"], "1");
    let told: Value = full.json().await.unwrap();
    assert_eq!(told["error"]["type"], "QUEUE_LIMIT");
    for id in [third, first, second] {
        cloud
            .post(&format!("/api/jobs/{id}/cancel"), json!({}))
            .await;
    }
}

#[tokio::test]
async fn every_socket_hears_of_every_job_and_of_its_end() {
    let cloud = Rehearsal::new().await;
    let mut sockets = [cloud.socket("me").await, cloud.socket("me").await];
    let id = cloud.submit(simple(3)).await;
    for socket in &mut sockets {
        let mut heard = Vec::new();
        loop {
            let message = next(socket).await;
            let end = message["type"] == "execution_success";
            heard.push(message);
            if end {
                break;
            }
        }
        let of_job = |message: &&Value| message["data"]["prompt_id"] == id.as_str();
        let of_job: Vec<Value> = heard.iter().filter(of_job).cloned().collect();
        assert!(kinds(&of_job).contains(&"execution_start"), "{heard:?}");
        assert!(kinds(&of_job).contains(&"executed"), "{heard:?}");
    }
}

#[tokio::test]
async fn files_are_at_another_host_which_wants_no_key() {
    let cloud = Rehearsal::new().await;
    let id = cloud.submit(simple(5)).await;
    let job = cloud.until(&id, "completed").await;
    let file = &job["outputs"]["2"]["images"][0];
    let query = format!(
        "filename={}&subfolder={}&type=output",
        file["filename"].as_str().unwrap(),
        file["subfolder"].as_str().unwrap()
    );
    let answer = cloud.get(&format!("/api/view?{query}")).await;
    assert_eq!(answer.status(), StatusCode::FOUND);
    let there = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        there.starts_with(&cloud.server.files_url().unwrap()),
        "{there}"
    );
    let get = |url: String| cloud.client.get(url);
    let bytes = get(there.clone())
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert!(image::load_from_memory(&bytes).is_ok());
    for leak in [
        get(there.clone()).header("x-api-key", "k"),
        get(there.clone()).bearer_auth("k"),
        get(format!("{there}&token=k")),
    ] {
        let answer = leak.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["code"], "KEY_LEAKED");
    }
    let forged = there.replace("type=output", "type=input");
    assert_eq!(
        get(forged).send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    let small = cloud.get(&format!("/api/view?{query}&res=64")).await;
    assert_eq!(small.status(), StatusCode::OK);
    assert_eq!(small.headers()["content-type"], "image/jpeg");
}

#[tokio::test]
async fn uploads_are_called_after_their_content_and_have_limits() {
    let cloud = Rehearsal::new().await;
    let picture = |width: u32, height: u32| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::GrayImage::new(width, height);
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    };
    let bytes = picture(8, 8);
    let name = format!("{}.png", ContentHash::of(&bytes));
    for called in ["a.png", "b.PNG"] {
        let answer: Value = cloud
            .upload(called, bytes.clone())
            .await
            .json()
            .await
            .unwrap();
        assert_eq!(
            answer,
            json!({"name": name, "subfolder": "", "type": "input"})
        );
    }
    let graph = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": save("1", "again"),
    });
    let id = cloud.submit(graph).await;
    cloud.until(&id, "completed").await;
    for (bytes, why) in [
        (picture(16_385, 1), "16384"),
        (picture(16_000, 4_001), "64 million"),
        (vec![0; (50 << 20) + 1], "50 MB"),
    ] {
        let answer = cloud.upload("large.png", bytes).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let told: Value = answer.json().await.unwrap();
        assert!(told["message"].as_str().unwrap().contains(why), "{told}");
    }
}

#[tokio::test]
async fn a_key_can_bring_an_error_with_it() {
    for (key, status, kind) in [
        ("k:no-credits", 402, "PAYMENT_REQUIRED"),
        ("k:no-tier", 403, "FORBIDDEN"),
        ("k:inactive", 429, "INACTIVE_SUBSCRIPTION"),
        ("k:unpaid", 429, "PAYMENT_REQUIRED"),
        ("k:free-tier", 429, "FREE_TIER_EXHAUSTED"),
        ("k:no-partners", 403, "PARTNER_NODE_DISABLED"),
        ("k:unpaid-partner", 429, "PARTNER_NODE_PAYMENT_REQUIRED"),
        ("k:queue-limit", 429, "QUEUE_LIMIT"),
        ("k:unavailable", 503, "UNAVAILABLE"),
    ] {
        let cloud = Rehearsal::with(key, 1, 100).await;
        let body = json!({"prompt": simple(1)});
        let answer = cloud.post("/api/prompt", body.clone()).await;
        assert_eq!(answer.status().as_u16(), status, "{key}");
        let told: Value = answer.json().await.unwrap();
        let told = told["code"].as_str().or(told["error"]["type"].as_str());
        assert_eq!(told, Some(kind), "{key}");
        if matches!(kind, "QUEUE_LIMIT" | "UNAVAILABLE") {
            assert_eq!(
                cloud
                    .post("/api/prompt", body.clone())
                    .await
                    .status()
                    .as_u16(),
                status
            );
            assert_eq!(
                cloud.post("/api/prompt", body).await.status(),
                StatusCode::OK
            );
        }
    }
}

#[tokio::test]
async fn an_exception_by_name_fails_the_first_job_alone() {
    let cloud = Rehearsal::with("k:OOMError", 1, 100).await;
    let first = cloud.submit(simple(1)).await;
    let job = cloud.until(&first, "failed").await;
    assert_eq!(job["execution_error"]["exception_type"], "OOMError");
    let status = cloud.json(&format!("/api/job/{first}/status")).await;
    assert_eq!(status["status"], "error");
    let second = cloud.submit(simple(1)).await;
    cloud.until(&second, "completed").await;
}

#[tokio::test]
async fn a_batch_of_jobs_is_cancelled_by_their_ids() {
    let cloud = Rehearsal::new().await;
    let first = cloud.submit(slow(40)).await;
    let second = cloud.submit(simple(2)).await;
    let ids = json!({"job_ids": [second, "none"]});
    let answer = cloud.post("/api/jobs/cancel", ids).await;
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({"cancelled": [second]})
    );
    let none = cloud.post("/api/jobs/cancel", json!({"job_ids": []})).await;
    assert_eq!(none.status(), StatusCode::BAD_REQUEST);
    cloud.until(&first, "in_progress").await;
    cloud.post("/api/interrupt", json!({})).await;
    cloud.until(&first, "cancelled").await;
}
