//! Values in the words of a reason: short, and where they differ.

use crate::diagnostic::thousands;

/// Texts up to this many characters are shown whole.
const SHORT: usize = 48;
/// How much is shown before the place where two long texts begin to differ.
const BEFORE: usize = 12;

/// Two values, cut to where they differ when they are long.
pub(super) fn pair(old: &str, new: &str) -> (String, String) {
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    if old.len() <= SHORT && new.len() <= SHORT {
        return (old.iter().collect(), new.iter().collect());
    }
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let from = if same <= BEFORE * 2 { 0 } else { same - BEFORE };
    (cut(&old, from), cut(&new, from))
}

/// One value, cut at its end when it is long.
pub(super) fn one(value: &str) -> String {
    cut(&value.chars().collect::<Vec<_>>(), 0)
}

fn cut(text: &[char], from: usize) -> String {
    let from = from.min(text.len());
    let to = text.len().min(from + SHORT);
    let start = if from > 0 { "…" } else { "" };
    let end = if to < text.len() { "…" } else { "" };
    let middle: String = text[from..to].iter().collect();
    format!("{start}{middle}{end}")
}

/// A text without characters that would break a line or move a cursor.
pub(super) fn tame(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The beginning of a hash.
pub(super) fn hash(hex: &str) -> &str {
    hex.get(..8).unwrap_or(hex)
}

/// A number of bytes with a space between thousands.
pub(super) fn bytes(size: &str) -> String {
    thousands(size).replace(',', " ") + " bytes"
}

/// A time in milliseconds since 1970, to the second.
pub(super) fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || ms.to_string(),
            |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_to_where_they_differ() {
        let common = "a very long prompt that goes on and on about ";
        let (old, new) = pair(&format!("{common}a cat"), &format!("{common}a dog"));
        assert_eq!(
            (old.as_str(), new.as_str()),
            ("… on about a cat", "… on about a dog")
        );
        assert_eq!(pair("20", "24"), ("20".to_owned(), "24".to_owned()));
        let long = "x".repeat(100);
        let (old, new) = pair(&long, "y");
        assert_eq!(old.chars().count(), SHORT + 1);
        assert_eq!(new, "y");
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes("1234567"), "1 234 567 bytes");
        assert_eq!(bytes("12"), "12 bytes");
    }
}
