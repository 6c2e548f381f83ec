//! What people see of a run, at the width of a usual terminal and of a narrow one.

use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Folding, Reporter, Terminal, TerminalReporter};
use crate::artifact::Kind;
use crate::base::RunId;
use crate::diagnostic::{Diagnostic, SourceMap, codes, to_json};
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskInfo, TaskStatus};

mod live;
mod shared;

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
    /// Milliseconds since the run began, as events and the clock tell.
    now: Arc<AtomicI64>,
    seen: vt100::Parser,
    shown: usize,
}

const BEGAN: i64 = 1_795_357_000_000;

fn cells(count: usize) -> std::num::NonZero<u16> {
    u16::try_from(count).unwrap().try_into().unwrap()
}

impl Scene {
    fn new(terminal: Terminal) -> Self {
        let (notes, results) = (Sheet::default(), Sheet::default());
        let now = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&now);
        let reporter = TerminalReporter::new(notes.clone(), results.clone(), terminal)
            .by(Arc::new(move || BEGAN + clock.load(Ordering::Relaxed)));
        let (columns, rows) = terminal.size.map_or((80, 24), |ask| ask());
        Self {
            notes,
            results,
            reporter,
            now,
            seen: vt100::Parser::new(cells(rows), cells(columns), 500),
            shown: 0,
        }
    }

    /// So many milliseconds pass.
    fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    /// What the terminal got since the last look, as it came.
    fn news(&mut self) -> String {
        let bytes = self.notes.0.lock().unwrap()[self.shown..].to_vec();
        self.shown += bytes.len();
        // The line discipline of a terminal begins each line at its left.
        let text = String::from_utf8(bytes).unwrap();
        self.seen.process(text.replace('\n', "\r\n").as_bytes());
        text
    }

    /// What somebody in front of the terminal sees.
    fn screen(&mut self) -> String {
        self.news();
        let contents = self.seen.screen().contents();
        let lines: Vec<&str> = contents.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// The next picture.
    fn tick(&mut self) -> String {
        self.reporter.tick().unwrap();
        self.screen()
    }

    fn queued(&mut self, task: &str) {
        self.tell(RunEvent::TaskQueued {
            task: task.into(),
            prompt_id: "id".to_owned(),
        });
    }

    fn executing(&mut self, task: &str, fraction: f64, node: &str) {
        self.tell(RunEvent::TaskExecuting { task: task.into() });
        self.tell(RunEvent::TaskProgress {
            task: task.into(),
            fraction,
            node: None,
            node_title: Some(node.to_owned()),
        });
    }

    fn tell(&mut self, event: RunEvent) {
        let envelope = Envelope {
            v: 1,
            seq: 0,
            time: jiff::Timestamp::from_millisecond(BEGAN + self.now.load(Ordering::Relaxed))
                .unwrap()
                .to_string(),
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
            url: None,
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
        expected: [("base".into(), 28.0), ("sheet".into(), 61.0)].into(),
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
        scene.queued(&name);
        scene.pass(400);
        scene.executing(&name, 0.5, "KSampler");
        scene.pass(11_300);
        scene.tell(RunEvent::TaskFetching {
            task: name.as_str().into(),
        });
        scene.pass(300);
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
    scene.tell(RunEvent::TaskExecuting {
        task: "sheet".into(),
    });
    scene.pass(61_000);
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

fn seen_at(columns: fn() -> (usize, usize)) -> String {
    let mut scene = Scene::new(Terminal {
        size: Some(columns),
        shared: true,
        ..Terminal::default()
    });
    play(&mut scene);
    scene.notes.text()
}

#[test]
fn a_run_of_all_fates_at_80_columns() {
    insta::assert_snapshot!(seen_at(|| (80, 24)));
}

#[test]
fn a_run_of_all_fates_at_40_columns() {
    insta::assert_snapshot!(seen_at(|| (40, 24)));
}

#[test]
fn a_run_of_all_fates_at_160_columns() {
    insta::assert_snapshot!(seen_at(|| (160, 50)));
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
fn a_log_of_continuous_integration_is_grouped_by_step() {
    let mut scene = Scene::new(Terminal {
        folding: Some(Folding::Plain),
        one_stream: true,
        ..Terminal::default()
    });
    play(&mut scene);
    let text = scene.notes.text();
    assert!(!text.contains('\x1b'));
    insta::assert_snapshot!(text.replace("/p/outputs/shots/run/", ""));
}

#[test]
fn a_log_of_github_folds_and_takes_no_commands_from_tasks() {
    let mut scene = Scene::new(Terminal {
        folding: Some(Folding::GitHub),
        one_stream: true,
        ..Terminal::default()
    });
    scene.tell(started(vec![
        info("a[i=0]", "a"),
        info("a[i=1]", "a"),
        info("b", "b"),
    ]));
    for task in ["a[i=0]", "b", "a[i=1]"] {
        scene.started(task);
        scene.pass(1_500);
        scene.tell(RunEvent::TaskFinished {
            task: task.into(),
            status: TaskStatus::Done,
            outputs: vec![Output {
                kind: Kind::Text,
                path: None,
                text: Some("::stop-commands::x".to_owned()),
                ..picture(task)
            }],
            seconds: 1.5,
            diagnostic: None,
        });
    }
    let counts = Counts {
        done: 3,
        ..Counts::default()
    };
    scene.tell(finished(RunStatus::Done, counts, None));
    insta::assert_snapshot!(scene.notes.text());
}

#[test]
fn paths_are_links_where_the_terminal_follows_them() {
    let mut scene = Scene::new(Terminal {
        size: Some(|| (80, 24)),
        shared: true,
        links: true,
        ..Terminal::default()
    });
    scene.tell(started(vec![info("base", "base")]));
    scene.ended("base", TaskStatus::Done, 1.0);
    let text = scene.notes.text();
    let link = "\x1b]8;;file:///p/outputs/shots/run/base.png\x1b\\/p/outputs/shots/run/base.png\x1b]8;;\x1b\\";
    assert!(text.contains(link), "{text:?}");
}

#[test]
fn results_are_shown_as_pictures_where_the_terminal_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    image::RgbImage::new(64, 64).save(&path).unwrap();
    let mut scene = Scene::new(Terminal {
        size: Some(|| (80, 24)),
        live: true,
        shared: true,
        pictures: Some(super::Protocol::Kitty),
        ..Terminal::default()
    });
    scene.tell(started(vec![info("base", "base")]));
    scene.tell(RunEvent::TaskFinished {
        task: "base".into(),
        status: TaskStatus::Done,
        outputs: vec![Output {
            path: Some(path),
            ..picture("base")
        }],
        seconds: 1.0,
        diagnostic: None,
    });
    scene.tick();
    assert!(scene.notes.text().contains("\x1b_Ga=T,f=100,q=2,c=24,r=12"));
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
