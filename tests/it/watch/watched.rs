//! `kiln watch` in the background, and what it says.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::{Project, signal, wait_for};

/// A `kiln watch` that ends with the test.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(super) child: Child,
    said: Arc<Mutex<String>>,
    /// How far it was read.
    read: usize,
}

impl Watched {
    pub(crate) fn start(project: &Project, args: &[&str]) -> Self {
        Self::prepared(project.command(&[&["watch"], args].concat()))
    }

    pub(crate) fn prepared(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let tell = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut rest = Vec::new();
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                rest.extend_from_slice(&bytes[..read]);
                // Only whole lines: a letter of several bytes may be cut.
                let end = rest
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1);
                let lines: Vec<u8> = rest.drain(..end).collect();
                tell.lock()
                    .unwrap()
                    .push_str(&String::from_utf8(lines).unwrap());
            }
        });
        Self {
            child,
            said,
            read: 0,
        }
    }

    /// All that it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// What it said since it was last waited for, up to the end of the line that holds the text.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) -> String {
        let end = wait_for(&format!("{text:?} in\n{}", self.said()), || {
            let said = self.said();
            let at = said[self.read..].find(text)?;
            let line = said[self.read + at..].find('\n')?;
            Some(self.read + at + line + 1)
        });
        let heard = self.said()[self.read..end].to_owned();
        self.read = end;
        heard
    }

    /// Ctrl-C, and the exit code.
    pub(crate) fn end(&mut self) -> i32 {
        signal(&self.child, "-INT");
        let status = wait_for("the end", || self.child.try_wait().unwrap());
        status.code().unwrap()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("kiln watch said:\n{}", self.said());
        }
    }
}

/// How many runs a project has seen.
pub(super) fn runs(project: &Project) -> usize {
    let told = project.kiln(&["runs", "--output", "json"]).ok();
    told.json_lines().len()
}
