//! What the rest of kiln may ask of whatever keeps content.

use std::fmt;
use std::path::Path;

use super::error::BlobError;
use crate::base::ContentHash;

/// What was found of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is there and whole.
    Whole,
    /// There is none.
    Missing,
    /// It was not what its hash says, and is out of the way now.
    Damaged(BlobError),
}

/// What was found of a result in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It is what it was.
    Intact,
    /// It was gone, and is there again.
    Restored,
    /// Somebody made something else of it.
    Changed,
}

/// Keeps content by its hash. Every call may take long and blocks: none belongs on a dispatcher.
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Keeps the content of a file that was found to have this hash and size when it was written. Content that is there already is not
    /// written again.
    ///
    /// # Errors
    /// When the file is not what it was any more, or there is no room.
    fn put(&self, from: &Path, hash: &ContentHash, size: u64) -> Result<(), BlobError>;

    /// Puts the content at `to`, whole or not at all, replacing what stood there, as a file of the user's own.
    ///
    /// # Errors
    /// When there is no whole blob of this hash, or `to` cannot be written.
    fn materialise(&self, hash: &ContentHash, to: &Path) -> Result<(), BlobError>;

    /// Looks whether blobs are there and whole, in the order asked.
    fn check(&self, hashes: &[ContentHash]) -> Vec<Held>;

    /// Sees to it that a result is still where it was put: one that is gone is put there again. One that somebody changed is left alone.
    ///
    /// # Errors
    /// When it is gone and cannot be put there again.
    fn ensure(&self, hash: &ContentHash, at: &Path) -> Result<Ensured, BlobError> {
        match ContentHash::of_file(at) {
            Ok((found, _)) if found == *hash => Ok(Ensured::Intact),
            Ok(_) => Ok(Ensured::Changed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.materialise(hash, at).map(|()| Ensured::Restored)
            }
            Err(error) => Err(BlobError::unreadable(at, &error)),
        }
    }

    /// Whether a blob is there and whole.
    fn verify(&self, hash: &ContentHash) -> bool {
        matches!(self.check(&[*hash])[..], [Held::Whole])
    }
}
