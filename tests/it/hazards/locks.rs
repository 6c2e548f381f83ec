//! Two kilns on the same outputs: one runs, the other is told who does or waits, and whoever only reads is never held up.

use rusqlite::Connection;

use super::until_there;
use crate::support::{Project, Running, signal};

/// A pipeline that ends when `go` is there.
fn gated() -> Project {
    let project = Project::with("", &[]);
    let gate = until_there(&project, "go");
    project.file("p.yaml", format!("steps:\n  wait: {{ command: {gate} }}\n"));
    project.file("kiln.yaml", "");
    project
}

fn begun(project: &Project) -> (Running, String) {
    let mut run = Running::start(project, &["p.yaml"]);
    let event = run.until_of("task_executing", "wait");
    let id = event["run"].as_str().unwrap().to_owned();
    (run, id)
}

#[test]
fn without_wait_the_holder_is_named_and_nothing_is_changed() {
    let project = gated();
    let (mut run, id) = begun(&project);
    let refused = project.kiln(&["run", "p.yaml"]).code(7);
    let process = run.child.id();
    let holder = format!("are in use by run {id} (process {process} on ");
    assert!(
        refused.stderr.contains("error[K0702]"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains(&holder), "{}", refused.stderr);
    let resumed = project.kiln(&["run", "--resume", "last"]).code(7);
    let under_way = format!("run {id} is still under way in process {process} on ");
    assert!(resumed.stderr.contains(&under_way), "{}", resumed.stderr);
    project.file("go", "");
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    let runs = project.kiln(&["runs", "--output", "json"]).ok().stdout;
    assert_eq!(runs.lines().count(), 1, "{runs}");
}

#[test]
fn with_wait_a_run_begins_when_the_other_has_ended() {
    let project = gated();
    let (mut first, id) = begun(&project);
    let mut second = Running::start(&project, &["p.yaml", "--wait"]);
    let waiting = second.until("run_waiting");
    let holder = waiting["holder"].as_str().unwrap();
    assert!(
        holder.starts_with(&format!("run {id} (process {}", first.child.id())),
        "{holder}"
    );
    project.file("go", "");
    assert_eq!(first.end(), 0, "{:#?}", first.events);
    assert_eq!(second.end(), 0, "{:#?}", second.events);
    assert_eq!(second.finished("wait")["status"], "done");
    let newest = second.events.last().unwrap()["run"].as_str().unwrap();
    assert_ne!(newest, id);
}

#[test]
fn whoever_waits_can_be_stopped_and_leaves_nothing() {
    for (which, code) in [("-INT", 130), ("-TERM", 143)] {
        let project = gated();
        let (mut first, _) = begun(&project);
        let mut second = Running::start(&project, &["p.yaml", "--wait"]);
        second.until("run_waiting");
        signal(&second.child, which);
        assert_eq!(second.end(), code, "{:#?}", second.events);
        project.file("go", "");
        assert_eq!(first.end(), 0, "{:#?}", first.events);
        let runs = project.kiln(&["runs", "--output", "json"]).ok().stdout;
        assert_eq!(runs.lines().count(), 1, "{runs}");
    }
}

#[test]
fn readers_wait_for_nobody() {
    let project = gated();
    let (mut run, id) = begun(&project);
    project.file("other.yaml", "steps:\n  it: { command: [echo, x] }\n");
    // Somebody is in the middle of a write, and stays there.
    let database = Connection::open(project.path().join(".kiln/kiln.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let runs = project.kiln(&["runs", "--output", "json"]).ok().stdout;
    assert!(runs.contains(&id) && runs.contains("\"running\""), "{runs}");
    let shown = project
        .kiln(&["show", "last", "--output", "json"])
        .ok()
        .stdout;
    assert!(shown.contains(&id), "{shown}");
    project.kiln(&["show", &id, "wait"]).ok();
    project.kiln(&["plan", "p.yaml"]).ok();
    project.kiln(&["diff", &id, &id]).ok();
    project.kiln(&["gc", "--dry-run"]).ok();
    database.execute_batch("ROLLBACK").unwrap();
    // Nor does another pipeline of the project.
    project.kiln(&["run", "other.yaml"]).ok();
    project.file("go", "");
    assert_eq!(run.end(), 0, "{:#?}", run.events);
}
