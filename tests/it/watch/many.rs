//! A long session of edits.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::watched::Watched;
use crate::support::{Project, files};

const STEPS: &str = r#"params: { word: { type: string, default: W0 } }
steps:
  a: { command: [sh, -c, "cat \"$1\" > out.txt", sh, "{{ file('a.txt') }}"], outputs: { text: out.txt }, save_as: a }
  b: { command: [sh, -c, "cat \"$1\" > out.txt", sh, "{{ file('b.txt') }}"], outputs: { text: out.txt }, save_as: b }
  both:
    command: [sh, -c, "cat \"$1\" \"$2\" > out.txt; echo $3 >> out.txt", sh, "{{ steps.a.file }}", "{{ steps.b.file }}", "{{ params.word }} {{ read_text('more.txt') }}"]
    outputs: { text: out.txt }
    save_as: both
  all:
    command: [sh, -c, "for f in \"$@\"; do cat \"$f\"; echo; done > out.txt", sh, "{{ glob('in/**/*.txt') }}"]
    outputs: { text: out.txt }
    save_as: all
"#;

fn save(random: &mut fastrand::Rng, path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match random.u8(0..4) {
        0 => {
            let fresh = path.with_extension("tmp~");
            fs::write(&fresh, text).unwrap();
            fs::rename(fresh, path).unwrap();
        }
        1 => {
            let _ = fs::remove_file(path);
            fs::write(path, text).unwrap();
        }
        2 => {
            // In two halves, as a slow program does.
            let (half, _) = text.split_at(text.len() / 2);
            fs::write(path, half).unwrap();
            std::thread::sleep(Duration::from_millis(random.u64(0..30)));
            fs::write(path, text).unwrap();
        }
        _ => fs::write(path, text).unwrap(),
    }
}

/// One edit of any kind. The pipeline is never left wrong.
fn edit(random: &mut fastrand::Rng, project: &Path, number: usize) {
    // Few texts, so that what was made before comes again.
    let text = format!("text {}", random.u8(0..6));
    match random.u8(0..10) {
        0 | 1 => save(random, &project.join("a.txt"), &text),
        2 | 3 => save(random, &project.join("b.txt"), &text),
        4 => save(random, &project.join("more.txt"), &text),
        5 => {
            let word = format!("W{}", random.u8(0..4));
            save(random, &project.join("p.yaml"), &STEPS.replace("W0", &word));
        }
        6 => {
            let wrong = STEPS.replace("outputs:", "outptus:");
            save(random, &project.join("p.yaml"), &wrong);
            std::thread::sleep(Duration::from_millis(random.u64(0..200)));
            save(random, &project.join("p.yaml"), STEPS);
        }
        7 => {
            let name = format!("in/{}/{number}.txt", random.u8(0..3));
            save(random, &project.join(name), &text);
        }
        8 => {
            let folder = project.join(format!("in/{}", random.u8(0..3)));
            let _ = fs::remove_dir_all(folder);
        }
        _ => save(random, &project.join("in/first.txt"), &text),
    }
    std::thread::sleep(Duration::from_millis(random.u64(0..160)));
}

/// The results of the newest run: names and texts.
fn results(project: &Path) -> Vec<(String, String)> {
    let latest = project.join("outputs/p/latest");
    let names = files(&latest).into_iter();
    names
        .map(|name| {
            let text = fs::read_to_string(latest.join(&name)).unwrap_or_default();
            (name, text)
        })
        .collect()
}

/// What a run makes of the files as they are, where nothing was made before.
fn fresh(project: &Path) -> Vec<(String, String)> {
    let other = Project::new();
    for entry in walkdir::WalkDir::new(project)
        .into_iter()
        .map(Result::unwrap)
    {
        let name = entry.path().strip_prefix(project).unwrap();
        let own = ["outputs", ".kiln"];
        if entry.file_type().is_file() && own.iter().all(|own| !name.starts_with(own)) {
            other.file(name.to_str().unwrap(), fs::read(entry.path()).unwrap());
        }
    }
    other.kiln(&["run", "p.yaml"]).ok();
    results(other.path())
}

#[test]
fn a_hundred_edits_in_random_order_end_where_a_fresh_run_would() {
    let mut random = fastrand::Rng::with_seed(7);
    let project = Project::of(&[
        ("kiln.yaml", ""),
        ("p.yaml", STEPS),
        ("a.txt", "text 0"),
        ("b.txt", "text 0"),
        ("more.txt", "text 0"),
        ("in/first.txt", "text 0"),
    ]);
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    for number in 1..=100 {
        edit(&mut random, project.path(), number);
        if number % 10 == 0 {
            let expected = fresh(project.path());
            let within = Instant::now() + Duration::from_mins(1);
            while results(project.path()) != expected {
                assert!(
                    Instant::now() < within,
                    "after {number} edits: {:#?} instead of {expected:#?}",
                    results(project.path())
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    assert_eq!(watched.end(), 130);
    assert_eq!(results(project.path()), fresh(project.path()));
}
