//! One plugin with its thread: what it is asked, what its failures come to, and when it is given up.

use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::plugin::staged::{Part, gate, until};

/// A plugin at work, and what is told of it.
struct Stage {
    member: Arc<Member>,
    notices: UnboundedReceiver<Notice>,
    asked: crate::plugin::staged::Asked,
}

fn stage(part: Part) -> Stage {
    let (tell, notices) = unbounded_channel();
    let asked = Arc::clone(&part.asked);
    Stage {
        member: Member::staged(part, tell),
        notices,
        asked,
    }
}

impl Stage {
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(what, _)| what.clone()).collect()
    }

    fn ask(&self, watch: Watch) -> (Asked, Receiver<Result<Answer, Fault>>) {
        let (send, answer) = channel();
        let reply = Box::new(move |answer| drop(send.send(answer)));
        let asked = self.member.ask("step", b"{}".to_vec(), watch, reply);
        (asked, answer)
    }

    fn call(&self) -> Result<Answer, Fault> {
        // A plugin that panics here never answers.
        let answer = self.ask(Watch::default()).1;
        answer.recv_timeout(Duration::from_mins(1)).unwrap()
    }

    fn tell(&self, event: &str) {
        let told = json!({ "event": event }).to_string().into_bytes();
        self.member.tell(Heard::Event(told.into()), Weight::Kept);
    }

    /// What was told so far, in words.
    fn told(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(notice) = self.notices.try_recv() {
            all.push(match notice {
                Notice::Log { level, text, .. } => format!("{level} {text}"),
                Notice::Failed { hook, fault, .. } => format!("{hook}: {fault}"),
                Notice::GivenUp { fault, .. } => format!("given up: {fault}"),
            });
        }
        all
    }
}

fn answering(reply: &'static [u8]) -> Part {
    Part::new("it").doing(move |_, _, _| Ok(reply.to_vec()))
}

#[test]
fn an_answer_is_read_and_one_that_is_no_json_is_the_plugins_mistake() {
    let value = |reply| stage(answering(reply)).call();
    assert_eq!(value(b"").unwrap().reply, Value::Null);
    assert_eq!(value(b"{\"a\": 1}").unwrap().reply, json!({ "a": 1 }));
    assert_eq!(value(b"\xff").unwrap_err(), Fault::NotText);
    let words = value(b"{\"a\":").unwrap_err().to_string();
    assert!(words.starts_with("its answer is no JSON: EOF"), "{words}");
}

#[test]
fn what_a_call_adds_comes_with_its_answer_and_nothing_after_it() {
    let part = Part::new("it").doing(|_, _, sink| {
        let added = sink.add_artifact(1, json!({ "text": "a" }), 12);
        let of_another = sink.add_artifact(2, json!({ "text": "b" }), 12);
        Ok(json!({ "added": added, "of_another": of_another })
            .to_string()
            .into_bytes())
    });
    let stage = stage(part);
    let answer = stage.call().unwrap();
    assert_eq!(answer.added, [json!({ "text": "a" })]);
    assert_eq!(answer.reply, json!({ "added": true, "of_another": false }));
    let sink = &stage.member.services;
    assert!(!sink.add_artifact(1, json!({}), 2), "it has ended");
    assert!(sink.is_cancelled(1), "nobody waits for what has ended");
}

#[test]
fn what_a_call_adds_has_bounds() {
    let part = Part::new("it").doing(|_, _, sink| {
        let first = sink.add_artifact(1, json!(1), MOST_REPLY - 1);
        let beyond = sink.add_artifact(1, json!(2), 2);
        let last = sink.add_artifact(1, json!(3), 1);
        assert_eq!((first, beyond, last), (true, false, true));
        for _ in 0..ADDED - 2 {
            assert!(sink.add_artifact(1, Value::Null, 0));
        }
        assert!(!sink.add_artifact(1, Value::Null, 0));
        Ok(Vec::new())
    });
    assert_eq!(stage(part).call().unwrap().added.len(), ADDED);
}

#[test]
fn progress_is_heard_of_the_call_under_way_and_is_always_a_fraction() {
    let part = Part::new("it").doing(|_, _, sink| {
        for (call, fraction) in [(1, 0.5), (2, 0.6), (1, f64::NAN), (1, -3.0), (1, 7.0)] {
            sink.progress(call, fraction, "at it".to_owned());
        }
        Ok(Vec::new())
    });
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let watch = Watch {
        progress: Some(Arc::new(move |fraction, note: &str| {
            hearing.lock().unwrap().push((fraction, note.to_owned()));
        })),
        ..Watch::default()
    };
    stage(part).ask(watch).1.recv().unwrap().unwrap();
    let at = |fraction| (fraction, "at it".to_owned());
    assert_eq!(*heard.lock().unwrap(), [at(0.5), at(0.0), at(1.0)]);
}

#[test]
fn a_plugin_that_logs_without_end_is_cut_off_until_the_next_run() {
    let part = Part::new("it").doing(|_, _, sink| {
        for line in 0..LINES + 5 {
            sink.log(3, line.to_string());
        }
        Ok(Vec::new())
    });
    let mut stage = stage(part);
    stage.call().unwrap();
    let told = stage.told();
    assert_eq!(told.len() as u64, LINES + 1);
    assert_eq!(told[0], "3 0");
    let last = told.last().unwrap();
    assert_eq!(
        last,
        "3 it logged more than 10000 lines; the rest is left out"
    );
    stage.member.forget_lines();
    stage.call().unwrap();
    assert_eq!(stage.told().len() as u64, LINES + 1);
}

#[test]
fn a_failure_at_an_event_is_told_and_the_next_event_is_heard() {
    let part = Part::new("it").doing(|what, given, _| match what {
        "event" if given.ends_with(b"\"bad\"}") => Err(Fault::Said("no".to_owned())),
        _ => Ok(Vec::new()),
    });
    let mut stage = stage(part);
    for event in ["good", "bad", "bad", "good"] {
        stage.tell(event);
    }
    stage.call().unwrap();
    assert_eq!(stage.told(), ["event: no", "event: no"]);
    assert_eq!(stage.asked(), ["event", "event", "event", "event", "step"]);
}

#[test]
fn a_plugin_is_ended_after_what_waits_and_is_asked_nothing_then() {
    let stage = stage(Part::new("it"));
    for _ in 0..3 {
        stage.tell("x");
    }
    stage.member.close();
    stage.member.close();
    stage.tell("late");
    assert_eq!(stage.call().unwrap_err(), Fault::GivenUp);
    until("its end", || stage.asked().contains(&"end".to_owned()));
    assert_eq!(stage.asked(), ["event", "event", "event", "end"]);
}

#[test]
fn a_process_that_ends_is_a_failed_call_and_the_second_time_the_end_of_the_plugin() {
    let part = Part::new("it").doing(|what, _, _| match what {
        "event" => Ok(Vec::new()),
        _ => Err(Fault::Died("ended with exit code 3".to_owned())),
    });
    let mut stage = stage(part);
    let died = Fault::Died("ended with exit code 3".to_owned());
    assert_eq!(stage.call().unwrap_err(), died);
    assert!(!stage.member.is_given_up());
    assert_eq!(stage.told(), [""; 0], "whoever asked was told");
    assert_eq!(stage.call().unwrap_err(), died);
    until("its end", || stage.member.is_given_up());
    until("the notice", || !stage.notices.is_empty());
    assert_eq!(
        stage.told(),
        ["given up: its process ended with exit code 3"]
    );
    assert_eq!(stage.call().unwrap_err(), Fault::GivenUp);
}

#[test]
fn a_process_that_ends_at_an_event_counts_as_well() {
    let part = Part::new("it").doing(|_, _, _| Err(Fault::Died("ended".to_owned())));
    let mut stage = stage(part);
    for _ in 0..3 {
        stage.tell("x");
    }
    until("its end", || stage.member.is_given_up());
    until("both notices", || stage.notices.len() == 2);
    assert_eq!(
        stage.told(),
        ["event: its process ended", "given up: its process ended"]
    );
    assert_eq!(stage.asked().len(), 2, "the third one is never heard");
}

/// One that waits at every hook and event until it is let go on.
fn waiting(limit: Duration) -> (Stage, Sender<()>) {
    let (open, wait) = gate();
    let mut part = Part::new("it").doing(move |what, _, _| {
        if what != "end" {
            let _ = wait.recv();
        }
        Ok(Vec::new())
    });
    part.declared.timeout_ms = u64::try_from(limit.as_millis()).unwrap();
    (stage(part), open)
}

#[test]
fn a_call_that_hangs_is_given_up_with_the_plugin_and_whatever_else_waits_is_answered() {
    let limit = Duration::from_secs(5);
    let (mut stage, open) = waiting(limit);
    let (asked, answer) = stage.ask(Watch::default());
    let (_, other) = stage.ask(Watch::default());
    until("its turn", || asked.begun.get().is_some());
    let began = *asked.begun.get().unwrap();
    stage.member.watch(began + limit / 2);
    assert!(!asked.cancelled.load(Ordering::Relaxed), "it has time");
    stage.member.watch(began + limit);
    assert!(asked.cancelled.load(Ordering::Relaxed), "it is told so");
    assert!(!stage.member.is_given_up(), "and may still notice");
    stage.member.watch(began + limit + Duration::from_secs(1));
    assert_eq!(answer.recv().unwrap().unwrap_err(), Fault::Overdue(limit));
    assert_eq!(other.recv().unwrap().unwrap_err(), Fault::GivenUp);
    assert_eq!(stage.told(), ["given up: it did not answer within 5s"]);
    // It comes back after all, and is left alone.
    drop(open);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(stage.asked(), ["step"], "not even ended");
}

#[test]
fn a_call_that_has_as_long_as_it_wants_is_never_overdue() {
    let (stage, open) = waiting(Duration::from_millis(1));
    let watch = Watch {
        limit: Some(None),
        ..Watch::default()
    };
    let (asked, answer) = stage.ask(watch);
    until("its turn", || asked.begun.get().is_some());
    stage.member.watch(Instant::now() + Duration::from_hours(1));
    open.send(()).unwrap();
    assert!(answer.recv().unwrap().is_ok());
}

#[test]
fn a_run_that_ends_waits_no_longer_for_what_a_plugin_has_to_do() {
    let (mut stage, open) = waiting(Duration::from_secs(30));
    for _ in 0..3 {
        stage.tell("x");
    }
    let (_, answer) = stage.ask(Watch::default());
    until("the first event", || !stage.asked().is_empty());
    stage.member.give_up_rest();
    stage.member.give_up_rest();
    assert_eq!(answer.recv().unwrap().unwrap_err(), Fault::GivenUp);
    assert_eq!(
        stage.told(),
        ["given up: the run was stopped, and it had 4 things to do yet"]
    );
    drop(open);
    let idle = super::super::member::tests::stage(Part::new("other"));
    idle.member.give_up_rest();
    assert!(!idle.member.is_given_up(), "it had nothing to do");
}
