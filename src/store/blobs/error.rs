//! Why content could not be kept or restored.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{ContentHash, WriteError, display_path};
use crate::diagnostic::{Diagnostic, codes};

/// Content could not be kept or restored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlobError {
    /// Nothing is kept under the hash.
    #[error("nothing is kept under {hash}")]
    Missing {
        /// The hash.
        hash: ContentHash,
    },
    /// What was kept under the hash is something else by now.
    #[error(
        "a file of kiln's cache was damaged, and is in `{}` now",
        display_path(moved)
    )]
    Damaged {
        /// The hash.
        hash: ContentHash,
        /// Where it was moved to.
        moved: PathBuf,
    },
    /// The file to be kept is not what it was when it was written.
    #[error(
        "`{}` was changed before kiln could keep a copy of it",
        display_path(path)
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("could not read `{}`: {cause}", display_path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Unwritable(Arc<WriteError>),
}

impl PartialEq for BlobError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for BlobError {}

impl From<WriteError> for BlobError {
    fn from(error: WriteError) -> Self {
        Self::Unwritable(Arc::new(error))
    }
}

impl BlobError {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::Unreadable {
            path: path.to_path_buf(),
            cause: error.to_string(),
        }
    }

    /// Whether the disk, a quota or a size limit is exhausted.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Unwritable(error) if error.is_full())
    }

    /// The warning for people. No run fails for the sake of its cache: what is not kept runs again the next time.
    pub fn diagnostic(&self) -> Diagnostic {
        let code = match self {
            Self::Damaged { .. } => &codes::CACHE_DAMAGED,
            _ => &codes::CACHE_NOT_KEPT,
        };
        Diagnostic::warning(code, self.to_string()).help(match self {
            Self::Damaged { .. } => {
                "its task runs again; `kiln gc` removes the damaged file".to_owned()
            }
            Self::Unwritable(error) if error.is_full() => {
                "the result itself is complete; `kiln gc --older-than 30d` frees space".to_owned()
            }
            _ => "the result itself is complete; its task runs again the next time".to_owned(),
        })
    }
}
