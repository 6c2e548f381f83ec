//! A run that is stopped, by whomever and in whatever state: our jobs leave the servers, others stay, and the run can be gone on with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ask, assert_colour, latest, long, noting, sampled, server, there};
use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Running, Server, quick, signal, wait_for};

/// One job that is over soon, and two that come after it.
fn three() -> Project {
    Project::with(
        "steps:\n  first: { workflow: quick.json }\n  second: { workflow: second.json, needs: [first] }\n  third: { workflow: third.json, needs: [first] }\n",
        &[
            ("quick", quick(1)),
            ("second", sampled(2, 8)),
            ("third", sampled(3, 6)),
        ],
    )
}

/// Begins it, and waits until one of the two is executed and the other one waits, and so does somebody else's.
fn begun(project: &Project, server: &Server, url: &str) -> (Running, Vec<String>, String) {
    let mut run = Running::start(project, &["p.yaml", "--server", url]);
    run.until_of("task_finished", "first");
    let mut ours = Vec::new();
    while ours.len() < 2 {
        let queued = run.until("task_queued");
        ours.push(queued["prompt_id"].as_str().unwrap().to_owned());
    }
    let theirs = server.queue(&quick(50));
    (run, ours, theirs)
}

fn once(which: &str, code: i32, reason: &str) {
    let server = server();
    let project = three();
    let (mut run, ours, theirs) = begun(&project, &server, &server.url);
    signal(&run.child, which);
    assert_eq!(run.end(), code, "{:#?}", run.events);
    let told = run.all("run_stopping");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(
        (&told[0]["reason"], &told[0]["at_once"]),
        (&json!(reason), &json!(false))
    );
    let last = run.events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["status"]),
        (&json!("run_finished"), &json!("cancelled"))
    );
    assert_eq!(last["counts"]["done"], 1);
    assert_eq!(last["resume"], "kiln run --resume last");
    let there = there(&server);
    assert!(ours.iter().all(|id| !there.contains(id)), "{there:?}");
    assert_eq!(wait_for("their job", || server.status(&theirs)), "success");
    let sql =
        format!("SELECT count(*) FROM runs WHERE status = 'cancelled' AND exit_code = {code}");
    assert_eq!(ask(&project, &sql), Some(1));
    assert_eq!(ask(&project, "SELECT count(*) FROM strays"), Some(0));
    goes_on(&project);
    assert_eq!(server.carried_out("sampled"), 2);
}

/// The run can be gone on with, and nothing that was done is done again.
#[track_caller]
fn goes_on(project: &Project) {
    let mut again = Running::start(project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    let started = again.all("task_started");
    let started: Vec<_> = started.iter().map(|event| &event["task"]).collect();
    assert!(!started.contains(&&json!("first")), "{started:?}");
    assert_eq!(again.events.last().unwrap()["counts"]["done"], 3);
    for step in ["first", "second", "third"] {
        let folder = latest(project).join(step);
        assert!(folder.read_dir().unwrap().next().is_some(), "{step}");
    }
}

#[test]
fn an_interrupt_cancels_our_jobs_and_closes_the_journal() {
    once("-INT", 130, "interrupt");
}

#[test]
fn a_request_to_terminate_cancels_our_jobs_and_closes_the_journal() {
    once("-TERM", 143, "terminate");
}

#[test]
fn a_lost_terminal_cancels_our_jobs_and_closes_the_journal() {
    once("-HUP", 143, "hangup");
}

/// A way to a server on which no job can be stopped while `deaf`.
fn deaf(server: &Server) -> (Proxy, Arc<AtomicBool>) {
    let deaf = Arc::new(AtomicBool::new(true));
    let own = Arc::clone(&deaf);
    let stops = |line: &str| line.contains("/cancel") || line.contains("/interrupt");
    let (proxy, _) = noting(&server.url, move |line| {
        if stops(line) && own.load(Ordering::SeqCst) {
            Fate::Hold
        } else {
            Fate::Pass
        }
    });
    (proxy, deaf)
}

fn twice(which: &str, code: i32) {
    let server = server();
    let (proxy, deaf) = deaf(&server);
    let project = three();
    let (mut run, ours, theirs) = begun(&project, &server, &proxy.url);
    signal(&run.child, which);
    run.until("run_stopping");
    signal(&run.child, which);
    let told = run.until("run_stopping");
    assert_eq!(told["at_once"], true);
    assert_eq!(run.end(), code, "{:#?}", run.events);
    let there = there(&server);
    assert!(
        there.contains(&ours[0]) || there.contains(&ours[1]),
        "nobody waited for the server"
    );
    deaf.store(false, Ordering::SeqCst);
    goes_on(&project);
    assert_eq!(wait_for("their job", || server.status(&theirs)), "success");
}

#[test]
fn a_second_interrupt_leaves_although_the_server_does_not_answer() {
    twice("-INT", 130);
}

#[test]
fn a_second_request_to_terminate_leaves_although_the_server_does_not_answer() {
    twice("-TERM", 143);
}

#[test]
fn a_second_hangup_leaves_although_the_server_does_not_answer() {
    twice("-HUP", 143);
}

#[test]
fn jobs_of_a_run_that_left_at_once_are_stopped_by_a_later_run() {
    let server = server();
    let (proxy, deaf) = deaf(&server);
    let project = Project::with(
        "steps:\n  only: { workflow: long.json }\n",
        &[("long", long(1)), ("quick", quick(2))],
    );
    let mut run = Running::start(&project, &["p.yaml", "--server", &proxy.url]);
    run.until("task_executing");
    signal(&run.child, "-INT");
    run.until("run_stopping");
    signal(&run.child, "-INT");
    assert_eq!(run.end(), 130, "{:#?}", run.events);
    assert_eq!(server.jobs().0.len(), 1);
    let theirs = server.queue(&quick(50));
    deaf.store(false, Ordering::SeqCst);
    project.file("other.yaml", "steps:\n  it: { workflow: quick.json }\n");
    let mut later = Running::start(&project, &["other.yaml", "--server", &proxy.url]);
    assert_eq!(later.end(), 0, "{:#?}", later.events);
    assert_eq!(wait_for("their job", || server.status(&theirs)), "success");
}

#[track_caller]
fn cancel(project: &Project, run: &Running) {
    let id = run.events[0]["run"].as_str().unwrap();
    let asked = project.kiln(&["cancel", id]).ok().stdout;
    let process = format!("asked process {} on ", run.child.id());
    assert!(asked.starts_with(&process), "{asked}");
}

#[track_caller]
fn assert_requested(run: &Running) {
    let told = run.all("run_stopping");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["reason"], "requested");
}

#[test]
fn a_run_whose_jobs_are_executed_and_wait_is_cancelled_from_elsewhere() {
    let server = server();
    let project = three();
    let (mut run, ours, theirs) = begun(&project, &server, &server.url);
    cancel(&project, &run);
    assert_eq!(run.end(), 130, "{:#?}", run.events);
    assert_requested(&run);
    let there = there(&server);
    assert!(ours.iter().all(|id| !there.contains(id)), "{there:?}");
    assert_eq!(wait_for("their job", || server.status(&theirs)), "success");
    // The wish was about that session.
    goes_on(&project);
}

#[test]
fn a_run_that_waits_for_its_next_attempt_is_cancelled_from_elsewhere() {
    let project = Project::with(
        "steps:\n  try:\n    command: [\"false\"]\n    retry: { attempts: 2, delay: 1h, max_delay: 1h, for: [any] }\n",
        &[],
    );
    let mut run = Running::start(&project, &["p.yaml", "--seed", "3"]);
    run.until("task_retried");
    cancel(&project, &run);
    assert_eq!(run.end(), 130, "{:#?}", run.events);
    assert_requested(&run);
    assert_eq!(run.finished("try")["status"], "cancelled");
}

#[test]
fn a_result_on_its_way_is_kept_when_its_run_is_cancelled_from_elsewhere() {
    let server = server();
    let (proxy, log) = noting(&server.url, |line| {
        if line.contains("/view?") {
            Fate::Hold
        } else {
            Fate::Pass
        }
    });
    let project = Project::with(
        "steps:\n  one: { workflow: quick.json, save_as: one }\n  two: { workflow: quick.json, needs: [one] }\n",
        &[("quick", quick(0x01_02_03))],
    );
    let mut run = Running::start(&project, &["p.yaml", "--server", &proxy.url]);
    wait_for("the download", || {
        let log = log.lock().unwrap();
        log.iter().any(|line| line.contains("/view?")).then_some(())
    });
    run.until("task_queued");
    cancel(&project, &run);
    run.until("run_stopping");
    proxy.release();
    assert_eq!(run.end(), 130, "{:#?}", run.events);
    assert_eq!(run.finished("one")["status"], "done");
    assert_eq!(run.finished("two")["status"], "cancelled");
    assert_colour(&latest(&project).join("one/one.png"), [1, 2, 3]);
}

/// Why the run was said to stop, in order.
fn reasons(run: &Running) -> Vec<Value> {
    let told = run.all("run_stopping");
    told.iter().map(|event| event["reason"].clone()).collect()
}

#[test]
fn a_stronger_reason_to_stop_takes_the_place_of_a_weaker_one() {
    let server = server();
    let (proxy, _deaf) = deaf(&server);
    let project = Project::with(
        "steps:\n  only: { workflow: long.json }\n",
        &[("long", long(1))],
    );
    let args = ["p.yaml", "--server", &proxy.url, "--timeout", "2s"];
    let mut run = Running::start(&project, &args);
    run.until("run_stopping");
    cancel(&project, &run);
    run.until("run_stopping");
    signal(&run.child, "-TERM");
    assert_eq!(run.end(), 143, "{:#?}", run.events);
    assert_eq!(run.all("run_stopping").last().unwrap()["at_once"], true);
    assert_eq!(reasons(&run), ["deadline", "requested", "terminate"]);
}

#[test]
fn a_deadline_that_passes_while_a_run_is_being_cancelled_changes_nothing() {
    let server = server();
    let (proxy, _deaf) = deaf(&server);
    let project = Project::with(
        "steps:\n  only: { workflow: long.json }\n",
        &[("long", long(1))],
    );
    let args = ["p.yaml", "--server", &proxy.url, "--timeout", "3s"];
    let mut run = Running::start(&project, &args);
    run.until("run_started");
    let began = Instant::now();
    run.until("task_queued");
    cancel(&project, &run);
    run.until("run_stopping");
    wait_for("the deadline", || {
        (began.elapsed() > Duration::from_secs(4)).then_some(())
    });
    proxy.release();
    assert_eq!(run.end(), 130, "{:#?}", run.events);
    assert_requested(&run);
}

#[test]
fn a_run_whose_time_is_up_takes_its_jobs_off_the_server() {
    let server = server();
    let project = Project::with(
        "steps:\n  one: { workflow: one.json }\n  two: { workflow: two.json }\n  three: { workflow: two.json, needs: [two] }\n",
        &[("one", long(1)), ("two", long(2))],
    );
    let args = ["p.yaml", "--server", &server.url, "--timeout", "3s"];
    let mut run = Running::start(&project, &args);
    let mut ours = Vec::new();
    while ours.len() < 2 {
        let queued = run.until("task_queued");
        ours.push(queued["prompt_id"].as_str().unwrap().to_owned());
    }
    let theirs = server.queue(&quick(50));
    assert_eq!(run.end(), 4, "{:#?}", run.events);
    assert_eq!(reasons(&run), ["deadline"]);
    for task in ["one", "two", "three"] {
        assert_eq!(run.finished(task)["status"], "cancelled");
    }
    let there = there(&server);
    assert!(ours.iter().all(|id| !there.contains(id)), "{there:?}");
    assert_eq!(wait_for("their job", || server.status(&theirs)), "success");
    let sql = "SELECT count(*) FROM runs WHERE status = 'cancelled' AND exit_code = 4";
    assert_eq!(ask(&project, sql), Some(1));
}
