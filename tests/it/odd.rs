//! Odd files and odd command lines: nothing is passed over in silence, nothing is told twice, and every place is the right one.

use std::io::Write;
use std::process::Stdio;

use crate::support::{CARD, Done, Project, finish};

fn project() -> Project {
    Project::of(&[("w.json", CARD), ("p.yaml", &step(""))])
}

fn step(rest: &str) -> String {
    format!("steps:\n  a:\n    workflow: w.json\n{rest}")
}

/// What `kiln check` says of one step with these lines.
fn check(rest: &str) -> Done {
    let project = project();
    project.file("p.yaml", step(rest));
    project.kiln(&["check", "p.yaml"])
}

#[track_caller]
fn says(done: &Done, code: i32, texts: &[&str]) {
    assert_eq!(done.code, code, "{}", done.stderr);
    for text in texts {
        done.says(text);
    }
}

fn with_stdin(project: &Project, args: &[&str], text: &[u8]) -> Done {
    let mut child = project
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_set_flag_that_names_no_input_is_refused() {
    for target in ["a.Card=5", "a.Card.=5"] {
        let done = project().kiln(&["plan", "p.yaml", "--set", target]);
        says(&done, 2, &["which input of `Card` to set is not said"]);
    }
}

#[test]
fn one_input_set_under_two_names_of_its_node_is_an_error() {
    let done = check("    set: { Card: { width: 1 }, EmptyImage: { width: 2 } }\n");
    says(
        &done,
        3,
        &[
            "[K0123]",
            "p.yaml:4:46",
            "`width` of `Card` (node 1) is set twice",
        ],
    );
    assert_eq!(
        check("    set: { Card: { width: 1 }, EmptyImage: { height: 2 } }\n").code,
        0
    );
}

#[test]
fn outputs_must_name_nodes_that_save_or_show() {
    let done = check("    outputs: { x: Card }\n");
    says(
        &done,
        3,
        &[
            "p.yaml:4:19",
            "the output `x` names `Card` (node 1), which saves and shows nothing",
            "nodes that do: `Save`",
            "1 error;",
        ],
    );
}

#[test]
fn a_required_input_that_set_removes_is_shown_in_the_pipeline() {
    says(
        &check("    set: { Card: { color: null } }\n"),
        3,
        &["[K0202]", "p.yaml:4:27"],
    );
}

#[test]
fn members_of_task_run_and_file_are_known_before_a_run() {
    for (rest, message) in [
        (
            "    save_as: '{{ file.foo }}'\n",
            "`file.foo` is not defined",
        ),
        (
            "    save_as: '{{ task.index }}-{{ task.nope }}'\n",
            "`task.nope` is not defined",
        ),
        ("    save_as: '{{ run.idd }}'\n", "did you mean `run.id`?"),
        (
            "    outputs: { pic: Save }\n  b:\n    workflow: w.json\n    set: { Save: { filename_prefix: '{{ steps.a.outputs.pik.image.name }}' } }\n",
            "did you mean `steps.a.outputs.pic`?",
        ),
    ] {
        says(&check(rest), 3, &[message]);
    }
    says(
        &check("    save_as: '{{ file.index }}-{{ run.id }}'\n"),
        0,
        &[],
    );
}

#[test]
fn a_path_for_results_is_one_line_and_names_a_file() {
    for bad in ["a/", "a\\nb", "C:x", &"x".repeat(300)] {
        says(
            &check(&format!("    save_as: \"{bad}\"\n")),
            3,
            &["[K0119]"],
        );
    }
}

#[test]
fn a_wrong_server_is_told_once_however_many_steps_there_are() {
    let project = project();
    project.file(
        "p.yaml",
        format!("{}  b: {{ workflow: w.json }}\n", step("")),
    );
    for (server, help) in [
        ("lokal", "did you mean `local`?"),
        ("127.0.0.1:8188", "`http://127.0.0.1:8188`"),
        ("http://", "known servers"),
    ] {
        let done = project.kiln(&["plan", "p.yaml", "--server", server]);
        says(&done, 2, &[help, "\n1 error;"]);
    }
}

#[test]
fn a_value_that_yaml_cannot_hold_is_told_once() {
    for text in [".nan", "99999999999999999999999"] {
        let project = project();
        project.file("p.yaml", format!("version: {text}\n{}", step("")));
        says(
            &project.kiln(&["check", "p.yaml"]),
            3,
            &["p.yaml:1:10", "\n1 error;"],
        );
    }
}

#[test]
fn lines_that_end_in_crlf_are_shown_without_it() {
    let project = project();
    project.file("p.yaml", step("    sets: {}\n").replace('\n', "\r\n"));
    let done = project.kiln(&["check", "p.yaml"]);
    says(&done, 3, &["p.yaml:4:5", "4 |     sets: {}\n"]);
}

#[test]
fn a_place_in_a_very_long_line_keeps_its_column() {
    let project = project();
    let long = "y".repeat(5000);
    project.file(
        "w.json",
        CARD.replace('\n', "")
            .replace("\"card\"", &format!("\"{long}\", \"foo\": 1")),
    );
    let done = project.kiln(&["check", "p.yaml"]);
    let column = CARD.replace('\n', "").find("\"card\"").unwrap() + long.len() + 5;
    says(&done, 0, &[&format!("w.json:1:{column}"), "\"foo\": 1"]);
    assert!(
        done.stderr.lines().all(|l| l.chars().count() < 200),
        "{}",
        done.stderr
    );
}

#[test]
fn stdin_may_begin_with_a_byte_order_mark_and_stands_for_one_file() {
    let project = project();
    let mut text = b"\xef\xbb\xbf".to_vec();
    text.extend(CARD.bytes());
    says(&with_stdin(&project, &["check", "-"], &text), 0, &["ok -"]);
    let done = with_stdin(
        &project,
        &["plan", "-", "--params", "-"],
        step("").as_bytes(),
    );
    says(&done, 3, &["`-` can stand for one file only"]);
    let done = with_stdin(&project, &["check", "p.yaml", "--catalog", "-"], b"{}");
    says(
        &done,
        3,
        &["the server lacks 2 node classes of this workflow"],
    );
}

#[test]
fn a_file_of_params_is_read_like_a_pipeline() {
    let project = project();
    project.file(
        "p.yaml",
        format!(
            "params: {{ n: {{ type: integer, default: 1, maximum: 9 }} }}\n{}",
            step("")
        ),
    );
    for (text, code, told) in [
        ("n: 10\n", 3, &["v.yaml:1:4", "must be at most 9"][..]),
        (
            "n: 1\nm: 2\n",
            3,
            &["v.yaml:2:1", "the pipeline has no param `m`"],
        ),
        ("n: 1\nn: 2\n", 3, &["v.yaml:2:1", "[K0123]"]),
        ("- n\n", 3, &["v.yaml:1:1", "[K0102]"]),
        ("", 0, &[]),
        ("{\"n\": 3}", 0, &[]),
    ] {
        project.file("v.yaml", text);
        says(
            &project.kiln(&["plan", "p.yaml", "--params", "v.yaml"]),
            code,
            told,
        );
    }
}

#[test]
fn the_name_of_a_pipeline_is_no_template() {
    let project = project();
    project.file("p.yaml", format!("name: '{{{{ x }}}}'\n{}", step("")));
    let done = project.kiln(&["check", "p.yaml"]);
    says(&done, 3, &["p.yaml:1:7", "`name` cannot contain templates"]);
}

#[test]
fn a_flag_without_its_value_is_told_so() {
    let project = project();
    project.file(
        "p.yaml",
        format!(
            "params: {{ n: {{ type: integer, default: 1 }} }}\n{}",
            step("")
        ),
    );
    let said = |args: &[&str]| project.kiln(&[&["plan", "p.yaml"], args].concat());
    says(
        &said(&["-p", "=1"]),
        2,
        &["a param needs a name and a value"],
    );
    says(&said(&["-p", "n="]), 2, &["nothing stands after the `=`"]);
    says(
        &said(&["--server", ""]),
        2,
        &["a value is required for '--server"],
    );
    says(
        &said(&["--seed", "-1"]),
        2,
        &["invalid value '-1' for '--seed"],
    );
}

#[test]
fn a_catalog_that_was_typed_wins_over_the_environment() {
    let project = project();
    project.file("empty.json", "{}");
    let mut command = project.command(&["check", "p.yaml", "--catalog", "empty.json"]);
    let done = finish(command.env("KILN_SERVER", "http://127.0.0.1:1"));
    says(
        &done,
        3,
        &["the server lacks 2 node classes of this workflow"],
    );
    let mut command = project.command(&["check", "p.yaml"]);
    let done = finish(command.env("KILN_SERVER", "lokal"));
    says(&done, 2, &["there is no server `lokal`"]);
}

#[test]
fn the_project_file_is_checked_alone_and_not_taken_for_a_pipeline() {
    let project = project();
    project.file("kiln.yaml", "default_server: embedded\n");
    let done = project.kiln(&["check", "kiln.yaml"]).ok();
    assert_eq!(done.stderr, "ok kiln.yaml\n");
    project.file("kiln.yaml", "default_sever: embedded\n");
    let done = project.kiln(&["check", "kiln.yaml"]);
    says(
        &done,
        3,
        &[
            "no key `default_sever`",
            "kiln.yaml:1:1",
            "`default_server`",
        ],
    );
    project.file("kiln.yaml", "default_server: embedded\n");
    let done = project.kiln(&["plan", "kiln.yaml"]);
    says(&done, 2, &["`kiln.yaml` is the project file", "\n1 error;"]);
}

#[test]
fn help_is_plain_text() {
    for command in ["run", "check", "plan", "serve", "schema", "explain", "init"] {
        let done = project().kiln(&[command, "--help"]).ok();
        assert!(!done.stdout.contains("`ComfyUI`") && !done.stdout.contains("`object_info`"));
    }
    assert!(
        project()
            .kiln(&["--help"])
            .ok()
            .stdout
            .starts_with("Run pipelines of ComfyUI")
    );
}
