//! Downloads from servers, and through proxies, that answer in odd ways.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};

use super::fake::{client, serve};
use crate::base::{ContentHash, ServerName};
use crate::client::{Access, Client, ClientError, DownloadError, Downloaded};
use crate::protocol::FileRef;

/// Where the first answer breaks.
const BREAK: usize = 100_000;

fn content() -> Vec<u8> {
    (0..300_000u32)
        .map(|n| u8::try_from(n * 7 % 251).unwrap())
        .collect()
}

fn file() -> FileRef {
    FileRef {
        filename: "a.png".to_owned(),
        subfolder: String::new(),
        folder: "output".to_owned(),
    }
}

/// A body that breaks after these bytes; the pause lets them be read before.
fn cut(bytes: &[u8]) -> Body {
    let first = Bytes::copy_from_slice(bytes);
    Body::from_stream(futures_util::stream::unfold(Some(first), |left| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        match left {
            Some(first) if !first.is_empty() => Some((Ok(first), Some(Bytes::new()))),
            Some(_) => Some((Err(std::io::Error::other("cut")), None)),
            None => None,
        }
    }))
}

fn first_half() -> Response {
    let all = content();
    let head = [
        (header::ETAG, "\"e1\"".to_owned()),
        (header::CONTENT_LENGTH, all.len().to_string()),
    ];
    (head, cut(&all[..BREAK])).into_response()
}

fn whole() -> Response {
    ([(header::ETAG, "\"e1\"")], content()).into_response()
}

/// A part, told as `range`.
fn part(range: String, body: &[u8]) -> Response {
    let head = [(header::CONTENT_RANGE, range)];
    (StatusCode::PARTIAL_CONTENT, head, body.to_vec()).into_response()
}

/// The ranges that a server was asked for, in order.
type Asked = Arc<Mutex<Vec<Option<String>>>>;

/// A server that answers the n-th question so, and what it was asked for.
async fn answering(
    answer: impl Fn(usize, Option<&str>) -> Response + Clone + Send + Sync + 'static,
) -> (String, Asked) {
    let asked: Asked = Arc::default();
    let seen = asked.clone();
    let view = move |headers: HeaderMap| async move {
        assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
        assert!(
            !headers.contains_key("x-api-key"),
            "the key left its origin"
        );
        let range = headers.get(header::RANGE);
        let range = range.map(|range| range.to_str().unwrap().to_owned());
        let mut seen = seen.lock().unwrap();
        seen.push(range.clone());
        answer(seen.len(), range.as_deref())
    };
    let url = serve(Router::new().route("/api/view", get(view))).await;
    (url, asked)
}

async fn fetch(client: &Client) -> (Result<Downloaded, DownloadError>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.png");
    let fetched = client.download(&file(), &target, |_, _| {}).await;
    (fetched, dir)
}

#[track_caller]
fn is_whole((fetched, dir): (Result<Downloaded, DownloadError>, tempfile::TempDir)) {
    let fetched = fetched.unwrap();
    assert_eq!(fetched.finished.hash, ContentHash::of(&content()));
    assert_eq!(std::fs::read(dir.path().join("a.png")).unwrap(), content());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn another_part_than_the_one_asked_for_is_never_put_into_the_file() {
    let all = content();
    let length = all.len();
    let from = |n: usize| format!("bytes {n}-{}", length - 1);
    for (range, body) in [
        (format!("{}/{length}", from(0)), all.clone()),
        (
            format!("{}/{length}", from(BREAK - 1)),
            all[BREAK - 1..].to_vec(),
        ),
        // The file has grown since.
        (
            format!("bytes {BREAK}-{length}/{}", length + 1),
            vec![9; length + 1 - BREAK],
        ),
        ("bytes what/ever".to_owned(), vec![1; 10]),
    ] {
        let told = range.clone();
        let (url, asked) = answering(move |n, asked| match (n, asked) {
            (1, _) => first_half(),
            (_, Some(_)) => part(range.clone(), &body),
            _ => whole(),
        })
        .await;
        is_whole(fetch(&client(&url)).await);
        let asked = asked.lock().unwrap();
        let rest = Some(format!("bytes={BREAK}-"));
        assert_eq!(*asked, [None, rest, None], "{told}");
    }
}

#[tokio::test]
async fn a_part_that_ends_early_is_followed_by_the_next() {
    let (url, asked) = answering(move |n, asked| {
        let all = content();
        let Some(asked) = asked else {
            assert_eq!(n, 1);
            return first_half();
        };
        let from: usize = asked["bytes=".len()..asked.len() - 1].parse().unwrap();
        let until = (from + 90_000).min(all.len());
        let range = format!("bytes {from}-{}/{}", until - 1, all.len());
        part(range, &all[from..until])
    })
    .await;
    is_whole(fetch(&client(&url)).await);
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let (url, asked) = answering(|n, _| if n == 1 { first_half() } else { whole() }).await;
    is_whole(fetch(&client(&url)).await);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_no_file() {
    let (url, asked) = answering(|_, _| part("bytes 0-9/20".to_owned(), &[1; 10])).await;
    let (fetched, dir) = fetch(&client(&url)).await;
    let error = fetched.unwrap_err();
    assert!(
        matches!(&error, DownloadError::Server(ClientError::Broken { cause, .. }) if cause.starts_with("another part came")),
        "{error}"
    );
    assert_eq!(asked.lock().unwrap().len(), 4);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn what_a_proxy_packed_is_unpacked_and_its_end_is_proven() {
    let (url, asked) = answering(|n, asked| {
        assert_eq!(
            asked, None,
            "parts of packed content are nothing to ask for"
        );
        let bytes = packed(&content());
        let head = [(header::CONTENT_ENCODING, "gzip"), (header::ETAG, "\"e1\"")];
        match n {
            // All that is told of its length is that it has ended.
            1 => (head, bytes[..bytes.len() - 5].to_vec()).into_response(),
            2 => (head, bytes[..bytes.len() / 2].to_vec()).into_response(),
            3 => (head, content()).into_response(),
            _ => (head, bytes).into_response(),
        }
    })
    .await;
    is_whole(fetch(&client(&url)).await);
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn what_cannot_be_unpacked_and_pages_in_place_of_files_are_refused_at_once() {
    for (name, value, said) in [
        (header::CONTENT_ENCODING, "br", "packed as `br`"),
        (
            header::CONTENT_TYPE,
            "text/html; charset=utf-8",
            "a web page",
        ),
    ] {
        let head = (name, HeaderValue::from_static(value));
        let (url, asked) = answering(move |_, _| ([head.clone()], "<html>").into_response()).await;
        let (fetched, dir) = fetch(&client(&url)).await;
        let error = fetched.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(asked.lock().unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_server_that_is_busy_or_away_for_a_moment_is_asked_again() {
    let (url, asked) = answering(|n, _| {
        let status = match n {
            1 => StatusCode::TOO_MANY_REQUESTS,
            2 => StatusCode::SERVICE_UNAVAILABLE,
            3 => return first_half(),
            4 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => return whole(),
        };
        (status, [(header::RETRY_AFTER, "0")], "not now").into_response()
    })
    .await;
    is_whole(fetch(&client(&url)).await);
    assert_eq!(asked.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_server_that_says_no_is_not_asked_again() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let (url, asked) = answering(move |_, _| status.into_response()).await;
        let (fetched, _dir) = fetch(&client(&url)).await;
        assert!(fetched.is_err());
        assert_eq!(asked.lock().unwrap().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_file_on_another_host_is_resumed_there_without_the_key() {
    let (files, asked) = answering(|n, asked| match (n, asked) {
        (1, _) => first_half(),
        (_, Some(_)) => {
            let all = content();
            let range = format!("bytes {BREAK}-{}/{}", all.len() - 1, all.len());
            part(range, &all[BREAK..])
        }
        _ => whole(),
    })
    .await;
    let doors = Arc::new(AtomicUsize::new(0));
    let counter = doors.clone();
    let door = move |headers: HeaderMap| async move {
        assert_eq!(headers["x-api-key"], "hush");
        counter.fetch_add(1, Ordering::SeqCst);
        let to = format!("{files}/api/view?signed=1");
        (StatusCode::FOUND, [(header::LOCATION, to)])
    };
    let strict = Router::new().route("/api/view", get(door));
    let url = serve(strict).await;
    let access = Access {
        headers: [("X-API-Key".to_owned(), "hush".to_owned())].into(),
        ..Access::default()
    };
    let client = Client::with_access(ServerName::from("test"), &url, access).unwrap();
    is_whole(fetch(&client).await);
    let rest = Some(format!("bytes={BREAK}-"));
    assert_eq!(*asked.lock().unwrap(), [None, rest]);
    let doors = doors.load(Ordering::SeqCst);
    assert_eq!(doors, 2, "each time for a fresh address");
}

#[tokio::test]
async fn only_so_many_files_come_from_one_server_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, top) = (now.clone(), most.clone());
    let view = move || async move {
        top.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(30)).await;
        counter.fetch_sub(1, Ordering::SeqCst);
        content()
    };
    let client = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let fetches = (0..50).map(|n| {
        let (client, target) = (client.clone(), dir.path().join(n.to_string()));
        async move { client.download(&file(), &target, |_, _| {}).await }
    });
    for fetched in futures_util::future::join_all(fetches).await {
        fetched.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 16);
}
