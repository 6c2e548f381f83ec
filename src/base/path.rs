//! Paths that came from outside, made safe.

use std::path::{Component, Path, PathBuf};

/// A relative path that would leave its folder, or is no relative path at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {reason}")]
pub struct UnsafePath {
    /// The path as it was given.
    pub path: String,
    /// Why it is refused; reads after the path.
    pub reason: &'static str,
}

/// Bytes that one part of a path may have: most file systems take 255, and an extension or a number may still be added.
const LONGEST_PART: usize = 240;

/// Joins a relative path that a user, a server or a template wrote onto `root`, and proves that the result stays inside.
///
/// Both `/` and `\` separate components on every system, so that a name written on Windows cannot climb out elsewhere.
/// The check is on the text alone; links below `root` are the owner's business.
///
/// # Errors
/// When the path is absolute, empty, contains `..` or a control character, ends with a separator, names a drive, or has a part of more
/// than 240 bytes.
pub fn safe_join(root: &Path, relative: &str) -> Result<PathBuf, UnsafePath> {
    let refuse = |reason| {
        Err(UnsafePath {
            path: relative.to_owned(),
            reason,
        })
    };
    if relative.chars().any(char::is_control) {
        return refuse("contains a line break or another control character");
    }
    if relative.ends_with(['/', '\\']) {
        return refuse("ends as a folder does, and names no file");
    }
    if relative.starts_with(['/', '\\']) {
        return refuse("is absolute");
    }
    let mut path = root.to_path_buf();
    let mut any = false;
    for part in relative.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => return refuse("leaves its folder"),
            part if names_drive(part) => return refuse("names a drive"),
            part if part.len() > LONGEST_PART => {
                return refuse("has a part that is longer than file systems take");
            }
            part => {
                path.push(part);
                any = true;
            }
        }
    }
    if any {
        Ok(path)
    } else {
        refuse("names no file")
    }
}

/// `C:` and `C:name`: on Windows both leave the folder that they are joined to.
fn names_drive(part: &str) -> bool {
    let mut chars = part.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':')
}

/// Reduces a name from a server to one safe path component: separators, control characters and characters that some file system
/// refuses become `_`, leading dots go, and at most 180 bytes stay (the extension survives). Never empty.
pub fn safe_name(name: &str) -> String {
    const LIMIT: usize = 180;
    let mut safe: String = name
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|') {
                '_'
            } else {
                c
            }
        })
        .collect();
    safe = safe
        .trim_start_matches('.')
        .trim_end_matches(['.', ' '])
        .trim_start()
        .to_owned();
    if safe.len() > LIMIT {
        let extension = Path::new(&safe)
            .extension()
            .and_then(|e| e.to_str())
            .filter(|e| e.len() <= 16)
            .map(|e| format!(".{e}"))
            .unwrap_or_default();
        let mut end = LIMIT - extension.len();
        while !safe.is_char_boundary(end) {
            end -= 1;
        }
        safe.truncate(end);
        safe.push_str(&extension);
    }
    if safe.is_empty() {
        safe.push('_');
    }
    safe
}

/// A path for people: as they would write it from the current folder, when that is shorter, else as it is.
pub fn display_path(path: &Path) -> String {
    display_path_from(std::env::current_dir().ok().as_deref(), path)
}

/// A path for people who are in `folder`: many paths take one question to the system.
pub fn display_path_from(folder: Option<&Path>, path: &Path) -> String {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let inside = folder.and_then(|folder| path.strip_prefix(folder).ok());
    if let Some(inside) = inside
        && inside.components().next().is_some()
        && inside.components().all(plain)
    {
        return inside
            .components()
            .collect::<PathBuf>()
            .display()
            .to_string();
    }
    let path = normalized(path);
    match folder {
        Some(folder) => seen_from(&path, folder).display().to_string(),
        None => path.display().to_string(),
    }
}

/// A path relative to a folder, with `..` where that is the shorter way to write it.
fn seen_from(path: &Path, here: &Path) -> PathBuf {
    if let Ok(inside) = path.strip_prefix(here) {
        return if inside.components().next().is_some() {
            inside.to_path_buf()
        } else {
            path.to_path_buf()
        };
    }
    let common = path
        .components()
        .zip(here.components())
        .take_while(|(a, b)| a == b)
        .count();
    let shares_a_folder = path
        .components()
        .take(common)
        .any(|part| matches!(part, Component::Normal(_)));
    if !path.is_absolute() || !shares_a_folder {
        return path.to_path_buf();
    }
    let ups = here.components().skip(common).map(|_| Component::ParentDir);
    let relative: PathBuf = ups.chain(path.components().skip(common)).collect();
    if relative.as_os_str().len() < path.as_os_str().len() {
        relative
    } else {
        path.to_path_buf()
    }
}

/// Without `.` and, where no link is in the way, without `..`.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let is_folder = matches!(out.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if is_folder && !out.is_symlink() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_the_shorter_way_to_a_file() {
        for (path, here, seen) in [
            ("/home/me/art/flows/a.json", "/home/me/art", "flows/a.json"),
            ("/home/me/art/a.yaml", "/home/me/art/flows", "../a.yaml"),
            ("/home/me/art", "/home/me/art", "/home/me/art"),
            ("/srv/a.yaml", "/home/me/art", "/srv/a.yaml"),
            ("/home/x", "/home/me/art/flows/deep", "/home/x"),
            ("a.yaml", "/home/me", "a.yaml"),
        ] {
            assert_eq!(
                seen_from(Path::new(path), Path::new(here)),
                Path::new(seen),
                "{path} from {here}"
            );
        }
        assert_eq!(
            normalized(Path::new("/p/flows/../a/./b.json")),
            Path::new("/p/a/b.json")
        );
        assert_eq!(normalized(Path::new("../a")), Path::new("../a"));
    }

    #[test]
    fn a_joined_path_cannot_leave_its_root() {
        let root = Path::new("/out");
        for bad in [
            "../x",
            "a/../../x",
            "/etc/passwd",
            "\\x",
            "a\\..\\..\\x",
            "",
            ".",
            "C:\\x",
            "C:x",
            "a\0b",
            "a\nb",
            "a\u{1b}[31m",
            "a/",
            "a\\",
            &"x".repeat(241),
        ] {
            assert!(safe_join(root, bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            safe_join(root, "10:30 ü").unwrap(),
            Path::new("/out/10:30 ü")
        );
        assert_eq!(
            safe_join(root, "a/./b.png").unwrap(),
            Path::new("/out/a/b.png")
        );
        assert_eq!(safe_join(root, "..a/b").unwrap(), Path::new("/out/..a/b"));
    }

    #[test]
    fn a_name_from_a_server_becomes_one_component() {
        assert_eq!(safe_name("out_00001_.png"), "out_00001_.png");
        assert_eq!(safe_name("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(safe_name(".."), "_");
        assert_eq!(safe_name("a\nb:c.png"), "a_b_c.png");
        assert_eq!(safe_name("Ünïcode ok.webp"), "Ünïcode ok.webp");
        let long = safe_name(&format!("{}.png", "é".repeat(300)));
        assert!(long.len() <= 180);
        assert!(long.ends_with("é.png"), "{long}");
    }
}
