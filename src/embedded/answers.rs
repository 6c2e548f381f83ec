//! The few shapes of HTTP answers that the server gives: JSON with aiohttp's content type, empty bodies, and the two plain texts.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

/// The largest request body, in bytes: 100 MiB.
pub(super) const BODY_LIMIT: usize = 100 * 1024 * 1024;

/// An answer with a status, a content type and a body.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 with JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// JSON with a status.
pub(super) fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(
            status,
            "application/json; charset=utf-8",
            Bytes::from(bytes),
        ),
        Err(_) => trouble(),
    }
}

/// A status with nothing in the body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// What `ComfyUI` answers to whatever it did not foresee, malformed bodies among it.
pub(super) fn trouble() -> Response {
    answer(
        StatusCode::INTERNAL_SERVER_ERROR,
        "text/plain; charset=utf-8",
        "500 Internal Server Error\n\nServer got itself in trouble",
    )
}

/// 413, for a body above [`BODY_LIMIT`].
pub(super) fn too_large() -> Response {
    answer(
        StatusCode::PAYLOAD_TOO_LARGE,
        "text/plain; charset=utf-8",
        format!("Maximum request body size {BODY_LIMIT} exceeded."),
    )
}
