//! A job that its server takes only in part, and whose answer, which says so, is lost: its record tells what was left out.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::between::{self, Reply};
use super::wire::{Answer, Request};
use crate::support::{Done, Project, Server, files, settled};

/// The server says that it takes larger pictures than it does, so that only it knows better.
fn boast(answer: &mut Answer) {
    let text = String::from_utf8_lossy(&answer.body);
    answer.body = text.replace("16384", "99999").into_bytes();
}

/// A run against a server that loses its first answer to a job, with what the step says besides.
fn run(says: &str) -> (Done, Project, Server) {
    let server = Server::start(&[]);
    let first = AtomicBool::new(true);
    let script = move |request: &Request| {
        let target = request.target();
        if target.contains("/object_info") {
            Reply::Edit(boast)
        } else if target.contains("/prompt")
            && request.line.starts_with("POST ")
            && first.swap(false, Ordering::SeqCst)
        {
            Reply::Swallow
        } else {
            Reply::Pass
        }
    };
    let url = between::start(&server.url, Box::new(script));
    let project = Project::new();
    let picture = |width: u32| json!({"class_type": "EmptyImage", "inputs": {"width": width, "height": 16, "batch_size": 1, "color": 7}});
    let save = |from: &str, name: &str| json!({"class_type": "SaveImage", "inputs": {"images": [from, 0], "filename_prefix": name}});
    let graph = json!({"1": picture(16), "2": picture(20_000), "8": save("1", "small"), "9": save("2", "large")});
    project.file("both.json", graph.to_string());
    project.file(
        "p.yaml",
        format!("steps:\n  both:\n    workflow: both.json\n{says}"),
    );
    let done = project.kiln(&["run", "p.yaml", "--server", &url]);
    (done, project, server)
}

#[test]
fn half_a_job_is_no_result_although_nobody_heard_that_it_was_half() {
    let (done, project, server) = run("");
    assert_eq!(done.code, 4, "{}", done.stderr);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    assert_eq!(server.carried_out("small"), 1);
}

#[test]
fn half_a_job_that_is_allowed_is_taken_and_what_is_missing_told() {
    let (done, project, server) = run("    allow_partial: true\n");
    let done = done.ok();
    done.says("left out `node 9 (SaveImage)`");
    assert_eq!(
        files(&project.path().join("outputs/p/latest")),
        ["both/small_00001_.png"]
    );
    assert_eq!(server.carried_out("small"), 1);
}
