//! From a JSON pointer to the bytes it means, for carets under the right characters.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::scan;
use crate::diagnostic::{FileId, Origin, SourceMap, Span};

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
    Finder::new(text).locate(pointer)
}

/// The bytes of the quoted member name that a pointer's last part means; `None` for the root and for items of lists.
pub fn locate_key(text: &str, pointer: &str) -> Option<Range<usize>> {
    Finder::new(text).locate_key(pointer)
}

#[derive(Clone)]
struct Found {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

/// What an object or a list holds.
enum Held {
    Members(HashMap<String, Found>),
    Items(Vec<Range<usize>>),
}

/// Finds many places in one text: each object and list on the way is looked through once, however often it is passed.
pub struct Finder<'t> {
    text: &'t str,
    held: RefCell<HashMap<usize, Rc<Held>>>,
}

impl std::fmt::Debug for Finder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finder").finish_non_exhaustive()
    }
}

impl<'t> Finder<'t> {
    /// A finder for a JSON text.
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            held: RefCell::default(),
        }
    }

    /// The text.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// As [`locate`].
    pub fn locate(&self, pointer: &str) -> Option<Range<usize>> {
        self.find(pointer).map(|found| found.value)
    }

    /// As [`locate_key`].
    pub fn locate_key(&self, pointer: &str) -> Option<Range<usize>> {
        self.find(pointer).and_then(|found| found.key)
    }

    /// The bytes to point at for a JSON pointer: its value, or the name of a big one; of what is not there, what would hold it.
    pub fn nearest(&self, pointer: &str) -> Range<usize> {
        let mut rest = pointer;
        loop {
            if let Some(found) = self.find(rest) {
                let value = self.text.get(found.value.clone());
                let big = value.is_some_and(|v| v.starts_with('{') || v.contains('\n'));
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

    /// The containers that were looked through.
    #[cfg(test)]
    pub(super) fn looked_through(&self) -> usize {
        self.held.borrow().len()
    }

    fn find(&self, pointer: &str) -> Option<Found> {
        let start = scan::skip_space(self.text.as_bytes(), 0);
        if pointer.is_empty() {
            let value = start..scan::value_end(self.text.as_bytes(), start);
            return Some(Found { key: None, value });
        }
        let mut found = None;
        let mut here = start;
        for part in pointer.strip_prefix('/')?.split('/') {
            let name = part.replace("~1", "/").replace("~0", "~");
            let inside = match &*self.held(here) {
                Held::Items(items) => Found {
                    key: None,
                    value: items.get(name.parse::<usize>().ok()?)?.clone(),
                },
                Held::Members(members) => members.get(&name)?.clone(),
            };
            here = inside.value.start;
            found = Some(inside);
        }
        found
    }

    /// What the object or list that opens at a place holds.
    fn held(&self, at: usize) -> Rc<Held> {
        if let Some(known) = self.held.borrow().get(&at) {
            return Rc::clone(known);
        }
        let held = if self.text.as_bytes().get(at) == Some(&b'[') {
            Held::Items(scan::items(self.text, at))
        } else {
            let members = scan::members(self.text, at).into_iter();
            let named = members.filter_map(|member| {
                let name = name_of(self.text, &member.key)?;
                let found = Found {
                    key: Some(member.key),
                    value: member.value,
                };
                Some((name, found))
            });
            Held::Members(named.collect())
        };
        let held = Rc::new(held);
        self.held.borrow_mut().insert(at, Rc::clone(&held));
        held
    }
}

/// Finds many places in many texts.
#[derive(Debug)]
pub struct Finders<'s> {
    sources: &'s SourceMap,
    known: RefCell<HashMap<FileId, Rc<Finder<'s>>>>,
}

impl<'s> Finders<'s> {
    /// Finders for all sources.
    pub fn new(sources: &'s SourceMap) -> Self {
        Self {
            sources,
            known: RefCell::default(),
        }
    }

    /// The finder for one of the sources.
    pub fn of(&self, file: FileId) -> Rc<Finder<'s>> {
        let mut known = self.known.borrow_mut();
        let finder = known
            .entry(file)
            .or_insert_with(|| Rc::new(Finder::new(&self.sources.file(file).text)));
        Rc::clone(finder)
    }

    /// As [`span_of`].
    pub fn span_of(&self, origin: &Origin) -> Span {
        match origin {
            Origin::Written(span) => *span,
            Origin::Json { file, pointer } => {
                let range = self.of(*file).nearest(pointer);
                Span::new(*file, range.start, range.end)
            }
        }
    }
}

/// A quoted name without its quotes.
fn name_of(text: &str, key: &Range<usize>) -> Option<String> {
    let raw = text.get(key.start + 1..key.end.saturating_sub(1))?;
    if raw.contains('\\') {
        scan::decode(text, key)
    } else {
        Some(raw.to_owned())
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
    Finders::new(sources).span_of(origin)
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
    fn what_is_passed_again_and_again_is_looked_through_once() {
        let nodes = "{\"inputs\": {\"a\": 1, \"b\": [2, 3]}},".repeat(20_000);
        let text = format!("{{\"nodes\": [{}]}}", nodes.trim_end_matches(','));
        let finder = Finder::new(&text);
        for at in 0..20_000 {
            let found = finder.locate(&format!("/nodes/{at}/inputs/b/1")).unwrap();
            assert_eq!(&text[found], "3");
            assert!(finder.locate(&format!("/nodes/{at}/inputs/c")).is_none());
        }
        // The file, the list, and of each node: itself, its inputs, and the list in them.
        assert_eq!(finder.looked_through(), 2 + 3 * 20_000);
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
