//! Secrets: a placeholder travels where the value would, and the value is put in only where bytes leave.
//!
//! A placeholder is the secret's name between private-use characters, followed by a checksum of the name, so that one that was cut,
//! changed or spliced is told from a whole one. Values live in whoever reveals them and in a [`Masker`], and are never printed.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};

/// Opens a placeholder.
const OPEN: char = '\u{f8f0}';
/// Between the name and its checksum.
const MIDDLE: char = '\u{f8f1}';
/// Closes a placeholder.
const CLOSE: char = '\u{f8f2}';
/// The checksum's bytes are this character and those after it.
const BYTE: u32 = 0xf700;
/// How many bytes of a hash the checksum has.
const SUM: usize = 4;
/// What the name of a secret begins with that is no variable.
const WRITTEN: &str = "kiln.yaml:";
/// What a masked value becomes.
const MASK: &str = "***";
/// Shorter values are not masked: they would blot out half of every text.
const SHORTEST: usize = 4;
/// Ends a text that was cut.
const CUT: char = '…';

/// A text with a secret in it cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingSecret {
    /// The secret has no value.
    #[error("the environment variable `{0}` is not set, and `secret('{0}')` needs it")]
    Unset(String),
    /// `kiln.yaml` said it when the plan was made.
    #[error("`{0}` was in kiln.yaml when the run began, and is not any more")]
    NotWritten(String),
    /// Something cut, changed or spliced the placeholder.
    #[error("a secret was changed on its way: it can be joined to other text, and nothing else")]
    Corrupt,
}

/// What stands for a secret until its value is needed.
pub fn placeholder(name: &str) -> String {
    format!("{OPEN}{name}{MIDDLE}{}{CLOSE}", checksum(name))
}

fn checksum(name: &str) -> String {
    blake3::hash(name.as_bytes()).as_bytes()[..SUM]
        .iter()
        .filter_map(|byte| char::from_u32(BYTE + u32::from(*byte)))
        .collect()
}

/// Whether any part of a placeholder stands in a text.
pub fn is_in(text: &str) -> bool {
    text.contains(is_mark)
}

fn is_mark(c: char) -> bool {
    matches!(c, OPEN | MIDDLE | CLOSE) || (BYTE..BYTE + 256).contains(&u32::from(c))
}

/// Text from outside with every character of a placeholder replaced, so that it cannot ask for a secret.
pub fn without(text: &str) -> Cow<'_, str> {
    if is_in(text) {
        Cow::Owned(text.replace(is_mark, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A text for people and programs: with `***` where a secret goes.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !is_in(text) {
        return Cow::Borrowed(text);
    }
    reveal(text, &|_| Some(MASK.to_owned())).map_or_else(|_| without(text), Cow::Owned)
}

/// The secrets whose whole placeholders stand in a text, in order, each once.
pub fn names_in(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for piece in pieces(text) {
        if let Piece::Secret(name) = piece
            && !names.iter().any(|n| n == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// A text with the secrets' values in it.
///
/// # Errors
/// When a secret has no value, or a placeholder is not whole.
pub fn reveal(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, MissingSecret> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) if is_in(text) => return Err(MissingSecret::Corrupt),
            Piece::Text(text) => out.push_str(text),
            Piece::Secret(name) => {
                out.push_str(&value(name).ok_or_else(|| missing(name))?);
            }
        }
    }
    Ok(out)
}

fn missing(name: &str) -> MissingSecret {
    match name.strip_prefix(WRITTEN) {
        Some(place) => MissingSecret::NotWritten(place.to_owned()),
        None => MissingSecret::Unset(name.to_owned()),
    }
}

/// The name of a secret that `kiln.yaml` says itself, by its place there. No variable is called so.
pub fn written(place: &str) -> String {
    format!("{WRITTEN}{place}")
}

enum Piece<'a> {
    Text(&'a str),
    Secret(&'a str),
}

/// A text as whole placeholders and what is between them.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(OPEN) {
        let (before, after) = rest.split_at(open);
        let inside = &after[OPEN.len_utf8()..];
        let whole = inside.split_once(CLOSE).and_then(|(body, rest)| {
            let (name, sum) = body.split_once(MIDDLE)?;
            (checksum(name) == sum).then_some((name, rest))
        });
        found.push(Piece::Text(before));
        if let Some((name, after)) = whole {
            found.push(Piece::Secret(name));
            rest = after;
        } else {
            let end = after.len() - inside.len();
            found.push(Piece::Text(&after[..end]));
            rest = inside;
        }
    }
    found.push(Piece::Text(rest));
    found
}

/// Replaces the values of secrets by `***`, in whatever came back from outside.
#[derive(Clone, Default)]
pub struct Masker {
    forms: Option<AhoCorasick>,
    /// The same as texts: the end of a text that was cut may be the beginning of one.
    texts: Vec<String>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}

impl Masker {
    /// A masker for these values, and for what they look like in base64, URLs and JSON. Values below four characters are let through.
    pub fn new<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let mut forms: Vec<String> = Vec::new();
        for value in values {
            let value = value.as_ref();
            let lines = value
                .lines()
                .map(str::trim)
                .filter(|_| value.contains('\n'));
            for part in std::iter::once(value).chain(lines) {
                forms.extend(forms_of(part));
            }
        }
        forms.retain(|form| form.chars().count() >= SHORTEST);
        forms.sort();
        forms.dedup();
        if forms.is_empty() {
            return Self::default();
        }
        let found = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&forms)
            .ok();
        Self {
            forms: found,
            texts: forms,
        }
    }

    /// The text without any secret's value, nor the part of one that is left where a text was cut, which an ellipsis tells.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let masked = self.mask_whole(text);
        if !masked.contains(CUT) {
            return masked;
        }
        let mut out = String::with_capacity(masked.len());
        for piece in masked.split_inclusive(CUT) {
            let kept = piece.strip_suffix(CUT);
            let left = |kept: &str| self.texts.iter().filter_map(|t| left_of(t, kept)).max();
            match kept.and_then(|kept| Some(&kept[..kept.len() - left(kept)?])) {
                Some(kept) => {
                    out.push_str(kept);
                    out.push_str(MASK);
                    out.push(CUT);
                }
                None => out.push_str(piece),
            }
        }
        Cow::Owned(out)
    }

    fn mask_whole<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.forms {
            Some(forms) if forms.is_match(text) => {
                let mut out = String::with_capacity(text.len());
                forms.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str(MASK);
                    true
                });
                Cow::Owned(out)
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// Masks every text and key of a JSON value.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        if self.forms.is_none() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            Value::Object(entries) => {
                for (key, mut item) in std::mem::take(entries) {
                    self.mask_json(&mut item);
                    entries.insert(self.mask(&key).into_owned(), item);
                }
            }
            _ => {}
        }
    }
}

/// How many bytes at the end of a text are the beginning of a value, if it is enough of one to tell.
fn left_of(value: &str, text: &str) -> Option<usize> {
    let ends = value.char_indices().map(|(at, _)| at).skip(SHORTEST);
    let mut lengths: Vec<usize> = ends.collect();
    lengths.reverse();
    lengths
        .into_iter()
        .find(|length| text.ends_with(&value[..*length]))
}

/// A value as it is, and as programs write it down.
fn forms_of(value: &str) -> Vec<String> {
    if value.chars().count() < SHORTEST {
        return Vec::new();
    }
    let json = serde_json::Value::from(value).to_string();
    let mut forms = vec![
        value.to_owned(),
        json[1..json.len() - 1].to_owned(),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        percent(value, "-_.~"),
        percent(value, "-_.~!*'()"),
        percent(value, "-_.~!$&'()*+,;=:@/"),
    ];
    let mut encoded: Vec<String> = (0..3)
        .filter_map(|before| base64_inside(value, before))
        .collect();
    let alone = base64(value);
    encoded.push(alone.trim_end_matches('=').to_owned());
    encoded.push(alone);
    for form in encoded {
        forms.push(form.replace('+', "-").replace('/', "_"));
        forms.push(form);
    }
    forms
}

fn percent(value: &str, kept: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || kept.contains(c) {
            out.push(c);
        } else {
            out.push('%');
            out.extend(char::from_digit(u32::from(byte >> 4), 16).map(|c| c.to_ascii_uppercase()));
            out.extend(char::from_digit(u32::from(byte & 15), 16).map(|c| c.to_ascii_uppercase()));
        }
    }
    out
}

/// The digits of base64 for the bits from `first` on: `count` of them, zeros after the end.
fn digits(value: &str, first: usize, count: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| {
        let byte = value.as_bytes().get(at / 8).copied().unwrap_or_default();
        byte >> (7 - at % 8) & 1
    };
    (0..count)
        .map(|digit| {
            let first = first + digit * 6;
            let index = (first..first + 6).fold(0, |sum, at| sum << 1 | bit(at));
            char::from(DIGITS[usize::from(index)])
        })
        .collect()
}

fn base64(value: &str) -> String {
    let mut out = digits(value, 0, (value.len() * 8).div_ceil(6));
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

/// The part of a longer text's base64 that only depends on `value`, when it begins `before` bytes into a group of three.
fn base64_inside(value: &str, before: usize) -> Option<String> {
    // The first digits that no foreign bit reaches, and whole digits only.
    let skipped = (before * 8).div_ceil(6) * 6 - before * 8;
    let count = (value.len() * 8).checked_sub(skipped)? / 6;
    // A short run of digits would be found in innocent text.
    (count >= 6).then(|| digits(value, skipped, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Option<String> {
        (name == "KEY").then(|| "hunter2+/ü".to_owned())
    }

    #[test]
    fn a_placeholder_survives_joining_and_is_revealed() {
        let text = format!("Bearer {}!{0}", placeholder("KEY"));
        assert_eq!(names_in(&text), ["KEY"]);
        assert_eq!(
            reveal(&text, &value).unwrap(),
            "Bearer hunter2+/ü!hunter2+/ü"
        );
        assert_eq!(reveal("plain", &value).unwrap(), "plain");
        assert!(!text.contains("hunter2"));
    }

    #[test]
    fn a_changed_placeholder_is_an_error_and_never_another_secret() {
        let whole = placeholder("KEY");
        let last = whole.char_indices().next_back().unwrap().0;
        for text in [
            whole.to_lowercase(),
            whole.replace('K', "M"),
            whole.chars().rev().collect(),
            whole[..last].to_owned(),
            whole[OPEN.len_utf8()..].to_owned(),
            format!("{OPEN}{whole}"),
            format!("{whole}{CLOSE}"),
            format!("{OPEN}KEY{CLOSE}"),
            placeholder("KEY") + &placeholder("KEY")[3..9],
        ] {
            assert_eq!(reveal(&text, &value), Err(MissingSecret::Corrupt), "{text}");
        }
        assert_eq!(
            reveal(&placeholder("NONE"), &value)
                .unwrap_err()
                .to_string(),
            "the environment variable `NONE` is not set, and `secret('NONE')` needs it"
        );
    }

    #[test]
    fn text_from_outside_cannot_ask_for_a_secret() {
        let cleaned = without(&placeholder("KEY")).into_owned();
        assert!(names_in(&cleaned).is_empty() && !is_in(&cleaned));
        assert!(matches!(without("täxt"), Cow::Borrowed("täxt")));
    }

    #[test]
    fn values_are_masked_in_every_form_programs_write_them() {
        let masker = Masker::new(["hunter2+/ü\\", "abc", ""]);
        for (text, masked) in [
            ("key=hunter2+/ü\\ abc", "key=*** abc"),
            ("{\"k\":\"hunter2+/ü\\\\\"}", "{\"k\":\"***\"}"),
            ("?k=hunter2%2B%2F%C3%BC%5C&x", "?k=***&x"),
            ("aHVudGVyMisvw7xc", "***"),
            ("aHVudGVyMisvw7xc aHVudGVyMi", "*** aHVudGVyMi"),
            ("nothing here", "nothing here"),
        ] {
            assert_eq!(masker.mask(text), masked);
        }
        assert_eq!(format!("{masker:?}"), "Masker { .. }");
    }

    #[test]
    fn a_value_inside_longer_base64_is_masked() {
        let masker = Masker::new(["correct horse battery"]);
        for before in ["", "u", "us", "user:", "other:"] {
            let encoded = base64(&format!("{before}correct horse battery and more"));
            let shown = masker.mask(&encoded);
            assert!(shown.contains(MASK), "{before}: {shown}");
            assert!(shown.len() < encoded.len() - 20, "{before}: {shown}");
        }
        assert_eq!(base64("hi"), "aGk=");
        assert_eq!(masker.mask(&base64("correct horse battery")), MASK);
    }

    #[test]
    fn each_line_of_a_secret_with_lines_is_masked() {
        let masker = Masker::new(["-----BEGIN-----\nMIIEvQIBADAN\n-----END-----\n"]);
        assert_eq!(masker.mask("saw MIIEvQIBADAN here"), "saw *** here");
    }

    #[test]
    fn what_is_left_of_a_value_that_was_cut_is_masked() {
        let masker = Masker::new(["hunter2-and-möre"]);
        for (text, masked) in [
            ("bad key hunter2-an…", "bad key ***…"),
            ("bad key hunter2-and-mö…", "bad key ***…"),
            ("hunter2-and-möre, hunt…", "***, ***…"),
            ("got `hunter2-an…`, no", "got `***…`, no"),
            ("a hun…", "a hun…"),
            ("a hunter2-an", "a hunter2-an"),
            ("…", "…"),
        ] {
            assert_eq!(masker.mask(text), masked);
        }
    }

    #[test]
    fn keys_and_texts_of_json_are_masked() {
        let masker = Masker::new(["hunter2"]);
        let mut json = serde_json::json!({"a": ["x hunter2", 1, {"hunter2": true}], "b": null});
        masker.mask_json(&mut json);
        assert_eq!(
            json,
            serde_json::json!({"a": ["x ***", 1, {"***": true}], "b": null})
        );
    }
}
