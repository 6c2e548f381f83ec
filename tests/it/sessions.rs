//! Runs over several sessions and several servers: resumed, taken over, stopped from elsewhere.

use serde_json::{Value, json};

use crate::support::{Project, Running, Server, blurred, pictures, wait_for};

/// A workflow that takes some hundred milliseconds for every few nodes.
fn slow(colour: u32, nodes: usize) -> String {
    blurred(colour, 1500, nodes).to_string()
}

/// All that a run tells, and its exit code.
fn resume(project: &Project) -> (Vec<Value>, i32) {
    let mut run = Running::start(project, &["p.yaml", "--resume", "last"]);
    let code = run.end();
    (std::mem::take(&mut run.events), code)
}

fn statuses(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ends = events.iter().filter(|e| e["event"] == "task_finished");
    let mut ends: Vec<_> = ends
        .map(|e| (text(&e["task"]), text(&e["status"])))
        .collect();
    ends.sort();
    ends
}

#[test]
fn a_resumed_run_does_not_do_again_what_is_done() {
    let project = Project::new();
    let (log, flag) = (project.path().join("log"), project.path().join("flag"));
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  list: {{ command: [sh, -c, "echo list >> {log}; echo [1,2]"] }}
  each:
    for_each: "{{{{ steps.list.data + [] }}}}"
    command: [sh, -c, "echo each >> {log}; test {{{{ item }}}} = 1 || test -e {flag}"]
  last: {{ command: [sh, -c, "echo last >> {log}"], needs: [each] }}
"#,
            log = log.display(),
            flag = flag.display()
        ),
    );
    let first = project.kiln(&["run", "p.yaml", "--output", "json"]).code(4);
    let run = &first.json_lines()[0];
    std::fs::write(&flag, "").unwrap();
    let (events, code) = resume(&project);
    assert_eq!(code, 0);
    assert_eq!(events[0]["run"], run["run"], "it is the same run");
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!(log, "list\neach\neach\neach\nlast\n");
    let counts = &events.last().unwrap()["counts"];
    assert_eq!((&counts["done"], &counts["failed"]), (&json!(4), &json!(0)));
}

#[test]
fn a_job_that_outlived_kiln_is_taken_over_and_one_that_ended_is_collected() {
    let server = Server::start(&["--jobs", "1"]);
    let project = Project::new();
    project.file(
        "p.yaml",
        "steps:\n  a: { workflow: a.json }\n  b: { workflow: b.json, needs: [a] }\n  c: { workflow: c.json }\n",
    );
    project.file("a.json", slow(1, 12));
    project.file("b.json", slow(2, 2));
    project.file("c.json", slow(3, 12));
    let run = Running::start(&project, &["p.yaml", "--server", &server.url]);
    wait_for("both jobs to be there", || {
        let (running, waiting) = server.jobs();
        (running.len() + waiting.len() == 2).then_some(())
    });
    drop(run);
    let (events, code) = resume(&project);
    assert_eq!(code, 0, "{events:#?}");
    let done = |task: &str| (task.to_owned(), "done".to_owned());
    assert_eq!(statuses(&events), [done("a"), done("b"), done("c")]);
    assert_eq!(server.carried_out("slow"), 3, "no job ran twice");
    for step in ["a", "b", "c"] {
        let folder = project.path().join("outputs/p/latest").join(step);
        assert_eq!(pictures(&folder).len(), 1, "{}", folder.display());
    }
}

#[test]
fn a_result_that_was_lost_between_two_sessions_is_restored() {
    let project = Project::new();
    let flag = project.path().join("flag");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  a: {{ command: [sh, -c, \"echo x > a.txt\"], outputs: {{ it: a.txt }} }}\n  b: {{ command: [test, -e, {}], needs: [a] }}\n",
            flag.display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).code(4);
    let file = project.path().join("outputs/p/latest/a/a.txt");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&flag, "").unwrap();
    let (events, code) = resume(&project);
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\n");
    let ran = events.iter().filter(|e| e["event"] == "task_started");
    assert_eq!(ran.map(|e| &e["task"]).collect::<Vec<_>>(), [&json!("b")]);
}

#[test]
fn a_result_that_someone_edits_between_two_sessions_is_left_alone_and_goes_on_as_it_was() {
    let project = Project::new();
    let flag = project.path().join("flag");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  a: {{ command: [sh, -c, \"echo right > a.txt\"], outputs: {{ it: a.txt }} }}\n  b: {{ command: [test, -e, {}], needs: [a] }}\n  c: {{ command: [cp, \"{{{{ steps.a.file }}}}\", c.txt], outputs: {{ it: c.txt }}, needs: [b] }}\n",
            flag.display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).code(4);
    let latest = project.path().join("outputs/p/latest");
    let file = latest.join("a/a.txt");
    std::fs::write(&file, "mine\n").unwrap();
    std::fs::write(&flag, "").unwrap();
    project.kiln(&["run", "p.yaml", "--resume", "last"]).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine\n");
    let made = std::fs::read_to_string(latest.join("c/c.txt"));
    assert_eq!(made.unwrap(), "right\n");
}

#[test]
fn a_server_of_a_pool_that_dies_loses_no_task() {
    let (first, second) = (
        Server::start(&["--jobs", "1"]),
        Server::start(&["--jobs", "1"]),
    );
    let project = Project::new();
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  farm: {{ urls: [{}, {}], max_jobs: 1, lost_after: 1s }}\ndefault_server: farm\n",
            first.url, second.url
        ),
    );
    project.file(
        "p.yaml",
        "steps:\n  draw:\n    workflow: w.json\n    matrix: { i: [1, 2, 3, 4, 5, 6] }\n    set: { EmptyImage: { color: \"{{ matrix.i }}\" } }\n    save_as: \"{{ matrix.i }}\"\n",
    );
    project.file("w.json", slow(1, 6));
    let mut run = Running::start(&project, &["p.yaml"]);
    run.until("task_finished");
    drop(first);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    for i in 1..=6 {
        let file = format!("outputs/p/latest/draw/{i}.png");
        assert!(project.path().join(&file).exists(), "{file}");
    }
    assert!(second.carried_out("slow") > 0);
}

#[test]
fn a_pool_of_which_nothing_is_left_fails_as_a_server_that_is_away() {
    let (first, second) = (Server::start(&[]), Server::start(&[]));
    let project = Project::new();
    let flag = project.path().join("flag");
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  farm: {{ urls: [{}, {}], lost_after: 1s }}\ndefault_server: farm\n",
            first.url, second.url
        ),
    );
    project.file(
        "p.yaml",
        format!(
            "steps:\n  wait: {{ command: [sh, -c, \"until test -e {}; do sleep 0.1; done\"] }}\n  draw: {{ workflow: w.json, needs: [wait] }}\n",
            flag.display()
        ),
    );
    project.file("w.json", slow(1, 2));
    let mut run = Running::start(&project, &["p.yaml"]);
    run.until("task_executing");
    drop((first, second));
    std::fs::write(&flag, "").unwrap();
    assert_eq!(run.end(), 5, "{:#?}", run.events);
    let diagnostic = &run.finished("draw")["diagnostic"];
    assert_eq!(diagnostic["code"], "K0401", "{diagnostic}");
}

#[test]
fn another_process_can_stop_a_run() {
    let project = Project::new();
    let slow = "trap 'sleep 1.5; exit' TERM; echo here >&2; sleep 300 & wait";
    project.file(
        "p.yaml",
        format!("steps:\n  long: {{ command: [sh, -c, \"{slow}\"] }}\n"),
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    let event = run.until("task_output");
    let id = event["run"].as_str().unwrap().to_owned();
    project.kiln(&["cancel", &id]).ok();
    assert_eq!(run.end(), 130, "{:#?}", run.events);
    let stopping = run.events.iter().filter(|e| e["event"] == "run_stopping");
    let reasons: Vec<&Value> = stopping.map(|e| &e["reason"]).collect();
    assert_eq!(reasons, [&json!("requested")]);
}
