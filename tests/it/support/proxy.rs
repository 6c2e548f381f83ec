//! A proxy in front of a server that does to requests what a bad network does, by a script that the test holds.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is passed on, and so is its answer.
    Pass,
    /// The connection is closed before anything is passed on.
    Refuse,
    /// It is passed on, and its answer thrown away with the connection.
    Swallow,
    /// It is passed on, and its answer replaced by a 500.
    Replace,
    /// It is not passed on, and a 500 is answered.
    Fail,
    /// It is passed on after a while.
    Late(Duration),
    /// Its answer is cut after so many bytes of it. A socket is cut, too.
    Cut(usize),
    /// It is passed on once [`Proxy::release`] was called.
    Hold,
    /// Its connection is closed, and it is passed on once [`Proxy::deliver`] is called: it was long on its way.
    Keep,
    /// It is passed on, and each of the first words in its answer replaced by the second ones.
    Say(&'static str, &'static str),
    /// It is passed on, and its answer does not tell the version of the file.
    Untagged,
}

/// The line of a request, e.g. `POST /api/prompt HTTP/1.1`, to its fate.
pub(crate) type Script = Box<dyn FnMut(&str) -> Fate + Send>;

struct State {
    target: String,
    script: Script,
    /// Both ends of everything that is open.
    open: HashMap<u64, [TcpStream; 2]>,
    /// How many connections there were.
    opened: u64,
    /// Whole requests whose connections are closed.
    kept: Vec<Vec<u8>>,
    /// What is held is passed on.
    released: bool,
}

/// A listening proxy; its threads end with the process.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// A proxy in front of the server at `url`.
    pub(crate) fn start(url: &str, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            target: host(url),
            script,
            open: HashMap::new(),
            opened: 0,
            kept: Vec::new(),
            released: false,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // A broken connection is what the proxy is for.
                    let _ = serve(stream, &shared);
                });
            }
        });
        Self { url: own, state }
    }

    /// A proxy in front of the server at `url`, and whether it lets anything through.
    pub(crate) fn switched(url: &str, up: bool) -> (Self, Arc<AtomicBool>) {
        let up = Arc::new(AtomicBool::new(up));
        let asked = Arc::clone(&up);
        let script = move |_: &str| {
            if asked.load(Ordering::Relaxed) {
                Fate::Pass
            } else {
                Fate::Refuse
            }
        };
        (Self::start(url, Box::new(script)), up)
    }

    /// Leads to another server from now on, and cuts what is open.
    pub(crate) fn turn_to(&self, url: &str) {
        self.state.lock().unwrap().target = host(url);
        self.cut();
    }

    /// Lets everything go on that is held, and holds nothing any more.
    pub(crate) fn release(&self) {
        self.state.lock().unwrap().released = true;
    }

    /// Passes on what was kept, and waits for the answers. How much that was.
    pub(crate) fn deliver(&self) -> usize {
        let (kept, target) = {
            let mut state = self.state.lock().unwrap();
            (std::mem::take(&mut state.kept), state.target.clone())
        };
        for request in &kept {
            let mut server = TcpStream::connect(&target).unwrap();
            server.write_all(request).unwrap();
            server.read_to_end(&mut Vec::new()).unwrap();
        }
        kept.len()
    }

    /// Cuts every open connection, sockets too.
    pub(crate) fn cut(&self) {
        for (_, ends) in self.state.lock().unwrap().open.drain() {
            for stream in ends {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// A connection that can be cut until it has ended; one that has ended must not use up the process's files.
struct Open<'a> {
    state: &'a Mutex<State>,
    id: u64,
}

impl<'a> Open<'a> {
    fn new(state: &'a Mutex<State>, ends: [TcpStream; 2]) -> Self {
        let mut locked = state.lock().unwrap();
        locked.opened += 1;
        let id = locked.opened;
        locked.open.insert(id, ends);
        Self { state, id }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.state.lock().unwrap().open.remove(&self.id);
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

fn serve(mut client: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client)?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    let fate = (state.lock().unwrap().script)(&line);
    match fate {
        Fate::Refuse => return Ok(()),
        Fate::Fail => {
            // The request is read before it is answered, as a real one would.
            drain(&mut client, &head, rest.len());
            return client.write_all(ERROR);
        }
        Fate::Late(pause) => thread::sleep(pause),
        Fate::Hold => {
            while !state.lock().unwrap().released {
                thread::sleep(Duration::from_millis(10));
            }
        }
        Fate::Keep => {
            let body = drain(&mut client, &head, rest.len());
            let request = [one_request(&head).as_bytes(), &rest, &body].concat();
            state.lock().unwrap().kept.push(request);
            return client.shutdown(Shutdown::Both);
        }
        _ => {}
    }
    // What was held goes to where the proxy leads by now.
    let target = state.lock().unwrap().target.clone();
    let mut server = TcpStream::connect(&target)?;
    let _open = Open::new(state, [client.try_clone()?, server.try_clone()?]);
    server.write_all(one_request(&head).as_bytes())?;
    server.write_all(&rest)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    match fate {
        Fate::Swallow | Fate::Replace => {
            let mut answer = Vec::new();
            let _ = server.read_to_end(&mut answer);
            if fate == Fate::Replace {
                client.write_all(ERROR)?;
            }
        }
        Fate::Say(instead_of, words) => {
            let mut answer = Vec::new();
            let _ = server.read_to_end(&mut answer);
            client.write_all(&said(&answer, instead_of, words))?;
        }
        Fate::Untagged => {
            let mut answer = Vec::new();
            let _ = server.read_to_end(&mut answer);
            client.write_all(&untagged(&answer))?;
        }
        Fate::Cut(bytes) => {
            std::io::copy(&mut server.take(bytes as u64), &mut client)?;
        }
        _ => {
            std::io::copy(&mut server, &mut client)?;
        }
    }
    client.shutdown(Shutdown::Both)
}

const ERROR: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops";

/// Everything up to the empty line, and what came behind it.
fn read_head(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..read]);
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
    }
}

/// An answer with other words in its body, and the length that follows from them.
fn said(answer: &[u8], instead_of: &str, words: &str) -> Vec<u8> {
    let answer = String::from_utf8_lossy(answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return answer.into_owned().into_bytes();
    };
    let body = body.replace(instead_of, words);
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let head: Vec<&str> = head.lines().filter(|line| !is_length(line)).collect();
    let head = head.join("\r\n");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn untagged(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.unwrap_or(answer.len()));
    let head = String::from_utf8_lossy(head);
    let lines = head.lines();
    let kept: Vec<&str> = lines
        .filter(|line| !line.to_ascii_lowercase().starts_with("etag:"))
        .collect();
    [kept.join("\r\n").as_bytes(), body].concat()
}

/// Reads the rest of the body of a request whose length is told.
fn drain(stream: &mut TcpStream, head: &str, have: usize) -> Vec<u8> {
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let left = length.unwrap_or(0).saturating_sub(have);
    let mut body = Vec::new();
    let _ = stream.take(left as u64).read_to_end(&mut body);
    body
}

/// The head of a request after which the server closes, so that each connection carries one; a socket's stays as it is.
fn one_request(head: &str) -> String {
    let header = |line: &str, name: &str| {
        line.split_once(':')
            .is_some_and(|(n, _)| n.eq_ignore_ascii_case(name))
    };
    if head.lines().any(|line| header(line, "upgrade")) {
        return head.to_owned();
    }
    let mut lines: Vec<&str> = head
        .trim_end()
        .lines()
        .filter(|line| !header(line, "connection"))
        .collect();
    lines.push("Connection: close");
    format!("{}\r\n\r\n", lines.join("\r\n"))
}
