//! What may go wrong while a run goes on, or between two sessions of it: memory, networks, disks, other kilns, people.
//!
//! Servers run in processes of their own and act a sampler, which takes its time without taking the processor's. Nothing here waits for
//! a time to pass: each test waits until what it needs can be seen.

mod across;
mod disks;
mod edits;
mod locks;
mod memory;
mod resumed;
mod stops;
mod strays;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, kiln};

/// The longest that anything may take.
const BOUND: Duration = Duration::from_mins(1);

/// A `kiln serve` in a process of its own.
struct Server {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Server {
    /// One that executes one job at a time.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = kiln()
            .args(["serve", "--port", "0", "--simulate", "--dir"])
            .arg(dir.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
        let start = line.find("http://").unwrap();
        let url = line[start..].split([';', ' ', '\n']).next().unwrap();
        Self {
            child,
            url: url.to_owned(),
            _dir: dir,
        }
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let host = self.url.trim_start_matches("http://");
        let body = body.to_string();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// Queues somebody else's job.
    fn queue(&self, graph: &Value) -> String {
        let body = json!({"prompt": graph, "client_id": "somebody"});
        let answer = self.request("POST", "/prompt", &body);
        answer["prompt_id"].as_str().unwrap().to_owned()
    }

    /// Somebody else's job that is executed until it is interrupted.
    fn occupy(&self) -> String {
        let id = self.queue(&long(77));
        wait_for("somebody's job", || {
            self.running().contains(&id).then_some(())
        });
        id
    }

    /// Stops the job that is executed.
    fn interrupt(&self, id: &str) {
        self.request("POST", "/interrupt", &json!({"prompt_id": id}));
    }

    fn ids(&self, list: &str) -> Vec<String> {
        let queue = self.request("GET", "/queue", &Value::Null);
        let jobs = queue[list].as_array().unwrap().iter();
        jobs.map(|job| job[1].as_str().unwrap().to_owned())
            .collect()
    }

    fn running(&self) -> Vec<String> {
        self.ids("queue_running")
    }

    fn pending(&self) -> Vec<String> {
        self.ids("queue_pending")
    }

    /// How an executed job ended; `None`: it did not, or is unknown.
    fn end_of(&self, id: &str) -> Option<String> {
        let history = self.request("GET", &format!("/history/{id}"), &Value::Null);
        let status = history.get(id)?["status"]["status_str"].as_str()?;
        Some(status.to_owned())
    }

    /// The jobs that ended well and whose files carry `prefix`.
    fn carried_out(&self, prefix: &str) -> usize {
        let history = self.request("GET", "/history", &Value::Null);
        let entries = history.as_object().unwrap().values();
        entries
            .filter(|entry| entry["outputs"].to_string().contains(prefix))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A proxy that notes every request line.
fn noting(
    url: &str,
    mut script: impl FnMut(&str) -> Fate + Send + 'static,
) -> (Proxy, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&log);
    let noted = move |line: &str| {
        own.lock().unwrap().push(line.to_owned());
        script(line)
    };
    (Proxy::start(url, Box::new(noted)), log)
}

fn is_post(line: &str, path: &str) -> bool {
    line.starts_with("POST ") && line.contains(path)
}

/// kiln at work in the background, its events as they come.
struct Running {
    child: Child,
    lines: Receiver<Value>,
    events: Vec<Value>,
}

impl Running {
    fn start(project: &Project, args: &[&str]) -> Self {
        let mut command = project.command(&["run", "--output", "json"]);
        command.args(args);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            child,
            lines,
            events: Vec::new(),
        }
    }

    /// The next event that is wanted.
    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + BOUND;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(event) => {
                    self.events.push(event.clone());
                    if wanted(&event) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what} in {:#?}", self.events)
                }
            }
        }
    }

    /// The next event of a kind.
    #[track_caller]
    fn event(&mut self, kind: &str) -> Value {
        self.until(kind, |event| event["event"] == kind)
    }

    /// The next event of a kind about a task.
    #[track_caller]
    fn of_task(&mut self, kind: &str, task: &str) -> Value {
        self.until(&format!("{kind} of {task}"), |event| {
            event["event"] == kind && event["task"] == task
        })
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads to the end; the exit code.
    #[track_caller]
    fn end(&mut self) -> i32 {
        let began = Instant::now();
        while let Ok(event) = self.lines.recv_timeout(BOUND) {
            self.events.push(event);
        }
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(began.elapsed() < BOUND, "it hangs: {:#?}", self.events);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        let events = self.events.iter();
        events.filter(|event| event["event"] == kind).collect()
    }

    /// How a task ended.
    #[track_caller]
    fn status(&self, task: &str) -> &str {
        let ends = self.all("task_finished");
        let end = ends.iter().find(|event| event["task"] == task);
        end.unwrap_or_else(|| panic!("{task} in {:#?}", self.events))["status"]
            .as_str()
            .unwrap()
    }

    /// The complaint about a task.
    #[track_caller]
    fn complaint(&self, task: &str) -> String {
        let ends = self.all("task_finished");
        let end = ends.iter().find(|event| event["task"] == task).unwrap();
        end["diagnostic"]["message"].as_str().unwrap().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < BOUND, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A picture of one colour, at once.
fn quick(colour: u32) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": colour}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "quick"}}
    })
}

/// What takes a picture and gives its negative.
fn invert() -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "invert"}}
    })
}

/// So many samplers in a row, each of which takes four tenths of a second; `seed` makes it one that the server does not remember.
fn sampled(seed: u32, samplers: usize) -> Value {
    let mut graph = json!({
        "a": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "b": {"class_type": "CLIPTextEncode", "inputs": {"text": "a kiln", "clip": ["a", 1]}},
        "0": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "y": {"class_type": "VAEDecode", "inputs": {"samples": [samplers.to_string(), 0], "vae": ["a", 2]}},
        "z": {"class_type": "SaveImage", "inputs": {"images": ["y", 0], "filename_prefix": "sampled"}}
    });
    for at in 1..=samplers {
        graph[at.to_string()] = json!({"class_type": "KSampler", "inputs": {
            "model": ["a", 0], "positive": ["b", 0], "negative": ["b", 0], "latent_image": [(at - 1).to_string(), 0],
            "seed": seed, "steps": 80, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0
        }});
    }
    graph
}

/// A job that outlasts every test, and can be stopped at any time.
fn long(seed: u32) -> Value {
    sampled(seed, 400)
}

fn project(pipeline: &str, workflows: &[(&str, Value)]) -> Project {
    let project = Project::new();
    project.file("p.yaml", pipeline);
    for (name, graph) in workflows {
        project.file(&format!("{name}.json"), graph.to_string());
    }
    project
}

/// A project file with these servers, each a name and what is said of it.
fn servers(project: &Project, servers: &[(&str, String)]) {
    let mut text = "servers:\n".to_owned();
    for (name, server) in servers {
        text.push_str(&format!("  {name}: {{ {server} }}\n"));
    }
    project.file("kiln.yaml", text);
}

/// The answer of a query on the project's database, `None` while there is none.
fn ask(project: &Project, sql: &str) -> Option<u64> {
    let path = project.path().join(".kiln/kiln.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    connection
        .query_row(sql, [], |row| row.get::<_, u32>(0))
        .ok()
        .map(u64::from)
}

fn latest(project: &Project) -> PathBuf {
    project.path().join("outputs/p/latest")
}

/// Waits in a command until a file of this name is in the project.
fn until_there(project: &Project, name: &str) -> String {
    let path = project.path().join(name);
    let script = format!("while ! test -e {}; do sleep 0.02; done", path.display());
    format!("[sh, -c, \"{script}\"]")
}

#[track_caller]
fn assert_colour(path: &Path, colour: [u8; 3]) {
    let image = image::open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_rgb8();
    assert_eq!(image.dimensions(), (16, 16), "{}", path.display());
    for pixel in image.pixels() {
        assert_eq!(pixel.0, colour, "{}", path.display());
    }
}
