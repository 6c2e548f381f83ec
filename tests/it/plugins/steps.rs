//! Steps that plugins carry out, and functions and filters for templates.

use super::{noted, project};
use crate::support::{Project, files};

const JOIN: &str = "steps:
  draw: { workflow: card.json, matrix: { i: [1, 2] }, set: { Card: { color: \"{{ matrix.i }}\" } } }
  join:
    plugin: trial
    with: { images: \"{{ steps.draw.images }}\", text: \"{{ 'end' | backwards }}\", columns: 2 }
    save_as: joined
  use: { command: [cat, \"{{ steps.join.outputs.sheet.file }}\"], save_as: used }
";

#[test]
fn a_step_gets_files_and_values_and_its_files_are_results_like_all_others() {
    let project = project("", JOIN);
    project
        .kiln(&["check", "p.yaml", "--deny", "warnings"])
        .ok();
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let text = project.result("join/joined.txt");
    assert!(
        text.contains("card_00001_.png image ") && text.ends_with("\ndne"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 3);
    assert_eq!(project.result("use/used.txt"), text);
    let events = done.json_lines();
    let finished = events
        .iter()
        .find(|e| e["event"] == "task_finished" && e["task"] == "join");
    let outputs = &finished.unwrap()["outputs"];
    assert_eq!(outputs[0]["text"], "3 lines");
    assert_eq!(outputs[0]["output"], "list");
    assert_eq!(outputs[1]["output"], "sheet");
    let progress = events
        .iter()
        .find(|e| e["event"] == "task_progress" && e["task"] == "join");
    assert_eq!(progress.unwrap()["node_title"], "half of it");
    let record = std::fs::read_to_string(
        project
            .path()
            .join("outputs/p/latest/join/joined.txt.kiln.json"),
    );
    let record: serde_json::Value = serde_json::from_str(&record.unwrap()).unwrap();
    assert_eq!(record["with"]["columns"], 2);
    assert_eq!(record["plugins"][0]["name"], "trial");
    assert_eq!(record["inputs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_step_is_not_done_again_until_something_that_it_is_given_changes() {
    // What uses it is a command without outputs, which always runs.
    let join = JOIN.split("  use:").next().unwrap();
    let project = project("", join);
    project.kiln(&["run", "p.yaml"]).ok();
    project.kiln(&["run", "p.yaml"]).ok().says("nothing to do");
    project.file("p.yaml", join.replace("columns: 2", "columns: 3"));
    let plan = project.kiln(&["plan", "p.yaml"]).ok();
    assert!(plan.stdout.contains("with.columns"), "{}", plan.stdout);
    project.kiln(&["run", "p.yaml"]).ok().says("cached");
}

#[test]
fn what_makes_no_sense_as_an_answer_of_a_step_is_refused() {
    for (answer, words) in [
        ("steal", "which does not lie in the call's folder"),
        ("huge", "and kiln takes no more than 16777216"),
        ("heavy", "kiln did not take the artifact"),
    ] {
        let pipeline = format!("steps:\n  it: {{ plugin: trial, with: {{ answer: {answer} }} }}\n");
        let project = project("", &pipeline);
        project.kiln(&["run", "p.yaml"]).code(4).says(words);
    }
}

#[test]
fn functions_and_filters_of_plugins_work_wherever_templates_do() {
    let pipeline = "params: { word: { type: string, default: \"{{ 'olleh' | backwards }}\" } }
steps:
  draw: { workflow: card.json, when: score(params.word) == 5 }
  size:
    command: [echo, \"{{ score(steps.draw.image) }} {{ score(text='x', n=1) if false else 'no' }}\"]
    retry: { attempts: 2, until: score(result.text) > 3 }
    save_as: size
";
    let project = project("", pipeline);
    project.kiln(&["check", "p.yaml"]).ok();
    project.kiln(&["run", "p.yaml"]).ok();
    let folder = project.path().join("outputs/p/latest");
    let name = &files(&folder.join("draw"))[0];
    let size = folder.join("draw").join(name).metadata().unwrap().len();
    assert_eq!(project.result("size/size.txt"), format!("{size} no"));
}

#[test]
fn a_function_that_fails_is_shown_where_it_is_called_and_a_misspelt_one_is_answered() {
    let project = project(
        "",
        "steps:\n  a: { command: [echo, \"{{ fails(1) }}\"] }\n  b: { command: [echo, \"{{ scroe(1) }}\"] }\n",
    );
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    insta::assert_snapshot!(done.stderr);
}

#[test]
fn a_secret_is_given_to_a_step_and_to_no_function() {
    let project = project(
        "",
        "steps:\n  it: { plugin: trial, with: { text: \"{{ secret('MY_TEST_KEY') }}\" }, save_as: it }\n",
    );
    let log = project.path().join("log");
    super::declare(
        &project,
        &super::trial(),
        &format!("config: {{ log: {} }}", log.display()),
    );
    let run = |project: &Project| {
        let mut command = project.command(&["run", "p.yaml", "--output", "json"]);
        crate::support::finish(command.env("MY_TEST_KEY", "hunter2-very-long"))
    };
    let done = run(&project).ok();
    assert!(
        noted(&project)
            .iter()
            .any(|line| line.contains("hunter2-very-long"))
    );
    assert!(!done.stdout.contains("hunter2"));
    project.file(
        "p.yaml",
        "steps:\n  it: { command: [echo, \"{{ score(secret('MY_TEST_KEY')) }}\"] }\n",
    );
    let done = run(&project).code(3);
    assert!(
        done.stdout.contains("a secret cannot be given to `score`"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_secret_is_not_held_against_a_schema_that_never_sees_it() {
    let project = project(
        "config: { url: \"{{ secret('MY_TEST_URL') }}\" }",
        "steps:\n  it: { plugin: trial, with: { url: \"{{ secret('MY_TEST_URL') }}\" } }\n",
    );
    let mut command = project.command(&["run", "p.yaml"]);
    crate::support::finish(command.env("MY_TEST_URL", "https://example.org/hook")).ok();
    let declared = std::fs::read_to_string(project.path().join("kiln.yaml")).unwrap();
    project.file(
        "kiln.yaml",
        declared.replace("{{ secret('MY_TEST_URL') }}", "ftp"),
    );
    project.kiln(&["check", "p.yaml"]).code(3).says("K0603");
}

#[test]
fn a_plugin_in_c_that_was_built_from_the_header_works() {
    let project = Project::of(&[(
        "p.yaml",
        "steps:\n  it: { plugin: trial }\n  say: { command: [echo, \"{{ 'x' | in_c }}\"] }\n",
    )]);
    let library = super::in_c(project.path(), "good.c", "");
    for isolation in ["none", "process"] {
        super::declare(&project, &library, &format!("isolation: {isolation}"));
        let done = project
            .kiln(&["run", "p.yaml", "--output", "json", "--force"])
            .ok();
        for words in ["added from C", "answered from C", "C was here", "made in C"] {
            assert!(
                done.stdout.contains(words),
                "{isolation}: no {words:?} in {}",
                done.stdout
            );
        }
    }
}

#[test]
fn a_plugin_that_was_built_against_version_1_0_still_loads() {
    let project = Project::of(&[("p.yaml", "steps:\n  it: { plugin: trial }\n")]);
    let library = super::library("kiln_frozen_plugin");
    super::declare(&project, &library, "config: { greeting: good day }");
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert!(done.stdout.contains("good day from 1.0"), "{}", done.stdout);
}
