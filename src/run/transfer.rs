//! Inputs on their way to a server: by content, each once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::recall::blocking;
use crate::artifact::RemoteFile;
use crate::base::{ContentHash, display_path};
use crate::client::{Client, ClientError};
use crate::diagnostic::{Diagnostic, codes};
use crate::plan::key::LOADERS;
use crate::plan::{Upload, Uploadable};
use crate::protocol::FileRef;
use crate::servers::Endpoint;
use crate::store::Store;

/// What an input takes for a file, once it is sent.
type Value = OnceCell<String>;

/// What this run has sent.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// By the address of the server and the name there.
    known: Mutex<HashMap<(String, String), Arc<Value>>>,
}

/// A file on a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// What an input takes for it.
    pub(super) value: String,
    /// Its size in bytes when it was sent now; `None` when it had been sent before.
    pub(super) size: Option<u64>,
}

/// A file could not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It cannot be read as it should be.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The server did not take it.
    #[error(transparent)]
    Server(#[from] ClientError),
}

/// A file on this machine is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// It is not what it was when the plan was made or the task that made it ended.
    #[error("`{}` was changed while the pipeline ran", display_path(.0))]
    Changed(PathBuf),
    /// It cannot be read.
    #[error("could not read `{}`: {cause}", display_path(path))]
    Unreadable { path: PathBuf, cause: String },
}

impl LocalError {
    pub(super) fn diagnostic(&self) -> Diagnostic {
        let built = Diagnostic::error(&codes::TRANSFER_FAILED, self.to_string());
        match self {
            Self::Changed(_) => {
                built.help("leave inputs and results alone until the run has ended")
            }
            Self::Unreadable { .. } => built,
        }
    }
}

/// A file that an input of a job takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) upload: &'a Upload,
    /// The class of the node.
    pub(super) class: &'a str,
    /// What the server made itself need not be sent back to it.
    pub(super) by_reference: bool,
    /// It is sent even if it was sent before.
    pub(super) anew: bool,
}

impl Transfers {
    /// Makes sure that the server has a file. Tasks that need the same one at the same time wait for a single transfer.
    pub(super) async fn send(
        &self,
        store: &Store,
        server: &Endpoint,
        order: &Order<'_>,
    ) -> Result<Sent, SendError> {
        if let Some(remote) = referable(server, order)
            && let Some(value) = proven(server.client(), remote).await?
        {
            return Ok(Sent { value, size: None });
        }
        let source = Source::of(&order.upload.file)?;
        let name = remote_name(&source.path, source.hash);
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (server.url.clone(), name.clone());
            if order.anew {
                known.remove(&key);
            }
            Arc::clone(known.entry(key).or_default())
        };
        let mut sent = None;
        let value = cell
            .get_or_try_init(|| async {
                let hint = (!order.anew).then(|| store.known_upload(&server.url, &source.hash));
                if let Some(Ok(Some(hint))) = hint {
                    if holds(server.client(), &hint, source.size).await? {
                        return Ok(hint);
                    }
                    store.forget_upload(&server.url, &source.hash);
                }
                let original = source.original(store).await?;
                let uploaded = server.client().upload(original.path(), &name).await?;
                sent = Some(source.size);
                let value = uploaded.value();
                if !server.is_embedded() {
                    store.note_upload(&server.url, &source.hash, &value);
                }
                Ok::<_, SendError>(value)
            })
            .await?;
        Ok(Sent {
            value: value.clone(),
            size: sent,
        })
    }
}

/// The file on the server itself, when the input can take it from there.
fn referable<'a>(server: &Endpoint, order: &'a Order<'_>) -> Option<&'a RemoteFile> {
    let Uploadable::Artifact(artifact) = &order.upload.file else {
        return None;
    };
    let input = (order.class, order.upload.input.as_str());
    let remote = artifact.remote.as_ref()?;
    (order.by_reference
        && order.upload.pointer.is_empty()
        && LOADERS.contains(&input)
        && remote.folder == "output"
        && !remote.url.is_empty()
        && remote.url == server.url)
        .then_some(remote)
}

/// What an input takes for a file that the server made, once the server has said that it is still the one that was fetched.
async fn proven(client: &Client, remote: &RemoteFile) -> Result<Option<String>, ClientError> {
    let Some(etag) = &remote.etag else {
        return Ok(None);
    };
    let file = FileRef {
        filename: remote.filename.clone(),
        subfolder: remote.subfolder.clone(),
        folder: remote.folder.clone(),
    };
    match client.unchanged(&file, etag).await {
        Ok(unchanged) => Ok(unchanged.then(|| file.annotated())),
        Err(error) if error.is_connection() => Err(error),
        // Whatever is wrong, an upload will do.
        Err(_) => Ok(None),
    }
}

/// Whether the server has an upload of this name and size. Names tell the content, and servers overwrite nothing.
async fn holds(client: &Client, value: &str, size: u64) -> Result<bool, ClientError> {
    let (subfolder, filename) = value.rsplit_once('/').unwrap_or(("", value));
    let file = FileRef {
        filename: filename.to_owned(),
        subfolder: subfolder.to_owned(),
        folder: "input".to_owned(),
    };
    match client.size_of(&file).await {
        Ok(found) => Ok(found == Some(size)),
        Err(error) if error.is_connection() => Err(error),
        Err(_) => Ok(false),
    }
}

/// A file on this machine, and what is to be in it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) hash: ContentHash,
    size: u64,
}

/// A file with the content that is wanted.
#[derive(Debug)]
pub(super) enum Original {
    /// Where it was.
    There(PathBuf),
    /// Another one stands in its place: this is a copy of what was there.
    Copy(PathBuf, Arc<tempfile::TempDir>),
}

impl Original {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::There(path) => path,
            Self::Copy(path, _folder) => path,
        }
    }
}

impl Source {
    fn of(file: &Uploadable) -> Result<Self, LocalError> {
        let (path, hash, size) = match file {
            Uploadable::File(file) => (file.path.clone(), file.hash, file.size),
            Uploadable::Artifact(artifact) => match &artifact.path {
                Some(path) => (path.clone(), artifact.hash, artifact.size),
                None => {
                    return Err(LocalError::Unreadable {
                        path: PathBuf::from(&artifact.name),
                        cause: "it is a text, not a file".to_owned(),
                    });
                }
            },
        };
        Ok(Self { path, hash, size })
    }

    /// The file as it was when the plan was made or the task ended that made it: someone may have edited it since.
    pub(super) async fn original(&self, store: &Store) -> Result<Original, LocalError> {
        let Err(error) = verify(&self.path, self.hash).await else {
            return Ok(Original::There(self.path.clone()));
        };
        let (blobs, hash) = (store.blobs(), self.hash);
        let name = self.path.file_name().unwrap_or_default().to_owned();
        let copied = blocking(move || {
            let folder = tempfile::tempdir().ok()?;
            let path = folder.path().join(name);
            blobs.materialise(&hash, &path).ok()?;
            Some(Original::Copy(path, Arc::new(folder)))
        });
        copied.await.ok_or(error)
    }
}

impl Source {
    pub(super) fn new(path: PathBuf, hash: ContentHash) -> Self {
        Self {
            path,
            hash,
            size: 0,
        }
    }
}

/// The name says what is in the file, so that equal files meet and unequal ones never do.
fn remote_name(path: &Path, hash: ContentHash) -> String {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_ascii_lowercase)
        .filter(|e| e.len() <= 8 && e.bytes().all(|b| b.is_ascii_alphanumeric()))
        .map(|e| format!(".{e}"))
        .unwrap_or_default();
    format!("kiln/{}{extension}", &hash.to_hex()[..16])
}

async fn verify(path: &Path, expected: ContentHash) -> Result<(), LocalError> {
    let file = path.to_path_buf();
    let read = tokio::task::spawn_blocking(move || ContentHash::of_file(&file)).await;
    match read {
        Ok(Ok((hash, _))) if hash == expected => Ok(()),
        Ok(Ok(_)) => Err(LocalError::Changed(path.to_path_buf())),
        Ok(Err(error)) => Err(LocalError::Unreadable {
            path: path.to_path_buf(),
            cause: match error.kind() {
                std::io::ErrorKind::NotFound => "it is gone".to_owned(),
                _ => error.to_string(),
            },
        }),
        Err(error) => Err(LocalError::Unreadable {
            path: path.to_path_buf(),
            cause: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_name_tells_content_and_type_and_nothing_else() {
        let hash = ContentHash::of(b"x");
        let short = &hash.to_hex()[..16];
        for (path, name) in [
            ("/home/me/My Photo.PNG", format!("kiln/{short}.png")),
            ("/home/me/archive.tar.gz", format!("kiln/{short}.gz")),
            ("/home/me/no-extension", format!("kiln/{short}")),
            ("/home/me/odd.p n", format!("kiln/{short}")),
        ] {
            assert_eq!(remote_name(Path::new(path), hash), name);
        }
    }

    #[tokio::test]
    async fn a_file_that_changed_since_the_plan_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        std::fs::write(&path, "new").unwrap();
        let error = verify(&path, ContentHash::of(b"old")).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("was changed while the pipeline ran")
        );
        std::fs::remove_file(&path).unwrap();
        let error = verify(&path, ContentHash::of(b"old")).await.unwrap_err();
        assert!(error.to_string().ends_with("it is gone"), "{error}");
    }
}
