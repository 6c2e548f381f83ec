//! Inputs on their way to a server: by content, each once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::base::{ContentHash, ServerName, display_path};
use crate::client::{Client, ClientError};
use crate::diagnostic::{Diagnostic, codes};
use crate::plan::Uploadable;

/// What an input takes for a file, once it is sent.
type Value = OnceCell<String>;

/// What this run has sent.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    known: Mutex<HashMap<(ServerName, String), Arc<Value>>>,
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

impl Transfers {
    /// Makes sure that the server has a file. Tasks that need the same one at the same time wait for a single transfer; `anew` sends it
    /// even if it was sent before.
    pub(super) async fn send(
        &self,
        client: &Client,
        file: &Uploadable,
        anew: bool,
    ) -> Result<Sent, SendError> {
        let (path, hash, size) = source(file)?;
        let name = remote_name(&path, hash);
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (client.name().clone(), name.clone());
            if anew {
                known.remove(&key);
            }
            Arc::clone(known.entry(key).or_default())
        };
        let mut sent = None;
        let value = cell
            .get_or_try_init(|| async {
                verify(&path, hash).await?;
                let uploaded = client.upload(&path, &name).await?;
                sent = Some(size);
                Ok::<_, SendError>(uploaded.value())
            })
            .await?;
        Ok(Sent {
            value: value.clone(),
            size: sent,
        })
    }
}

fn source(file: &Uploadable) -> Result<(PathBuf, ContentHash, u64), LocalError> {
    match file {
        Uploadable::File(file) => Ok((file.path.clone(), file.hash, file.size)),
        Uploadable::Artifact(artifact) => match &artifact.path {
            Some(path) => Ok((path.clone(), artifact.hash, artifact.size)),
            None => Err(LocalError::Unreadable {
                path: PathBuf::from(&artifact.name),
                cause: "it is a text, not a file".to_owned(),
            }),
        },
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
