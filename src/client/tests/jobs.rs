//! Submitting, following and stopping jobs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::fake::{Fake, Out, client, graph, quick, serve, success};
use crate::client::{Connection, JobRequest, JobUpdate, Lookup, Outcome, SubmitError};

pub(super) async fn connect(fake: &Arc<Fake>) -> Arc<Connection> {
    let client = client(&serve(fake.router()).await);
    client.probe().await.unwrap();
    Connection::open_with(client, quick()).await.unwrap()
}

pub(super) async fn submit(connection: &Connection) -> Result<Uuid, SubmitError> {
    let prompt_id = Uuid::new_v4();
    let graph = graph();
    let request = JobRequest {
        prompt_id,
        graph: &graph,
        targets: &[],
        extra_data: Map::new(),
        allow_partial: false,
    };
    connection.submit(&request).await.map(|accepted| {
        assert_eq!(accepted.prompt_id, prompt_id.to_string());
        prompt_id
    })
}

/// A job of ours at a server.
pub(super) async fn queued(fake: Arc<Fake>) -> (Arc<Fake>, Arc<Connection>, Uuid) {
    let connection = connect(&fake).await;
    let id = submit(&connection).await.unwrap();
    (fake, connection, id)
}

/// Follows in the background; gives the outcome and all that was told.
pub(super) fn follow(
    connection: &Arc<Connection>,
    id: Uuid,
) -> tokio::task::JoinHandle<(Outcome, Vec<JobUpdate>)> {
    let connection = connection.clone();
    tokio::spawn(async move {
        let (sender, mut updates) = mpsc::unbounded_channel();
        let outcome = connection.follow(&id.to_string(), sender).await;
        let mut told = Vec::new();
        while let Some(update) = updates.recv().await {
            told.push(update);
        }
        (outcome, told)
    })
}

pub(super) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub(super) fn made_a_picture(outcome: &Outcome) {
    let Outcome::Succeeded {
        results, cached, ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(results.len(), 1);
    assert_eq!(cached.len(), 1);
}

#[tokio::test]
async fn a_job_is_followed_from_start_to_record() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let body = &fake.posted("/api/prompt")[0];
    assert_eq!(body["client_id"], fake.sockets.lock().unwrap()[0].as_str());
    assert_eq!(body["prompt"]["1"]["inputs"], json!({}));
    assert!(body.get("partial_execution_targets").is_none());
    let text = id.to_string();
    // Messages before anybody follows are kept; those about other people's jobs are not ours.
    fake.start(&text);
    fake.say("executing", &json!({"node": "1", "prompt_id": "another"}));
    fake.say(
        "executing",
        &json!({"node": "2", "display_node": "2", "prompt_id": text}),
    );
    let mut frame = b"\0\0\0\x03\0\0\0\x012".to_vec();
    frame.extend_from_slice("Status: h\u{e9}".as_bytes());
    fake.out.send(Out::Bytes(frame)).ok().unwrap();
    pause(30).await;
    let following = follow(&connection, id);
    fake.record(&text, &success());
    fake.say("executing", &json!({"node": null, "prompt_id": text}));
    let (outcome, told) = following.await.unwrap();
    made_a_picture(&outcome);
    assert!(fake.flags.lock().unwrap()[0].contains("supports_preview_metadata"));
    assert_eq!(told[0], JobUpdate::Executing);
    assert!(
        matches!(&told[1], JobUpdate::Progress { node: Some(node), .. } if node.as_str() == "2")
    );
    assert!(matches!(&told[2], JobUpdate::Text { text, .. } if text == "Status: h\u{e9}"));
}

#[tokio::test]
async fn a_record_that_comes_after_its_message_is_waited_for() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let following = follow(&connection, id);
    fake.say(
        "executing",
        &json!({"node": null, "prompt_id": id.to_string()}),
    );
    pause(25).await;
    fake.record(&id.to_string(), &success());
    made_a_picture(&following.await.unwrap().0);
}

#[tokio::test]
async fn a_dropped_socket_does_not_lose_the_job() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    fake.out.send(Out::Close).ok().unwrap();
    pause(100).await;
    fake.record(&id.to_string(), &success());
    made_a_picture(&following.await.unwrap().0);
    pause(600).await;
    let sockets = fake.sockets.lock().unwrap().clone();
    assert_eq!(sockets.len(), 2);
    assert_ne!(sockets[0], sockets[1], "a new socket needs a new client id");
}

#[tokio::test]
async fn a_deaf_socket_does_not_lose_the_job() {
    for jobs_api in [true, false] {
        let (fake, connection, id) = queued(Fake::with(jobs_api)).await;
        let following = follow(&connection, id);
        pause(50).await;
        fake.record(&id.to_string(), &success());
        made_a_picture(&following.await.unwrap().0);
    }
}

#[tokio::test]
async fn a_follower_whose_messages_go_to_another_one_still_ends() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let first = follow(&connection, id);
    pause(30).await;
    let second = follow(&connection, id);
    pause(30).await;
    fake.record(&id.to_string(), &success());
    for following in [first, second] {
        let ended = tokio::time::timeout(Duration::from_secs(5), following).await;
        assert!(matches!(
            ended.unwrap().unwrap().0,
            Outcome::Succeeded { .. }
        ));
    }
}

#[tokio::test]
async fn a_flood_of_messages_does_not_pile_up_and_does_not_hide_the_end() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let text = id.to_string();
    fake.start(&text);
    for value in 0..20_000 {
        // The server's own queue is short.
        if value % 32 == 0 {
            tokio::task::yield_now().await;
            pause(1).await;
        }
        fake.say(
            "progress",
            &json!({"value": value, "max": 20_000, "prompt_id": text, "node": "2"}),
        );
    }
    pause(50).await;
    let waiting = connection.waiting(id);
    assert!(waiting <= 4096, "{waiting}");
    fake.record(&text, &success());
    let ended = tokio::time::timeout(Duration::from_secs(5), follow(&connection, id)).await;
    assert!(matches!(
        ended.unwrap().unwrap().0,
        Outcome::Succeeded { .. }
    ));
}

#[tokio::test]
async fn a_success_whose_record_holds_an_error_is_a_failure() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let text = format!(
        r#"{{"{id}":{{"outputs":{{"1":{{"x":[NaN]}}}},"status":{{"status_str":"success","messages":[["execution_error",{{"node_id":"3","node_type":"X","exception_message":"cycle\n"}}]]}}}}}}"#
    );
    fake.history.lock().unwrap().insert(id.to_string(), text);
    let (outcome, _) = follow(&connection, id).await.unwrap();
    assert!(matches!(outcome, Outcome::Failed(failure) if failure.message == "cycle"));
}

#[tokio::test]
async fn a_blocked_node_is_told_and_does_not_end_the_job() {
    let (fake, connection, id) = queued(Fake::new()).await;
    let following = follow(&connection, id);
    fake.start(&id.to_string());
    fake.say(
        "execution_error",
        &json!({"prompt_id": id.to_string(), "node_id": "2", "exception_type": "ExecutionBlocked", "current_inputs": []}),
    );
    pause(60).await;
    assert!(!following.is_finished());
    fake.record(&id.to_string(), &success());
    let (outcome, told) = following.await.unwrap();
    made_a_picture(&outcome);
    assert!(told.iter().any(|u| matches!(u, JobUpdate::Blocked(_))));
}

#[tokio::test]
async fn a_job_that_the_server_forgot_is_lost_and_not_before_a_second_look() {
    let (fake, connection, id) = queued(Fake::new()).await;
    fake.pending.lock().unwrap().clear();
    let began = Instant::now();
    let (outcome, _) = follow(&connection, id).await.unwrap();
    assert_eq!(outcome, Outcome::Lost);
    assert!(began.elapsed() >= quick().absent);
}

#[tokio::test]
async fn a_waiting_job_that_is_cancelled_ends_as_cancelled() {
    for jobs_api in [true, false] {
        let (fake, connection, id) = queued(Fake::with(jobs_api)).await;
        let following = follow(&connection, id);
        assert!(connection.cancel(&id.to_string()).await.unwrap());
        assert_eq!(following.await.unwrap().0, Outcome::Cancelled);
        assert_eq!(fake.posted("/api/interrupt"), [json!(null); 0]);
    }
}

#[tokio::test]
async fn an_old_server_is_interrupted_only_while_our_job_runs() {
    let (fake, connection, id) = queued(Fake::with(false)).await;
    fake.start("of-somebody-else");
    connection
        .cancel(&Uuid::new_v4().to_string())
        .await
        .unwrap();
    assert_eq!(fake.posted("/api/interrupt").len(), 0);
    fake.start(&id.to_string());
    let following = follow(&connection, id);
    assert!(connection.cancel(&id.to_string()).await.unwrap());
    assert_eq!(
        fake.posted("/api/interrupt"),
        [json!({"prompt_id": id.to_string()})]
    );
    fake.record(
        &id.to_string(),
        &json!({"status": {"status_str": "error", "messages": [["execution_interrupted", {}]]}}),
    );
    assert_eq!(following.await.unwrap().0, Outcome::Cancelled);
}

#[tokio::test]
async fn a_cancelled_job_whose_record_says_success_is_kept() {
    let (fake, connection, id) = queued(Fake::new()).await;
    fake.start(&id.to_string());
    let following = follow(&connection, id);
    connection.cancel(&id.to_string()).await.unwrap();
    fake.record(&id.to_string(), &success());
    made_a_picture(&following.await.unwrap().0);
}

#[tokio::test]
async fn a_job_stopped_by_somebody_else_is_interrupted() {
    let (fake, connection, id) = queued(Fake::new()).await;
    fake.record(
        &id.to_string(),
        &json!({"status": {"status_str": "error", "messages": [["execution_interrupted", {}]]}}),
    );
    let (outcome, _) = follow(&connection, id).await.unwrap();
    assert_eq!(outcome, Outcome::Interrupted);
}

#[tokio::test]
async fn a_dead_worker_is_told_as_a_stall_and_after_a_cancel_as_stuck() {
    let (fake, connection, id) = queued(Fake::new()).await;
    fake.start(&id.to_string());
    let following = follow(&connection, id);
    pause(300).await;
    assert!(!following.is_finished());
    connection.cancel(&id.to_string()).await.unwrap();
    let (outcome, told) = following.await.unwrap();
    assert_eq!(outcome, Outcome::Stuck);
    let stalls = told
        .iter()
        .filter(|u| matches!(u, JobUpdate::Stalled { .. }));
    assert_eq!(stalls.count(), 1);
}

#[tokio::test]
async fn a_server_that_goes_away_is_given_its_time_and_then_given_up() {
    let fake = Fake::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = fake.router();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // A runtime of its own, so that ending it ends every connection too.
    let server = std::thread::spawn({
        let listener = listener.into_std().unwrap();
        move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        }
    });
    let client = client(&url);
    client.probe().await.unwrap();
    let connection = Connection::open_with(client, quick()).await.unwrap();
    let id = submit(&connection).await.unwrap();
    let following = follow(&connection, id);
    stop.send(()).unwrap();
    let began = Instant::now();
    let (outcome, told) = following.await.unwrap();
    server.join().unwrap();
    assert!(
        matches!(outcome, Outcome::Unreachable { .. }),
        "{outcome:?}"
    );
    assert!(began.elapsed() >= quick().lost_after);
    assert!(
        told.iter()
            .any(|u| matches!(u, JobUpdate::Unreachable { .. }))
    );
    assert!(matches!(
        submit(&connection).await,
        Err(SubmitError::Unreachable(_))
    ));
}

#[tokio::test]
async fn a_job_accepted_in_part_is_followed_where_that_is_allowed() {
    let fake = Fake::new();
    let connection = connect(&fake).await;
    *fake.answer.lock().unwrap() = (
        200,
        r#"{"prompt_id":"ID","number":1,"node_errors":{"2":{"class_type":"SaveImage","errors":[{"type":"value_not_in_list","message":"m","details":"d"}]}}}"#.to_owned(),
    );
    let graph = graph();
    let request = JobRequest {
        prompt_id: Uuid::new_v4(),
        graph: &graph,
        targets: &[],
        extra_data: Map::new(),
        allow_partial: true,
    };
    let accepted = connection.submit(&request).await.unwrap();
    let left_out = accepted
        .left_out
        .expect("the server said what it leaves out");
    assert_eq!(left_out.node_errors["2"].errors[0].message, "m");
    assert!(fake.posted("cancel").is_empty());
    fake.record(&accepted.prompt_id, &success());
    let (outcome, _) = follow(&connection, request.prompt_id).await.unwrap();
    made_a_picture(&outcome);
    // Without any valid output there is no job, whatever is allowed.
    *fake.answer.lock().unwrap() = (
        400,
        r#"{"error":{"type":"prompt_outputs_failed_validation","message":"m","details":""},"node_errors":{"2":{"class_type":"SaveImage","errors":[]}}}"#.to_owned(),
    );
    let refused = connection.submit(&request).await;
    assert!(
        matches!(refused, Err(SubmitError::Rejected(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_job_accepted_in_part_is_rejected_and_stopped() {
    let fake = Fake::new();
    let connection = connect(&fake).await;
    *fake.answer.lock().unwrap() = (
        200,
        json!({"prompt_id": "ID", "number": 2, "node_errors": {"2": {"class_type": "SaveImage", "errors": []}}})
            .to_string(),
    );
    let Err(SubmitError::Rejected(answer)) = submit(&connection).await else {
        panic!("not rejected");
    };
    assert_eq!(
        fake.posted("cancel"),
        [json!(answer.prompt_id.as_deref().unwrap())]
    );
}

#[tokio::test]
async fn a_server_that_does_not_take_our_id_is_refused_and_its_job_stopped() {
    let fake = Fake::new();
    let connection = connect(&fake).await;
    *fake.answer.lock().unwrap() = (200, json!({"prompt_id": "theirs", "number": 2}).to_string());
    let refused = submit(&connection).await;
    assert!(matches!(refused, Err(SubmitError::Refused(_))));
    assert_eq!(fake.posted("cancel"), [json!("theirs")]);
}

#[tokio::test]
async fn answers_to_a_submission_are_told_apart() {
    let fake = Fake::new();
    let connection = connect(&fake).await;
    let answer = async |status: u16, text: &str| {
        *fake.answer.lock().unwrap() = (status, text.to_owned());
        submit(&connection).await.unwrap_err()
    };
    let invalid = r#"{"error":{"type":"prompt_no_outputs","message":"Prompt has no outputs","details":"","extra_info":{}},"node_errors":{}}"#;
    assert!(matches!(answer(400, invalid).await, SubmitError::Rejected(a) if a.error.is_some()));
    let cut = r#"{"prompt_id": "ID", "numb"#;
    for (status, text) in [
        (500, "500 Internal Server Error"),
        (502, "<html>"),
        (200, cut),
        (200, "<html>hello</html>"),
        (200, "{}"),
    ] {
        assert!(matches!(
            answer(status, text).await,
            SubmitError::Ambiguous(_)
        ));
    }
    for (status, text) in [
        (413, "Maximum request body size 104857600 exceeded."),
        (403, ""),
        (400, "what?"),
    ] {
        assert!(
            matches!(answer(status, text).await, SubmitError::Refused(_)),
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_ambiguous_job_is_looked_for_twice() {
    let fake = Fake::new();
    let connection = connect(&fake).await;
    let id = Uuid::new_v4();
    let looking = tokio::spawn({
        let connection = connection.clone();
        async move { connection.resolve_ambiguous(&id.to_string()).await.unwrap() }
    });
    pause(20).await;
    // The request was still on its way.
    fake.pending.lock().unwrap().push(id.to_string());
    assert_eq!(looking.await.unwrap(), Lookup::Pending);
    assert_eq!(
        connection
            .resolve_ambiguous(&Uuid::new_v4().to_string())
            .await
            .unwrap(),
        Lookup::Absent
    );
}

#[tokio::test]
async fn a_server_without_a_socket_still_tells_how_jobs_end() {
    let fake = Fake::new();
    let router = fake.router();
    let without = axum::Router::new()
        .route(
            "/api/ws",
            axum::routing::get(|| async { axum::http::StatusCode::FORBIDDEN }),
        )
        .fallback_service(router);
    let client = client(&serve(without).await);
    let connection = Connection::open_with(client, quick()).await.unwrap();
    assert!(connection.socket_error().is_some());
    let id = submit(&connection).await.unwrap();
    fake.record(&id.to_string(), &success());
    made_a_picture(&follow(&connection, id).await.unwrap().0);
}
