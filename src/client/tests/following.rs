//! What a follower tells apart, and what it bears.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use uuid::Uuid;

use super::fake::{Fake, Out, client, quick, serve, success};
use super::jobs::{connect, follow, made_a_picture, pause, queued, submit};
use crate::client::follow::Timing;
use crate::client::socket::Pulse;
use crate::client::{ClientError, Connection, JobUpdate, Lookup, Outcome};

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

/// Texts and frames that no server should send.
fn say_odd_things(fake: &Fake, id: &str) {
    let send = |out: Out| drop(fake.out.send(out));
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
        r#"{{"type":"executed","data":{{"node":"2","output":{{"values":[NaN,-Infinity,1.5]}},"prompt_id":"{id}"}}}}"#
    )));
    send(Out::Text(format!(
        r#"{{"type":"progress","data":{{"value":NaN,"max":Infinity,"prompt_id":"{id}","node":"2"}}}}"#
    )));
}

#[tokio::test]
async fn noise_of_every_kind_hides_nothing() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let text = id.to_string();
    let (sender, mut updates) = tokio::sync::mpsc::unbounded_channel();
    let follower = connection.clone();
    let following = tokio::spawn(async move { follower.follow(&id.to_string(), sender).await });
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
    say_odd_things(&fake, &text);
    // A picture of 80 MB in one frame.
    let mut picture = b"\0\0\0\x01\0\0\0\x02".to_vec();
    picture.resize(80 << 20, 7);
    send(Out::Bytes(picture));
    fake.say(
        "executing",
        &json!({"node": "2", "display_node": "2", "prompt_id": text}),
    );
    // What came after the noise is heard, on the same socket.
    let heard = async {
        while let Some(update) = updates.recv().await {
            assert_ne!(update, JobUpdate::Unheard, "the socket was lost");
            if matches!(&update, JobUpdate::Progress { node: Some(node), .. } if node.as_str() == "2")
            {
                return;
            }
        }
        panic!("it ended before");
    };
    timeout(LONG, heard).await.expect("the noise drowned it");
    fake.record(&text, &success());
    fake.say("executing", &json!({"node": null, "prompt_id": text}));
    made_a_picture(&timeout(LONG, following).await.unwrap().unwrap());
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

/// A server whose sockets are opened and then never heard of again; how often one was.
async fn half_open(opens: bool) -> (String, Arc<std::sync::Mutex<usize>>) {
    let count = Arc::new(std::sync::Mutex::new(0));
    let counted = Arc::clone(&count);
    let router = Fake::new().router();
    let inner = serve(router).await.replace("http://", "");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (inner, counted) = (inner.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let mut behind = tokio::net::TcpStream::connect(inner).await.unwrap();
                if String::from_utf8_lossy(&head[..length]).starts_with("GET /api/ws") {
                    *counted.lock().unwrap() += 1;
                    if opens {
                        behind.write_all(&head[..length]).await.unwrap();
                        let answer = behind.read(&mut head).await.unwrap();
                        stream.write_all(&head[..answer]).await.unwrap();
                    }
                    std::future::pending::<()>().await;
                }
                behind.write_all(&head[..length]).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    (url, count)
}

fn hasty() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        pulse: Pulse {
            connect: ms(200),
            greeting: ms(50),
            ping: ms(50),
            dead: ms(150),
            close: ms(50),
        },
        ..quick()
    }
}

#[tokio::test]
async fn a_half_open_socket_is_given_up_and_another_one_opened() {
    let (url, opened) = half_open(true).await;
    let connection = Connection::open_with(client(&url), hasty()).await.unwrap();
    let again = async {
        while *opened.lock().unwrap() < 2 {
            pause(20).await;
        }
    };
    timeout(LONG, again)
        .await
        .expect("it waits for a dead socket");
    drop(connection);
}

#[tokio::test]
async fn a_socket_that_is_never_opened_keeps_nobody_waiting() {
    let (url, _) = half_open(false).await;
    let opening = timeout(LONG, Connection::open_with(client(&url), hasty())).await;
    let connection = opening.expect("it waits for ever").unwrap();
    assert!(
        connection
            .socket_error()
            .is_some_and(|error| matches!(error, ClientError::Timeout { .. }))
    );
}
