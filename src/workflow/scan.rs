//! A tiny scanner over JSON that has already been parsed once: finds where members and items stand, and nothing else.
//!
//! It never fails and never recurses; on text that is not JSON it finds nothing or nonsense, but stays inside the text.

use std::ops::Range;

/// The first byte at or after `at` that is not white space (a byte order mark counts as white space).
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    if at == 0 && bytes.starts_with(b"\xef\xbb\xbf") {
        at = 3;
    }
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// One past the closing quote of the string that opens at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// One past the last byte of the value that starts at `at`.
pub(super) fn value_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            let mut here = at;
            while let Some(byte) = bytes.get(here) {
                match byte {
                    b'"' => {
                        here = string_end(bytes, here);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return here + 1;
                        }
                    }
                    _ => {}
                }
                here += 1;
            }
            bytes.len()
        }
        _ => {
            let mut here = at;
            while let Some(byte) = bytes.get(here) {
                if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') {
                    break;
                }
                here += 1;
            }
            here
        }
    }
}

/// A member of an object: its quoted name and its value.
pub(super) struct Member {
    /// The name with its quotes.
    pub(super) key: Range<usize>,
    /// The value.
    pub(super) value: Range<usize>,
}

/// The members of the object that opens at `at`; empty when there is no object.
pub(super) fn members(text: &str, at: usize) -> Vec<Member> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    if bytes.get(at) != Some(&b'{') {
        return out;
    }
    let mut here = skip_space(bytes, at + 1);
    while bytes.get(here) == Some(&b'"') {
        let key = here..string_end(bytes, here);
        here = skip_space(bytes, key.end);
        if bytes.get(here) != Some(&b':') {
            break;
        }
        let start = skip_space(bytes, here + 1);
        let value = start..value_end(bytes, start);
        here = skip_space(bytes, value.end);
        out.push(Member { key, value });
        if bytes.get(here) != Some(&b',') {
            break;
        }
        here = skip_space(bytes, here + 1);
    }
    out
}

/// The items of the list that opens at `at`; empty when there is no list.
pub(super) fn items(text: &str, at: usize) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    if bytes.get(at) != Some(&b'[') {
        return out;
    }
    let mut here = skip_space(bytes, at + 1);
    while here < bytes.len() && bytes[here] != b']' {
        let end = value_end(bytes, here);
        if end == here {
            break;
        }
        out.push(here..end);
        here = skip_space(bytes, end);
        if bytes.get(here) != Some(&b',') {
            break;
        }
        here = skip_space(bytes, here + 1);
    }
    out
}

/// The decoded text of a quoted string.
pub(super) fn decode(text: &str, quoted: &Range<usize>) -> Option<String> {
    serde_json::from_str(text.get(quoted.clone())?).ok()
}
