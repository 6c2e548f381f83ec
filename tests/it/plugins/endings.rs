//! How a run with plugins ends: stopped, out of time, broken off, or failed at by a plugin that hears of its end.

use super::{DRAW, declare, noted, project, trial};
use crate::support::{Project, Running, Server, finish};

fn logging(project: &Project, more: &str) {
    let log = project.path().join("log");
    // It only hears, so that no task waits for its turn.
    let lines = format!("steps: [none]\nconfig: {{ log: {}{more} }}", log.display());
    declare(project, &trial(), &lines);
}

/// So many quick tasks.
fn many(tasks: usize) -> String {
    format!(
        "steps:\n  draw: {{ workflow: card.json, matrix: {{ i: \"{{{{ range({tasks}) }}}}\" }}, set: {{ Card: {{ color: \"{{{{ matrix.i }}}}\", width: 16, height: 16 }} }} }}\n"
    )
}

#[test]
fn a_plugin_that_fails_at_the_end_of_a_run_fails_the_run() {
    let project = project("config: { misbehave: { run_finished: error } }", DRAW);
    for _ in 0..2 {
        // The second time there is nothing to do, and that it fails at as well.
        let done = project.kiln(&["run", "p.yaml", "--output", "json"]).code(4);
        let events = done.json_lines();
        let last = events.last().unwrap();
        assert_eq!(last["event"], "run_finished", "{events:#?}");
        assert_eq!(
            (&last["status"], &last["exit_code"]),
            (&"failed".into(), &4.into())
        );
        assert_eq!(last["counts"]["failed"], 0);
        let complaint = events.iter().find(|e| e["event"] == "diagnostic").unwrap();
        assert_eq!(complaint["diagnostic"]["code"], "K0606");
    }
    let runs = project
        .kiln(&["runs", "--output", "json"])
        .ok()
        .json_lines();
    assert_eq!(runs[0]["status"], "failed", "{runs:#?}");
    declare(
        &project,
        &trial(),
        "on_error: warn\nconfig: { misbehave: { run_finished: error } }",
    );
    project.kiln(&["run", "p.yaml"]).ok();
}

#[test]
fn a_run_that_is_stopped_does_not_wait_for_all_that_a_slow_plugin_has_to_hear() {
    let project = project("", &many(30));
    logging(&project, ", misbehave: { event: drag }");
    let mut running = Running::start(&project, &["p.yaml"]);
    running.when("the last task", |event| {
        event["event"] == "task_finished" && event["task"] == "draw[i=29]"
    });
    running.interrupt();
    let code = running.end();
    // It may have been done by then, but for what the plugin had to hear.
    assert!([4, 130].contains(&code), "{code}");
    let given_up = running
        .events
        .iter()
        .find(|event| event["diagnostic"]["code"] == "K0607");
    let message = given_up.unwrap()["diagnostic"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the plugin `trial` is given up: the run was stopped, and it had "),
        "{message}"
    );
}

#[test]
fn the_time_of_a_run_ends_also_while_it_waits_for_a_plugin() {
    let project = project("", &many(600));
    logging(&project, ", misbehave: { event: drag }");
    let done = project.kiln(&["run", "p.yaml", "--timeout", "4s", "--output", "json"]);
    let done = done.code(4);
    let events = done.json_lines();
    let stopping = events.iter().find(|event| event["event"] == "run_stopping");
    assert_eq!(
        stopping.unwrap()["reason"],
        "deadline",
        "{:#?}",
        events.last()
    );
    assert!(
        done.stdout.contains("things to do yet"),
        "{:#?}",
        events.last()
    );
}

#[test]
#[cfg(unix)]
fn a_run_whose_journal_cannot_be_written_ends_and_its_plugins_hear_of_it() {
    const COUNT: usize = 150;
    let server = Server::start(&["--jobs", "2"]);
    let project = Project::of_many(COUNT);
    logging(&project, "");
    // So that the library is copied already: it is larger than files may be.
    project.kiln(&["check", "p.yaml"]).ok();
    let program = project.command(&[]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(["run", "p.yaml", "--server", &server.url])
        .env("NO_COLOR", "1")
        .current_dir(project.path());
    let broken = finish(&mut limited).code(7);
    broken.says("error[K0701]: could not write kiln's state");
    assert_eq!(
        noted(&project).last().map(String::as_str),
        Some("run run_finished")
    );
}
