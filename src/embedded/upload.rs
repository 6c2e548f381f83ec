//! `POST /upload/image`: a file into one of the folders, under a name that is free or already holds the same bytes.
//!
//! The file streams into a temporary one beside the folders, since its place is known only when the whole form has been read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use super::answers::{empty, json, json_with, too_large, trouble};
use super::emulate;
use super::files::{Folder, content_type, inside, is_full};
use super::state::Server;
use super::state::lock;
use crate::base::{ContentHash, Hasher};

/// A form as far as the server understands it.
#[derive(Default)]
pub(super) struct Form {
    pub(super) file: Option<Sent>,
    pub(super) folder: Option<String>,
    subfolder: String,
    overwrite: bool,
}

/// The file of a form.
pub(super) struct Sent {
    pub(super) name: String,
    pub(super) content: NamedTempFile,
    pub(super) hash: ContentHash,
    pub(super) size: u64,
}

/// Why an upload is refused, as the answer that says so.
pub(super) struct Refusal(Box<Response>);

impl Refusal {
    pub(super) fn into_response(self) -> Response {
        *self.0
    }
}

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl From<MultipartError> for Refusal {
    fn from(error: MultipartError) -> Self {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large().into()
        } else {
            empty(StatusCode::BAD_REQUEST).into()
        }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) {
            let said = json!({ "error": "no space left on the disk of the server's input folder" });
            return json_with(StatusCode::INSUFFICIENT_STORAGE, &said).into();
        }
        trouble().into()
    }
}

/// The handler.
pub(super) async fn image(State(server): State<Arc<Server>>, request: Request) -> Response {
    let Ok(multipart) = Multipart::from_request(request, &()).await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    match take(&server, multipart).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn take(server: &Arc<Server>, multipart: Multipart) -> Result<Response, Refusal> {
    let form = read(server, multipart).await?;
    let server = Arc::clone(server);
    let placed = tokio::task::spawn_blocking(move || place(&server, form)).await;
    placed.unwrap_or_else(|_| Err(trouble().into()))
}

/// Reads a form; its file lies in a nameless place then.
pub(super) async fn read(server: &Server, mut multipart: Multipart) -> Result<Form, Refusal> {
    let mut form = Form::default();
    while let Some(field) = multipart.next_field().await? {
        match field.name() {
            Some("image") => form.file = Some(receive(server, field).await?),
            Some("type") => form.folder = Some(field.text().await?),
            Some("subfolder") => form.subfolder = field.text().await?,
            Some("overwrite") => {
                form.overwrite = matches!(field.text().await?.as_str(), "true" | "1");
            }
            _ => {
                // Read to its end, so that the next field can be.
                let mut field = field;
                while field.chunk().await?.is_some() {}
            }
        }
    }
    Ok(form)
}

async fn receive(server: &Server, mut field: Field<'_>) -> Result<Sent, Refusal> {
    let disposition = field.headers().get(header::CONTENT_DISPOSITION);
    let name = disposition
        .and_then(|value| file_name(value.as_bytes()))
        .filter(|name| !name.is_empty())
        .ok_or_else(trouble)?;
    let content = server.folders.scratch()?;
    let mut file = tokio::fs::File::from_std(content.reopen()?);
    let mut hasher = Hasher::default();
    while let Some(chunk) = field.chunk().await? {
        hasher.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    let (hash, size) = hasher.finish();
    Ok(Sent {
        name,
        content,
        hash,
        size,
    })
}

/// The name in a `Content-Disposition`: `filename*=utf-8''…` before `filename="…"`, whose percent signs stay and whose `\"` is a quote.
fn file_name(disposition: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(disposition);
    let mut plain = None;
    let mut rest = &*text;
    while let Some((_, parameters)) = rest.split_once(';') {
        let (name, value) = parameters.split_once('=')?;
        let (value, after) = parameter(value);
        match name.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let (charset, encoded) = value.split_once("''")?;
                if charset.eq_ignore_ascii_case("utf-8") {
                    return Some(percent_decoded(encoded));
                }
            }
            "filename" => plain = Some(value),
            _ => {}
        }
        rest = after;
    }
    plain
}

/// The value of a parameter, quoted or not, and what comes after it.
fn parameter(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim_end().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = &after[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Finds the file its place and tells it.
fn place(server: &Server, form: Form) -> Result<Response, Refusal> {
    let Some(sent) = form.file else {
        return Err(empty(StatusCode::BAD_REQUEST).into());
    };
    let folder = match form.folder.as_deref() {
        None => Folder::Input,
        Some(name) => Folder::named(name).ok_or_else(|| Refusal::from(trouble()))?,
    };
    let root = server.folders.path(folder);
    let refuse = || Refusal::from(empty(StatusCode::BAD_REQUEST));
    let target_folder = inside(&root, &form.subfolder).ok_or_else(refuse)?;
    std::fs::create_dir_all(&target_folder)?;
    let mut name = sent.name;
    let path = inside(&root, &target_folder.join(&name).to_string_lossy()).ok_or_else(refuse)?;
    if path == root {
        return Err(refuse());
    }
    let _placing = lock(&server.placing);
    let (target, keep) = if form.overwrite {
        (path, false)
    } else {
        free_name(&target_folder, &mut name, sent.hash, sent.size)
    };
    if !keep {
        publish(sent.content, &target)?;
    }
    let mut answer = json!({
        "name": name,
        "subfolder": form.subfolder,
        "type": folder.name(),
    });
    if server.dialect.assets {
        answer["asset"] = json!({
            "id": emulate::asset_id(&sent.hash.to_hex()),
            "name": name,
            "asset_hash": format!("blake3:{}", sent.hash),
            "size": sent.size,
            "mime_type": content_type(&name),
            "tags": [folder.name()],
        });
    }
    Ok(json(&answer))
}

/// The first of `name.png`, `name (1).png`, … that is free, or that holds the same bytes already.
fn free_name(folder: &Path, name: &mut String, hash: ContentHash, size: u64) -> (PathBuf, bool) {
    let original = name.clone();
    let (stem, extension) = match original.rfind('.') {
        Some(at) if at > 0 => original.split_at(at),
        _ => (original.as_str(), ""),
    };
    let mut number = 0;
    loop {
        let path = folder.join(&*name);
        let Ok(about) = std::fs::metadata(&path) else {
            return (path, false);
        };
        if about.len() == size && ContentHash::of_file(&path).is_ok_and(|(known, _)| known == hash)
        {
            return (path, true);
        }
        number += 1;
        *name = format!("{stem} ({number}){extension}");
    }
}

/// Moves the finished file to its name.
pub(super) fn publish(content: NamedTempFile, target: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(content.path(), std::fs::Permissions::from_mode(0o644))?;
    }
    content.persist(target).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_one() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let answer = Refusal::from(full).into_response();
        assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
        let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let answer = Refusal::from(other).into_response();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn names_are_read_as_aiohttp_reads_them() {
        for (parameters, name) in [
            (r#"filename="Ünïcode 图.png""#, Some("Ünïcode 图.png")),
            ("filename*=utf-8''%C3%9Cn%202.png", Some("Ün 2.png")),
            (
                r#"filename="plain.png"; filename*=utf-8''%C3%9Cboth.png"#,
                Some("Üboth.png"),
            ),
            (r#"filename="we\"ird;.png"; x=y"#, Some("we\"ird;.png")),
            (r#"filename="a%20b.png""#, Some("a%20b.png")),
            (r#"filename="x\\y.png""#, Some("x\\y.png")),
            ("filename=bare.png", Some("bare.png")),
            (r#"filename="""#, Some("")),
            (r#"foo="x""#, None),
            ("filename*=utf-8''%C3%", Some("\u{fffd}%")),
        ] {
            let disposition = format!("form-data; name=\"image\"; {parameters}");
            assert_eq!(
                file_name(disposition.as_bytes()).as_deref(),
                name,
                "{parameters}"
            );
        }
    }
}
