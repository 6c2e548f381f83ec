//! The plugin, through the same table of functions that kiln uses, and a server that is not always there.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use kiln_plugin::{Value, json, testing};
use kiln_webhook::Webhook;

/// Reads one request and answers it; head and body.
fn answer(mut stream: TcpStream, status: &str) -> (String, String) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )
                .unwrap();
                return (head.to_lowercase(), body.to_owned());
            }
        }
        let n = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..n]);
    }
}

/// A server that gives these answers, one after the other.
fn server(statuses: &'static [&'static str]) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            tell.send(answer(stream, status)).unwrap();
        }
    });
    (url, told)
}

fn event(name: &str) -> Value {
    json!({ "kind": "run", "event": name, "run": "r" })
}

#[test]
fn a_wanted_event_is_signed_and_sent_again_until_it_is_taken() {
    let (url, told) = server(&["503 Busy", "200 OK"]);
    let mut host =
        testing::host::<Webhook>(json!({ "url": url, "secret": "s", "events": ["run_*"] }))
            .unwrap();
    host.event(event("task_started")).unwrap();
    host.event(event("run_finished")).unwrap();
    let (first, second) = (told.recv().unwrap(), told.recv().unwrap());
    assert_eq!(first.1, second.1, "the same body twice");
    let body: Value = kiln_plugin::serde_json::from_str(&first.1).unwrap();
    assert_eq!(body["event"], "run_finished");
    let (head, _) = first;
    assert!(head.starts_with("post /hook "), "{head}");
    assert!(head.contains("x-kiln-event: run_finished"), "{head}");
    assert!(head.contains("x-kiln-signature: sha256="), "{head}");
    assert!(told.try_recv().is_err(), "nothing else was sent");
}

#[test]
fn a_refusal_is_a_failure_at_once_and_so_is_silence_in_the_end() {
    let (url, told) = server(&["403 No"]);
    let mut host = testing::host::<Webhook>(json!({ "url": url })).unwrap();
    let words = host.event(event("run_finished")).unwrap_err();
    assert_eq!(words, "`run_finished` was refused with 403");
    told.recv().unwrap();
    let config = json!({ "url": "http://127.0.0.1:9/", "attempts": 2 });
    let mut host = testing::host::<Webhook>(config).unwrap();
    let words = host.event(event("run_finished")).unwrap_err();
    assert!(
        words.starts_with("`run_finished` was not taken in 2 attempts: "),
        "{words}"
    );
}

#[test]
fn attempts_end_before_kiln_gives_the_plugin_up() {
    // Nobody listens, and ten attempts with their pauses would take minutes.
    let config = json!({ "url": "http://127.0.0.1:9/", "attempts": 10, "seconds": 60 });
    let limit = std::time::Duration::from_secs(2);
    let mut host = testing::host_with::<Webhook>(config, limit).unwrap();
    let words = host.event(event("run_finished")).unwrap_err();
    assert!(
        words.starts_with("`run_finished` was not taken in 3 attempts: "),
        "{words}"
    );
    assert!(
        words.ends_with("; there is no time for more, see `timeout`"),
        "{words}"
    );
}
