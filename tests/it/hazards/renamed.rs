//! A server that is restarted counts the names of its files anew: what was a result of ours is then somebody else's file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{assert_colour, invert, is_post, latest, noting, servers};
use crate::support::proxy::Fate;
use crate::support::{Project, Running, Server, quick, wait_for};

const OURS: u32 = 0x10_20_30;
const THEIRS: u32 = 0xC0_80_40;

/// A server on which the first name is taken by somebody's picture.
fn restarted() -> Server {
    let server = Server::start(&[]);
    let theirs = server.queue(&quick(THEIRS));
    wait_for("somebody's picture", || server.status(&theirs));
    server
}

/// A picture, and its negative made from where the server put it.
fn project(url: &str) -> Project {
    let project = Project::with("", &[("quick", quick(OURS)), ("invert", invert())]);
    servers(&project, &[("here", format!("url: \"{url}\""))]);
    project.file(
        "p.yaml",
        "steps:\n  draw: { workflow: quick.json, server: here, save_as: drawn }\n  negate:\n    workflow: invert.json\n    server: here\n    set: { LoadImage: { image: \"{{ steps.draw.image }}\" } }\n    save_as: negative\n",
    );
    project
}

/// Waits until the second job is on its way: the server has said by then that the file is the one that was fetched.
fn second_job(log: &Mutex<Vec<String>>) {
    wait_for("the second job", || {
        let log = log.lock().unwrap();
        (log.iter().filter(|line| is_post(line, "/prompt")).count() == 2).then_some(())
    });
}

fn assert_ours(project: &Project) {
    assert_colour(&latest(project).join("draw/drawn.png"), [0x10, 0x20, 0x30]);
    assert_colour(
        &latest(project).join("negate/negative.png"),
        [0xEF, 0xDF, 0xCF],
    );
}

/// Sends the second job to `new` although its input was proven on `old`; and ends the run.
fn misdirected(old: &Server, new: &Server) -> Project {
    let mut posts = 0;
    let (proxy, log) = noting(&old.url, move |line| {
        posts += u32::from(is_post(line, "/prompt"));
        if is_post(line, "/prompt") && posts == 2 {
            Fate::Hold
        } else {
            Fate::Pass
        }
    });
    let project = project(&proxy.url);
    let mut run = Running::start(&project, &["p.yaml"]);
    second_job(&log);
    proxy.turn_to(&new.url);
    proxy.release();
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    project
}

#[test]
fn a_job_sent_to_a_server_just_restarted_does_not_work_on_somebody_elses_file() {
    let (old, new) = (Server::start(&[]), restarted());
    assert_ours(&misdirected(&old, &new));
    assert_eq!(
        new.carried_out("invert"),
        2,
        "the job that worked on the wrong file, and the one that was sent its own"
    );
}

#[test]
fn a_job_that_fails_on_somebody_elses_file_is_no_failure_of_ours() {
    let (old, new) = (Server::start(&[]), Server::start(&[]));
    std::fs::create_dir_all(new.dir().join("output")).unwrap();
    std::fs::write(new.dir().join("output/quick_00001_.png"), "no picture").unwrap();
    assert_ours(&misdirected(&old, &new));
}

/// Kills the run when its second job is on its way, and goes on with it on `new`. What else is requested goes as `answer` says, of
/// a line and whether the first session is dead.
fn adopted(
    old: &Server,
    new: &Server,
    mut answer: impl FnMut(&str, bool) -> Fate + Send + 'static,
) {
    let dead = Arc::new(AtomicBool::new(false));
    let (mut posts, open) = (0, Arc::clone(&dead));
    let (proxy, log) = noting(&old.url, move |line| {
        posts += u32::from(is_post(line, "/prompt"));
        match posts {
            2 if is_post(line, "/prompt") => Fate::Hold,
            // Nothing more comes through until the first session is dead.
            2 if !open.load(Ordering::SeqCst) => Fate::Refuse,
            _ => answer(line, open.load(Ordering::SeqCst)),
        }
    });
    let project = project(&proxy.url);
    let mut run = Running::start(&project, &["p.yaml"]);
    second_job(&log);
    if old.url != new.url {
        proxy.turn_to(&new.url);
    }
    proxy.release();
    wait_for("the job on the server", || {
        (new.carried_out("invert") == 1).then_some(())
    });
    run.kill();
    dead.store(true, Ordering::SeqCst);
    let mut again = Running::start(&project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    assert_ours(&project);
}

#[test]
fn a_job_that_is_adopted_did_not_work_on_somebody_elses_file_either() {
    let (old, new) = (Server::start(&[]), restarted());
    adopted(&old, &new, |_, _| Fate::Pass);
    assert_eq!(new.carried_out("invert"), 2);
}

#[test]
fn an_adopted_job_whose_server_was_not_restarted_is_kept() {
    let server = Server::start(&[]);
    adopted(&server, &server, |_, _| Fate::Pass);
    assert_eq!(server.carried_out("invert"), 1);
}

#[test]
fn an_adopted_job_is_kept_although_its_server_cannot_say_at_once_that_nothing_changed() {
    let server = Server::start(&[]);
    let mut asked = 0;
    adopted(&server, &server, move |line, second| {
        let proof = second && line.contains("/view?filename=quick");
        asked += u32::from(proof);
        if proof && asked <= 2 {
            Fate::Fail
        } else {
            Fate::Pass
        }
    });
    assert_eq!(server.carried_out("invert"), 1);
}

#[test]
fn an_adopted_job_that_was_sent_a_copy_is_kept() {
    let server = Server::start(&[]);
    // Without a version of the file, nothing proves that it is the same: it was uploaded.
    adopted(&server, &server, |line, _| {
        if line.contains("/view") {
            Fate::Untagged
        } else {
            Fate::Pass
        }
    });
    assert_eq!(server.carried_out("invert"), 1);
}
