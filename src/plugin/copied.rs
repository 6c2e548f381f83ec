//! Copies of libraries: what is loaded is what was hashed.
//!
//! A library may be built anew at any moment, and the system tells libraries apart by their paths: of one that it has loaded already it
//! gives out the same again, whatever lies there by now. So kiln loads none from where it was built. It reads the file once, and loads a
//! copy of those very bytes, which bears their hash and lies in `.kiln/plugins/` of the project. A copy stays as long as any process has
//! it; when another library is copied, those that nobody has any more go.

use std::env::consts::DLL_SUFFIX;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::base::{AtomicFile, ContentHash, WriteError};

/// The folder of copies, below the project's.
const FOLDER: &str = ".kiln/plugins";
/// How often a copy may be gone, or about to go, when it is to be had.
const TIMES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A library that is there for as long as this is.
#[derive(Debug)]
pub(super) struct Copied {
    path: PathBuf,
    hash: ContentHash,
    /// Says that somebody has it.
    _held: Option<File>,
    /// Where it lies when the project's folder takes no files.
    _folder: Option<TempDir>,
}

impl Copied {
    /// A copy of a library whose file was read.
    ///
    /// # Errors
    /// A fragment that reads well after the path and a colon.
    pub(super) fn of(source: &Path, bytes: &[u8], project: &Path) -> Result<Self, String> {
        if !is_whole(bytes) {
            return Err("it is cut short, as if it was being written just now".to_owned());
        }
        let hash = ContentHash::of(bytes);
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}-{hash}{DLL_SUFFIX}");
        let folder = project.join(FOLDER);
        let copied = kept_out_of_git(&folder).and_then(|()| put(&folder, &name, (bytes, hash)));
        copied
            .or_else(|_| elsewhere(&name, bytes, hash))
            .map_err(|error| error.to_string())
    }

    /// A copy that is only looked at, and lies nowhere in the project.
    ///
    /// # Errors
    /// As [`Copied::of`].
    pub(super) fn for_a_look(source: &Path, bytes: &[u8]) -> Result<Self, String> {
        if !is_whole(bytes) {
            return Err("it is cut short, as if it was being written just now".to_owned());
        }
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        elsewhere(&name, bytes, ContentHash::of(bytes)).map_err(|error| error.to_string())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn hash(&self) -> ContentHash {
        self.hash
    }
}

/// Whoever only checks a pipeline has no state yet that would see to it.
fn kept_out_of_git(folder: &Path) -> Result<(), WriteError> {
    let ignore = folder.with_file_name(".gitignore");
    if ignore.exists() {
        return Ok(());
    }
    AtomicFile::put(&ignore, b"*\n").map(drop)
}

/// Puts a copy into the folder of a project, unless it is there.
fn put(
    folder: &Path,
    name: &str,
    (bytes, hash): (&[u8], ContentHash),
) -> Result<Copied, WriteError> {
    let path = folder.join(name);
    let mut new = false;
    for _ in 0..TIMES {
        if ContentHash::of_file(&path).ok() != Some((hash, bytes.len() as u64)) {
            AtomicFile::put(&path, bytes)?;
            new = true;
        }
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let held = match file.try_lock_shared() {
            Ok(()) => Some(file),
            // Somebody is about to remove it.
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(PAUSE);
                continue;
            }
            // Where files cannot be locked, none is removed either.
            Err(TryLockError::Error(_)) => None,
        };
        if path.exists() {
            if new {
                tidy(folder, &path);
            }
            return Ok(Copied {
                path,
                hash,
                _held: held,
                _folder: None,
            });
        }
    }
    Err(WriteError::new(&path, io::ErrorKind::ResourceBusy.into()))
}

/// Puts a copy into a folder of its own, which goes with it.
fn elsewhere(name: &str, bytes: &[u8], hash: ContentHash) -> Result<Copied, WriteError> {
    let folder = tempfile::Builder::new().prefix("kiln-plugin-").tempdir();
    let folder = folder.map_err(|error| WriteError::new(&std::env::temp_dir(), error))?;
    let path = folder.path().join(name);
    AtomicFile::put(&path, bytes)?;
    Ok(Copied {
        path,
        hash,
        _held: None,
        _folder: Some(folder),
    })
}

/// Removes the copies that nobody has. What cannot be removed stays.
fn tidy(folder: &Path, own: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let is_copy = path.to_string_lossy().ends_with(DLL_SUFFIX);
        if path == own || !is_copy {
            continue;
        }
        if let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Whether everything that an ELF file says it has is in it. To load half a library ends the process as soon as the other half is used.
/// Of other kinds of files the system finds out by itself.
fn is_whole(bytes: &[u8]) -> bool {
    const ELF_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
    const LOADED: u64 = 1;
    if !bytes.starts_with(ELF_64_LITTLE) {
        return true;
    }
    let number = |at: u64, length: usize| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let found = bytes.get(at..at.checked_add(length)?)?;
        let mut whole = [0; 8];
        whole[..length].copy_from_slice(found);
        Some(u64::from_le_bytes(whole))
    };
    let fits = |start: Option<u64>, length: Option<u64>| {
        let end = start.zip(length).and_then(|(s, l)| s.checked_add(l));
        end.is_some_and(|end| end <= bytes.len() as u64)
    };
    let table = |start, size, count| -> Option<(u64, u64, u64)> {
        Some((number(start, 8)?, number(size, 2)?, number(count, 2)?))
    };
    let (Some((parts, size, count)), Some(sections)) =
        (table(0x20, 0x36, 0x38), table(0x28, 0x3a, 0x3c))
    else {
        return false;
    };
    let (at, each, many) = sections;
    fits(Some(at), Some(each * many))
        && fits(Some(parts), Some(size * count))
        && (0..count).all(|nth| {
            let part = parts + nth * size;
            number(part, 4) != Some(LOADED) || fits(number(part + 8, 8), number(part + 32, 8))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder.join(FOLDER)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_copy_is_named_by_its_content_and_goes_when_nobody_has_it() {
        let project = tempfile::tempdir().unwrap();
        let copy = |bytes: &[u8]| Copied::of(Path::new("libtool.so"), bytes, project.path());
        let one = copy(b"one").unwrap();
        assert_eq!(std::fs::read(one.path()).unwrap(), b"one");
        assert_eq!(one.hash(), ContentHash::of(b"one"));
        let again = copy(b"one").unwrap();
        assert_eq!(one.path(), again.path());
        let two = copy(b"two").unwrap();
        assert_eq!(names(project.path()).len(), 2);
        drop(one);
        let three = copy(b"three").unwrap();
        assert_eq!(names(project.path()).len(), 3, "somebody has each");
        drop((again, two));
        let four = copy(b"four").unwrap();
        assert_eq!(names(project.path()).len(), 2);
        assert!(three.path().is_file() && four.path().is_file());
        let ignored = std::fs::read_to_string(project.path().join(".kiln/.gitignore"));
        assert_eq!(ignored.unwrap(), "*\n");
    }

    #[test]
    fn a_copy_that_was_changed_is_made_again() {
        let project = tempfile::tempdir().unwrap();
        let copy = || Copied::of(Path::new("libtool.so"), b"one", project.path()).unwrap();
        let path = copy().path().to_path_buf();
        std::fs::write(&path, "another").unwrap();
        assert_eq!(std::fs::read(copy().path()).unwrap(), b"one");
    }

    #[test]
    fn a_project_that_takes_no_files_costs_the_copy_its_place_and_nothing_else() {
        let project = tempfile::tempdir().unwrap();
        std::fs::write(project.path().join(".kiln"), "no folder").unwrap();
        let copy = Copied::of(Path::new("libtool.so"), b"one", project.path()).unwrap();
        let path = copy.path().to_path_buf();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        drop(copy);
        assert!(!path.exists());
    }

    #[test]
    fn half_a_library_is_told_from_a_whole_one() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(is_whole(&own));
        if own.starts_with(b"\x7fELF\x02\x01") {
            for length in [8, 40, 64, 4096, own.len() / 2, own.len() - 1] {
                assert!(!is_whole(&own[..length]), "{length}");
            }
        }
        assert!(is_whole(b"no library"));
    }
}
