//! A job that ran out of memory: the server is asked to free what it holds before the next attempt, and at no other time.

use std::sync::{Arc, Mutex};

use super::{ask, is_post, noting, occupy, server};
use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Running, Server, quick, wait_for};

/// What the embedded server says of a picture whose name leaves its folder.
const SAID: &str = "saving outside the output folder is not allowed";
/// What is made of it.
const OOM: &str = "Allocation on device 0 would exceed allowed memory";

/// A step whose first attempt fails on the server and whose second one does not.
fn failing(more: &str, delay: &str) -> Project {
    let set = "set: { SaveImage: { filename_prefix: \"{{ '../../x' if task.attempt == 1 else 'fine' }}\" } }";
    Project::with(
        &format!(
            "steps:\n  one:\n    workflow: quick.json\n    {set}\n    retry: {{ attempts: 2, delay: {delay}, max_delay: 1h, for: [{more}] }}\n"
        ),
        &[("quick", quick(5))],
    )
}

/// A way to a server that says another reason.
fn saying(server: &Server, words: &'static str) -> (Proxy, Arc<Mutex<Vec<String>>>) {
    noting(&server.url, move |line| {
        if line.contains("/history") {
            Fate::Say(SAID, words)
        } else {
            Fate::Pass
        }
    })
}

/// The jobs that were sent and the requests to free memory, in order.
fn told(log: &Mutex<Vec<String>>) -> Vec<&'static str> {
    let log = log.lock().unwrap();
    let word = |line: &String| match line {
        line if is_post(line, "/prompt") => Some("job"),
        line if is_post(line, "/free") => Some("free"),
        _ => None,
    };
    log.iter().filter_map(word).collect()
}

#[test]
fn memory_is_freed_after_it_ran_out_and_before_the_next_attempt() {
    let server = server();
    let (proxy, log) = saying(&server, OOM);
    let project = failing("oom", "1ms");
    let mut run = Running::start(&project, &["p.yaml", "--server", &proxy.url]);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(run.all("task_retried")[0]["class"], "oom");
    assert_eq!(told(&log), ["job", "free", "job"]);
}

#[test]
fn memory_is_not_freed_after_any_other_failure() {
    let server = server();
    let (proxy, log) = saying(&server, "is no good name");
    let project = failing("any", "1ms");
    let mut run = Running::start(&project, &["p.yaml", "--server", &proxy.url]);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(run.all("task_retried")[0]["class"], "node_error");
    assert_eq!(told(&log), ["job", "job"]);
}

/// A run that is killed between the two attempts.
fn killed_in_between(project: &Project, url: &str) {
    // The pause is drawn from the seed: long enough for what follows.
    let mut run = Running::start(project, &["p.yaml", "--server", url, "--seed", "3"]);
    run.until("task_retried");
    wait_for("the journal", || {
        let sql =
            "SELECT count(*) FROM journal, json_each(journal.facts) WHERE value LIKE '%retried%'";
        ask(project, sql).filter(|count| *count > 0)
    });
    run.kill();
}

#[test]
fn memory_that_others_use_is_not_freed() {
    let server = server();
    let (proxy, log) = saying(&server, OOM);
    let project = failing("oom", "1h");
    killed_in_between(&project, &proxy.url);
    let theirs = occupy(&server);
    let mut run = Running::start(&project, &["--resume", "last"]);
    wait_for("our job", || (!server.jobs().1.is_empty()).then_some(()));
    assert_eq!(told(&log), ["job", "job"]);
    server.interrupt(&theirs);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
}

#[test]
fn a_later_session_remembers_that_memory_ran_out() {
    let server = server();
    let (proxy, log) = saying(&server, OOM);
    let project = failing("oom", "1h");
    killed_in_between(&project, &proxy.url);
    let mut run = Running::start(&project, &["--resume", "last"]);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(told(&log), ["job", "free", "job"]);
}
