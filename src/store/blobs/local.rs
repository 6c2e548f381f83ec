//! Blobs in a folder: `ab/abcd…`, one file per content.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{OptionalExtension, params};

use super::error::BlobError;
use super::stamp::{Boot, Stamp};
use super::{Blobs, Held};
use crate::base::{Access, AtomicFile, ContentHash, WriteError, copy_file, copy_file_unsynced};
use crate::store::reader::Reader;
use crate::store::writer::Writer;

/// Up to this size a file is read and written, and its hash proven on the way; above, its content is shared or copied by the system.
const SMALL: u64 = 256 * 1024;

/// After so many questions to the database, all stamps are read at once.
const MANY: u32 = 64;

/// Blobs in a folder of this machine.
#[derive(Debug)]
pub struct LocalBlobs {
    folder: PathBuf,
    quarantine: PathBuf,
    reader: Arc<Reader>,
    writer: Arc<Writer>,
    known: Mutex<Known>,
    boot: Option<Boot>,
}

/// Stamps at hand.
#[derive(Debug, Default)]
struct Known {
    /// Those that this process made, which the database may not have yet; once many were asked for, all that were in the database then.
    /// What another process adds later is found out by reading the blob.
    stamps: HashMap<ContentHash, Stamp>,
    has_all: bool,
    asked: u32,
}

impl LocalBlobs {
    pub(in crate::store) fn new(
        folder: PathBuf,
        quarantine: PathBuf,
        reader: Arc<Reader>,
        writer: Arc<Writer>,
        boot: Option<Boot>,
    ) -> Self {
        Self {
            folder,
            quarantine,
            reader,
            writer,
            known: Mutex::default(),
            boot,
        }
    }

    /// Where the content of a hash lies, or would.
    pub fn path(&self, hash: &ContentHash) -> PathBuf {
        path_in(&self.folder, hash)
    }

    fn stamp(&self, hash: &ContentHash) -> Option<Stamp> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamp) = known.stamps.get(hash) {
            return Some(stamp.clone());
        }
        if known.has_all {
            return None;
        }
        // Whoever asks for many is better served with all.
        known.asked += 1;
        if known.asked >= MANY {
            for (hash, stamp) in self.all_stamps() {
                known.stamps.entry(hash).or_insert(stamp);
            }
            known.has_all = true;
            return known.stamps.get(hash).cloned();
        }
        drop(known);
        // A database that cannot be read proves nothing.
        self.reader
            .query(|connection| {
                let sql = "SELECT hash, size, mtime, inode, boot FROM blobs WHERE hash = ?1";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_row([hash.as_bytes()], stamped).optional()
            })
            .ok()
            .flatten()
            .map(|(_, stamp)| stamp)
    }

    fn all_stamps(&self) -> Vec<(ContentHash, Stamp)> {
        let sql = "SELECT hash, size, mtime, inode, boot FROM blobs";
        self.reader.all(sql, [], stamped).unwrap_or_default()
    }

    /// Remembers that the content is right now.
    fn attest(&self, hash: &ContentHash, path: &Path) {
        let Ok(metadata) = std::fs::metadata(path) else {
            return;
        };
        // Where a start of the system has no name, all content is synced.
        let boot = self.boot.clone().unwrap_or_else(Boot::durable);
        let (hash, stamp) = (*hash, Stamp::of(&metadata, boot));
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stamps
            .insert(hash, stamp.clone());
        self.writer.note(Box::new(move |transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO blobs (hash, size, mtime, inode, boot) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    hash.as_bytes(),
                    stamp.size,
                    stamp.mtime,
                    stamp.inode,
                    stamp.boot.0
                ])
                .map(drop)
        }));
    }

    /// Looks whether a blob is whole, quickly if its stamp holds.
    fn look(&self, hash: &ContentHash) -> Held {
        let path = self.path(hash);
        let Ok(metadata) = std::fs::metadata(&path) else {
            return Held::Missing;
        };
        let stamp = self.stamp(hash);
        if stamp.is_some_and(|stamp| stamp.proves(&metadata, self.boot.as_ref())) {
            return Held::Whole;
        }
        match ContentHash::of_file(&path) {
            Ok((found, _)) if found == *hash => {
                self.attest(hash, &path);
                Held::Whole
            }
            Ok(_) => Held::Damaged(self.quarantine(hash)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Held::Missing,
            // Half a disk is no reason to throw away what may be right.
            Err(error) => Held::Damaged(BlobError::unreadable(&path, &error)),
        }
    }

    /// Moves a blob out of the way.
    fn quarantine(&self, hash: &ContentHash) -> BlobError {
        let name = hash.to_hex();
        let mut moved = self.quarantine.join(&name);
        let mut next = 2;
        while moved.exists() {
            moved = self.quarantine.join(format!("{name}-{next}"));
            next += 1;
        }
        let path = self.path(hash);
        let done =
            std::fs::create_dir_all(&self.quarantine).and_then(|()| std::fs::rename(&path, &moved));
        if done.is_err() {
            // It must not be found again as what it is not.
            let _ = std::fs::remove_file(&path);
        }
        BlobError::Damaged { hash: *hash, moved }
    }

    fn put_small(&self, from: &Path, hash: &ContentHash) -> Result<(), BlobError> {
        let mut bytes = Vec::new();
        std::fs::File::open(from)
            .and_then(|file| file.take(SMALL + 1).read_to_end(&mut bytes))
            .map_err(|error| BlobError::unreadable(from, &error))?;
        let path = self.path(hash);
        let mut blob = AtomicFile::create_with(&path, Access::ReadOnly)?;
        blob.write(&bytes)?;
        if blob.hash() != *hash {
            return Err(BlobError::Changed {
                path: from.to_path_buf(),
            });
        }
        self.commit(blob)?;
        self.attest(hash, &path);
        Ok(())
    }

    fn commit(&self, file: AtomicFile) -> Result<(), WriteError> {
        // Where a power cut cannot be noticed afterwards, its harm must be prevented.
        match self.boot {
            Some(_) => file.commit_unsynced(),
            None => file.commit(),
        }
        .map(drop)
    }
}

fn path_in(folder: &Path, hash: &ContentHash) -> PathBuf {
    folder.join(place_of(hash))
}

/// Where the content of a hash lies in its folder.
pub(in crate::store) fn place_of(hash: &ContentHash) -> String {
    hash.with_hex(|name| format!("{}/{name}", &name[..2]))
}

fn stamped(row: &rusqlite::Row<'_>) -> rusqlite::Result<(ContentHash, Stamp)> {
    let stamp = Stamp {
        size: row.get(1)?,
        mtime: row.get(2)?,
        inode: row.get(3)?,
        boot: Boot(row.get(4)?),
    };
    Ok((ContentHash::from_bytes(row.get(0)?), stamp))
}

impl Blobs for LocalBlobs {
    fn put(&self, from: &Path, hash: &ContentHash, size: u64) -> Result<(), BlobError> {
        let path = self.path(hash);
        if let Ok(there) = std::fs::metadata(&path)
            && let Some(stamp) = self.stamp(hash)
            && stamp.proves(&there, self.boot.as_ref())
        {
            return Ok(());
        }
        if size <= SMALL {
            return self.put_small(from, hash);
        }
        let found = std::fs::metadata(from).map_err(|error| BlobError::unreadable(from, &error))?;
        if found.len() != size {
            return Err(BlobError::Changed {
                path: from.to_path_buf(),
            });
        }
        // Its first use reads it all: until then nothing says that nobody wrote to the file meanwhile.
        match self.boot {
            Some(_) => copy_file_unsynced(from, &path, Access::ReadOnly)?,
            None => copy_file(from, &path, Access::ReadOnly)?,
        }
        Ok(())
    }

    fn materialise(&self, hash: &ContentHash, to: &Path) -> Result<(), BlobError> {
        match self.look(hash) {
            Held::Whole => {}
            Held::Missing => return Err(BlobError::Missing { hash: *hash }),
            Held::Damaged(error) => return Err(error),
        }
        let path = self.path(hash);
        copy_file(&path, to, Access::Usual)?;
        Ok(())
    }

    fn check(&self, hashes: &[ContentHash]) -> Vec<Held> {
        hashes.iter().map(|hash| self.look(hash)).collect()
    }
}
