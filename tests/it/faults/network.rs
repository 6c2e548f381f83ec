//! A proxy that knows what it carries: it does to requests, answers, files and sockets what a row of the table says, and looks for keys
//! where none belong.
//!
//! Comfy Cloud hands files out at a second host; the proxy stands in front of that one, too, and files of a server without one are sent
//! there by a fault that redirects.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::sockets::{self, Sock};
use super::wire::{Answer, Request, Told, peek_line};
use crate::proofs::Dice;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A job is submitted.
    Post,
    /// How a job stands.
    Record,
    /// A file is fetched, or asked after.
    View,
    /// Where a file is, on a server with a second host.
    Where,
    /// A file is sent.
    Upload,
    /// What the server is and has.
    Ask,
    /// A job is stopped, or something else is ordered.
    Order,
    /// A socket is opened.
    Socket,
}

/// Which of the requests of a kind are befallen.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Always,
    /// The first so many.
    First(usize),
    /// One in so many, drawn.
    OneIn(u64),
    /// Each address once.
    EachOnce,
}

/// What befalls a request.
#[derive(Clone, Copy)]
pub(super) enum Deed {
    Pass,
    /// The connection is closed before it is passed on.
    Close,
    /// The connection is reset before it is read.
    Reset,
    /// It is passed on, and the connection is closed.
    Swallow,
    /// It is neither passed on nor answered.
    Hang,
    /// It is passed on and never answered.
    HangAfter,
    /// It is not passed on, and this is answered.
    Refuse(fn() -> Answer),
    /// It is passed on, and this is answered.
    Instead(fn() -> Answer),
    /// It is passed on, and its good answer is changed.
    Edit(fn(&mut Answer)),
    /// The connection ends after so many hundredths of the good answer's body.
    Cut(usize),
    /// The whole answer comes in pieces of so many bytes, with pauses.
    Drip(usize, Duration),
    /// Its answer comes later.
    Late(Duration),
    /// It is sent to another host by this status.
    Elsewhere(u16),
    /// It is sent to itself.
    Round,
}

struct State {
    target: String,
    /// Where the second host is.
    files: Option<String>,
    seen: HashSet<String>,
    count: usize,
    posts: usize,
    dice: Dice,
    leaks: Vec<String>,
    /// Connections that can be cut.
    open: HashMap<u64, TcpStream>,
    opened: u64,
    refuses: bool,
    sockets: usize,
}

/// What befalls whom.
#[derive(Clone, Copy)]
pub(super) struct Script {
    pub(super) kind: Kind,
    pub(super) when: When,
    pub(super) deed: Deed,
    pub(super) socket: Sock,
}

/// A listening proxy; its threads end with the process.
pub(super) struct Network {
    pub(super) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    script: Script,
    key: String,
    state: Mutex<State>,
    /// The address of the second host.
    elsewhere: String,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What befalls this request.
    fn deed(&self, line: &str, kind: Kind) -> Deed {
        let mut state = self.lock();
        if kind == Kind::Post {
            state.posts += 1;
        }
        if kind != self.script.kind {
            return Deed::Pass;
        }
        state.count += 1;
        let strikes = match self.script.when {
            When::Always => true,
            When::First(most) => state.count <= most,
            When::OneIn(many) => state.dice.roll(many) == 0,
            // The second host's addresses are signed anew each time.
            When::EachOnce if line.contains("/files/") => {
                let path = line.split('?').next().unwrap_or(line);
                state.seen.insert(path.to_owned())
            }
            When::EachOnce => state.seen.insert(line.to_owned()),
        };
        if strikes {
            self.script.deed
        } else {
            Deed::Pass
        }
    }
}

fn kind(line: &str, second_host: bool, there_is_one: bool) -> Kind {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let asks = matches!(method, "GET" | "HEAD");
    match path {
        _ if second_host => Kind::View,
        "/ws" | "/api/ws" => Kind::Socket,
        "/api/view" if there_is_one => Kind::Where,
        "/api/view" => Kind::View,
        "/api/prompt" if !asks => Kind::Post,
        "/api/queue" if asks => Kind::Record,
        path if asks && (path.starts_with("/api/jobs/") || path.starts_with("/api/history/")) => {
            Kind::Record
        }
        path if !asks && path.starts_with("/api/upload/") => Kind::Upload,
        _ if asks => Kind::Ask,
        _ => Kind::Order,
    }
}

impl Network {
    /// In front of the server at `url`. `key` may go there and nowhere else.
    pub(super) fn start(url: &str, key: &str, script: Script, seed: u64) -> Self {
        let main = TcpListener::bind("127.0.0.1:0").unwrap();
        let files = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let own = address(&main);
        let shared = Arc::new(Shared {
            script,
            key: key.to_owned(),
            elsewhere: address(&files),
            state: Mutex::new(State {
                target: host(url),
                files: None,
                seen: HashSet::new(),
                count: 0,
                posts: 0,
                dice: Dice(seed),
                leaks: Vec::new(),
                open: HashMap::new(),
                opened: 0,
                refuses: false,
                sockets: 0,
            }),
        });
        for (listener, second) in [(main, false), (files, true)] {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    // A broken connection is what the proxy is for.
                    thread::spawn(move || drop(serve(stream, &shared, second)));
                }
            });
        }
        Self { url: own, shared }
    }

    /// Leads to another server from now on, and cuts what is open.
    pub(super) fn turn_to(&self, url: &str) {
        let mut state = self.shared.lock();
        state.target = host(url);
        state.files = None;
        drop(state);
        self.cut();
    }

    /// Whether nobody is let in; cuts what is open.
    pub(super) fn refuse(&self, refuses: bool) {
        self.shared.lock().refuses = refuses;
        self.cut();
    }

    fn cut(&self) {
        for (_, stream) in self.shared.lock().open.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many jobs were submitted.
    pub(super) fn posts(&self) -> usize {
        self.shared.lock().posts
    }

    /// How often its deed befell somebody, or could have.
    pub(super) fn struck(&self) -> usize {
        let state = self.shared.lock();
        state.count + state.sockets
    }

    /// Requests that carried the key where it does not belong.
    pub(super) fn leaks(&self) -> Vec<String> {
        self.shared.lock().leaks.clone()
    }
}

/// A connection that can be cut until it has ended.
struct Open<'a> {
    shared: &'a Shared,
    id: u64,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, client: &TcpStream) -> std::io::Result<Self> {
        let mut state = shared.lock();
        state.opened += 1;
        let id = state.opened;
        state.open.insert(id, client.try_clone()?);
        Ok(Self { shared, id })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.lock().open.remove(&self.id);
    }
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

fn serve(mut client: TcpStream, shared: &Arc<Shared>, second: bool) -> std::io::Result<()> {
    let line = peek_line(&client)?;
    let (target, files) = {
        let state = shared.lock();
        if state.refuses {
            return Ok(());
        }
        (state.target.clone(), state.files.clone())
    };
    let kind = kind(&line, second, files.is_some());
    // Who was sent here stays here.
    let deed = match shared.deed(&line, kind) {
        Deed::Elsewhere(_) if second => Deed::Pass,
        deed => deed,
    };
    if matches!(deed, Deed::Reset) {
        // What was not read makes the end of the connection a reset.
        return Ok(());
    }
    let _open = Open::new(shared, &client)?;
    let request = Request::read(&mut client)?;
    if second && request.holds(&shared.key) {
        shared.lock().leaks.push(request.line.clone());
    }
    if kind == Kind::Socket {
        let at = {
            let mut state = shared.lock();
            state.sockets += 1;
            (state.sockets, state.dice.roll(u64::MAX))
        };
        return sockets::serve(client, &request, &target, shared.script.socket, at);
    }
    let target = if second {
        files.unwrap_or(target)
    } else {
        target
    };
    befall(client, &request, &target, (deed, shared))
}

fn befall(
    mut client: TcpStream,
    request: &Request,
    target: &str,
    (deed, shared): (Deed, &Arc<Shared>),
) -> std::io::Result<()> {
    let own = |answer: &Answer| {
        let (head, body) = answer.bytes();
        [head, body].concat()
    };
    match deed {
        Deed::Close | Deed::Reset => return client.shutdown(Shutdown::Both),
        Deed::Hang => return wait_for_the_end(&mut client),
        Deed::Refuse(answer) => {
            client.write_all(&own(&answer()))?;
            return client.shutdown(Shutdown::Both);
        }
        Deed::Elsewhere(status) => {
            let to = format!("{}{}", shared.elsewhere, request.target());
            let answer = Answer::of(status, "text/plain", "").with("location", &to);
            client.write_all(&own(&answer))?;
            return client.shutdown(Shutdown::Both);
        }
        Deed::Round => {
            let answer = Answer::of(302, "text/plain", "").with("location", request.target());
            client.write_all(&own(&answer))?;
            return client.shutdown(Shutdown::Both);
        }
        _ => {}
    }
    let mut answer = Answer::fetch(target, request)?;
    learn(&mut answer, shared);
    let good = (200..300).contains(&answer.status);
    match deed {
        Deed::Swallow => {}
        Deed::HangAfter => return wait_for_the_end(&mut client),
        Deed::Instead(other) => client.write_all(&own(&other()))?,
        Deed::Edit(edit) => {
            if good {
                edit(&mut answer);
            }
            client.write_all(&own(&answer))?;
        }
        Deed::Cut(part) if good => {
            let (head, body) = answer.bytes();
            client.write_all(&head)?;
            client.write_all(&body[..body.len() * part / 100])?;
        }
        Deed::Drip(piece, pause) => {
            for piece in own(&answer).chunks(piece) {
                client.write_all(piece)?;
                thread::sleep(pause);
            }
        }
        Deed::Late(pause) => {
            thread::sleep(pause);
            client.write_all(&own(&answer))?;
        }
        _ => client.write_all(&own(&answer))?,
    }
    if answer.told == Some(Told::Unended) {
        return Ok(());
    }
    client.shutdown(Shutdown::Both)
}

/// Sends those who are sent to the second host through this proxy.
fn learn(answer: &mut Answer, shared: &Shared) {
    let Some(location) = answer.header("location").map(str::to_owned) else {
        return;
    };
    let Some((scheme, rest)) = location.split_once("://") else {
        return;
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if scheme == "http" {
        shared.lock().files = Some(host.to_owned());
        let to = format!("{}/{path}", shared.elsewhere);
        answer.set("location", &to);
    }
}

/// Until the other side is tired of it.
fn wait_for_the_end(client: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(client, &mut std::io::sink()).map(drop)
}
