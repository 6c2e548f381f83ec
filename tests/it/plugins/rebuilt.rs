//! A library that is built anew: while somebody watches, and between two sessions of a run.

use std::path::{Path, PathBuf};

use super::{DRAW, declare, in_c, noted, trial};
use crate::support::{Project, Running, Server, blurred, finish};
use crate::watch::Watched;

/// A library of the project's own.
fn own(project: &Project, source: &Path) -> PathBuf {
    let path = project.path().join("tool.so");
    std::fs::copy(source, &path).unwrap();
    path
}

/// Another build that does the same: what follows the last part of a library is nobody's business.
fn rebuilt(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.extend_from_slice(b"built again");
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_library_that_is_built_anew_is_loaded_anew_and_only_what_it_made_is_made_again() {
    for isolation in ["none", "process"] {
        let pipeline = format!("{DRAW}  it: {{ plugin: trial, save_as: it }}\n");
        let project = Project::of(&[("p.yaml", &*pipeline), ("card.json", crate::support::CARD)]);
        let builds = tempfile::tempdir().unwrap();
        let first = in_c(builds.path(), "good.c", "FIRST");
        let path = own(&project, &first);
        declare(&project, &path, &format!("isolation: {isolation}"));
        let mut watched = Watched::start(&project, &["p.yaml"]);
        let heard = watched.says("done in");
        assert!(heard.contains("answered from C\n"), "{heard}");
        // In place, as linkers do it.
        let second = in_c(builds.path(), "good.c", "SECOND");
        std::fs::copy(second, &path).unwrap();
        let heard = watched.says("↻ tool.so · it");
        assert!(!heard.contains("draw"), "{heard}");
        let heard = watched.says("done in");
        assert!(!heard.contains("✓ draw"), "{heard}");
        assert!(heard.contains("answered from C again\n"), "{heard}");
        assert_eq!(watched.end(), 130);
    }
}

#[test]
fn a_library_that_is_not_there_yet_is_waited_for() {
    let project = Project::of(&[("p.yaml", "steps:\n  it: { plugin: trial }\n")]);
    declare(&project, Path::new("tool.so"), "");
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("error[K0601]");
    let builds = tempfile::tempdir().unwrap();
    own(&project, &in_c(builds.path(), "good.c", "FIRST"));
    watched.says("done in");
    assert_eq!(watched.end(), 130);
}

/// A run of a plugin of the project's own that was stopped in the middle of its step.
fn stopped(lines: &str) -> (Project, PathBuf) {
    let project = Project::of(&[("p.yaml", "steps:\n  it: { plugin: trial }\n")]);
    let path = own(&project, &trial());
    declare(&project, &path, lines);
    let mut running = Running::start(&project, &["p.yaml"]);
    running.until("task_executing");
    running.interrupt();
    assert_eq!(running.end(), 130);
    (project, path)
}

#[test]
fn a_run_goes_on_with_no_other_plugin_than_it_began_with_also_when_that_may_fail() {
    let (project, path) = stopped("on_error: warn\nconfig: { misbehave: { step: slow } }");
    rebuilt(&path);
    let done = project.kiln(&["run", "--resume", "last"]).code(6);
    done.says("error[K0602]: the plugin `trial` is another one than when the run began");
    std::fs::remove_file(&path).unwrap();
    project
        .kiln(&["run", "--resume", "last"])
        .code(6)
        .says("error[K0601]");
}

#[test]
fn a_run_that_began_with_plugins_does_not_go_on_without_them() {
    let (project, _) = stopped("on_error: warn\nconfig: { misbehave: { step: slow } }");
    let mut command = project.command(&["run", "--resume", "last"]);
    let done = finish(command.env("KILN_NO_PLUGINS", "1"));
    assert_ne!(done.code, 0);
    done.says("error[K0608]: the run began with the plugin `trial`, and plugins are switched off");
}

#[test]
fn whether_a_plugin_failed_at_a_job_of_an_earlier_session_is_not_known() {
    let server = Server::start(&[]);
    let project = Project::with(
        "steps:\n  draw: { workflow: slow.json }\n",
        &[("slow", blurred(7, 1200, 12))],
    );
    let log = project.path().join("log");
    let lines = format!(
        "on_error: warn\nconfig: {{ log: {}, misbehave: {{ before_submit: error }} }}",
        log.display()
    );
    declare(&project, &trial(), &lines);
    let mut running = Running::start(&project, &["p.yaml", "--server", &server.url]);
    running.until("task_queued");
    running.kill();
    project.kiln(&["run", "--resume", "last"]).ok();
    let asked = |what: &str| {
        noted(&project)
            .iter()
            .filter(|line| line.starts_with(what))
            .count()
    };
    assert_eq!(asked("after_download"), 1);
    let again = project
        .kiln(&["run", "p.yaml", "--server", &server.url, "--output", "json"])
        .ok();
    let events = again.json_lines();
    assert_eq!(events.last().unwrap()["counts"]["cached"], 0, "{events:#?}");
    assert_eq!(events.last().unwrap()["counts"]["done"], 1);
}
