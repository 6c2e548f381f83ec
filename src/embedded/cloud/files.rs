//! Files: uploads under the hash of their content, and a second host that hands files out to whoever brings a signed address and no key.

use std::collections::HashMap;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::multipart::Multipart;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use url::form_urlencoded;

use super::access::{missing, refusal};
use super::routes::Cloud;
use crate::base::ContentHash;
use crate::embedded::answers::{answer, empty, json, trouble};
use crate::embedded::files::Folder;
use crate::embedded::state::{Server, lock, now_ms};
use crate::embedded::upload::{self, Form, publish};
use crate::embedded::view;

/// How long a signed address is good, milliseconds.
const GOOD_FOR: i64 = 60 * 60 * 1000;
/// The edges that a thumbnail may have.
const THUMBNAIL: (u32, u32) = (64, 1024);

/// The second host, and the seal that only this server can make.
#[derive(Debug)]
pub(super) struct Vault {
    url: String,
    seal: String,
}

impl Vault {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            seal: uuid::Uuid::new_v4().to_string(),
        }
    }

    fn sign(&self, what: &str) -> String {
        ContentHash::of(format!("{}\n{what}", self.seal).as_bytes()).to_hex()
    }

    /// The address of a file there.
    fn address(&self, query: &HashMap<String, String>) -> String {
        let get = |name: &str| query.get(name).map_or("", String::as_str);
        let until = (now_ms() + GOOD_FOR).to_string();
        let plain = form_urlencoded::Serializer::new(String::new())
            .append_pair("filename", get("filename"))
            .append_pair("subfolder", get("subfolder"))
            .append_pair("type", query.get("type").map_or("output", String::as_str))
            .append_pair("expires", &until)
            .finish();
        let signature = self.sign(&plain);
        let name = get("filename").rsplit('/').next().unwrap_or_default();
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        format!(
            "{}/files/{}?{plain}&signature={signature}",
            self.url,
            name.replace('+', "%20")
        )
    }

    /// Whether we sent somebody to this address, and not too long ago.
    fn knows(&self, query: &str) -> bool {
        let Some((plain, signature)) = query.rsplit_once("&signature=") else {
            return false;
        };
        let expires = form_urlencoded::parse(plain.as_bytes())
            .find(|(name, _)| name == "expires")
            .and_then(|(_, value)| value.parse::<i64>().ok());
        self.sign(plain) == signature && expires.is_some_and(|until| now_ms() < until)
    }
}

/// Sends to the other host; a thumbnail comes from here.
pub(super) async fn view(
    State(cloud): State<Cloud>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let path = match view::find(&cloud.server, &query) {
        Ok(path) => path,
        Err(StatusCode::NOT_FOUND) => return missing("NOT_FOUND", "there is no such file"),
        Err(status) => return refusal(status, "BAD_REQUEST", "there is no such place"),
    };
    if query.contains_key("res") || query.contains_key("channel") {
        let edge = query.get("res").and_then(|edge| edge.parse().ok());
        let edge: u32 = edge.unwrap_or(THUMBNAIL.1);
        let edge = edge.clamp(THUMBNAIL.0, THUMBNAIL.1);
        let made = tokio::task::spawn_blocking(move || thumbnail(&path, edge)).await;
        return made.ok().flatten().unwrap_or_else(trouble);
    }
    let mut response = empty(StatusCode::FOUND);
    match HeaderValue::try_from(cloud.vault.address(&query)) {
        Ok(address) => {
            response.headers_mut().insert(header::LOCATION, address);
            response
        }
        Err(_) => trouble(),
    }
}

fn thumbnail(path: &FilePath, edge: u32) -> Option<Response> {
    let reader = image::ImageReader::open(path).ok()?;
    let picture = reader.with_guessed_format().ok()?.decode().ok()?;
    let mut bytes = io::Cursor::new(Vec::new());
    let small = picture.thumbnail(edge, edge).to_rgb8();
    small.write_to(&mut bytes, image::ImageFormat::Jpeg).ok()?;
    Some(answer(StatusCode::OK, "image/jpeg", bytes.into_inner()))
}

/// The other host: whoever comes with an address of ours gets the file.
pub(super) async fn hand_out(
    State(cloud): State<Cloud>,
    Path(_name): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    if !cloud.vault.knows(query) {
        return refusal(
            StatusCode::FORBIDDEN,
            "BAD_SIGNATURE",
            "the address is not signed, or not any more",
        );
    }
    let query: HashMap<String, String> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    match view::find(&cloud.server, &query) {
        Ok(path) => view::file(&path, &headers)
            .await
            .unwrap_or_else(|_| empty(StatusCode::NOT_FOUND)),
        Err(status) => empty(status),
    }
}

/// Takes a file in. Whatever it is called, its name is the hash of its content, and it lies in no folder of its own.
pub(super) async fn upload(State(cloud): State<Cloud>, request: Request) -> Response {
    let Ok(multipart) = Multipart::from_request(request, &()).await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let form = match upload::read(&cloud.server, multipart).await {
        Ok(form) => form,
        Err(refused) => return refused.into_response(),
    };
    let server = Arc::clone(&cloud.server);
    let placed = tokio::task::spawn_blocking(move || place(&server, form)).await;
    match placed {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => trouble(),
    }
}

fn place(server: &Server, form: Form) -> io::Result<Response> {
    let Some(sent) = form.file else {
        return Ok(bad("there is no file in the form"));
    };
    // Who does not say where it belongs has made an output, says the contract.
    let folder = form.folder.as_deref().unwrap_or("output");
    let Some(folder) = Folder::named(folder) else {
        return Ok(bad("`type` must be input, output or temp"));
    };
    let limits = server.dialect.uploads;
    if limits.max_bytes.is_some_and(|most| sent.size > most) {
        return Ok(bad("the file is larger than 50 MB"));
    }
    if let Ok(reader) = image::ImageReader::open(sent.content.path())
        && let Ok(reader) = reader.with_guessed_format()
        && let Ok((width, height)) = reader.into_dimensions()
    {
        if limits.max_edge.is_some_and(|most| width.max(height) > most) {
            return Ok(bad("an edge of the picture is longer than 16384 pixels"));
        }
        let pixels = u64::from(width) * u64::from(height);
        if limits.max_pixels.is_some_and(|most| pixels > most) {
            return Ok(bad("the picture has more than 64 million pixels"));
        }
    }
    let extension = FilePath::new(&sent.name).extension();
    let name = match extension.and_then(|e| e.to_str()) {
        Some(extension) => format!("{}.{}", sent.hash, extension.to_ascii_lowercase()),
        None => sent.hash.to_string(),
    };
    let target = server.folders.path(folder).join(&name);
    let _placing = lock(&server.placing);
    if !target.exists() {
        publish(sent.content, &target)?;
    }
    Ok(json(&json!({
        "name": name,
        "subfolder": "",
        "type": folder.name(),
    })))
}

fn bad(message: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
}
