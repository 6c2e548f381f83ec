//! Files to the server: streamed from disk, never overwriting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT, Payload, Unreadable, show};
use super::refusal::Refusal;
use crate::protocol::FileRef;

/// Bytes read from disk at a time.
const PIECE: usize = 256 * 1024;
/// Beside the file, a request holds its boundaries and a few short fields.
const ENVELOPE: u64 = 4096;

/// A file as the server took it. Its name may differ from the wanted one: servers keep what they have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Uploaded {
    /// Its name.
    pub name: String,
    /// Its folder below the inputs; often empty.
    #[serde(default)]
    pub subfolder: String,
    /// `input`.
    #[serde(rename = "type", default = "input")]
    pub folder: String,
}

fn input() -> String {
    "input".to_owned()
}

impl Uploaded {
    /// The value that an input such as `LoadImage.image` takes for it.
    pub fn value(&self) -> String {
        FileRef {
            filename: self.name.clone(),
            subfolder: self.subfolder.clone(),
            folder: self.folder.clone(),
        }
        .annotated()
    }
}

/// A file on its way.
#[derive(Clone)]
pub(super) struct FilePart {
    path: PathBuf,
    name: String,
    subfolder: String,
}

/// Bytes handed to the transport so far.
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl FilePart {
    /// A fresh body over the file; the length is told in advance.
    pub(super) async fn form(&self) -> Result<(Form, Counter), ClientError> {
        let unreadable = |error: &io::Error| ClientError::Unreadable {
            path: self.path.clone(),
            cause: error.to_string(),
        };
        let file = tokio::fs::File::open(&self.path)
            .await
            .map_err(|error| unreadable(&error))?;
        let length = file
            .metadata()
            .await
            .map_err(|error| unreadable(&error))?
            .len();
        let moved = Arc::new(AtomicU64::new(0));
        let (counter, path) = (moved.clone(), self.path.clone());
        let pieces = ReaderStream::with_capacity(file, PIECE).map(move |piece| {
            piece
                .inspect(|bytes| {
                    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                })
                .map_err(|error| {
                    io::Error::other(Unreadable {
                        path: path.clone(),
                        cause: error.to_string(),
                    })
                })
        });
        let part = Part::stream_with_length(Body::wrap_stream(pieces), length)
            .file_name(self.name.clone());
        let mut form = Form::new().part("image", part).text("type", "input");
        if !self.subfolder.is_empty() {
            form = form.text("subfolder", self.subfolder.clone());
        }
        Ok((form, Counter(moved)))
    }
}

impl Client {
    /// Sends the file at `path` to the server's inputs under `name` (`kiln/<hash>.png`: folders before the last `/`).
    ///
    /// A file of the same name and content there is used as it is; another content makes the server choose another name, which the answer
    /// tells. A connection that breaks is tried once more.
    ///
    /// # Errors
    /// When the file cannot be read, or the server does not take it.
    pub async fn upload(&self, path: &Path, name: &str) -> Result<Uploaded, ClientError> {
        let (subfolder, name) = name.rsplit_once('/').unwrap_or(("", name));
        let part = FilePart {
            path: path.to_path_buf(),
            name: name.to_owned(),
            subfolder: subfolder.to_owned(),
        };
        self.fits(path).await?;
        match self.upload_once(part.clone()).await {
            Err(ClientError::Broken { .. }) => self.upload_once(part).await,
            other => other,
        }
    }

    async fn upload_once(&self, part: FilePart) -> Result<Uploaded, ClientError> {
        let _place = self.place().await;
        let url = self.at(&["upload", "image"]);
        let call = Call::post(url.clone(), Payload::Upload(part));
        let text = self.text(call, JSON_LIMIT).await?;
        serde_json::from_str(&text.body).map_err(|error| text.unreadable(&error))
    }

    /// Refuses what the server said it would refuse: it closes the connection in the middle, and its reason is lost.
    async fn fits(&self, path: &Path) -> Result<(), ClientError> {
        let Some(limit) = self.dialect().uploads.max_bytes else {
            return Ok(());
        };
        let length = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                return Err(ClientError::Unreadable {
                    path: path.to_path_buf(),
                    cause: error.to_string(),
                });
            }
        };
        if length + ENVELOPE <= limit {
            return Ok(());
        }
        let said = format!(
            "`{}` has {length} bytes, and the server takes requests of at most {limit} bytes",
            path.display()
        );
        let refusal = Refusal::new(show(self.base()), 413, &said);
        Err(ClientError::Refused(refusal))
    }
}
