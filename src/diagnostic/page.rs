//! The page of a code for a terminal: wrapped, without the marks of its Markdown.
//!
//! Pages are written in a small part of Markdown: a title, paragraphs, lists, code in fences, and `code`, **weight** and *stress* in
//! lines. What else Markdown has is shown as it is written.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

/// How far code stands from the left.
const INDENT: &str = "    ";

/// A piece of a paragraph that is not broken: text in one style.
#[derive(Clone, Debug, PartialEq)]
struct Word {
    /// Parts in different styles.
    parts: Vec<(String, Style)>,
    width: usize,
}

/// The page for so many columns, with styles (which the stream drops where it has no colours).
pub fn render_page(page: &str, columns: usize) -> String {
    let mut out = String::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        if let Some(title) = line
            .trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
        {
            let bold = Style::new().bold();
            let _ = writeln!(out, "{bold}{title}{bold:#}");
        } else if line.starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
            for line in code {
                let text = format!("{INDENT}{line}");
                out.push_str(text.trim_end());
                out.push('\n');
            }
        } else if item(line).is_some() {
            let mut entry = line.to_owned();
            loop {
                match lines.peek() {
                    Some(next) if !next.trim().is_empty() && !next.starts_with("```") => {
                        let next = lines.next().unwrap_or_default();
                        if item(next).is_some() {
                            list_entry(&entry, columns, &mut out);
                            next.clone_into(&mut entry);
                        } else {
                            entry.push(' ');
                            entry.push_str(next.trim());
                        }
                    }
                    _ => break,
                }
            }
            list_entry(&entry, columns, &mut out);
        } else {
            let mut paragraph = line.to_owned();
            while let Some(next) = lines.peek() {
                if next.trim().is_empty() || next.starts_with("```") || item(next).is_some() {
                    break;
                }
                paragraph.push(' ');
                paragraph.push_str(lines.next().unwrap_or_default().trim());
            }
            wrap(&paragraph, columns, "", "", &mut out);
        }
    }
    out
}

/// The mark of a list's entry, with the spaces before it, and its text.
fn item(line: &str) -> Option<(&str, &str)> {
    let start = line.len() - line.trim_start().len();
    let rest = &line[start..];
    let mark = if rest.starts_with("- ") || rest.starts_with("* ") {
        2
    } else {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let numbered = digits > 0 && rest[digits..].starts_with(". ");
        numbered.then_some(digits + 2)?
    };
    Some((&line[..start + mark], &rest[mark..]))
}

fn list_entry(entry: &str, columns: usize, out: &mut String) {
    let Some((mark, text)) = item(entry) else {
        return;
    };
    let first = format!("  {}", mark.replace('*', "-"));
    let rest = " ".repeat(first.width());
    wrap(text, columns, &first, &rest, out);
}

/// Fills lines with the words of a paragraph.
fn wrap(text: &str, columns: usize, first: &str, rest: &str, out: &mut String) {
    let mut line = first.to_owned();
    let mut width = first.width();
    let mut empty = true;
    for word in words(text) {
        if !empty && width + 1 + word.width > columns {
            out.push_str(line.trim_end());
            out.push('\n');
            rest.clone_into(&mut line);
            width = rest.width();
            empty = true;
        }
        if !empty {
            line.push(' ');
            width += 1;
        }
        for (part, style) in &word.parts {
            let _ = write!(line, "{style}{part}{style:#}");
        }
        width += word.width;
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// The words of a paragraph. Code keeps its backticks, since not every terminal has colours, and is broken at its spaces like the rest.
fn words(text: &str) -> Vec<Word> {
    let code = AnsiColor::Cyan.on_default();
    let bold = Style::new().bold();
    let slanted = Style::new().italic();
    let mut words = Vec::new();
    let mut parts: Vec<(String, Style)> = Vec::new();
    let mut style = Style::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let in_code = style == code;
        if c == ' ' {
            flush(&mut parts, &mut words);
            rest = &rest[1..];
        } else if c == '`' {
            if in_code {
                push(&mut parts, '`', style);
                style = Style::new();
            } else {
                style = code;
                push(&mut parts, '`', style);
            }
            rest = &rest[1..];
        } else if !in_code && rest.starts_with("**") {
            style = if style == bold { Style::new() } else { bold };
            rest = &rest[2..];
        } else if !in_code && c == '*' && (style == slanted || starts_stress(&rest[1..])) {
            style = if style == slanted {
                Style::new()
            } else {
                slanted
            };
            rest = &rest[1..];
        } else if !in_code
            && c == '['
            && let Some((label, after)) = link(rest)
        {
            for c in label.chars().filter(|c| *c != '`') {
                if c == ' ' {
                    flush(&mut parts, &mut words);
                } else {
                    push(&mut parts, c, style);
                }
            }
            rest = after;
        } else {
            push(&mut parts, c, style);
            rest = &rest[c.len_utf8()..];
        }
    }
    flush(&mut parts, &mut words);
    words
}

fn starts_stress(rest: &str) -> bool {
    let tight = rest
        .chars()
        .next()
        .is_some_and(|c| !c.is_whitespace() && c != '*');
    tight && rest.contains('*')
}

/// `[label](address)`: the label, and what follows.
fn link(text: &str) -> Option<(&str, &str)> {
    let (label, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (_, after) = rest.strip_prefix('(')?.split_once(')')?;
    Some((label, after))
}

fn push(parts: &mut Vec<(String, Style)>, c: char, style: Style) {
    match parts.last_mut() {
        Some((text, last)) if *last == style => text.push(c),
        _ => parts.push((c.to_string(), style)),
    }
}

fn flush(parts: &mut Vec<(String, Style)>, words: &mut Vec<Word>) {
    if parts.is_empty() {
        return;
    }
    let parts = std::mem::take(parts);
    let width = parts.iter().map(|(text, _)| text.width()).sum();
    words.push(Word { parts, width });
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# K0001: a title\n\nA paragraph of `some code` and **weight**, with a\nlink to [the guide](../guide.md) and 2 * 3 * 4 *once*.\n\n```yaml\na:\n  - b   # stays as it is, however long the line may be in the end\n\nc: 1\n```\nAfter:\n- first entry, which is long enough to be wrapped\n  and goes on\n- second\n1. one\n";

    #[test]
    fn a_page_is_wrapped_and_its_marks_are_gone() {
        let text = anstream::adapter::strip_str(&render_page(PAGE, 40)).to_string();
        assert_eq!(
            text,
            "K0001: a title\n\
             \n\
             A paragraph of `some code` and weight,\n\
             with a link to the guide and 2 * 3 * 4\n\
             once.\n\
             \n    a:\n      - b   # stays as it is, however long the line may be in the end\n\n    c: 1\n\
             \n\
             After:\n\
             \n  - first entry, which is long enough to\n    be wrapped and goes on\n  - second\n  1. one\n"
        );
    }

    #[test]
    fn code_is_coloured_and_weight_is_bold() {
        let text = render_page("`a` **b**\n", 40);
        assert_eq!(text, "\u{1b}[36m`a`\u{1b}[0m \u{1b}[1mb\u{1b}[0m\n");
    }
}
