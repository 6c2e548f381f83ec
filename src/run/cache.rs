//! Results that were made before, and stand for new ones.
//!
//! A hit is found under the task's key, and counts only while each of its files can be restored from its blob or still lies where the
//! run behind `latest` put it. It is restored under the names that the task would give it now: names of steps, tasks and files are in
//! no key. A file that a person edited was never a blob, so an edit spoils no hit. `cache: false` neither looks a result up nor keeps
//! one; `--force` keeps, and does not look. Whether a hit fulfils the step's `until` is for the caller to ask: conditions may change
//! while results do not.
//!
//! Keys describe a task's first attempt as well as the one that succeeded ([`keep`] takes both): a task that only succeeds when tried
//! again is not run again for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::base::{AtomicFile, ContentHash, Looks, Nearby, RunId, TaskName};
use crate::plan::key::{Manifest, Recorded, StaleReason, explain};
use crate::plan::{CacheMode, StepPlan, Work};
use crate::store::{BlobError, Blobs, CacheRecord, Held, Reader, Shelf, Store, StoreError, Unread};
use crate::workflow::Graph;

/// What is remembered beside a result: who made it, and what its server was then. The `facts` of a [`CacheRecord`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The run that made it.
    pub run: RunId,
    /// The task that made it.
    pub task: TaskName,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// What its server was.
    #[serde(default)]
    pub server: Recorded,
    /// The job's id on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<String>,
    /// The graph as it was sent, when plugins changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
    /// What its files looked like where the record says they are, in the order of the artifacts; `None` for a text.
    #[serde(default)]
    pub(super) stamps: Vec<Option<Stamp>>,
}

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    size: u64,
    /// Nanoseconds since 1970.
    modified: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        Looks::of(path).and_then(Self::seen)
    }

    fn seen(looks: Looks) -> Option<Self> {
        Some(Self {
            size: looks.size,
            modified: looks.modified?,
        })
    }
}

/// What is noted beside a task in a run, for `kiln plan` and `kiln show`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// What its key was made of.
    pub manifest: Manifest,
    /// Why it ran.
    pub why: Vec<StaleReason>,
    /// The run with which it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<RunId>,
}

/// Whether a task's result is looked up.
pub(super) fn looks_up(step: &StepPlan) -> bool {
    step.cache != CacheMode::Off && !step.force
}

/// Whether a task's result is kept.
pub(super) fn keeps(step: &StepPlan) -> bool {
    step.cache != CacheMode::Off
}

/// Why a step's tasks run whatever they are made of; `None` when that depends on their keys.
pub fn always(step: &StepPlan) -> Option<StaleReason> {
    match &step.work {
        _ if step.cache == CacheMode::Off => Some(StaleReason::CacheOff),
        Work::Command(command) if command.collect.is_empty() => Some(StaleReason::AlwaysRuns),
        _ if step.force => Some(StaleReason::Forced),
        _ => None,
    }
}

/// A result under the key that was asked for.
#[derive(Clone, Debug)]
pub struct Found {
    record: CacheRecord,
    /// Who made it.
    pub made: Made,
}

/// No result under the key that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Miss {
    /// None was ever kept, or it was removed.
    Unknown,
    /// A file of it is gone or damaged.
    Damaged {
        /// The file's name.
        file: String,
        /// What is wrong, when there is more to say than that it is gone.
        error: Option<Box<BlobError>>,
    },
    /// It is there, and not what the step's `until` wants.
    Unfit,
}

/// Looks for a result and proves that it can be had.
///
/// # Errors
/// When the database cannot be read.
pub fn find(store: &Store, key: &ContentHash) -> Result<Result<Found, Miss>, StoreError> {
    let record = store.cached(key)?;
    let blobs = store.blobs();
    Ok(record.map_or(Err(Miss::Unknown), |record| prove(record, &*blobs)))
}

/// Takes a result's files for whole when they are there: for looking ahead, in a project that nothing is written to.
///
/// # Errors
/// When one is not.
pub fn glance(unread: &Unread, shelf: &Shelf) -> Result<Found, Miss> {
    let Some((record, made)) = unread.read_apart::<Made>() else {
        return Err(Miss::Unknown);
    };
    let mut files = record.artifacts.iter().filter(|a| a.text.is_none());
    if let Some(gone) = files.find(|a| !shelf.holds(&a.hash, a.size)) {
        let file = gone.name.clone();
        return Err(Miss::Damaged { file, error: None });
    }
    made.map(|made| Found { record, made }).ok_or(Miss::Unknown)
}

fn understood(mut record: CacheRecord) -> Result<Found, Miss> {
    // What another kiln noted in another way is unknown to this one.
    serde_json::from_value::<Made>(std::mem::take(&mut record.facts))
        .map(|made| Found { record, made })
        .map_err(|_| Miss::Unknown)
}

/// Proves that a result can be had.
///
/// # Errors
/// When it cannot.
pub fn prove(record: CacheRecord, blobs: &dyn Blobs) -> Result<Found, Miss> {
    let files: Vec<&Artifact> = record
        .artifacts
        .iter()
        .map(Arc::as_ref)
        .filter(|artifact| artifact.text.is_none())
        .collect();
    let hashes: Vec<ContentHash> = files.iter().map(|artifact| artifact.hash).collect();
    for (artifact, held) in files.iter().zip(blobs.check(&hashes)) {
        let error = match held {
            Held::Whole => continue,
            Held::Missing => None,
            Held::Damaged(error) => Some(Box::new(error)),
        };
        let file = artifact.name.clone();
        return Err(Miss::Damaged { file, error });
    }
    understood(record)
}

impl Found {
    /// What is different about the server now. A hit is a hit all the same; people are told.
    pub fn differences(&self, now: &Recorded) -> Vec<StaleReason> {
        self.made.server.differences(now)
    }

    /// What was made, as it lies where it was put last. For looking at, not for handing on.
    pub fn artifacts(&self) -> &[Arc<Artifact>] {
        &self.record.artifacts
    }

    /// What the task would have, with its files where they were put last. For looking ahead, not for handing on.
    pub fn artifacts_of(&self, step: &StepPlan, task: &TaskName) -> Vec<Arc<Artifact>> {
        let artifacts = self.record.artifacts.iter().map(|artifact| {
            if artifact.task == *task && is_named(artifact, step) {
                return Arc::clone(artifact);
            }
            Arc::new(Artifact {
                path: artifact.path.clone(),
                ..renamed(artifact, step, task)
            })
        });
        artifacts.collect()
    }

    /// The result where it lies, when it was put there by this task in that run and nobody touched it since. Files are looked at from
    /// `near`, where most of them are.
    pub fn in_place(
        &self,
        run: &RunId,
        task: &TaskName,
        near: &Nearby,
    ) -> Option<Vec<Arc<Artifact>>> {
        if self.record.run != *run || self.record.task != *task {
            return None;
        }
        let stamps = self.made.stamps.iter().chain(std::iter::repeat(&None));
        for (artifact, stamp) in self.record.artifacts.iter().zip(stamps) {
            if let Some(path) = &artifact.path
                && (stamp.is_none() || near.look(path).and_then(Stamp::seen) != *stamp)
            {
                return None;
            }
        }
        Some(self.record.artifacts.clone())
    }

    /// Puts the result's files where the task would put them now. Its record is to be kept anew with [`Restored::record`], so that the
    /// next run finds them in place.
    ///
    /// # Errors
    /// What `place` says, or what keeps a file from being restored; files that were put before it are removed then.
    pub fn restore<E>(
        &self,
        blobs: &dyn Blobs,
        (step, task, run): (&StepPlan, &TaskName, &RunId),
        mut place: impl FnMut(&Artifact) -> Result<PathBuf, E>,
    ) -> Result<Restored, Unrestored<E>> {
        let mut artifacts: Vec<Arc<Artifact>> = Vec::with_capacity(self.record.artifacts.len());
        let texts = self.record.artifacts.iter().all(|a| a.text.is_some());
        let texts_too = texts && step.save_as.is_some();
        for artifact in &self.record.artifacts {
            let named = renamed(artifact, step, task);
            match put(blobs, named, texts_too, &mut place) {
                Ok(artifact) => artifacts.push(Arc::new(artifact)),
                Err(error) => {
                    for path in artifacts.iter().filter_map(|a| a.path.as_ref()) {
                        let _ = std::fs::remove_file(path);
                    }
                    return Err(error);
                }
            }
        }
        let made = Made {
            stamps: stamps(&artifacts),
            ..self.made.clone()
        };
        let record = CacheRecord {
            artifacts: artifacts.clone(),
            facts: to_json(&made),
            run: run.clone(),
            task: task.clone(),
            ..self.record.clone()
        };
        Ok(Restored { artifacts, record })
    }
}

/// A result in the folder of a run that did not make it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the task made, under its present names.
    pub artifacts: Vec<Arc<Artifact>>,
    /// To be kept with the fact that the task ended.
    pub record: CacheRecord,
}

/// A result could not be put into the run's folder.
#[derive(Debug)]
pub enum Unrestored<E> {
    /// There is no place for it.
    Place(E),
    /// It was lost meanwhile, or there is no room.
    Blob(BlobError),
}

fn put<E>(
    blobs: &dyn Blobs,
    artifact: Artifact,
    texts_too: bool,
    place: &mut impl FnMut(&Artifact) -> Result<PathBuf, E>,
) -> Result<Artifact, Unrestored<E>> {
    if let Some(text) = &artifact.text {
        if !texts_too {
            return Ok(artifact);
        }
        let text = text.clone();
        let artifact = artifact.text_file();
        let path = place(&artifact).map_err(Unrestored::Place)?;
        let written = AtomicFile::put(&path, text.as_bytes())
            .map_err(|error| Unrestored::Blob(BlobError::Unwritable(Arc::new(error))))?;
        return Ok(Artifact {
            path: Some(written.path),
            ..artifact
        });
    }
    let path = place(&artifact).map_err(Unrestored::Place)?;
    blobs
        .materialise(&artifact.hash, &path)
        .map_err(Unrestored::Blob)?;
    Ok(Artifact {
        path: Some(path),
        ..artifact
    })
}

/// The artifact as the present step and task would have made it.
fn renamed(artifact: &Artifact, step: &StepPlan, task: &TaskName) -> Artifact {
    Artifact {
        path: None,
        name: match artifact.text {
            Some(_) => String::new(),
            None => artifact.name.clone(),
        },
        output: output_of(artifact, step).cloned(),
        step: step.id.clone(),
        task: task.clone(),
        ..artifact.clone()
    }
}

/// Whether the artifact is called what the present step would call it.
fn is_named(artifact: &Artifact, step: &StepPlan) -> bool {
    artifact.step == step.id
        && (artifact.text.is_none() || artifact.name.is_empty())
        && artifact.output.as_ref() == output_of(artifact, step)
}

/// The name that the step gives to what the artifact's node makes.
fn output_of<'a>(artifact: &Artifact, step: &'a StepPlan) -> Option<&'a String> {
    let mut outputs = step.outputs.iter();
    let found = outputs.find(|(_, node)| **node == artifact.node);
    found.map(|(name, _)| name)
}

fn stamps(artifacts: &[Arc<Artifact>]) -> Vec<Option<Stamp>> {
    artifacts
        .iter()
        .map(|artifact| artifact.path.as_deref().and_then(Stamp::of))
        .collect()
}

fn to_json<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Keeps the content of a result that was just made, and gives the records to be kept, one for each key, with the fact that its task
/// ended. Blocks.
///
/// # Errors
/// When the content of a file cannot be kept. The result itself is complete then, and the task runs again the next time.
pub(super) fn keep(
    blobs: &dyn Blobs,
    keys: &[ContentHash],
    artifacts: &[Arc<Artifact>],
    made: Made,
) -> Result<Vec<CacheRecord>, BlobError> {
    for artifact in artifacts {
        if let Some(path) = &artifact.path {
            blobs.put(path, &artifact.hash, artifact.size)?;
        }
    }
    let made = Made {
        stamps: stamps(artifacts),
        ..made
    };
    let facts = to_json(&made);
    let mut distinct: Vec<ContentHash> = keys.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    Ok(distinct
        .into_iter()
        .map(|key| CacheRecord {
            key,
            artifacts: artifacts.to_vec(),
            facts: facts.clone(),
            run: made.run.clone(),
            task: made.task.clone(),
            made_at: made.at,
        })
        .collect())
}

/// Why a task runs. `miss` is what its lookup said, when there was one.
pub fn why(
    step: &StepPlan,
    miss: Option<&Miss>,
    earlier: Option<&Noted>,
    now: &Manifest,
) -> Vec<StaleReason> {
    if let Some(reason) = always(step) {
        return vec![reason];
    }
    match miss {
        Some(Miss::Damaged { file, .. }) => {
            return vec![StaleReason::Damaged { file: file.clone() }];
        }
        Some(Miss::Unfit) => return vec![StaleReason::Unfit],
        Some(Miss::Unknown) | None => {}
    }
    match earlier {
        None => vec![StaleReason::NeverRan],
        Some(earlier) if earlier.manifest.key == now.key => vec![StaleReason::Removed],
        Some(earlier) => explain(&earlier.manifest, now),
    }
}

/// What was noted of the last task of this name in the pipeline, and in which run.
pub fn earlier(reader: &Reader, pipeline: &str, task: &TaskName) -> Option<(RunId, Noted)> {
    // What cannot be read explains nothing, and is needed for nothing else.
    let kept = reader.manifest(pipeline, task).ok().flatten()?;
    let noted = serde_json::from_value(kept.manifest).ok()?;
    Some((kept.run, noted))
}

/// Notes, with the fact that the task ended well, why it ran and what its key was made of.
pub(super) fn note(
    store: &Store,
    (pipeline, run, task): (&str, &RunId, &TaskName),
    step: &StepPlan,
    miss: Option<&Miss>,
    manifest: Manifest,
) {
    let earlier = earlier(store.reader(), pipeline, task);
    let why = why(
        step,
        miss,
        earlier.as_ref().map(|(_, noted)| noted),
        &manifest,
    );
    let noted = Noted {
        manifest,
        why,
        since: earlier.map(|(run, _)| run),
    };
    store.note_manifest(run, task, to_json(&noted));
}

#[cfg(test)]
mod tests;
