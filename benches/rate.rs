//! kiln beside what a person's own script does: `cargo bench --bench rate [-- jobs|download]`.
//!
//! `jobs`: many tiny jobs against one `kiln serve`, by `kiln run` and by three loops with as many jobs in flight. The first is what scripts
//! that use the API do, with the libraries that they use: submit, wait for the end on the WebSocket, ask for the job's record, fetch what
//! it names, write it to its place. The other two are the least that can be done: one kept connection without a library, the name of the
//! file from the WebSocket too, so that a job costs two requests. One of them writes each file under a temporary name and renames it, the
//! other makes it durable before that, as kiln does.
//!
//! `download`: 1 GiB as the result of a job, from the server to kiln's outputs and blobs, beside `curl`, `b3sum` and `sync`.
//!
//! The order within each round is drawn from a seed. `KILN_BENCH_JOBS` and `KILN_BENCH_ROUNDS` change how much is done,
//! `KILN_BENCH_IN_FLIGHT` how many jobs are on the server at a time, `KILN_BENCH_EDGE` how large their pictures are, and
//! `KILN_BENCH_SERVER` takes another server than a `kiln serve`.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use support::{Server, kiln, quiet};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

#[path = "../tests/it/support/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "shared with the tests, which need more of it"
)]
mod support;

/// How many jobs are on the server at a time, unless `KILN_BENCH_IN_FLIGHT` says otherwise: what kiln keeps there by itself.
const IN_FLIGHT: usize = 2;
const SEED: u64 = 7;
/// Pixels of a picture each way, unless `KILN_BENCH_EDGE` says otherwise.
const EDGE: usize = 64;

/// A job that is done at once; `EDGE` stands for a number.
const TINY: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": EDGE, "height": EDGE, "batch_size": 1, "color": 0}, "_meta": {"title": "Card"}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "tiny"}, "_meta": {"title": "Save"}}
}"#;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    if wants("jobs") {
        jobs();
    }
    if wants("download") {
        download();
    }
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// The job, with pictures of `KILN_BENCH_EDGE` pixels each way. Each round has a folder of its own on the server: `ComfyUI` reads all names
/// in the folder to find the next one.
fn tiny(folder: &str) -> String {
    TINY.replace("EDGE", &number("KILN_BENCH_EDGE", EDGE).to_string())
        .replace("tiny\"", &format!("{folder}/tiny\""))
}

/// Where colours begin: the rest is enough for every job.
fn random_base() -> usize {
    fastrand::usize(..8_000_000)
}

fn in_flight() -> usize {
    number("KILN_BENCH_IN_FLIGHT", IN_FLIGHT)
}

/// Prints the median and the spread of some figures.
fn tell(what: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    println!(
        "{what:<58} {:>9.2} {unit}   ({:.2} to {:.2}, {} runs)",
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
        values.len()
    );
}

/// Who does the jobs of a round.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Script,
    Loop,
    SyncedLoop,
    Kiln,
}

fn jobs() {
    let count = number("KILN_BENCH_JOBS", 10_000);
    let rounds = number("KILN_BENCH_ROUNDS", 5);
    let named = std::env::var("KILN_BENCH_SERVER").ok();
    let embedded = named.is_none().then(|| Server::start(&[]));
    let url = named.or_else(|| Some(embedded.as_ref()?.url.clone()));
    let url = url.unwrap();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut times: HashMap<Who, Vec<f64>> = HashMap::new();
    // Kept until the end: file systems are slow to make files for a while after many were deleted.
    let mut dirs = Vec::new();
    let base = random_base();
    for round in 0..=rounds {
        let mut order = [Who::Script, Who::Loop, Who::SyncedLoop, Who::Kiln];
        random.shuffle(&mut order);
        for (place, who) in order.into_iter().enumerate() {
            // The first round only warms up; no colour comes twice, so the server remembers no result.
            let count = if round == 0 { count.min(500) } else { count };
            // A server that is used again remembers what earlier benches sent.
            let first = base + (round * 4 + place) * count;
            dirs.push(tempfile::tempdir().unwrap());
            let dir = dirs[dirs.len() - 1].path();
            let took = match who {
                Who::Kiln => by_kiln(&url, dir, first, count),
                Who::Script => by_script(&url, dir, first, count),
                _ => by_hand(&url, dir, first, count, who == Who::SyncedLoop),
            };
            if round > 0 {
                times.entry(who).or_default().push(took.as_secs_f64());
            }
        }
    }
    let of = |who: Who| times[&who].clone();
    let rate = |who| of(who).iter().map(|took| count as f64 / took).collect();
    let who = [
        (Who::Script, "a loop as scripts have it"),
        (Who::Loop, "the least, renaming"),
        (Who::SyncedLoop, "the least, syncing"),
    ];
    for (who, name) in who {
        tell(&format!("jobs a second, {name}"), "/s", rate(who));
    }
    tell("jobs a second, kiln run", "/s", rate(Who::Kiln));
    for (who, name) in who {
        let pairs = of(who).into_iter().zip(of(Who::Kiln));
        let ratio = pairs.map(|(theirs, ours)| theirs / ours).collect();
        tell(&format!("kiln's rate over that of {name}"), "×", ratio);
    }
}

fn by_kiln(url: &str, dir: &Path, first: usize, count: usize) -> Duration {
    std::fs::write(dir.join("tiny.json"), tiny(&format!("bench-{first}"))).unwrap();
    let project = format!(
        "servers: {{ here: {{ url: \"{}\", max_jobs: {} }} }}\n",
        url,
        in_flight()
    );
    std::fs::write(dir.join("kiln.yaml"), project).unwrap();
    let pipeline = format!(
        "name: tiny\nsteps:\n  draw:\n    server: here\n    workflow: tiny.json\n    matrix: {{ i: \"{{{{ range({count}) }}}}\" }}\n    set: {{ Card: {{ color: \"{{{{ matrix.i + {first} }}}}\" }} }}\n"
    );
    std::fs::write(dir.join("p.yaml"), pipeline).unwrap();
    let start = Instant::now();
    let run = ["run", "p.yaml", "--yes"];
    let done = quiet(kiln().args(run).current_dir(dir)).status().unwrap();
    assert!(done.success());
    start.elapsed()
}

/// What scripts do: the record of each job tells what it made.
fn by_script(url: &str, dir: &Path, first: usize, count: usize) -> Duration {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        let script = Arc::new(Script::start(url, dir, &tiny(&format!("bench-{first}"))).await);
        let jobs = (first..first + count).map(|colour| {
            let script = Arc::clone(&script);
            async move { tokio::spawn(async move { script.job(colour).await }).await }
        });
        let mut jobs = futures_util::stream::iter(jobs).buffer_unordered(in_flight());
        while let Some(done) = jobs.next().await {
            done.unwrap();
        }
    });
    start.elapsed()
}

struct Script {
    url: String,
    dir: PathBuf,
    http: reqwest::Client,
    graph: Value,
    /// Who waits for the end of which job.
    waiting: Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>,
}

impl Script {
    async fn start(url: &str, dir: &Path, graph: &str) -> Self {
        let socket = format!("{}/ws?clientId=script", url.replace("http", "ws"));
        let (mut socket, _) = tokio_tungstenite::connect_async(socket).await.unwrap();
        // The server knows the socket once it has said so.
        socket.next().await.unwrap().unwrap();
        let waiting: Arc<Mutex<HashMap<String, oneshot::Sender<()>>>> = Arc::default();
        let ended = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else {
                    continue;
                };
                let message: Value = serde_json::from_str(&text).unwrap();
                let data = &message["data"];
                if message["type"] == "executing" && data["node"].is_null() {
                    let id = data["prompt_id"].as_str().unwrap();
                    if let Some(tell) = ended.lock().unwrap().remove(id) {
                        let _ = tell.send(());
                    }
                }
            }
        });
        Self {
            url: url.to_owned(),
            dir: dir.to_path_buf(),
            http: reqwest::Client::new(),
            graph: serde_json::from_str(graph).unwrap(),
            waiting,
        }
    }

    async fn job(&self, colour: usize) {
        let id = uuid::Builder::from_u128(fastrand::u128(..))
            .into_uuid()
            .to_string();
        let (tell, ended) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id.clone(), tell);
        let mut graph = self.graph.clone();
        graph["1"]["inputs"]["color"] = colour.into();
        let body = json!({ "prompt": graph, "client_id": "script", "prompt_id": id });
        let post = self.http.post(format!("{}/prompt", self.url)).json(&body);
        let answer: Value = post.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["prompt_id"], id.as_str());
        ended.await.unwrap();
        let record = self.http.get(format!("{}/history/{id}", self.url));
        let record: Value = record.send().await.unwrap().json().await.unwrap();
        for image in record[&id]["outputs"]["9"]["images"].as_array().unwrap() {
            let name = image["filename"].as_str().unwrap();
            let query = ["filename", "subfolder", "type"].map(|k| (k, image[k].as_str().unwrap()));
            let view = self.http.get(format!("{}/view", self.url)).query(&query);
            let picture = view.send().await.unwrap().bytes().await.unwrap();
            tokio::fs::write(self.dir.join(name), picture)
                .await
                .unwrap();
        }
    }
}

/// The least that can be done.
fn by_hand(url: &str, dir: &Path, first: usize, count: usize, synced: bool) -> Duration {
    let address = url.trim_start_matches("http://");
    let start = Instant::now();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut http = BufReader::new(stream);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut socket, _) =
        tungstenite::client(format!("ws://{address}/ws?clientId=script"), stream).unwrap();
    // The server knows the socket once it has said so.
    socket.read().unwrap();
    let folder = format!("bench-{first}");
    let graph = tiny(&folder);
    let (mut next, mut done) = (0, 0);
    let mut made: HashMap<String, String> = HashMap::new();
    while done < count {
        while next < count && next - done < in_flight() {
            let colour = format!("\"color\": {}", first + next);
            let graph = graph.replace("\"color\": 0", &colour);
            let body = format!("{{\"prompt\": {graph}, \"client_id\": \"script\"}}");
            request(&mut http, "POST", "/api/prompt", &body);
            next += 1;
        }
        let name = next_made(&mut socket, &mut made);
        let path = format!("/api/view?filename={name}&subfolder={folder}&type=output");
        let picture = request(&mut http, "GET", &path, "");
        let part = dir.join(".part");
        let mut file = File::create(&part).unwrap();
        file.write_all(&picture).unwrap();
        if synced {
            file.sync_all().unwrap();
        }
        std::fs::rename(&part, dir.join(name)).unwrap();
        done += 1;
    }
    start.elapsed()
}

/// Waits for the end of a job; the name of its file.
fn next_made(socket: &mut WebSocket<TcpStream>, made: &mut HashMap<String, String>) -> String {
    loop {
        let Message::Text(text) = socket.read().unwrap() else {
            continue;
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        let data = &message["data"];
        let id = || data["prompt_id"].as_str().unwrap().to_owned();
        match message["type"].as_str() {
            Some("executed") => {
                let name = data["output"]["images"][0]["filename"].as_str().unwrap();
                made.insert(id(), name.to_owned());
            }
            Some("executing") if data["node"].is_null() => return made.remove(&id()).unwrap(),
            Some("execution_error") => panic!("{text}"),
            _ => {}
        }
    }
}

/// One request over a kept connection; the body of the answer, which tells its length.
fn request(stream: &mut BufReader<TcpStream>, method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let (mut line, mut length) = (String::new(), None);
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{method} {path}: {line}");
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse().unwrap());
        }
    }
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body).unwrap();
    body
}

/// A relay through which the picture of a tiny job is another file, as large as one likes. What the server sends passes unread.
fn relay(to: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = to.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (mut from, mut there) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    let name = b"filename=tiny_";
                    let found = buffer[..read].windows(name.len()).position(|w| w == name);
                    if let Some(at) = found {
                        buffer[at..at + name.len()].copy_from_slice(b"filename=huge_");
                    }
                    if there.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = there.shutdown(std::net::Shutdown::Write);
            });
            let (mut server, mut client) = (server, client);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut server, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    port
}

fn download() {
    const SIZE: u64 = 1 << 30;
    let rounds = number("KILN_BENCH_ROUNDS", 5);
    let server = Server::start(&[]);
    let output = server.dir().join("output");
    std::fs::create_dir_all(&output).unwrap();
    let huge = output.join("huge_00001_.png");
    let mut file = File::create(&huge).unwrap();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..(SIZE >> 20) {
        random.fill(&mut block);
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
    for job in 2..=rounds + 1 {
        std::fs::hard_link(&huge, output.join(format!("huge_{job:05}_.png"))).unwrap();
    }
    let url = format!("http://127.0.0.1:{}", relay(server.address()));
    let (mut ours, mut theirs, mut ratio, mut memory) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (mut by_hand, mut by_kiln) = (0.0, (0.0, 0.0));
        let mut order = [true, false];
        random.shuffle(&mut order);
        for kiln in order {
            let dir = tempfile::tempdir().unwrap();
            if kiln {
                by_kiln = fetched_by_kiln(dir.path(), &url, round, SIZE);
            } else {
                by_hand = fetched_by_hand(dir.path(), &url);
            }
        }
        if round > 0 {
            theirs.push(by_hand);
            ours.push(by_kiln.0);
            ratio.push(by_kiln.0 / by_hand);
            memory.push(by_kiln.1);
        }
    }
    tell("1 GiB by curl, b3sum and sync", "ms", theirs);
    tell("1 GiB by kiln run, with its blob", "ms", ours);
    tell("ratio", "×", ratio);
    tell("peak memory of kiln run", "MB", memory);
}

fn fetched_by_hand(dir: &Path, url: &str) -> f64 {
    let start = Instant::now();
    let view = format!("{url}/api/view?filename=huge_00001_.png&type=output");
    let script = format!("curl -s -o f '{view}' && b3sum --num-threads 1 f && sync f");
    let mut shell = Command::new("sh");
    let done = quiet(shell.args(["-c", &script]).current_dir(dir)).status();
    assert!(done.unwrap().success(), "curl and b3sum are needed");
    start.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds, and the most memory that the process had, in MB.
fn fetched_by_kiln(dir: &Path, url: &str, colour: usize, size: u64) -> (f64, f64) {
    let graph = tiny("huge").replace("huge/", "");
    std::fs::write(dir.join("tiny.json"), graph).unwrap();
    let pipeline = format!(
        "name: huge\nsteps:\n  draw:\n    workflow: tiny.json\n    set: {{ Card: {{ color: {colour} }} }}\n    save_as: huge.png\n"
    );
    std::fs::write(dir.join("p.yaml"), pipeline).unwrap();
    let start = Instant::now();
    let run = ["run", "p.yaml", "--server", url];
    let mut child = quiet(kiln().args(run).current_dir(dir)).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    let took = loop {
        let told = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = told.lines().find_map(|l| l.strip_prefix("VmHWM:")) {
            let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
            peak = kilobytes / 1e3;
        }
        if let Some(done) = child.try_wait().unwrap() {
            assert!(done.success());
            break start.elapsed();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let made = std::fs::metadata(dir.join("outputs/huge/latest/draw/huge.png")).unwrap();
    assert_eq!(made.len(), size);
    (took.as_secs_f64() * 1e3, peak)
}
