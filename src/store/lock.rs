//! One kiln per output set at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::error::{Holder, StoreError};
use crate::base::{ContentHash, RunId};

/// A lock; released when it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    holder: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // In this order: as long as the note is there, the lock is ours.
        let _ = std::fs::remove_file(&self.holder);
        let _ = self.file.unlock();
    }
}

pub(super) fn take(folder: &Path, output_set: &Path, run: &RunId) -> Result<Lock, StoreError> {
    std::fs::create_dir_all(folder).map_err(|error| StoreError::io(folder, error))?;
    let name = &ContentHash::of(output_set.as_os_str().as_encoded_bytes()).to_hex()[..16];
    let path = folder.join(format!("{name}.lock"));
    // The note stands beside the lock, since some systems let nobody read a locked file.
    let holder = folder.join(format!("{name}.json"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| StoreError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Locked {
                output_set: output_set.to_path_buf(),
                holder: read_holder(&holder),
            });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io(&path, error)),
    }
    let note = Holder {
        run: Some(run.clone()),
        pid: std::process::id(),
        host: host(),
    };
    let text = serde_json::to_string(&note).unwrap_or_default();
    std::fs::write(&holder, text).map_err(|error| StoreError::io(&holder, error))?;
    Ok(Lock { file, holder })
}

fn read_holder(path: &Path) -> Holder {
    std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Holder {
            run: None,
            pid: 0,
            host: String::new(),
        })
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "this machine".to_owned())
}
