//! What is read from outside, mutated: nothing that a server, a file or a template says stops the program.
//!
//! The targets are those of `fuzz/`. Here each gets some thousand mutations of its seeds, drawn from a number, so that a failure comes
//! again; `KILN_FUZZ` says how many, `KILN_FUZZ_SEED` changes which, and `KILN_FUZZ_LAST` names a file that keeps the last one.

#[path = "../../fuzz/targets.rs"]
#[allow(unreachable_pub, reason = "the programs of `fuzz/` share it")]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use targets::{TARGETS, Target};

use crate::proofs::Dice;

/// What means something to one reader or another.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "NaN",
    "-Infinity",
    "1e999",
    "-0",
    "18446744073709551616",
    "0x1F",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{feff}",
    "ü",
    "🜂",
    "\r\n",
    "\n",
    "\t",
    "  ",
    "- ",
    "? ",
    "&a ",
    "*a ",
    "!!binary ",
    "|\n",
    ">-\n",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "~",
    "..",
    "../",
    "/",
    "\\",
    "%00",
    "%",
    "''",
    "'",
    "__value__",
    "prompt_id",
    "node",
    "data",
    "type",
    "class_type",
    "inputs",
    "COMBO",
    "INT",
    "messages",
    "outputs",
    "filename",
    "Content-Length: 99999999999999999999\r\n",
    "ETag: \"\"\r\n",
    "Retry-After: -1\r\n",
    "Location: http://127.0.0.1:1/\r\n",
    "range(",
    "loop",
    " if ",
    "steps.",
    "secret('x')",
];

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// A mutation of one of the seeds, or of two.
fn mutated(target: &Target, dice: &mut Dice) -> Vec<u8> {
    let pick = |dice: &mut Dice| {
        let at = dice.roll(target.seeds.len() as u64) as usize;
        target.seeds[at].as_bytes().to_vec()
    };
    let mut bytes = pick(dice);
    for _ in 0..=dice.roll(6) {
        let length = bytes.len() as u64;
        let at = dice.roll(length + 1) as usize;
        let end = (at + dice.roll(24) as usize).min(bytes.len());
        match dice.roll(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            1 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = dice.roll(length + 1) as usize;
                bytes.splice(to..to, copy);
            }
            5 => {
                // The same again and again: deep, long, or both.
                let copy = bytes[at..(at + 8).min(bytes.len())].repeat(1 + dice.roll(300) as usize);
                bytes.splice(at..at, copy);
            }
            6 => {
                let other = pick(dice);
                let cut = dice.roll(other.len() as u64 + 1) as usize;
                bytes.splice(at.., other[cut..].iter().copied());
            }
            _ => {
                let word = WORDS[dice.roll(WORDS.len() as u64) as usize];
                bytes.splice(at..end.min(at + 3).max(at), word.bytes());
            }
        }
    }
    bytes
}

fn fuzz(name: &str, usual: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    for seed in target.seeds {
        (target.run)(seed.as_bytes());
    }
    let count = number("KILN_FUZZ", usual);
    let mut dice = Dice(number("KILN_FUZZ_SEED", 1));
    // What overflows a stack leaves no other trace.
    let last = std::env::var_os("KILN_FUZZ_LAST");
    for case in 0..count {
        let bytes = mutated(target, &mut dice);
        if let Some(path) = &last {
            std::fs::write(path, &bytes).unwrap();
        }
        let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
        assert!(
            ran.is_ok(),
            "case {case}: {:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn messages_of_sockets() {
    fuzz("event", 4000);
    fuzz("frame", 4000);
}

#[test]
fn records_of_jobs() {
    fuzz("record", 3000);
    fuzz("history", 3000);
    fuzz("queue", 3000);
}

#[test]
fn node_definitions() {
    fuzz("object_info", 2000);
}

#[test]
fn answers_to_jobs() {
    fuzz("prompt_answer", 4000);
}

#[test]
fn answers_head_and_body() {
    fuzz("http", 200);
}

#[test]
fn pipeline_files() {
    fuzz("pipeline", 400);
}

#[test]
fn project_files_and_files_of_params() {
    fuzz("project", 800);
    fuzz("params", 1500);
}

#[test]
fn workflow_files() {
    fuzz("workflow", 1500);
}

#[test]
fn workflows_of_the_interface() {
    fuzz("drawing", 1500);
}

#[test]
fn files_that_carry_workflows() {
    fuzz("media", 4000);
}

#[test]
fn saved_catalogs() {
    fuzz("catalog", 800);
}

#[test]
fn templates() {
    fuzz("template", 800);
}

/// Who adds a target runs it.
#[test]
fn every_target_is_run_here_and_by_libfuzzer() {
    let source = include_str!("fuzzed.rs");
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for Target { name, .. } in TARGETS {
        assert!(source.contains(&format!("fuzz(\"{name}\", ")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
