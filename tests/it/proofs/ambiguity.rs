//! A POST whose answer is lost: whatever became of the job, and whether or not the server was restarted meanwhile, it is done once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Server, blurred, finish, pictures};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Given,
    Lost,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Ran,
    Queued,
    Never,
}

fn fate(answer: Answer, job: Job) -> Option<Fate> {
    Some(match (answer, job) {
        (Answer::Given, Job::Never) => return None,
        (Answer::Given, _) => Fate::Pass,
        (Answer::Lost, Job::Never) => Fate::Refuse,
        (Answer::Lost, _) => Fate::Swallow,
        (Answer::Error, Job::Never) => Fate::Fail,
        (Answer::Error, _) => Fate::Replace,
    })
}

fn case(fate: Fate, job: Job, restarted: bool) {
    let what = format!("{fate:?}, {job:?}, restarted: {restarted}");
    let server = Server::start(&[]);
    if job == Job::Queued {
        server.queue(&blurred(7, 1200, 4));
    }
    let (seen, posted) = mpsc::channel();
    let first = Arc::new(AtomicBool::new(true));
    let proxy = Proxy::start(
        &server.url,
        Box::new(move |line| {
            let post = line.starts_with("POST ") && line.contains("/prompt");
            if post && first.swap(false, Ordering::SeqCst) {
                let _ = seen.send(());
                fate
            } else {
                Fate::Pass
            }
        }),
    );
    let project = Project::new();
    let mut graph = blurred(0x10_20_30, 64, 2);
    graph["99"]["inputs"]["filename_prefix"] = "ours".into();
    project.file("one.json", graph.to_string());
    project.file("p.yaml", "steps:\n  one: { workflow: one.json }\n");
    let mut command = project.command(&["run", "p.yaml", "--server", &proxy.url]);
    let run = std::thread::spawn(move || finish(&mut command));
    posted.recv_timeout(Duration::from_secs(30)).expect(&what);
    let new = restarted.then(|| {
        std::thread::sleep(Duration::from_millis(120));
        let new = Server::start(&[]);
        proxy.turn_to(&new.url);
        new
    });
    let done = run.join().unwrap();
    assert_eq!(done.code, 0, "{what}: {}", done.stderr);
    let made = project.path().join("outputs/p/latest/one");
    super::assert_colour(&pictures(&made)[0], [0x10, 0x20, 0x30]);
    let (before, after) = (
        server.carried_out("ours"),
        new.as_ref().map_or(0, |new| new.carried_out("ours")),
    );
    if restarted {
        assert!(before <= 1 && after <= 1, "{what}: {before} + {after}");
    } else {
        assert_eq!(before, 1, "{what}");
    }
}

#[test]
fn a_post_without_a_clear_answer_never_makes_a_second_job() {
    let mut cases = Vec::new();
    for answer in [Answer::Given, Answer::Lost, Answer::Error] {
        for job in [Job::Ran, Job::Queued, Job::Never] {
            for restarted in [false, true] {
                cases.extend(fate(answer, job).map(|fate| (fate, job, restarted)));
            }
        }
    }
    assert_eq!(cases.len(), 16);
    for four in cases.chunks(4) {
        std::thread::scope(|scope| {
            for &(fate, job, restarted) in four {
                scope.spawn(move || case(fate, job, restarted));
            }
        });
    }
}
