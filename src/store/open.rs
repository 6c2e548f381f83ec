//! The state of a project, opened for writing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::blobs::{Blobs, Boot, LocalBlobs};
use super::cache::{self, CacheRecord, Pending};
use super::database;
use super::error::{Holder, StoreError};
use super::journal::{Begin, Journal, Opening};
use super::lock::{self, Lock, Refused};
use super::notes::{self, KnownUpload};
use super::place::Place;
use super::reader::{KeptManifest, Reader, Replay, StoredRun};
use super::writer::{Ack, Writer};
use crate::base::{ContentHash, RunId, StepId, TaskName, safe_name};
use crate::plan::Plan;

/// How often a lock is tried while somebody else has it.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a request may be under way after its sender gave it up, in milliseconds.
const ON_ITS_WAY: u64 = 60 * 60 * 1000;

/// The state of a project. Cheap to clone; the last one to be dropped waits until everything handed over is written.
#[derive(Clone, Debug)]
pub struct Store {
    place: Place,
    pub(super) reader: Arc<Reader>,
    pub(super) writer: Arc<Writer>,
    blobs: Arc<LocalBlobs>,
    pub(super) pending: Arc<Pending>,
}

/// The state of a project as it is; `None` when there is none. Nothing is made, and an older database is brought to the present format.
///
/// # Errors
/// When the database cannot be read, is damaged or of a newer kiln.
pub fn read(project: &Path) -> Result<Option<Reader>, StoreError> {
    let place = Place::of(project);
    let path = place.database();
    if !path.exists() {
        return Ok(None);
    }
    if !database::is_current(&path)? {
        drop(database::open(&path)?);
    }
    Reader::open(&place).map(Some)
}

impl Store {
    /// Opens the state of a project, making it when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be written, or the database is damaged or of a newer kiln.
    pub fn open(project: &Path) -> Result<Self, StoreError> {
        Self::open_at(Place::of(project), Boot::current())
    }

    pub(super) fn open_at(place: Place, boot: Option<Boot>) -> Result<Self, StoreError> {
        place.prepare()?;
        let path = place.database();
        let opened = database::open(&path)?;
        let reader = Arc::new(Reader::open(&place)?);
        let writer = Arc::new(Writer::start(opened, path)?);
        let blobs = LocalBlobs::new(
            place.blobs(),
            place.quarantine(),
            Arc::clone(&reader),
            Arc::clone(&writer),
            boot,
        );
        Ok(Self {
            place,
            reader,
            writer,
            blobs: Arc::new(blobs),
            pending: Arc::default(),
        })
    }

    /// Where the state lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Everything that can be read.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Opens the journal of a new run. The row of the run and its plan are written with its first facts.
    ///
    /// # Errors
    /// When the plan cannot be written as JSON, or another process has a run of this id.
    pub fn begin(&self, run: &RunId, plan: &Plan, started: u64) -> Result<Journal, StoreError> {
        let json = serde_json::to_string(plan).map_err(|error| StoreError::Damaged {
            path: self.place.database(),
            cause: error.to_string(),
        })?;
        let folder = plan
            .output_dir
            .join(safe_name(&plan.pipeline))
            .join(safe_name(run.as_str()));
        let begin = Begin {
            pipeline: plan.pipeline.clone(),
            plan: json,
            started,
            tasks: plan.tasks.len() as u64,
            folder: folder.to_string_lossy().into_owned(),
        };
        let alive = self.enliven(run)?;
        let writer = Arc::clone(&self.writer);
        let opening = Opening::Begin(begin);
        Ok(Journal::new(writer, run.clone(), opening, 0, alive))
    }

    /// Opens the journal of a run that did not end well, to go on with it: further facts follow those that are there. How it ended is
    /// forgotten with the first of them. `None` when there is no such run.
    ///
    /// # Errors
    /// When the run's process lives, or the database cannot be read, understood or written.
    pub fn resume(&self, run: &RunId) -> Result<Option<(Journal, Replay)>, StoreError> {
        // First the lock: nothing is added to what is then read.
        let alive = self.enliven(run)?;
        let Some(replay) = self.reader.replay(run)? else {
            return Ok(None);
        };
        self.writer.write_now(notes::no_cancel(run))?;
        let next = replay.facts.len() as u64;
        let writer = Arc::clone(&self.writer);
        let journal = Journal::new(writer, run.clone(), Opening::Reopen, next, alive);
        Ok(Some((journal, replay)))
    }

    fn enliven(&self, run: &RunId) -> Result<Lock, StoreError> {
        let locks = self.place.locks();
        lock::of_run(&locks, run).map_err(|refused| match refused {
            Refused::Held(holder) => StoreError::Running {
                run: run.clone(),
                holder,
            },
            Refused::Io(error) => StoreError::io(&locks, error),
        })
    }

    /// The process that carries out a run; `None` when it has ended, well or not.
    pub fn process_of(&self, run: &RunId) -> Option<Holder> {
        self.reader.process_of(run)
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn runs(&self) -> Result<Vec<StoredRun>, StoreError> {
        self.reader.runs()
    }

    /// The plan and the facts of a run; `None` when there is no such run.
    ///
    /// # Errors
    /// When the database cannot be read or its rows cannot be understood.
    pub fn replay(&self, run: &RunId) -> Result<Option<Replay>, StoreError> {
        self.reader.replay(run)
    }

    /// Takes the lock of an output set, the folder that holds the runs of one pipeline. The lock lies in that folder: projects that share
    /// it exclude each other.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with its holder when another kiln has it.
    pub fn lock(&self, output_set: &Path, run: &RunId) -> Result<Lock, StoreError> {
        match lock::of_outputs(output_set, run) {
            Ok(lock) => Ok(lock),
            Err(Refused::Held(holder)) => Err(StoreError::Locked {
                output_set: output_set.to_path_buf(),
                holder,
            }),
            // Whether outputs can be written is found out, and told, by whoever writes them. A lock is to be had nevertheless.
            Err(Refused::Io(_)) => self.lock_here(output_set, run),
        }
    }

    fn lock_here(&self, output_set: &Path, run: &RunId) -> Result<Lock, StoreError> {
        let locks = self.place.locks();
        std::fs::create_dir_all(&locks).map_err(|error| StoreError::io(&locks, error))?;
        let name = ContentHash::of(output_set.as_os_str().as_encoded_bytes()).to_hex();
        let path = locks.join(format!("outputs-{}.lock", &name[..16]));
        lock::take(&path, run).map_err(|refused| match refused {
            Refused::Held(holder) => StoreError::Locked {
                output_set: output_set.to_path_buf(),
                holder,
            },
            Refused::Io(error) => StoreError::io(&path, error),
        })
    }

    /// As [`Store::lock`], but waits until the lock is free; `tell` learns who has it, once for each holder. Dropping the wait is fine.
    ///
    /// # Errors
    /// When locks do not work here.
    pub async fn lock_when_free(
        &self,
        output_set: &Path,
        run: &RunId,
        mut tell: impl FnMut(&Holder),
    ) -> Result<Lock, StoreError> {
        let mut told = None;
        loop {
            match self.lock(output_set, run) {
                Err(StoreError::Locked { holder, .. }) => {
                    if told.as_ref() != Some(&holder) {
                        tell(&holder);
                        told = Some(holder);
                    }
                    tokio::time::sleep(PATIENCE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Results by content. Every call blocks.
    pub fn blobs(&self) -> Arc<dyn Blobs> {
        Arc::clone(&self.blobs) as Arc<dyn Blobs>
    }

    /// What is kept under a key, from the moment it was handed over. Whether its content is still there, [`Store::blobs`] knows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn cached(&self, key: &ContentHash) -> Result<Option<CacheRecord>, StoreError> {
        match self.pending.get(key) {
            Some(record) => Ok(Some(record)),
            None => self.reader.cached(key),
        }
    }

    /// Keeps the results of a task under its key; their blobs must be there. Handed over before the task's last fact is appended to the
    /// journal, it is durable when that fact is.
    pub fn keep(&self, record: CacheRecord) {
        let (key, pending) = (record.key, Arc::clone(&self.pending));
        pending.add(&record);
        let written = Box::new(move || pending.written(&key));
        self.writer.note_then(cache::keep(record), written);
    }

    /// What a task's key was made of the last time, in any run of the pipeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn manifest(
        &self,
        pipeline: &str,
        task: &TaskName,
    ) -> Result<Option<KeptManifest>, StoreError> {
        self.reader.manifest(pipeline, task)
    }

    /// Whether a task of a step ended well in another run of the pipeline, so that its result may still be there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn ended_well_before(
        &self,
        pipeline: &str,
        step: &StepId,
        run: &RunId,
    ) -> Result<bool, StoreError> {
        self.reader.ended_well_before(pipeline, step, run)
    }

    /// Notes what a task's key is made of in a run whose first facts were handed over.
    pub fn note_manifest(&self, run: &RunId, task: &TaskName, manifest: Value) {
        self.writer
            .note(notes::manifest(run.clone(), task.clone(), manifest));
    }

    /// What a task of each step takes, in milliseconds, by earlier runs of the pipeline.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn durations(&self, pipeline: &str) -> Result<HashMap<StepId, u64>, StoreError> {
        self.reader.durations(pipeline)
    }

    /// Notes what a task of a step took.
    pub fn note_duration(&self, pipeline: &str, step: &StepId, ms: u64) {
        self.writer
            .note(notes::duration(pipeline.to_owned(), step.clone(), ms));
    }

    /// How a server (by its URL) was once given some content.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn known_upload(
        &self,
        server: &str,
        hash: &ContentHash,
    ) -> Result<Option<KnownUpload>, StoreError> {
        self.reader.known_upload(server, hash)
    }

    /// Notes how a server was given some content.
    pub fn note_upload(&self, server: &str, hash: &ContentHash, known: KnownUpload) {
        self.writer
            .note(notes::upload(server.to_owned(), *hash, known));
    }

    /// Forgets what a server was given.
    pub fn forget_upload(&self, server: &str, hash: &ContentHash) {
        self.writer.note(notes::no_upload(server.to_owned(), *hash));
    }

    /// The ids of jobs that were given up while a server (by its URL) could not be reached.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn strays(&self, server: &str) -> Result<Vec<String>, StoreError> {
        self.reader.strays(server)
    }

    /// Notes a job that is to be cancelled when its server returns.
    pub fn add_stray(&self, server: &str, prompt_id: &str) {
        self.writer
            .note(notes::stray(server.to_owned(), prompt_id.to_owned(), 0));
    }

    /// Notes a job that its server did not know at `now` (milliseconds since 1970), although it may have been sent: it may still be on its
    /// way, and is to be cancelled should it ever show up.
    pub fn expect_stray(&self, server: &str, prompt_id: &str, now: u64) {
        let (server, prompt) = (server.to_owned(), prompt_id.to_owned());
        let until = now.saturating_add(ON_ITS_WAY);
        self.writer.note(notes::stray(server, prompt, until));
    }

    /// Forgets a job that its server does not know at `now`, unless it may still be on its way.
    pub fn miss_stray(&self, server: &str, prompt_id: &str, now: u64) {
        let (server, prompt) = (server.to_owned(), prompt_id.to_owned());
        self.writer.note(notes::absent_stray(server, prompt, now));
    }

    /// Forgets a job that was cancelled.
    pub fn remove_stray(&self, server: &str, prompt_id: &str) {
        self.writer
            .note(notes::no_stray(server.to_owned(), prompt_id.to_owned()));
    }

    /// Asks the process of a run to stop it.
    pub fn request_cancel(&self, run: &RunId, at: u64) -> Ack {
        self.writer.write(notes::cancel(run, at))
    }

    /// Whether another process asked for a run to stop.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn cancel_requested(&self, run: &RunId) -> Result<bool, StoreError> {
        self.reader.cancel_requested(run)
    }

    /// The folder of the state, for messages.
    pub fn folder(&self) -> PathBuf {
        self.place.state.clone()
    }
}
