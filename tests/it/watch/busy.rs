//! Changes in the middle of a run.

use serde_json::Value;

use super::watched::Watched;
use crate::support::{Project, Server, blurred, files, wait_for};

const STEPS: &str = "steps:\n  keep: { workflow: keep.json }\n  stale: { workflow: stale.json }\n  after: { workflow: after.json, needs: [keep, stale] }\n";

/// A picture that takes a while, saved under its own name.
fn slow(name: &str, colour: u32, nodes: usize) -> String {
    let mut graph: Value = blurred(colour, 1500, nodes);
    graph["99"]["inputs"]["filename_prefix"] = name.into();
    graph.to_string()
}

fn project() -> Project {
    Project::of(&[
        ("kiln.yaml", ""),
        ("p.yaml", STEPS),
        ("keep.json", &slow("keep", 1, 16)),
        ("stale.json", &slow("stale", 2, 16)),
        ("after.json", &slow("after", 3, 2)),
    ])
}

fn both_running(server: &Server) {
    wait_for("both jobs to run", || {
        (server.jobs().0.len() == 2).then_some(())
    });
}

#[test]
fn what_is_stale_is_cancelled_on_the_server_and_what_is_not_is_let_finish() {
    let server = Server::start(&["--jobs", "2"]);
    let project = project();
    let mut watched = Watched::start(&project, &["p.yaml", "--server", &server.url]);
    both_running(&server);
    project.file("stale.json", slow("stale", 4, 2));
    let heard = watched.says("↻ stale.json · stale");
    assert!(heard.contains("· then after · 1 stays"), "{heard}");
    let heard = watched.says("done in");
    assert!(heard.contains("■ stale"), "its job was stopped: {heard}");
    assert!(heard.contains("✓ keep"), "{heard}");
    for (prefix, times) in [("keep", 1), ("stale", 1), ("after", 1)] {
        assert_eq!(server.carried_out(prefix), times, "{prefix}");
    }
    let latest = project.path().join("outputs/p/latest");
    assert_eq!(files(&latest).len(), 3);
    assert_eq!(watched.end(), 130);
}

#[test]
fn a_queued_change_waits_for_the_run_and_several_are_one() {
    let server = Server::start(&["--jobs", "2"]);
    let project = project();
    let args = ["p.yaml", "--server", &server.url, "--on-busy", "queue"];
    let mut watched = Watched::start(&project, &args);
    both_running(&server);
    for colour in [4, 5, 6] {
        project.file("stale.json", slow("stale", colour, 2));
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    let heard = watched.says("done in");
    assert!(heard.contains("↻ stale.json · stale"), "{heard}");
    assert!(heard.contains("  waits for "), "{heard}");
    assert!(!heard.contains('■'), "nothing is stopped: {heard}");
    let heard = watched.says("done in");
    assert!(!heard.contains('↻'), "it was said before: {heard}");
    for (prefix, times) in [("keep", 1), ("stale", 2), ("after", 1)] {
        assert_eq!(server.carried_out(prefix), times, "{prefix}");
    }
    assert_eq!(watched.end(), 130);
}

#[test]
fn ctrl_c_in_the_middle_of_a_run_stops_our_jobs_and_a_restart_does_not_hold_it_up() {
    let server = Server::start(&["--jobs", "2"]);
    let project = project();
    let mut watched = Watched::start(&project, &["p.yaml", "--server", &server.url]);
    both_running(&server);
    project.file("stale.json", slow("stale", 4, 2));
    watched.says("↻ stale.json · stale");
    assert_eq!(watched.end(), 130);
    let (running, waiting) = server.jobs();
    assert_eq!((running.len(), waiting.len()), (0, 0));
    assert_eq!(server.carried_out("after"), 0);
}

/// Programs that wait until a file of their name is there.
const GATED: &str = r#"steps:
  long: { command: [sh, -c, "while [ ! -e $HOME/long ]; do sleep 0.02; done; echo 1 > out.txt"], outputs: { text: out.txt }, save_as: long }
  edit: { command: [sh, -c, "while [ ! -e $HOME/edit ]; do sleep 0.02; done; echo 1 > out.txt"], outputs: { text: out.txt }, save_as: edit }
  after: { command: [sh, -c, "cat \"$@\" > out.txt", sh, "{{ steps.long.file }}", "{{ steps.edit.file }}"], outputs: { text: out.txt }, save_as: after }
"#;

fn gated(args: &[&str]) -> (Project, Watched) {
    let project = Project::of(&[("kiln.yaml", ""), ("p.yaml", GATED)]);
    let mut command = project.command(&[&["watch", "p.yaml"], args].concat());
    command.env("HOME", project.path());
    let watched = Watched::prepared(command);
    let work = project.path().join(".kiln/work");
    wait_for("both programs to run", || {
        let folders = std::fs::read_dir(&work).ok()?.flatten();
        let tasks = folders.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten());
        (tasks.count() >= 2).then_some(())
    });
    (project, watched)
}

#[test]
fn a_change_that_changes_nothing_that_runs_stops_nothing() {
    let (project, mut watched) = gated(&[]);
    project.file("p.yaml", format!("# a word more\n{GATED}"));
    watched.says("↻ p.yaml · nothing runs again");
    project.file("long", "");
    project.file("edit", "");
    let heard = watched.says("done in");
    assert!(
        !heard.contains('■') && !heard.contains("skipped"),
        "{heard}"
    );
    assert!(heard.contains("3 done"), "{heard}");
    // What is said after it is of another change, and that one runs.
    project.file("p.yaml", GATED.replace("echo 1", "echo 2"));
    let heard = watched.says("done in");
    assert_eq!(heard.matches('↻').count(), 1, "{heard}");
    assert_eq!(watched.end(), 130);
    assert_eq!(super::watched::runs(&project), 2);
}

#[test]
fn what_a_change_waits_for_is_told() {
    let (project, mut watched) = gated(&[]);
    let (head, tail) = GATED.split_once("  edit:").unwrap();
    let edited = format!("{head}  edit:{}", tail.replacen("echo 1", "echo 2", 1));
    project.file("p.yaml", &edited);
    let told = watched.says("waits for ");
    assert!(told.contains("↻ p.yaml · edit: "), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("  waits for long ("), "{told}");
    // Back again, before the run has ended: the run that is being stopped is not what is wanted.
    project.file("p.yaml", GATED);
    watched.says("↻ p.yaml · edit: ");
    project.file("edit", "");
    project.file("long", "");
    watched.says("done in");
    wait_for("what the last version makes", || {
        let path = project.path().join("outputs/p/latest/after/after.txt");
        let text = std::fs::read_to_string(path).ok()?;
        (text == "1\n1\n").then_some(())
    });
    assert_eq!(watched.end(), 130);
}

#[test]
fn a_queued_change_that_is_wrong_is_told_at_once_and_runs_nothing() {
    let (project, mut watched) = gated(&["--on-busy", "queue"]);
    project.file("p.yaml", GATED.replace("echo 1", "echo 2"));
    let heard = watched.says("waits for ");
    let last = heard.lines().last().unwrap();
    assert!(
        last.contains("long (") && last.contains("edit ("),
        "{heard}"
    );
    project.file("p.yaml", GATED.replace("outputs:", "outptus:"));
    let heard = watched.says("nothing runs until it is right");
    assert!(heard.contains("did you mean `outputs`"), "{heard}");
    project.file("long", "");
    project.file("edit", "");
    watched.says("done in");
    assert_eq!(project.result("after/after.txt"), "1\n1\n");
    project.file("p.yaml", GATED.replace("echo 1", "echo 3"));
    watched.says("done in");
    assert_eq!(project.result("after/after.txt"), "3\n3\n");
    assert_eq!(watched.end(), 130);
    assert_eq!(super::watched::runs(&project), 2);
}
