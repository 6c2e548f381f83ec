//! What plugins hear: every event of a run and every message of its jobs.

use serde_json::Value;

use super::{DRAW, noted, project};
use crate::support::{Project, Running, Server, files, wait_for};

fn logging(project: &Project, more: &str) {
    let log = project.path().join("log");
    super::declare(
        project,
        &super::trial(),
        &format!("config: {{ log: {}{more} }}", log.display()),
    );
}

#[test]
fn a_plugin_hears_every_event_of_a_run_in_order() {
    let project = project("", DRAW);
    logging(&project, ", whole: true");
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let lines = noted(&project);
    let heard: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("run "))
        .filter(|line| !line.starts_with("task_progress"))
        .collect();
    let told: Vec<String> = done
        .json_lines()
        .iter()
        .map(|event| {
            let name = event["event"].as_str().unwrap();
            let task = event["task"].as_str().unwrap_or_default();
            format!("{name} {task}").trim_end().to_owned()
        })
        .filter(|line| !line.starts_with("task_progress"))
        .collect();
    assert_eq!(heard, told);
    // It is the same JSON, but for its place in the stream.
    let whole: Vec<Value> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("json run_event "))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    let finished = whole
        .iter()
        .find(|event| event["event"] == "task_finished")
        .unwrap();
    let told = done.json_lines();
    let told = told
        .iter()
        .find(|event| event["event"] == "task_finished")
        .unwrap();
    for member in ["v", "run", "task", "status", "outputs", "seconds"] {
        assert_eq!(finished[member], told[member], "{member}");
    }
    assert_eq!(finished["kind"], "run");
}

#[test]
fn a_plugin_hears_every_message_about_a_job_and_sees_its_previews() {
    let project = project(
        "",
        "server: sketch\nsteps:\n  draw: { workflow: txt2img.json }\n",
    );
    let workflow = crate::support::repository().join("pipelines/workflows/txt2img.json");
    project.file("txt2img.json", std::fs::read(workflow).unwrap());
    let log = project.path().join("log");
    project.file(
        "kiln.yaml",
        format!(
            "servers: {{ sketch: {{ kind: embedded, simulate: true }} }}\nplugins:\n  trial: {{ path: {}, config: {{ log: {} }} }}\n",
            super::trial().display(),
            log.display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    let lines = noted(&project);
    let of = |kind: &str, task: &str| format!("server {kind} {task} \"{kind}\"");
    for line in [
        of("status", "-"),
        of("feature_flags", "-"),
        of("execution_start", "draw"),
        of("execution_cached", "draw"),
        of("executing", "draw"),
        of("progress", "draw"),
        of("progress_state", "draw"),
        of("executed", "draw"),
        of("execution_success", "draw"),
    ] {
        assert!(lines.contains(&line), "no {line:?} in {lines:#?}");
    }
    let preview = lines
        .iter()
        .find(|line| line.starts_with("preview \"draw\" \"image/"));
    assert!(preview.is_some(), "{lines:#?}");
    let at = |line: &str| lines.iter().position(|one| one == line).unwrap();
    assert!(at("run task_started draw") < at(&of("execution_start", "draw")));
    assert!(at(&of("execution_start", "draw")) < at(&of("execution_success", "draw")));
    assert!(at(&of("execution_success", "draw")) < at("run task_finished draw"));
}

#[test]
fn what_plugins_get_is_what_the_schema_of_messages_says() {
    let pipeline = "server: sketch\nsteps:\n  draw: { workflow: txt2img.json }\n  it: { plugin: trial, with: { images: \"{{ steps.draw.images }}\" } }\n";
    let project = project("", pipeline);
    let workflow = crate::support::repository().join("pipelines/workflows/txt2img.json");
    project.file("txt2img.json", std::fs::read(workflow).unwrap());
    project.file(
        "kiln.yaml",
        format!(
            "servers: {{ sketch: {{ kind: embedded, simulate: true }} }}\nplugins:\n  trial: {{ path: {}, config: {{ log: {}, whole: true }} }}\n",
            super::trial().display(),
            project.path().join("log").display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    let schema = crate::support::repository().join("plugins/sdk/schema/messages.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    jsonschema::draft7::meta::validate(&schema).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for line in noted(&project) {
        let Some((what, json)) = line
            .strip_prefix("json ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let mut one = schema.clone();
        one["$ref"] = format!("#/definitions/{what}").into();
        let message: Value = serde_json::from_str(json).unwrap();
        let validator = jsonschema::draft7::new(&one).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&message)
            .map(|e| e.to_string())
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:?}\n{json}");
        seen.insert(what.to_owned());
    }
    let all = [
        "after_download",
        "before_submit",
        "preview",
        "run_event",
        "server_event",
        "step",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn a_plugin_hears_of_errors_of_what_nobody_knows_and_of_a_nodes_own_text() {
    let server = Server::start(&[]);
    let project = project("", DRAW);
    logging(&project, ", whole: true");
    let url = crate::faults::talkative(&server.url);
    project.kiln(&["run", "p.yaml", "--server", &url]).ok();
    let lines = noted(&project);
    let of = |kind: &str, task: &str| format!("server {kind} {task} \"{kind}\"");
    for line in [
        of("execution_error", "draw"),
        of("execution_interrupted", "draw"),
        of("pack.hello", "draw"),
        of("pack.monitor", "-"),
        of("progress_text", "draw"),
    ] {
        assert!(lines.contains(&line), "no {line:?} in {lines:#?}");
    }
    let whole: Vec<Value> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("json server_event "))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    let message = |kind: &str| {
        let mut all = whole.iter();
        all.find(|event| event["type"] == kind).unwrap()["message"]["data"].clone()
    };
    assert_eq!(message("execution_error")["exception_message"], "a lie");
    assert_eq!(
        message("pack.hello")["value"],
        Value::Null,
        "NaN is no JSON"
    );
    assert_eq!(message("pack.monitor")["cpu"], 7);
    assert_eq!(message("progress_text")["text"], "half a picture");
    assert_eq!(message("progress_text")["node"], "9");
}

#[test]
fn jobs_of_others_are_nobodys_business() {
    let server = Server::start(&[]);
    let project = project("", DRAW);
    logging(&project, "");
    let theirs = server.queue(&crate::support::quick(77));
    project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .ok();
    let lines = noted(&project);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("server executed draw")),
        "{lines:#?}"
    );
    assert!(
        !std::fs::read_to_string(project.path().join("log"))
            .unwrap()
            .contains(&theirs)
    );
}

#[test]
fn a_plugin_that_lags_gets_every_event_but_not_every_bit_of_progress() {
    let pipeline = "steps:\n  draw: { workflow: card.json, matrix: { i: \"{{ range(120) }}\" }, set: { Card: { color: \"{{ matrix.i }}\" } } }\n";
    let project = project("", pipeline);
    logging(&project, ", misbehave: { event: lag }");
    project.kiln(&["run", "p.yaml"]).ok();
    let lines = noted(&project);
    let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    for name in ["started", "queued", "executing", "finished"] {
        assert_eq!(count(&format!("run task_{name}")), 120, "{name}");
    }
    assert_eq!(lines.last().map(String::as_str), Some("run run_finished"));
}

#[test]
fn a_run_waits_for_a_plugin_that_does_not_keep_up_and_loses_nothing() {
    const TASKS: usize = 400;
    let pipeline = format!(
        "steps:\n  draw: {{ workflow: card.json, matrix: {{ i: \"{{{{ range({TASKS}) }}}}\" }}, set: {{ Card: {{ color: \"{{{{ matrix.i }}}}\", width: 16, height: 16 }} }} }}\n"
    );
    let project = project("", &pipeline);
    let (gate, log) = (project.path().join("gate"), project.path().join("log"));
    // It only hears, so that no task waits for its turn.
    let lines = format!(
        "steps: [none]\ntimeout: 10m\nconfig: {{ log: {}, gate: {}, misbehave: {{ run_started: wait }} }}",
        log.display(),
        gate.display()
    );
    super::declare(&project, &super::trial(), &lines);
    let drawn = || files(&project.path().join("outputs")).len();
    let mut running = Running::start(&project, &["p.yaml"]);
    running.until("task_finished");
    // Nothing more comes, although nothing is done.
    let mut before = (drawn(), std::time::Instant::now());
    wait_for("the run to wait", || {
        if drawn() != before.0 {
            before = (drawn(), std::time::Instant::now());
        }
        (before.1.elapsed() > std::time::Duration::from_secs(2)).then_some(())
    });
    assert!(drawn() < TASKS, "it did not wait: {}", drawn());
    std::fs::write(gate, "").unwrap();
    assert_eq!(running.end(), 0);
    let lines = noted(&project);
    let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
    for name in ["started", "queued", "executing", "finished"] {
        assert_eq!(count(&format!("run task_{name}")), TASKS, "{name}");
    }
}

#[test]
fn a_run_with_nothing_to_do_is_heard_of() {
    let project = project("", DRAW);
    project.kiln(&["run", "p.yaml"]).ok();
    logging(&project, "");
    // Another config is another key: it runs once more, and then not.
    project.kiln(&["run", "p.yaml"]).ok();
    std::fs::remove_file(project.path().join("log")).unwrap();
    project.kiln(&["run", "p.yaml"]).ok().says("nothing to do");
    let lines = noted(&project);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("run run_finished"),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("before_submit")),
        "{lines:?}"
    );
}

#[test]
fn what_a_plugin_says_is_an_event_and_a_secret_in_it_is_masked() {
    let project = project(
        "config: { say: \"{{ secret('MY_TEST_KEY') }} is the key\" }",
        "steps:\n  say: { command: [echo, hi] }\n",
    );
    let mut command = project.command(&["run", "p.yaml", "--output", "json"]);
    let done = crate::support::finish(command.env("MY_TEST_KEY", "hunter2-very-long")).ok();
    let events = done.json_lines();
    let said = events
        .iter()
        .find(|event| event["event"] == "plugin_log")
        .unwrap();
    assert_eq!(said["line"], "*** is the key");
    assert_eq!(said["level"], "warn");
    assert_eq!(said["plugin"], "trial");
    assert!(!done.stdout.contains("hunter2"));
    for entry in walkdir::WalkDir::new(project.path()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(7).any(|window| window == b"hunter2");
            assert!(!found, "{} holds the secret", entry.path().display());
        }
    }
}
