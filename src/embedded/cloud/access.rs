//! Who may ask what: every request is looked at here before any other code sees it.

use std::collections::HashMap;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;

use super::account::{API_KEY, Whim, shown};
use super::routes::Cloud;
use crate::embedded::answers::json_with;

/// What everybody may ask.
const PUBLIC: &str = "/api/system_stats";
/// What needs a paid plan, with all below it.
const PAID: [&str; 6] = [
    "/api/object_info",
    "/api/queue",
    "/api/userdata",
    "/api/prompt",
    "/api/upload",
    "/api/view",
];

/// An error as the Cloud words it.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    json_with(status, &json!({ "code": code, "message": message }))
}

/// An error of `POST /api/prompt` whose type tells what to do.
pub(super) fn typed(status: StatusCode, kind: &str, message: &str) -> Response {
    json_with(
        status,
        &json!({ "error": { "type": kind, "message": message } }),
    )
}

/// Something that is not there.
pub(super) fn missing(code: &str, message: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, code, message)
}

/// Lets in who shows a key that is known, and notes what the key brings with it.
pub(super) async fn keyed(
    State(cloud): State<Cloud>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if path == PUBLIC {
        return next.run(request).await;
    }
    let token = (path == "/ws").then(|| token(&request)).flatten();
    let whim = shown(request.headers())
        .or(token.as_deref())
        .and_then(|key| cloud.account.opens(key));
    let Some(whim) = whim else {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "a valid API key is needed",
        );
    };
    if whim == Whim::NoTier && is_paid(path) {
        return refusal(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "your plan does not include access to the API",
        );
    }
    request.extensions_mut().insert(whim);
    next.run(request).await
}

fn is_paid(path: &str) -> bool {
    PAID.into_iter().any(|prefix| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn token(request: &Request) -> Option<String> {
    let query = Query::<HashMap<String, String>>::try_from_uri(request.uri());
    query.ok()?.0.remove("token")
}

fn leaks(request: &Request) -> bool {
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    headers.contains_key(API_KEY)
        || headers.contains_key(header::AUTHORIZATION)
        || query.contains("token=")
}

/// Refuses whoever shows a key where none belongs.
pub(super) async fn keyless(request: Request, next: Next) -> Response {
    if leaks(&request) {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "KEY_LEAKED",
            "A KEY WAS SENT TO A HOST THAT IT DOES NOT BELONG TO",
        );
    }
    next.run(request).await
}
