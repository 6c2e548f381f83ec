//! What a follower tells apart, and what it bears.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::fake::{Fake, Out, client, quick, serve, success};
use super::jobs::{connect, follow, made_a_picture, pause, queued, submit};
use crate::client::follow::Timing;
use crate::client::{Connection, JobUpdate, Lookup, Outcome};

/// Longer than every wait of a follower with short times.
const LONG: Duration = Duration::from_secs(20);

/// As Python tells of a thread that died: in pieces.
fn die(fake: &Fake) {
    let mut log = fake.log.lock().unwrap();
    for piece in [
        "Exception in thread ",
        "Thread-4 (prompt_worker)",
        ":\n",
        "Traceback (most recent call last):\n",
        "  File \"main.py\", line 1, in prompt_worker\n",
        "NodeNotFoundError: Node 404 not found\n",
    ] {
        log.push(piece.to_owned());
    }
}

async fn outcome(
    following: tokio::task::JoinHandle<(Outcome, Vec<JobUpdate>)>,
) -> (Outcome, Vec<JobUpdate>) {
    timeout(LONG, following)
        .await
        .expect("it waits for ever")
        .unwrap()
}

#[tokio::test]
async fn a_worker_that_the_log_calls_dead_is_not_waited_for() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    fake.say(
        "execution_cached",
        &json!({"nodes": [], "prompt_id": id.to_string()}),
    );
    die(&fake);
    let (outcome, _) = outcome(following).await;
    let Outcome::Stalled { proof } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        proof,
        "Exception in thread Thread-4 (prompt_worker): NodeNotFoundError: Node 404 not found"
    );
}

#[tokio::test]
async fn a_job_that_waits_behind_the_one_that_killed_the_worker_is_not_waited_for_either() {
    let (fake, connection, id) = queued(Fake::new()).await;
    fake.running.lock().unwrap().push("theirs".to_owned());
    die(&fake);
    let (outcome, told) = outcome(follow(&connection, id)).await;
    assert!(matches!(outcome, Outcome::Stalled { .. }), "{outcome:?}");
    assert!(!told.contains(&JobUpdate::Executing));
}

#[tokio::test]
async fn a_log_is_not_believed_against_a_queue_that_moves_on() {
    let (fake, connection, id) = queued(Fake::new()).await;
    die(&fake);
    let following = follow(&connection, id);
    for job in 0..40 {
        *fake.running.lock().unwrap() = vec![format!("theirs-{job}")];
        pause(25).await;
    }
    fake.record(&id.to_string(), &success());
    made_a_picture(&outcome(following).await.0);
}

#[tokio::test]
async fn a_long_silent_node_is_told_and_never_taken_for_dead() {
    let (fake, connection, id) = queued(Fake::new()).await;
    fake.log
        .lock()
        .unwrap()
        .push("Exception in thread Thread-9 (download):\n".to_owned());
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    // Fifteen times as long as it takes to doubt.
    pause(900).await;
    fake.record(&id.to_string(), &success());
    let (outcome, told) = outcome(following).await;
    made_a_picture(&outcome);
    let stalls = told
        .iter()
        .filter(|update| matches!(update, JobUpdate::Stalled { .. }));
    assert_eq!(stalls.count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_log_that_never_comes_delays_nothing_but_the_doubt() {
    let (fake, connection, id) = queued(Fake::new()).await;
    *fake.log_hangs.lock().unwrap() = true;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    pause(300).await;
    fake.record(&id.to_string(), &success());
    fake.say(
        "executing",
        &json!({"node": null, "prompt_id": id.to_string()}),
    );
    made_a_picture(&outcome(following).await.0);
}

#[tokio::test]
async fn noise_of_every_kind_hides_nothing() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let text = id.to_string();
    let following = follow(&connection, id);
    fake.start(&text);
    let send = |out: Out| drop(fake.out.send(out));
    for n in 0..200_u32 {
        fake.say(
            "status",
            &json!({"status": {"exec_info": {"queue_remaining": n}}}),
        );
        fake.say("executing", &json!({"node": "2", "prompt_id": "another"}));
        send(Out::Text(format!(
            r#"{{"type":"progress_state","data":{{"prompt_id":"another","nodes":{{"{n}":{{"value":NaN,"max":1}}}}}}}}"#
        )));
        if n % 20 == 0 {
            pause(5).await;
        }
    }
    for odd in [
        "",
        "7",
        "{",
        "[]",
        r#"{"type":7}"#,
        r#"{"type":"x.y","data":[1]}"#,
        "\u{0}",
    ] {
        send(Out::Text(odd.to_owned()));
    }
    for odd in [
        &b""[..],
        b"\0",
        b"\0\0\0\x63abc",
        b"\0\0\0\x03\xff\xff\xff\xff",
        b"\0\0\0\x04\0\0\0\x02{}",
    ] {
        send(Out::Bytes(odd.to_vec()));
    }
    send(Out::Text(format!(
        r#"{{"type":"executed","data":{{"node":"2","output":{{"values":[NaN,-Infinity,1.5]}},"prompt_id":"{text}"}}}}"#
    )));
    send(Out::Text(format!(
        r#"{{"type":"progress","data":{{"value":NaN,"max":Infinity,"prompt_id":"{text}","node":"2"}}}}"#
    )));
    // A picture of 80 MB in one frame.
    let mut picture = b"\0\0\0\x01\0\0\0\x02".to_vec();
    picture.resize(80 << 20, 7);
    send(Out::Bytes(picture));
    fake.say(
        "executing",
        &json!({"node": "2", "display_node": "2", "prompt_id": text}),
    );
    pause(100).await;
    fake.record(&text, &success());
    fake.say("executing", &json!({"node": null, "prompt_id": text}));
    let (outcome, told) = outcome(following).await;
    made_a_picture(&outcome);
    let at_work = |update: &JobUpdate| matches!(update, JobUpdate::Progress { node: Some(node), .. } if node.as_str() == "2");
    assert!(
        told.iter().any(at_work),
        "what came after the noise was heard: {told:?}"
    );
    assert!(!told.contains(&JobUpdate::Unheard), "the socket held");
    assert_eq!(fake.sockets.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_socket_is_told_since_silence_means_nothing_then() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    pause(30).await;
    fake.out.send(Out::Close).ok().unwrap();
    pause(400).await;
    fake.record(&id.to_string(), &success());
    let (outcome, told) = outcome(following).await;
    made_a_picture(&outcome);
    assert_eq!(
        told.iter()
            .filter(|update| **update == JobUpdate::Unheard)
            .count(),
        1
    );
    assert!(
        !told
            .iter()
            .any(|update| matches!(update, JobUpdate::Stalled { .. }))
    );
}

/// A connection whose every wait but one is long, so that it is that one which ends.
async fn patient(fake: &Arc<Fake>, timing: Timing) -> (Arc<Connection>, Uuid) {
    let client = client(&serve(fake.router()).await);
    client.probe().await.unwrap();
    let connection = Connection::open_with(client, timing).await.unwrap();
    let id = submit(&connection).await.unwrap();
    (connection, id)
}

#[tokio::test]
async fn the_pause_between_two_questions_is_bounded() {
    let hour = Duration::from_hours(1);
    let fake = Fake::new();
    let timing = Timing {
        lost_after: hour,
        stall: hour,
        stop: hour,
        doubt: hour,
        ..quick()
    };
    let (connection, id) = patient(&fake, timing).await;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    // Long enough for the pause to have grown as far as it does; and no message tells of the end.
    pause(600).await;
    let asked = *fake.asked.lock().unwrap();
    pause(400).await;
    let since = *fake.asked.lock().unwrap() - asked;
    assert!(
        since >= 2,
        "asked only {since} times in five of the longest pauses"
    );
    fake.record(&id.to_string(), &success());
    made_a_picture(&outcome(following).await.0);
}

#[tokio::test]
async fn an_announced_record_that_never_comes_does_not_hold_the_follower() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    fake.say(
        "executing",
        &json!({"node": null, "prompt_id": id.to_string()}),
    );
    pause(700).await;
    // It listens again.
    fake.say(
        "executing",
        &json!({"node": "2", "prompt_id": id.to_string()}),
    );
    pause(50).await;
    fake.record(&id.to_string(), &success());
    let (outcome, told) = outcome(following).await;
    made_a_picture(&outcome);
    assert!(
        told.iter()
            .any(|update| matches!(update, JobUpdate::Progress { .. })),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_submission_that_was_lost_is_decided_after_two_looks() {
    let fake = Fake::new();
    let connection = connect(&fake).await;
    let id = Uuid::new_v4().to_string();
    let looked = timeout(LONG, connection.resolve_ambiguous(&id)).await;
    assert_eq!(looked.unwrap().unwrap(), Lookup::Absent);
}
