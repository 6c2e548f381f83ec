//! The live lines, as a terminal shows them.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::report::text::width;

fn live(size: fn() -> (usize, usize)) -> Scene {
    Scene::new(Terminal {
        size: Some(size),
        live: true,
        shared: true,
        color: true,
        ..Terminal::default()
    })
}

/// Tasks in every state, with names and node titles of wide characters.
fn midway(scene: &mut Scene) {
    let names = ["base[i=0]", "base[i=1]", "base[i=2]", "base[i=3]"];
    let mut tasks: Vec<TaskInfo> = names.iter().map(|name| info(name, "base")).collect();
    tasks.extend([
        info("光と影", "光と影"),
        info("sheet", "sheet"),
        info("film", "film"),
    ]);
    tasks[6].command = true;
    scene.tell(started(tasks));
    scene.started("base[i=0]");
    scene.queued("base[i=0]");
    scene.executing("base[i=0]", 0.1, "KSampler");
    scene.pass(9_000);
    scene.ended("base[i=0]", TaskStatus::Done, 9.0);
    scene.ended("base[i=1]", TaskStatus::Cached, 0.0);
    scene.started("base[i=2]");
    scene.queued("base[i=2]");
    scene.started("base[i=3]");
    scene.queued("base[i=3]");
    scene.started("光と影");
    scene.queued("光と影");
    scene.pass(3_000);
    scene.executing("base[i=2]", 0.4249, "KSampler (高解像度)");
    scene.tell(RunEvent::TaskPlace {
        task: "base[i=3]".into(),
        place: 3,
    });
    scene.executing("光と影", 0.999, "VAE Decode");
    scene.tell(RunEvent::TaskFetching {
        task: "光と影".into(),
    });
    scene.tell(RunEvent::TaskRetried {
        task: "sheet".into(),
        attempt: 2,
        class: "timeout".to_owned(),
        reason: "step `sheet`: it took longer than 10m, which `timeout` allows".to_owned(),
        delay_seconds: 3.2,
    });
    scene.tell(RunEvent::TaskStarted {
        task: "sheet".into(),
        server: "farm".into(),
        attempt: 2,
        url: None,
    });
    scene.started("film");
    scene.tell(RunEvent::TaskExecuting {
        task: "film".into(),
    });
    scene.pass(12_400);
}

#[test]
fn tasks_in_flight_have_a_row_each_at_40_columns() {
    let mut scene = live(|| (40, 24));
    midway(&mut scene);
    insta::assert_snapshot!(scene.tick());
}

#[test]
fn tasks_in_flight_have_a_row_each_at_80_columns() {
    let mut scene = live(|| (80, 24));
    midway(&mut scene);
    insta::assert_snapshot!(scene.tick());
}

#[test]
fn tasks_in_flight_have_a_row_each_at_160_columns() {
    let mut scene = live(|| (160, 50));
    midway(&mut scene);
    insta::assert_snapshot!(scene.tick());
}

/// A step of 500 tasks of which very many are in flight, and a small one.
fn crowd(scene: &mut Scene) {
    let mut tasks = vec![info("sheet", "sheet")];
    tasks.extend((0..500).map(|i| info(&format!("base[i={i}]"), "base")));
    scene.tell(started(tasks));
    for i in 0..300 {
        let name = format!("base[i={i}]");
        scene.started(&name);
        if i < 12 {
            scene.ended(&name, TaskStatus::Cached, 0.0);
        } else if i < 200 {
            scene.queued(&name);
        } else {
            scene.executing(&name, 0.5, "KSampler");
        }
    }
    scene.started("sheet");
    scene.pass(5_000);
}

#[test]
fn hundreds_of_tasks_collapse_into_counts() {
    let mut scene = live(|| (80, 24));
    crowd(&mut scene);
    insta::assert_snapshot!(scene.tick());
}

#[test]
fn a_terminal_of_any_size_shows_no_more_than_fits() {
    for size in [
        (|| (80, 3)) as fn() -> (usize, usize),
        || (80, 2),
        || (80, 1),
        || (12, 5),
        || (4, 4),
        || (1, 1),
        || (200, 4),
    ] {
        let (columns, rows) = size();
        for scene_of in [midway as fn(&mut Scene), crowd] {
            let mut scene = live(size);
            scene_of(&mut scene);
            scene.news();
            scene.tick();
            // Whatever was said has scrolled off; each picture takes the place of the last one.
            let before = scene.seen.screen().contents();
            let frame = {
                scene.reporter.tick().unwrap();
                scene.news()
            };
            let lines = frame.matches('\n').count();
            assert!(
                lines < rows.max(2),
                "{lines} lines in {columns}×{rows}: {frame:?}"
            );
            scene.screen();
            let after = scene.seen.screen().contents();
            assert_eq!(
                before.lines().count(),
                after.lines().count(),
                "{columns}×{rows}"
            );
        }
    }
}

#[test]
fn what_ended_stays_above_the_live_lines_and_nothing_is_left_of_them() {
    let mut scene = live(|| (60, 24));
    scene.tell(started(vec![info("sheet", "sheet"), info("film", "film")]));
    scene.started("sheet");
    scene.started("film");
    scene.pass(1_000);
    scene.tick();
    scene.ended("sheet", TaskStatus::Done, 1.0);
    let screen = scene.tick();
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines[1], "  ✓ sheet     1.0s  1 image");
    assert!(
        lines[3].contains("film") && lines[3].contains("preparing"),
        "{screen}"
    );
    scene.ended("film", TaskStatus::Done, 1.0);
    scene.tell(finished(
        RunStatus::Done,
        Counts {
            done: 2,
            ..Counts::default()
        },
        None,
    ));
    let screen = scene.screen();
    assert!(!screen.contains("preparing"), "{screen}");
    assert!(
        screen
            .lines()
            .last()
            .unwrap()
            .starts_with("done in 12m 34s"),
        "{screen}"
    );
    assert!(!scene.seen.screen().hide_cursor());
}

#[test]
fn each_picture_is_one_write_and_there_are_about_ten_in_a_second() {
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<usize>>>);
    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let writes = Writes::default();
    let terminal = Terminal {
        size: Some(|| (80, 24)),
        live: true,
        shared: true,
        ..Terminal::default()
    };
    let mut reporter = TerminalReporter::new(writes.clone(), Sheet::default(), terminal);
    let began = std::time::Instant::now();
    let mut envelope = Envelope {
        v: 1,
        seq: 0,
        time: "2026-11-22T14:15:30.000+00:00".to_owned(),
        run: RunId("r".to_owned()),
        event: started(
            (0..20)
                .map(|i| info(&format!("t{i}"), &format!("s{i}")))
                .collect(),
        ),
    };
    reporter.event(&envelope).unwrap();
    for i in 0..20 {
        envelope.event = RunEvent::TaskFinished {
            task: format!("t{i}").as_str().into(),
            status: TaskStatus::Done,
            outputs: Vec::new(),
            seconds: 1.0,
            diagnostic: None,
        };
        reporter.event(&envelope).unwrap();
    }
    let pictures = writes.0.lock().unwrap().len();
    let allowed = 2 + usize::try_from(began.elapsed().as_millis()).unwrap() / 95;
    assert!(pictures <= allowed, "{pictures} writes, {allowed} allowed");
}

#[test]
fn a_terminal_that_was_made_narrower_is_wiped_row_by_row() {
    static COLUMNS: AtomicUsize = AtomicUsize::new(80);
    let mut scene = live(|| (COLUMNS.load(Ordering::Relaxed), 24));
    midway(&mut scene);
    scene.tick();
    scene.reporter.tick().unwrap();
    let drawn = scene.news();
    let codes = regex_lite::Regex::new("\x1b\\[[?0-9;]*[a-zA-Z]").unwrap();
    let live = drawn.lines().map(|line| codes.replace_all(line, ""));
    let wide: Vec<usize> = live
        .map(|line| width(line.trim()))
        .filter(|w| *w > 0)
        .collect();
    assert_eq!(wide.len(), 6, "{drawn:?}");
    COLUMNS.store(30, Ordering::Relaxed);
    scene.reporter.tick().unwrap();
    let frame = scene.news();
    // The terminal has broken each line into rows of thirty; each is indented by two.
    let rows: usize = wide.iter().map(|wide| (wide + 2).div_ceil(30)).sum();
    assert!(rows > wide.len());
    assert!(
        frame.contains(&format!("\x1b[{rows}A\r\x1b[J")),
        "{frame:?}"
    );
}
