//! Addresses, redirects, bounds, and what is no `ComfyUI`.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{Router, get, post};

use super::fake::{Fake, client, serve};
use crate::base::ServerName;
use crate::client::http::{Call, Payload};
use crate::client::{Access, Client, ClientError, Connection, Refusal};

#[tokio::test]
async fn a_probe_learns_version_routes_and_limits() {
    for jobs_api in [true, false] {
        let info = client(&serve(Fake::with(jobs_api).router()).await)
            .probe()
            .await
            .unwrap();
        assert_eq!(info.version, "0.33.0");
        assert_eq!((info.jobs_api, info.cancel_api), (jobs_api, jobs_api));
        assert_eq!(info.max_upload_size, Some(5000));
        assert_eq!(info.devices[0].kind, "cpu");
    }
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let error = client(&url).probe().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no connection to {url}: connection refused")
    );
    let error = Connection::open(client(&url)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_web_page_is_not_comfyui() {
    let page = || async { Html("\n<!doctype html>\n<title>Hi</title>") };
    let url = serve(Router::new().fallback(page)).await;
    let error = client(&url).probe().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{url}/api/system_stats answered, but it is not ComfyUI: got text/html, `<!doctype html>`"
        )
    );
    let missing = serve(Router::new()).await;
    let error = client(&missing).probe().await.unwrap_err();
    assert!(error.to_string().ends_with("status 404"), "{error}");
    let error = client(&url).queue().await.unwrap_err();
    assert!(matches!(error, ClientError::NotComfyUi { .. }), "{error}");
}

#[tokio::test]
async fn a_login_is_not_taken_for_another_program() {
    let url =
        serve(Router::new().fallback(|| async { (StatusCode::UNAUTHORIZED, "log in") })).await;
    let error = client(&url).probe().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused(Refusal { status: 401, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_path_in_the_address_is_kept() {
    let url = serve(Router::new().nest("/comfy", Fake::new().router())).await;
    for path in ["/comfy", "/comfy/", "/comfy/?x=1#y"] {
        client(&format!("{url}{path}")).probe().await.unwrap();
    }
}

#[tokio::test]
async fn class_names_are_one_segment_of_the_path() {
    let seen = |uri: axum::http::Uri| async move { axum::Json(uri.path().to_owned()) };
    let url = serve(Router::new().fallback(seen)).await;
    let path = client(&url).object_info_class("a/b? c|é").await.unwrap();
    assert_eq!(path, "/api/object_info/a%2Fb%3F%20c|%C3%A9");
}

#[test]
fn addresses_that_are_none_are_refused() {
    for bad in [
        "",
        "127.0.0.1:8188",
        "ftp://x",
        "http://",
        "http://me:secret@x",
    ] {
        let error = Client::new(ServerName::from("x"), bad).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

/// A server that notes the keys it is shown, and one that redirects to it and to itself.
async fn two_origins() -> (Client, Arc<Mutex<Vec<(String, bool)>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = {
        let seen = seen.clone();
        move |uri: axum::http::Uri, headers: HeaderMap| {
            let seen = seen.clone();
            async move {
                let path = uri.path().to_owned();
                seen.lock()
                    .unwrap()
                    .push((path, headers.contains_key("x-api-key")));
                "[]"
            }
        }
    };
    let other = serve(Router::new().fallback(note.clone())).await;
    let far = format!("{other}/far");
    let router = Router::new()
        .route("/near", get(note))
        .route("/api/here", get(|| async { Redirect::to("/near") }))
        .route(
            "/api/loop",
            get(|| async { Redirect::temporary("/api/loop") }),
        )
        .route(
            "/api/kept",
            post(|| async { Redirect::permanent("/api/taken") }),
        )
        .route("/api/taken", post(|body: String| async move { body }))
        .route(
            "/api/away",
            get({
                let far = far.clone();
                async move || Redirect::temporary(&far)
            })
            .post(async move || Redirect::temporary(&far)),
        );
    let access = Access {
        headers: [("x-api-key".to_owned(), "k".to_owned())].into(),
        ..Access::default()
    };
    let url = serve(router).await;
    let client = Client::with_access(ServerName::from("test"), &url, access).unwrap();
    (client, seen)
}

#[tokio::test]
async fn our_headers_stay_with_our_origin() {
    let (client, seen) = two_origins().await;
    for path in ["here", "away"] {
        client
            .json(Call::get(client.at(&[path])), 100)
            .await
            .unwrap();
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [("/near".to_owned(), true), ("/far".to_owned(), false)]
    );
}

#[tokio::test]
async fn redirects_that_change_the_request_or_never_end_are_refused() {
    let (client, seen) = two_origins().await;
    let post = |path| Call::post(client.at(&[path]), Payload::Json("7".into()));
    assert_eq!(client.json(post("kept"), 100).await.unwrap(), 7);
    for call in [post("away"), Call::get(client.at(&["loop"]))] {
        let error = client.json(call, 100).await.unwrap_err();
        assert!(matches!(error, ClientError::Redirect { .. }), "{error}");
    }
    assert!(seen.lock().unwrap().is_empty());
    let moved = serve(Router::new().fallback(|| async { Redirect::to("/near") })).await;
    let client = super::fake::client(&moved);
    let call = Call::post(client.at(&["prompt"]), Payload::Json("7".into()));
    let error = client.json(call, 100).await.unwrap_err();
    assert!(error.to_string().contains("into another one"), "{error}");
}

#[tokio::test]
async fn an_answer_beyond_its_bound_is_not_read() {
    let long = || async { "x".repeat(1000) };
    let endless = || async {
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>("xxxxxxxxxx"));
        (
            [(header::CONTENT_TYPE, "application/json")],
            axum::body::Body::from_stream(pieces),
        )
            .into_response()
    };
    let router = Router::new()
        .route("/api/long", get(long))
        .route("/api/endless", get(endless));
    let client = client(&serve(router).await);
    for path in ["long", "endless"] {
        let error = client
            .json(Call::get(client.at(&[path])), 999)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let url = serve(Router::new().fallback(std::future::pending::<()>)).await;
    let client = client(&url);
    let call = Call::get(client.at(&["queue"])).within(std::time::Duration::from_millis(50));
    let error = client.json(call, 100).await.unwrap_err();
    assert!(error.may_have_acted() && error.is_connection(), "{error}");
}

#[tokio::test]
async fn a_server_that_trickles_times_out_and_one_that_is_slow_does_not() {
    fn drip(piece: usize, pieces: usize) -> axum::body::Body {
        let ticks = futures_util::stream::unfold(pieces, move |left| async move {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let piece = Ok::<_, std::io::Error>(" ".repeat(piece));
            (left > 0).then_some((piece, left - 1))
        });
        axum::body::Body::from_stream(ticks)
    }
    let router = Router::new()
        .route("/api/trickle", get(async || drip(1, usize::MAX)))
        .route("/api/slow", get(async || drip(2048, 100)));
    let client = client(&serve(router).await);
    let ask = async |path: &str| {
        let call = Call::get(client.at(&[path])).within(std::time::Duration::from_millis(1500));
        client.json(call, 1 << 20).await.unwrap_err()
    };
    let error = ask("trickle").await;
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    let error = ask("slow").await;
    assert!(!matches!(error, ClientError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn models_are_listed_by_folder() {
    let router = Router::new()
        .route("/api/models", get(|| async { r#"["checkpoints"]"# }))
        .route(
            "/api/models/checkpoints",
            get(|| async { r#"["a.safetensors","sub/b.ckpt"]"# }),
        );
    let client = client(&serve(router).await);
    assert_eq!(client.models().await.unwrap(), ["checkpoints"]);
    assert_eq!(client.models_in("checkpoints").await.unwrap().len(), 2);
    assert_eq!(client.models_in("none").await.unwrap().len(), 0);
}
