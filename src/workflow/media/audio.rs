//! Sounds: Vorbis comments in FLAC and Ogg, ID3 in MP3.

use std::collections::HashMap;
use std::io;

use super::carried::Texts;
use super::source::{MOST, Source, be16, be32, le32};
use super::text::decoded;

/// Comments of a FLAC stream that starts at a place.
pub(super) fn flac(source: &mut Source<'_>, start: u64, texts: &mut Texts) -> io::Result<()> {
    let mut at = start + 4;
    loop {
        let head = be32(&source.array::<4>(at)?, 0).unwrap_or(0);
        let length = u64::from(head & 0x00ff_ffff);
        if (head >> 24) & 0x7f == 4 {
            let data = source.bytes(at + 4, length)?;
            comments(&data, texts);
        }
        if head >> 31 == 1 {
            return Ok(());
        }
        at += 4 + length;
    }
}

/// `NAME=text` entries behind the name of who wrote them.
fn comments(data: &[u8], texts: &mut Texts) -> Option<()> {
    let mut at = 4 + usize::try_from(le32(data, 0)?).ok()?;
    let count = le32(data, at)?;
    at += 4;
    for _ in 0..count.min(10_000) {
        let length = usize::try_from(le32(data, at)?).ok()?;
        let entry = data.get(at + 4..at.checked_add(4)?.checked_add(length)?)?;
        if let Some(end) = entry.iter().position(|byte| *byte == b'=') {
            texts.add_bytes(&String::from_utf8_lossy(&entry[..end]), &entry[end + 1..]);
        }
        at += 4 + length;
    }
    Some(())
}

/// Comments of the streams in an Ogg file: each stream's second packet.
pub(super) fn ogg(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let mut streams: HashMap<u32, (u32, Vec<u8>)> = HashMap::new();
    let mut at = 0;
    let mut held = 0_u64;
    while at + 27 <= source.length {
        let front: [u8; 27] = source.array(at)?;
        if &front[..4] != b"OggS" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let serial = le32(&front, 14).unwrap_or(0);
        let table = source.bytes(at + 27, u64::from(front[26]))?;
        let length: u64 = table.iter().copied().map(u64::from).sum();
        let start = at + 27 + u64::from(front[26]);
        at = start + length;
        if streams.len() > 64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (packets, packet) = streams.entry(serial).or_default();
        if *packets > 1 {
            if streams.values().all(|(packets, _)| *packets > 1) {
                return Ok(());
            }
            continue;
        }
        held += length;
        if held > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let page = source.bytes(start, length)?;
        let mut from = 0;
        for lace in table {
            let to = from + usize::from(lace);
            if *packets == 1 {
                packet.extend_from_slice(&page[from..to]);
            }
            from = to;
            if lace < 255 {
                *packets += 1;
                if *packets == 2 {
                    packet_comments(packet, texts);
                    packet.clear();
                }
            }
        }
    }
    Ok(())
}

fn packet_comments(packet: &[u8], texts: &mut Texts) {
    let marks: [&[u8]; 3] = [b"OpusTags", b"\x03vorbis", b"\x81theora"];
    let data = marks.iter().find_map(|mark| packet.strip_prefix(*mark));
    match data {
        Some(data) => {
            comments(data, texts);
        }
        // FLAC in Ogg: a block with its own head.
        None if packet.first().is_some_and(|kind| kind & 0x7f == 4) => {
            comments(packet.get(4..).unwrap_or_default(), texts);
        }
        None => {}
    }
}

/// User texts of an ID3 tag; a FLAC stream may follow it.
pub(super) fn mp3(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let head: [u8; 10] = source.array(0)?;
    if &head[..3] != b"ID3" {
        return Ok(());
    }
    let (version, flags) = (head[3], head[5]);
    let length = seven(&head[6..10]);
    let mut tag = source.bytes(10, length)?;
    if flags & 0x80 != 0 && version < 4 {
        tag = synchronised(&tag);
    }
    let mut at = 0;
    if flags & 0x40 != 0 {
        at = match version {
            4 => usize::try_from(seven(tag.get(..4).unwrap_or(&[0; 4]))).unwrap_or(0),
            _ => 4 + be32(&tag, 0).map_or(0, |length| length as usize),
        };
    }
    frames(&tag, at, version, texts);
    let after = 10 + length;
    if source.bytes(after, 4).is_ok_and(|mark| mark == b"fLaC") {
        return flac(source, after, texts);
    }
    Ok(())
}

fn frames(tag: &[u8], start: usize, version: u8, texts: &mut Texts) -> Option<()> {
    let mut at = start;
    loop {
        let (name, length, head) = if version < 3 {
            let length = tag.get(at + 3..at + 6)?;
            let length =
                usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
            (tag.get(at..at + 3)?, length, 6)
        } else {
            let length = tag.get(at + 4..at + 8)?;
            let length = if version == 4 {
                seven(length)
            } else {
                u64::from(be32(length, 0)?)
            };
            (tag.get(at..at + 4)?, usize::try_from(length).ok()?, 10)
        };
        if name[0] == 0 {
            return Some(());
        }
        let start = at + head;
        let body = tag.get(start..start.checked_add(length)?)?;
        if is_user_text(name) {
            let whole = if version == 4 && be16(tag, at + 8)? & 0x02 != 0 {
                synchronised(body)
            } else {
                body.to_vec()
            };
            user_text(&whole, texts);
        } else if matches!(name, b"COMM" | b"COM") {
            // An encoding and a language stand before the text.
            let encoding = body.first().copied().unwrap_or(0);
            let mut text = vec![encoding];
            text.extend_from_slice(body.get(4..).unwrap_or_default());
            user_text(&text, texts);
        }
        at = start + length;
    }
}

/// Whether a frame of this name holds a text under a name of the user's own: such are called by a `T` and nothing but `X`.
fn is_user_text(name: &[u8]) -> bool {
    name.split_first()
        .is_some_and(|(first, rest)| *first == b'T' && rest.iter().all(|letter| *letter == b'X'))
}

/// A name and a text, both in the encoding that the first byte tells.
fn user_text(body: &[u8], texts: &mut Texts) {
    let Some((encoding, rest)) = body.split_first() else {
        return;
    };
    if matches!(encoding, 1 | 2) {
        let end = rest.chunks_exact(2).position(|pair| pair == [0, 0]);
        let Some(end) = end else { return };
        let big = *encoding == 2;
        let (name, text) = (&rest[..end * 2], &rest[end * 2 + 2..]);
        if let (Some(name), Some(text)) = (wide(name, big), wide(text, big)) {
            texts.add(&name, &text);
        }
        return;
    }
    let Some(end) = rest.iter().position(|byte| *byte == 0) else {
        return;
    };
    let (name, text) = (&rest[..end], &rest[end + 1..]);
    texts.add_bytes(&String::from_utf8_lossy(name), text);
}

fn wide(bytes: &[u8], big: bool) -> Option<String> {
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if marked {
        return decoded(bytes.to_vec());
    }
    let mark: [u8; 2] = if big { [0xfe, 0xff] } else { [0xff, 0xfe] };
    decoded([&mark, bytes].concat())
}

/// A length of four bytes with seven bits each.
fn seven(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
}

/// Without the zeros that were put behind every 255.
fn synchronised(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut after = false;
    for byte in bytes {
        if !(after && *byte == 0) {
            out.push(*byte);
        }
        after = *byte == 0xff;
    }
    out
}
