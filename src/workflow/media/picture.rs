//! Pictures made of chunks and segments: PNG with its texts, WebP and JPEG with EXIF.

use std::io::{self, Read};

use super::carried::Texts;
use super::exif;
use super::source::{MOST, Source, be16, be32, le32};

/// Texts of a PNG: plain, packed or international; and the private chunk of animated ones.
pub(super) fn png(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let mut at = 8;
    while at < source.length {
        let head: [u8; 8] = source.array(at)?;
        let length = u64::from(be32(&head, 0).unwrap_or(0));
        let name = &head[4..8];
        if matches!(name, b"tEXt" | b"zTXt" | b"iTXt" | b"comf" | b"eXIf") {
            let data = source.bytes(at + 8, length)?;
            match name {
                b"eXIf" => exif::texts(&data, texts),
                b"zTXt" => packed(&data, texts),
                b"iTXt" => international(&data, texts),
                _ => {
                    if let Some((key, text)) = split(&data) {
                        texts.add(&latin(key), &plain(text));
                    }
                }
            }
        }
        if name == b"IEND" {
            return Ok(());
        }
        at += 12 + length;
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// What stands before the first zero, and what after it.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == 0)?;
    Some((&data[..end], &data[end + 1..]))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// By the standard it is Latin-1; many write UTF-8 all the same.
fn plain(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => latin(bytes),
    }
}

fn packed(data: &[u8], texts: &mut Texts) {
    if let Some((key, [0, text @ ..])) = split(data)
        && let Some(text) = unpacked(text, texts)
    {
        texts.add(&latin(key), &plain(&text));
    }
}

fn international(data: &[u8], texts: &mut Texts) {
    let Some((key, [is_packed, 0, rest @ ..])) = split(data) else {
        return;
    };
    let Some((_language, rest)) = split(rest) else {
        return;
    };
    let Some((_translated, text)) = split(rest) else {
        return;
    };
    if *is_packed == 0 {
        texts.add_bytes(&latin(key), text);
    } else if let Some(text) = unpacked(text, texts) {
        texts.add_bytes(&latin(key), &text);
    }
}

/// A packed text, unless it is too long, or so much was unpacked already that the file must be meant to fill the memory.
fn unpacked(data: &[u8], texts: &mut Texts) -> Option<Vec<u8>> {
    let most = texts.left().min(MOST);
    if most == 0 {
        return None;
    }
    let mut text = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(data).take(most + 1);
    let read = reader.read_to_end(&mut text);
    // What it cost counts, whatever came of it.
    texts.spend(text.len());
    read.ok()?;
    (text.len() as u64 <= most).then_some(text)
}

/// The EXIF chunk of a WebP.
pub(super) fn webp(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let mut at = 12;
    while at + 8 <= source.length {
        let head: [u8; 8] = source.array(at)?;
        let length = u64::from(le32(&head, 4).unwrap_or(0));
        if &head[..4] == b"EXIF" {
            let data = source.bytes(at + 8, length)?;
            exif::texts(&data, texts);
        }
        at += 8 + length + length % 2;
    }
    Ok(())
}

/// EXIF and comments of a JPEG.
pub(super) fn jpeg(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let mut at = 2;
    loop {
        let head: [u8; 4] = source.array(at)?;
        if head[0] != 0xff {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match head[1] {
            // Filling between segments.
            0xff => at += 1,
            0xda | 0xd9 => return Ok(()),
            0x01 | 0xd0..=0xd8 => at += 2,
            mark => {
                let length = u64::from(be16(&head, 2).unwrap_or(0));
                if length < 2 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if matches!(mark, 0xe1 | 0xfe) {
                    let data = source.bytes(at + 4, length - 2)?;
                    if data.starts_with(b"Exif\0\0") {
                        exif::texts(&data, texts);
                    } else if mark == 0xfe {
                        texts.add_bytes("comment", &data);
                    }
                }
                at += 2 + length;
            }
        }
    }
}
