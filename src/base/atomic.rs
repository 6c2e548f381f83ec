//! Files that are either whole or absent.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::hash::{ContentHash, Hasher};
use super::path::display_path;

/// A file could not be written. Nothing was left behind under its name.
#[derive(Debug, thiserror::Error)]
#[error("could not write `{}`: {}", display_path(path), reason(source))]
pub struct WriteError {
    /// The file that was meant to appear.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

impl WriteError {
    /// Wraps what the system answered for `path`.
    pub fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_path_buf(),
            source,
        }
    }

    /// Whether the disk, a quota or a size limit is exhausted (rather than, say, a permission missing).
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
        io::ErrorKind::FileTooLarge => {
            "the file is larger than the system's limit for this process".to_owned()
        }
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a part of the path is a file, not a folder".to_owned()
        }
        io::ErrorKind::InvalidFilename => "its name is too long, or not allowed here".to_owned(),
        _ => error.to_string(),
    }
}

/// A file being written under a temporary name in its own folder; it takes its name only in [`AtomicFile::commit`].
///
/// Bytes are hashed as they pass. Dropping it without a commit removes the temporary file.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    file: tempfile::NamedTempFile,
    hasher: Hasher,
}

/// What [`AtomicFile::commit`] left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Where the file is now.
    pub path: PathBuf,
    /// The hash of its content.
    pub hash: ContentHash,
    /// Its length in bytes.
    pub size: u64,
}

impl AtomicFile {
    /// Opens a temporary file beside `target`, making the folder when it is missing.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        let wrap = |source| WriteError::new(target, source);
        let folder = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(wrap)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".kiln-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder).map_err(wrap)?;
        Ok(Self {
            target: target.to_path_buf(),
            file,
            hasher: Hasher::default(),
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the system takes fewer bytes than given, e.g. on a full disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.file
            .write_all(bytes)
            .map_err(|source| WriteError::new(&self.target, source))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.hasher.finish().1
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the content durable and gives the file its name, replacing what stood there. That the name is there after a power cut too
    /// takes a [`sync_folder`]; whoever writes many files does that once, and until then takes nothing for granted that it cannot verify.
    ///
    /// # Errors
    /// When syncing or renaming fails; the old file, if any, is then untouched.
    pub fn commit(self) -> Result<Finished, WriteError> {
        let Self {
            target,
            file,
            hasher,
        } = self;
        let wrap = |source| WriteError::new(&target, source);
        file.as_file().sync_all().map_err(wrap)?;
        file.persist(&target).map_err(|e| wrap(e.error))?;
        let (hash, size) = hasher.finish();
        Ok(Finished {
            path: target,
            hash,
            size,
        })
    }

    /// Writes a whole small file in one go.
    ///
    /// # Errors
    /// As [`AtomicFile::create`], [`AtomicFile::write`] and [`AtomicFile::commit`].
    pub fn put(target: &Path, bytes: &[u8]) -> Result<Finished, WriteError> {
        let mut file = Self::create(target)?;
        file.write(bytes)?;
        file.commit()
    }
}

/// Makes the names in a folder durable. Not every file system can sync a folder, and none needs it to be consistent.
pub fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/a.bin");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write(b"hello ").unwrap();
        assert!(!target.exists());
        file.write(b"world").unwrap();
        let finished = file.commit().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"hello world");
        assert_eq!(finished.hash, ContentHash::of(b"hello world"));
        assert_eq!(finished.size, 11);
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(AtomicFile::create(&dir.path().join("a.bin")).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
