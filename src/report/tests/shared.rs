//! Several reporters on one terminal, and pictures above what is under way.

use super::*;
use crate::report::{Protocol, Stage};

const LIVE: Terminal = Terminal {
    size: Some(|| (60, 20)),
    live: true,
    shared: true,
    color: true,
    links: false,
    cuts: false,
    folding: None,
    one_stream: false,
    only_new: false,
    pictures: None,
};

/// One terminal, and reporters that tell on it.
fn together(labels: [Option<&str>; 2]) -> (Scene, Scene) {
    let stage = Stage::default();
    let [mut one, mut other] = labels.map(|label| {
        let scene = Scene::new(LIVE);
        (scene, label)
    });
    other.0.notes = one.0.notes.clone();
    for (scene, label) in [&mut one, &mut other] {
        let clock = Arc::clone(&scene.now);
        let notes = Sheet::clone(&scene.notes);
        let reporter = TerminalReporter::new(notes, scene.results.clone(), LIVE);
        scene.reporter = reporter
            .by(Arc::new(move || BEGAN + clock.load(Ordering::Relaxed)))
            .on(&stage, *label);
    }
    (one.0, other.0)
}

fn begin(scene: &mut Scene, task: &str) {
    scene.tell(started(vec![info(task, task)]));
    scene.started(task);
    scene.executing(
        task,
        0.25,
        "KSampler with a title that goes on and on and on for long",
    );
    scene.pass(2_000);
}

#[test]
fn rows_of_several_pipelines_stand_together_and_lines_of_all_of_them_above() {
    let (mut one, mut other) = together([Some("shots"), Some("films")]);
    begin(&mut one, "base");
    begin(&mut other, "cut");
    one.reporter.tick().unwrap();
    other.reporter.tick().unwrap();
    one.reporter.note("a word in between").unwrap();
    insta::assert_snapshot!(one.screen());
    one.ended("base", TaskStatus::Done, 2.0);
    one.reporter.tick().unwrap();
    other.reporter.tick().unwrap();
    let screen = one.screen();
    assert!(screen.contains("shots │   ✓ base"), "{screen}");
    assert_eq!(screen.matches("KSampler").count(), 1, "{screen}");
    drop(one.reporter);
    other.reporter.tick().unwrap();
    other.ended("cut", TaskStatus::Done, 2.0);
    drop(other.reporter);
    let rest = one.notes.0.lock().unwrap()[one.shown..].to_vec();
    let rest = String::from_utf8(rest).unwrap().replace('\n', "\r\n");
    one.seen.process(rest.as_bytes());
    let screen = one.seen.screen().contents();
    assert!(
        !screen.contains("KSampler"),
        "nothing stays behind: {screen}"
    );
}

#[test]
fn who_says_a_word_in_the_middle_of_another_ones_run_leaves_no_row_behind() {
    let (mut one, mut board) = together([None, None]);
    begin(&mut one, "base");
    one.reporter.tick().unwrap();
    board.reporter.note("paused").unwrap();
    one.reporter.tick().unwrap();
    board.reporter.note("going on").unwrap();
    one.reporter.tick().unwrap();
    let screen = one.screen();
    assert_eq!(screen.matches("KSampler").count(), 1, "{screen}");
    assert!(screen.contains("\npaused\ngoing on\n"), "{screen}");
}

#[test]
fn somebody_who_watches_is_not_told_again_of_what_was_done_before() {
    let mut scene = Scene::new(Terminal {
        only_new: true,
        ..Terminal::default()
    });
    scene.tell(started(vec![info("base", "base"), info("sheet", "sheet")]));
    scene.ended("base", TaskStatus::Cached, 0.0);
    scene.ended("sheet", TaskStatus::Done, 1.0);
    let counts = Counts {
        done: 1,
        cached: 1,
        ..Counts::default()
    };
    scene.tell(finished(RunStatus::Done, counts, None));
    let told = scene.notes.text();
    assert!(!told.contains("base "), "{told}");
    assert!(
        told.contains("✓ sheet") && told.contains("1 done, 1 cached"),
        "{told}"
    );
    assert_eq!(scene.results.text(), "/p/outputs/shots/run/sheet.png\n");
}

fn encoded(shade: u8) -> Arc<[u8]> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(64, 64, image::Rgb([shade; 3]));
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}

#[test]
fn a_picture_of_what_the_first_task_is_at_stands_above_the_rows_and_goes_with_it() {
    const SENT: &str = "\x1b_Ga=T,";
    const ERASED: &str = "\x1b_Ga=d,d=I,";
    let mut scene = Scene::new(Terminal {
        size: Some(|| (80, 24)),
        pictures: Some(Protocol::Kitty),
        ..LIVE
    });
    scene.tell(started(vec![info("sheet", "sheet"), info("film", "film")]));
    scene.started("sheet");
    scene.executing("sheet", 0.25, "KSampler");
    scene.started("film");
    scene.executing("film", 0.25, "KSampler");
    scene.reporter.preview(&"film".into(), &encoded(9)).unwrap();
    scene.tick();
    assert!(!scene.notes.text().contains(SENT), "it is not the first");
    scene.news();
    scene
        .reporter
        .preview(&"sheet".into(), &encoded(1))
        .unwrap();
    scene.reporter.tick().unwrap();
    assert_eq!(scene.news().matches(SENT).count(), 1);
    scene.reporter.tick().unwrap();
    assert!(!scene.news().contains(SENT), "it stays where it is");
    let screen = scene.screen();
    let lines: Vec<&str> = screen.lines().collect();
    let row = |name: &str| {
        lines
            .iter()
            .position(|line| line.contains(name) && line.contains("25%"))
    };
    assert_eq!(row("sheet"), Some(7), "below six rows: {screen}");
    assert!(lines[1..7].iter().all(|line| line.is_empty()), "{screen}");
    // What is said comes between, and moves it down.
    scene.ended("film", TaskStatus::Done, 1.0);
    scene.reporter.note("a word").unwrap();
    let news = scene.news();
    let at = |text: &str| {
        news.find(text)
            .unwrap_or_else(|| panic!("{text:?} in {news:?}"))
    };
    assert!(at(ERASED) < at("a word") && at("a word") < at(SENT));
    scene.ended("sheet", TaskStatus::Done, 1.0);
    scene.reporter.tick().unwrap();
    let news = scene.news();
    assert!(news.contains(ERASED) && !news.contains(SENT), "{news:?}");
    let screen = scene.screen();
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[6].contains("2/2"), "no empty row stays: {screen}");
}

#[test]
fn a_low_terminal_shows_no_picture_of_what_is_under_way() {
    let mut scene = Scene::new(Terminal {
        size: Some(|| (80, 15)),
        pictures: Some(Protocol::Kitty),
        ..LIVE
    });
    begin(&mut scene, "sheet");
    scene
        .reporter
        .preview(&"sheet".into(), &encoded(1))
        .unwrap();
    scene.reporter.tick().unwrap();
    assert!(!scene.news().contains("\x1b_G"));
}
