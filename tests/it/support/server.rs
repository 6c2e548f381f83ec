//! The embedded server in a process of its own, and what somebody else would ask of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::program::kiln;

/// A `kiln serve` that ends with the test, its files where the test can reach them.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub url: String,
    /// The key that opens it, if one does.
    key: Option<String>,
    dir: tempfile::TempDir,
}

impl Server {
    /// One job at a time, unless the flags say otherwise.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = kiln()
            .args(["serve", "--port", "0", "--dir"])
            .arg(dir.path())
            .args(flags)
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        std::thread::spawn(move || told.read_to_end(&mut Vec::new()));
        let start = line
            .find("http://")
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        let url = line[start..].split([';', ' ', '\n']).next().unwrap();
        Self {
            child,
            url: url.to_owned(),
            key: flags
                .iter()
                .position(|flag| *flag == "--api-key")
                .map(|at| flags[at + 1].to_owned()),
            dir,
        }
    }

    /// Where its folders of inputs and results are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The answer to a request, which must be 200; null, if it is no JSON.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Value {
        let host = self.address();
        let mut stream = TcpStream::connect(host).unwrap();
        let key = self.key.as_ref();
        let key = key.map_or(String::new(), |key| format!("X-API-Key: {key}\r\n"));
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{key}Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "{method} {path}: {answer}"
        );
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.request("GET", path, "")
    }

    /// Queues somebody else's job.
    pub(crate) fn queue(&self, graph: &Value) -> String {
        let body = json!({"prompt": graph, "client_id": "somebody"}).to_string();
        let answer = self.request("POST", "/api/prompt", &body);
        answer["prompt_id"].as_str().unwrap().to_owned()
    }

    /// Ids of running and of waiting jobs.
    pub(crate) fn jobs(&self) -> (Vec<String>, Vec<String>) {
        let queue = self.get("/api/queue");
        let ids = |name: &str| {
            let jobs = queue[name].as_array().unwrap();
            jobs.iter()
                .map(|job| job[1].as_str().unwrap().to_owned())
                .collect()
        };
        (ids("queue_running"), ids("queue_pending"))
    }

    /// Stops a job that is executed.
    pub(crate) fn interrupt(&self, id: &str) {
        let body = json!({"prompt_id": id}).to_string();
        self.request("POST", "/interrupt", &body);
    }

    /// How a job ended, once it has.
    pub(crate) fn status(&self, id: &str) -> Option<String> {
        let history = self.get(&format!("/history/{id}"));
        let status = history.get(id)?["status"]["status_str"].as_str()?;
        Some(status.to_owned())
    }

    /// The jobs that it carried out and whose results carry `prefix`.
    pub(crate) fn carried_out(&self, prefix: &str) -> usize {
        let history = self.get("/history");
        let jobs = history.as_object().unwrap().values();
        jobs.filter(|job| job["outputs"].to_string().contains(prefix))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
