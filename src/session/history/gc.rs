//! Removing what nobody needs: old runs with their results, content that nothing refers to, and what killed processes left.
//!
//! Of a run's folder only what kiln put there goes: the results that the journal names and the records beside them. A file that somebody
//! else put there, or changed since, stays, and is told of. The run that `latest` leads to stays in any case, and so does one that is
//! under way.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::find::{Alive, History, complain};
use crate::base::RunId;
use crate::diagnostic::Diagnostic;
use crate::event::RunStatus;
use crate::plan::MASKS;
use crate::store::{Store, StoredRun, Waste, is_temporary};

/// What is to be cleaned up.
#[derive(Clone, Debug, Default)]
pub struct Cleaning {
    /// Of each pipeline so many of the newest runs stay.
    pub keep: Option<usize>,
    /// Runs that started less than so many milliseconds ago stay.
    pub older_than: Option<u64>,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, size: u64) {
        self.files += 1;
        self.bytes += size;
    }

    fn of<'a>(files: impl IntoIterator<Item = &'a Waste>) -> Self {
        let mut tally = Self::default();
        for file in files {
            tally.add(file.size);
        }
        tally
    }
}

/// A run that goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweptRun {
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// Its folder.
    pub folder: Option<PathBuf>,
    /// Its results.
    pub results: Tally,
    /// Files in its folder that stay, because kiln did not put them there or somebody changed them.
    pub stay: Vec<PathBuf>,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Swept {
    /// Whether it only would.
    pub dry_run: bool,
    /// Runs, oldest first.
    pub runs: Vec<SweptRun>,
    /// Results in the cache that nothing refers to.
    pub records: usize,
    /// Content that nothing refers to; `None` while a run is under way.
    pub blobs: Option<Tally>,
    /// Content that was found damaged.
    pub quarantined: Tally,
    /// What killed processes left in this project.
    pub leftovers: Tally,
    /// What killed kilns of any project left in the system's folder for temporary files.
    pub strays: Tally,
    /// Pictures that `mask()` made and no run can need again.
    pub masks: Tally,
    /// Files that could not be removed.
    pub resisting: Vec<PathBuf>,
}

impl Swept {
    /// All bytes.
    pub fn bytes(&self) -> u64 {
        let runs = self.runs.iter().map(|run| run.results.bytes);
        runs.sum::<u64>()
            + self.blobs.unwrap_or_default().bytes
            + self.quarantined.bytes
            + self.leftovers.bytes
            + self.strays.bytes
            + self.masks.bytes
    }
}

/// Cleans up.
///
/// # Errors
/// When the state cannot be read or written.
pub fn sweep(history: &History, wanted: &Cleaning) -> Result<Swept, Box<Diagnostic>> {
    let store = Store::open(history.project()).map_err(complain)?;
    let runs = store.runs().map_err(complain)?;
    let now = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let going = going(history, &runs, wanted, now);
    let mut swept = Swept {
        dry_run: wanted.dry_run,
        ..Swept::default()
    };
    let mut files = Vec::new();
    for run in going.iter().rev() {
        let found = of_run(history, run)?;
        files.push((run.folder.clone(), found.go));
        swept.runs.push(found.told);
    }
    let gone: HashSet<RunId> = going.iter().map(|run| run.run.clone()).collect();
    let sweep = store.sweep(&gone).map_err(complain)?;
    let strays = embedded_folders(&std::env::temp_dir());
    let unfinished = unfinished(history, &runs);
    let masks = match sweep.blobs {
        Some(_) => masks(history, runs.iter().filter(|run| !gone.contains(&run.run)))?,
        None => Vec::new(),
    };
    swept.records = sweep.records.len();
    swept.blobs = sweep.blobs.as_ref().map(Tally::of);
    swept.quarantined = Tally::of(&sweep.quarantined);
    swept.leftovers = Tally::of(&sweep.leftovers);
    for file in &unfinished {
        swept.leftovers.add(file.size);
    }
    // Folders are no files to people.
    for file in strays.iter().filter(|file| !file.path.is_dir()) {
        swept.strays.add(file.size);
    }
    swept.masks = Tally::of(&masks);
    if wanted.dry_run {
        for file in sweep.locks.iter().flat_map(|lock| &lock.files) {
            swept.leftovers.add(file.size);
        }
        return Ok(swept);
    }
    // The files first: while the journal names them, a sweep that was broken off can be begun again.
    for (folder, files) in &files {
        swept.resisting.extend(remove(files, folder.as_deref()));
    }
    for left in [strays, unfinished, masks] {
        swept.resisting.extend(remove(&left, None));
    }
    let some = !gone.is_empty() || swept.records > 0;
    let forgotten = store.forget_runs(gone.into_iter().collect());
    forgotten.wait_blocking().map_err(complain)?;
    let nobody_runs = sweep.blobs.is_some();
    let removed = store.remove(&sweep).map_err(complain)?;
    for file in &removed.locks {
        swept.leftovers.add(file.size);
    }
    swept.resisting.extend(removed.resisting);
    if some && nobody_runs {
        store.compact();
    }
    Ok(swept)
}

/// Pictures that `mask()` made for plans. Only a run that may go on needs the ones in its plan again; every other run makes its own.
fn masks<'a>(
    history: &History,
    runs: impl Iterator<Item = &'a StoredRun>,
) -> Result<Vec<Waste>, Box<Diagnostic>> {
    let folder = history.project().join(MASKS);
    let mut found: Vec<Waste> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter(|entry| is_older(entry.path(), Duration::from_hours(1)))
        .map(|entry| Waste {
            size: entry.metadata().map_or(0, |metadata| metadata.len()),
            path: entry.into_path(),
        })
        .collect();
    for run in runs.filter(|run| run.status != Some(RunStatus::Done)) {
        if found.is_empty() {
            break;
        }
        let plan = history.reader().plan(&run.run).map_err(complain)?;
        let plan = serde_json::to_string(&plan).unwrap_or_default();
        found.retain(|mask| {
            let name = mask.path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| !plan.contains(name))
        });
    }
    Ok(found)
}

/// The runs that go, newest first.
fn going<'a>(
    history: &History,
    runs: &'a [StoredRun],
    wanted: &Cleaning,
    now: u64,
) -> Vec<&'a StoredRun> {
    if wanted.keep.is_none() && wanted.older_than.is_none() {
        return Vec::new();
    }
    let mut newer: HashMap<&str, usize> = HashMap::new();
    runs.iter()
        .filter(|run| {
            let rank = newer.entry(&run.pipeline).or_default();
            *rank += 1;
            let is_beyond = wanted.keep.is_none_or(|keep| *rank > keep);
            let age = now.saturating_sub(run.finished.unwrap_or(run.started));
            let is_old = wanted.older_than.is_none_or(|old| age >= old);
            is_beyond && is_old
        })
        .filter(|run| history.alive(run) != Alive::Running && !is_latest(run))
        .collect()
}

/// Whether `latest` leads to the run's folder.
fn is_latest(run: &StoredRun) -> bool {
    let Some(folder) = &run.folder else {
        return false;
    };
    let latest = folder.with_file_name("latest");
    let target = std::fs::read_link(&latest)
        .ok()
        .or_else(|| std::fs::read_to_string(&latest).ok().map(PathBuf::from));
    target.is_some_and(|target| target.file_name() == folder.file_name())
}

struct OfRun {
    told: SweptRun,
    go: Vec<Waste>,
}

/// What goes with a run, and what stays although it lies in its folder.
fn of_run(history: &History, run: &StoredRun) -> Result<OfRun, Box<Diagnostic>> {
    let mut found = OfRun {
        told: SweptRun {
            run: run.run.clone(),
            pipeline: run.pipeline.clone(),
            folder: run.folder.clone(),
            results: Tally::default(),
            stay: Vec::new(),
        },
        go: Vec::new(),
    };
    let Some(folder) = run.folder.as_deref().filter(|folder| is_real(folder)) else {
        return Ok(found);
    };
    let (_, standing) = history.standing(&run.run)?;
    let ours: HashSet<&Path> = standing
        .tasks
        .iter()
        .flat_map(|task| &task.outputs)
        .filter_map(|artifact| artifact.path.as_deref())
        .collect();
    let last = run.finished.unwrap_or(0).max(standing.last);
    for entry in walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
    {
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        let file = Waste {
            size,
            path: entry.into_path(),
        };
        if is_ours(&file.path, &ours) && !is_changed(&file.path, last) {
            found.told.results.add(size);
            found.go.push(file);
        } else {
            found.told.stay.push(file.path);
        }
    }
    Ok(found)
}

/// A folder itself, not a link to one: what a link leads to is somebody else's.
fn is_real(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir())
}

/// A result, the record beside one, or a file that never got its name.
fn is_ours(path: &Path, results: &HashSet<&Path>) -> bool {
    let beside = path
        .to_str()
        .and_then(|path| path.strip_suffix(".kiln.json"));
    results.contains(path)
        || beside.is_some_and(|result| results.contains(Path::new(result)))
        || is_temporary(path)
}

/// Whether somebody wrote to a file after the run had ended. Clocks of file servers differ a little.
fn is_changed(path: &Path, last: u64) -> bool {
    const LEEWAY: Duration = Duration::from_secs(10);
    let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let end = UNIX_EPOCH + Duration::from_millis(last) + LEEWAY;
    modified.is_ok_and(|modified| modified > end)
}

/// Results that were being fetched when their process died, in the folders of all pipelines where nothing is under way.
fn unfinished(history: &History, runs: &[StoredRun]) -> Vec<Waste> {
    let set = |run: &StoredRun| run.folder.as_deref()?.parent().map(Path::to_path_buf);
    let busy: HashSet<PathBuf> = runs
        .iter()
        .filter(|run| run.status.is_none() && history.alive(run) == Alive::Running)
        .filter_map(set)
        .collect();
    let sets: HashSet<PathBuf> = runs.iter().filter_map(set).collect();
    sets.difference(&busy)
        .flat_map(|set| {
            walkdir::WalkDir::new(set)
                .into_iter()
                .filter_map(Result::ok)
        })
        .filter(|entry| entry.file_type().is_file() && is_temporary(entry.path()))
        .filter(|entry| is_older(entry.path(), Duration::from_hours(1)))
        .map(|entry| Waste {
            size: entry.metadata().map_or(0, |metadata| metadata.len()),
            path: entry.into_path(),
        })
        .collect()
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|a| a > age))
}

/// The files of embedded servers that were killed.
pub(super) fn embedded_folders(temporary: &Path) -> Vec<Waste> {
    std::fs::read_dir(temporary)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(crate::embedded::TEMPORARY_FOLDER) && is_real(&entry.path())
        })
        .filter(|entry| is_orphan(&entry.path()))
        .flat_map(|entry| walkdir::WalkDir::new(entry.path()).contents_first(true))
        .filter_map(Result::ok)
        .map(|entry| Waste {
            size: if entry.file_type().is_dir() {
                0
            } else {
                entry.metadata().map_or(0, |metadata| metadata.len())
            },
            path: entry.into_path(),
        })
        .collect()
}

/// Whether the server of a temporary folder is dead.
fn is_orphan(folder: &Path) -> bool {
    match std::fs::File::open(folder.join(crate::embedded::ALIVE)) {
        Ok(file) => file.try_lock_shared().is_ok(),
        // An earlier kiln left no sign of life; a folder that is being made has none yet.
        Err(_) => is_older(folder, Duration::from_hours(24)),
    }
}

/// Removes files, then the folders that got empty by it, up to `top` and with it. Tells which files resisted.
pub(super) fn remove(files: &[Waste], top: Option<&Path>) -> Vec<PathBuf> {
    let mut resisting = Vec::new();
    for file in files {
        let removed = if file.path.is_dir() {
            std::fs::remove_dir(&file.path)
        } else {
            std::fs::remove_file(&file.path)
        };
        if removed.is_err() && std::fs::symlink_metadata(&file.path).is_ok() {
            resisting.push(file.path.clone());
        }
    }
    let folders = top.map(|top| walkdir::WalkDir::new(top).contents_first(true));
    for entry in folders.into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_dir() {
            // One that is not empty stays.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    resisting
}
