//! The same pipeline on older and younger versions of ComfyUI, and how the rehearsals are started.

use crate::proofs::{assert_right, two_by};
use crate::support::{Project, Running, Server, finish, kiln, quick, slow, wait_for};

#[test]
fn a_pipeline_makes_the_same_pictures_on_every_version() {
    for version in ["0.3.64", "0.7.0", "0.26.0", "0.38.1"] {
        let server = Server::start(&["--jobs", "2", "--emulate", version]);
        let project = two_by(3, 64);
        let done = project.kiln(&["run", "p.yaml", "--server", &server.url]);
        assert_eq!(done.code, 0, "{version}: {}", done.stderr);
        assert_right(&project.path().join("outputs/p/latest"), 3);
        let did = server.carried_out("draw") + server.carried_out("invert");
        assert_eq!(did, 6, "{version}");
    }
}

#[test]
fn an_interrupt_reaches_our_jobs_alone_on_every_version() {
    for version in ["0.3.64", "0.7.0", "0.26.0", "0.38.1"] {
        let server = Server::start(&["--jobs", "2", "--emulate", version]);
        let project = Project::of(&[("p.yaml", "steps:\n  one: { workflow: one.json }\n")]);
        project.file("one.json", slow(7, 8).to_string());
        let theirs = server.queue(&slow(8, 3));
        let mut run = Running::start(&project, &["p.yaml", "--server", &server.url]);
        let ours = run.until("task_started");
        assert_eq!(ours["task"], "one");
        run.interrupt();
        assert_eq!(run.end(), 130, "{version}: {:#?}", run.events);
        assert_eq!(
            wait_for("their job", || server.status(&theirs)),
            "success",
            "{version}"
        );
        let (running, pending) = server.jobs();
        assert!(running.len() + pending.len() == 0, "{version}");
        assert_eq!(server.carried_out("slow"), 1, "{version}");
    }
}

#[test]
fn an_unknown_class_is_found_on_every_version() {
    for version in ["0.3.64", "0.38.1"] {
        let server = Server::start(&["--emulate", version]);
        let project = Project::of(&[("p.yaml", "steps:\n  one: { workflow: one.json }\n")]);
        let graph = quick(1).to_string().replace("EmptyImage", "EmptyImages");
        project.file("one.json", graph);
        let done = project.kiln(&["run", "p.yaml", "--server", &server.url]);
        assert_eq!(done.code, 3, "{version}: {}", done.stderr);
        done.says("EmptyImages");
    }
}

#[test]
fn a_rehearsal_that_makes_no_sense_is_not_started() {
    let serve = |args: &[&str]| finish(kiln().args(["serve", "--port", "0"]).args(args));
    serve(&["--emulate", "0.99.0"])
        .code(2)
        .says("ComfyUI 0.99.0 cannot be emulated: kiln knows the versions from 0.3.64 to 0.38.1");
    serve(&["--emulate", "new"])
        .code(2)
        .says("`new` is no version of ComfyUI: write it like 0.33.0");
    serve(&["--cloud"]).code(2).says("--api-key");
    serve(&["--api-key", "k"]).code(2).says("--cloud");
    serve(&["--cloud", "--api-key", "k", "--emulate", "0.33.0"])
        .code(2)
        .says("--emulate");
}
