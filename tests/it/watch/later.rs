//! Files that are read in the middle of a run, since only a result says which.

use std::fs;

use super::watched::{Watched, runs};
use crate::support::{Project, wait_for};

const STEPS: &str = r#"steps:
  list: { command: [sh, -c, "echo ref.txt > out.txt"], outputs: { text: out.txt }, save_as: list }
  use:
    command: [sh, -c, "cat \"$1\" > out.txt", sh, "{{ file(steps.list.text | trim) }}"]
    outputs: { text: out.txt }
    save_as: use
"#;

fn project(pipeline: &str) -> Project {
    Project::of(&[("kiln.yaml", ""), ("p.yaml", pipeline), ("ref.txt", "one")])
}

#[track_caller]
fn wait_until_used(project: &Project, text: &str) {
    let path = project.path().join("outputs/p/latest/use/use.txt");
    wait_for(&format!("{text:?} in the result"), || {
        let found = fs::read_to_string(&path).ok()?;
        (found.trim() == text).then_some(())
    });
}

#[test]
fn a_file_that_a_result_names_is_watched_once_it_was_read() {
    let project = project(STEPS);
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    wait_until_used(&project, "one");
    for text in ["two", "three"] {
        project.file("ref.txt", text);
        let heard = watched.says("done in");
        assert!(heard.contains("↻ ref.txt · use: "), "{heard}");
        wait_until_used(&project, text);
    }
    assert_eq!(watched.end(), 130);
    assert_eq!(runs(&project), 3);
}

#[test]
fn a_file_that_a_result_names_is_watched_where_its_step_always_runs() {
    let pipeline = STEPS.replace("echo ref.txt > out.txt", "echo ref.txt");
    let pipeline = pipeline.replacen(", outputs: { text: out.txt }, save_as: list", "", 1);
    let project = project(&pipeline);
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    project.file("ref.txt", "two");
    watched.says("↻ ref.txt");
    wait_until_used(&project, "two");
    assert_eq!(watched.end(), 130);
}

#[test]
fn a_file_that_a_result_names_is_watched_where_everything_was_done_before() {
    let project = project(STEPS);
    project.kiln(&["run", "p.yaml"]).ok();
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("nothing to do: 2 tasks done before");
    project.file("ref.txt", "two");
    watched.says("done in");
    wait_until_used(&project, "two");
    assert_eq!(watched.end(), 130);
}

#[test]
fn what_changes_while_a_run_still_reads_it_is_found_at_its_end() {
    let project = project(&STEPS.replace(
        "cat \\\"$1\\\" > out.txt",
        "cat \\\"$1\\\" > out.txt; touch $HOME/read; while [ ! -e $HOME/go ]; do sleep 0.02; done",
    ));
    let mut command = project.command(&["watch", "p.yaml"]);
    command.env("HOME", project.path());
    let mut watched = Watched::prepared(command);
    wait_for("the command to have read", || {
        project.path().join("read").exists().then_some(())
    });
    project.file("ref.txt", "two");
    project.file("go", "");
    watched.says("↻ ref.txt · use: ");
    watched.says("done in");
    wait_until_used(&project, "two");
    assert_eq!(watched.end(), 130);
}
