//! Looking at many files of one folder.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What a file looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Bytes.
    pub size: u64,
    /// When it was written last, nanoseconds since 1970; `None` where the system does not tell, or tells of a time before that.
    pub modified: Option<u64>,
}

impl Looks {
    /// What a file looks like now, links followed; `None` when there is none.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::told(&found))
    }

    fn told(found: &Metadata) -> Self {
        let modified = found.modified().ok();
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            size: found.len(),
            modified: since.and_then(|since| u64::try_from(since.as_nanos()).ok()),
        }
    }
}

/// A folder of which very many files are looked at. The way to it is walked once, where the system can begin the next ones there: with
/// as many files as tasks, walking takes longer than looking.
#[derive(Debug)]
pub struct Nearby {
    folder: PathBuf,
    #[cfg(unix)]
    handle: Option<std::os::fd::OwnedFd>,
}

impl Nearby {
    /// A folder, which need not be there.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            #[cfg(unix)]
            handle: handle(&folder),
            folder,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What a file looks like now, links followed; `None` when there is none. A relative path starts from the folder; one outside of it
    /// is looked at all the same.
    pub fn look(&self, path: &Path) -> Option<Looks> {
        #[cfg(unix)]
        if let (Some(handle), Some(inside)) = (&self.handle, inside(&self.folder, path)) {
            let found = rustix::fs::statat(handle, inside, rustix::fs::AtFlags::empty()).ok()?;
            return Some(seen(&found));
        }
        Looks::of(&self.folder.join(path))
    }
}

#[cfg(unix)]
fn handle(folder: &Path) -> Option<std::os::fd::OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    rustix::fs::open(folder, flags, Mode::empty()).ok()
}

/// A path as it is told from the folder, when it lies in it. Only paths that begin with the same bytes do, which is all that is needed.
#[cfg(unix)]
fn inside<'a>(folder: &Path, path: &'a Path) -> Option<&'a Path> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let rest = match bytes.first() {
        Some(b'/') => bytes
            .strip_prefix(folder.as_os_str().as_bytes())?
            .strip_prefix(b"/")?,
        _ => bytes,
    };
    let inside = !rest.is_empty() && rest[0] != b'/';
    inside.then(|| Path::new(std::ffi::OsStr::from_bytes(rest)))
}

#[cfg(unix)]
fn seen(found: &rustix::fs::Stat) -> Looks {
    // The widths of these numbers differ between systems.
    let seconds = number(found.st_mtime).and_then(|s| s.checked_mul(1_000_000_000));
    let modified = seconds.zip(number(found.st_mtime_nsec));
    Looks {
        size: number(found.st_size).unwrap_or_default(),
        modified: modified.and_then(|(seconds, rest)| seconds.checked_add(rest)),
    }
}

#[cfg(unix)]
fn number(number: impl TryInto<u64>) -> Option<u64> {
    number.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_looks_the_same_from_near_and_from_afar() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("deep");
        std::fs::create_dir(&deep).unwrap();
        let (here, there) = (deep.join("a.png"), dir.path().join("b.png"));
        std::fs::write(&here, "pixels").unwrap();
        std::fs::write(&there, "more pixels").unwrap();
        let near = Nearby::new(deep.clone());
        let looks = near.look(&here).unwrap();
        assert_eq!(looks.size, 6);
        assert!(looks.modified.is_some());
        assert_eq!(Some(looks), Looks::of(&here));
        assert_eq!(near.look(Path::new("a.png")), Some(looks));
        assert_eq!(near.look(&there), Looks::of(&there));
        assert_eq!(near.look(&dir.path().join("deeper.png")), None);
        std::fs::remove_file(&here).unwrap();
        assert_eq!(near.look(&here), None);
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing_until_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("later");
        let near = Nearby::new(folder.clone());
        assert_eq!(near.look(Path::new("a")), None);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a"), "1").unwrap();
        assert_eq!(near.look(Path::new("a")).map(|looks| looks.size), Some(1));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "pixels").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let near = Nearby::new(dir.path().to_path_buf());
        assert_eq!(near.look(&dir.path().join("link")).unwrap().size, 6);
    }
}
