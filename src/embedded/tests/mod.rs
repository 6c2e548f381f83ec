//! The server as clients see it: real HTTP and WebSocket over loopback.

mod cloud;
mod emulated;
mod files;
mod jobs;
mod server;
mod simulated;

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, Response, multipart};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Embedded, Options, start};

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

struct Fixture {
    server: Embedded,
    client: Client,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        // A test may be the first in its process to use TLS code, though nothing here does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            server: start(options).await.unwrap(),
            client: Client::new(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.client.post(self.url(path)).body(body.to_string());
        request.send().await.unwrap()
    }

    async fn upload(&self, name: &str, bytes: &[u8], fields: &[(&str, &str)]) -> Response {
        let part = multipart::Part::bytes(bytes.to_vec()).file_name(name.to_owned());
        let mut form = multipart::Form::new().part("image", part);
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        let request = self.client.post(self.url("/upload/image")).multipart(form);
        request.send().await.unwrap()
    }

    async fn socket(&self, id: &str) -> Socket {
        let url = self
            .url(&format!("/ws?clientId={id}"))
            .replace("http", "ws");
        tokio_tungstenite::connect_async(url).await.unwrap().0
    }

    /// Submits a graph and waits until its record is there.
    async fn run(&self, graph: Value) -> Value {
        let answer = self.post("/prompt", json!({ "prompt": graph })).await;
        let answer: Value = answer.json().await.unwrap();
        let id = answer["prompt_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        self.ended(id).await
    }

    async fn ended(&self, id: &str) -> Value {
        for _ in 0..2000 {
            let history = self.json(&format!("/history/{id}")).await;
            if let Some(entry) = history.get(id) {
                return entry.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("job {id} does not end");
    }
}

async fn next(socket: &mut Socket) -> Value {
    let wait = tokio::time::timeout(Duration::from_secs(20), socket.next());
    match wait.await.unwrap().unwrap().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// All messages up to the end of a job.
async fn until_end(socket: &mut Socket) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        let message = next(socket).await;
        let end = message["type"] == "executing" && message["data"]["node"].is_null();
        messages.push(message);
        if end {
            return messages;
        }
    }
}

fn kinds(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|m| m["type"].as_str().unwrap())
        .collect()
}

fn empty_image(size: u32, color: u32) -> Value {
    json!({
        "class_type": "EmptyImage",
        "inputs": {"width": size, "height": size, "batch_size": 1, "color": color},
    })
}

fn save(from: &str, prefix: &str) -> Value {
    json!({
        "class_type": "SaveImage",
        "inputs": {"images": [from, 0], "filename_prefix": prefix},
    })
}

fn simple(color: u32) -> Value {
    json!({"1": empty_image(16, color), "2": save("1", "a/b")})
}

/// A chain of blurs that takes a while.
fn slow(length: u32) -> Value {
    let mut graph = json!({"0": empty_image(700, 3)});
    for n in 1..=length {
        graph[n.to_string()] = json!({
            "class_type": "ImageBlur",
            "inputs": {"image": [(n - 1).to_string(), 0], "blur_radius": 31, "sigma": 9.0},
        });
    }
    graph["99"] = save(&length.to_string(), "slow");
    graph
}
