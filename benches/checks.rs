//! What a check costs, measured from outside: `cargo bench --bench checks`.
//!
//! One workflow of 300 nodes against a catalog of a thousand classes on the disk, from the start of the process to its end; and, where
//! the recordings of a real `ComfyUI` are at hand (`KILN_FIXTURES`), all 2,084 recorded workflows in one process. Nothing here asserts a
//! time; `docs/benchmarks.md` holds what was measured and on what machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use support::{KILN, peak_memory, quiet, tell};

mod support;

const ROUNDS: usize = 15;

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let recorded = std::env::var_os("KILN_FIXTURES").map(PathBuf::from);
    let recorded = recorded.filter(|folder| folder.is_dir());
    let catalog = match &recorded {
        Some(folder) => folder.join("object_info.json"),
        None => made_up(dir),
    };
    std::fs::write(dir.join("w300.json"), chain(300)).unwrap();
    let one = || check(&catalog, &[dir.join("w300.json")]);
    measure("a workflow of 300 nodes", "ms", 1e3, ROUNDS, one);
    let memory = (0..5).filter_map(|_| peak_memory(&mut one())).collect();
    tell("  peak memory", "MB", memory);
    if let Some(folder) = &recorded {
        let files = cases(folder, dir);
        let what = format!("{} recorded workflows in one process", files.len());
        measure(&what, "s", 1.0, 5, || check(&catalog, &files));
    } else {
        println!("the recorded workflows are not here");
    }
}

fn check(catalog: &Path, files: &[PathBuf]) -> Command {
    let mut command = Command::new(KILN);
    command.args(["check", "--output", "json", "--catalog"]);
    command.arg(catalog).args(files);
    command
}

fn measure(what: &str, unit: &str, scale: f64, rounds: usize, command: impl Fn() -> Command) {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        quiet(&mut command()).status().unwrap();
        times.push(start.elapsed().as_secs_f64() * scale);
    }
    tell(what, unit, times);
}

/// A chain of nodes that ends in one that saves.
fn chain(nodes: usize) -> String {
    let mut text = String::from(
        "{\n\"0\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 64, \"height\": 64, \"batch_size\": 1, \"color\": 0}}",
    );
    for at in 1..nodes - 1 {
        let before = at - 1;
        let _ = write!(
            text,
            ",\n\"{at}\": {{\"class_type\": \"ImageInvert\", \"inputs\": {{\"image\": [\"{before}\", 0]}}}}"
        );
    }
    let last = nodes - 2;
    let _ = write!(
        text,
        ",\n\"end\": {{\"class_type\": \"SaveImage\", \"inputs\": {{\"images\": [\"{last}\", 0], \"filename_prefix\": \"x\"}}}}\n}}"
    );
    text
}

/// A catalog as large as that of a server with many packs.
fn made_up(dir: &Path) -> PathBuf {
    let text = "x".repeat(1200);
    let class = |name: &str, inputs: &str, output: &str, saves: bool| {
        format!(
            "\"{name}\": {{\"input\": {{\"required\": {{{inputs}}}}}, \"output\": [{output}], \"output_node\": {saves}, \"description\": \"{text}\"}}"
        )
    };
    let number = "[\"INT\", {\"min\": 0, \"max\": 16777215}]";
    let mut classes = vec![
        class(
            "EmptyImage",
            &format!(
                "\"width\": {number}, \"height\": {number}, \"batch_size\": {number}, \"color\": {number}"
            ),
            "\"IMAGE\"",
            false,
        ),
        class("ImageInvert", "\"image\": [\"IMAGE\"]", "\"IMAGE\"", false),
        class(
            "SaveImage",
            "\"images\": [\"IMAGE\"], \"filename_prefix\": [\"STRING\", {}]",
            "",
            true,
        ),
    ];
    for at in 0..1000 {
        let inputs = format!(
            "\"a\": {number}, \"b\": [[\"one\", \"two\"], {{}}], \"c\": [\"FLOAT\", {{\"default\": 1.0}}]"
        );
        classes.push(class(&format!("Class{at}"), &inputs, "\"IMAGE\"", false));
    }
    let path = dir.join("catalog.json");
    std::fs::write(&path, format!("{{{}}}", classes.join(",\n"))).unwrap();
    path
}

/// The recorded workflows as files.
fn cases(folder: &Path, dir: &Path) -> Vec<PathBuf> {
    let cases = std::fs::read_to_string(folder.join("verdicts.jsonl")).unwrap();
    cases
        .lines()
        .enumerate()
        .map(|(at, line)| {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = dir.join(format!("{at:05}.json"));
            std::fs::write(&path, case["workflow"].to_string()).unwrap();
            path
        })
        .collect()
}
