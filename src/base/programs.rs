//! Programs on this machine, as a shell would find them.

use std::path::{Path, PathBuf};

/// Where a program is: one with a `/` relative to `base`, any other in `PATH`.
pub fn find(program: &str, base: &Path) -> Option<PathBuf> {
    if program.contains('/') || (cfg!(windows) && program.contains('\\')) {
        let path = base.join(program);
        return is_program(&path).then_some(path);
    }
    folders().find_map(|folder| {
        let path = folder.join(program);
        if is_program(&path) {
            return Some(path);
        }
        let path = folder.join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
        is_program(&path).then_some(path)
    })
}

/// The names of all programs in `PATH`.
pub fn all() -> Vec<String> {
    let mut names: Vec<String> = folders()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_slash_is_relative_and_any_other_is_in_path() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        std::fs::write(&tool, "").unwrap();
        assert_eq!(find("./tool", dir.path()), None, "it may not be executed");
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("./tool", dir.path()).map(|p| p.is_file()), Some(true));
        assert_eq!(
            find("tool", dir.path()),
            None,
            "the current folder is not in PATH"
        );
        assert!(find("sh", dir.path()).is_some());
        assert!(all().iter().any(|name| name == "sh"));
    }
}
