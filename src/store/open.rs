//! The state of a project, opened.

use super::database;
use super::error::StoreError;
use super::lock;
use super::lock::Lock;
use super::writer;
use super::writer::Journal;
use crate::base::RunId;
use crate::event::RunStatus;
use crate::machine::Fact;
use crate::plan::Plan;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of kiln's state inside a project.
pub const STATE_FOLDER: &str = ".kiln";

/// The state of a project. Cheap to clone; the last one to be dropped waits until everything handed over is written.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    writer: Arc<writer::Writer>,
}

/// A run as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// Its id.
    pub run: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// When it started, milliseconds since 1970.
    pub started: u64,
    /// How it ended; `None` while it runs, or when its process died.
    pub status: Option<RunStatus>,
}

/// Everything needed to go on with a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The plan as it was sealed.
    pub plan: Plan,
    /// Its facts in order, each with its time in milliseconds since 1970.
    pub facts: Vec<(u64, Fact)>,
}

impl Store {
    /// Opens the state of a project, making it when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be written, or the database is damaged or of a newer kiln.
    pub fn open(project: &Path) -> Result<Self, StoreError> {
        let folder = project.join(STATE_FOLDER);
        database::prepare_folder(&folder)?;
        let path = folder.join("kiln.db");
        let opened = database::open(&path)?;
        Ok(Self {
            folder,
            writer: Arc::new(writer::Writer::start(opened, path)?),
        })
    }

    /// Opens a run's journal. The row of the run and its plan are written with its first facts.
    ///
    /// # Errors
    /// When the plan cannot be written as JSON.
    pub fn begin(&self, run: &RunId, plan: &Plan, started: u64) -> Result<Journal, StoreError> {
        let json = serde_json::to_string(plan).map_err(|error| StoreError::Damaged {
            path: self.database(),
            cause: error.to_string(),
        })?;
        Ok(Journal::begin(
            Arc::clone(&self.writer),
            run.clone(),
            plan.pipeline.clone(),
            json,
            started,
        ))
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn runs(&self) -> Result<Vec<StoredRun>, StoreError> {
        database::runs(&self.database())
    }

    /// The plan and the facts of a run; `None` when there is no such run.
    ///
    /// # Errors
    /// When the database cannot be read or its rows cannot be understood.
    pub fn replay(&self, run: &RunId) -> Result<Option<Replay>, StoreError> {
        database::replay(&self.database(), run)
    }

    /// Takes the lock of an output set, the folder that holds the runs of one pipeline.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with its holder when another kiln has it.
    pub fn lock(&self, output_set: &Path, run: &RunId) -> Result<Lock, StoreError> {
        lock::take(&self.folder.join("locks"), output_set, run)
    }

    fn database(&self) -> PathBuf {
        self.folder.join("kiln.db")
    }
}
