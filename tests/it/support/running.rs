//! kiln at work in the background: its events as they come, signals, and waiting for what they bring about.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Project;

/// The longest that anything may take.
const BOUND: Duration = Duration::from_mins(1);

/// A `kiln run` that ends with the test.
#[derive(Debug)]
pub(crate) struct Running {
    pub child: Child,
    lines: Receiver<Value>,
    /// What it has told so far.
    pub events: Vec<Value>,
}

impl Running {
    /// `kiln run` with these arguments, telling events.
    pub(crate) fn start(project: &Project, args: &[&str]) -> Self {
        Self::prepared(project.command(&[&["run", "--output", "json"], args].concat()))
    }

    /// A command that tells events.
    pub(crate) fn prepared(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
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

    /// Reads up to the next event that is wanted.
    #[track_caller]
    pub(crate) fn when(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + BOUND;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = self.lines.recv_timeout(left) else {
                panic!("no {what} in {:#?}", self.events);
            };
            self.events.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Reads up to the next event of a kind.
    #[track_caller]
    pub(crate) fn until(&mut self, event: &str) -> Value {
        self.when(event, |told| told["event"] == event)
    }

    /// Reads up to the next event of a kind about a task.
    #[track_caller]
    pub(crate) fn until_of(&mut self, event: &str, task: &str) -> Value {
        let what = format!("{event} of {task}");
        self.when(&what, |told| told["event"] == event && told["task"] == task)
    }

    /// The events of a kind so far.
    pub(crate) fn all(&self, event: &str) -> Vec<&Value> {
        let events = self.events.iter();
        events.filter(|told| told["event"] == event).collect()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn interrupt(&self) {
        signal(&self.child, "-INT");
    }

    /// Reads to the end and gives the exit code.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        while let Ok(event) = self.lines.recv_timeout(BOUND) {
            self.events.push(event);
        }
        let code = wait_for("its end", || self.child.try_wait().unwrap());
        code.code().unwrap()
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
        assert!(began.elapsed() < BOUND, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
