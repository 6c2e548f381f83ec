//! What the source looks at for one pipeline, and what of all that happens there concerns it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::touch::Touch;
use crate::plan::Pattern;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// It came, went, or is another file or folder now.
    Replaced,
    /// It was written to, or what is known about it changed.
    Written,
}

/// Folders of results and of kiln's state, as they are written and where they really lie.
#[derive(Clone, Debug, Default)]
pub(super) struct Outputs(BTreeSet<PathBuf>);

impl Outputs {
    pub(super) fn of(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let both = |folder: PathBuf| {
            let real = real(&folder);
            [folder, real]
        };
        Self(folders.into_iter().flat_map(both).collect())
    }

    /// These and another one.
    pub(super) fn and(&self, folder: PathBuf) -> Self {
        let mut all = self.0.clone();
        all.extend(Self::of([folder]).0);
        Self(all)
    }

    /// Whether kiln may have written it.
    pub(super) fn hold(&self, path: &Path) -> bool {
        path.ancestors().any(|folder| self.0.contains(folder))
    }
}

/// Where a folder really lies, also when it is not there yet.
pub(super) fn real(folder: &Path) -> PathBuf {
    let there = |path: &&Path| path.exists();
    let Some(known) = folder.ancestors().find(there) else {
        return folder.to_path_buf();
    };
    let rest = folder.strip_prefix(known).unwrap_or(Path::new(""));
    let known = known.canonicalize().unwrap_or_else(|_| known.to_path_buf());
    known.join(rest)
}

/// One pipeline's arms.
#[derive(Clone, Debug, Default)]
pub(super) struct Arms {
    /// Files, links and folders that count, where they really lie.
    pub(super) entries: HashSet<PathBuf>,
    pub(super) patterns: Vec<Pattern>,
    /// Folders in which files may appear that a pattern matches, where they really lie: for each such pattern the name by which it goes there.
    reached: HashMap<PathBuf, Vec<(usize, PathBuf)>>,
    /// Folders to look at, where they really lie.
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) outputs: Outputs,
}

impl Arms {
    pub(super) fn new(entries: HashSet<PathBuf>, patterns: Vec<Pattern>, outputs: Outputs) -> Self {
        let mut folders: BTreeSet<PathBuf> = entries
            .iter()
            .filter_map(|entry| entry.parent().map(Path::to_path_buf))
            .collect();
        let mut reached: HashMap<PathBuf, Vec<(usize, PathBuf)>> = HashMap::new();
        for (at, pattern) in patterns.iter().enumerate() {
            for folder in pattern.folders(|folder| outputs.hold(folder)) {
                let Ok(real) = folder.canonicalize() else {
                    continue;
                };
                if outputs.hold(&real) {
                    continue;
                }
                folders.insert(real.clone());
                reached.entry(real).or_default().push((at, folder));
            }
        }
        Self {
            entries,
            patterns,
            reached,
            folders,
            outputs,
        }
    }

    /// What it means that something happened to a path, if anything. This is asked for everything that happens in the folders.
    pub(super) fn concern(&self, path: &Path, happened: Happened) -> Option<Touch> {
        if self.outputs.hold(path) {
            return None;
        }
        let replaced = happened == Happened::Replaced;
        if replaced && self.folders.contains(path) {
            return Some(Touch::Anything);
        }
        if self.entries.contains(path) {
            return Some(Touch::Entry(path.to_path_buf()));
        }
        let (parent, name) = (path.parent()?, path.file_name()?);
        let reached = self.reached.get(parent)?;
        let matched = reached.iter().find_map(|(at, folder)| {
            let goes_by = folder.join(name);
            let matches = self.patterns[*at].matches(&goes_by);
            matches.then_some(Touch::Match(goes_by))
        });
        // A new folder may hold files already, and they are never told of.
        matched.or_else(|| (replaced && path.is_dir()).then_some(Touch::Anything))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_counts_in_a_folder_full_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        for folder in ["in/new", "outputs/p/latest", "elsewhere"] {
            std::fs::create_dir_all(base.join(folder)).unwrap();
        }
        let patterns = ["in/**/*.png", "outputs/*/latest/*.png"];
        let patterns = patterns.map(|text| Pattern::new(&base, text).unwrap());
        let outputs = Outputs::of([base.join("outputs"), base.join(".kiln")]);
        let arms = Arms::new(
            HashSet::from([base.join("p.yaml")]),
            patterns.to_vec(),
            outputs,
        );
        let concern = |name: &str, happened| arms.concern(&base.join(name), happened);
        let (written, replaced) = (Happened::Written, Happened::Replaced);
        let entry = Touch::Entry(base.join("p.yaml"));
        assert_eq!(concern("p.yaml", written), Some(entry));
        assert_eq!(concern("p.yaml.swp", replaced), None);
        assert_eq!(concern("4913", replaced), None);
        let matched = |name: &str| Some(Touch::Match(base.join(name)));
        assert_eq!(concern("in/a.png", written), matched("in/a.png"));
        assert_eq!(concern("in/a.txt", written), None);
        assert_eq!(concern("in/new", replaced), Some(Touch::Anything));
        assert_eq!(concern("in/new", written), None);
        for own in [
            "outputs",
            "outputs/p/latest",
            "outputs/p/latest/a.png",
            ".kiln/kiln.db",
        ] {
            assert_eq!(concern(own, replaced), None, "{own}");
        }
        assert!(
            !arms
                .folders
                .iter()
                .any(|f| f.starts_with(base.join("outputs")))
        );
        assert!(!arms.folders.contains(&base.join("elsewhere")));
    }
}
