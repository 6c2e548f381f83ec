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
    assert!(!heard.contains('↻') && !heard.contains('■'), "{heard}");
    let heard = watched.says("done in");
    assert_eq!(heard.matches('↻').count(), 1, "{heard}");
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
