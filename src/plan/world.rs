//! What template functions may reach: files beside the pipeline, the environment, the run's seed and start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::steps::neighbour;
use crate::artifact::FileValue;
use crate::base::{Inputs, Secrets};
use crate::template::World;

/// The world of one plan. Everything read goes through [`Inputs`].
#[derive(Debug)]
pub(super) struct PlanWorld {
    inputs: Arc<Inputs>,
    folder: PathBuf,
    seed: u64,
    now: jiff::Zoned,
    /// `None` once the plan is sealed: that they are there was found out before, and their values are put in elsewhere.
    secrets: Option<Secrets>,
}

impl PlanWorld {
    /// A world whose relative paths start from `folder`.
    pub(super) fn new(inputs: Arc<Inputs>, folder: &Path, seed: u64, now: jiff::Zoned) -> Self {
        Self {
            inputs,
            folder: folder.to_path_buf(),
            seed,
            now,
            secrets: None,
        }
    }

    /// A world that knows which secrets have values.
    pub(super) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = Some(secrets);
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

/// Hashes a file of the user's.
pub(super) fn file_value(inputs: &Inputs, path: PathBuf) -> Result<FileValue, String> {
    let (hash, size) = inputs.hash(&path).map_err(|e| e.to_string())?;
    Ok(FileValue { path, hash, size })
}

impl World for PlanWorld {
    fn file(&self, path: &str) -> Result<FileValue, String> {
        let path = self.path(path);
        file_value(&self.inputs, path.clone()).map_err(|why| match neighbour(&path) {
            Some(near) => format!("{why}; did you mean `{near}`?"),
            None => why,
        })
    }

    fn exists(&self, path: &str) -> bool {
        self.inputs.exists(&self.path(path))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<FileValue>, String> {
        let matches = expand(&self.folder, pattern)?;
        self.inputs
            .record_glob(&self.path(pattern).display().to_string(), &matches);
        matches
            .into_iter()
            .map(|path| file_value(&self.inputs, path))
            .collect()
    }

    fn read_text(&self, path: &str) -> Result<String, String> {
        self.inputs
            .read_text(&self.path(path))
            .map_err(|e| e.to_string())
    }

    fn env(&self, name: &str) -> Option<String> {
        self.inputs.env(name)
    }

    fn secret(&self, name: &str) -> Result<(), String> {
        match &self.secrets {
            Some(secrets) if secrets.get(name).is_none() => {
                Err(format!("the environment variable `{name}` is not set"))
            }
            _ => Ok(()),
        }
    }

    fn run_seed(&self) -> u64 {
        self.seed
    }

    fn now(&self) -> jiff::Zoned {
        self.now.clone()
    }
}

/// Files that match `pattern` (`*`, `?`, `[…]`, `{a,b}`, `**`), sorted by path. Hidden files match only when the pattern names the dot.
fn expand(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let glob = globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|e| format!("`{pattern}` is no pattern: {}", e.kind()))?
        .compile_matcher();
    // Only the folder before the first wildcard needs walking.
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
    let depth = if deep { 64 } else { pattern.split('/').count() };
    let names_dot = pattern
        .split('/')
        .any(|part| part.starts_with('.') && part != "." && part != "..");
    let start = folder.join(&fixed);
    if start.is_file() {
        return Ok(vec![start]);
    }
    let mut matches: Vec<PathBuf> = walkdir::WalkDir::new(&start)
        .max_depth(depth)
        .follow_links(true)
        .into_iter()
        .filter_entry(|entry| {
            names_dot || entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
        })
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .filter(|path| {
            let relative = path.strip_prefix(folder).unwrap_or(path);
            glob.is_match(relative) || glob.is_match(path)
        })
        .collect();
    matches.sort();
    Ok(matches)
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
            expand(dir.path(), pattern)
                .unwrap()
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
        assert_eq!(names("none/*.png"), Vec::<String>::new());
        assert!(expand(dir.path(), "[").is_err());
    }
}
