//! Files from the server: streamed, hashed, whole or absent.
//!
//! Reading from the socket and writing to disk overlap, see [`Sink`]. A connection that breaks is continued where it stopped when the
//! server proves with its `ETag` that the file is still the same, see [`super::fetch`].

use std::path::Path;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH};

use super::error::ClientError;
use super::fetch::Fetch;
use super::http::{Call, Client, SILENCE, next_piece};
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
        mut progress: impl FnMut(u64, Option<u64>) + Send,
    ) -> Result<Downloaded, DownloadError> {
        let mut fetch = Fetch::new(self, file, Sink::new(target));
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

    /// Whether the server still has exactly the file whose download answered `etag`.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn unchanged(&self, file: &FileRef, etag: &str) -> Result<bool, ClientError> {
        let mut call = self.view(file);
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
            ..self.view(file)
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
        while let Some(piece) = next_piece(&mut response, &url, SILENCE).await? {
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

