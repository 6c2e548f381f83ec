//! kiln at work in the background: its events as they come, signals, and waiting for what they bring about.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Project;

/// A `kiln run` that ends with the test.
#[derive(Debug)]
pub(crate) struct Running {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has told so far.
    pub events: Vec<Value>,
}

impl Running {
    /// `kiln run` with these arguments, telling events.
    pub(crate) fn start(project: &Project, args: &[&str]) -> Self {
        let mut child = project
            .command(&[&["run", "--output", "json"], args].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            lines,
            events: Vec::new(),
        }
    }

    /// Reads up to the next event of a kind.
    #[track_caller]
    pub(crate) fn until(&mut self, event: &str) -> Value {
        for line in self.lines.by_ref() {
            let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            self.events.push(value.clone());
            if value["event"] == event {
                return value;
            }
        }
        panic!("no {event} in {:#?}", self.events);
    }

    pub(crate) fn interrupt(&self) {
        signal(&self.child, "-INT");
    }

    /// Reads to the end and gives the exit code.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        self.until("run_finished");
        self.child.wait().unwrap().code().unwrap()
    }

    /// How a task ended.
    pub(crate) fn finished(&self, task: &str) -> &Value {
        self.events
            .iter()
            .find(|e| e["event"] == "task_finished" && e["task"] == task)
            .unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, e.g. `-INT`, to a process.
pub(crate) fn signal(child: &Child, signal: &str) {
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
}

/// Looks until there is something to see, for a minute at the most.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
