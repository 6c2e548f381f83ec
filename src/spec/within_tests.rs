//! `Node::span_within` against random texts in every style.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::{Node, NodeKind, yaml};
use crate::diagnostic::{FileId, Report, SourceMap, Span};

/// The node under the key `k`, wherever it stands.
fn find(node: &Node) -> Option<&Node> {
    match &node.kind {
        NodeKind::Map(entries) => entries
            .iter()
            .find_map(|(key, value)| (key.value == "k").then_some(value).or(find(value))),
        NodeKind::List(items) => items.iter().find_map(find),
        _ => None,
    }
}

fn load(yaml: &str) -> (SourceMap, Option<Node>) {
    let mut sources = SourceMap::default();
    let file = sources.add_file(Path::new("/t.yaml"), yaml);
    let mut report = Report::default();
    let root = yaml::read(file, &sources, &mut report);
    let node = root.as_ref().and_then(find).cloned();
    (sources, node)
}

/// What `range` of the value under `k` is written as.
fn written(yaml: &str, value: &str, part: &str) -> String {
    let (sources, node) = load(yaml);
    let node = node.expect(yaml);
    assert_eq!(node.as_str(), Some(value), "{yaml}");
    let at = value.find(part).expect(part);
    let span = node.span_within(&sources, at..at + part.len());
    sources.snippet(span).to_owned()
}

/// A file, the value of its `k`, a part of that, and what stands in the file for the part.
const STYLES: [(&str, &str, &str, &str); 18] = [
    ("k: a {{ x }} b", "a {{ x }} b", "{{ x }}", "{{ x }}"),
    ("k: a\n  b c\n  d", "a b c d", "b c d", "b c\n  d"),
    ("k: 'it''s {{ x }}'", "it's {{ x }}", "{{ x }}", "{{ x }}"),
    ("k: 'it''s'", "it's", "'", "''"),
    (
        r#"k: "\u00fc\t{{ x }}\n""#,
        "ü\t{{ x }}\n",
        "{{ x }}",
        "{{ x }}",
    ),
    (r#"k: "\u00fc\t{{ x }}\n""#, "ü\t{{ x }}\n", "ü", r"\u00fc"),
    ("k: \"\\ud83d\\ude00 x\"", "😀 x", "😀", "\\ud83d\\ude00"),
    (
        "k: \"a \\\n  b {{ x }}\"",
        "a b {{ x }}",
        "{{ x }}",
        "{{ x }}",
    ),
    ("k: \"a\n\n  b\"", "a\nb", "b", "b"),
    (
        "k: |\n  one\n    {{ x }}\n  two\n",
        "one\n  {{ x }}\ntwo\n",
        "{{ x }}",
        "{{ x }}",
    ),
    (
        "k: |2+\n   {{ x }}\n\n",
        " {{ x }}\n\n",
        "{{ x }}",
        "{{ x }}",
    ),
    (
        "k: |-\n\n  a\n  {{ x }}\n",
        "\na\n{{ x }}",
        "{{ x }}",
        "{{ x }}",
    ),
    (
        "k: >\n  one\n  {{ x }}\n\n  two\n",
        "one {{ x }}\ntwo\n",
        "{{ x }}",
        "{{ x }}",
    ),
    (
        "k: >\n\n  a\n    b\n  {{ x }}",
        "\na\n  b\n{{ x }}\n",
        "{{ x }}",
        "{{ x }}",
    ),
    (
        "k: |\r\n  a\r\n  {{ x }}\r\n",
        "a\n{{ x }}\n",
        "{{ x }}",
        "{{ x }}",
    ),
    (
        "k: &a !!str |  # note\n  {{ x }}\n",
        "{{ x }}\n",
        "{{ x }}",
        "{{ x }}",
    ),
    ("j: [1, { k: a\n   b }]", "a b", "b", "b"),
    (
        "a: &v 'x''{{ y }}'\nk: *v",
        "x'{{ y }}",
        "{{ y }}",
        "{{ y }}",
    ),
];

#[test]
fn a_part_of_a_scalar_is_found_in_every_style() {
    for (yaml, value, part, source) in STYLES {
        assert_eq!(written(yaml, value, part), source, "{yaml}");
    }
}

#[test]
fn what_cannot_be_found_is_the_whole_value() {
    let mut sources = SourceMap::default();
    let file: FileId = sources.add_text("t", "k: abc");
    let node = Node {
        span: Span::new(file, 3, 6),
        kind: NodeKind::String("something else".to_owned()),
    };
    assert_eq!(node.span_within(&sources, 2..4), node.span);
}

/// Writes `value` in a style, at a depth; `None` when the style cannot hold it.
fn write(value: &str, style: usize, indent: usize) -> Option<String> {
    let pad = " ".repeat(indent);
    let printable = value.chars().all(|c| c == '\n' || !c.is_control());
    let body = match style {
        0 => format!("'{}'", single(value, &pad)?),
        1 => format!("\"{}\"", double(value, &pad)),
        2 if printable => {
            let content = value.trim_end_matches('\n');
            if content.is_empty() || content.contains('\r') {
                return None;
            }
            let lines: Vec<String> = value
                .strip_suffix('\n')
                .unwrap_or(value)
                .split('\n')
                .map(|line| {
                    if line.is_empty() {
                        String::new()
                    } else {
                        format!("{pad}{line}")
                    }
                })
                .collect();
            let chomp = if value.ends_with('\n') { "+" } else { "-" };
            let step = indent - indent.saturating_sub(2);
            format!("|{step}{chomp}\n{}", lines.join("\n"))
        }
        3 if printable => folded(value, &pad)?,
        4 if printable && !value.contains('\n') => broken(value, &pad),
        _ => return None,
    };
    Some(body)
}

/// Single quotes hold a line feed as an empty line, where no blanks stand beside it.
fn single(value: &str, pad: &str) -> Option<String> {
    let plain = value.chars().all(|c| c == '\n' || !c.is_control());
    let blanks = [" \n", "\n ", "\t\n", "\n\t"]
        .iter()
        .any(|b| value.contains(b));
    let edges = value.starts_with('\n') || value.ends_with('\n') || value.contains("\n\n");
    (plain && !blanks && !edges).then(|| {
        value
            .replace('\'', "''")
            .replace('\n', &format!("\n\n{pad}"))
    })
}

/// Every other lone space becomes a line break.
fn broken(line: &str, pad: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let single_space = |at: usize| {
        let solid = |at: Option<usize>| {
            at.and_then(|n| chars.get(n))
                .is_some_and(|c| !c.is_whitespace())
        };
        solid(at.checked_sub(1)) && solid(Some(at + 1))
    };
    let mut spaces = 0;
    let mut out = String::new();
    for (at, c) in chars.iter().enumerate() {
        if *c == ' ' && single_space(at) {
            spaces += 1;
            if spaces % 2 == 1 {
                write!(out, "\n{pad}").unwrap();
                continue;
            }
        }
        out.push(*c);
    }
    out
}

fn folded(value: &str, pad: &str) -> Option<String> {
    let (content, chomp) = match value.strip_suffix('\n') {
        Some(content) => (content, "+"),
        None => (value, "-"),
    };
    let mut lines = Vec::new();
    for line in content.split('\n') {
        if line.trim() != line || line.is_empty() {
            return None;
        }
        lines.push(broken(line, pad));
    }
    let body = lines.join(&format!("\n\n{pad}"));
    Some(format!(">{chomp}\n{pad}{body}"))
}

fn double(value: &str, pad: &str) -> String {
    let mut out = String::new();
    for (at, c) in value.chars().enumerate() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || at % 7 == 3 => write!(out, "\\U{:08x}", c as u32).unwrap(),
            c => out.push(c),
        }
        // A continuation, now and then; a blank after it must be escaped.
        if at % 11 == 5 {
            write!(out, "\\\n{pad}").unwrap();
            if value.chars().nth(at + 1) == Some(' ') && (at + 1) % 7 != 3 {
                out.push('\\');
            }
        }
    }
    out
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z{}%'\"\\\\#:,üé😀-]{1,6}",
        2 => Just(" ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("{{ x }}".to_owned()),
        1 => Just("\u{a0}\u{2028}\u{1b}".to_owned()),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// For every character of a decoded scalar, the source that it is said to come from decodes to that character.
    #[test]
    fn every_character_leads_to_the_source_it_was_decoded_from(
        value in text(), style in 0_usize..5, depth in 1_usize..4,
    ) {
        let indent = depth * 2;
        let Some(body) = write(&value, style, indent) else { return Ok(()) };
        let mut yaml = String::new();
        for level in 0..depth - 1 {
            writeln!(yaml, "{}n{level}:", "  ".repeat(level)).unwrap();
        }
        writeln!(yaml, "{}k: {body}", "  ".repeat(depth - 1)).unwrap();
        let (sources, node) = load(&yaml);
        // What this test writes wrongly is no business of the mapping.
        let Some(node) = node.filter(|n| n.as_str() == Some(&value)) else { return Ok(()) };
        for (at, c) in value.char_indices() {
            let span = node.span_within(&sources, at..at + c.len_utf8());
            let source = sources.snippet(span);
            let decoded = match (source, c) {
                (s, c) if s.strip_prefix(c) == Some("") => true,
                ("''", '\'') => true,
                (s, '\n') => s == "\\n" || s.ends_with('\n'),
                // A folded line break, with the indentation of the next line.
                (s, ' ') if s.starts_with('\n') => s.trim().is_empty(),
                (s, c) if s.starts_with('\\') => {
                    let (_, again) = load(&format!("k: \"{s}\"\n"));
                    again.and_then(|n| n.as_str().map(str::to_owned)) == Some(c.to_string())
                }
                _ => false,
            };
            prop_assert!(decoded, "{c:?} at {at} of {value:?} came from {source:?} in\n{yaml}");
        }
    }

    #[test]
    fn a_range_never_leaves_the_value(value in text(), start in 0_usize..40, length in 0_usize..40) {
        let yaml = format!("k: \"{}\"\n", double(&value, "  "));
        let (sources, node) = load(&yaml);
        let Some(node) = node else { return Ok(()) };
        let span = node.span_within(&sources, start..start + length);
        prop_assert!(span.start >= node.span.start && span.end <= node.span.end && span.start <= span.end);
    }
}

#[test]
fn the_styles_of_the_property_test_are_really_read_back() {
    let value = "it's {{ x }}\nü #: \"q\"\n";
    for style in [1, 2] {
        let body = write(value, style, 4).expect("a style");
        let (_, node) = load(&format!("a:\n  k: {body}\n"));
        assert_eq!(node.expect("a node").as_str(), Some(value), "{body}");
    }
    for (style, value) in [(3, "a b {{ x }} c\nd e f"), (4, "a b {{ x }} c d")] {
        let body = write(value, style, 4).expect("a style");
        assert!(body.contains("a\n    b"), "{body}");
        let (_, node) = load(&format!("a:\n  k: {body}\n"));
        let read = node.map(|n| n.as_str().map(str::to_owned));
        assert_eq!(read, Some(Some(value.to_owned())), "{body}");
    }
    let body = write("it's {{ x }}\nb", 0, 4).expect("a style");
    let (_, node) = load(&format!("a:\n  k: {body}\n"));
    assert_eq!(node.expect("a node").as_str(), Some("it's {{ x }}\nb"));
}
