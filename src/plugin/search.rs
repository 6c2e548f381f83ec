//! Where a plugin is looked for: at the configured path and nowhere else.
//!
//! A path may name the library itself, its name without the system's prefix and ending, or a folder: one that holds the library, or the
//! crate that it is built from. A crate's library is looked for in its own `target/`, and in those of the workspaces above it;
//! of a release and a debug build, the newer one is taken.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files that a path may mean, in the order in which they are tried.
pub(super) fn candidates(path: &Path, project: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    if !path.is_dir() {
        let file = file_name(&stem(path));
        return vec![path.to_path_buf(), path.with_file_name(file)];
    }
    // So that the folders above it are those that it lies in, however it was written.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (path, project) = (real(path), real(project));
    let (path, project) = (path.as_path(), project.as_path());
    let file = file_name(&crate_name(path).unwrap_or_else(|| stem(path)));
    let mut all = vec![path.join(&file)];
    let builds_it = |folder: &&Path| {
        *folder == path || folder.starts_with(project) || is_workspace_of(folder, path)
    };
    for folder in path.ancestors().filter(builds_it) {
        let target = folder.join("target");
        let mut builds = [
            target.join("release").join(&file),
            target.join("debug").join(&file),
        ];
        if age(&builds[1]) > age(&builds[0]) {
            builds.reverse();
        }
        all.extend(builds);
    }
    all
}

/// Whether a folder is the workspace that a crate is a member of.
fn is_workspace_of(folder: &Path, crate_folder: &Path) -> bool {
    let Ok(inside) = crate_folder.strip_prefix(folder) else {
        return false;
    };
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let beside = inside.parent().unwrap_or(inside);
    let named = [
        format!("\"{}\"", inside.display()),
        format!("\"{}/*\"", beside.display()),
    ];
    manifest.contains("[workspace]") && named.iter().any(|name| manifest.contains(name))
}

fn age(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What the system calls a library.
fn file_name(name: &str) -> String {
    format!("{DLL_PREFIX}{}{DLL_SUFFIX}", name.replace('-', "_"))
}

/// The name of the library that a crate builds: that of `[lib]`, else that of `[package]`.
fn crate_name(folder: &Path) -> Option<String> {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let mut section = String::new();
    let mut found: Option<(bool, String)> = None;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            line.clone_into(&mut section);
        }
        let is_lib = section == "[lib]";
        if (is_lib || section == "[package]")
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
            && found.as_ref().is_none_or(|(lib, _)| !lib)
        {
            let value = value.trim().trim_matches(['"', '\'']);
            found = Some((is_lib, value.to_owned()));
        }
    }
    found.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path, project: &Path) -> Vec<String> {
        candidates(path, project)
            .iter()
            .map(|found| found.strip_prefix(project).unwrap_or(found))
            .map(|found| found.display().to_string())
            .collect()
    }

    #[test]
    fn a_name_without_prefix_and_ending_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let file = file_name("my-tool");
        assert_eq!(
            names(&dir.path().join("my-tool"), dir.path()),
            ["my-tool".to_owned(), file]
        );
    }

    #[test]
    fn the_library_of_a_crate_is_looked_for_in_the_target_folders_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let project = dir.join("project");
        let folder = project.join("plugins/tool");
        std::fs::create_dir_all(folder.join("target/debug")).unwrap();
        std::fs::write(
            dir.join("Cargo.toml"),
            "[workspace]\nmembers = [\"project/plugins/*\"]\n",
        )
        .unwrap();
        let manifest = "[package]\nname = \"other-name\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
        std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        let file = file_name("other_name");
        let at = |place: &str| format!("{place}/{file}");
        let wanted = [
            at("plugins/tool"),
            at("plugins/tool/target/release"),
            at("plugins/tool/target/debug"),
            at("plugins/target/release"),
            at("plugins/target/debug"),
            at("target/release"),
            at("target/debug"),
        ];
        let found = names(&folder, &project);
        assert_eq!(found[..wanted.len()], wanted);
        let workspace = dir.join("target/release").join(&file);
        assert_eq!(
            found[wanted.len()],
            workspace.display().to_string(),
            "its workspace's"
        );
        std::fs::write(folder.join("target/debug").join(&file), "").unwrap();
        let found = names(&folder, &project);
        assert_eq!(
            found[1],
            at("plugins/tool/target/debug"),
            "the only one that is there"
        );
    }
}
