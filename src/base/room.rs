//! How much room a disk has.

use std::io;
use std::path::Path;

use super::atomic::WriteError;

/// Bytes that may still be written in a folder, or in the nearest one above it that is there; `None` where the system does not tell.
#[cfg(unix)]
pub fn free_space(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|path| path.is_dir());
    let found = rustix::fs::statvfs(there.unwrap_or(Path::new("."))).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes that may still be written in a folder, or in the nearest one above it that is there; `None` where the system does not tell.
#[cfg(not(unix))]
pub fn free_space(_folder: &Path) -> Option<u64> {
    None
}

/// Refuses a file that cannot fit, before a byte of it is written.
///
/// # Errors
/// When the disk of `target` has less room than that.
pub fn ensure_room(target: &Path, size: u64) -> Result<(), WriteError> {
    let folder = target.parent().unwrap_or(target);
    match free_space(folder).filter(|free| *free < size) {
        None => Ok(()),
        Some(free) => {
            let mb = |bytes: u64| bytes / 1_000_000;
            let reason = format!(
                "it takes {} MB, and the disk has {} MB left",
                mb(size),
                mb(free)
            );
            let source = io::Error::new(io::ErrorKind::StorageFull, reason);
            Err(WriteError::new(target, source))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_says_how_much_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("not/there/yet/a.mp4");
        ensure_room(&target, 10).unwrap();
        let error = ensure_room(&target, 1 << 60).unwrap_err();
        assert!(error.is_full());
        let text = error.to_string();
        assert!(
            text.contains("a.mp4`: it takes 1152921504606 MB, and the disk has "),
            "{text}"
        );
        assert!(!dir.path().join("not").exists());
    }
}
