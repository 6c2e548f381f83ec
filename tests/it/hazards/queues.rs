//! A server that many jobs of ours wait on.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{noting, occupy, server, servers};
use crate::support::proxy::Fate;
use crate::support::{Project, Running, quick};

#[test]
fn what_waits_in_a_long_queue_does_not_keep_its_server_busy_with_questions() {
    let server = server();
    let theirs = occupy(&server);
    let (proxy, log) = noting(&server.url, |_| Fate::Pass);
    let project = Project::with("", &[("quick", quick(0))]);
    servers(
        &project,
        &[("here", format!("url: \"{}\", max_jobs: 40", proxy.url))],
    );
    project.file(
        "p.yaml",
        "steps:\n  draw:\n    workflow: quick.json\n    server: here\n    matrix: { i: \"{{ range(40) }}\" }\n    set: { EmptyImage: { color: \"{{ matrix.i }}\" } }\n",
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    let began = Instant::now();
    let mut placed = BTreeSet::new();
    while placed.len() < 40 {
        let told = run.until("task_place");
        placed.insert(told["task"].as_str().unwrap().to_owned());
    }
    let asked = |path: &str| {
        let log = log.lock().unwrap();
        let of = |line: &&String| line.starts_with(&format!("GET /api/{path}"));
        log.iter().filter(of).count()
    };
    let (queue, history) = (asked("queue"), asked("history"));
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    // One a second, whoever wants to know, and what was asked before all were there.
    assert!(
        queue + history <= 10 + 2 * seconds,
        "all 40 know their place after {queue} and {history} questions in {seconds} s"
    );
    server.interrupt(&theirs);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(server.carried_out("quick"), 40);
}
