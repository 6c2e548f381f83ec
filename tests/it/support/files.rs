//! What lies in a folder of results.

use std::path::{Path, PathBuf};

/// The results below a folder, sorted; a record of its origin lies beside each and does not count.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(folder).unwrap();
            path.display().to_string()
        })
        .filter(|name| !name.ends_with(".kiln.json"))
        .collect();
    names.sort();
    names
}

/// The names of what lies in a folder, sorted; a record of its origin lies beside each result and does not count.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".kiln.json"))
        .collect();
    names.sort();
    names
}

/// The pictures in a folder.
pub(crate) fn pictures(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "png"))
        .collect()
}
