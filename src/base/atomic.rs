//! Files that are either whole or absent.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::disk::{self, DiskStep};
use super::hash::{ContentHash, Hasher};
use super::path::display_path;

/// How the names of files begin and end that have not got their own yet. One that outlives its process is rubbish.
pub const TEMPORARY_PREFIX: &str = ".kiln-";
/// See [`TEMPORARY_PREFIX`].
pub const TEMPORARY_SUFFIX: &str = ".part";

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
        io::ErrorKind::StorageFull if error.get_ref().is_some() => error.to_string(),
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

/// Who may write to a file that kiln leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner, and whoever else the system's defaults allow.
    Usual,
    /// Nobody.
    ReadOnly,
}

impl AtomicFile {
    /// Opens a temporary file beside `target`, making the folder when it is missing.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        Self::create_with(target, Access::Usual)
    }

    /// As [`AtomicFile::create`], for a file that nobody shall write to later.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create_with(target: &Path, access: Access) -> Result<Self, WriteError> {
        let wrap = |source| WriteError::new(target, source);
        Ok(Self {
            target: target.to_path_buf(),
            file: temporary_beside(target, access).map_err(wrap)?,
            hasher: Hasher::default(),
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When the system takes fewer bytes than given, e.g. on a full disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        disk::before(DiskStep::Write(self.file.path(), bytes.len() as u64))
            .and_then(|()| self.file.write_all(bytes))
            .map_err(|source| WriteError::new(&self.target, source))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Where its bytes are until it has its name.
    pub fn unfinished(&self) -> &Path {
        self.file.path()
    }

    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.hasher.finish().1
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hash of the bytes written so far.
    pub fn hash(&self) -> ContentHash {
        self.hasher.finish().0
    }

    /// Makes the content durable and gives the file its name, replacing what stood there. That the name is there after a power cut too
    /// takes a [`sync_folder`]; whoever writes many files does that once, and until then takes nothing for granted that it cannot verify.
    ///
    /// # Errors
    /// When syncing or renaming fails; the old file, if any, is then untouched.
    pub fn commit(self) -> Result<Finished, WriteError> {
        disk::before(DiskStep::Sync(self.file.path()))
            .and_then(|()| self.file.as_file().sync_all())
            .map_err(|source| WriteError::new(&self.target, source))?;
        self.commit_unsynced()
    }

    /// Gives the file its name without making its content durable: after a power cut there may be anything under it. For what can be
    /// verified and made again.
    ///
    /// # Errors
    /// When renaming fails; the old file, if any, is then untouched.
    pub fn commit_unsynced(self) -> Result<Finished, WriteError> {
        let Self {
            target,
            file,
            hasher,
        } = self;
        persist(file, &target)?;
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

/// A temporary file in the folder of `target`, which is made when it is missing.
fn temporary_beside(target: &Path, access: Access) -> io::Result<tempfile::NamedTempFile> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
    if !folder.is_dir() {
        std::fs::create_dir_all(folder)?;
    }
    builder.make_in(folder, |path| {
        disk::before(DiskStep::Create(path))?;
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(match access {
                Access::Usual => 0o666,
                Access::ReadOnly => 0o444,
            });
        }
        // Elsewhere a read-only file could be neither replaced nor removed.
        let _ = access;
        options.open(path)
    })
}

fn persist(file: tempfile::NamedTempFile, target: &Path) -> Result<(), WriteError> {
    let wrap = |source| WriteError::new(target, source);
    disk::before(DiskStep::Rename(file.path(), target)).map_err(wrap)?;
    file.persist(target).map_err(|e| wrap(e.error))?;
    Ok(())
}

/// Writes a small file that nothing depends on: whole or not at all for whoever looks, but not synced.
///
/// # Errors
/// When the folder or the file cannot be made, or not all of it be written; nothing new is left behind then.
pub fn put_unsynced(target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(target)?;
    file.write(bytes)?;
    file.commit_unsynced().map(drop)
}

/// Puts a copy of a file at `to`, whole or not at all, replacing what stood there. The copy shares its content with the original where the
/// file system can do that, and is never the same file. Its content is durable before it has its name.
///
/// # Errors
/// When the copy cannot be written, or the original not be read.
pub fn copy_file(from: &Path, to: &Path, access: Access) -> Result<(), WriteError> {
    let file = copy(from, to, access)?;
    disk::before(DiskStep::Sync(file.path()))
        .and_then(|()| file.as_file().sync_all())
        .map_err(|source| WriteError::new(to, source))?;
    persist(file, to)
}

/// As [`copy_file`], but after a power cut there may be anything under its name. For what can be verified and made again.
///
/// # Errors
/// As [`copy_file`].
pub fn copy_file_unsynced(from: &Path, to: &Path, access: Access) -> Result<(), WriteError> {
    persist(copy(from, to, access)?, to)
}

fn copy(from: &Path, to: &Path, access: Access) -> Result<tempfile::NamedTempFile, WriteError> {
    let wrap = |source| WriteError::new(to, source);
    let size = std::fs::metadata(from).map_err(wrap)?.len();
    let mut file = temporary_beside(to, access).map_err(wrap)?;
    disk::before(DiskStep::Write(file.path(), size)).map_err(wrap)?;
    if let Some(shared) = share(from, file.path()) {
        return Ok(shared);
    }
    let mut source = File::open(from).map_err(wrap)?;
    io::copy(&mut source, file.as_file_mut()).map_err(wrap)?;
    Ok(file)
}

/// A file that shares the content of `from`, in the place and with the permissions of an empty one; `None` where that cannot be done.
fn share(from: &Path, empty: &Path) -> Option<tempfile::NamedTempFile> {
    let permissions = std::fs::metadata(empty).ok()?.permissions();
    let path = empty.with_extension("shared.part");
    reflink_copy::reflink(from, &path).ok()?;
    // From here on it is removed unless it gets its name.
    let path = tempfile::TempPath::try_from_path(&path).ok()?;
    let file = File::options().read(true).write(true).open(&path).ok()?;
    file.set_permissions(permissions).ok()?;
    Some(tempfile::NamedTempFile::from_parts(file, path))
}

/// Makes the names in a folder durable. Not every file system can sync a folder, and none needs it to be consistent.
pub fn sync_folder(folder: &Path) {
    if disk::before(DiskStep::SyncFolder(folder)).is_err() {
        return;
    }
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
    fn a_plain_file_is_written_where_there_was_none_and_replaces_what_there_was() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/a.json");
        for text in ["first, and longer", "second"] {
            put_unsynced(&target, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), text);
        }
        assert_eq!(
            std::fs::read_dir(dir.path().join("deep")).unwrap().count(),
            1
        );
    }

    #[test]
    #[cfg(unix)]
    fn a_plain_file_is_never_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, target) = (dir.path().join("precious"), dir.path().join("a.json"));
        std::fs::write(&precious, "mine").unwrap();
        std::os::unix::fs::symlink(&precious, &target).unwrap();
        put_unsynced(&target, b"record").unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"mine");
        assert_eq!(std::fs::read(&target).unwrap(), b"record");
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(AtomicFile::create(&dir.path().join("a.bin")).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
