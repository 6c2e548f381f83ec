//! Attempts, conditions and steps that grow: which tasks run, how often, and what becomes of the rest.

use serde_json::{Value, json};

use crate::support::{Project, Server, settled, slow};

fn project(pipeline: &str) -> Project {
    Project::of(&[("p.yaml", pipeline)])
}

/// How each task ended, in the order in which they did.
fn ends(events: &[Value]) -> Vec<(String, String)> {
    let ends = events.iter().filter(|e| e["event"] == "task_finished");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ends.map(|e| (text(&e["task"]), text(&e["status"])))
        .collect()
}

#[track_caller]
fn end(events: &[Value], task: &str) -> String {
    let ends = ends(events);
    let found = ends.iter().find(|(name, _)| name == task);
    found
        .unwrap_or_else(|| panic!("{task} in {ends:?}"))
        .1
        .clone()
}

fn json_run(project: &Project, more: &[&str], code: i32) -> Vec<Value> {
    let mut args = vec!["run", "p.yaml", "--output", "json"];
    args.extend(more);
    project.kiln(&args).code(code).json_lines()
}

#[test]
fn a_failed_attempt_is_followed_by_another_one() {
    let project = project(
        "steps:\n  try:\n    command: [sh, -c, \"test {{ task.attempt }} = 3\"]\n    retry: { attempts: 3, delay: 5ms, for: [node_error] }\n",
    );
    let events = json_run(&project, &[], 0);
    let retried: Vec<_> = events
        .iter()
        .filter(|e| e["event"] == "task_retried")
        .collect();
    assert_eq!(retried.len(), 2);
    assert_eq!(retried[1]["attempt"], 3);
    assert_eq!(retried[1]["class"], "node_error");
    assert!(
        retried[1]["reason"]
            .as_str()
            .unwrap()
            .contains("exit code 1")
    );
    assert_eq!(end(&events, "try"), "done");
}

#[test]
fn a_program_whose_step_says_retry_is_tried_again_and_one_whose_pipeline_does_is_not() {
    let project = Project::new();
    let fails = "command: [sh, -c, \"test {{ task.attempt }} = 2\"]";
    let retry = "retry: { attempts: 2, delay: 1ms }";
    project.file(
        "p.yaml",
        format!("steps:\n  try:\n    {fails}\n    {retry}\n"),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    project.file("p.yaml", format!("{retry}\nsteps:\n  try:\n    {fails}\n"));
    project.kiln(&["run", "p.yaml"]).code(4);
}

#[test]
fn a_class_that_retry_does_not_name_is_not_tried_again() {
    let project = project(
        "steps:\n  try:\n    command: [\"false\"]\n    retry: { attempts: 3, delay: 5ms, for: [timeout] }\n",
    );
    let events = json_run(&project, &[], 4);
    assert!(events.iter().all(|e| e["event"] != "task_retried"));
}

#[test]
fn a_result_that_until_rejects_is_made_again() {
    let project = project(
        "steps:\n  roll:\n    command: [sh, -c, \"echo {{ task.attempt }} | tee n.dat\"]\n    outputs: { n: n.dat }\n    retry: { attempts: 4, delay: 1ms, for: [rejected], until: result.text == '3' }\n",
    );
    let events = json_run(&project, &[], 0);
    assert_eq!(
        events
            .iter()
            .filter(|e| e["event"] == "task_retried")
            .count(),
        2
    );
    let made = project.path().join("outputs/p/latest/roll/n.dat");
    assert_eq!(std::fs::read_to_string(made).unwrap(), "3\n");
}

#[test]
fn until_judges_an_earlier_result_by_what_it_was() {
    let project = project(
        "steps:\n  roll:\n    command: [sh, -c, \"echo 3 > n.txt\"]\n    outputs: { n: n.txt }\n    retry: { attempts: 1, until: \"read_text(result.file) | trim == '3'\" }\n  show: { command: [echo, x], needs: [roll] }\n",
    );
    let outputs = project.path().join("outputs");
    let made = outputs.join("p/latest/roll/n.txt");
    assert_eq!(end(&json_run(&project, &[], 0), "roll"), "done");
    std::fs::write(&made, "9\n").unwrap();
    assert_eq!(end(&json_run(&project, &[], 0), "roll"), "cached");
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "3\n");
    std::fs::remove_dir_all(&outputs).unwrap();
    assert_eq!(end(&json_run(&project, &[], 0), "roll"), "cached");
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "3\n");
}

#[test]
fn an_earlier_result_that_until_does_not_want_is_made_again_and_that_is_said() {
    let pipeline = |wanted: &str| {
        format!(
            "steps:\n  roll:\n    command: [sh, -c, \"date +%N > n.txt\"]\n    outputs: {{ n: n.txt }}\n    retry: {{ attempts: 1, until: \"{wanted}\" }}\n  show: {{ command: [echo, x], needs: [roll] }}\n"
        )
    };
    let project = project(&pipeline("true"));
    json_run(&project, &[], 0);
    let made = project.path().join("outputs/p/latest/roll/n.txt");
    let first = std::fs::read_to_string(&made).unwrap();
    project.file(
        "p.yaml",
        pipeline(&format!(
            "read_text(result.file) | trim != '{}'",
            first.trim()
        )),
    );
    let events = json_run(&project, &[], 0);
    assert_eq!(end(&events, "roll"), "done");
    assert_ne!(std::fs::read_to_string(&made).unwrap(), first);
    let shown = project.kiln(&["show", "last", "roll"]).ok().stdout;
    assert!(shown.contains("is not what `until` wants"), "{shown}");
}

#[test]
fn a_result_that_until_never_takes() {
    let project = project(
        "steps:\n  roll:\n    command: [echo, bad]\n    retry:\n      attempts: 2\n      delay: 1ms\n      for: [rejected]\n      until: result.text == 'good'\n",
    );
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
}

#[test]
fn keep_going_skips_only_what_depends_on_a_failure() {
    let project = project(
        r#"steps:
  bad: { command: ["false"] }
  after: { command: [echo, x], needs: [bad] }
  anyway: { command: [echo, x], needs: [{ step: bad, optional: true }] }
  other: { command: [sleep, "0.2"] }
  later: { command: [echo, x], needs: [other] }
"#,
    );
    let events = json_run(&project, &["--keep-going"], 4);
    assert_eq!(end(&events, "bad"), "failed");
    assert_eq!(end(&events, "after"), "skipped");
    assert_eq!(end(&events, "anyway"), "done");
    assert_eq!(end(&events, "later"), "done");
    assert_eq!(events.last().unwrap()["cause"], "bad");
    let events = json_run(&project, &[], 4);
    assert_eq!(
        end(&events, "later"),
        "skipped",
        "without it nothing new starts"
    );
}

#[test]
fn a_step_that_is_not_wanted_takes_its_dependants_with_it() {
    let project = project(
        r#"steps:
  ask: { command: [echo, "no"] }
  maybe: { command: [echo, x], when: steps.ask.text == 'yes' }
  then: { command: [echo, x], needs: [maybe] }
  anyway:
    command: [echo, "{{ steps.maybe.status }}"]
    needs: [{ step: maybe, optional: true }]
"#,
    );
    let events = json_run(&project, &[], 0);
    assert_eq!(end(&events, "maybe"), "skipped");
    assert_eq!(end(&events, "then"), "skipped");
    let anyway = events
        .iter()
        .find(|e| e["event"] == "task_finished" && e["task"] == "anyway");
    assert_eq!(anyway.unwrap()["outputs"][0]["text"], "skipped");
}

#[test]
fn a_step_grows_with_what_another_one_found_out() {
    let project = project(
        r#"steps:
  list: { command: [echo, '["cat", "dog", "cow"]'] }
  each:
    for_each: "{{ steps.list.data + ['fox'] }}"
    command: [echo, "a {{ item }}"]
  all:
    command: [printf, "%s,", "{{ steps.each.texts }}"]
"#,
    );
    let events = json_run(&project, &[], 0);
    let added = events.iter().find(|e| e["event"] == "tasks_added").unwrap();
    let names: Vec<_> = added["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["task"])
        .collect();
    assert_eq!(
        json!(names),
        json!(["each[cat]", "each[dog]", "each[cow]", "each[fox]"])
    );
    let all = events
        .iter()
        .find(|e| e["event"] == "task_finished" && e["task"] == "all");
    assert_eq!(
        all.unwrap()["outputs"][0]["text"],
        "a cat,a dog,a cow,a fox,"
    );
}

#[test]
fn a_list_that_cannot_be_evaluated_fails_its_step() {
    let project = project(
        "steps:\n  list: { command: [echo, '{}'] }\n  each:\n    for_each: \"{{ steps.list.data.none + [1] }}\"\n    command: [echo, \"{{ item }}\"]\n",
    );
    let events = json_run(&project, &[], 4);
    assert_eq!(end(&events, "list"), "done");
    let told = events.iter().find(|e| e["event"] == "diagnostic").unwrap();
    let message = told["diagnostic"]["message"].as_str().unwrap();
    assert!(message.starts_with("step `each`: "), "{message}");
    assert_eq!(told["diagnostic"]["line"], 4);
    assert_eq!(events.last().unwrap()["cause"], "each");
}

#[test]
fn a_streaming_step_begins_before_its_source_has_ended() {
    let project = project(
        r#"max_parallel: 2
steps:
  base:
    matrix: { i: [0, 1] }
    command: [sh, -c, "sleep {{ matrix.i }}; echo {{ matrix.i }}"]
  up:
    for_each: steps.base
    command: [echo, "{{ item.text }} of {{ item.name }}"]
"#,
    );
    let events = json_run(&project, &[], 0);
    let ends = ends(&events);
    let order: Vec<&str> = ends.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        order,
        ["base[i=0]", "up[base[i=0]]", "base[i=1]", "up[base[i=1]]"]
    );
}

#[test]
fn a_job_that_executes_for_too_long_is_cancelled_on_its_server() {
    let server = Server::start(&["--jobs", "1"]);
    let project = project("steps:\n  slow: { workflow: slow.json, timeout: 300ms }\n");
    project.file("slow.json", slow(77, 30).to_string());
    let events = json_run(&project, &["--server", &server.url], 4);
    let last = events
        .iter()
        .find(|e| e["event"] == "task_finished")
        .unwrap();
    assert_eq!(last["diagnostic"]["code"], "K0512");
    let message = last["diagnostic"]["message"].as_str().unwrap();
    assert!(
        message.contains("it ran for longer than 300ms on server"),
        "{message}"
    );
}

#[test]
fn claims_are_never_exceeded() {
    let project = project("");
    let log = project.path().join("log");
    project.file(
        "p.yaml",
        format!(
            r#"limits: {{ one: 1 }}
steps:
  each:
    matrix: {{ i: [1, 2, 3, 4] }}
    claims: {{ one: 1 }}
    command: [sh, -c, "echo in >> {log}; sleep 0.1; echo out >> {log}"]
"#,
            log = log.display()
        ),
    );
    json_run(&project, &[], 0);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "in\nout\n".repeat(4));
}

#[test]
fn a_run_that_keeps_going_starts_nothing_new_after_so_many_failures() {
    let project = project(
        "max_parallel: 1\nsteps:\n  bad:\n    matrix: { i: \"{{ range(6) }}\" }\n    command: [sh, -c, \"exit 3\"]\n",
    );
    let events = json_run(&project, &["--keep-going", "--max-fail", "2"], 4);
    let failed = ends(&events).iter().filter(|e| e.1 == "failed").count();
    assert_eq!(failed, 2, "{:?}", ends(&events));
    assert_eq!(ends(&events).len(), 6, "every task has an end");
}

#[test]
fn a_run_whose_time_is_up_stops_what_runs_and_starts_nothing() {
    let project = project(
        "steps:\n  long: { command: [sleep, \"60\"] }\n  after: { command: [\"true\"], needs: [long] }\n",
    );
    let began = std::time::Instant::now();
    let done = project.kiln(&["run", "p.yaml", "--output", "json", "--timeout", "300ms"]);
    assert!(done.code != 0, "{}", done.stdout);
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
    let events = done.json_lines();
    assert_eq!(end(&events, "long"), "cancelled");
    assert_ne!(end(&events, "after"), "done");
    assert_eq!(events.last().unwrap()["event"], "run_finished");
}
