//! Files that go from one server to another while they are fetched.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Multipart, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::fake::{client, serve};
use crate::base::ContentHash;
use crate::client::{Client, ClientError, Downloaded, Uploaded};
use crate::protocol::FileRef;

const LENGTH: usize = 3_000_000;

fn content() -> Vec<u8> {
    (0u32..)
        .map(|n| u8::try_from(n * 31 % 253).unwrap())
        .take(LENGTH)
        .collect()
}

fn file() -> FileRef {
    FileRef {
        filename: "a.bin".to_owned(),
        subfolder: String::new(),
        folder: "output".to_owned(),
    }
}

/// What a server was given whole, and when the first of it came.
#[derive(Default)]
struct Taken {
    first: Notify,
    whole: Mutex<Vec<(String, Vec<u8>)>>,
}

async fn taking() -> (Client, Arc<Taken>) {
    async fn take(State(taken): State<Arc<Taken>>, mut form: Multipart) -> Response {
        let mut whole = None;
        while let Ok(Some(mut field)) = form.next_field().await {
            if field.name() != Some("image") {
                continue;
            }
            let name = field.file_name().unwrap().to_owned();
            let mut bytes = Vec::new();
            loop {
                match field.chunk().await {
                    Ok(Some(chunk)) => {
                        bytes.extend_from_slice(&chunk);
                        taken.first.notify_one();
                    }
                    Ok(None) => break,
                    Err(_) => return StatusCode::BAD_REQUEST.into_response(),
                }
            }
            whole = Some((name, bytes));
        }
        let (name, bytes) = whole.unwrap();
        let answer = serde_json::json!({"name": name, "subfolder": "kiln", "type": "input"});
        taken.whole.lock().unwrap().push((name, bytes));
        answer.to_string().into_response()
    }
    let taken = Arc::new(Taken::default());
    let router = Router::new()
        .route("/api/upload/image", post(take))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(taken.clone());
    (client(&serve(router).await), taken)
}

type Passed = JoinHandle<Result<(Uploaded, ContentHash), ClientError>>;

/// Fetches from one server and passes on to another, when it is offered.
async fn through(
    from: &Client,
    to: &Client,
    target: &std::path::Path,
) -> (Downloaded, Option<Passed>) {
    let (mut passed, wanted): (Option<Passed>, _) = (None, file());
    let fetched = from.download_offering(&wanted, target, |growing| {
        assert_eq!(growing.total(), LENGTH as u64);
        assert_eq!(growing.etag(), "\"e1\"");
        let to = to.clone();
        passed = Some(tokio::spawn(async move {
            to.pass_on(growing, "kiln/x.bin").await
        }));
    });
    let fetched = fetched.await.unwrap();
    (fetched, passed)
}

#[tokio::test]
async fn a_file_arrives_there_before_it_has_come_here() {
    let (to, taken) = taking().await;
    let watched = taken.clone();
    // The second half is sent when the other server has some of the first.
    let view = move || async move {
        let all = Bytes::from(content());
        let halves = [all.slice(..LENGTH / 2), all.slice(LENGTH / 2..)];
        let halves = futures_util::stream::unfold(0, move |at| {
            let (halves, watched) = (halves.clone(), watched.clone());
            async move {
                if at == 1 {
                    watched.first.notified().await;
                }
                let half = halves.get(at)?.clone();
                Some((Ok::<_, std::io::Error>(half), at + 1))
            }
        });
        let head = [
            (header::ETAG, "\"e1\"".to_owned()),
            (header::CONTENT_LENGTH, LENGTH.to_string()),
        ];
        (head, Body::from_stream(halves))
    };
    let from = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.bin");
    let (fetched, passed) = through(&from, &to, &target).await;
    let (uploaded, hash) = passed.unwrap().await.unwrap().unwrap();
    assert_eq!(fetched.finished.hash, ContentHash::of(&content()));
    assert_eq!(hash, fetched.finished.hash);
    assert_eq!(uploaded.value(), "kiln/x.bin");
    assert_eq!(std::fs::read(&target).unwrap(), content());
    let whole = taken.whole.lock().unwrap();
    assert_eq!(*whole, [("x.bin".to_owned(), content())]);
}

#[tokio::test]
async fn a_file_that_changes_on_its_way_never_arrives_whole_there() {
    let (to, taken) = taking().await;
    let asked = Arc::new(Mutex::new(0));
    let (counter, watched) = (asked.clone(), taken.clone());
    let view = move |headers: HeaderMap| async move {
        let n = {
            let mut asked = counter.lock().unwrap();
            *asked += 1;
            *asked
        };
        if n > 1 {
            assert!(headers.contains_key(header::RANGE));
            return ([(header::ETAG, "\"e2\"")], vec![7; LENGTH]).into_response();
        }
        let half = Bytes::from(content()).slice(..LENGTH / 2);
        let body = futures_util::stream::unfold(Some(half), move |half| {
            let watched = watched.clone();
            async move {
                match half {
                    Some(half) if !half.is_empty() => Some((Ok(half), Some(Bytes::new()))),
                    Some(_) => {
                        watched.first.notified().await;
                        Some((Err(std::io::Error::other("cut")), None))
                    }
                    None => None,
                }
            }
        });
        let head = [
            (header::ETAG, "\"e1\"".to_owned()),
            (header::CONTENT_LENGTH, LENGTH.to_string()),
        ];
        (head, Body::from_stream(body)).into_response()
    };
    let from = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.bin");
    let (fetched, passed) = through(&from, &to, &target).await;
    assert_eq!(fetched.finished.hash, ContentHash::of(&vec![7; LENGTH]));
    let passed = passed.unwrap().await.unwrap();
    assert!(passed.is_err(), "{passed:?}");
    assert_eq!(taken.whole.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_does_not_listen_holds_up_nothing() {
    let deaf = post(|| async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        ""
    });
    let to = client(&serve(Router::new().route("/api/upload/image", deaf)).await);
    let view = || async { ([(header::ETAG, "\"e1\"")], content()) };
    let from = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.bin");
    let (fetched, passed) = through(&from, &to, &target).await;
    assert_eq!(fetched.finished.hash, ContentHash::of(&content()));
    passed.unwrap().abort();
}

#[tokio::test]
async fn what_cannot_be_told_from_another_file_is_offered_to_nobody() {
    for tag in ["", "W/\"e1\""] {
        let view = move || async move { ([(header::ETAG, tag)], content()) };
        let from = client(&serve(Router::new().route("/api/view", get(view))).await);
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.bin");
        let wanted = file();
        let offered = from.download_offering(&wanted, &target, |_| panic!("{tag:?}"));
        offered.await.unwrap();
    }
}
