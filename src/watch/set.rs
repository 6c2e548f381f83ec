//! What the last plan read, and whether it is another now. Content decides.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::arms::{Arms, Outputs, real};
use super::touch::Touch;
use super::trail::trail;
use crate::base::{ContentHash, Input};
use crate::plan::Pattern;

/// Clocks of file systems are as coarse as this.
const COARSE: Duration = Duration::from_secs(2);

/// One thing that was read.
#[derive(Clone, Debug)]
enum Read {
    /// A file; `None`: it could not be read.
    File(PathBuf, Option<ContentHash>),
    /// Whether something was there.
    Presence(PathBuf, bool),
    /// The files that a pattern matched.
    Glob(Pattern, BTreeSet<PathBuf>),
}

impl Read {
    /// What it is about, whatever was found.
    fn about(&self) -> (&Path, Option<&str>, bool) {
        match self {
            Self::File(path, _) => (path, None, true),
            Self::Presence(path, _) => (path, None, false),
            Self::Glob(pattern, _) => (pattern.folder(), Some(pattern.text()), true),
        }
    }
}

/// Everything that a plan was made of.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchSet {
    read: Vec<Read>,
    base: PathBuf,
    outputs: Outputs,
}

impl WatchSet {
    /// From what was read through the door. `typed` are files that were named on the command line: they count, read or not.
    pub(super) fn of(inputs: &[Input], typed: &[PathBuf], base: &Path, outputs: Outputs) -> Self {
        let mut read: Vec<Read> = inputs
            .iter()
            .filter_map(|input| match input {
                Input::File { path, hash, .. } => Some(Read::File(path.clone(), *hash)),
                Input::Presence { path, there } => Some(Read::Presence(path.clone(), *there)),
                Input::Glob {
                    folder,
                    pattern,
                    matches,
                } => {
                    let own = matches.iter().filter(|path| !outputs.hold(path)).cloned();
                    let pattern = Pattern::new(folder, pattern).ok()?;
                    Some(Read::Glob(pattern, own.collect()))
                }
                Input::Stdin { .. } | Input::Env { .. } | Input::Secret { .. } => None,
            })
            .filter(|read| !matches!(read, Read::File(path, _) | Read::Presence(path, _) if outputs.hold(path)))
            .collect();
        for path in typed {
            let known = |read: &Read| matches!(read, Read::File(known, _) if known == path);
            if !read.iter().any(known) {
                read.push(Read::File(path.clone(), hash(path)));
            }
        }
        Self {
            read,
            base: real(base),
            outputs,
        }
    }

    /// With what was read since, as far as it is not known.
    pub(super) fn and(&self, more: &[Input]) -> Self {
        let mut set = self.clone();
        let more = Self::of(more, &[], &self.base, self.outputs.clone());
        let known: HashSet<_> = self.read.iter().map(Read::about).collect();
        let new = more.read.into_iter();
        set.read
            .extend(new.filter(|read| !known.contains(&read.about())));
        set
    }

    /// Where kiln writes.
    pub(super) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// How many files there are in it.
    pub(super) fn files(&self) -> usize {
        let files = self.read.iter();
        files
            .filter(|read| matches!(read, Read::File(_, Some(_))))
            .count()
    }

    /// What to look at so that no change is missed.
    pub(super) fn arms(&self) -> Arms {
        let places = self.places().into_keys().collect();
        let patterns = self.read.iter().filter_map(|read| match read {
            Read::Glob(pattern, _) => Some(pattern.clone()),
            _ => None,
        });
        Arms::new(places, patterns.collect(), self.outputs.clone())
    }

    /// For each place what is read through it.
    fn places(&self) -> HashMap<PathBuf, Vec<usize>> {
        let mut places: HashMap<PathBuf, Vec<usize>> = HashMap::new();
        for (at, read) in self.read.iter().enumerate() {
            let path = match read {
                Read::File(path, _) | Read::Presence(path, _) => path,
                Read::Glob(pattern, _) => pattern.start(),
            };
            for place in trail(path, &self.base) {
                places.entry(place).or_default().push(at);
            }
        }
        places
    }

    /// What of the things that were touched is another now than when the plan was made.
    pub(super) fn changed(&self, touched: &BTreeSet<Touch>) -> Vec<PathBuf> {
        let places = self.places();
        let mut suspects = BTreeSet::new();
        for touch in touched {
            match touch {
                Touch::Anything => suspects.extend(0..self.read.len()),
                Touch::Entry(place) => suspects.extend(places.get(place).into_iter().flatten()),
                Touch::Match(path) => suspects.extend(self.matching(path)),
            }
        }
        self.differences(suspects)
    }

    fn matching(&self, path: &Path) -> impl Iterator<Item = usize> {
        let concerns = move |read: &Read| match read {
            Read::Glob(pattern, _) => pattern.matches(path),
            Read::File(known, _) | Read::Presence(known, _) => known == path,
        };
        let all = self.read.iter().enumerate();
        all.filter(move |(_, read)| concerns(read))
            .map(|(at, _)| at)
    }

    /// What is another now, of the things that may have been written since a moment. Times only tell which files need not be read.
    pub(super) fn changed_since(&self, moment: SystemTime) -> Vec<PathBuf> {
        let moment = moment.checked_sub(COARSE).unwrap_or(moment);
        let all = self.read.iter().enumerate();
        let suspects = all.filter(|(_, read)| match read {
            Read::File(path, Some(_)) => touched_since(path, moment),
            _ => true,
        });
        self.differences(suspects.map(|(at, _)| at).collect())
    }

    fn differences(&self, suspects: BTreeSet<usize>) -> Vec<PathBuf> {
        let mut changed = BTreeSet::new();
        for at in suspects {
            match &self.read[at] {
                Read::File(path, known) if hash(path) != *known => {
                    changed.insert(path.clone());
                }
                Read::Presence(path, there) if path.exists() != *there => {
                    changed.insert(path.clone());
                }
                Read::Glob(pattern, known) => {
                    let files = pattern.files().into_iter();
                    let now: BTreeSet<PathBuf> =
                        files.filter(|path| !self.outputs.hold(path)).collect();
                    changed.extend(now.symmetric_difference(known).cloned());
                }
                Read::File(..) | Read::Presence(..) => {}
            }
        }
        changed.into_iter().collect()
    }
}

fn hash(path: &Path) -> Option<ContentHash> {
    ContentHash::of_file(path).ok().map(|(hash, _)| hash)
}

/// Whether a file was written, renamed or replaced since a moment, or cannot be asked.
fn touched_since(path: &Path, moment: SystemTime) -> bool {
    let Ok(found) = path.metadata() else {
        return true;
    };
    let written = found.modified().is_ok_and(|at| at < moment);
    !(written && renamed(&found).is_none_or(|at| at < moment))
}

/// When a file got its name, or changed otherwise, where the system keeps that.
#[cfg(unix)]
fn renamed(found: &std::fs::Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let seconds = u64::try_from(found.ctime()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(not(unix))]
fn renamed(_found: &std::fs::Metadata) -> Option<SystemTime> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Inputs;

    struct Scene {
        dir: tempfile::TempDir,
        inputs: Inputs,
    }

    impl Scene {
        fn new() -> Self {
            let scene = Self {
                dir: tempfile::tempdir().unwrap(),
                inputs: Inputs::default(),
            };
            scene.write("a.txt", "one");
            scene.write("pictures/1.png", "1");
            scene.write("outputs/p/latest/2.png", "2");
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn read(&self) -> WatchSet {
            let folder = self.dir.path();
            let _ = self.inputs.read(&self.path("a.txt"));
            let _ = self.inputs.read(&self.path("gone.txt"));
            self.inputs.exists(&self.path("maybe"));
            let pattern = Pattern::new(folder, "**/*.png").unwrap();
            self.inputs
                .record_glob(folder, "**/*.png", &pattern.files());
            let outputs = Outputs::of([self.path("outputs")]);
            WatchSet::of(&self.inputs.recorded(), &[], folder, outputs)
        }

        fn changed(&self, set: &WatchSet) -> Vec<String> {
            let all = BTreeSet::from([Touch::Anything]);
            let name = |path: &PathBuf| {
                path.strip_prefix(self.dir.path())
                    .unwrap()
                    .display()
                    .to_string()
            };
            let changed: Vec<String> = set.changed(&all).iter().map(name).collect();
            let since: Vec<String> = set
                .changed_since(SystemTime::now())
                .iter()
                .map(name)
                .collect();
            assert_eq!(changed, since, "what is fresh is found by either way");
            changed
        }
    }

    #[test]
    fn content_counts_and_time_does_not() {
        let scene = Scene::new();
        let set = scene.read();
        assert_eq!(set.files(), 1);
        assert_eq!(scene.changed(&set), Vec::<String>::new());
        scene.write("a.txt", "one");
        assert_eq!(scene.changed(&set), Vec::<String>::new());
        scene.write("a.txt", "two");
        assert_eq!(scene.changed(&set), ["a.txt"]);
        scene.write("a.txt", "one");
        assert_eq!(scene.changed(&set), Vec::<String>::new());
        std::fs::remove_file(scene.path("a.txt")).unwrap();
        assert_eq!(scene.changed(&set), ["a.txt"]);
    }

    #[test]
    fn what_was_missing_counts_when_it_appears() {
        let scene = Scene::new();
        let set = scene.read();
        scene.write("gone.txt", "");
        scene.write("maybe", "");
        assert_eq!(scene.changed(&set), ["gone.txt", "maybe"]);
    }

    #[test]
    fn a_pattern_counts_new_files_and_lost_ones_but_none_of_kilns_own() {
        let scene = Scene::new();
        let set = scene.read();
        scene.write("outputs/p/latest/3.png", "3");
        std::fs::remove_file(scene.path("outputs/p/latest/2.png")).unwrap();
        assert_eq!(scene.changed(&set), Vec::<String>::new());
        scene.write("pictures/new/4.png", "4");
        std::fs::remove_file(scene.path("pictures/1.png")).unwrap();
        assert_eq!(
            scene.changed(&set),
            ["pictures/1.png", "pictures/new/4.png"]
        );
    }

    #[test]
    fn only_what_was_touched_is_looked_at() {
        let scene = Scene::new();
        let set = scene.read();
        scene.write("a.txt", "two");
        let real = scene.dir.path().canonicalize().unwrap();
        let of = |touch: Touch| set.changed(&BTreeSet::from([touch]));
        assert!(of(Touch::Match(scene.path("pictures/1.png"))).is_empty());
        assert!(of(Touch::Entry(real.join("gone.txt"))).is_empty());
        assert_eq!(of(Touch::Entry(real.join("a.txt"))), [scene.path("a.txt")]);
    }
}
