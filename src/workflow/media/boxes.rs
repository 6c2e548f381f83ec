//! Films and pictures made of boxes: keys of MP4 and `QuickTime`, EXIF of AVIF.

use std::collections::HashSet;
use std::io;

use super::carried::Texts;
use super::exif;
use super::source::{Source, be16, be32};

/// How deep boxes may stand inside each other.
const DEEPEST: usize = 12;

/// A box: its name, where its inside begins, and where it ends.
struct Part {
    name: [u8; 4],
    start: u64,
    end: u64,
}

/// The boxes of a place, one after the other.
fn parts(source: &mut Source<'_>, mut at: u64, end: u64) -> io::Result<Vec<Part>> {
    let mut found = Vec::new();
    while at + 8 <= end {
        let head: [u8; 8] = source.array(at)?;
        let name = [head[4], head[5], head[6], head[7]];
        let (length, start) = match be32(&head, 0).unwrap_or(0) {
            0 => (end - at, at + 8),
            1 => (u64::from_be_bytes(source.array(at + 8)?), at + 16),
            length => (u64::from(length), at + 8),
        };
        let stop = at.checked_add(length).filter(|stop| *stop >= start);
        let stop = stop.ok_or(io::ErrorKind::InvalidData)?;
        if stop > end {
            // Cut off: what is there of it may still be of use.
            found.push(Part { name, start, end });
            return Ok(found);
        }
        found.push(Part {
            name,
            start,
            end: stop,
        });
        at = stop;
    }
    Ok(found)
}

/// Keys and their values, wherever a film keeps them.
pub(super) fn mp4(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let end = source.length;
    let mut found = false;
    for part in parts(source, 0, end)? {
        if &part.name == b"moov" {
            found = true;
            inside(source, &part, 0, texts)?;
        } else if &part.name == b"meta" || &part.name == b"udta" {
            inside(source, &part, 0, texts)?;
        }
    }
    if found {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn inside(
    source: &mut Source<'_>,
    holder: &Part,
    depth: usize,
    texts: &mut Texts,
) -> io::Result<()> {
    if depth > DEEPEST {
        return Ok(());
    }
    let mut start = holder.start;
    if &holder.name == b"meta" && !is_bare(source, holder)? {
        start += 4;
    }
    let mut keys = Vec::new();
    for part in parts(source, start, holder.end)? {
        match &part.name {
            b"udta" | b"meta" | b"trak" | b"moov" => inside(source, &part, depth + 1, texts)?,
            b"keys" => keys = names(&source.bytes(part.start, part.end - part.start)?),
            b"ilst" => values(source, &part, &keys, texts)?,
            [0xa9, ..] if &holder.name == b"udta" => {
                // A length and a language stand before the text.
                let data = source.bytes(part.start, part.end - part.start)?;
                texts.add_bytes("comment", data.get(4..).unwrap_or_default());
            }
            _ => {}
        }
    }
    Ok(())
}

/// `QuickTime` has boxes right inside `meta`, MP4 a version before them.
fn is_bare(source: &mut Source<'_>, meta: &Part) -> io::Result<bool> {
    if meta.end < meta.start + 8 {
        return Ok(true);
    }
    let head: [u8; 8] = source.array(meta.start)?;
    Ok(matches!(&head[4..8], b"hdlr" | b"keys" | b"ilst"))
}

/// The names that values are counted by.
fn names(data: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 8;
    while let Some(length) = be32(data, at) {
        let length = length as usize;
        let Some(name) = data.get(at + 8..at + length).filter(|_| length >= 8) else {
            break;
        };
        names.push(String::from_utf8_lossy(name).into_owned());
        at += length;
    }
    names
}

fn values(
    source: &mut Source<'_>,
    list: &Part,
    keys: &[String],
    texts: &mut Texts,
) -> io::Result<()> {
    for item in parts(source, list.start, list.end)? {
        let place = u32::from_be_bytes(item.name) as usize;
        let mut name = place
            .checked_sub(1)
            .and_then(|place| keys.get(place))
            .cloned();
        let mut value = None;
        for part in parts(source, item.start, item.end)? {
            match &part.name {
                b"data" if part.end >= part.start + 8 => {
                    value = Some(source.bytes(part.start + 8, part.end - part.start - 8)?);
                }
                b"name" if part.end >= part.start + 4 => {
                    let bytes = source.bytes(part.start + 4, part.end - part.start - 4)?;
                    name = Some(String::from_utf8_lossy(&bytes).into_owned());
                }
                _ => {}
            }
        }
        if let Some(value) = value {
            let name = name.unwrap_or_else(|| "comment".to_owned());
            let name = name.rsplit(['.', ':']).next().unwrap_or(&name);
            texts.add_bytes(name, &value);
        }
    }
    Ok(())
}

/// The EXIF item of an AVIF.
pub(super) fn avif(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let end = source.length;
    for part in parts(source, 0, end)? {
        match &part.name {
            b"meta" => {
                let inner = parts(source, part.start + 4, part.end)?;
                for (start, length) in exif_blocks(source, &inner)? {
                    let block = source.bytes(start, length)?;
                    let skip = be32(&block, 0).map_or(0, |skip| skip as usize);
                    let rest = skip.checked_add(4).and_then(|skip| block.get(skip..));
                    exif::texts(rest.unwrap_or(&block), texts);
                }
            }
            b"moov" => inside(source, &part, 0, texts)?,
            _ => {}
        }
    }
    Ok(())
}

/// Where the blocks start, and how long they are.
fn exif_blocks(source: &mut Source<'_>, inner: &[Part]) -> io::Result<Vec<(u64, u64)>> {
    let find = |name: &[u8; 4]| inner.iter().find(|part| part.name == *name);
    let (Some(infos), Some(places)) = (find(b"iinf"), find(b"iloc")) else {
        return Ok(Vec::new());
    };
    let wide = source.array::<1>(infos.start)?[0] > 0;
    let skip = if wide { 8 } else { 6 };
    let mut items = HashSet::new();
    for info in parts(source, infos.start + skip, infos.end)? {
        let data = source.bytes(info.start, (info.end - info.start).min(16))?;
        let (id, kind) = if data.first().is_some_and(|version| *version > 2) {
            (be32(&data, 4), data.get(10..14))
        } else {
            (be16(&data, 4).map(u32::from), data.get(8..12))
        };
        if kind == Some(b"Exif") {
            items.extend(id);
        }
    }
    let table = source.bytes(places.start, places.end - places.start)?;
    let data = find(b"idat").map_or(0, |part| part.start);
    let mut blocks = Vec::new();
    for (id, from_data, at, length) in locations(&table).unwrap_or_default() {
        if items.contains(&id) {
            let start = if from_data {
                data.checked_add(at)
            } else {
                Some(at)
            };
            let start = start.ok_or(io::ErrorKind::InvalidData)?;
            blocks.push((start, length));
        }
    }
    Ok(blocks)
}

/// Item, whether it lies in the box for data, place and length.
type Location = (u32, bool, u64, u64);

fn locations(table: &[u8]) -> Option<Vec<Location>> {
    let version = *table.first()?;
    let sizes = be16(table, 4)?;
    let [offset, length, base, index] =
        [12, 8, 4, 0].map(|shift| usize::from(sizes >> shift & 0xf));
    let mut at = 6_usize;
    let mut take = |count: usize| -> Option<u64> {
        let bytes = table.get(at..at.checked_add(count)?)?;
        at += count;
        Some(
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let id_size = if version < 2 { 2 } else { 4 };
    let count = take(id_size)?;
    let mut found = Vec::new();
    for _ in 0..count.min(10_000) {
        let id = u32::try_from(take(id_size)?).ok()?;
        let method = if version > 0 { take(2)? & 0xf } else { 0 };
        take(2)?;
        let start = take(base)?;
        for _ in 0..take(2)?.min(1000) {
            if version > 0 {
                take(index)?;
            }
            let place = start.checked_add(take(offset)?)?;
            found.push((id, method == 1, place, take(length)?));
        }
    }
    Some(found)
}
