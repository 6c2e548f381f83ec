//! A scratch project and the program run in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::{Done, finish, kiln};

/// A scratch folder with files.
#[derive(Debug)]
pub(crate) struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// With these files: each its name and its text.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let project = Self::new();
        for (name, text) in files {
            project.file(name, text);
        }
        project
    }

    /// With `p.yaml` and these workflows, each `<its name>.json`.
    pub(crate) fn with(pipeline: &str, workflows: &[(&str, serde_json::Value)]) -> Self {
        let project = Self::of(&[("p.yaml", pipeline)]);
        for (name, graph) in workflows {
            project.file(&format!("{name}.json"), graph.to_string());
        }
        project
    }

    /// So many steps, each of which makes a picture of its own in a moment.
    pub(crate) fn of_many(count: usize) -> Self {
        let mut pipeline = "steps:\n".to_owned();
        for at in 0..count {
            let set = format!("set: {{ EmptyImage: {{ color: {at} }} }}");
            let _ = writeln!(
                pipeline,
                "  s{at}: {{ workflow: quick.json, save_as: it, {set} }}"
            );
        }
        Self::with(&pipeline, &[("quick", super::quick(0))])
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = kiln();
        command.args(args).current_dir(self.path());
        command
    }

    pub(crate) fn kiln(&self, args: &[&str]) -> Done {
        finish(&mut self.command(args))
    }

    /// A text that the latest run of `p.yaml` left.
    pub(crate) fn result(&self, path: &str) -> String {
        let path = self.path().join("outputs/p/latest").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}
