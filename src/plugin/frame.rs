//! Messages between kiln and the process of a plugin: a length, a kind, and what belongs to it.

use std::io::{self, Read, Write};

/// The largest message, bytes: a preview frame of a large picture.
const LARGEST: usize = 256 << 20;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// To the child: the path of the library.
    Open = 1,
    /// To the child: the settings to make the instance with.
    Create = 2,
    /// To the child: an event.
    Event = 3,
    /// To the child: a preview; first the length of its description, then that, then the picture.
    Preview = 4,
    /// To the child: a number, the hook's name and a zero, the request.
    Call = 5,
    /// To the child: the number of a call that nobody waits for any more.
    Cancel = 6,
    /// To the child: the end.
    End = 7,
    /// From the child: what was asked for.
    Answer = 101,
    /// From the child: a fault, as JSON.
    Fault = 102,
    /// From the child: a level and a line.
    Log = 103,
    /// From the child: a number, a fraction and a note.
    Progress = 104,
    /// From the child: a number and an artifact, as JSON.
    Artifact = 105,
}

const TAGS: [Tag; 12] = [
    Tag::Open,
    Tag::Create,
    Tag::Event,
    Tag::Preview,
    Tag::Call,
    Tag::Cancel,
    Tag::End,
    Tag::Answer,
    Tag::Fault,
    Tag::Log,
    Tag::Progress,
    Tag::Artifact,
];

/// Writes one message.
pub(super) fn write(out: &mut impl Write, tag: Tag, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut head = [0; 5];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4] = tag as u8;
    out.write_all(&head)?;
    for part in parts {
        out.write_all(part)?;
    }
    out.flush()
}

/// Reads one message; `None` at the end of the stream.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<(Tag, Vec<u8>)>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, tag] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let tag = TAGS.iter().find(|known| **known as u8 == tag);
    let Some(tag) = tag.filter(|_| length <= LARGEST) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut bytes = Vec::new();
    let whole = from.take(length as u64).read_to_end(&mut bytes)?;
    if whole < length {
        return Ok(None);
    }
    Ok(Some((*tag, bytes)))
}

/// A number at the beginning, and what follows it.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in_and_half_of_one_is_the_end() {
        let mut bytes = Vec::new();
        write(
            &mut bytes,
            Tag::Call,
            &[&7_u64.to_le_bytes(), b"step\0", b"{}"],
        )
        .unwrap();
        let (tag, body) = read(&mut bytes.as_slice()).unwrap().unwrap();
        assert_eq!(tag, Tag::Call);
        assert_eq!(number(&body), Some((7, &b"step\0{}"[..])));
        for cut in 0..bytes.len() {
            assert!(read(&mut &bytes[..cut]).unwrap().is_none(), "{cut}");
        }
    }

    #[test]
    fn a_message_of_no_known_kind_or_of_absurd_length_is_refused() {
        assert!(read(&mut &[0, 0, 0, 0, 99][..]).is_err());
        assert!(read(&mut &[255, 255, 255, 255, 101][..]).is_err());
    }
}
