//! Inputs on their way to a server: by content, each once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::passing::Passing;
use super::recall::blocking;
use crate::artifact::{Artifact, RemoteFile};
use crate::base::{ContentHash, display_path};
use crate::client::{Client, ClientError, Stamp};
use crate::diagnostic::{Diagnostic, codes};
use crate::machine::FailureClass;
use crate::plan::key::LOADERS;
use crate::plan::{Upload, Uploadable};
use crate::protocol::FileRef;
use crate::servers::Endpoint;
use crate::store::{KnownUpload, Store};

/// What an input takes for a file, once it is sent.
type Value = OnceCell<String>;

/// What this run has sent.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// By the address of the server and the name there.
    known: Mutex<HashMap<(String, String), Arc<Value>>>,
    /// What goes, or went, from one server to another while it was fetched.
    pub(super) passing: Passing,
}

/// A file on a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// What an input takes for it.
    pub(super) value: String,
    /// Its size in bytes when it was sent now; `None` when it had been sent before.
    pub(super) size: Option<u64>,
    /// It is the file that the server made, under the name that it has there, and not a copy that it was sent.
    pub(super) referred: bool,
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
    /// What the server has is something else.
    #[error("what arrived of `{}` is not what was sent", display_path(.0))]
    Damaged(PathBuf),
    /// It would have to be sent, and the server does not take it.
    #[error("{}", .0.message)]
    Refused(Box<Diagnostic>),
}

impl SendError {
    /// The complaint and its class; an error of the server's is given back, for it may pass.
    pub(super) fn complaint(self) -> Result<(FailureClass, Diagnostic), ClientError> {
        let message = self.to_string();
        match self {
            Self::Local(error) => Ok((FailureClass::Transfer, error.diagnostic())),
            Self::Server(error) => Err(error),
            Self::Damaged(_) => {
                let built = Diagnostic::error(&codes::TRANSFER_FAILED, message).help(
                    "is the server's disk full, or does a proxy change what passes through it?",
                );
                Ok((FailureClass::Transfer, built))
            }
            Self::Refused(built) => Ok((FailureClass::Invalid, *built)),
        }
    }
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
                built.help("leave inputs and results alone until the run has ended: `--resume` goes on with those that it began with, and `kiln run` begins anew with what is there now")
            }
            Self::Unreadable { .. } => {
                built.help("put it back and go on with `--resume`, or begin anew with `kiln run`")
            }
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
    /// Why the server would not take it, should it have to be sent.
    pub(super) too_large: Option<&'a Diagnostic>,
}

impl Transfers {
    /// Makes sure that the server has a file. Tasks that need the same one at the same time wait for a single transfer.
    pub(super) async fn send(
        &self,
        store: &Store,
        server: &Endpoint,
        order: &Order<'_>,
    ) -> Result<Sent, SendError> {
        if let Some((artifact, remote)) = there_already(server, order)
            && let Some(value) = proven(server.client(), artifact, remote).await?
        {
            return Ok(Sent {
                value,
                size: None,
                referred: referable(server, order).is_some(),
            });
        }
        let source = Source::of(&order.upload.file)?;
        let name = remote_name(&source.path, source.hash);
        let cell = self.cell((server.url.clone(), name.clone()), order.anew);
        let mut sent = None;
        let value = cell
            .get_or_try_init(|| async {
                if !order.anew {
                    let hint = store.known_upload(&server.url, &source.hash);
                    if let Ok(Some(hint)) = hint {
                        if holds(server.client(), &hint, source.size).await? {
                            return Ok(hint.name);
                        }
                        store.forget_upload(&server.url, &source.hash);
                    }
                    if let Some(known) = self.passed_on(server, &source).await {
                        sent = Some(source.size);
                        store.note_upload(&server.url, &source.hash, known.clone());
                        return Ok(known.name);
                    }
                }
                if let Some(refusal) = order.too_large {
                    return Err(SendError::Refused(Box::new(refusal.clone())));
                }
                let original = source.original(store).await?;
                let uploaded = server.client().upload(original.path(), &name).await?;
                sent = Some(source.size);
                if uploaded.holds(source.hash) == Some(false) {
                    return Err(SendError::Damaged(original.path().to_path_buf()));
                }
                let value = uploaded.value();
                if !server.is_embedded() {
                    let stamp = stamp(server.client(), &value).await;
                    let told = stamp.as_ref();
                    if told.is_some_and(|stamp| differs(stamp, source.size)) {
                        return Err(SendError::Damaged(original.path().to_path_buf()));
                    }
                    let etag = stamp.and_then(|stamp| stamp.etag);
                    let known = KnownUpload { name: value, etag };
                    store.note_upload(&server.url, &source.hash, known.clone());
                    return Ok(known.name);
                }
                Ok::<_, SendError>(value)
            })
            .await?;
        Ok(Sent {
            value: value.clone(),
            size: sent,
            referred: false,
        })
    }
}

impl Transfers {
    /// What all who need a file on a server wait for.
    fn cell(&self, key: (String, String), anew: bool) -> Arc<Value> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if anew {
            known.remove(&key);
        }
        Arc::clone(known.entry(key).or_default())
    }

    /// What came to the server while it was fetched from another one, once the server has said that all of it is there.
    async fn passed_on(&self, server: &Endpoint, source: &Source) -> Option<KnownUpload> {
        let (uploaded, hash) = self.passing.arrival(&server.url, source.hash).await?;
        let name = uploaded.value();
        let stamp = stamp(server.client(), &name).await?;
        let is_it = hash == source.hash && uploaded.holds(hash) != Some(false);
        (is_it && stamp.size == Some(source.size)).then_some(KnownUpload {
            name,
            etag: stamp.etag,
        })
    }
}

/// Whether a result is still on the server that made it as it was when it was fetched.
///
/// # Errors
/// When the server does not say so or otherwise.
pub(super) async fn is_unchanged(
    client: &Client,
    artifact: &Artifact,
) -> Result<bool, ClientError> {
    let told = artifact.remote.as_ref();
    match told.and_then(|remote| Some((remote, remote.etag.as_ref()?))) {
        Some((remote, etag)) => client.unchanged(&there(remote), etag).await,
        None => Ok(true),
    }
}

/// A file that the server made and an input can take from there, by a name that may be another file's one day.
pub(super) fn referable<'a>(server: &Endpoint, order: &'a Order<'_>) -> Option<&'a Arc<Artifact>> {
    let named_by_content = server.client().dialect().uploads.named_by_hash;
    let (artifact, remote) = there_already(server, order)?;
    (!named_by_content && remote.etag.is_some()).then_some(artifact)
}

/// The file on the server itself, when the input can take it from there.
fn there_already<'a>(
    server: &Endpoint,
    order: &'a Order<'_>,
) -> Option<(&'a Arc<Artifact>, &'a RemoteFile)> {
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
        .then_some((artifact, remote))
}

fn there(remote: &RemoteFile) -> FileRef {
    FileRef {
        filename: remote.filename.clone(),
        subfolder: remote.subfolder.clone(),
        folder: remote.folder.clone(),
    }
}

/// What an input takes for a file that the server made, once the server has said that it is still the one that was fetched.
async fn proven(
    client: &Client,
    artifact: &Artifact,
    remote: &RemoteFile,
) -> Result<Option<String>, ClientError> {
    let Some(etag) = &remote.etag else {
        return Ok(None);
    };
    let by_hash = client.dialect().uploads.named_by_hash;
    let told = ["hash", "asset_hash"].iter();
    let told = told.filter_map(|name| artifact.meta.get(*name)?.as_str());
    let hash = told.map(str::to_owned).next();
    if by_hash && hash.is_none() {
        // There, inputs take the hash of a file and no name: one that is not told is sent.
        return Ok(None);
    }
    let file = there(remote);
    match client.unchanged(&file, etag).await {
        Ok(unchanged) => {
            let by_hash = hash.filter(|_| by_hash);
            Ok(unchanged.then(|| by_hash.unwrap_or_else(|| file.annotated())))
        }
        Err(error) if error.is_connection() => Err(error),
        // Whatever is wrong, an upload will do.
        Err(_) => Ok(None),
    }
}

/// Whether the server still has what it was given: as it was then, by its own word, or at least of the right size where it gave none.
/// Names tell the content, and servers overwrite nothing.
async fn holds(client: &Client, known: &KnownUpload, size: u64) -> Result<bool, ClientError> {
    let file = input(&known.name);
    let held = if let Some(etag) = &known.etag {
        client.unchanged(&file, etag).await
    } else {
        let stamp = client.stamp_of(&file).await;
        stamp.map(|stamp| stamp.is_some_and(|stamp| stamp.size == Some(size)))
    };
    match held {
        Err(error) if !error.is_connection() => Ok(false),
        held => held,
    }
}

/// What the server tells of a file that it was given. Nothing depends on it but what it is good for later.
async fn stamp(client: &Client, value: &str) -> Option<Stamp> {
    client.stamp_of(&input(value)).await.ok().flatten()
}

fn differs(stamp: &Stamp, size: u64) -> bool {
    stamp.size.is_some_and(|told| told != size)
}

/// The file that an input's value names.
fn input(value: &str) -> FileRef {
    let (subfolder, filename) = value.rsplit_once('/').unwrap_or(("", value));
    FileRef {
        filename: filename.to_owned(),
        subfolder: subfolder.to_owned(),
        folder: "input".to_owned(),
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
pub(super) fn remote_name(path: &Path, hash: ContentHash) -> String {
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
