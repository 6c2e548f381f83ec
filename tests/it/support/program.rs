//! The program under test, and what it did.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program under test.
pub(crate) fn kiln() -> Command {
    let program = env!("CARGO_BIN_EXE_kiln");
    let mut command = if hangup_is_ignored() {
        // Who runs the tests by `nohup` does not want kiln to outlive its terminal in them.
        let mut env = Command::new("env");
        env.args(["--default-signal=HUP", program]);
        env
    } else {
        Command::new(program)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KILN_") {
            command.env_remove(name);
        }
    }
    command
        .env("NO_COLOR", "1")
        .env_remove("CI")
        .env_remove("CLICOLOR_FORCE");
    command
}

fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Done {
    /// Fails the test unless the program ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// Fails the test unless stderr holds this text.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in\n{}",
            self.stderr
        );
    }

    /// Fails the test if stderr holds this text.
    #[track_caller]
    pub(crate) fn says_not(&self, text: &str) {
        assert!(!self.stderr.contains(text), "{text:?} in\n{}", self.stderr);
    }

    /// The lines of stdout, each a JSON value: events, for a run.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Fails the test unless the program ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stderr:\n{}\nstdout:\n{}",
            self.stderr, self.stdout
        );
        self
    }
}

/// Runs a prepared command to its end.
pub(crate) fn finish(command: &mut Command) -> Done {
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// Lets a command read nothing and nobody read what it says.
pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
}

/// A text with what differs from run to run put into fixed words.
pub(crate) fn settled(text: &str, project: &Path) -> String {
    let mut out = text.replace(&project.display().to_string(), "[dir]");
    if let Ok(real) = project.canonicalize() {
        out = out.replace(&real.display().to_string(), "[dir]");
    }
    let run = regex_lite::Regex::new(r"\d{8}-\d{6}-[0-9a-z]{4}").unwrap();
    let time = regex_lite::Regex::new(r" +\d+(\.\d)?s\b").unwrap();
    let port = regex_lite::Regex::new(r"127\.0\.0\.1:\d{4,5}").unwrap();
    let out = run.replace_all(&out, "[run]");
    let out = time.replace_all(&out, " [time]");
    port.replace_all(&out, "127.0.0.1:[port]").into_owned()
}
