//! What people see of a run, at the width of a usual terminal and of a narrow one.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::{Reporter, Terminal, TerminalReporter};
use crate::artifact::Kind;
use crate::base::RunId;
use crate::diagnostic::{Diagnostic, SourceMap, codes, to_json};
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskInfo, TaskStatus};

#[derive(Clone, Default)]
struct Sheet(Arc<Mutex<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sheet {
    /// What is on it, without colours.
    fn text(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let codes = regex_lite::Regex::new("\x1b\\[[0-9;]*m").unwrap();
        codes.replace_all(&text, "").into_owned()
    }
}

struct Scene {
    notes: Sheet,
    results: Sheet,
    reporter: TerminalReporter<Sheet, Sheet>,
}

impl Scene {
    fn new(terminal: Terminal) -> Self {
        let (notes, results) = (Sheet::default(), Sheet::default());
        let reporter = TerminalReporter::new(notes.clone(), results.clone(), terminal);
        Self {
            notes,
            results,
            reporter,
        }
    }

    fn tell(&mut self, event: RunEvent) {
        let envelope = Envelope {
            v: 1,
            seq: 0,
            time: "2026-11-22T14:15:30.000+00:00".to_owned(),
            run: RunId("20261122-141530-k3f9".to_owned()),
            event,
        };
        self.reporter.event(&envelope).unwrap();
    }

    fn started(&mut self, task: &str) {
        self.tell(RunEvent::TaskStarted {
            task: task.into(),
            server: "farm".into(),
            attempt: 1,
        });
    }

    fn ended(&mut self, task: &str, status: TaskStatus, seconds: f64) {
        let made = matches!(status, TaskStatus::Done | TaskStatus::Cached);
        self.tell(RunEvent::TaskFinished {
            task: task.into(),
            status,
            outputs: made.then(|| picture(task)).into_iter().collect(),
            seconds,
            diagnostic: match status {
                TaskStatus::Failed => Some(complaint(&format!("step `{task}`: node 3 (KSampler) failed: CUDA out of memory while allocating tensors"))),
                TaskStatus::Skipped => Some(complaint("`when` is false")),
                _ => None,
            },
        });
    }
}

fn complaint(message: &str) -> crate::diagnostic::JsonDiagnostic {
    let diagnostic = Diagnostic::error(&codes::NODE_FAILED, message);
    to_json(&diagnostic, &SourceMap::default())
}

fn picture(task: &str) -> Output {
    Output {
        kind: Kind::Image,
        path: Some(format!("/p/outputs/shots/run/{task}.png").into()),
        text: None,
        node: "9".into(),
        output: None,
        size: 1,
        hash: String::new(),
    }
}

fn info(task: &str, step: &str) -> TaskInfo {
    TaskInfo {
        task: task.into(),
        step: step.into(),
        server: "farm".into(),
        needs: std::sync::Arc::default(),
        command: false,
    }
}

fn started(tasks: Vec<TaskInfo>) -> RunEvent {
    RunEvent::RunStarted {
        pipeline: "product-shots".to_owned(),
        tasks,
        growing: false,
        output_dir: "/p/outputs/shots/run".into(),
    }
}

fn finished(status: RunStatus, counts: Counts, resume: Option<&str>) -> RunEvent {
    RunEvent::RunFinished {
        status,
        exit_code: 0,
        counts,
        cause: (status == RunStatus::Failed).then(|| "base[i=7]".into()),
        latest: Some("/p/outputs/shots/latest".into()),
        up_to_date: false,
        resume: resume.map(str::to_owned),
        seconds: 754.0,
    }
}

/// A small step of each fate, and one of very many tasks.
fn play(scene: &mut Scene) {
    let mut tasks = vec![
        info("sheet", "sheet"),
        info("film", "film"),
        info("thumbnails", "thumbnails"),
    ];
    tasks.extend((0..30).map(|i| info(&format!("base[i={i}]"), "base")));
    scene.tell(started(tasks));
    for i in 0..30 {
        let name = format!("base[i={i}]");
        scene.started(&name);
        let status = match i {
            7 => TaskStatus::Failed,
            8..12 => TaskStatus::Cached,
            _ => TaskStatus::Done,
        };
        scene.ended(&name, status, 12.0);
    }
    scene.started("sheet");
    scene.tell(RunEvent::TaskRetried {
        task: "sheet".into(),
        attempt: 2,
        class: "timeout".to_owned(),
        reason: "step `sheet`: it took longer than 10m, which `timeout` allows".to_owned(),
        delay_seconds: 3.2,
    });
    scene.started("sheet");
    scene.ended("sheet", TaskStatus::Done, 61.0);
    scene.tell(RunEvent::TaskOutput {
        task: "film".into(),
        line: "frame=  120 fps= 30 q=28.0 size=    1024kB time=00:00:04.00 bitrate=2097.2kbits/s"
            .to_owned(),
    });
    scene.ended("film", TaskStatus::Skipped, 0.0);
    scene.ended("thumbnails", TaskStatus::Cached, 0.0);
    let counts = Counts {
        done: 26,
        cached: 5,
        failed: 1,
        skipped: 1,
        cancelled: 0,
    };
    scene.tell(finished(
        RunStatus::Failed,
        counts,
        Some("kiln run --resume last"),
    ));
}

fn seen_at(columns: fn() -> usize) -> String {
    let mut scene = Scene::new(Terminal {
        columns: Some(columns),
        live: false,
        shared: true,
    });
    play(&mut scene);
    scene.notes.text()
}

#[test]
fn a_run_of_all_fates_at_80_columns() {
    insta::assert_snapshot!(seen_at(|| 80));
}

#[test]
fn a_run_of_all_fates_at_40_columns() {
    let text = seen_at(|| 40);
    insta::assert_snapshot!(text);
}

#[test]
fn a_pipe_gets_every_path_also_those_of_large_steps() {
    let mut scene = Scene::new(Terminal::default());
    play(&mut scene);
    assert_eq!(scene.results.text().lines().count(), 31);
    let notes = scene.notes.text();
    assert!(!notes.contains("base[i=3]"), "{notes}");
    assert!(notes.contains("✗ base[i=7]"), "{notes}");
}

#[test]
fn live_lines_count_large_steps_and_are_wiped_before_the_next_line() {
    let mut scene = Scene::new(Terminal {
        columns: Some(|| 60),
        live: true,
        shared: true,
    });
    let mut tasks = vec![info("sheet", "sheet")];
    tasks.extend((0..400).map(|i| info(&format!("base[i={i}]"), "base")));
    scene.tell(started(tasks));
    for i in 0..15 {
        let name = format!("base[i={i}]");
        scene.started(&name);
        if i < 12 {
            scene.ended(&name, TaskStatus::Cached, 0.0);
        }
    }
    scene.started("sheet");
    scene.reporter.tick().unwrap();
    let drawn = scene.notes.text();
    let live: Vec<&str> = drawn.lines().skip(1).collect();
    assert_eq!(
        live,
        [
            "  ⠙ 12/401  sheet preparing",
            "    base 12/400 · 3 running · 12 cached"
        ]
    );
    scene.ended("sheet", TaskStatus::Done, 1.0);
    let after = scene.notes.text()[drawn.len()..].to_owned();
    assert!(
        after.starts_with("\r\x1b[2K\x1b[1A\r\x1b[2K  ✓ sheet"),
        "{after:?}"
    );
}

#[test]
fn a_run_with_nothing_to_do_says_so() {
    let mut scene = Scene::new(Terminal::default());
    scene.tell(started(vec![info("base", "base")]));
    scene.ended("base", TaskStatus::Cached, 0.0);
    scene.tell(RunEvent::RunFinished {
        status: RunStatus::Done,
        exit_code: 0,
        counts: Counts {
            cached: 1,
            ..Counts::default()
        },
        cause: None,
        latest: Some("/p/outputs/shots/latest".into()),
        up_to_date: true,
        resume: None,
        seconds: 0.1,
    });
    let text = scene.notes.text();
    let last = text.lines().last().unwrap();
    assert_eq!(
        last,
        "nothing to do: 1 task done before · results in /p/outputs/shots/latest"
    );
}
