//! Nothing is lost and nothing done twice: kiln is killed, its requests are lost, its servers die, and the same files come out.
//!
//! Each proof runs a sample here; `KILN_PROOF=long` makes it the whole thing, which `.ci/long` does.

mod ambiguity;
mod killed;
mod soak;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::{Project, kiln};

/// Whether the whole proof is wanted, and not a sample of it.
fn long() -> bool {
    std::env::var_os("KILN_PROOF").is_some_and(|v| v == "long")
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A `kiln serve` in a process of its own.
struct Server {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(jobs: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = kiln()
            .args(["serve", "--port", "0", "--jobs", &jobs.to_string(), "--dir"])
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

    fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let host = self.url.trim_start_matches("http://");
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

    /// Queues somebody else's job that takes a while.
    fn occupy(&self) {
        let graph = blurred(7, 1200, 4);
        let body = json!({"prompt": graph, "client_id": "somebody"}).to_string();
        let answer = self.request("POST", "/prompt", &body);
        assert!(answer["prompt_id"].is_string(), "{answer}");
    }

    /// The jobs that it carried out and whose pictures carry `prefix`.
    fn carried_out(&self, prefix: &str) -> usize {
        let history = self.request("GET", "/history", "");
        history
            .as_object()
            .unwrap()
            .values()
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

/// A picture of one colour that takes a while.
fn blurred(colour: u64, size: u64, nodes: usize) -> Value {
    let mut graph = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": size, "height": size, "batch_size": 1, "color": colour}},
        "99": {"class_type": "SaveImage", "inputs": {"images": [nodes.to_string(), 0], "filename_prefix": "blurred"}}
    });
    for node in 2..=nodes {
        graph[node.to_string()] = json!({
            "class_type": "ImageBlur",
            "inputs": {"image": [(node - 1).to_string(), 0], "blur_radius": 15, "sigma": 6.0}
        });
    }
    graph
}

/// A pipeline that draws `count` pictures and inverts each as soon as it is there.
fn two_by(count: u64, size: u64) -> Project {
    let project = Project::new();
    let mut draw = blurred(0, size, 3);
    draw["99"]["inputs"]["filename_prefix"] = json!("draw");
    project.file("draw.json", draw.to_string());
    let invert = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "invert"}}
    });
    project.file("invert.json", invert.to_string());
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  draw:
    workflow: draw.json
    matrix: {{ i: "{{{{ range({count}) }}}}" }}
    set: {{ EmptyImage: {{ color: "{{{{ {COLOUR} + matrix.i }}}}" }} }}
    save_as: "{{{{ matrix.i }}}}"
  invert:
    workflow: invert.json
    for_each: steps.draw
    set: {{ LoadImage: {{ image: "{{{{ item.image }}}}" }} }}
    save_as: "{{{{ item.matrix.i }}}}"
"#
        ),
    );
    project
}

/// The first colour of [`two_by`].
const COLOUR: u64 = 0x0040_2000;

/// Whether exactly the right pictures of [`two_by`] are in a folder of results.
#[track_caller]
fn assert_right(folder: &Path, count: u64) {
    for i in 0..count {
        let colour = COLOUR + i;
        let [_, r, g, b, ..] = (colour << 32).to_be_bytes();
        assert_colour(&folder.join(format!("draw/{i}.png")), [r, g, b]);
        assert_colour(
            &folder.join(format!("invert/{i}.png")),
            [255 - r, 255 - g, 255 - b],
        );
    }
    for step in ["draw", "invert"] {
        let pictures = pictures(&folder.join(step));
        assert_eq!(pictures.len() as u64, count, "{step}: {pictures:?}");
    }
}

#[track_caller]
fn assert_colour(path: &Path, colour: [u8; 3]) {
    let image = image::open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_rgb8();
    for pixel in image.pixels() {
        for (is, should) in pixel.0.iter().zip(colour) {
            assert!(is.abs_diff(should) <= 1, "{}: {pixel:?}", path.display());
        }
    }
}

fn pictures(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "png"))
        .collect()
}
