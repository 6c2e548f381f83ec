//! Texts: their encodings, and drawings that are texts.

use super::carried::{MediaError, Texts};
use super::source::{MOST, Source};

/// The whole file as text.
pub(super) fn whole(source: &mut Source<'_>) -> Result<String, MediaError> {
    if source.length > MOST {
        return Err(MediaError::TooLong(source.length));
    }
    let bytes = source.bytes(0, source.length)?;
    decoded(bytes).ok_or(MediaError::NotText)
}

/// UTF-8 or UTF-16, with or without a mark at the start.
pub(super) fn decoded(bytes: Vec<u8>) -> Option<String> {
    let wide = |bytes: &[u8], big: bool| {
        let units = bytes.chunks_exact(2).map(|pair| {
            let pair = [pair[0], pair[1]];
            if big {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            }
        });
        let whole = bytes.len().is_multiple_of(2);
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok().filter(|_| whole)
    };
    match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xff, 0xfe, rest @ ..] => wide(rest, false),
        [0xfe, 0xff, rest @ ..] => wide(rest, true),
        [first, 0, third, 0, ..] if *first != 0 && *third != 0 => wide(&bytes, false),
        [0, second, 0, fourth, ..] if *second != 0 && *fourth != 0 => wide(&bytes, true),
        _ => String::from_utf8(bytes).ok(),
    }
}

/// `<metadata>` of a drawing, as a bare text or in `CDATA`.
pub(super) fn svg(text: &str, texts: &mut Texts) {
    let mut rest = text;
    while let Some(at) = rest.find("<metadata") {
        rest = &rest[at..];
        let Some(open) = rest.find('>') else { return };
        let inside = &rest[open + 1..];
        let end = inside.find("</metadata");
        // Of a drawing that was cut off, all that is there.
        let data = inside[..end.unwrap_or(inside.len())].trim();
        match data.split_once("<![CDATA[") {
            Some((_, data)) => {
                let data = data.rsplit_once("]]>").map_or(data, |(data, _)| data);
                texts.add("metadata", data);
            }
            None => texts.add("metadata", &unescaped(data)),
        }
        let Some(end) = end else { return };
        rest = &inside[end..];
    }
}

fn unescaped(text: &str) -> String {
    let signs = [
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&apos;", "'"),
        ("&#34;", "\""),
    ];
    let mut out = text.to_owned();
    for (name, sign) in signs {
        out = out.replace(name, sign);
    }
    out.replace("&amp;", "&")
}
