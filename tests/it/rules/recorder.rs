//! A proxy that writes down every byte that kiln sends to a server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A listening proxy; its threads end with the process.
pub(super) struct Recorder {
    pub(super) url: String,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub(super) fn before(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&sent);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (all, target) = (Arc::clone(&all), target.clone());
                thread::spawn(move || {
                    // A connection that ends is no failure of the proxy.
                    let _ = pass(client, &target, &all);
                });
            }
        });
        Self { url, sent }
    }

    /// All requests of kind `line`, each with its headers and its body.
    pub(super) fn requests(&self, line: &str) -> Vec<String> {
        let sent = self.sent.lock().unwrap();
        let all = sent.iter().flat_map(|connection| {
            let starts = connection.match_indices(" HTTP/1.1\r\n");
            let mut starts: Vec<usize> = starts
                .map(|(at, _)| connection[..at].rfind(['\n', '}']).map_or(0, |at| at + 1))
                .collect();
            starts.push(connection.len());
            let pieces: Vec<&str> = starts.windows(2).map(|w| &connection[w[0]..w[1]]).collect();
            pieces
        });
        all.filter(|request| request.starts_with(line))
            .map(str::to_owned)
            .collect()
    }
}

fn pass(mut client: TcpStream, target: &str, all: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target)?;
    let at = {
        let mut all = all.lock().unwrap();
        all.push(String::new());
        all.len() - 1
    };
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut piece = [0; 4096];
    loop {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return server.shutdown(Shutdown::Write);
        }
        all.lock().unwrap()[at].push_str(&String::from_utf8_lossy(&piece[..read]));
        server.write_all(&piece[..read])?;
    }
}
