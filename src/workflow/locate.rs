//! From a JSON pointer to the bytes it means, for carets under the right characters.

use std::collections::HashMap;
use std::ops::Range;

use super::scan;
use crate::diagnostic::{Origin, SourceMap, Span};

/// Bytes of a file's start that are underlined when nothing better is known.
const NOWHERE: Range<usize> = 0..0;

/// A JSON pointer from plain names: `pointer(["3", "inputs", "a/b"])` is `/3/inputs/a~1b`.
pub fn pointer<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().fold(String::new(), |mut out, name| {
        out.push('/');
        out.push_str(&name.replace('~', "~0").replace('/', "~1"));
        out
    })
}

/// The bytes of the value that a JSON pointer means in a JSON text. Of repeated names the last one counts, as it does when the
/// text is parsed.
pub fn locate(text: &str, pointer: &str) -> Option<Range<usize>> {
    find(text, pointer).map(|found| found.value)
}

/// The bytes of the quoted name and of the value of each member of the object that a JSON text is, by name: for many questions about
/// one text.
pub fn top_level(text: &str) -> HashMap<String, (Range<usize>, Range<usize>)> {
    let start = scan::skip_space(text.as_bytes(), 0);
    let members = scan::members(text, start).into_iter();
    members
        .filter_map(|member| Some((scan::decode(text, &member.key)?, (member.key, member.value))))
        .collect()
}

/// The bytes of the quoted member name that a pointer's last part means; `None` for the root and for items of lists.
pub fn locate_key(text: &str, pointer: &str) -> Option<Range<usize>> {
    find(text, pointer).and_then(|found| found.key)
}

struct Found {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

fn find(text: &str, pointer: &str) -> Option<Found> {
    let bytes = text.as_bytes();
    let start = scan::skip_space(bytes, 0);
    let mut found = Found {
        key: None,
        value: start..scan::value_end(bytes, start),
    };
    if pointer.is_empty() {
        return Some(found);
    }
    for part in pointer.strip_prefix('/')?.split('/') {
        let name = part.replace("~1", "/").replace("~0", "~");
        let here = found.value.start;
        found = if bytes.get(here) == Some(&b'[') {
            let index: usize = name.parse().ok()?;
            let value = scan::items(text, here).into_iter().nth(index)?;
            Found { key: None, value }
        } else {
            let member = scan::members(text, here)
                .into_iter()
                .rfind(|m| is_named(text, &m.key, &name))?;
            Found {
                key: Some(member.key),
                value: member.value,
            }
        };
    }
    Some(found)
}

fn is_named(text: &str, key: &Range<usize>, name: &str) -> bool {
    let Some(raw) = text.get(key.start + 1..key.end.saturating_sub(1)) else {
        return false;
    };
    if raw.contains('\\') {
        scan::decode(text, key).as_deref() == Some(name)
    } else {
        raw == name
    }
}

/// The bytes of `text` that hold the decoded bytes `decoded` of the JSON string which stands, with its quotes, at `value`.
/// An escape counts as a whole; an empty range lies before the character at its start.
pub fn span_in_string(text: &str, value: Range<usize>, decoded: Range<usize>) -> Range<usize> {
    let Some(inner) = text.get(value.start + 1..value.end.saturating_sub(1)) else {
        return value;
    };
    let base = value.start + 1;
    let mut decoded_at = 0;
    let mut source_at = 0;
    let mut start = None;
    let mut end = None;
    while source_at < inner.len() {
        let (source_length, decoded_length) = unit(&inner[source_at..]);
        if start.is_none() && decoded.start < decoded_at + decoded_length {
            start = Some(source_at);
        }
        if end.is_none() && decoded.end <= decoded_at {
            end = Some(source_at);
        }
        decoded_at += decoded_length;
        source_at += source_length;
    }
    let start = start.unwrap_or(inner.len());
    let end = end.unwrap_or(inner.len()).max(start);
    base + start..base + end
}

/// How many bytes the first character of a string's inside takes in the source, and how many when decoded.
fn unit(rest: &str) -> (usize, usize) {
    let mut chars = rest.chars();
    match chars.next() {
        None => (1, 1),
        Some('\\') => match chars.next() {
            Some('u') => {
                let unit_at = |at: usize| {
                    rest.get(at..at + 4)
                        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                };
                match (unit_at(2), rest.get(6..8), unit_at(8)) {
                    (Some(0xd800..=0xdbff), Some("\\u"), Some(0xdc00..=0xdfff)) => (12, 4),
                    (Some(code), _, _) => (6, char::from_u32(code).map_or(3, char::len_utf8)),
                    (None, _, _) => (2, 1),
                }
            }
            Some(other) => (1 + other.len_utf8(), 1),
            None => (1, 1),
        },
        Some(c) => (c.len_utf8(), c.len_utf8()),
    }
}

/// The span of any origin. An object, or a value that covers several lines, is pointed at by its name; a pointer that leads nowhere is pointed at
/// by the nearest part of it that exists.
pub fn span_of(origin: &Origin, sources: &SourceMap) -> Span {
    match origin {
        Origin::Written(span) => *span,
        Origin::Json { file, pointer } => {
            let range = nearest(&sources.file(*file).text, pointer);
            Span::new(*file, range.start, range.end)
        }
    }
}

/// The bytes to point at for a JSON pointer: its value, or the name of a big one; of what is not there, what would hold it.
pub fn nearest(text: &str, pointer: &str) -> Range<usize> {
    let mut rest = pointer;
    loop {
        if let Some(found) = find(text, rest) {
            let big = text
                .get(found.value.clone())
                .is_some_and(|value| value.starts_with('{') || value.contains('\n'));
            return match found.key {
                Some(key) if big || rest.len() < pointer.len() => key,
                _ if rest.is_empty() => found.value.start..found.value.start + 1,
                _ => found.value,
            };
        }
        match rest.rfind('/') {
            Some(cut) => rest = &rest[..cut],
            None => return NOWHERE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"3\": { \"inputs\": {\"a/b\": [1, \"x\\\"y\"], \"s\\u0065ed\": 5 } },\n \"3\": {\"inputs\": {}} }";

    fn at(text: &str, pointer: &str) -> Option<String> {
        locate(text, pointer).map(|range| text[range].to_owned())
    }

    #[test]
    fn pointers_find_values_through_escapes_and_lists() {
        let text = &TEXT.replace("\"3\": {\"inputs\": {}}", "\"4\": 1");
        assert_eq!(at(text, "/3/inputs/a~1b/1").unwrap(), "\"x\\\"y\"");
        assert_eq!(at(text, "/3/inputs/seed").unwrap(), "5");
        assert_eq!(at(text, "/3/inputs/none"), None);
        assert_eq!(at(text, "/3/inputs/a~1b/2"), None);
        let key = locate_key(text, "/3/inputs/seed").unwrap();
        assert_eq!(&text[key], "\"s\\u0065ed\"");
        assert_eq!(pointer(["3", "inputs", "a/b"]), "/3/inputs/a~1b");
    }

    #[test]
    fn the_last_of_repeated_names_counts() {
        assert_eq!(at(TEXT, "/3/inputs").unwrap(), "{}");
    }

    #[test]
    fn places_inside_strings_respect_escapes() {
        let text = r#"  "a\n\u00e9\ud83d\ude00{{ x }}" "#;
        let value = 2..text.rfind('"').unwrap() + 1;
        let decoded: String = serde_json::from_str(&text[value.clone()]).unwrap();
        let from = decoded.find("{{").unwrap();
        let range = span_in_string(text, value.clone(), from..decoded.len());
        assert_eq!(&text[range], "{{ x }}");
        let smile = decoded.find('😀').unwrap();
        let range = span_in_string(text, value, smile..smile + 4);
        assert_eq!(&text[range], r"\ud83d\ude00");
    }

    #[test]
    fn a_missing_input_points_at_the_nearest_name() {
        let mut sources = SourceMap::default();
        let file = sources.add_text("w.json", "{\n\"3\": {\n\"inputs\": {}\n}\n}");
        let origin = Origin::Json {
            file,
            pointer: "/3/inputs/seed".into(),
        };
        assert_eq!(sources.snippet(span_of(&origin, &sources)), "\"inputs\"");
        let origin = Origin::Json {
            file,
            pointer: "/3".into(),
        };
        assert_eq!(sources.snippet(span_of(&origin, &sources)), "\"3\"");
        let origin = Origin::Json {
            file,
            pointer: "/7".into(),
        };
        assert_eq!(sources.snippet(span_of(&origin, &sources)), "{");
    }
}
