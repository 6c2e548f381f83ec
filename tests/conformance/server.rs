//! An embedded server and a raw client over plain JSON, which knows nothing of kiln's own.

use std::time::Duration;

use futures_util::StreamExt;
use kiln::embedded::{Embedded, Options, start};
use reqwest::{Client, multipart};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A connected socket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server and its client.
pub(crate) struct Running {
    pub(crate) server: Embedded,
    pub(crate) client: Client,
}

/// A status, and the body as JSON where it is JSON, else as text.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, body }
    }
}

impl Running {
    /// Starts a server, does something with it and stops it.
    pub(crate) fn with<T>(work: impl AsyncFnOnce(&Self) -> T) -> T {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let running = Self {
                server: start(Options::default()).await.unwrap(),
                client: Client::new(),
            };
            let result = work(&running).await;
            running.server.shutdown().await;
            result
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(self.url(path)).body(body.to_string());
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn upload(&self, name: &str, bytes: Vec<u8>, fields: &[(&str, &str)]) {
        let part = multipart::Part::bytes(bytes).file_name(name.to_owned());
        let mut form = multipart::Form::new().part("image", part);
        for (name, value) in fields {
            form = form.text((*name).to_owned(), (*value).to_owned());
        }
        let request = self.client.post(self.url("/upload/image")).multipart(form);
        assert!(request.send().await.unwrap().status().is_success());
    }

    pub(crate) async fn view(&self, file: &Value) -> Vec<u8> {
        let text = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
        let query = ["filename", "subfolder", "type"].map(|name| (name, text(name)));
        let request = self.client.get(self.url("/view")).query(&query);
        request
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .to_vec()
    }

    pub(crate) async fn ended(&self, id: &str) -> Value {
        for _ in 0..4000 {
            let history = self.get(&format!("/history/{id}")).await.body;
            if let Some(entry) = history.get(id) {
                return entry.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("job {id} does not end");
    }

    pub(crate) async fn socket(&self, id: &str) -> Socket {
        let url = self
            .url(&format!("/ws?clientId={id}"))
            .replace("http", "ws");
        tokio_tungstenite::connect_async(url).await.unwrap().0
    }
}

/// The next text message, or nothing within so many milliseconds.
pub(crate) async fn next(socket: &mut Socket, wait: u64) -> Option<Value> {
    let message = tokio::time::timeout(Duration::from_millis(wait), socket.next()).await;
    match message.ok()??.ok()? {
        Message::Text(text) => serde_json::from_str(&text).ok(),
        _ => None,
    }
}
