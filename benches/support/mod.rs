//! What the benches share: figures with their spread, and what a child process takes.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) mod graph;

/// The program that is measured.
pub(crate) const KILN: &str = env!("CARGO_BIN_EXE_kiln");

/// Prints the median and the spread of some figures.
pub(crate) fn tell(what: &str, unit: &str, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    println!(
        "{what:<58} {median:>9.2} {unit}   ({:.2} to {:.2}, {} runs)",
        values[0],
        values[values.len() - 1],
        values.len()
    );
    median
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
}

/// What one run of a program took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// From start to end, milliseconds.
    pub(crate) wall: f64,
    /// The time that processors worked for it, milliseconds in steps of ten; where the system tells.
    pub(crate) cpu: Option<f64>,
}

/// Runs a program to its good end.
pub(crate) fn run(command: &mut Command) -> Took {
    let before = children_cpu();
    let start = Instant::now();
    let done = quiet(command).status().unwrap();
    let wall = ms(start.elapsed());
    assert!(done.success(), "{command:?}");
    let cpu = children_cpu()
        .zip(before)
        .map(|(after, before)| after - before);
    Took { wall, cpu }
}

/// The most memory that a program had at a time, in MB, looked at every millisecond until its good end; where the system tells.
pub(crate) fn peak_memory(command: &mut Command) -> Option<f64> {
    let (peak, done) = watched(command);
    assert!(done.success(), "{command:?}");
    peak
}

/// As [`peak_memory`], with how the program ended.
pub(crate) fn watched(command: &mut Command) -> (Option<f64>, ExitStatus) {
    let mut child = quiet(command).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    loop {
        let told = std::fs::read_to_string(&status).unwrap_or_default();
        let line = told.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        if let Some(line) = line {
            let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
            peak = Some(kilobytes / 1e3);
        }
        if let Some(done) = child.try_wait().unwrap() {
            return (peak, done);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What ended children of this process used, in milliseconds.
fn children_cpu() -> Option<f64> {
    let told = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = told.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    // Hundredths of a second on every system that has this file.
    Some((ticks(13)? + ticks(14)?) * 10.0)
}

/// What all threads of this process used, in nanoseconds.
pub(crate) fn own_cpu() -> Option<u64> {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let path = thread.ok()?.path().join("schedstat");
        let told = std::fs::read_to_string(path).ok()?;
        sum += told.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Whether a program is on the `PATH`.
pub(crate) fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
