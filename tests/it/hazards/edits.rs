//! Files that change while a run goes on: it uses what its plan sealed, or says that it cannot.

use std::path::Path;

use super::{assert_colour, invert, latest, server, until_there};
use crate::support::{Project, Running, quick};

/// A picture of one colour.
fn picture(project: &Project, name: &str, colour: [u8; 3]) {
    let image = image::RgbImage::from_pixel(16, 16, image::Rgb(colour));
    image.save(project.path().join(name)).unwrap();
}

/// `wait` ends when `go` is there; what is after it sees files that changed meanwhile.
fn gated(steps: &str) -> Project {
    let project = Project::with("", &[("quick", quick(0x0a_0b_0c)), ("invert", invert())]);
    let gate = until_there(&project, "go");
    project.file(
        "p.yaml",
        format!("steps:\n  wait: {{ command: {gate} }}\n{steps}"),
    );
    project
}

fn begun(project: &Project, more: &[&str]) -> Running {
    let mut run = Running::start(project, &[&["p.yaml", "-k"], more].concat());
    run.until_of("task_executing", "wait");
    run
}

#[test]
fn a_pipeline_and_its_workflows_run_as_they_were_when_they_were_planned() {
    let server = server();
    let project = gated(
        "  one: { workflow: quick.json, needs: [wait], save_as: one }\n  two: { workflow: quick.json, needs: [one], save_as: two, set: { EmptyImage: { color: 1 } } }\n",
    );
    let mut run = begun(&project, &["--server", &server.url]);
    project.file("quick.json", "no graph at all");
    project.file("p.yaml", "nor a pipeline");
    project.file("kiln.yaml", "[]");
    project.file("go", "");
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_colour(&latest(&project).join("one/one.png"), [0x0a, 0x0b, 0x0c]);
    assert_colour(&latest(&project).join("two/two.png"), [0, 0, 1]);
}

#[test]
fn an_input_that_changed_since_the_plan_is_named_and_never_sent() {
    let server = server();
    let project = gated(
        "  send:\n    workflow: invert.json\n    needs: [wait]\n    set: { LoadImage: { image: \"{{ file('in.png') }}\" } }\n  gone:\n    workflow: invert.json\n    needs: [wait]\n    set: { LoadImage: { image: \"{{ file('other.png') }}\" } }\n  read: { command: [cat, \"{{ file('in.txt') }}\"], needs: [wait] }\n  fine: { command: [cat, \"{{ file('kept.txt') }}\"], needs: [wait] }\n",
    );
    picture(&project, "in.png", [1, 2, 3]);
    picture(&project, "other.png", [1, 2, 3]);
    project.file("in.txt", "before");
    project.file("kept.txt", "kept");
    let mut run = begun(&project, &["--server", &server.url]);
    picture(&project, "in.png", [9, 9, 9]);
    std::fs::remove_file(project.path().join("other.png")).unwrap();
    project.file("in.txt", "after");
    project.file("go", "");
    assert_eq!(run.end(), 4, "{:#?}", run.events);
    let told = complaint(&run, "send");
    assert!(
        told.contains("in.png` was changed while the pipeline ran"),
        "{told}"
    );
    let told = complaint(&run, "gone");
    assert!(told.contains("other.png`: it is gone"), "{told}");
    let told = complaint(&run, "read");
    assert!(
        told.contains("in.txt` was changed while the pipeline ran"),
        "{told}"
    );
    assert_eq!(run.finished("fine")["status"], "done");
    assert_eq!(server.carried_out("invert"), 0);
}

/// `make` makes a file, `take` takes it after the gate is open.
fn chained() -> Project {
    let project = Project::with("", &[]);
    let gate = until_there(&project, "go");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  make: {{ command: [sh, -c, \"echo made > a.txt\"], outputs: {{ a: a.txt }} }}\n  wait: {{ command: {gate}, needs: [make] }}\n  take: {{ command: [cp, \"{{{{ steps.make.file }}}}\", b.txt], outputs: {{ b: b.txt }}, needs: [wait] }}\n"
        ),
    );
    project
}

fn damage_blobs(project: &Project) -> usize {
    let blobs = walkdir::WalkDir::new(project.path().join(".kiln/blobs"));
    let files = blobs
        .into_iter()
        .flatten()
        .filter(|e| e.file_type().is_file());
    let mut damaged = 0;
    for file in files {
        // Blobs are read-only; a damaged disk does not ask.
        std::fs::remove_file(file.path()).unwrap();
        std::fs::write(file.path(), "MADE\n").unwrap();
        damaged += 1;
    }
    damaged
}

#[test]
fn a_result_that_is_edited_while_the_run_goes_on_is_handed_on_as_it_was() {
    let project = chained();
    let mut run = begun(&project, &[]);
    let made = latest_of(&run);
    std::fs::write(&made, "edited").unwrap();
    project.file("go", "");
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    let taken = latest(&project).join("take/b.txt");
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "made\n");
    assert_eq!(std::fs::read_to_string(made).unwrap(), "edited");
}

#[test]
fn a_blob_that_is_damaged_while_the_run_goes_on_is_not_needed_and_never_used_again() {
    let project = chained();
    let mut run = begun(&project, &[]);
    assert_eq!(damage_blobs(&project), 1);
    project.file("go", "");
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    let taken = latest(&project).join("take/b.txt");
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "made\n");
    // The gate always runs, so that there is a new folder: what is put there is not what is in the blob now.
    let mut again = Running::start(&project, &["p.yaml"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    assert_eq!(again.finished("take")["status"], "cached");
    let made = latest(&project).join("make/a.txt");
    assert_eq!(std::fs::read_to_string(made).unwrap(), "made\n");
}

#[test]
fn a_result_that_is_edited_and_whose_blob_is_damaged_is_told_and_not_handed_on() {
    let project = chained();
    let mut run = begun(&project, &[]);
    std::fs::write(latest_of(&run), "edited").unwrap();
    damage_blobs(&project);
    project.file("go", "");
    assert_eq!(run.end(), 4, "{:#?}", run.events);
    let told = complaint(&run, "take");
    assert!(
        told.contains("a.txt` was changed while the pipeline ran"),
        "{told}"
    );
    // The next session makes it again and goes on.
    let mut again = Running::start(&project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    let taken = latest(&project).join("take/b.txt");
    assert_eq!(std::fs::read_to_string(taken).unwrap(), "made\n");
}

/// Where the run put what `make` made.
fn latest_of(run: &Running) -> std::path::PathBuf {
    let ends = run.all("task_finished");
    let make = ends.iter().find(|event| event["task"] == "make").unwrap();
    make["outputs"][0]["path"].as_str().unwrap().into()
}

/// What is told of a task that failed.
fn complaint(run: &Running, task: &str) -> String {
    let told = &run.finished(task)["diagnostic"]["message"];
    told.as_str().unwrap().to_owned()
}

#[test]
fn what_was_found_for_tasks_that_are_then_skipped_is_not_left_lying_about() {
    let project = Project::with("", &[("quick", quick(0))]);
    let flag = project.path().join("flag");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  gate: {{ command: [test, -e, {}] }}\n  draw:\n    workflow: quick.json\n    matrix: {{ i: \"{{{{ range(40) }}}}\" }}\n    set: {{ EmptyImage: {{ color: \"{{{{ matrix.i }}}}\" }} }}\n    save_as: \"{{{{ matrix.i }}}}\"\n",
            flag.display()
        ),
    );
    project.file("flag", "");
    project.kiln(&["run", "p.yaml"]).ok();
    std::fs::remove_file(&flag).unwrap();
    let mut run = Running::start(&project, &["p.yaml"]);
    assert_eq!(run.end(), 4, "{:#?}", run.events);
    let last = run.events.last().unwrap();
    assert!(last["counts"]["skipped"].as_u64() > Some(0), "{last}");
    let told = run.all("task_finished");
    let told = told.iter().filter_map(|event| event["outputs"].as_array());
    let mut told: Vec<_> = told
        .flatten()
        .map(|output| output["path"].as_str().unwrap().to_owned())
        .collect();
    told.sort_unstable();
    let folder = project
        .path()
        .join("outputs/p")
        .join(run.events[0]["run"].as_str().unwrap());
    let all = walkdir::WalkDir::new(&folder).into_iter();
    let all = all.map(|entry| entry.unwrap().path().display().to_string());
    let (records, lying): (Vec<_>, Vec<_>) = all
        .filter(|path| Path::new(path).is_file())
        .partition(|path| path.ends_with(".kiln.json"));
    let mut of_records: Vec<_> = records
        .iter()
        .map(|path| path.trim_end_matches(".kiln.json").to_owned())
        .collect();
    of_records.sort_unstable();
    let mut lying = lying;
    lying.sort_unstable();
    assert_eq!(lying, told);
    assert_eq!(of_records, told);
}
