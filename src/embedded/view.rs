//! `GET /view`: files as they are, with ranges and validators, or pictures made smaller.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use image::{DynamicImage, ImageFormat};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::answers::{answer, empty, trouble};
use super::files::{Folder, content_type, inside, split_annotation};
use super::state::Server;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 1024 * 1024;

/// Types that a browser might execute are handed out as plain bytes to be saved.
const ACTIVE: [&str; 5] = [
    "text/html",
    "text/javascript",
    "text/css",
    "text/xml",
    "image/svg+xml",
];

/// The handler.
pub(super) async fn view(
    State(server): State<Arc<Server>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let path = match find(&server, &query) {
        Ok(path) => path,
        Err(status) => return empty(status),
    };
    let preview = query.get("preview");
    let channel = query.get("channel").map(String::as_str);
    if preview.is_some() || matches!(channel, Some("rgb" | "a")) {
        let (preview, channel) = (preview.cloned(), channel.map(str::to_owned));
        let made = tokio::task::spawn_blocking(move || {
            picture(&path, preview.as_deref(), channel.as_deref())
        });
        return made.await.ok().flatten().unwrap_or_else(trouble);
    }
    file(&path, &headers)
        .await
        .unwrap_or_else(|_| empty(StatusCode::NOT_FOUND))
}

/// The file that a query names.
pub(super) fn find(
    server: &Server,
    query: &HashMap<String, String>,
) -> Result<PathBuf, StatusCode> {
    let filename = query.get("filename").ok_or(StatusCode::NOT_FOUND)?;
    let (name, annotated) = split_annotation(filename);
    if name.is_empty() || name.starts_with('/') || name.contains("..") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let folder = match annotated {
        Some(folder) => folder,
        None => Folder::named(query.get("type").map_or("output", String::as_str))
            .ok_or(StatusCode::BAD_REQUEST)?,
    };
    let mut root = server.folders.path(folder);
    if let Some(subfolder) = query.get("subfolder") {
        root = inside(&root, subfolder).ok_or(StatusCode::FORBIDDEN)?;
    }
    let base = name.rsplit('/').next().unwrap_or_default();
    let path = inside(&root, base).ok_or(StatusCode::FORBIDDEN)?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(StatusCode::NOT_FOUND)
    }
}

/// The file itself, or the part of it that was asked for, or the news that it has not changed.
pub(super) async fn file(path: &Path, headers: &HeaderMap) -> std::io::Result<Response> {
    let mut file = tokio::fs::File::open(path).await?;
    let about = file.metadata().await?;
    let size = about.len();
    let validators = Validators::of(
        about.modified().unwrap_or(UNIX_EPOCH),
        size,
        file_number(&about),
    );
    let (status, start, length) = if validators.unchanged(headers) {
        (StatusCode::NOT_MODIFIED, 0, 0)
    } else {
        match validators.range(headers, size) {
            Range::Whole => (StatusCode::OK, 0, size),
            Range::Part(start, length) => (StatusCode::PARTIAL_CONTENT, start, length),
            Range::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
        }
    };
    let body = if length == 0 {
        Body::empty()
    } else {
        file.seek(SeekFrom::Start(start)).await?;
        // tokio reads a file in pieces of its own limit unless told.
        file.set_max_buf_size(CHUNK);
        Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let out = response.headers_mut();
    validators.tell(out);
    match status {
        StatusCode::NOT_MODIFIED => return Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            set(out, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
        StatusCode::PARTIAL_CONTENT => set(
            out,
            header::CONTENT_RANGE,
            &format!("bytes {start}-{}/{size}", start + length - 1),
        ),
        _ => {}
    }
    set(out, header::CONTENT_LENGTH, &length.to_string());
    tell_kind(path, out);
    Ok(response)
}

fn set(out: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        out.insert(name, value);
    }
}

/// What the file is: browsers are not to run what could be a script.
fn tell_kind(path: &Path, out: &mut HeaderMap) {
    let name = path.file_name().and_then(|n| n.to_str());
    let name = name.unwrap_or_default();
    let kind = content_type(name);
    let (kind, prefix) = if ACTIVE.contains(&kind) {
        ("application/octet-stream", "attachment; ")
    } else {
        (kind, "")
    };
    set(out, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(out, header::CONTENT_TYPE, kind);
    set(out, header::CONTENT_DISPOSITION, &disposition(prefix, name));
}

fn disposition(kind: &str, name: &str) -> String {
    let quoted: String = name
        .chars()
        .map(|c| {
            if c == '"' || c == '\\' || c.is_control() {
                '_'
            } else {
                c
            }
        })
        .collect();
    format!("{kind}filename=\"{quoted}\"")
}

/// Tells a file from one that took its name within the same tick of the clock.
fn file_number(about: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::ino(about);
    #[cfg(not(unix))]
    0
}

/// What tells one state of a file from another.
struct Validators {
    etag: String,
    modified: String,
    time: SystemTime,
}

/// Which bytes are wanted.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// From this byte on, so many.
    Part(u64, u64),
    Unsatisfiable,
}

impl Validators {
    fn of(modified: SystemTime, size: u64, number: u64) -> Self {
        let since = modified
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            etag: format!("\"{:x}-{size:x}-{number:x}\"", since.as_nanos()),
            modified: httpdate::fmt_http_date(modified),
            time: UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        }
    }

    fn tell(&self, out: &mut HeaderMap) {
        set(out, header::ETAG, &self.etag);
        set(out, header::LAST_MODIFIED, &self.modified);
        set(out, header::ACCEPT_RANGES, "bytes");
    }

    /// Whether the client has this state already.
    fn unchanged(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(tags) = text(header::IF_NONE_MATCH) {
            return tags.trim() == "*"
                || tags
                    .split(',')
                    .any(|tag| tag.trim().trim_start_matches("W/") == self.etag);
        }
        text(header::IF_MODIFIED_SINCE)
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .is_some_and(|date| self.time <= date)
    }

    /// The part of `size` bytes that is wanted: one range of bytes, and only of this state.
    fn range(&self, headers: &HeaderMap, size: u64) -> Range {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(condition) = text(header::IF_RANGE)
            && condition != self.etag
            && condition != self.modified
        {
            return Range::Whole;
        }
        let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
            return Range::Whole;
        };
        let Some((first, last)) = range.split_once('-') else {
            return Range::Whole;
        };
        let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
            (Ok(start), Ok(last)) => (start, last.saturating_add(1).min(size)),
            (Ok(start), Err(_)) if last.trim().is_empty() => (start, size),
            (Err(_), Ok(suffix)) if first.trim().is_empty() => (size.saturating_sub(suffix), size),
            // Several ranges, or none that can be understood: the whole is a valid answer.
            _ => return Range::Whole,
        };
        if start >= size || end <= start {
            Range::Unsatisfiable
        } else {
            Range::Part(start, end - start)
        }
    }
}

/// A picture as a preview or with some of its channels. `None` when the file is no picture.
fn picture(path: &Path, preview: Option<&str>, channel: Option<&str>) -> Option<Response> {
    let mut picture = image::ImageReader::open(path)
        .ok()?
        .with_guessed_format()
        .ok()?
        .decode()
        .ok()?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    let kind = if let Some(preview) = preview {
        let (format, quality) = preview.rsplit_once(';').unwrap_or((preview, "90"));
        if format.starts_with("jpeg") && channel != Some("a") {
            let quality = quality.parse::<u8>().unwrap_or(90).clamp(1, 100);
            let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
            picture.to_rgb8().write_with_encoder(encoder).ok()?;
            "image/jpeg"
        } else {
            picture
                .to_rgba8()
                .write_to(&mut bytes, ImageFormat::WebP)
                .ok()?;
            "image/webp"
        }
    } else {
        picture = match channel {
            Some("a") => DynamicImage::ImageRgba8(alpha_alone(&picture)),
            _ => DynamicImage::ImageRgb8(picture.to_rgb8()),
        };
        picture.write_to(&mut bytes, ImageFormat::Png).ok()?;
        "image/png"
    };
    let mut response = answer(StatusCode::OK, kind, Bytes::from(bytes.into_inner()));
    let name = path.file_name()?.to_str()?;
    if let Ok(value) = HeaderValue::from_str(&disposition("", name)) {
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    Some(response)
}

/// Black where the picture has colours, with its alpha.
fn alpha_alone(picture: &DynamicImage) -> image::RgbaImage {
    let mut rgba = picture.to_rgba8();
    for pixel in rgba.pixels_mut() {
        pixel.0 = [0, 0, 0, pixel.0[3]];
    }
    rgba
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validators() -> Validators {
        Validators::of(UNIX_EPOCH + Duration::from_millis(1_795_311_785_093), 93, 7)
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_range_is_cut_to_the_file() {
        let range = |text: &str| validators().range(&headers(&[(header::RANGE, text)]), 93);
        assert_eq!(range("bytes=0-9"), Range::Part(0, 10));
        assert_eq!(range("bytes=90-"), Range::Part(90, 3));
        assert_eq!(range("bytes=-3"), Range::Part(90, 3));
        assert_eq!(range("bytes=0-999"), Range::Part(0, 93));
        assert_eq!(range("bytes=93-"), Range::Unsatisfiable);
        assert_eq!(range("bytes=5-2"), Range::Unsatisfiable);
        assert_eq!(range("bytes=0-1,4-5"), Range::Whole);
        assert_eq!(range("lines=1-2"), Range::Whole);
    }

    #[test]
    fn a_range_of_another_state_is_the_whole() {
        let ask = |condition: &str| {
            validators().range(
                &headers(&[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, condition)]),
                93,
            )
        };
        assert_eq!(ask("\"other\""), Range::Whole);
        assert_eq!(ask(&validators().etag), Range::Part(0, 10));
    }

    #[test]
    fn a_known_tag_or_date_means_unchanged() {
        let now = validators();
        let unchanged = |name, value: &str| now.unchanged(&headers(&[(name, value)]));
        assert!(unchanged(header::IF_NONE_MATCH, &now.etag));
        assert!(unchanged(
            header::IF_NONE_MATCH,
            "\"a\", *".trim_start_matches("\"a\", ")
        ));
        assert!(!unchanged(header::IF_NONE_MATCH, "\"other\""));
        assert!(unchanged(header::IF_MODIFIED_SINCE, &now.modified));
        assert!(!unchanged(
            header::IF_MODIFIED_SINCE,
            "Sun, 22 Nov 2020 01:43:05 GMT"
        ));
    }
}
