//! What plugins cost: `cargo bench --bench plugins [-- publish|call|load|run]`.
//!
//! `publish`: handing one event to a plugin that has nothing to do, and a call with its hop to the plugin's thread and back and its JSON.
//! `load`: finding, hashing, copying where that was not done yet, loading and making one. `run`: tiny jobs beside the same with five plugins
//! that hear of three events of each job, which are the ten thousand a second of the goal or more; that hear everything and look at
//! the name of each event; that hear everything and read all of it. Each round does all of them in an order that is drawn, and what is
//! told is the median of the ratios within a round: of the time from start to end, and of what processors worked.
//! `KILN_BENCH_JOBS` and `KILN_BENCH_ROUNDS` change how much is done.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench may stop at the first surprise, and its figures are small"
)]

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use kiln::artifact::Datum;
use kiln::base::{Inputs, RunId, Secrets, TaskName};
use kiln::event::RunEvent;
use kiln::plugin::{Declared, Plugins};
use serde_json::json;
use support::{KILN, Took, quiet, run, tell};

mod support;

const TINY: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}, "_meta": {"title": "Card"}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "tiny"}, "_meta": {"title": "Save"}}
}"#;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// The trial plugin of the tests, which was built with this bench.
fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent()
        .unwrap()
        .join(format!("{DLL_PREFIX}kiln_trial_plugin{DLL_SUFFIX}"))
}

/// Plugins of a project, whose folder holds the copy of their library.
fn loaded(count: usize, project: &Path) -> Plugins {
    let mut declared: IndexMap<String, Declared> = (0..count)
        .map(|n| {
            let name = format!("trial_{n}");
            let one = Declared::new(&name, library(), project.to_path_buf());
            (name, one)
        })
        .collect();
    let mut complaints = Vec::new();
    let plugins = Plugins::load(
        &mut declared,
        (&Inputs::default(), &Secrets::default()),
        false,
        &mut complaints,
    );
    assert!(
        complaints.iter().all(|one| one.code.id == "K0603"),
        "{complaints:?}"
    );
    plugins
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    if wants("publish") || wants("call") {
        calls();
    }
    if wants("load") {
        load();
    }
    if wants("run") {
        runs();
    }
}

fn calls() {
    let project = tempfile::tempdir().unwrap();
    let plugins = loaded(1, project.path());
    let run = RunId::from("20261122-141530-k3f9");
    let event = RunEvent::TaskExecuting {
        task: TaskName("draw[i=0]".to_owned()),
    };
    let mut publish = Vec::new();
    for _ in 0..2000 {
        let began = Instant::now();
        plugins.publish(&event, &run);
        publish.push(us(began.elapsed()));
        // It has done it, and sleeps again, before the next one comes.
        std::thread::sleep(Duration::from_micros(200));
    }
    tell("publish an event to an idle plugin", "µs", publish);
    let five = loaded(5, project.path());
    let many: Vec<f64> = (0..20)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..200 {
                five.publish(&event, &run);
            }
            let each = us(began.elapsed()) / 1000.0;
            std::thread::sleep(Duration::from_millis(20));
            each
        })
        .collect();
    tell(
        "publish to one of five plugins, 200 events at a time",
        "µs",
        many,
    );
    let callables = plugins.callables();
    let args = [Datum::String("how long".to_owned())];
    let calls: Vec<f64> = (0..5000)
        .map(|_| {
            let began = Instant::now();
            let value = callables
                .call(false, "score", &args, &IndexMap::new())
                .unwrap();
            assert_eq!(value, Datum::Number(8.into()));
            us(began.elapsed())
        })
        .collect();
    tell("call a function: two hops and JSON both ways", "µs", calls);
}

fn load() {
    let project = tempfile::tempdir().unwrap();
    let once = |folder: &Path| {
        let began = Instant::now();
        let plugins = loaded(1, folder);
        let took = support::ms(began.elapsed());
        assert!(!plugins.is_empty());
        took
    };
    let size = library().metadata().unwrap().len() / 1000;
    let first: Vec<f64> = (0..10)
        .map(|_| once(tempfile::tempdir().unwrap().path()))
        .collect();
    tell(
        &format!("load a plugin of {size} kB that was never copied"),
        "ms",
        first,
    );
    once(project.path());
    let times: Vec<f64> = (0..30).map(|_| once(project.path())).collect();
    tell(&format!("load a plugin of {size} kB"), "ms", times);
}

/// What plugins of a run hear.
struct Case {
    name: &'static str,
    plugins: usize,
    /// They read each event, and not only its name.
    reads: bool,
    /// Of these events alone.
    hears: Option<&'static str>,
}

const PLAIN: Case = Case {
    name: "no plugin",
    plugins: 0,
    reads: false,
    hears: None,
};

const CASES: [Case; 3] = [
    Case {
        name: "five that hear of three events of a job",
        plugins: 5,
        reads: false,
        hears: Some("task_started,task_executing,task_finished"),
    },
    Case {
        name: "five that hear everything",
        plugins: 5,
        reads: false,
        hears: None,
    },
    Case {
        name: "five that hear everything and read all of it",
        plugins: 5,
        reads: true,
        hears: None,
    },
];

/// One run of many tiny jobs.
fn one(dir: &Path, jobs: usize, case: &Case, log: Option<&Path>) -> Took {
    let log = log.map_or_else(String::new, |log| format!(", log: {}", log.display()));
    let config = format!("reads: {}{log}", case.reads);
    let entries: Vec<String> = (0..case.plugins)
        .map(|n| {
            format!(
                "  trial_{n}: {{ path: {}, steps: [none], config: {{{config}}} }}\n",
                library().display()
            )
        })
        .collect();
    let project = match case.plugins {
        0 => String::new(),
        _ => format!("plugins:\n{}", entries.concat()),
    };
    std::fs::write(dir.join("kiln.yaml"), project).unwrap();
    std::fs::write(dir.join("tiny.json"), TINY).unwrap();
    let pipeline = json!({
        "steps": { "draw": {
            "workflow": "tiny.json",
            "matrix": { "i": format!("{{{{ range({jobs}) }}}}") },
            "set": { "Card": { "color": "{{ matrix.i }}" } },
            "cache": false,
        } },
    });
    std::fs::write(dir.join("p.json.yaml"), pipeline.to_string()).unwrap();
    let mut command = Command::new(KILN);
    command
        .args(["run", "p.json.yaml", "--yes"])
        .current_dir(dir);
    if let Some(hears) = case.hears {
        command.env("KILN_TRIAL_HEARS", hears);
    }
    run(quiet(&mut command))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn runs() {
    let (jobs, rounds) = (
        number("KILN_BENCH_JOBS", 1000),
        number("KILN_BENCH_ROUNDS", 15),
    );
    let all: Vec<&Case> = std::iter::once(&PLAIN).chain(&CASES).collect();
    // By case, one of each round.
    let mut took: Vec<Vec<Took>> = vec![Vec::new(); all.len()];
    for _ in 0..rounds {
        // Whoever comes first has the warmer or the colder caches.
        let mut order: Vec<usize> = (0..all.len()).collect();
        fastrand::shuffle(&mut order);
        for at in order {
            let dir = tempfile::tempdir().unwrap();
            took[at].push(one(dir.path(), jobs, all[at], None));
        }
    }
    for (case, times) in all.iter().zip(&took) {
        let walls: Vec<f64> = times.iter().map(|one| one.wall).collect();
        let wall = tell(&format!("{jobs} tiny jobs, {}", case.name), "ms", walls);
        if case.plugins == 0 {
            continue;
        }
        let by_round = || took[0].iter().zip(times);
        let slower = median(by_round().map(|(a, b)| b.wall / a.wall).collect());
        let work = by_round().filter_map(|(a, b)| Some(b.cpu? / a.cpu?));
        let work: Vec<f64> = work.collect();
        let busier = if work.is_empty() {
            String::new()
        } else {
            format!(", {:+.1} % of processor time", (median(work) - 1.0) * 100.0)
        };
        // One more run, which is not measured, counts what one of them hears.
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let alone = Case {
            plugins: 1,
            ..**case
        };
        one(dir.path(), jobs, &alone, Some(&log));
        let heard = std::fs::read_to_string(log).unwrap().lines().count() * case.plugins;
        println!(
            "{:<58} {:>9.1} % from start to end{busier}; {:.0} events a second",
            "  what they cost",
            (slower - 1.0) * 100.0,
            heard as f64 / (wall / 1000.0)
        );
    }
}
