//! The one reader of YAML: text in, a tree of [`Node`]s out, everything wrong with the file reported.
//!
//! serde-saphyr does the reading, with its limits set here. What it would swallow or refuse at the first sight (duplicate keys, tags,
//! keys that are no text) is let through and reported by [`Builder`], so that one mistake does not hide the next.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{DuplicateKeyPolicy, Location, Tagged};

use super::node::{Node, NodeKind, Spanned};
use super::{expression, yaml_error};
use crate::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span, codes};

/// Collections may nest this deep.
pub(super) const MAX_DEPTH: usize = 64;
/// Values a file may have, aliases counted each time they are used.
pub(super) const MAX_NODES: usize = 100_000;
/// Aliases a file may use.
pub(super) const MAX_ALIASES: usize = 1_000;
/// Bytes of text that all scalars may have together, aliases counted each time.
pub(super) const MAX_TEXT: usize = 16 << 20;

type Raw = serde_saphyr::Spanned<Tagged<RawKind>>;

enum RawKind {
    Null,
    Bool(bool),
    Integer(serde_json::Number),
    Float(f64),
    String(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

/// The stack that [`MAX_DEPTH`] levels need, with room to spare: each passes through a dozen calls of serde.
const STACK: usize = 16 << 20;

/// Reads the text of `file`. `None` when no tree could be made of it; errors in single values are reported and the tree is given.
pub(super) fn read(file: FileId, sources: &SourceMap, report: &mut Report) -> Option<Node> {
    let text = &*sources.file(file).text;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("yaml".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, || parse(file, text, report))
            .ok()
            .and_then(|thread| match thread.join() {
                Ok(node) => node,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

fn parse(file: FileId, text: &str, report: &mut Report) -> Option<Node> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_indentation: true,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_total_scalar_bytes: MAX_TEXT,
        },
    };
    match serde_saphyr::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => {
            let mut builder = Builder { file, text, report };
            Some(builder.node(&raw))
        }
        Err(error) => {
            report.push(yaml_error::diagnostic(&error, file, text));
            None
        }
    }
}

impl<'de> Deserialize<'de> for RawKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = RawKind;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<RawKind, E> {
                Ok(RawKind::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<RawKind, E> {
                Ok(RawKind::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<RawKind, E> {
                Ok(RawKind::Integer(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<RawKind, E> {
                Ok(RawKind::Integer(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<RawKind, E> {
                Ok(RawKind::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<RawKind, E> {
                Ok(RawKind::String(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<RawKind, E> {
                Ok(RawKind::String(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawKind, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(RawKind::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawKind, A::Error> {
                let mut map = Vec::new();
                while let Some(key) = entries.next_key()? {
                    map.push((key, entries.next_value()?));
                }
                Ok(RawKind::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Whether a tag is none of YAML's own, which say no more than the value does.
fn foreign(tag: &str) -> bool {
    const CORE: &[&str] = &["str", "int", "float", "bool", "null", "map", "seq"];
    !tag.strip_prefix("tag:yaml.org,2002:")
        .is_some_and(|name| CORE.contains(&name))
}

/// Makes nodes of what was read.
struct Builder<'a> {
    file: FileId,
    text: &'a str,
    report: &'a mut Report,
}

impl Builder<'_> {
    fn node(&mut self, raw: &Raw) -> Node {
        let Tagged(kind, tag) = &raw.value;
        let mut span = self.span(raw.defined);
        if matches!(kind, RawKind::Map(_)) && self.text[span.start..].starts_with("{{") {
            return self.unquoted_template(span);
        }
        if let Some(tag) = tag {
            self.tag(tag, span);
        }
        let kind = match kind {
            RawKind::Null => NodeKind::Null,
            RawKind::Bool(value) => NodeKind::Bool(*value),
            RawKind::Integer(value) => NodeKind::Number(value.clone()),
            RawKind::Float(value) => self.float(*value, span),
            RawKind::String(text) => NodeKind::String(text.clone()),
            RawKind::List(items) => {
                let items: Vec<Node> = items.iter().map(|item| self.node(item)).collect();
                span = self.collection(span, items.last().map(|last| last.span));
                NodeKind::List(items)
            }
            RawKind::Map(entries) => {
                let entries = self.entries(entries);
                let last = entries.last().map(|(key, value)| {
                    if value.span.end > key.span.end {
                        value.span
                    } else {
                        key.span
                    }
                });
                span = match (span.start == span.end, entries.first()) {
                    (true, Some((first, _))) => first.span,
                    _ => self.collection(span, last),
                };
                NodeKind::Map(entries)
            }
        };
        Node { span, kind }
    }

    fn entries(&mut self, raw: &[(Raw, Raw)]) -> Vec<(Spanned<String>, Node)> {
        let mut entries: Vec<(Spanned<String>, Node)> = Vec::with_capacity(raw.len());
        let mut seen: HashMap<String, Span> = HashMap::with_capacity(raw.len());
        for (key, value) in raw {
            let Some(key) = self.key(key) else {
                continue;
            };
            if let Some(first) = seen.get(&key.value) {
                self.report.push(
                    Diagnostic::error(
                        &codes::DUPLICATE_KEY,
                        format!("the key `{}` is written twice", key.value),
                    )
                    .label(key.span, "written again here")
                    .also(*first, "first written here")
                    .help("keep one of them"),
                );
                continue;
            }
            seen.insert(key.value.clone(), key.span);
            let value = self.value(&key, value);
            entries.push((key, value));
        }
        entries
    }

    /// A value by its key: of an expression that stands bare a tag may have taken a part.
    fn value(&mut self, key: &Spanned<String>, raw: &Raw) -> Node {
        let expression = expression::KEYS.contains(&key.value.as_str());
        if !expression || !raw.value.1.as_deref().is_some_and(foreign) {
            return self.node(raw);
        }
        let end = self.span(raw.defined).end;
        let rest = self.text.get(key.span.end..).unwrap_or_default();
        let start = key.span.end + rest.find('!').unwrap_or(0);
        let line = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |n| start + n);
        let end = if end > start { end } else { line };
        let written = self.text[start..end].trim_end();
        let written = match written.find(" #") {
            Some(comment) => written[..comment].trim_end(),
            None => written,
        };
        let span = Span::new(self.file, start, start + written.len());
        self.report
            .push(expression::tagged(&key.value, written, span));
        Node {
            span,
            kind: expression::stand_in(&key.value),
        }
    }

    /// A key as text: `3:` is the key `3`.
    fn key(&mut self, raw: &Raw) -> Option<Spanned<String>> {
        let span = self.span(raw.defined);
        match &raw.value.0 {
            RawKind::String(text) => Some(Spanned::new(text.clone(), span)),
            RawKind::List(_) | RawKind::Map(_) => {
                if self.text[span.start..].starts_with("{{") {
                    self.unquoted_template(span);
                } else {
                    self.report.push(
                        Diagnostic::error(
                            &codes::WRONG_TYPE,
                            "a key must be text, and this is a collection",
                        )
                        .at(span),
                    );
                }
                None
            }
            _ if span.start == span.end => {
                self.report.push(
                    Diagnostic::error(&codes::WRONG_TYPE, "there is no key before the `:`")
                        .at(span),
                );
                None
            }
            _ => Some(Spanned::new(
                self.text[span.start..span.end].trim().to_owned(),
                span,
            )),
        }
    }

    fn float(&mut self, value: f64, span: Span) -> NodeKind {
        let written = self.text[span.start..span.end].trim();
        let digits = written.trim_start_matches(['-', '+']);
        let number = serde_json::Number::from_f64(value);
        let integer = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match number {
            Some(number) if !integer => NodeKind::Number(number),
            Some(number) => {
                self.report.push(
                    Diagnostic::error(&codes::BAD_VALUE, "the integer is too large")
                        .at(span)
                        .help("integers go from -9223372036854775808 to 18446744073709551615; a longer one must be quoted as text"),
                );
                NodeKind::Number(number)
            }
            None => {
                self.report.push(
                    Diagnostic::error(&codes::BAD_VALUE, "the number is not finite")
                        .at(span)
                        .help("ComfyUI takes only finite numbers; as text it must be quoted"),
                );
                NodeKind::Null
            }
        }
    }

    /// YAML's own tags say no more than the value does; all others would be lost.
    fn tag(&mut self, tag: &str, span: Span) {
        if !foreign(tag) || tag == "!" {
            return;
        }
        let tag = tag.replace("tag:yaml.org,2002:", "!!");
        let before = &self.text[..span.start];
        let at = before
            .rfind(tag.as_str())
            .filter(|at| !before[*at..].contains('\n'));
        let span = at.map_or(span, |at| Span::new(self.file, at, at + tag.len()));
        self.report.push(
            Diagnostic::error(
                &codes::BAD_VALUE,
                format!("the YAML tag `{tag}` has no meaning here"),
            )
            .at(span)
            .help(format!(
                "leave it out, or quote the whole value if it is text: `\"{tag} …\"`"
            )),
        );
    }

    /// The text from `{{` to its `}}` stands for the value, so that the rest of the file is still read.
    fn unquoted_template(&mut self, span: Span) -> Node {
        let rest = &self.text[span.start..];
        let line = rest.lines().next().unwrap_or(rest);
        let end = match (line.find("}}"), rest.find("}}")) {
            (Some(end), _) | (None, Some(end)) => end + 2,
            (None, None) => line.len(),
        };
        let span = Span::new(self.file, span.start, span.start + end);
        let text = &rest[..end];
        self.report.push(yaml_error::unquoted(span, text));
        Node {
            span,
            kind: NodeKind::String(text.to_owned()),
        }
    }

    fn span(&self, location: Location) -> Span {
        yaml_error::span_of(location, self.file, self.text)
    }

    /// From a flow collection's opening to its closing bracket; a block collection keeps its beginning.
    fn collection(&self, open: Span, last: Option<Span>) -> Span {
        let close = match self.text[open.start..].chars().next() {
            Some('[') => ']',
            Some('{') => '}',
            _ => return open,
        };
        // An alias stands elsewhere: then the search begins after the bracket and ends at the first one that closes.
        let from = last
            .map(|span| span.end)
            .filter(|end| *end > open.start)
            .unwrap_or(open.start + 1);
        let between = |c: char| c.is_whitespace() || matches!(c, ',' | ':' | '?');
        let rest = &self.text[from..];
        let trimmed = rest.trim_start_matches(between);
        if trimmed.starts_with(close) {
            return Span::new(self.file, open.start, self.text.len() - trimmed.len() + 1);
        }
        open
    }
}
