//! A server that answers each request as a function says, and knows no WebSocket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// The status, the media type (further headers may follow in it) and the body for the first line of a request.
type Say = dyn Fn(&str) -> (u16, &'static str, String) + Send + Sync;

/// A listening server; its threads end with the process.
pub(crate) struct Spoken {
    pub(crate) url: String,
}

impl Spoken {
    pub(crate) fn start(
        say: impl Fn(&str) -> (u16, &'static str, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let say: Arc<Say> = Arc::new(say);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let say = Arc::clone(&say);
                std::thread::spawn(move || {
                    // Whoever asks may hang up.
                    let _ = answer(stream, &*say);
                });
            }
        });
        Self { url }
    }
}

fn answer(mut stream: TcpStream, say: &Say) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    from.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut from.take(length), &mut std::io::sink())?;
    let (status, kind, body) = say(&first);
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
