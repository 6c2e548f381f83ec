//! Tags of `WebM` and Matroska films.

use std::io;

use super::carried::Texts;
use super::source::Source;

/// Elements that hold others on the way to a tag.
const HOLDERS: [u64; 4] = [SEGMENT, 0x1254_C367, 0x7373, SIMPLE];
const SEGMENT: u64 = 0x1853_8067;
/// Clusters of a stream that was written live have no length: what is in them is walked over.
const CLUSTER: u64 = 0x1F43_B675;
const SIMPLE: u64 = 0x67C8;
const NAME: u64 = 0x45A3;
const STRING: u64 = 0x4487;

/// Names and texts of all tags.
pub(super) fn tags(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let mut at = 0;
    let mut name = None;
    while at < source.length {
        let (id, id_length) = number(source, at, true)?;
        let (length, length_length) = number(source, at + id_length, false)?;
        let body = at + id_length + length_length;
        let unknown = length == (1 << (7 * length_length)) - 1;
        let is_holder = HOLDERS.contains(&id);
        if id == SIMPLE {
            name = None;
        }
        if is_holder || unknown && id == CLUSTER {
            at = body;
            continue;
        }
        if unknown {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if id == NAME {
            let bytes = source.bytes(body, length)?;
            name = Some(String::from_utf8_lossy(&bytes).into_owned());
        } else if id == STRING
            && let Some(name) = &name
        {
            let bytes = source.bytes(body, length)?;
            texts.add_bytes(name, &bytes);
        }
        at = body.checked_add(length).ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(())
}

/// A number whose first byte tells how many there are; an id keeps that mark.
fn number(source: &mut Source<'_>, at: u64, keep: bool) -> io::Result<(u64, u64)> {
    let first = source.array::<1>(at)?[0];
    let length = u64::from(first.leading_zeros()) + 1;
    if length > 8 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bytes = source.bytes(at, length)?;
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate() {
        let byte = if place == 0 && !keep {
            let mask = 0xff_u16 >> length;
            u64::from(u16::from(*byte) & mask)
        } else {
            u64::from(*byte)
        };
        value = value << 8 | byte;
    }
    Ok((value, length))
}
