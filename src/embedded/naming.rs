//! File names for what jobs save: variables in the prefix, subfolders, and counters that never overwrite.
//!
//! A folder is listed once, when something is first saved there; after that its counters live in memory. A file that appeared from elsewhere
//! meanwhile is found when the new one is created (never over an existing file), and the counter moves on.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::files::inside;
use super::state::lock;

/// What goes into a name beside the prefix itself.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// In pixels.
    pub(super) width: usize,
    /// In pixels.
    pub(super) height: usize,
    /// When the node runs.
    pub(super) now: jiff::Zoned,
}

/// Why nothing can be saved under a prefix.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamingError {
    /// The prefix leads out of the folder.
    #[error("saving outside the output folder is not allowed: `{prefix}`")]
    Outside {
        /// The prefix after its variables were filled in.
        prefix: String,
    },
    /// The system refused.
    #[error("`{path}` cannot be written: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the files of one save go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder on disk.
    pub(super) folder: PathBuf,
    /// Its path below the output folder, `""` for the folder itself.
    pub(super) subfolder: String,
    /// The prefix without folders.
    pub(super) stem: String,
}

impl Place {
    /// Splits a prefix into subfolder and stem and makes sure that it stays below `root`.
    ///
    /// # Errors
    /// [`NamingError::Outside`].
    pub(super) fn of(root: &Path, prefix: &str, picture: &Picture) -> Result<Self, NamingError> {
        let prefix = fill(prefix, picture);
        let outside = || NamingError::Outside {
            prefix: prefix.clone(),
        };
        let path = inside(root, &prefix).ok_or_else(outside)?;
        // A prefix such as `a/` or `..` leaves no stem; ComfyUI then normalises `a/` to `a`.
        let stem = path
            .strip_prefix(root)
            .ok()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let folder = if stem.is_empty() {
            root.to_path_buf()
        } else {
            path.parent().ok_or_else(outside)?.to_path_buf()
        };
        let subfolder = folder
            .strip_prefix(root)
            .map_err(|_| outside())?
            .to_str()
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            folder,
            subfolder,
            stem,
        })
    }
}

fn fill(prefix: &str, picture: &Picture) -> String {
    if !prefix.contains('%') {
        return prefix.to_owned();
    }
    let now = &picture.now;
    [
        ("%width%", picture.width.to_string()),
        ("%height%", picture.height.to_string()),
        ("%year%", now.strftime("%Y").to_string()),
        ("%month%", now.strftime("%m").to_string()),
        ("%day%", now.strftime("%d").to_string()),
        ("%hour%", now.strftime("%H").to_string()),
        ("%minute%", now.strftime("%M").to_string()),
        ("%second%", now.strftime("%S").to_string()),
    ]
    .into_iter()
    .fold(prefix.to_owned(), |text, (variable, value)| {
        text.replace(variable, &value)
    })
}

/// The highest counter of every stem in every folder that was saved to.
#[derive(Debug, Default)]
pub(super) struct Counters {
    folders: HashMap<PathBuf, HashMap<String, u64>>,
}

impl Counters {
    /// The next counter of a place. Each call gives another one.
    pub(super) fn next(&mut self, place: &Place) -> u64 {
        let counters = self
            .folders
            .entry(place.folder.clone())
            .or_insert_with(|| scan(&place.folder));
        // A prefix that still holds `%batch_num%` is counted as it is written.
        let counter = counters.entry(place.stem.clone()).or_default();
        *counter += 1;
        *counter
    }

    /// Forgets a folder, so that it is listed again.
    pub(super) fn forget(&mut self, folder: &Path) {
        self.folders.remove(folder);
    }
}

/// Every stem that a file of this folder could have been saved under, with its highest counter.
fn scan(folder: &Path) -> HashMap<String, u64> {
    let mut highest = HashMap::new();
    let names = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    for name in names {
        for (at, _) in name.match_indices('_') {
            let counter = name[at + 1..]
                .split_once('_')
                .and_then(|(digits, _)| digits.parse::<u64>().ok());
            if let Some(counter) = counter {
                let known: &mut u64 = highest.entry(name[..at].to_owned()).or_default();
                *known = counter.max(*known);
            }
        }
    }
    highest
}

/// Creates the next free file of a place: `stem_00001_.png`. The name and the open file.
///
/// # Errors
/// [`NamingError::Io`] when the folder or the file cannot be made.
pub(super) fn create(
    counters: &std::sync::Mutex<Counters>,
    place: &Place,
    batch_index: usize,
) -> Result<(String, File), NamingError> {
    create_as(counters, place, batch_index, "png")
}

/// [`create`] with another ending than `png`.
///
/// # Errors
/// As [`create`].
pub(super) fn create_as(
    counters: &std::sync::Mutex<Counters>,
    place: &Place,
    batch_index: usize,
    extension: &str,
) -> Result<(String, File), NamingError> {
    let refuse = |path: &Path| {
        let path = path.display().to_string();
        move |source| NamingError::Io { path, source }
    };
    let stem = place.stem.replace("%batch_num%", &batch_index.to_string());
    let mut made_folder = false;
    loop {
        let counter = lock(counters).next(place);
        let name = format!("{stem}_{counter:05}_.{extension}");
        let path = place.folder.join(&name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((name, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !made_folder => {
                std::fs::create_dir_all(&place.folder).map_err(refuse(&place.folder))?;
                lock(counters).forget(&place.folder);
                made_folder = true;
            }
            Err(error) => return Err(refuse(&path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn picture() -> Picture {
        Picture {
            width: 64,
            height: 32,
            now: "2026-11-22T04:05:06[UTC]".parse().unwrap(),
        }
    }

    fn save(counters: &Mutex<Counters>, root: &Path, prefix: &str) -> String {
        let place = Place::of(root, prefix, &picture()).unwrap();
        create(counters, &place, 0).unwrap().0
    }

    #[test]
    fn counters_rise_and_go_on_where_a_folder_left_off() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a_00007_.png"), b"").unwrap();
        std::fs::write(dir.path().join("a_b_00002_.png"), b"").unwrap();
        let counters = Mutex::default();
        assert_eq!(save(&counters, dir.path(), "a"), "a_00008_.png");
        assert_eq!(save(&counters, dir.path(), "a"), "a_00009_.png");
        assert_eq!(save(&counters, dir.path(), "a_b"), "a_b_00003_.png");
        assert_eq!(save(&counters, dir.path(), "c"), "c_00001_.png");
    }

    #[test]
    fn a_file_from_elsewhere_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Mutex::default();
        assert_eq!(save(&counters, dir.path(), "a"), "a_00001_.png");
        std::fs::write(dir.path().join("a_00002_.png"), b"mine").unwrap();
        assert_eq!(save(&counters, dir.path(), "a"), "a_00003_.png");
        assert_eq!(
            std::fs::read(dir.path().join("a_00002_.png")).unwrap(),
            b"mine"
        );
    }

    #[test]
    fn a_prefix_may_hold_folders_and_variables() {
        let root = Path::new("/out");
        let place = Place::of(
            root,
            "tok/%year%-%month%-%day%_%width%x%height%_%date:yyyy%",
            &picture(),
        );
        assert_eq!(
            place.unwrap(),
            Place {
                folder: PathBuf::from("/out/tok"),
                subfolder: "tok".into(),
                stem: "2026-11-22_64x32_%date:yyyy%".into(),
            }
        );
    }

    #[test]
    fn a_prefix_that_leaves_the_folder_is_refused() {
        for bad in ["../../evil", "/var/evil", "a/../../b"] {
            let error = Place::of(Path::new("/out"), bad, &picture()).unwrap_err();
            assert!(matches!(error, NamingError::Outside { .. }), "{bad}");
        }
    }

    #[test]
    fn a_folder_is_made_when_it_is_first_needed() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Mutex::default();
        assert_eq!(save(&counters, dir.path(), "x/y/z"), "z_00001_.png");
        assert!(dir.path().join("x/y/z_00001_.png").is_file());
        assert_eq!(save(&counters, dir.path(), "x/y/z"), "z_00002_.png");
    }
}
