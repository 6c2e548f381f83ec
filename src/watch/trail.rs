//! The way to a file: every place where a change makes it another one.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links that are followed on the way to one file.
const LINKS: usize = 40;

/// A step that is still to be taken.
enum Step {
    Root(PathBuf),
    Up,
    Into(OsString),
}

/// The places by which `path` is reached, each where it really lies: every link on the way, every folder below `base`, and the file itself;
/// the way ends at the first thing that is not there. Whatever lies above `base` is taken for granted.
pub(super) fn trail(path: &Path, base: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut here = PathBuf::new();
    let mut ahead: VecDeque<Step> = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        let name = match step {
            Step::Root(root) => {
                here.push(root);
                continue;
            }
            Step::Up => {
                here.pop();
                continue;
            }
            Step::Into(name) => name,
        };
        let place = here.join(name);
        let Ok(found) = place.symlink_metadata() else {
            places.push(place);
            break;
        };
        if !found.is_symlink() {
            if ahead.is_empty() || (place.starts_with(base) && place != base) {
                places.push(place.clone());
            }
            here = place;
            continue;
        }
        links += 1;
        let target = std::fs::read_link(&place);
        places.push(place);
        let Ok(target) = target else { break };
        if links > LINKS {
            break;
        }
        if target.is_absolute() {
            here = PathBuf::new();
        }
        for step in steps(&target).into_iter().rev() {
            ahead.push_front(step);
        }
    }
    places
}

fn steps(path: &Path) -> VecDeque<Step> {
    path.components()
        .filter_map(|part| match part {
            Component::Prefix(_) | Component::RootDir => Some(Step::Root(part.as_os_str().into())),
            Component::CurDir => None,
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Into(name.to_owned())),
        })
        .collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn of(base: &Path, path: &str) -> Vec<String> {
        let places = trail(&base.join(path), base);
        let relative = |place: &PathBuf| place.strip_prefix(base).unwrap().display().to_string();
        places.iter().map(relative).collect()
    }

    #[test]
    fn a_file_is_reached_through_its_folders_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("real/deep")).unwrap();
        std::fs::write(base.join("real/deep/a.txt"), "a").unwrap();
        symlink("real", base.join("way")).unwrap();
        symlink("way/deep/a.txt", base.join("link.txt")).unwrap();
        symlink(base.join("link.txt"), base.join("far.txt")).unwrap();
        assert_eq!(
            of(&base, "real/deep/a.txt"),
            ["real", "real/deep", "real/deep/a.txt"]
        );
        assert_eq!(
            of(&base, "real/../way/deep/a.txt"),
            ["real", "way", "real", "real/deep", "real/deep/a.txt"]
        );
        assert_eq!(
            of(&base, "far.txt"),
            [
                "far.txt",
                "link.txt",
                "way",
                "real",
                "real/deep",
                "real/deep/a.txt"
            ]
        );
    }

    #[test]
    fn the_way_ends_where_something_is_missing_and_in_a_circle_of_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        assert_eq!(of(&base, "none/deep/a.txt"), ["none"]);
        symlink("gone.txt", base.join("a")).unwrap();
        assert_eq!(of(&base, "a"), ["a", "gone.txt"]);
        symlink("there", base.join("here")).unwrap();
        symlink("here", base.join("there")).unwrap();
        let circle = of(&base, "here");
        assert_eq!(circle.len(), LINKS + 1);
    }
}
