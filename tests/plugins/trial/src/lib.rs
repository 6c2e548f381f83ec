//! A plugin for kiln's tests. Its config says what it does at which hook, and what goes wrong there:
//! `misbehave: { HOOK: WHAT }`, where `often` is an error at two of three calls, and a run event may be meant by its own name.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kiln_plugin::{
    About, Arguments, Artifact, Call, Change, Event, Host, Plugin, Preview, Result, Results,
    Submission, Task, Value, fail, files_schema, json,
};

struct Trial {
    host: Host,
    config: Value,
    calls: u64,
}

impl Trial {
    fn notes(&self) -> bool {
        self.config["log"].is_string()
    }

    /// Adds a line to the file that `log` names.
    fn note(&self, line: &str) -> Result {
        let Some(path) = self.config["log"].as_str() else {
            return Ok(());
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{line}")?;
        Ok(())
    }

    /// Adds a message as it came, when that is wanted.
    fn whole(&self, what: &str, message: &Value) -> Result {
        if self.config["whole"] == true {
            self.note(&format!("json {what} {message}"))?;
        }
        Ok(())
    }

    fn misbehave(&mut self, hook: &str, call: Option<Call>) -> Result {
        self.calls += 1;
        let what = self.config["misbehave"][hook].as_str().unwrap_or_default();
        match what {
            "panic" => panic!("{hook} panics on purpose"),
            "error" => fail!("{hook} fails on purpose"),
            "often" if !self.calls.is_multiple_of(3) => fail!("{hook} fails now and then"),
            "exit" => std::process::exit(3),
            "abort" => std::process::abort(),
            "hang" => loop {
                std::thread::sleep(Duration::from_secs(1));
            },
            // As long as somebody waits.
            "slow" => {
                let began = Instant::now();
                while began.elapsed() < Duration::from_mins(2) {
                    if let Some(call) = call {
                        call.go_on()?;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            "lag" => {
                std::thread::sleep(Duration::from_millis(2));
                Ok(())
            }
            "drag" => {
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            }
            // Until a file is there.
            "wait" => {
                let gate = self.config["gate"].as_str().unwrap_or_default();
                while !std::path::Path::new(gate).exists() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            // For a while, and not silently.
            "work" => {
                for part in 0..30_u8 {
                    if let Some(call) = call {
                        call.progress(f64::from(part) / 30.0, "at work");
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Plugin for Trial {
    fn about() -> About {
        // A bench says by itself what it hears of: what is asked of a plugin is asked before it has a config.
        let hears = std::env::var("KILN_TRIAL_HEARS").ok();
        let hears: Option<Vec<&str>> = hears.as_deref().map(|all| all.split(',').collect());
        let (events, servers) = match hears {
            Some(events) => (events, Vec::new()),
            None => (
                vec!["run_*", "task_*", "diagnostic", "server_ready"],
                vec!["*"],
            ),
        };
        About::new("trial", "0.1.0")
            .description("Does what its config says, for kiln's tests.")
            .config(json!({
                "type": "object",
                "properties": {
                    "log": { "type": "string", "description": "A file that everything is noted in." },
                    "columns": { "type": "integer", "minimum": 1, "default": 1 },
                    "url": { "type": "string", "pattern": "^https?://" },
                },
            }))
            .events(&events)
            .server_events(&servers)
            .previews()
            .before_submit()
            .after_download()
            .step(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "images": files_schema("What to join."),
                    "text": { "type": "string", "description": "What to write." },
                    "columns": { "type": "integer", "minimum": 1 },
                    "answer": { "type": "string" },
                    "url": { "type": "string", "pattern": "^https?://" },
                },
            }))
            .outputs(&["sheet", "list"])
            .function("score", "How good a text is: its length.")
            .function("fails", "Always fails.")
            .filter("backwards", "A text from its end.")
    }

    fn create(config: &Value, host: Host) -> Result<Self> {
        let mut trial = Self {
            host,
            config: config.clone(),
            calls: 0,
        };
        trial.misbehave("create", None)?;
        if let Some(line) = config["say"].as_str() {
            host.warn(line);
        }
        Ok(trial)
    }

    fn run_event(&mut self, event: &Event<'_>) -> Result {
        let name = event.name();
        if self.notes() {
            self.note(format!("run {name} {}", event.task()).trim_end())?;
            self.whole("run_event", event.json())?;
        }
        if self.config["reads"] == true && event.json().is_null() {
            fail!("`{name}` is no JSON");
        }
        self.misbehave(name, None)?;
        self.misbehave("event", None)
    }

    fn server_event(&mut self, event: &Event<'_>) -> Result {
        let kind = event.name();
        if self.notes() {
            let task = event["task"].as_str().unwrap_or("-");
            self.whole("server_event", event.json())?;
            let told = &event["message"]["type"];
            self.note(&format!("server {kind} {task} {told}"))?;
        }
        if self.config["reads"] == true && event.json().is_null() {
            fail!("`{kind}` is no JSON");
        }
        self.misbehave("server_event", None)
    }

    fn preview(&mut self, preview: &Preview<'_>) -> Result {
        let about = &preview.about;
        let line = format!(
            "preview {} {} {} {} bytes",
            about["task"],
            about["media_type"],
            about["node"],
            preview.picture.len()
        );
        self.note(&line)?;
        self.whole("preview", about)?;
        self.misbehave("preview", None)
    }

    fn before_submit(&mut self, job: &Submission, call: Call) -> Result<Option<Value>> {
        self.misbehave("before_submit", Some(call))?;
        self.note(&format!("before_submit {}", job.task()))?;
        self.whole("before_submit", job.json())?;
        let edits = &self.config["edit"];
        let Some(edits) = edits.as_object() else {
            return Ok(None);
        };
        let mut graph = job.graph().clone();
        for node in graph
            .as_object_mut()
            .into_iter()
            .flat_map(|all| all.values_mut())
        {
            let class = node["class_type"].as_str().unwrap_or_default().to_owned();
            for (input, value) in edits
                .get(&class)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                node["inputs"][input] = value.clone();
            }
        }
        Ok(Some(graph))
    }

    fn after_download(&mut self, results: &Results, call: Call) -> Result<Option<Vec<Change>>> {
        self.misbehave("after_download", Some(call))?;
        self.note(&format!(
            "after_download {} {}",
            results.task(),
            results.len()
        ))?;
        self.whole("after_download", results.json())?;
        let outside = PathBuf::from("/etc/hostname");
        Ok(match self.config["results"].as_str() {
            Some("drop") => Some(Vec::new()),
            Some("add") => {
                let path = results.folder().join("note.txt");
                std::fs::write(&path, "beside it")?;
                let mut all = results.keep_all();
                all.push(Change::Add(Artifact::file(&path).output("note")));
                all.push(Change::Add(
                    Artifact::text("said").meta(json!({ "by": "trial" })),
                ));
                Some(all)
            }
            Some("replace") => {
                let path = results.folder().join("new.txt");
                std::fs::write(&path, "instead of it")?;
                Some(vec![Change::Replace(0, Artifact::file(&path))])
            }
            Some("steal") => Some(vec![Change::Add(Artifact::file(&outside))]),
            Some("absent") => Some(vec![Change::Keep(7)]),
            _ => None,
        })
    }

    fn step(&mut self, task: &Task, call: Call) -> Result<Vec<Artifact>> {
        self.misbehave("step", Some(call))?;
        call.progress(0.5, "half of it");
        self.note(&format!("step {} {}", task.task(), task.with()))?;
        self.whole("step", task.json())?;
        match task.with()["answer"].as_str() {
            Some("nothing") => return Ok(Vec::new()),
            Some("steal") => return Ok(vec![Artifact::file(&PathBuf::from("/etc/hostname"))]),
            Some("heavy") => {
                for _ in 0..20 {
                    call.add(&Artifact::text(&"x".repeat(1 << 20)))?;
                }
            }
            Some("huge") => return Ok(vec![Artifact::text(&"x".repeat(20 << 20))]),
            _ => {}
        }
        let mut joined = String::new();
        for file in task.files("images") {
            let _ = writeln!(joined, "{} {} {}", file.name, file.kind, file.size);
        }
        joined.push_str(task.with()["text"].as_str().unwrap_or_default());
        let sheet = task.folder().join("sheet.txt");
        std::fs::write(&sheet, &joined)?;
        call.add(&Artifact::text(&format!("{} lines", joined.lines().count())).output("list"))?;
        self.host
            .info(&format!("joined {} files", task.files("images").len()));
        Ok(vec![Artifact::file(&sheet).output("sheet")])
    }

    fn function(&mut self, given: &Arguments, call: Call) -> Result<Value> {
        self.misbehave("function", Some(call))?;
        match given.name() {
            "score" => Ok(match given.get(0) {
                Value::String(text) => json!(text.chars().count()),
                _ => json!(given.file(0)?.size),
            }),
            _ => fail!("it never works"),
        }
    }

    fn filter(&mut self, given: &Arguments, call: Call) -> Result<Value> {
        self.misbehave("filter", Some(call))?;
        let text = given.get(0).as_str().unwrap_or_default();
        Ok(json!(text.chars().rev().collect::<String>()))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // It cannot say so: a panic is the worst that it can do.
        let _ = self.misbehave("destroy", None);
    }
}

kiln_plugin::export!(Trial);
