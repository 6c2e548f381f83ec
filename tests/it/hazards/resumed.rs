//! A run that is gone on with: as it was planned, whatever became of its files and its servers meanwhile.

use serde_json::json;

use super::{assert_colour, invert, latest, occupy, server, servers};
use crate::support::{Project, Running, quick};

/// `before` the gate, which is open once `flag` is there, and `after` it.
fn gated(before: &str, after: &str) -> Project {
    let project = Project::with(
        "",
        &[("quick", quick(0)), ("two", quick(0)), ("invert", invert())],
    );
    let flag = project.path().join("flag");
    project.file(
        "p.yaml",
        format!(
            "params: {{ colour: {{ type: integer, default: 1 }} }}\nsteps:\n{before}  gate: {{ command: [test, -e, {}], needs: [one] }}\n{after}",
            flag.display()
        ),
    );
    project
}

const ONE: &str = "  one: { workflow: quick.json, save_as: one, set: { EmptyImage: { color: \"{{ params.colour }}\" } } }\n";
const TWO: &str = "  two: { workflow: two.json, save_as: two, needs: [gate], set: { EmptyImage: { color: \"{{ params.colour + 1 }}\" } } }\n";

fn started(run: &Running) -> Vec<&str> {
    let started = run.all("task_started");
    started
        .iter()
        .map(|event| event["task"].as_str().unwrap())
        .collect()
}

#[test]
fn the_stored_plan_is_carried_out_whatever_the_files_say_now() {
    let server = server();
    let project = gated(ONE, TWO);
    project.file(
        "kiln.yaml",
        format!(
            "servers: {{ here: {{ url: \"{}\" }} }}\ndefault_server: here\n",
            server.url
        ),
    );
    let mut first = Running::start(&project, &["p.yaml", "-p", "colour=40"]);
    assert_eq!(first.end(), 4, "{:#?}", first.events);
    std::fs::remove_file(project.path().join("two.json")).unwrap();
    project.file("quick.json", "[]");
    project.file(
        "p.yaml",
        "params: { colour: { type: integer, default: 7 } }\nsteps:\n  other: { command: [\"false\"] }\n",
    );
    project.file("kiln.yaml", "servers: { here: { url: \"http://127.0.0.1:9\" } }\ndefault_server: here\noutput_dir: elsewhere\n");
    project.file("flag", "");
    let mut again = Running::start(&project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    assert_eq!(again.events[0]["run"], first.events[0]["run"]);
    assert_eq!(started(&again), ["gate", "two"]);
    assert_colour(&latest(&project).join("one/one.png"), [0, 0, 40]);
    assert_colour(&latest(&project).join("two/two.png"), [0, 0, 41]);
    assert!(!project.path().join("elsewhere").exists());
    assert_eq!(server.carried_out("quick"), 2);
}

#[test]
fn the_stored_plan_needs_neither_a_pipeline_nor_a_sound_project_file() {
    let project = gated(ONE, TWO);
    project.file("kiln.yaml", "");
    project.kiln(&["run", "p.yaml", "-p", "colour=40"]).code(4);
    std::fs::remove_file(project.path().join("p.yaml")).unwrap();
    project.file("kiln.yaml", "servers: [no, map");
    project.file("flag", "");
    project.kiln(&["run", "--resume", "last"]).ok();
    assert_colour(&latest(&project).join("two/two.png"), [0, 0, 41]);
}

#[test]
fn who_goes_on_with_a_pipeline_that_was_mended_is_told_that_the_old_one_runs() {
    let project = Project::new();
    project.file("p.yaml", "steps:\n  it: { command: [sh, -c, exit 3] }\n");
    project.kiln(&["run", "p.yaml"]).code(4);
    let same = project.kiln(&["run", "--resume", "last"]).code(4);
    same.says_not("K0516");
    project.file("p.yaml", "steps:\n  it: { command: [sh, -c, exit 0] }\n");
    let again = project.kiln(&["run", "--resume", "last"]).code(4);
    let (complaint, _) = again.stderr.split_once("\np · ").unwrap();
    insta::assert_snapshot!(complaint);
    project.kiln(&["run", "p.yaml"]).ok();
}

/// What became of a finished task's result before the run was gone on with, and whether it had to be made again.
fn lost(file: bool, blob: bool, again: bool) {
    let server = server();
    let after = "  two: { workflow: invert.json, save_as: two, needs: [gate], set: { LoadImage: { image: \"{{ steps.one.image }}\" } } }\n";
    let project = gated(ONE, after);
    let mut first = Running::start(&project, &["p.yaml", "--server", &server.url]);
    assert_eq!(first.end(), 4, "{:#?}", first.events);
    let made = latest(&project).join("one/one.png");
    if file {
        std::fs::remove_file(&made).unwrap();
    }
    if blob {
        std::fs::remove_dir_all(project.path().join(".kiln/blobs")).unwrap();
    }
    project.file("flag", "");
    let mut second = Running::start(&project, &["--resume", "last"]);
    assert_eq!(second.end(), 0, "{:#?}", second.events);
    assert_eq!(started(&second).contains(&"one"), again);
    assert_colour(&made, [0, 0, 1]);
    assert_colour(&latest(&project).join("two/two.png"), [255, 255, 254]);
    assert_eq!(second.events.last().unwrap()["counts"]["done"], json!(3));
}

#[test]
fn a_result_whose_file_is_gone_comes_from_its_blob() {
    lost(true, false, false);
}

#[test]
fn a_result_whose_blob_is_gone_is_still_a_result() {
    lost(false, true, false);
}

#[test]
fn a_result_that_is_gone_altogether_is_made_again() {
    lost(true, true, true);
}

#[test]
fn a_finished_task_does_not_need_its_server_any_more() {
    let (gone, there) = (server(), server());
    let one = "  one: { workflow: quick.json, server: gone, save_as: one, set: { EmptyImage: { color: \"{{ params.colour }}\" } } }\n";
    let two = "  two: { workflow: invert.json, server: there, save_as: two, needs: [gate], set: { LoadImage: { image: \"{{ steps.one.image }}\" } } }\n";
    let project = gated(one, two);
    servers(
        &project,
        &[
            ("gone", format!("url: \"{}\"", gone.url)),
            ("there", format!("url: \"{}\"", there.url)),
        ],
    );
    let mut first = Running::start(&project, &["p.yaml"]);
    assert_eq!(first.end(), 4, "{:#?}", first.events);
    drop(gone);
    project.file("flag", "");
    let done = project.kiln(&["run", "--resume", "last"]).ok();
    assert!(done.stderr.contains("warning[K0401]"), "{}", done.stderr);
    assert!(
        done.stderr.contains("it is not needed any more"),
        "{}",
        done.stderr
    );
    assert_colour(&latest(&project).join("two/two.png"), [255, 255, 254]);
}

#[test]
fn a_server_that_is_still_needed_is_asked_for_before_a_run_goes_on() {
    let gone = server();
    let project = gated(ONE, TWO);
    project
        .kiln(&["run", "p.yaml", "--server", &gone.url])
        .code(4);
    drop(gone);
    project.file("flag", "");
    let refused = project.kiln(&["run", "--resume", "last"]).code(5);
    assert!(
        refused.stderr.contains("error[K0401]"),
        "{}",
        refused.stderr
    );
}

#[test]
fn results_of_an_endpoint_that_is_gone_for_good_are_taken_from_here() {
    let (gone, there) = (server(), server());
    // What is drawn is drawn on the first of the pool: the other one has somebody else's job.
    let theirs = occupy(&there);
    let one = "  one: { workflow: quick.json, server: farm, save_as: one, set: { EmptyImage: { color: \"{{ params.colour }}\" } } }\n";
    let two = "  two: { workflow: invert.json, server: farm, save_as: two, needs: [gate], set: { LoadImage: { image: \"{{ steps.one.image }}\" } } }\n";
    let project = gated(one, two);
    servers(
        &project,
        &[(
            "farm",
            format!(
                "urls: [\"{}\", \"{}\"], lost_after: 1s",
                gone.url, there.url
            ),
        )],
    );
    let mut first = Running::start(&project, &["p.yaml"]);
    assert_eq!(first.end(), 4, "{:#?}", first.events);
    assert_eq!(gone.carried_out("quick"), 1);
    there.interrupt(&theirs);
    drop(gone);
    project.file("flag", "");
    let mut second = Running::start(&project, &["--resume", "last"]);
    assert_eq!(second.end(), 0, "{:#?}", second.events);
    assert_colour(&latest(&project).join("two/two.png"), [255, 255, 254]);
    assert_eq!(there.carried_out("invert"), 1);
}
