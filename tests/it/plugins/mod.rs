//! Plugins: real libraries, loaded by the real program.

mod bad;
mod cli;
mod crashes;
mod endings;
mod events;
mod examples;
mod rebuilt;
mod shaping;
mod soak;
mod steps;

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{CARD, Project, repository};

/// A library that was built with the tests: dependencies lie beside the test itself.
pub(crate) fn library(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests
        .parent()
        .unwrap()
        .join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// The plugin that does what its config says.
fn trial() -> PathBuf {
    library("kiln_trial_plugin")
}

/// Compiles a plugin in C into a folder.
fn in_c(folder: &Path, source: &str, flag: &str) -> PathBuf {
    let out = folder.join(format!(
        "{DLL_PREFIX}{}{DLL_SUFFIX}",
        source.replace(".c", "")
    ));
    let mut command = Command::new("cc");
    command
        .args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-function",
        ])
        .args([
            "-Wno-unused-parameter",
            "-Wno-null-dereference",
            "-Wno-array-bounds",
            "-shared",
            "-fPIC",
            "-D_DEFAULT_SOURCE",
        ])
        .arg("-I")
        .arg(repository().join("plugins/sdk/include"))
        .arg(repository().join("tests/plugins/c").join(source))
        .arg("-o")
        .arg(&out);
    if !flag.is_empty() {
        command.arg(format!("-D{flag}"));
    }
    assert!(command.status().unwrap().success());
    out
}

/// A project with the trial plugin, whose entry in `kiln.yaml` has these lines more, and a pipeline.
fn project(lines: &str, pipeline: &str) -> Project {
    let project = Project::of(&[("p.yaml", pipeline), ("card.json", CARD)]);
    declare(&project, &trial(), lines);
    project
}

/// Declares the plugin `trial`.
fn declare(project: &Project, path: &Path, lines: &str) {
    let lines: Vec<String> = lines.lines().map(|line| format!("    {line}\n")).collect();
    let lines = lines.concat();
    project.file(
        "kiln.yaml",
        format!("plugins:\n  trial:\n    path: {}\n{lines}", path.display()),
    );
}

/// One picture.
const DRAW: &str = "steps:\n  draw: { workflow: card.json }\n";

/// The lines that the trial plugin noted.
fn noted(project: &Project) -> Vec<String> {
    let text = std::fs::read_to_string(project.path().join("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What was told, the same wherever the libraries are: how long their path is must not matter, nor
/// how many carets stand below it.
fn placed(told: &str) -> String {
    let library = regex_lite::Regex::new(r"[^\s`]*/libkiln_trial_plugin\.so").unwrap();
    let told = library.replace_all(told, "[library]");
    let carets = regex_lite::Regex::new(r"\^{20,}").unwrap();
    carets.replace_all(&told, "^^^").into_owned()
}
