//! The run's folder: where results lie, that no two of them share a name, and `latest`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::{RunId, StepId, UnsafePath, WriteError, safe_join, safe_name, sync_folder};
use crate::plan::{Plan, TaskIx};

/// The folder that holds the runs of the plan's pipeline.
pub fn output_set(plan: &Plan) -> PathBuf {
    plan.output_dir.join(safe_name(&plan.pipeline))
}

/// The folder of one run.
pub fn run_folder(plan: &Plan, run: &RunId) -> PathBuf {
    output_set(plan).join(safe_name(run.as_str()))
}

/// The folder of a run that is under way.
#[derive(Debug)]
pub(super) struct Folder {
    set: PathBuf,
    root: PathBuf,
    taken: Mutex<Taken>,
}

/// Names that are taken, in the form in which no file system tells them apart.
#[derive(Debug, Default)]
struct Taken {
    by: HashMap<String, Owner>,
    /// What each result got for the name it wanted.
    given: HashMap<(Owner, String), String>,
    /// The first number that may be free for a name that is taken: thousands of tasks may want the same.
    next: HashMap<String, u32>,
}

/// A result by its task and its place among the task's results: a second try of a task takes the names of the first.
type Owner = (TaskIx, usize);

/// Where a result goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub(super) path: PathBuf,
    /// The name it got, when another result of the step has the one it wanted.
    pub(super) renamed: Option<String>,
    /// That other result is of the same task.
    pub(super) within: bool,
}

impl Folder {
    /// Makes the folder, so that one which cannot be written is known before a job is queued.
    pub(super) fn open(plan: &Plan, run: &RunId) -> Result<Self, WriteError> {
        let root = run_folder(plan, run);
        std::fs::create_dir_all(&root).map_err(|source| WriteError::new(&root, source))?;
        // Creating the folder proves nothing when it was there already.
        tempfile::Builder::new()
            .prefix(".kiln-")
            .tempfile_in(&root)
            .map_err(|source| WriteError::new(&root, source))?;
        Ok(Self {
            set: output_set(plan),
            root,
            taken: Mutex::default(),
        })
    }

    /// The run's folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The place of a result. `wanted` is relative to the step's folder.
    pub(super) fn place(
        &self,
        step: &StepId,
        owner: Owner,
        wanted: &str,
    ) -> Result<Place, UnsafePath> {
        let folder = self.root.join(safe_name(step.as_str()));
        let first = safe_join(&folder, wanted)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (owner, folded(&first));
        let mut name = taken.given.get(&asked).cloned();
        let mut next = taken.next.get(&asked.1).copied().unwrap_or(2);
        let first = taken.by.get(&asked.1);
        let within = first.is_some_and(|first| first.0 == owner.0);
        loop {
            let tried = name.take().unwrap_or_else(|| wanted.to_owned());
            let path = safe_join(&folder, &tried)?;
            if *taken.by.entry(folded(&path)).or_insert(owner) == owner {
                if tried != wanted {
                    taken.next.insert(asked.1.clone(), next);
                    taken.given.insert(asked, tried.clone());
                }
                return Ok(Place {
                    path,
                    renamed: (tried != wanted).then_some(tried),
                    within,
                });
            }
            name = Some(numbered(wanted, next));
            next += 1;
        }
    }

    /// A result that an earlier session put there keeps its name.
    pub(super) fn reserve(&self, owner: Owner, path: &Path) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.by.insert(folded(path), owner);
    }

    /// Makes the names of all results durable: once for the run, since each file's content was synced before its task ended, and a task
    /// whose file lost its name in a power cut is found out by its hash.
    pub(super) fn sync(&self) {
        let folders = walkdir::WalkDir::new(&self.root).contents_first(true);
        for entry in folders.into_iter().filter_map(Result::ok) {
            if entry.file_type().is_dir() {
                sync_folder(entry.path());
            }
        }
        sync_folder(&self.set);
        self.set.parent().into_iter().for_each(sync_folder);
    }

    /// The link `latest`, when it leads to this run.
    pub(super) fn latest(&self) -> Option<PathBuf> {
        let latest = self.set.join("latest");
        let target = std::fs::read_link(&latest).ok()?;
        (Some(target.as_os_str()) == self.root.file_name()).then_some(latest)
    }

    /// Ends the run: an empty folder goes, one with results becomes `latest`.
    pub(super) fn close(&self, any: bool) -> Option<PathBuf> {
        if !any {
            remove_empty(&self.root);
            // Only when this was the first run and it made nothing.
            let _ = std::fs::remove_dir(&self.set);
            return None;
        }
        // `latest` is a convenience: a file system without links must not fail a run.
        let _ = point_latest(&self.set, &self.root);
        Some(self.root.clone())
    }
}

/// Some file systems do not tell `A.png` from `a.png`.
fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}

/// `dir/a.png` → `dir/a-2.png`.
fn numbered(path: &str, n: u32) -> String {
    let start = path.rfind(['/', '\\']).map_or(0, |at| at + 1);
    match path[start..].rfind('.') {
        Some(dot) if dot > 0 => {
            let dot = start + dot;
            format!("{}-{n}{}", &path[..dot], &path[dot..])
        }
        _ => format!("{path}-{n}"),
    }
}

fn remove_empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}

#[cfg(unix)]
fn point_latest(set: &Path, root: &Path) -> std::io::Result<()> {
    let Some(name) = root.file_name() else {
        return Ok(());
    };
    let fresh = set.join(format!(".latest-{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    std::os::unix::fs::symlink(name, &fresh)?;
    std::fs::rename(&fresh, set.join("latest")).inspect_err(|_| {
        let _ = std::fs::remove_file(&fresh);
    })
}

#[cfg(not(unix))]
fn point_latest(set: &Path, root: &Path) -> std::io::Result<()> {
    let Some(name) = root.file_name() else {
        return Ok(());
    };
    crate::base::AtomicFile::put(&set.join("latest"), name.as_encoded_bytes())
        .map(drop)
        .map_err(|error| error.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(dir: &Path) -> Folder {
        let root = dir.join("shots/20261122-141530-k3f9");
        std::fs::create_dir_all(&root).unwrap();
        Folder {
            set: dir.join("shots"),
            root,
            taken: Mutex::default(),
        }
    }

    fn place(folder: &Folder, owner: Owner, name: &str) -> (String, Option<String>) {
        let place = folder.place(&StepId::from("draw"), owner, name).unwrap();
        let path = place.path.strip_prefix(&folder.root).unwrap();
        (path.to_string_lossy().into_owned(), place.renamed)
    }

    #[test]
    fn the_second_result_of_a_name_gets_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let (a, b) = (TaskIx(0), TaskIx(1));
        assert_eq!(place(&folder, (a, 0), "x.png"), ("draw/x.png".into(), None));
        assert_eq!(
            place(&folder, (a, 1), "X.png"),
            ("draw/X-2.png".into(), Some("X-2.png".into()))
        );
        assert_eq!(
            place(&folder, (b, 0), "x.png"),
            ("draw/x-3.png".into(), Some("x-3.png".into()))
        );
        assert_eq!(
            place(&folder, (a, 0), "x.png"),
            ("draw/x.png".into(), None),
            "a second try of the same result keeps its name"
        );
    }

    #[test]
    fn thousands_of_results_of_one_name_are_numbered_without_counting_up_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        for task in 0..20_000 {
            place(&folder, (TaskIx(task), 0), "x.png");
        }
        let last = (TaskIx(19_999), 0);
        assert_eq!(place(&folder, last, "x.png").0, "draw/x-20000.png");
        let early = (TaskIx(4), 0);
        assert_eq!(place(&folder, early, "x.png").0, "draw/x-5.png");
        assert_eq!(place(&folder, (TaskIx(0), 0), "x.png").0, "draw/x.png");
        // Nobody wanted that name: it is the next number's all the same.
        place(&folder, (TaskIx(30_000), 0), "x-20001.png");
        let next = (TaskIx(20_000), 0);
        assert_eq!(place(&folder, next, "x.png").0, "draw/x-20002.png");
        let taken = folder.taken.lock().unwrap();
        assert_eq!(taken.next.values().copied().max(), Some(20_003));
    }

    #[test]
    fn a_result_of_an_earlier_session_keeps_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let (a, b) = ((TaskIx(0), 0), (TaskIx(1), 0));
        let at = |name: &str| folder.root.join("draw").join(name);
        folder.reserve(a, &at("x.png"));
        folder.reserve(b, &at("x-2.png"));
        assert_eq!(place(&folder, b, "x.png").0, "draw/x-2.png");
        assert_eq!(place(&folder, a, "x.png").0, "draw/x.png");
        assert_eq!(place(&folder, (TaskIx(2), 0), "x.png").0, "draw/x-3.png");
    }

    #[test]
    fn a_number_goes_before_the_extension_of_the_last_part() {
        assert_eq!(numbered("a.b/c", 2), "a.b/c-2");
        assert_eq!(numbered("a.b/c.png", 3), "a.b/c-3.png");
        assert_eq!(numbered(".hidden", 2), ".hidden-2");
    }

    #[test]
    fn a_result_cannot_leave_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        assert!(
            folder
                .place(&StepId::from("draw"), (TaskIx(0), 0), "../x.png")
                .is_err()
        );
    }

    #[test]
    fn a_run_without_results_leaves_no_folder_and_keeps_latest() {
        let dir = tempfile::tempdir().unwrap();
        let first = folder(dir.path());
        std::fs::write(first.root.join("a.png"), "x").unwrap();
        assert_eq!(first.close(true), Some(first.root.clone()));
        let second = Folder {
            root: dir.path().join("shots/later"),
            ..folder(dir.path())
        };
        std::fs::create_dir_all(second.root.join("draw")).unwrap();
        assert_eq!(second.close(false), None);
        assert!(!second.root.exists());
        assert_eq!(
            std::fs::read(dir.path().join("shots/latest/a.png")).unwrap(),
            b"x"
        );
    }

    #[test]
    #[cfg(unix)]
    fn latest_moves_on_to_the_newest_run() {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("shots");
        for run in ["one", "two"] {
            std::fs::create_dir_all(set.join(run)).unwrap();
            point_latest(&set, &set.join(run)).unwrap();
        }
        assert_eq!(
            std::fs::read_link(set.join("latest")).unwrap(),
            Path::new("two")
        );
        assert_eq!(std::fs::read_dir(&set).unwrap().count(), 3);
    }
}
