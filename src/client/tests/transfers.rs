//! Uploads and downloads.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Multipart, RawQuery};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use futures_util::StreamExt;

use super::fake::{Fake, client, serve};
use crate::base::ContentHash;
use crate::client::{Client, ClientError, DownloadError, Refusal};
use crate::protocol::FileRef;

fn file() -> FileRef {
    FileRef {
        filename: "a b&c.png".to_owned(),
        subfolder: "s/t".to_owned(),
        folder: "temp".to_owned(),
    }
}

fn content() -> Vec<u8> {
    (0..300_000u32)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect()
}

/// The first bytes of a body whose end never comes.
fn cut(bytes: &[u8]) -> Body {
    let first = Ok(Bytes::copy_from_slice(bytes));
    let end = Err(std::io::Error::other("cut"));
    Body::from_stream(
        futures_util::stream::iter([first, end]).then(async |piece| {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            piece
        }),
    )
}

/// A server whose first answer breaks in the middle and whose file is called `tags` in turn.
async fn breaking(tags: &'static [&'static str]) -> (Client, Arc<Mutex<Vec<Option<String>>>>) {
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = ranges.clone();
    let view = move |headers: HeaderMap| async move {
        let text = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let range: Option<String> = text(header::RANGE);
        let mut seen = seen.lock().unwrap();
        let tag = tags[seen.len().min(tags.len() - 1)];
        seen.push(range.clone());
        let all = content();
        let length = all.len();
        let head = [(header::ETAG, tag.to_owned())];
        if seen.len() == 1 {
            let length = [(header::CONTENT_LENGTH, length.to_string())];
            return (head, length, cut(&all[..100_000])).into_response();
        }
        match range {
            Some(range) if text(header::IF_RANGE).as_deref() == Some(tag) => {
                let from: usize = range[6..range.len() - 1].parse().unwrap();
                let range = format!("bytes {from}-{}/{length}", length - 1);
                let range = [(header::CONTENT_RANGE, range)];
                (
                    StatusCode::PARTIAL_CONTENT,
                    head,
                    range,
                    all[from..].to_vec(),
                )
                    .into_response()
            }
            _ => (head, all).into_response(),
        }
    };
    let url = serve(Router::new().route("/api/view", get(view))).await;
    (client(&url), ranges)
}

#[tokio::test]
async fn a_download_is_whole_hashed_and_asked_for_by_its_full_name() {
    let query = Arc::new(Mutex::new(None));
    let noted = query.clone();
    let view = move |RawQuery(query): RawQuery| async move {
        *noted.lock().unwrap() = query;
        ([(header::ETAG, "\"e1\"")], content())
    };
    let client = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("deep/a.png");
    let mut last = (0, None);
    let done = client
        .download(&file(), &target, |now, all| last = (now, all))
        .await
        .unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), content());
    assert_eq!(done.finished.hash, ContentHash::of(&content()));
    assert_eq!(done.etag.as_deref(), Some("\"e1\""));
    assert_eq!(last, (300_000, Some(300_000)));
    assert_eq!(
        query.lock().unwrap().as_deref(),
        Some("filename=a+b%26c.png&subfolder=s%2Ft&type=temp")
    );
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let (client, ranges) = breaking(&["\"e1\""]).await;
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.png");
    client.download(&file(), &target, |_, _| {}).await.unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), content());
    let ranges = ranges.lock().unwrap();
    assert_eq!(*ranges, [None, Some("bytes=100000-".to_owned())]);
}

#[tokio::test]
async fn a_file_that_changed_in_between_is_fetched_anew() {
    for tags in [&["\"e1\"", "\"e2\""][..], &["W/\"weak\""]] {
        let (client, ranges) = breaking(tags).await;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.png");
        let done = client.download(&file(), &target, |_, _| {}).await.unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), content());
        assert_eq!(done.finished.hash, ContentHash::of(&content()));
        assert_eq!(done.etag.as_deref(), tags.last().copied());
        assert_eq!(ranges.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_download_whose_end_was_lost_is_fetched_anew() {
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let view = move |headers: HeaderMap| async move {
        let mut asked = counter.lock().unwrap();
        *asked += 1;
        let tag = [(header::ETAG, "\"e1\"")];
        if headers.contains_key(header::RANGE) {
            return (StatusCode::RANGE_NOT_SATISFIABLE, tag).into_response();
        }
        match *asked {
            // All bytes, in pieces, and no last piece.
            1 => (tag, cut(&content())).into_response(),
            _ => (tag, content()).into_response(),
        }
    };
    let client = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a.png");
    client.download(&file(), &target, |_, _| {}).await.unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), content());
    assert_eq!(*asked.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_download_that_only_breaks_is_given_up_and_leaves_nothing() {
    let view = || async { ([(header::CONTENT_LENGTH, "10")], cut(b"")).into_response() };
    let client = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    let error = client
        .download(&file(), &dir.path().join("a.png"), |_, _| {})
        .await
        .unwrap_err();
    assert!(
        matches!(error, DownloadError::Server(ClientError::Broken { .. })),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_missing_file_is_not_a_broken_server() {
    let client = client(&serve(Router::new()).await);
    let dir = tempfile::tempdir().unwrap();
    let error = client
        .download(&file(), &dir.path().join("a.png"), |_, _| {})
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Missing { file } if file == "s/t/a b&c.png [temp]"));
}

#[tokio::test]
async fn a_disk_that_refuses_is_not_the_servers_fault() {
    let view = || async { content().repeat(40) };
    let client = client(&serve(Router::new().route("/api/view", get(view))).await);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = client
        .download(&file(), &dir.path().join("file/a.png"), |_, _| {})
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Write(_)), "{error}");
}

#[tokio::test]
async fn a_file_is_unchanged_when_its_etag_is() {
    let view = |headers: HeaderMap| async move {
        if headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|t| t == "\"e1\"")
        {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            content().into_response()
        }
    };
    let client = client(&serve(Router::new().route("/api/view", get(view))).await);
    assert!(client.unchanged(&file(), "\"e1\"").await.unwrap());
    assert!(!client.unchanged(&file(), "\"e2\"").await.unwrap());
}

type Fields = Arc<Mutex<Vec<(String, Option<String>, Vec<u8>)>>>;

async fn taking() -> (Client, Fields) {
    let fields: Fields = Arc::default();
    let seen = fields.clone();
    let upload = move |headers: HeaderMap, mut form: Multipart| async move {
        assert!(
            headers.contains_key(header::CONTENT_LENGTH),
            "streamed with its length"
        );
        while let Some(field) = form.next_field().await.unwrap() {
            let name = field.name().unwrap().to_owned();
            let file = field.file_name().map(str::to_owned);
            let bytes = field.bytes().await.unwrap().to_vec();
            seen.lock().unwrap().push((name, file, bytes));
        }
        r#"{"name":"x (1).png","subfolder":"kiln","type":"input","asset":{}}"#
    };
    let router = Router::new().route("/api/upload/image", post(upload));
    (client(&serve(router).await), fields)
}

#[tokio::test]
async fn an_upload_goes_to_the_inputs_and_is_used_as_the_server_named_it() {
    let (client, fields) = taking().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("local.png");
    std::fs::write(&path, content()).unwrap();
    let uploaded = client.upload(&path, "kiln/x.png").await.unwrap();
    assert_eq!(uploaded.value(), "kiln/x (1).png");
    let fields = fields.lock().unwrap();
    assert_eq!(
        *fields,
        [
            ("image".to_owned(), Some("x.png".to_owned()), content()),
            ("type".to_owned(), None, b"input".to_vec()),
            ("subfolder".to_owned(), None, b"kiln".to_vec()),
        ]
    );
}

#[tokio::test]
async fn a_file_too_large_for_the_server_is_not_sent() {
    let client = client(&serve(Fake::new().router()).await);
    client.probe().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.bin");
    std::fs::write(&path, content()).unwrap();
    let error = client.upload(&path, "x.bin").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(Refusal { status: 413, said, .. }) if said.contains("300000 bytes")),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_server_says_to_an_upload_is_told() {
    // It reads what it refuses: a server that does not may close before its answer is read.
    let answer =
        |_: axum::body::Bytes| async { (StatusCode::BAD_REQUEST, "").into_response() as Response };
    let client = client(&serve(Router::new().fallback(answer)).await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let missing = client.upload(&path, "a.png").await.unwrap_err();
    assert!(
        matches!(missing, ClientError::Unreadable { .. }),
        "{missing}"
    );
    std::fs::write(&path, "x").unwrap();
    let error = client.upload(&path, "a.png").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused(Refusal { status: 400, .. })),
        "{error}"
    );
}
