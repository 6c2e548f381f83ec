//! What can be wrong with the state, in words.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{RunId, WriteError, display_path};
use crate::diagnostic::{Diagnostic, codes};

/// The state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A newer kiln wrote the database.
    #[error(
        "`{}` was written by a newer kiln (format {found}; this one knows formats up to {known})",
        display_path(path)
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this kiln knows.
        known: i64,
    },
    /// The database is no database, or its content makes no sense.
    #[error("`{}` is damaged: {cause}", display_path(path))]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The folder or the database cannot be written.
    #[error("could not write kiln's state in `{}`: {cause}", display_path(path))]
    Unwritable {
        /// What could not be written.
        path: PathBuf,
        /// What the system answered.
        cause: String,
    },
    /// Another kiln works on the same outputs.
    #[error("the outputs in `{}` are in use by {holder}", display_path(output_set))]
    Locked {
        /// The folder of the runs of one pipeline.
        output_set: PathBuf,
        /// Who holds the lock.
        holder: Holder,
    },
    /// A run that was to be gone on with has not ended.
    #[error("run {run} is still under way{}", in_process(holder))]
    Running {
        /// The run.
        run: RunId,
        /// Its process.
        holder: Holder,
    },
}

fn in_process(holder: &Holder) -> String {
    match holder.pid {
        0 => String::new(),
        pid => format!(" in process {pid} on {}", holder.host),
    }
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run, when it is known.
    pub run: Option<RunId>,
    /// Its process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) => write!(f, "run {run} (process {} on {})", self.pid, self.host),
            None => f.write_str("another kiln"),
        }
    }
}

impl StoreError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        // `WriteError` knows the words for a full disk, a missing permission and so on.
        let text = WriteError::new(path, source).to_string();
        let cause = text.rsplit_once("`: ").map_or(text.as_str(), |(_, c)| c);
        Self::Unwritable {
            path: path.to_path_buf(),
            cause: cause.to_owned(),
        }
    }

    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_path_buf();
        let cause = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => {
                return Self::Damaged {
                    path,
                    cause: "it is not a database".to_owned(),
                };
            }
            Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                "permission denied".to_owned()
            }
            Some(ErrorCode::CannotOpen) => "it cannot be opened for writing".to_owned(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another process keeps it busy".to_owned()
            }
            Some(ErrorCode::SystemIoFailure) => "reading or writing it failed".to_owned(),
            Some(ErrorCode::DatabaseCorrupt) | None => {
                return Self::Damaged {
                    path,
                    cause: error.to_string(),
                };
            }
            Some(_) => error.to_string(),
        };
        Self::Unwritable { path, cause }
    }

    /// The complaint for people.
    pub fn diagnostic(&self) -> Diagnostic {
        let code = match self {
            Self::Locked { .. } | Self::Running { .. } => &codes::STATE_LOCKED,
            _ => &codes::STATE_UNUSABLE,
        };
        Diagnostic::error(code, self.to_string()).help(match self {
            Self::Newer { path, .. } => format!(
                "update kiln, or move `{}` away to start anew; finished files are not in it",
                display_path(path)
            ),
            Self::Damaged { path, .. } => format!(
                "move `{}` away and run again; only the record of earlier runs is lost, finished files are not in it",
                display_path(path)
            ),
            Self::Unwritable { cause, .. } if cause.contains("full") => {
                "kiln keeps the journal of its runs in `.kiln` in the project's folder; make room there".to_owned()
            }
            Self::Unwritable { .. } => {
                "kiln keeps the journal of its runs in `.kiln` in the project's folder; make it writable".to_owned()
            }
            Self::Locked { .. } => {
                "`--wait` waits until it ends; Ctrl-C in its terminal or `kiln cancel` stops it".to_owned()
            }
            Self::Running { run, .. } => {
                format!("look on with `kiln show {run} --follow`, or stop it with `kiln cancel {run}`")
            }
        })
    }
}
