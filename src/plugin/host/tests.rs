//! All plugins of a plan: who hears what, in which order, what may be left out, and when the run waits.

use std::sync::mpsc::Sender;

use super::*;
use crate::base::{ServerName, TaskName};
use crate::plugin::queue::FULL;
use crate::plugin::staged::{Asked, Part, gate, until};

fn run() -> RunId {
    RunId::from("20261122-141530-k3f9")
}

fn task(name: &str) -> TaskName {
    TaskName(name.to_owned())
}

fn executing(name: &str) -> RunEvent {
    RunEvent::TaskExecuting { task: task(name) }
}

fn progress(name: &str, fraction: f64) -> RunEvent {
    RunEvent::TaskProgress {
        task: task(name),
        fraction,
        node: None,
        node_title: None,
    }
}

/// What a plugin heard, by name and task.
fn heard(asked: &Asked) -> Vec<String> {
    let asked = asked.lock().unwrap();
    let heard = asked.iter().filter(|(what, _)| what == "event");
    heard
        .map(|(_, event)| {
            let name = event["event"].as_str().or(event["type"].as_str());
            let task = event["task"].as_str().unwrap_or_default();
            format!("{} {task}", name.unwrap()).trim_end().to_owned()
        })
        .collect()
}

/// One that begins with nothing before it is let.
fn held(name: &str) -> (Part, Sender<()>) {
    let (open, wait) = gate();
    let mut first = true;
    let part = Part::new(name).doing(move |_, _, _| {
        if std::mem::take(&mut first) {
            let _ = wait.recv();
        }
        Ok(Vec::new())
    });
    (part, open)
}

#[tokio::test]
async fn each_plugin_hears_what_it_asked_for_and_in_order() {
    let (mut tasks, all, mut none) = (Part::new("tasks"), Part::new("all"), Part::new("none"));
    tasks.about.events = vec!["task_*".to_owned()];
    none.about.events.clear();
    let asked = [&tasks, &all, &none].map(|part| Arc::clone(&part.asked));
    let plugins = Plugins::staged([tasks, all, none]);
    let back = RunEvent::ServerBack {
        server: ServerName::from("far"),
    };
    for event in [&executing("a"), &back, &executing("b")] {
        plugins.publish(event, &run());
    }
    plugins.settle().await;
    let [tasks, all, none] = asked.each_ref().map(heard);
    assert_eq!(tasks, ["task_executing a", "task_executing b"]);
    assert_eq!(all, ["task_executing a", "server_back", "task_executing b"]);
    assert_eq!(none, [""; 0]);
    assert!(plugins.wants_message("executing"));
    assert!(plugins.hear_servers() && plugins.wants_previews());
}

#[tokio::test]
async fn a_call_comes_after_what_was_told_before_it_and_before_what_is_told_after() {
    let part = Part::new("it").doing(|what, _, _| match what {
        "function" => Ok(b"{\"value\": 7}".to_vec()),
        _ => Ok(Vec::new()),
    });
    let asked = Arc::clone(&part.asked);
    let plugins = Plugins::staged([part]);
    plugins.publish(&executing("a"), &run());
    let callables = plugins.callables();
    assert_eq!(callables.functions(), ["score"]);
    let value = callables.call(false, "score", &[], &IndexMap::new());
    assert_eq!(value, Ok(Datum::Number(7.into())));
    plugins.publish(&executing("b"), &run());
    plugins.settle().await;
    let order: Vec<String> = asked
        .lock()
        .unwrap()
        .iter()
        .map(|(what, _)| what.clone())
        .collect();
    assert_eq!(order, ["event", "function", "event"]);
    assert_eq!(
        callables.call(true, "score", &[], &IndexMap::new()),
        Err("no plugin has it".to_owned())
    );
    drop(plugins);
    assert_eq!(callables.functions(), [""; 0], "it keeps none alive");
}

#[test]
fn an_event_is_heard_soon_although_nobody_waits_for_it() {
    let part = Part::new("it");
    let asked = Arc::clone(&part.asked);
    let plugins = Plugins::staged([part]);
    plugins.publish(&executing("a"), &run());
    until("the event", || heard(&asked).len() == 1);
    drop(plugins);
    until("the end", || {
        asked.lock().unwrap().last().unwrap().0 == "end"
    });
}

#[tokio::test]
async fn of_progress_the_newest_counts_for_each_task_and_what_counts_is_all_there() {
    let (part, open) = held("it");
    let asked = Arc::clone(&part.asked);
    let plugins = Plugins::staged([part]);
    plugins.publish(&executing("first"), &run());
    until("the first event", || !heard(&asked).is_empty());
    for n in 0..3 * FULL {
        for name in ["a", "b"] {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            plugins.publish(&progress(name, n as f64), &run());
        }
        if n % FULL == 0 {
            plugins.publish(&executing(&n.to_string()), &run());
        }
    }
    assert!(!plugins.is_full(), "progress alone makes no run wait");
    open.send(()).unwrap();
    plugins.settle().await;
    assert_eq!(
        heard(&asked),
        [
            "task_executing first",
            "task_executing 0",
            "task_executing 1024",
            "task_executing 2048",
            "task_progress a",
            "task_progress b"
        ]
    );
    let asked = asked.lock().unwrap();
    assert_eq!(asked.last().unwrap().1["fraction"], 3071.0, "the newest");
}

#[tokio::test]
async fn the_run_waits_for_the_one_that_does_not_keep_up_and_every_plugin_hears_everything() {
    let ((slow, open), quick) = (held("slow"), Part::new("quick"));
    let asked = [&slow, &quick].map(|part| Arc::clone(&part.asked));
    let plugins = Plugins::staged([slow, quick]);
    let mut told = Vec::new();
    while !plugins.is_full() {
        let name = told.len().to_string();
        plugins.publish(&executing(&name), &run());
        told.push(format!("task_executing {name}"));
        assert!(
            told.len() <= FULL + crate::plugin::queue::BATCH,
            "it has no end"
        );
    }
    let waiting = plugins.clone();
    let room = tokio::spawn(async move { waiting.room().await });
    tokio::task::yield_now().await;
    assert!(!room.is_finished(), "there is none");
    open.send(()).unwrap();
    room.await.unwrap();
    plugins.settle().await;
    assert!(!plugins.is_full());
    for asked in &asked {
        assert_eq!(heard(asked), told);
    }
}

#[tokio::test]
async fn what_servers_say_without_end_is_left_out_and_what_they_say_of_jobs_is_not() {
    let (part, open) = held("it");
    let asked = Arc::clone(&part.asked);
    let plugins = Plugins::staged([part]);
    let server = ServerName::from("far");
    let draw = task("draw");
    let say = |kind: &str, job: Option<&str>| {
        let message = ServerMessage {
            kind,
            server: &server,
            task: job.map(|_| &draw),
            prompt_id: job,
            message: "{}",
        };
        plugins.publish_message(message, &run());
    };
    say("execution_start", Some("j"));
    until("the first message", || !heard(&asked).is_empty());
    for _ in 0..3 * FULL {
        say("status", None);
        say("progress_state", Some("j"));
        say("progress", Some("j"));
        say("pack.monitor", None);
    }
    assert!(!plugins.is_full());
    say("pack.of_a_job", Some("j"));
    say("executed", Some("j"));
    open.send(()).unwrap();
    plugins.settle().await;
    let heard = heard(&asked);
    let count = |name: &str| heard.iter().filter(|one| one.starts_with(name)).count();
    assert_eq!(
        (count("status"), count("progress_state"), count("progress ")),
        (1, 1, 1)
    );
    assert!((1..FULL).contains(&count("pack.monitor")), "some of them");
    let last = &heard[heard.len() - 2..];
    assert_eq!(last, ["pack.of_a_job draw", "executed draw"]);
}

#[tokio::test]
async fn of_pictures_the_newest_of_each_job_is_shown() {
    let (part, open) = held("it");
    let mut blind = Part::new("blind");
    blind.about.previews = false;
    let (asked, unasked) = (Arc::clone(&part.asked), Arc::clone(&blind.asked));
    let plugins = Plugins::staged([part, blind]);
    plugins.publish(&executing("a"), &run());
    until("the first event", || !heard(&asked).is_empty());
    for n in 0..50_u32 {
        for job in ["x", "y"] {
            let preview = Preview {
                server: ServerName::from("far"),
                task: Some(task("draw")),
                prompt_id: Some(job.to_owned()),
                frame: 4,
                media_type: "image/png".to_owned(),
                metadata: serde_json::Map::new(),
            };
            let picture = bytes::Bytes::from(n.to_string());
            plugins.publish_preview(&preview, &picture, &run());
        }
    }
    open.send(()).unwrap();
    plugins.settle().await;
    let asked = asked.lock().unwrap();
    let shown: Vec<(&str, &Value)> = asked[1..]
        .iter()
        .map(|(what, given)| (what.as_str(), given))
        .collect();
    let number = json!(49);
    let jobs = (json!("x"), json!("y"));
    let about = |at: usize| (shown[at].0, &shown[at].1["prompt_id"]);
    assert_eq!(shown.len(), 4);
    assert_eq!(
        (about(0), shown[1]),
        (("preview", &jobs.0), ("picture", &number))
    );
    assert_eq!(
        (about(2), shown[3]),
        (("preview", &jobs.1), ("picture", &number))
    );
    assert_eq!(unasked.lock().unwrap().len(), 1, "it wants no pictures");
}

#[tokio::test]
async fn a_plugin_that_hangs_is_given_up_and_the_others_hear_on() {
    let ((mut stuck, _open), good) = (held("stuck"), Part::new("good"));
    stuck.declared.timeout_ms = 100;
    let asked = Arc::clone(&good.asked);
    let plugins = Plugins::staged([stuck, good]);
    let mut notices = plugins.notices().unwrap();
    assert!(plugins.notices().is_none(), "they are asked for once");
    plugins.publish(&executing("a"), &run());
    // It ends, since what hangs is given up by whoever looks after the time.
    plugins.settle().await;
    let notice = notices.recv().await.unwrap();
    let Notice::GivenUp { plugin, fault } = notice else {
        panic!("{notice:?}");
    };
    assert_eq!(
        (plugin.as_str(), fault),
        ("stuck", Fault::Overdue(Duration::from_millis(100)))
    );
    assert!(plugins.is_given_up("stuck") && !plugins.is_given_up("good"));
    plugins.publish(&executing("b"), &run());
    plugins.settle().await;
    assert_eq!(heard(&asked), ["task_executing a", "task_executing b"]);
    let called = plugins.call_now("stuck", "function", &json!({}));
    assert_eq!(called, Err(Fault::GivenUp));
}

#[tokio::test]
async fn a_run_that_is_stopped_leaves_what_a_plugin_had_yet_to_hear() {
    let (part, _open) = held("it");
    let plugins = Plugins::staged([part]);
    let mut notices = plugins.notices().unwrap();
    for name in ["a", "b", "c"] {
        plugins.publish(&executing(name), &run());
    }
    plugins.give_up_rest();
    plugins.settle().await;
    plugins.end(Duration::from_mins(1)).await;
    let Some(Notice::GivenUp { fault, .. }) = notices.recv().await else {
        panic!("it is not given up");
    };
    assert_eq!(fault, Fault::Left(3));
}

#[tokio::test]
async fn plugins_are_for_the_steps_they_name() {
    let (mut draw, all) = (Part::new("draw"), Part::new("all"));
    draw.about.before_submit = true;
    draw.declared.steps = Some(vec![StepId::from("draw")]);
    let plugins = Plugins::staged([draw, all]);
    let (here, there) = (StepId::from("draw"), StepId::from("other"));
    assert_eq!(plugins.shaping(&here), ["draw"]);
    assert_eq!(plugins.shaping(&there), [""; 0]);
    assert_eq!(plugins.with_hook(&there, |about| about.previews), ["all"]);
    assert_eq!(
        plugins.with_hook(&here, |about| about.previews),
        ["draw", "all"],
        "as declared"
    );
}
