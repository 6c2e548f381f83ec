//! From bytes of a decoded scalar back to the bytes of its source: quotes, escapes, folds and block indentation.
//!
//! Each way of writing a scalar is tried in turn: the source is decoded by its rules beside the known value, and only a decoding that
//! yields exactly that value is believed. So a wrong guess can never point at the wrong place.

use std::ops::Range;

use super::{Node, NodeKind};
use crate::diagnostic::{SourceMap, Span};

impl Node {
    /// The part of the source that `range` (bytes of the decoded text) was decoded from. For anything but a string, and where no
    /// correspondence can be found, the whole span.
    pub fn span_within(&self, sources: &SourceMap, range: Range<usize>) -> Span {
        let NodeKind::String(value) = &self.kind else {
            return self.span;
        };
        let text = &sources.file(self.span.file).text;
        let Some(pieces) = pieces(text, self.span.start..self.span.end, value) else {
            return self.span;
        };
        let end = range.end.max(range.start + 1);
        let mut inside = pieces
            .iter()
            .filter(|(at, _)| *at >= range.start && *at < end)
            .map(|(_, source)| source);
        let Some(first) = inside.next() else {
            let at = pieces
                .last()
                .map_or(self.span.end, |(_, source)| source.end);
            return Span::new(self.span.file, at, at);
        };
        let last = inside.next_back().unwrap_or(first);
        Span::new(self.span.file, first.start, last.end.max(first.end))
    }
}

/// For each decoded character its offset in the value and its bytes in the source.
type Pieces = Vec<(usize, Range<usize>)>;

fn pieces(text: &str, span: Range<usize>, value: &str) -> Option<Pieces> {
    let source = text.get(span.clone())?;
    let inner = span.start + 1..span.end.saturating_sub(1);
    let quoted =
        |quote: char| source.len() >= 2 && source.starts_with(quote) && source.ends_with(quote);
    if quoted('"')
        && let Some(pieces) = flow(text, inner.clone(), value, Style::Double)
    {
        return Some(pieces);
    }
    if quoted('\'')
        && let Some(pieces) = flow(text, inner, value, Style::Single)
    {
        return Some(pieces);
    }
    // The span of a plain scalar never has white space at its ends.
    let plain = source.trim_matches([' ', '\t', '\n', '\r']) == source;
    plain
        .then(|| flow(text, span.clone(), value, Style::Plain))
        .flatten()
        .or_else(|| block(text, span.clone(), value, false))
        .or_else(|| block(text, span, value, true))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// A value beside its source.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    end: usize,
    value: &'a str,
    decoded: usize,
    pieces: Pieces,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, span: Range<usize>, value: &'a str) -> Self {
        Self {
            text,
            at: span.start,
            end: span.end,
            value,
            decoded: 0,
            pieces: Vec::with_capacity(value.len()),
        }
    }

    fn source(&self) -> &'a str {
        &self.text[self.at..self.end]
    }

    fn next(&self) -> Option<char> {
        self.value[self.decoded..].chars().next()
    }

    /// Takes the next decoded character as coming from `source`.
    fn take(&mut self, expected: char, source: Range<usize>) -> Option<()> {
        if self.next() != Some(expected) {
            return None;
        }
        self.pieces.push((self.decoded, source));
        self.decoded += expected.len_utf8();
        Some(())
    }

    /// Takes one character that stands for itself.
    fn same(&mut self) -> Option<()> {
        let c = self.source().chars().next()?;
        let range = self.at..self.at + c.len_utf8();
        self.at = range.end;
        self.take(c, range)
    }

    /// The bytes of a line break here.
    fn line_break(&self) -> Option<usize> {
        let source = self.source();
        if source.starts_with("\r\n") {
            Some(2)
        } else if source.starts_with(['\n', '\r']) {
            Some(1)
        } else {
            None
        }
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool, most: usize) {
        for c in self.source().chars().take(most) {
            if !skipped(c) {
                break;
            }
            self.at += c.len_utf8();
        }
    }

    /// A run of line breaks, each with its bytes; indentation between and after them is passed over.
    fn breaks(&mut self, indent: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        while let Some(length) = self.line_break() {
            found.push(self.at..self.at + length);
            self.at += length;
            self.skip(|c| c == ' ' || indent == usize::MAX && c == '\t', indent);
        }
        found
    }

    /// Folds a run of breaks: one becomes a space, more become one fewer line feeds.
    fn fold(&mut self, breaks: &[Range<usize>]) -> Option<()> {
        match breaks {
            [] => Some(()),
            [only] => self.take(' ', only.clone()),
            [_, rest @ ..] => rest.iter().try_for_each(|one| self.take('\n', one.clone())),
        }
    }

    fn done(self) -> Option<Pieces> {
        (self.decoded == self.value.len()).then_some(self.pieces)
    }
}

fn blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// Plain and quoted scalars; `span` lies inside the quotes.
fn flow(text: &str, span: Range<usize>, value: &str, style: Style) -> Option<Pieces> {
    let mut walk = Walk::new(text, span, value);
    while walk.at < walk.end {
        let source = walk.source();
        let after_blanks = source.trim_start_matches(blank);
        if after_blanks.starts_with(['\n', '\r']) {
            let start = walk.at;
            walk.at = walk.end - after_blanks.len();
            let mut breaks = walk.breaks(usize::MAX);
            if let Some(first) = breaks.first_mut() {
                first.start = start;
            }
            if let [only] = breaks.as_mut_slice() {
                only.end = walk.at;
            }
            walk.fold(&breaks)?;
        } else if style == Style::Double && source.starts_with('\\') {
            escape(&mut walk)?;
        } else if style == Style::Single && source.starts_with("''") {
            let range = walk.at..walk.at + 2;
            walk.at += 2;
            walk.take('\'', range)?;
        } else {
            walk.same()?;
        }
    }
    walk.done()
}

/// A backslash and what follows it.
fn escape(walk: &mut Walk<'_>) -> Option<()> {
    let start = walk.at;
    walk.at += 1;
    if let Some(length) = walk.line_break() {
        walk.at += length;
        walk.skip(blank, usize::MAX);
        for empty in walk.breaks(usize::MAX) {
            walk.take('\n', empty)?;
        }
        return Some(());
    }
    let kind = walk.source().chars().next()?;
    walk.at += kind.len_utf8();
    let decoded = match kind {
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' | '\t' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        'x' => char::from_u32(hex(walk, 2)?)?,
        'U' => char::from_u32(hex(walk, 8)?)?,
        'u' => {
            let first = hex(walk, 4)?;
            if (0xd800..0xdc00).contains(&first) && walk.source().starts_with("\\u") {
                walk.at += 2;
                let second = hex(walk, 4)?;
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + second.checked_sub(0xdc00)?)?
            } else {
                char::from_u32(first)?
            }
        }
        other => other,
    };
    let range = start..walk.at;
    walk.take(decoded, range)
}

fn hex(walk: &mut Walk<'_>, digits: usize) -> Option<u32> {
    let code = walk.source().get(..digits)?;
    walk.at += digits;
    u32::from_str_radix(code, 16).ok()
}

/// Block scalars. Their span begins at the first character of content, after its indentation.
fn block(text: &str, span: Range<usize>, value: &str, folded: bool) -> Option<Pieces> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
    let indent = span.start - line_start;
    let mut walk = Walk::new(text, span.clone(), value);
    if walk.line_break().is_none() {
        for empty in leading_breaks(text, line_start, value)? {
            walk.take('\n', empty)?;
        }
    }
    // A line that begins with white space is not folded, nor are the breaks around it.
    let mut indented = walk.source().starts_with(blank);
    while walk.at < walk.end {
        if walk.line_break().is_none() {
            walk.same()?;
            continue;
        }
        let breaks = walk.breaks(indent);
        let before = std::mem::replace(&mut indented, walk.source().starts_with(blank));
        if walk.at >= walk.end {
            // Chomping: as many of the last breaks as the value has.
            let rest = value.len() - walk.decoded;
            for one in breaks.into_iter().take(rest) {
                walk.take('\n', one)?;
            }
        } else if folded && !before && !indented {
            walk.fold(&breaks)?;
        } else {
            for one in breaks {
                walk.take('\n', one)?;
            }
        }
    }
    // A file that ends without a line feed lends one to the value.
    if walk.next() == Some('\n') && walk.decoded + 1 == value.len() {
        let end = walk.end;
        walk.take('\n', end..end)?;
    }
    walk.done()
}

/// The breaks of the empty lines above the first line with content.
fn leading_breaks(text: &str, line_start: usize, value: &str) -> Option<Vec<Range<usize>>> {
    let count = value.len() - value.trim_start_matches('\n').len();
    let mut breaks = Vec::with_capacity(count);
    let mut end = line_start;
    for _ in 0..count {
        let before = text[..end].strip_suffix('\n')?;
        let start = before.strip_suffix('\r').unwrap_or(before).len();
        breaks.push(start..end);
        end = text[..start].rfind('\n').map_or(0, |n| n + 1);
    }
    breaks.reverse();
    Some(breaks)
}
