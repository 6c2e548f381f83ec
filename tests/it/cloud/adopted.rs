//! No job of the Cloud is paid for twice: killed runs take up their jobs again, lost answers are not asked for anew, and other people's
//! jobs on the same account are left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{KEY, ONE, VARIABLE, cloud, declared, ended, ended_with, keyed, project};
use crate::hazards::ask;
use crate::proofs::{assert_right, two_by};
use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Running, Server, blurred, finish, quick, settled, slow, wait_for};

/// A run in the background with the key.
fn running(project: &Project, args: &[&str]) -> Running {
    Running::prepared(keyed(
        project,
        KEY,
        &[&["run", "--output", "json"], args].concat(),
    ))
}

/// Two slow pictures at a time.
fn two_slow(url: &str, nodes: usize) -> Project {
    let project = project(
        url,
        &[(
            "p.yaml",
            "steps:\n  a: { workflow: a.json }\n  b: { workflow: b.json }\n",
        )],
    );
    project.file("a.json", slow(0x11, nodes).to_string());
    project.file("b.json", slow(0x22, nodes).to_string());
    project
}

fn queued(run: &mut Running, count: usize) -> Vec<String> {
    let ids = (0..count).map(|_| run.until("task_queued")["prompt_id"].clone());
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// Kills a run whose journal knows what these jobs are called. A kill before that is the case of a lost answer.
fn kill(run: &mut Running, project: &Project, ids: &[String]) {
    for id in ids {
        let sql = format!(
            "SELECT count(*) FROM journal, json_each(journal.facts) WHERE value LIKE '%accepted%{id}%'"
        );
        wait_for("the journal", || {
            ask(project, &sql).filter(|rows| *rows > 0)
        });
    }
    run.kill();
}

#[test]
fn a_killed_run_takes_its_jobs_up_again_by_the_servers_own_ids() {
    let server = cloud(&["--jobs", "1"]);
    let project = two_slow(&server.url, 6);
    let mut run = running(&project, &["p.yaml"]);
    let mut ids = queued(&mut run, 2);
    kill(&mut run, &project, &ids);
    let mut again = running(&project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    let mut did: Vec<String> = ended(&server)
        .iter()
        .map(|job| job["prompt_id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    did.sort();
    assert_eq!(
        did, ids,
        "the jobs are those of the killed run, and no others"
    );
}

#[test]
fn a_run_that_is_killed_anywhere_ends_right_without_a_second_job() {
    let server = cloud(&["--jobs", "2"]);
    let project = two_by(6, 160);
    project.file("kiln.yaml", declared(&server.url));
    let mut run = running(&project, &["p.yaml"]);
    queued(&mut run, 3);
    run.kill();
    for _ in 0..3 {
        let mut again = running(&project, &["--resume", "last"]);
        again.when("some of it", |told| {
            told["event"] == "task_finished" || told["event"] == "run_finished"
        });
        again.kill();
    }
    // A kill between a POST and the note of its answer stops the step rather than pay twice, and the next resume sends it again.
    let resumed = (0..6).find_map(|_| {
        let last = finish(&mut keyed(&project, KEY, &["run", "--resume", "last"]));
        if last.code != 0 {
            last.says("K0515");
        }
        (last.code == 0).then_some(())
    });
    assert!(resumed.is_some(), "it never ends");
    assert_right(&project.path().join("outputs/p/latest"), 6);
    let doubts = ask(
        &project,
        "SELECT count(*) FROM journal, json_each(journal.facts) WHERE value LIKE '%K0515%'",
    )
    .unwrap();
    let did = ended_with(&server, "draw") + ended_with(&server, "invert");
    assert!(
        did >= 12 && did as u64 <= 12 + doubts,
        "{did} jobs, {doubts} doubts"
    );
}

/// A proxy that does this to the first job that is sent.
fn once(server: &Server, fate: Fate) -> Proxy {
    let first = Arc::new(AtomicBool::new(true));
    Proxy::start(
        &server.url,
        Box::new(move |line| {
            let post = line.starts_with("POST ") && line.contains("/api/prompt");
            if post && first.swap(false, Ordering::SeqCst) {
                fate
            } else {
                Fate::Pass
            }
        }),
    )
}

#[test]
fn a_lost_answer_is_not_asked_for_again_unless_somebody_says_so() {
    let server = cloud(&[]);
    let proxy = once(&server, Fate::Swallow);
    let project = project(&proxy.url, &[("p.yaml", ONE)]);
    project.file("one.json", quick(0x0033_0000).to_string());
    let done = finish(&mut keyed(&project, KEY, &["run", "p.yaml"])).code(5);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    assert_eq!(ended_with(&server, "quick"), 1, "it was sent once");
    finish(&mut keyed(&project, KEY, &["run", "--resume", "last"])).ok();
    assert_eq!(ended(&server).len(), 2, "somebody said so");
}

#[test]
fn a_server_that_fails_at_answering_is_not_asked_again_unless_somebody_says_so() {
    let server = cloud(&[]);
    let project = project(&server.url, &[("p.yaml", ONE)]);
    project.file("one.json", quick(0x0044_0000).to_string());
    let key = format!("{KEY}:unavailable");
    let run = |args: &[&str]| finish(&mut keyed(&project, &key, args));
    run(&["run", "p.yaml"]).code(5).says("K0515");
    run(&["run", "--resume", "last"]).code(5).says("K0515");
    run(&["run", "--resume", "last"]).ok();
    assert_eq!(ended(&server).len(), 1);
}

#[test]
fn an_interrupt_cancels_our_jobs_alone() {
    let server = cloud(&["--jobs", "2"]);
    let project = two_slow(&server.url, 60);
    let theirs = server.queue(&blurred(0x55, 1500, 6));
    let mut run = running(&project, &["p.yaml"]);
    let ours = queued(&mut run, 2);
    run.interrupt();
    assert_eq!(run.end(), 130);
    let state = |id: &str| {
        let job = server.get(&format!("/api/jobs/{id}"));
        job["status"].as_str().unwrap().to_owned()
    };
    for id in &ours {
        wait_for("our job to stop", || {
            (state(id) == "cancelled").then_some(())
        });
    }
    wait_for("their job", || {
        (state(&theirs) == "completed").then_some(())
    });
}

#[test]
fn what_others_do_on_the_account_does_not_confuse_us() {
    let server = Arc::new(cloud(&["--jobs", "3"]));
    let project = two_by(4, 200);
    project.file("kiln.yaml", declared(&server.url));
    let stop = Arc::new(AtomicBool::new(false));
    let other = {
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut colour = 0x0070_0000;
            while !stop.load(Ordering::SeqCst) {
                colour += 1;
                server.queue(&quick(colour));
                // One of them fails, one is stopped.
                server.queue(&json!({
                    "1": {"class_type": "LoadImage", "inputs": {"image": "x"}},
                    "9": {"class_type": "PreviewAny", "inputs": {"source": colour.to_string()}}
                }));
                let stopped = server.queue(&blurred(colour, 300, 9));
                server.request("POST", &format!("/api/jobs/{stopped}/cancel"), "{}");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        })
    };
    let done = finish(&mut keyed(&project, KEY, &["run", "p.yaml"]));
    stop.store(true, Ordering::SeqCst);
    other.join().unwrap();
    done.ok();
    assert_right(&project.path().join("outputs/p/latest"), 4);
    assert_eq!(
        ended_with(&server, "draw") + ended_with(&server, "invert"),
        8
    );
}

#[test]
fn cancel_stops_the_jobs_that_a_killed_run_left() {
    let server = cloud(&["--jobs", "1"]);
    let project = two_slow(&server.url, 60);
    let mut run = running(&project, &["p.yaml"]);
    let ids = queued(&mut run, 2);
    kill(&mut run, &project, &ids);
    let mut cancel = project.command(&["cancel", "last"]);
    finish(cancel.env(VARIABLE, KEY)).ok();
    for id in ids {
        let job = || server.get(&format!("/api/jobs/{id}"))["status"].clone();
        wait_for("the job to stop", || (job() == "cancelled").then_some(()));
    }
}
