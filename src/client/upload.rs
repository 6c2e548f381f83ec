//! Files to the server: streamed from disk, never overwriting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::error::ClientError;
use super::growing::Growing;
use super::http::{Call, Client, JSON_LIMIT, Payload, Unreadable, show};
use super::refusal::Refusal;
use crate::base::{ContentHash, Hasher};
use crate::protocol::FileRef;

/// Bytes read from disk at a time.
const PIECE: usize = 256 * 1024;
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
    /// What the server found to be in it, as it names contents (`blake3:…`), where it tells.
    #[serde(default, alias = "asset_hash")]
    pub hash: Option<String>,
    #[serde(default)]
    asset: Option<Asset>,
    /// Inputs take the hash for it.
    #[serde(skip)]
    by_hash: bool,
}

/// What servers that keep assets tell of one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Asset {
    #[serde(default, alias = "hash")]
    asset_hash: Option<String>,
}

fn input() -> String {
    "input".to_owned()
}

impl Uploaded {
    /// The value that an input such as `LoadImage.image` takes for it.
    pub fn value(&self) -> String {
        if let (true, Some(hash)) = (self.by_hash, &self.hash) {
            return hash.clone();
        }
        FileRef {
            filename: self.name.clone(),
            subfolder: self.subfolder.clone(),
            folder: self.folder.clone(),
        }
        .annotated()
    }

    /// Whether the server found this content in it; `None` where it does not tell in these terms.
    pub fn holds(&self, content: ContentHash) -> Option<bool> {
        let told = self.hash.as_deref()?.strip_prefix("blake3:")?;
        Some(told.eq_ignore_ascii_case(&content.to_hex()))
    }
}

/// A file on its way.
#[derive(Clone)]
pub(super) struct FilePart {
    from: From,
    name: String,
    subfolder: String,
}

/// Where the bytes of a file come from.
#[derive(Clone)]
enum From {
    Disk(PathBuf),
    /// It is still being fetched.
    Elsewhere(Growing, Arc<Mutex<Hasher>>),
}

/// Bytes handed to the transport so far.
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl FilePart {
    fn new(from: From, name: &str) -> Self {
        let (subfolder, name) = name.rsplit_once('/').unwrap_or(("", name));
        Self {
            from,
            name: name.to_owned(),
            subfolder: subfolder.to_owned(),
        }
    }

    /// A file that is still being fetched; what is sent of it is hashed.
    pub(super) fn growing(growing: Growing, hasher: Arc<Mutex<Hasher>>, name: &str) -> Self {
        Self::new(From::Elsewhere(growing, hasher), name)
    }

    /// A fresh body over the file; the length is told in advance.
    pub(super) async fn form(&self) -> Result<(Form, Counter), ClientError> {
        let moved = Arc::new(AtomicU64::new(0));
        let counter = moved.clone();
        let (path, length, pieces) = match &self.from {
            From::Disk(path) => {
                let (file, length) = open(path).await?;
                let pieces = ReaderStream::with_capacity(file, PIECE);
                (path.clone(), length, pieces.left_stream())
            }
            From::Elsewhere(growing, hasher) => {
                *hasher.lock().unwrap_or_else(PoisonError::into_inner) = Hasher::default();
                let pieces = Box::pin(growing.clone().pieces(Arc::clone(hasher)));
                let path = PathBuf::from(&self.name);
                (path, growing.total(), pieces.right_stream())
            }
        };
        let pieces = pieces.map(move |piece| {
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

async fn open(path: &Path) -> Result<(tokio::fs::File, u64), ClientError> {
    let unreadable = |error: io::Error| ClientError::Unreadable {
        path: path.to_path_buf(),
        cause: error.to_string(),
    };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let about = file.metadata().await.map_err(unreadable)?;
    Ok((file, about.len()))
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
        let part = FilePart::new(From::Disk(path.to_path_buf()), name);
        self.fits(path).await?;
        match self.upload_once(part.clone()).await {
            Err(ClientError::Broken { .. }) => self.upload_once(part).await,
            other => other,
        }
    }

    pub(super) async fn upload_once(&self, part: FilePart) -> Result<Uploaded, ClientError> {
        let _place = self.place().await;
        let url = self.at(&["upload", "image"]);
        let call = Call::post(url.clone(), Payload::Upload(part));
        let text = self.text(call, JSON_LIMIT).await?;
        let read = serde_json::from_str::<Uploaded>(&text.body);
        let uploaded = read.map_err(|error| text.unreadable(&error))?;
        let Uploaded { hash, asset, .. } = uploaded;
        let told = asset.and_then(|asset| asset.asset_hash);
        Ok(Uploaded {
            hash: hash.or(told).filter(|hash| !hash.is_empty()),
            asset: None,
            by_hash: self.dialect().uploads.named_by_hash,
            name: uploaded.name,
            subfolder: uploaded.subfolder,
            folder: uploaded.folder,
        })
    }

    /// Refuses what the server said it would refuse: it closes the connection in the middle, and its reason is lost.
    async fn fits(&self, path: &Path) -> Result<(), ClientError> {
        let rules = self.dialect().uploads;
        let Some(limit) = rules.max_bytes else {
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
        if rules.takes(length) {
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
