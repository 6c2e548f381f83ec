//! A plugin driven through its table, as kiln does it. Everything here also runs under Miri.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use kiln_plugin::{
    About, Arguments, Artifact, Call, Change, Event, File, Host, Plugin, Preview, Result, Results,
    Submission, Task, Value, abi, fail, json, testing,
};

/// Does a little of everything.
struct Everything {
    host: Host,
    heard: Vec<Value>,
}

impl Plugin for Everything {
    fn about() -> About {
        About::new("everything", "0.1.0")
            .events(&["*"])
            .before_submit()
            .step(json!({ "type": "object" }))
            .outputs(&["sheet"])
            .function("count", "How many events there were.")
    }

    fn create(config: &Value, host: Host) -> Result<Self> {
        if config["bad"] == true {
            fail!("`bad` is {}", config["bad"]);
        }
        assert!(config["panic"] != true, "made to panic");
        host.info("made");
        Ok(Self {
            host,
            heard: Vec::new(),
        })
    }

    fn run_event(&mut self, event: &Event<'_>) -> Result {
        self.heard.push(event.json().clone());
        Ok(())
    }

    fn server_event(&mut self, event: &Event<'_>) -> Result {
        fail!("does not like `{}`", event.name());
    }

    fn preview(&mut self, preview: &Preview<'_>) -> Result {
        self.host.debug(&format!("{} bytes", preview.picture.len()));
        Ok(())
    }

    fn before_submit(&mut self, job: &Submission, _call: Call) -> Result<Option<Value>> {
        Ok((job.task() == "change").then(|| json!({ "1": job.graph()["2"] })))
    }

    fn after_download(&mut self, results: &Results, call: Call) -> Result<Option<Vec<Change>>> {
        call.go_on()?;
        let mut changes = results.keep_all();
        changes.pop();
        changes.push(Change::Replace(
            0,
            Artifact::file(&results.folder().join("x")),
        ));
        changes.push(Change::Add(Artifact::text("more").output("log")));
        Ok(Some(changes))
    }

    fn step(&mut self, task: &Task, call: Call) -> Result<Vec<Artifact>> {
        call.progress(0.5, "half");
        call.add(&Artifact::text("first"))?;
        let files = task.files("images");
        Ok(files
            .iter()
            .map(|file| {
                Artifact::file(&file.path)
                    .named("sheet.png")
                    .meta(json!({ "n": 1 }))
            })
            .collect())
    }

    fn function(&mut self, given: &Arguments, _call: Call) -> Result<Value> {
        match given.name() {
            "count" => Ok(json!(self.heard.len())),
            "panic" => panic!("{}", "said on purpose"),
            _ => given.file(0).map(|file| json!(file.name)),
        }
    }
}

fn made() -> testing::TestHost {
    testing::host::<Everything>(json!({})).unwrap()
}

#[test]
fn a_plugin_is_described_made_and_ended() {
    let host = made();
    let about = host.about().unwrap();
    assert_eq!(about["name"], "everything");
    assert_eq!(about["hooks"], json!(["before_submit"]));
    assert_eq!(about["step"]["outputs"], json!(["sheet"]));
    assert_eq!(host.lines(), [(abi::level::INFO, "made".to_owned())]);
}

#[test]
fn a_plugin_that_cannot_be_made_says_why() {
    let refused = testing::host::<Everything>(json!({ "bad": true }));
    assert_eq!(refused.err().as_deref(), Some("`bad` is true"));
    let panicked = testing::host::<Everything>(json!({ "panic": true }));
    let words = panicked.err().unwrap();
    assert!(words.starts_with("panicked: made to panic ("), "{words}");
    assert!(words.contains("in_process.rs:"), "{words}");
}

#[test]
fn a_panic_fails_one_call_and_the_next_one_is_answered() {
    let mut host = made();
    host.event(json!({ "kind": "run", "event": "run_started" }))
        .unwrap();
    let words = host.function("panic", json!([])).unwrap_err();
    assert!(words.starts_with("panicked: said on purpose ("), "{words}");
    assert_eq!(host.function("count", json!([])).unwrap(), 1);
    let answer = host.event(json!({ "kind": "server", "type": "executed" }));
    assert_eq!(answer.unwrap_err(), "does not like `executed`");
    host.event(json!({ "kind": "of a later version" })).unwrap();
}

#[test]
fn graphs_results_steps_and_previews_cross_the_edge() {
    let mut host = made();
    let job = |task: &str| json!({ "task": task, "graph": { "2": { "class_type": "A" } } });
    let same = host.call(abi::hook::BEFORE_SUBMIT, job("keep")).unwrap();
    assert_eq!(same, Value::Null);
    let edited = host.call(abi::hook::BEFORE_SUBMIT, job("change")).unwrap();
    assert_eq!(edited, json!({ "graph": { "1": { "class_type": "A" } } }));

    let results = json!({
        "folder": "/made", "artifacts": [{ "path": "/a.png", "hash": "00", "kind": "image" }, { "text": "t" }],
    });
    let changes = host
        .call(abi::hook::AFTER_DOWNLOAD, results.clone())
        .unwrap();
    assert_eq!(
        changes["artifacts"],
        json!([{ "keep": 0 }, { "path": "/made/x", "replace": 0 }, { "text": "more", "output": "log" }])
    );
    host.cancel(true);
    let answer = host.call(abi::hook::AFTER_DOWNLOAD, results);
    assert_eq!(answer.unwrap_err(), "cancelled");

    let with = json!({ "images": [{ "path": "/a.png", "name": "a.png", "hash": "00" }] });
    let made = host.step(with, Path::new("/made")).unwrap();
    assert_eq!(
        made,
        [
            json!({ "text": "first" }),
            json!({ "path": "/a.png", "name": "sheet.png", "meta": { "n": 1 } })
        ]
    );
    assert_eq!(host.progress(), [(0.5, "half".to_owned())]);
    host.preview(json!({ "frame": 4 }), &[1, 2, 3]).unwrap();
    assert_eq!(host.lines()[1], (abi::level::DEBUG, "3 bytes".to_owned()));
    let unknown = host.call("of a later version", json!({}));
    assert_eq!(
        unknown.unwrap_err(),
        "there is no hook `of a later version`"
    );
}

#[test]
fn a_file_is_told_from_other_values() {
    let mut host = made();
    let file = json!({ "path": "/a.png", "name": "a.png" });
    assert_eq!(host.function("name", json!([file])).unwrap(), "a.png");
    let words = host.function("name", json!(["text"])).unwrap_err();
    assert_eq!(words, "argument 1 of `name` is no file");
    assert_eq!(File::of(&json!({})), None);
}

/// Its death is a panic, too.
struct Sore;

impl Drop for Sore {
    fn drop(&mut self) {
        panic!("{}", "even now");
    }
}

impl Plugin for Sore {
    fn about() -> About {
        About::new("sore", "0.1.0")
    }

    fn create(_: &Value, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn run_event(&mut self, _: &Event<'_>) -> Result {
        std::panic::panic_any(Sore);
    }
}

#[test]
fn a_panic_that_panics_when_it_is_dropped_is_caught_as_well() {
    let mut host = testing::host::<Sore>(json!({})).unwrap();
    let words = host.event(json!({ "kind": "run" })).unwrap_err();
    assert!(words.starts_with("panicked: it did not say why"), "{words}");
    drop(host);
}

/// Leaves a thread behind that goes on using its host.
struct Restless;

static STOP: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
static LEFT: std::sync::Mutex<Option<std::thread::JoinHandle<u32>>> = std::sync::Mutex::new(None);

impl Plugin for Restless {
    fn about() -> About {
        About::new("restless", "0.1.0")
    }

    fn create(_: &Value, host: Host) -> Result<Self> {
        let left = std::thread::spawn(move || {
            let mut said = 0;
            while !STOP.load(std::sync::atomic::Ordering::Relaxed) {
                host.info("still here");
                said += u32::from(host.time_limit().is_some());
                std::thread::yield_now();
            }
            host.info("and at last");
            said
        });
        *LEFT.lock().unwrap() = Some(left);
        Ok(Self)
    }
}

#[test]
fn a_thread_that_outlives_its_plugin_speaks_to_nobody_and_does_no_harm() {
    let host = testing::host::<Restless>(json!({})).unwrap();
    while host.lines().is_empty() {
        std::thread::yield_now();
    }
    drop(host);
    STOP.store(true, std::sync::atomic::Ordering::Relaxed);
    let left = LEFT.lock().unwrap().take().unwrap();
    assert!(left.join().unwrap() > 0);
}
