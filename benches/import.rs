//! Conversions from the editor's format: `cargo bench --bench import`, with `KILN_FIXTURES` naming a folder of recordings that has
//! `object_info.json` and drawings in `workflows/ui`. Without it there is nothing to measure, and it says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::{KILN, ms, tell, watched};

mod support;

/// How often each figure is taken.
const RUNS: usize = 9;

fn main() {
    let Some(folder) = std::env::var_os("KILN_FIXTURES").map(PathBuf::from) else {
        println!("KILN_FIXTURES is not set: nothing to measure");
        return;
    };
    let files = std::fs::read_dir(folder.join("workflows/ui")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let out = tempfile::tempdir().unwrap();
    let mut wall = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..RUNS {
        wall.push(took(&folder, &files, out.path()));
        memory.extend(watched(&mut import(&folder, &files, out.path())).0);
    }
    tell(
        &format!("{} drawings converted in one process", files.len()),
        "ms",
        wall,
    );
    if !memory.is_empty() {
        tell("  peak memory", "MB", memory);
    }
    let one = &files[..1];
    let wall = (0..RUNS).map(|_| took(&folder, one, out.path())).collect();
    tell(
        "  of that, for one: start, definitions, conversion",
        "ms",
        wall,
    );
}

fn import(folder: &Path, files: &[PathBuf], out: &Path) -> Command {
    let mut command = Command::new(KILN);
    command
        .args(["import", "--output", "json", "--catalog"])
        .arg(folder.join("object_info.json"))
        .arg("--out-dir")
        .arg(out)
        .args(files)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// From start to end, milliseconds. Some drawings use classes that nobody has: that is no failure here.
fn took(folder: &Path, files: &[PathBuf], out: &Path) -> f64 {
    let mut command = import(folder, files, out);
    let start = Instant::now();
    command.status().unwrap();
    ms(start.elapsed())
}
