//! BLAKE3 over content: what kiln compares instead of paths, hosts and times.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The BLAKE3 hash (32 bytes) of some content; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of a slice.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// The hash and the length of a file, read in one pass.
    ///
    /// # Errors
    /// Whatever opening or reading the file answers.
    pub fn of_file(path: &Path) -> io::Result<(Self, u64)> {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&buffer[..read]);
        }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of these 32 bytes, which were one before.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// All 64 hex digits.
    pub fn to_hex(self) -> String {
        self.with_hex(str::to_owned)
    }

    /// Hands over all 64 hex digits without keeping them.
    pub fn with_hex<T>(&self, take: impl FnOnce(&str) -> T) -> T {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        take(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_hex(|hex| f.write_str(hex))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({})", &self.to_hex()[..12])
    }
}

impl FromStr for ContentHash {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() == 64 {
            // Digits come in no order that a processor could guess: each is looked up, and what is wrong shows in the end.
            let mut seen = 0;
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
                seen |= high | low;
                *byte = high << 4 | low & 15;
            }
            if seen < 16 {
                return Ok(Self(bytes));
            }
        }
        Ok(Self(blake3::Hash::from_hex(text)?.into()))
    }
}

/// The value of each byte that is a hex digit; more than 15 for the others.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut digit: u8 = 0;
    while digit < 16 {
        if digit < 10 {
            values[(b'0' + digit) as usize] = digit;
        } else {
            values[(b'a' + digit - 10) as usize] = digit;
            values[(b'A' + digit - 10) as usize] = digit;
        }
        digit += 1;
    }
    values
};

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_hex(|hex| serializer.serialize_str(hex))
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Digits)
    }
}

/// Reads a hash from a text that nobody need keep.
struct Digits;

impl serde::de::Visitor<'_> for Digits {
    type Value = ContentHash;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 hex digits")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ContentHash, E> {
        text.parse().map_err(E::custom)
    }
}

/// Hashes a stream piece by piece and counts its bytes.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    inner: blake3::Hasher,
    length: u64,
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// The hash of all pieces and their total length in bytes.
    pub fn finish(&self) -> (ContentHash, u64) {
        (ContentHash(self.inner.finalize().into()), self.length)
    }
}
