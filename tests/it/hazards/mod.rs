//! What may go wrong while a run goes on, or between two sessions of it: memory, networks, disks, other kilns, people.
//!
//! Servers run in processes of their own and act a sampler, which takes its time without taking the processor's. Nothing here waits for
//! a time to pass: each test waits until what it needs can be seen.

mod across;
mod disks;
mod edits;
mod locks;
mod memory;
mod pools;
mod queues;
mod renamed;
mod resumed;
mod stops;
mod strays;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Server, wait_for};

/// A server that acts what it cannot compute, one job at a time.
fn server() -> Server {
    Server::start(&["--simulate"])
}

/// Somebody else's job that is executed until it is interrupted.
fn occupy(server: &Server) -> String {
    let id = server.queue(&long(77));
    wait_for("somebody's job", || {
        server.jobs().0.contains(&id).then_some(())
    });
    id
}

/// Everything that is executed or waits.
fn there(server: &Server) -> Vec<String> {
    let (running, pending) = server.jobs();
    [running, pending].concat()
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

/// A project file with these servers, each a name and what is said of it.
fn servers(project: &Project, servers: &[(&str, String)]) {
    let mut text = "servers:\n".to_owned();
    for (name, server) in servers {
        let _ = writeln!(text, "  {name}: {{ {server} }}");
    }
    project.file("kiln.yaml", text);
}

/// The answer of a query on the project's database, `None` while there is none.
pub(crate) fn ask(project: &Project, sql: &str) -> Option<u64> {
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
