//! Patterns of file names: which files match one, and which folders they may be in.

use std::path::{Path, PathBuf};

use globset::GlobMatcher;

/// How deep `**` goes.
const DEEPEST: usize = 64;

/// A pattern (`*`, `?`, `[…]`, `{a,b}`, `**`) that starts from a folder. Hidden files match only when the pattern names the dot.
#[derive(Clone, Debug)]
pub struct Pattern {
    folder: PathBuf,
    matcher: GlobMatcher,
    /// The folder before the first wildcard, or the only file that there is to find: nothing else needs walking.
    start: PathBuf,
    depth: usize,
    names_dot: bool,
}

impl Pattern {
    /// The pattern as it was written, starting from `folder`.
    ///
    /// # Errors
    /// Why it is no pattern, in a sentence.
    pub fn new(folder: &Path, pattern: &str) -> Result<Self, String> {
        let pattern = &plain(pattern);
        let matcher = globset::GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|e| format!("`{pattern}` is no pattern: {}", e.kind()))?
            .compile_matcher();
        let fixed: PathBuf = Path::new(pattern)
            .components()
            .take_while(|part| {
                !part
                    .as_os_str()
                    .to_string_lossy()
                    .contains(['*', '?', '[', '{'])
            })
            .collect();
        let deep = pattern.contains("**");
        let (all, known) = (
            Path::new(pattern).components().count(),
            fixed.components().count(),
        );
        Ok(Self {
            folder: folder.to_path_buf(),
            matcher,
            start: folder.join(fixed),
            depth: if deep { DEEPEST } else { all - known },
            names_dot: pattern
                .split('/')
                .any(|part| part.starts_with('.') && part != "." && part != ".."),
        })
    }

    /// The folder that it starts from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The pattern itself.
    pub fn text(&self) -> &str {
        self.matcher.glob().glob()
    }

    /// Where the search begins.
    pub fn start(&self) -> &Path {
        &self.start
    }

    /// The files that match, sorted by path.
    pub fn files(&self) -> Vec<PathBuf> {
        if self.start.is_file() {
            return vec![self.start.clone()];
        }
        let mut files: Vec<PathBuf> = self
            .walk(self.depth)
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .filter(|path| self.matches(path))
            .collect();
        files.sort();
        files
    }

    /// The folders in which a file that matches may appear, without what `skip` takes out.
    pub fn folders(&self, skip: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let entries = self.walk(self.depth.saturating_sub(1));
        let folders = entries.filter(|entry| entry.file_type().is_dir());
        let paths = folders.map(walkdir::DirEntry::into_path);
        paths.filter(|path| !skip(path)).collect()
    }

    /// Whether a path matches, by its name alone.
    pub fn matches(&self, path: &Path) -> bool {
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        path == self.start || self.matcher.is_match(relative) || self.matcher.is_match(path)
    }

    fn walk(&self, depth: usize) -> impl Iterator<Item = walkdir::DirEntry> {
        let names_dot = self.names_dot;
        walkdir::WalkDir::new(&self.start)
            .max_depth(depth)
            .follow_links(true)
            .into_iter()
            .filter_entry(move |entry| {
                names_dot
                    || entry.depth() == 0
                    || !entry.file_name().to_string_lossy().starts_with('.')
            })
            .filter_map(Result::ok)
    }
}

/// A pattern without parts that lead nowhere: `./a//*.png` is `a/*.png`, and that is how the paths are written that it is held against.
fn plain(pattern: &str) -> String {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let parts = pattern.split('/');
    let parts: Vec<&str> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
    root.to_owned() + &parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_files_sorted_and_not_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "b.png",
            "a.png",
            ".hidden.png",
            "c.txt",
            "sub/d.png",
            "sub/deep/e.png",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            Pattern::new(dir.path(), pattern)
                .unwrap()
                .files()
                .iter()
                .map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string())
                .collect()
        };
        assert_eq!(names("*.png"), ["a.png", "b.png"]);
        assert_eq!(
            names("**/*.png"),
            ["a.png", "b.png", "sub/d.png", "sub/deep/e.png"]
        );
        assert_eq!(names("sub/*.{png,txt}"), ["sub/d.png"]);
        for same in ["./sub/*.png", "sub//*.png", "sub/./*.png", "././sub/*.png"] {
            assert_eq!(names(same), ["sub/d.png"], "{same}");
        }
        let absolute = format!("{}/./sub/*.png", dir.path().display());
        assert_eq!(names(&absolute), ["sub/d.png"]);
        assert_eq!(names("none/*.png"), Vec::<String>::new());
        assert!(Pattern::new(dir.path(), "[").is_err());
    }

    #[test]
    fn files_can_appear_in_the_folders_of_a_pattern_and_in_no_others() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/deep", ".hidden", "out/run"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let folders = |pattern: &str| -> Vec<String> {
            let pattern = Pattern::new(dir.path(), pattern).unwrap();
            let mut names: Vec<String> = pattern
                .folders(|path| path.ends_with("out") || path.ends_with("run"))
                .iter()
                .map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string())
                .collect();
            names.sort();
            names
        };
        assert_eq!(folders("*.png"), [""]);
        assert_eq!(folders("**/*.png"), ["", "a", "a/deep"]);
        assert_eq!(folders("a/*.png"), ["a"]);
        assert_eq!(folders("*/x.png"), ["", "a"]);
        assert_eq!(folders("none/*.png"), Vec::<String>::new());
    }
}
