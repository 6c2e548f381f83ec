//! Jobs that were given up and show up later: they are cancelled, in the same run or before a later one, and nobody else's are.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{ask, is_post, noting, occupy, server, servers, until_there};
use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Running, Server, quick, wait_for};

/// A way on which the first job stays until the test delivers it.
fn slow_way(server: &Server) -> Proxy {
    let first = AtomicBool::new(true);
    let (proxy, _) = noting(&server.url, move |line| {
        if is_post(line, "/prompt") && first.swap(false, Ordering::SeqCst) {
            Fate::Keep
        } else {
            Fate::Pass
        }
    });
    proxy
}

/// A second pipeline of the same project, of which nothing was done before.
fn another(project: &Project, url: &str) -> Running {
    project.file("other.yaml", "steps:\n  it: { workflow: other.json }\n");
    project.file("other.json", quick(99).to_string());
    Running::start(project, &["other.yaml", "--server", url])
}

#[test]
fn a_job_that_arrives_after_another_took_its_place_is_cancelled_by_a_later_run() {
    let server = server();
    let proxy = slow_way(&server);
    let project = Project::with(
        "steps:\n  one: { workflow: quick.json }\n",
        &[("quick", quick(1))],
    );
    let mut run = Running::start(&project, &["p.yaml", "--server", &proxy.url]);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(server.carried_out("quick"), 1);

    let theirs = occupy(&server);
    assert_eq!(proxy.deliver(), 1);
    let stray = server.jobs().1;
    assert_eq!(stray.len(), 1, "it has come");
    let waiting = server.queue(&quick(50));
    let mut later = another(&project, &proxy.url);
    wait_for("the stray to go", || {
        (!server.jobs().1.contains(&stray[0])).then_some(())
    });
    assert_eq!(server.jobs().0, [theirs.as_str()]);
    assert!(server.jobs().1.contains(&waiting));
    server.interrupt(&theirs);
    assert_eq!(later.end(), 0, "{:#?}", later.events);
    wait_for("their job", || server.status(&waiting));
    assert_eq!(server.status(&stray[0]), None, "it was never executed");
    assert_eq!(ask(&project, "SELECT count(*) FROM strays"), Some(0));
}

#[test]
fn a_job_that_arrives_while_the_run_goes_on_is_cancelled_by_it() {
    let server = server();
    let proxy = slow_way(&server);
    let project = Project::with("", &[("quick", quick(1))]);
    let gate = until_there(&project, "go");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  one: {{ workflow: quick.json, server: \"{}\" }}\n  wait: {{ command: {gate}, needs: [one] }}\n",
            proxy.url
        ),
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    run.until_of("task_executing", "wait");
    let theirs = occupy(&server);
    proxy.deliver();
    wait_for("the stray to go", || {
        server.jobs().1.is_empty().then_some(())
    });
    project.file("go", "");
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(server.jobs().0, [theirs.as_str()]);
}

#[test]
fn a_job_left_on_a_server_that_vanished_is_cancelled_by_a_later_run_although_kiln_was_killed() {
    let (first, second) = (server(), server());
    let theirs = occupy(&first);
    let (proxy, _) = noting(&first.url, |_| Fate::Pass);
    let project = Project::with("", &[("quick", quick(2))]);
    servers(
        &project,
        &[(
            "farm",
            format!(
                "urls: [\"{}\", \"{}\"], max_jobs: 1, lost_after: 500ms",
                proxy.url, second.url
            ),
        )],
    );
    let gate = until_there(&project, "never");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  one:\n    workflow: quick.json\n    matrix: {{ i: [1, 2] }}\n    server: farm\n    set: {{ EmptyImage: {{ color: \"{{{{ matrix.i }}}}\" }} }}\n  wait: {{ command: {gate} }}\n"
        ),
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    let ours = wait_for("our job", || first.jobs().1.first().cloned());
    let waiting = first.queue(&quick(60));
    // From now on the first server cannot be reached.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    proxy.turn_to(&gone);
    run.until_of("task_finished", "one[i=1]");
    if run.all("task_finished").len() < 2 {
        run.until_of("task_finished", "one[i=2]");
    }
    wait_for("the note", || {
        ask(&project, "SELECT count(*) FROM strays").filter(|count| *count > 0)
    });
    run.kill();
    assert_eq!(first.jobs().1, [ours.as_str(), waiting.as_str()]);

    proxy.turn_to(&first.url);
    project.file(
        "other.yaml",
        "steps:\n  it: { workflow: other.json, server: farm }\n",
    );
    project.file("other.json", quick(99).to_string());
    let mut later = Running::start(&project, &["other.yaml"]);
    wait_for("the stray to go", || {
        (!first.jobs().1.contains(&ours)).then_some(())
    });
    assert_eq!(first.jobs().0, [theirs.as_str()]);
    assert!(first.jobs().1.contains(&waiting));
    first.interrupt(&theirs);
    assert_eq!(later.end(), 0, "{:#?}", later.events);
    wait_for("their job", || first.status(&waiting));
}
