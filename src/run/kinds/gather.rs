//! What a program left in its folder: the files that its step's patterns name.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use indexmap::IndexMap;
use walkdir::WalkDir;

/// Files that one pattern may find.
const MOST: usize = 100_000;

/// A file to be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The output that its pattern stands under.
    pub(super) output: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// The files cannot be collected.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatherError {
    /// No pattern.
    #[error("`{pattern}` of output `{output}` is not a pattern: {cause}")]
    BadPattern {
        output: String,
        pattern: String,
        cause: String,
    },
    /// It found nothing.
    #[error("the command left no file that matches `{pattern}`, which output `{output}` is for")]
    Nothing {
        output: String,
        pattern: String,
        /// What it did leave.
        left: Vec<String>,
    },
    /// A link out of the folder.
    #[error("`{link}` is a link to `{}`, outside of the folder of the command", target.display())]
    Leaves { link: String, target: PathBuf },
    /// The folder or something in it cannot be read.
    #[error("could not read `{path}`: {cause}")]
    Unreadable { path: String, cause: String },
}

/// Every file that a pattern matches, by output, then by name. Patterns are relative to the folder.
pub(super) fn gather(
    folder: &Path,
    patterns: &IndexMap<String, String>,
) -> Result<Vec<Found>, GatherError> {
    let names = names(folder)?;
    let mut found = Vec::new();
    for (output, pattern) in patterns {
        let matcher = matcher(output, pattern)?;
        let before = found.len();
        for name in names
            .iter()
            .filter(|name| matcher.is_match(name))
            .take(MOST)
        {
            if let Some(path) = inside(folder, name)? {
                found.push(Found {
                    output: output.clone(),
                    path,
                });
            }
        }
        if found.len() == before {
            return Err(GatherError::Nothing {
                output: output.clone(),
                pattern: pattern.clone(),
                left: names.into_iter().take(5).collect(),
            });
        }
    }
    Ok(found)
}

fn matcher(output: &str, pattern: &str) -> Result<GlobMatcher, GatherError> {
    let wanted = pattern.strip_prefix("./").unwrap_or(pattern);
    GlobBuilder::new(wanted)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| GatherError::BadPattern {
            output: output.to_owned(),
            pattern: pattern.to_owned(),
            cause: error.kind().to_string(),
        })
}

/// All files and links below the folder, relative to it and sorted; links are not followed.
fn names(folder: &Path) -> Result<Vec<String>, GatherError> {
    let mut names = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| GatherError::Unreadable {
            path: folder.display().to_string(),
            cause: error.to_string(),
        })?;
        if !entry.file_type().is_dir()
            && let Ok(name) = entry.path().strip_prefix(folder)
            && let Some(name) = name.to_str()
        {
            names.push(name.replace('\\', "/"));
        }
    }
    Ok(names)
}

/// The file behind a name; `None` when it is no file.
fn inside(folder: &Path, name: &str) -> Result<Option<PathBuf>, GatherError> {
    let path = folder.join(name);
    let unreadable = |error: std::io::Error| GatherError::Unreadable {
        path: name.to_owned(),
        cause: error.to_string(),
    };
    let real = path.canonicalize().map_err(unreadable)?;
    let root = folder.canonicalize().map_err(unreadable)?;
    if !real.starts_with(&root) {
        return Err(GatherError::Leaves {
            link: name.to_owned(),
            target: real,
        });
    }
    Ok(real.is_file().then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(patterns: &[(&str, &str)]) -> IndexMap<String, String> {
        let owned = patterns.iter();
        owned
            .map(|(name, pattern)| ((*name).to_owned(), (*pattern).to_owned()))
            .collect()
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        dir
    }

    fn found(dir: &Path, wanted: &[(&str, &str)]) -> Vec<(String, String)> {
        gather(dir, &patterns(wanted))
            .unwrap()
            .into_iter()
            .map(|f| {
                let name = f.path.strip_prefix(dir).unwrap().to_str().unwrap();
                (f.output, name.to_owned())
            })
            .collect()
    }

    #[test]
    fn files_come_by_output_and_then_by_name() {
        let dir = folder(&["b.png", "a.png", "sub/c.png", "film.mp4"]);
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        assert_eq!(
            found(dir.path(), &[("film", "*.mp4"), ("frames", "./*.png")]),
            own(&[
                ("film", "film.mp4"),
                ("frames", "a.png"),
                ("frames", "b.png")
            ])
        );
        assert_eq!(found(dir.path(), &[("all", "**/*.png")]).len(), 3);
        assert_eq!(found(dir.path(), &[("both", "{film.mp4,sub/*}")]).len(), 2);
    }

    #[test]
    fn a_pattern_that_finds_nothing_is_an_error_that_tells_what_is_there() {
        let dir = folder(&["out.PNG"]);
        let error = gather(dir.path(), &patterns(&[("film", "*.mp4")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the command left no file that matches `*.mp4`, which output `film` is for"
        );
        assert!(matches!(error, GatherError::Nothing { left, .. } if left == ["out.PNG"]));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_may_not_leave_the_folder() {
        let dir = folder(&["real.txt"]);
        let secret = folder(&["secret.txt"]);
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        };
        link(Path::new("real.txt"), "good.txt");
        assert_eq!(found(dir.path(), &[("t", "good.txt")]).len(), 1);
        link(&secret.path().join("secret.txt"), "bad.txt");
        let error = gather(dir.path(), &patterns(&[("t", "*.txt")])).unwrap_err();
        assert!(
            error.to_string().starts_with("`bad.txt` is a link to `"),
            "{error}"
        );
        link(secret.path(), "folder");
        let error = gather(dir.path(), &patterns(&[("t", "folder")])).unwrap_err();
        assert!(
            error.to_string().starts_with("`folder` is a link to `"),
            "{error}"
        );
    }
}
