//! A file that is read in places, each of them bounded.

use std::io::{self, Read, Seek, SeekFrom};

/// The longest text that is taken for a workflow, in bytes.
pub(super) const MOST: u64 = 32 << 20;

/// Chunks, boxes and tags that are looked at before a file counts as senseless.
pub(super) const STEPS: usize = 200_000;

/// Bytes that are read of a file in all: tables may name one place again and again.
const MOST_READ: u64 = 8 * MOST;

/// Anything that can be read in places.
pub(super) trait Readable: Read + Seek {}
impl<T: Read + Seek> Readable for T {}

/// A file, its length, and what it may still cost.
pub(super) struct Source<'a> {
    file: &'a mut dyn Readable,
    /// How long it is.
    pub(super) length: u64,
    steps: usize,
    read: u64,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a mut dyn Readable) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            length,
            steps: 0,
            read: 0,
        })
    }

    /// The first bytes, fewer where the file has fewer.
    pub(super) fn head(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let count = count.min(usize::try_from(self.length).unwrap_or(count));
        self.bytes(0, count as u64)
    }

    /// Bytes of a place.
    ///
    /// # Errors
    /// When the file ends before, they are too many, or too many places were read.
    pub(super) fn bytes(&mut self, at: u64, count: u64) -> io::Result<Vec<u8>> {
        self.steps += 1;
        let end = at.checked_add(count);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read = self.read.saturating_add(count);
        if count > MOST || self.steps > STEPS || self.read > MOST_READ {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of a place, as many as an array has.
    pub(super) fn array<const N: usize>(&mut self, at: u64) -> io::Result<[u8; N]> {
        let bytes = self.bytes(at, N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        Ok(array)
    }
}

/// A number of two bytes, the bigger first.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// A number of four bytes, the bigger first.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A number of four bytes, the smaller first.
pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    be32(bytes, at).map(u32::swap_bytes)
}
