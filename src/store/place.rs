//! Where a project's state lies.
//!
//! Everything is in `.kiln/` inside the project, but for one case: a database and its locks do not work on a network file system. There
//! they move to the user's own state directory, and `.kiln/state.txt` says where. `KILN_STATE_DIR` moves them in any case. Blobs stay in
//! the project: they are plain files, and sharing content with the outputs needs the same file system.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::blobs;
use super::error::StoreError;
use super::lock::host;
use crate::base::{ContentHash, Nearby, safe_name};

/// The folder of kiln's state inside a project.
pub const STATE_FOLDER: &str = ".kiln";

/// The folder of results by content, for glances that prove nothing about it.
#[derive(Debug)]
pub struct Shelf(Nearby);

impl Shelf {
    /// Whether there is a blob of this hash and size.
    pub fn holds(&self, hash: &ContentHash, size: u64) -> bool {
        let found = self.0.look(Path::new(&blobs::place_of(hash)));
        found.is_some_and(|found| found.size == size)
    }
}

/// Where the parts of a project's state lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `.kiln` in the project.
    pub folder: PathBuf,
    /// The folder of the database and the locks: the same one, or one in the user's state directory.
    pub state: PathBuf,
}

impl Place {
    /// Where the state of a project lies. Nothing is made.
    pub fn of(project: &Path) -> Self {
        Self::choose(project, &|name| std::env::var_os(name), &is_network)
    }

    fn choose(
        project: &Path,
        env: &dyn Fn(&str) -> Option<OsString>,
        is_network: &dyn Fn(&Path) -> bool,
    ) -> Self {
        let folder = project.join(STATE_FOLDER);
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let base = match set("KILN_STATE_DIR") {
            Some(dir) => Some(PathBuf::from(dir)),
            None if is_network(&folder) => user_state(&set),
            None => None,
        };
        let state = match base {
            Some(base) => base.join(name_of(project)),
            None => folder.clone(),
        };
        Self { folder, state }
    }

    pub(super) fn database(&self) -> PathBuf {
        self.state.join("kiln.db")
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// Results by content.
    pub fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// The results by content, to be glanced at.
    pub fn shelf(&self) -> Shelf {
        Shelf(Nearby::new(self.blobs()))
    }

    /// Blobs that were found damaged.
    pub fn quarantine(&self) -> PathBuf {
        self.folder.join("quarantine")
    }

    /// Whether the database is not in the project.
    pub fn is_elsewhere(&self) -> bool {
        self.state != self.folder
    }

    /// Makes the folders, keeps them out of git, and leaves word of a database that is elsewhere.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        let ignore = self.folder.join(".gitignore");
        if !ignore.exists() {
            make(&self.folder)?;
            write(&ignore, "*\n")?;
        }
        if self.is_elsewhere() {
            make(&self.state)?;
            let note = self.folder.join("state.txt");
            let line = format!("{}: {}\n", host(), self.state.display());
            let known = std::fs::read_to_string(&note).unwrap_or_default();
            if !known.lines().any(|known| known == line.trim_end()) {
                write(&note, &format!("{known}{line}"))?;
            }
        }
        Ok(())
    }
}

fn make(folder: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(folder).map_err(|error| StoreError::io(folder, error))
}

fn write(path: &Path, text: &str) -> Result<(), StoreError> {
    std::fs::write(path, text).map_err(|error| StoreError::io(path, error))
}

/// The project's name for people, and enough of its path's hash to tell it from others of that name.
fn name_of(project: &Path) -> String {
    let path = std::fs::canonicalize(project).unwrap_or_else(|_| project.to_path_buf());
    let hash = ContentHash::of(path.as_os_str().as_encoded_bytes()).to_hex();
    let name = path
        .file_name()
        .map_or_else(|| "project".into(), |name| name.to_string_lossy());
    format!("{}-{}", safe_name(&name), &hash[..16])
}

/// The user's directory for state, by the customs of the system; `None` when there is no home.
fn user_state(set: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = || set("HOME").map(PathBuf::from);
    if cfg!(windows) {
        return set("LOCALAPPDATA").map(|dir| PathBuf::from(dir).join("kiln"));
    }
    if cfg!(target_os = "macos") {
        return home().map(|home| home.join("Library/Application Support/kiln"));
    }
    set("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| home().map(|home| home.join(".local/state")))
        .map(|dir| dir.join("kiln"))
}

/// Whether a folder lies, or would lie, on a network file system.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn is_network(folder: &Path) -> bool {
    // `man 2 statfs`: NFS, SMB, CIFS, SMB2, 9P, AFS, Coda, NCP, Ceph; FUSE hides what is behind it.
    const NETWORK: &[u32] = &[
        0x6969,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x0102_1997,
        0x5346_414F,
        0x7375_7245,
        0x564C,
        0x00C3_6400,
    ];
    const FUSE: u32 = 0x6573_5546;
    let there = folder.ancestors().find(|path| path.exists());
    let Some((there, found)) = there.and_then(|path| Some((path, rustix::fs::statfs(path).ok()?)))
    else {
        return false;
    };
    // Magic numbers have 32 bits; the field is wider or signed on some machines.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the upper half is not used, or repeats the sign"
    )]
    let magic = found.f_type as u32;
    NETWORK.contains(&magic) || magic == FUSE && is_remote_fuse(there)
}

/// FUSE stands in front of disks (`ntfs-3g`) and of networks (`sshfs`): the table of mounts tells which.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_remote_fuse(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    fuse_kind(&mounts, &path).is_some_and(|kind| {
        [
            "sshfs",
            "rclone",
            "s3fs",
            "gcsfuse",
            "davfs",
            "glusterfs",
            "cifs",
            "nfs",
            "juicefs",
        ]
        .iter()
        .any(|network| kind.contains(network))
    })
}

/// The file system type of the innermost mount that holds a path.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn fuse_kind<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?.replace("\\040", " ");
            let kind = fields.next()?;
            path.starts_with(&point).then_some((point.len(), kind))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

#[cfg(target_os = "macos")]
pub fn is_network(folder: &Path) -> bool {
    let there = folder.ancestors().find(|path| path.exists());
    let Some(found) = there.and_then(|path| rustix::fs::statfs(path).ok()) else {
        return false;
    };
    let name: String = found
        .f_fstypename
        .iter()
        .take_while(|c| **c != 0)
        .map(|c| char::from(c.cast_unsigned()))
        .collect();
    [
        "nfs", "smbfs", "afpfs", "webdav", "ftp", "macfuse", "osxfuse",
    ]
    .iter()
    .any(|network| name.starts_with(network))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
pub fn is_network(folder: &Path) -> bool {
    // `\\server\share`; a mapped drive letter cannot be told without asking the system.
    folder.as_os_str().to_string_lossy().starts_with("\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn the_database_lies_in_the_project_unless_that_is_on_a_network() {
        let project = Path::new("/work of/shots");
        let home = env(&[("HOME", "/home/ada")]);
        let local = Place::choose(project, &home, &|_| false);
        assert_eq!(local.database(), project.join(".kiln/kiln.db"));
        assert!(!local.is_elsewhere());

        let remote = Place::choose(project, &home, &|_| true);
        assert!(remote.is_elsewhere());
        assert_eq!(remote.blobs(), project.join(".kiln/blobs"));
        if cfg!(target_os = "linux") {
            let parent = remote.state.parent().unwrap();
            assert_eq!(parent, Path::new("/home/ada/.local/state/kiln"));
        }
        let name = remote.state.file_name().unwrap().to_string_lossy();
        assert!(name.starts_with("shots-"), "{name}");
        let other = Place::choose(Path::new("/elsewhere/shots"), &home, &|_| true);
        assert_ne!(other.state, remote.state);
    }

    #[test]
    fn a_set_state_directory_wins_everywhere() {
        let set = env(&[("KILN_STATE_DIR", "/var/kiln"), ("HOME", "/home/ada")]);
        for network in [false, true] {
            let place = Place::choose(Path::new("/p"), &set, &|_| network);
            assert_eq!(place.state.parent().unwrap(), Path::new("/var/kiln"));
        }
        let empty = env(&[("KILN_STATE_DIR", "")]);
        assert!(!Place::choose(Path::new("/p"), &empty, &|_| false).is_elsewhere());
    }

    #[test]
    fn the_project_says_where_its_state_is() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place {
            folder: dir.path().join(".kiln"),
            state: dir.path().join("elsewhere/p-1"),
        };
        place.prepare().unwrap();
        place.prepare().unwrap();
        let note = std::fs::read_to_string(dir.path().join(".kiln/state.txt")).unwrap();
        assert_eq!(note.lines().count(), 1, "{note}");
        assert!(note.contains("elsewhere/p-1"), "{note}");
        assert!(place.state.is_dir());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_innermost_mount_tells_what_is_behind_fuse() {
        let mounts = "/dev/sda / ext4 rw 0 0\nhost:/x /mnt/far\\040away fuse.sshfs rw 0 0\n";
        let at = |path| fuse_kind(mounts, Path::new(path));
        assert_eq!(at("/mnt/far away/p"), Some("fuse.sshfs"));
        assert_eq!(at("/mnt/near"), Some("ext4"));
    }
}
