//! Files from the server: streamed, hashed, whole or absent.
//!
//! Reading from the socket and writing to disk overlap, see [`Sink`]. A connection that breaks is continued where it stopped when the
//! server proves with its `ETag` that the file is still the same, see [`super::fetch`].

use std::path::Path;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderValue, IF_NONE_MATCH, RANGE};

use super::error::ClientError;
use super::fetch::Fetch;
use super::growing::Growing;
use super::http::{Call, Client, JSON_LIMIT, Pace, SILENCE, next_piece, read_text};
use super::sink::Sink;
use crate::base::{Finished, Hasher, WriteError};
use crate::protocol::FileRef;

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it lies, its hash and size.
    pub finished: Finished,
    /// What the server calls this version of it.
    pub etag: Option<String>,
}

/// What a server tells of a file without handing it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: Option<u64>,
    /// What it calls this version of the file.
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

impl Client {
    /// Fetches a file to `target`, which appears when it is whole. `progress` hears of bytes received and, where known, of all.
    ///
    /// # Errors
    /// When the server does not give the file, or the disk does not take it.
    pub async fn download(
        &self,
        file: &FileRef,
        target: &Path,
        progress: impl FnMut(u64, Option<u64>) + Send,
    ) -> Result<Downloaded, DownloadError> {
        let fetch = Fetch::new(self, file, Sink::new(target));
        whole(fetch, progress).await
    }

    /// [`Client::download`] that offers the file, before its first byte has come, to somebody who may pass it on meanwhile. It is offered
    /// at most once, and only where its length and version are known.
    ///
    /// # Errors
    /// As [`Client::download`].
    pub async fn download_offering(
        &self,
        file: &FileRef,
        target: &Path,
        offer: impl FnOnce(Growing) + Send,
    ) -> Result<Downloaded, DownloadError> {
        let fetch = Fetch::new(self, file, Sink::new(target)).offering(Box::new(offer));
        whole(fetch, |_, _| {}).await
    }

    /// Whether the server still has exactly the file whose download answered `etag`: not when it has another one under that name, or none.
    ///
    /// # Errors
    /// When the server cannot be asked, or says neither.
    pub async fn unchanged(&self, file: &FileRef, etag: &str) -> Result<bool, ClientError> {
        let mut call = self.view(file);
        let Ok(value) = HeaderValue::from_str(etag) else {
            return Ok(false);
        };
        call.headers.insert(IF_NONE_MATCH, value);
        let silence = call.silence;
        let response = self.send(call).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(true),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_FOUND => Ok(false),
            _ => Err(read_text(response, JSON_LIMIT, silence).await?.refused()),
        }
    }

    /// The size of a file that the server has, bytes; `None` when it has none of this name, or does not tell.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn size_of(&self, file: &FileRef) -> Result<Option<u64>, ClientError> {
        let call = Call {
            method: reqwest::Method::HEAD,
            ..self.view(file)
        };
        let response = self.send(call).await?;
        let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
        let size = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(size.filter(|_| response.status() == StatusCode::OK))
    }

    /// What the server tells of a file that it has; `None` when it has none of this name. One byte of it is asked for: addresses that are
    /// signed are signed for `GET` alone.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn stamp_of(&self, file: &FileRef) -> Result<Option<Stamp>, ClientError> {
        let mut call = self.view(file);
        let first = HeaderValue::from_static("bytes=0-0");
        call.headers.insert(RANGE, first);
        let response = self.send(call).await?;
        let text = |name| response.headers().get(name)?.to_str().ok();
        let size = match response.status() {
            StatusCode::OK => response.content_length(),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let range = text(CONTENT_RANGE).and_then(|range| range.rsplit_once('/'));
                range.and_then(|(_, total)| total.trim().parse().ok())
            }
            _ => return Ok(None),
        };
        let etag = text(ETAG).map(str::to_owned);
        Ok(Some(Stamp { size, etag }))
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
        let mut response = self.send(self.view(file)).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        if response.content_length().is_none_or(|size| size > most) {
            let tag = response.headers().get(ETAG);
            return Ok(tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned));
        }
        let url = response.url().clone();
        let mut hasher = Hasher::default();
        let mut pace = Pace::of(SILENCE);
        while let Some(piece) = next_piece(&mut response, &url, &mut pace).await? {
            hasher.update(&piece);
        }
        Ok(Some(hasher.finish().0.to_hex()))
    }

    /// Asks for a file as it is: what a proxy packs on the way has another length, and other parts.
    pub(super) fn view(&self, file: &FileRef) -> Call {
        let mut url = self.at(&["view"]);
        url.query_pairs_mut()
            .append_pair("filename", &file.filename)
            .append_pair("subfolder", &file.subfolder)
            .append_pair("type", &file.folder);
        let mut call = Call::get(url);
        let plain = HeaderValue::from_static("identity");
        call.headers.insert(ACCEPT_ENCODING, plain);
        call
    }
}

async fn whole(
    mut fetch: Fetch<'_>,
    mut progress: impl FnMut(u64, Option<u64>) + Send,
) -> Result<Downloaded, DownloadError> {
    match fetch.complete(&mut progress).await {
        Ok(()) => Ok(Downloaded {
            finished: fetch.sink.finish().await?,
            etag: fetch.etag,
        }),
        Err(error) => {
            fetch.sink.abandon().await;
            Err(error)
        }
    }
}
