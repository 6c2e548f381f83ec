//! Whether files were left alone while a program may have read them.
//!
//! That a file is the same afterwards is not enough: one that is written over with what it held was cut short for a moment, and who read it
//! then read something else. So the system's word counts here: when it was written, how long it is, which file it is.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How files were before the program started.
#[derive(Debug, Default)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    written: Option<SystemTime>,
    size: u64,
    file: u64,
}

impl Stamps {
    /// To be taken before the file is proven to be the one that is meant.
    pub(super) fn take(&mut self, path: &Path) {
        self.0.push((path.to_path_buf(), Stamp::of(path)));
    }

    /// The program is given another file in its place.
    pub(super) fn leave(&mut self, path: &Path) {
        self.0.retain(|(known, _)| known != path);
    }

    /// A file that was written to since, or replaced.
    pub(super) fn broken(&self) -> Option<&Path> {
        let mut stamps = self.0.iter();
        let broken = stamps.find(|(path, stamp)| Stamp::of(path) != *stamp);
        broken.map(|(path, _)| path.as_path())
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = path.metadata().ok()?;
        Some(Self {
            written: found.modified().ok(),
            size: found.len(),
            file: number(&found),
        })
    }
}

#[cfg(unix)]
fn number(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn number(_found: &Metadata) -> u64 {
    0
}
