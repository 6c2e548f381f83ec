//! Files from the server: streamed, hashed, whole or absent.
//!
//! Reading from the socket and writing to disk overlap, see [`Sink`]. A connection that
//! breaks is continued where it stopped when the server proves with its `ETag` that the file is still the same.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{
    CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use reqwest::{Response, StatusCode};
use url::Url;

use super::error::ClientError;
use super::http::{Call, Client, SILENCE, next_piece, show};
use super::refusal::Refusal;
use super::sink::Sink;
use super::text::flavour;
use crate::base::{Finished, Hasher, WriteError};
use crate::protocol::FileRef;

/// Breaks in a row, without a byte between them, after which a download is given up.
const TRIES: u32 = 4;
/// How much of an error's body is read.
const ERROR_LIMIT: usize = 64 * 1024;

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it lies, its hash and size.
    pub finished: Finished,
    /// What the server calls this version of it.
    pub etag: Option<String>,
}

/// A file was not fetched; nothing lies under its name.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server did not give it.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The server does not have it.
    #[error("the server does not have `{file}`")]
    Missing {
        /// Its name there.
        file: String,
    },
    /// It could not be written here.
    #[error(transparent)]
    Write(#[from] WriteError),
}

struct Transfer<'a> {
    client: &'a Client,
    url: Url,
    etag: Option<String>,
    received: u64,
    total: Option<u64>,
    sink: Sink,
}

impl Client {
    /// Fetches a file to `target`, which appears when it is whole. `progress` hears of bytes received and, where known, of all.
    ///
    /// # Errors
    /// When the server does not give the file, or the disk does not take it.
    pub async fn download(
        &self,
        file: &FileRef,
        target: &Path,
        mut progress: impl FnMut(u64, Option<u64>) + Send,
    ) -> Result<Downloaded, DownloadError> {
        let mut transfer = Transfer {
            client: self,
            url: self.view(file),
            etag: None,
            received: 0,
            total: None,
            sink: Sink::new(target),
        };
        match transfer.complete(file, &mut progress).await {
            Ok(()) => Ok(Downloaded {
                finished: transfer.sink.finish().await?,
                etag: transfer.etag,
            }),
            Err(error) => {
                transfer.sink.abandon().await;
                Err(error)
            }
        }
    }

    /// Whether the server still has exactly the file whose download answered `etag`.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn unchanged(&self, file: &FileRef, etag: &str) -> Result<bool, ClientError> {
        let mut call = Call::get(self.view(file));
        let Ok(value) = HeaderValue::from_str(etag) else {
            return Ok(false);
        };
        call.headers.insert(IF_NONE_MATCH, value);
        Ok(self.send(call).await?.status() == StatusCode::NOT_MODIFIED)
    }

    /// The size of a file that the server has, bytes; `None` when it has none of this name, or does not tell.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn size_of(&self, file: &FileRef) -> Result<Option<u64>, ClientError> {
        let call = Call {
            method: reqwest::Method::HEAD,
            ..Call::get(self.view(file))
        };
        let response = self.send(call).await?;
        let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
        let size = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(size.filter(|_| response.status() == StatusCode::OK))
    }

    /// What is in a file that the server has: the hash of its content, or of one with more than `most` bytes what the server calls this
    /// version of it. `None` when it has none of this name, or does not tell.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn content_of(
        &self,
        file: &FileRef,
        most: u64,
    ) -> Result<Option<String>, ClientError> {
        let mut response = self.send(Call::get(self.view(file))).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        if response.content_length().is_none_or(|size| size > most) {
            let tag = response.headers().get(ETAG);
            return Ok(tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned));
        }
        let url = response.url().clone();
        let mut hasher = Hasher::default();
        while let Some(piece) = next_piece(&mut response, &url, SILENCE).await? {
            hasher.update(&piece);
        }
        Ok(Some(hasher.finish().0.to_hex()))
    }

    fn view(&self, file: &FileRef) -> Url {
        let mut url = self.at(&["view"]);
        url.query_pairs_mut()
            .append_pair("filename", &file.filename)
            .append_pair("subfolder", &file.subfolder)
            .append_pair("type", &file.folder);
        url
    }
}

impl Transfer<'_> {
    /// Tries again where a connection broke.
    async fn complete(
        &mut self,
        file: &FileRef,
        progress: &mut (impl FnMut(u64, Option<u64>) + Send),
    ) -> Result<(), DownloadError> {
        let mut broken = 0;
        loop {
            let before = self.received;
            match self.advance(file, progress).await {
                Err(DownloadError::Server(error)) if error.is_connection() => {
                    broken = if self.received > before {
                        1
                    } else {
                        broken + 1
                    };
                    if broken >= TRIES {
                        return Err(error.into());
                    }
                    tokio::time::sleep(Duration::from_millis(100 << (2 * (broken - 1)))).await;
                }
                other => return other,
            }
        }
    }

    /// Asks for what is missing and takes what comes, until the end or an error.
    async fn advance(
        &mut self,
        file: &FileRef,
        progress: &mut (impl FnMut(u64, Option<u64>) + Send),
    ) -> Result<(), DownloadError> {
        let mut call = Call::get(self.url.clone());
        let resumable = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        if self.received > 0
            && let Some(tag) = resumable
            && let Ok(tag) = HeaderValue::from_str(tag)
        {
            let from = HeaderValue::try_from(format!("bytes={}-", self.received));
            if let Ok(from) = from {
                call.headers.insert(RANGE, from);
                call.headers.insert(IF_RANGE, tag);
            }
        }
        let mut response = self.client.send(call).await?;
        self.begin(&mut response, file).await?;
        let url = response.url().clone();
        while let Some(piece) = next_piece(&mut response, &url, SILENCE).await? {
            self.received += piece.len() as u64;
            self.sink.append(piece).await?;
            progress(self.received, self.total);
        }
        // An answer without a length ends with its connection, however that ended; a question for the length alone may know more.
        let total = match self.total {
            None => {
                let told = self.client.size_of(file).await.ok().flatten();
                told.filter(|size| *size > 0)
            }
            known => known,
        };
        match total {
            Some(total) if total != self.received => Err(ClientError::Broken {
                url: show(&self.url),
                cause: format!("{} of {total} bytes came", self.received),
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Reads the head of an answer: the rest of the file, the whole file again, or no file.
    async fn begin(
        &mut self,
        response: &mut Response,
        file: &FileRef,
    ) -> Result<(), DownloadError> {
        let headers = response.headers();
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(headers) == Some(self.received) => Ok(()),
            StatusCode::OK => {
                if self.received > 0 {
                    self.received = 0;
                    self.sink.start_again().await?;
                }
                self.etag = headers
                    .get(ETAG)
                    .and_then(|tag| tag.to_str().ok())
                    .map(str::to_owned);
                self.total = response.content_length();
                if let Some(total) = self.total {
                    self.sink.expect(total)?;
                }
                Ok(())
            }
            // There is nothing after what came: the end of the body was lost, or the file is another one now.
            StatusCode::RANGE_NOT_SATISFIABLE if self.received > 0 => {
                self.etag = None;
                Err(ClientError::Broken {
                    url: show(&self.url),
                    cause: format!("nothing follows byte {}", self.received),
                }
                .into())
            }
            StatusCode::NOT_FOUND => Err(DownloadError::Missing {
                file: file.annotated(),
            }),
            status if status.is_success() => Err(ClientError::BadAnswer {
                url: show(&self.url),
                reason: format!("status {} to a request for a file", status.as_u16()),
            }
            .into()),
            _ => {
                let url = self.url.clone();
                Err(refusal(response, &url).await.into())
            }
        }
    }
}

async fn refusal(response: &mut Response, url: &Url) -> ClientError {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() < ERROR_LIMIT {
        match next_piece(response, url, SILENCE).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&body);
    let kind = super::http::media_type(response.headers());
    let refusal = Refusal::read(show(url), status, response.headers(), &kind, &text);
    ClientError::Refused(refusal.under(flavour(response)))
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}
