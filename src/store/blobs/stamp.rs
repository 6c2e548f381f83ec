//! The quick proof that a file is what it was.

use std::fs::Metadata;

/// What a file looked like when its content was known to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    pub(in crate::store) size: i64,
    /// Nanoseconds since 1970.
    pub(in crate::store) mtime: i64,
    /// 0 where files have no number.
    pub(in crate::store) inode: i64,
    /// Until when the stamp proves anything.
    pub(in crate::store) boot: Boot,
}

/// Content that was not synced is safe from everything but a power cut: its stamp proves something until the system starts anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Boot(pub(in crate::store) String);

impl Boot {
    /// For content that is known to be on the disk.
    pub(in crate::store) fn durable() -> Self {
        Self(String::new())
    }

    /// This start of the system; `None` where it has no name.
    pub(in crate::store) fn current() -> Option<Self> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self(id.trim().to_owned())).filter(|boot| !boot.0.is_empty())
    }
}

impl Stamp {
    pub(in crate::store) fn of(metadata: &Metadata, boot: Boot) -> Self {
        let since = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Self {
            size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
            mtime: since.map_or(0, |since| {
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            }),
            inode: inode(metadata),
            boot,
        }
    }

    /// Whether the file still looks so, and whether that proves anything now.
    pub(in crate::store) fn proves(&self, metadata: &Metadata, now: Option<&Boot>) -> bool {
        let trusted = self.boot == Boot::durable() || Some(&self.boot) == now;
        trusted && *self == Self::of(metadata, self.boot.clone())
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> i64 {
    use std::os::unix::fs::MetadataExt;
    metadata.ino().cast_signed()
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> i64 {
    0
}
