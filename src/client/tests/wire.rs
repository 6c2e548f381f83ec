//! What leaves kiln, byte by byte: nothing that harms a server.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{Router, get, post};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fake::{client, serve};
use crate::client::{Connection, JobRequest, Outcome};
use crate::protocol::history_entry;
use crate::workflow::Graph;

/// A request as it arrived.
struct Seen {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

type Wire = Arc<Mutex<Vec<Seen>>>;

/// The largest seed there is, as the text of a file.
const GRAPH: &str = r#"{"1":{"class_type":"EmptyImage"},
    "2":{"class_type":"KSampler","inputs":{"seed":18446744073709551615,"low":-9223372036854775808,"odd":9007199254740993,
        "list":{"__value__":["a",["1",0]]},"images":["1",0]}},
    "3":{"class_type":"SaveImage","inputs":{"images":["2",0]},"_meta":{}}}"#;

async fn listening() -> (String, Wire) {
    let wire = Wire::default();
    let note = |wire: &Wire, (path, headers, body): (&Uri, HeaderMap, Bytes)| {
        wire.lock().unwrap().push(Seen {
            path: path.path().to_owned(),
            headers,
            body,
        });
    };
    let (on_prompt, on_socket, on_any) = (wire.clone(), wire.clone(), wire.clone());
    let prompt = post(
        move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let id = serde_json::from_slice::<Value>(&body).unwrap()["prompt_id"].clone();
            note(&on_prompt, (&uri, headers, body));
            format!(r#"{{"prompt_id":{id},"number":0,"node_errors":{{}}}}"#)
        },
    );
    let socket = get(
        move |uri: Uri, headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
            note(&on_socket, (&uri, headers, Bytes::new()));
            let reply: Response = upgrade.on_upgrade(move |mut socket: WebSocket| async move {
                while let Some(Ok(message)) = socket.recv().await {
                    if let Message::Text(text) = message {
                        let body = Bytes::copy_from_slice(text.as_bytes());
                        let seen = (&Uri::from_static("/first"), HeaderMap::new(), body);
                        note(&on_socket, seen);
                    }
                }
            });
            reply
        },
    );
    let history = |axum::extract::Path(id): axum::extract::Path<String>| async move {
        format!(
            r#"{{"{id}":{{"outputs":{{"3":{{"text":["t"]}}}},"status":{{"status_str":"success","completed":true,"messages":[]}}}}}}"#
        )
    };
    let any = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
        note(&on_any, (&uri, headers, body));
        "{}"
    };
    let router = Router::new()
        .route("/api/prompt", prompt)
        .route("/api/ws", socket)
        .route("/api/history/{id}", get(history))
        .fallback(any);
    (serve(router).await, wire)
}

/// A job from its file to its record, and all that went over the wire.
async fn sent() -> (Wire, Outcome) {
    let (url, wire) = listening().await;
    let connection = Connection::open(client(&url)).await.unwrap();
    let graph: Graph = serde_json::from_str(GRAPH).unwrap();
    let request = JobRequest {
        prompt_id: Uuid::new_v4(),
        graph: &graph,
        targets: &[],
        extra_data: Map::new(),
        allow_partial: false,
    };
    let accepted = connection.submit(&request).await.unwrap();
    let (updates, _told) = tokio::sync::mpsc::unbounded_channel();
    let outcome = connection.follow(&accepted.prompt_id, updates).await;
    let _ = connection.client().free().await;
    let _ = connection.cancel(&accepted.prompt_id).await;
    (wire, outcome)
}

fn posted(wire: &Wire) -> String {
    let wire = wire.lock().unwrap();
    let prompt = wire.iter().find(|seen| seen.path == "/api/prompt").unwrap();
    String::from_utf8(prompt.body.to_vec()).unwrap()
}

#[tokio::test]
async fn every_node_is_sent_with_inputs_and_a_title() {
    let (wire, _) = sent().await;
    let body = posted(&wire);
    assert!(
        body.contains(
            r#""1":{"class_type":"EmptyImage","inputs":{},"_meta":{"title":"EmptyImage"}}"#
        ),
        "{body}"
    );
    assert_eq!(body.matches(r#""inputs":{"#).count(), 3, "{body}");
    assert_eq!(body.matches(r#""_meta":{"title":"#).count(), 3, "{body}");
}

#[tokio::test]
async fn whole_numbers_are_exact_there_and_back() {
    let (wire, outcome) = sent().await;
    let body = posted(&wire);
    for exact in [
        r#""seed":18446744073709551615"#,
        r#""low":-9223372036854775808"#,
        r#""odd":9007199254740993"#,
    ] {
        assert!(body.contains(exact), "{exact} is not in {body}");
    }
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    let record = r#"{"p":{"outputs":{"3":{"seed":[18446744073709551615,-9223372036854775808]}}}}"#;
    let entry = history_entry(record, "p").unwrap().unwrap();
    assert_eq!(entry.outputs["3"]["seed"][0].as_u64(), Some(u64::MAX));
    assert_eq!(entry.outputs["3"]["seed"][1].as_i64(), Some(i64::MIN));
}

#[tokio::test]
async fn a_literal_list_stays_wrapped() {
    let (wire, _) = sent().await;
    let body = posted(&wire);
    assert!(
        body.contains(r#""list":{"__value__":["a",["1",0]]}"#),
        "{body}"
    );
}

#[tokio::test]
async fn no_request_and_no_socket_says_where_it_comes_from() {
    let (wire, _) = sent().await;
    let wire = wire.lock().unwrap();
    assert!(wire.iter().any(|seen| seen.path == "/api/ws"));
    assert!(wire.len() >= 4, "{} requests", wire.len());
    for seen in wire.iter() {
        for header in ["origin", "referer", "sec-fetch-site"] {
            assert!(
                !seen.headers.contains_key(header),
                "{header} to {}",
                seen.path
            );
        }
    }
}

#[tokio::test]
async fn the_first_message_on_a_socket_is_the_handshake() {
    let (wire, _) = sent().await;
    let wire = wire.lock().unwrap();
    let first = wire.iter().find(|seen| seen.path == "/first").unwrap();
    let said: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(said["type"], "feature_flags");
    assert_eq!(said["data"]["supports_preview_metadata"], true);
}

/// A slow reader would stall the server for everybody.
#[test]
fn the_socket_is_drained_while_the_client_is_busy() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = shake_hands(stream);
        let chunk = vec![9_u8; 1 << 20];
        // Far more than any buffer on the way holds.
        for _ in 0..64 {
            let mut frame = vec![0x82, 127];
            frame.extend_from_slice(&(chunk.len() as u64).to_be_bytes());
            socket.write_all(&frame).unwrap();
            socket.write_all(&chunk).unwrap();
        }
        done.send(()).unwrap();
        let _ = socket.read(&mut [0; 64]);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let connection = Connection::open(client(&url)).await.unwrap();
        // The client's own task does not yield for as long as the server speaks.
        let drained = finished.recv_timeout(std::time::Duration::from_mins(1));
        assert!(drained.is_ok(), "the server was kept waiting");
        drop(connection);
    });
}

/// The handshake of a socket, by hand.
fn shake_hands(mut stream: std::net::TcpStream) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .starts_with("sec-websocket-key:")
                .then(|| line[18..].trim())
        })
        .unwrap();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    write!(stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").unwrap();
    // A greeting.
    stream.write_all(b"\x81\x02{}").unwrap();
    stream
}
