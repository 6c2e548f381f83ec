//! Where names stand in a template: a small reader of tokens beside minijinja's own, which tells no positions.
//!
//! It never decides whether a template is valid, only where to point.

use std::ops::Range;

/// A piece of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or keyword.
    Name(String),
    /// A text literal, without quotes and with its escapes as written.
    Text(String),
    /// Digits.
    Number,
    /// One character of anything else.
    Sign(char),
}

/// A token and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// What.
    pub(super) token: Token,
    /// Where.
    pub(super) range: Range<usize>,
}

/// The tokens of all expressions and statements in a template's text.
#[cfg(test)]
pub(super) fn template(text: &str, comments: bool) -> Vec<Placed> {
    blocks(text, comments).concat()
}

/// The tokens of each `{{ … }}` and `{% … %}` in a template's text, without the dashes that belong to the braces.
pub(super) fn blocks(text: &str, comments: bool) -> Vec<Vec<Placed>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = next_open(text, at, comments) {
        let inside = open + 2;
        match &text[open..inside] {
            "{#" => {
                at = text[inside..]
                    .find("#}")
                    .map_or(text.len(), |n| inside + n + 2);
            }
            opened => {
                let close = if opened == "{{" { "}}" } else { "%}" };
                let dashed = text[inside..].starts_with(['-', '+']);
                let mut tokens = Vec::new();
                let end = expression(text, inside + usize::from(dashed), Some(close), &mut tokens);
                let dash = tokens.last().is_some_and(|last| {
                    matches!(last.token, Token::Sign('-' | '+')) && last.range.end + 2 == end
                });
                if dash {
                    tokens.pop();
                }
                at = skip_raw(text, end, &tokens);
                found.push(tokens);
            }
        }
    }
    found
}

/// The tokens of a bare expression that covers `range` of `text`.
pub(super) fn bare(text: &str, range: Range<usize>) -> Vec<Placed> {
    let mut tokens = Vec::new();
    expression(&text[..range.end], range.start, None, &mut tokens);
    tokens
}

fn next_open(text: &str, from: usize, comments: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    (from..bytes.len().saturating_sub(1)).find(|&at| {
        bytes[at] == b'{'
            && (matches!(bytes[at + 1], b'{' | b'%') || comments && bytes[at + 1] == b'#')
    })
}

/// After `{% raw %}` everything up to `{% endraw %}` is text.
fn skip_raw(text: &str, end: usize, tokens: &[Placed]) -> usize {
    let opened_raw = tokens.last().is_some_and(|last| {
        last.token == Token::Name("raw".to_owned())
            && text[..last.range.start]
                .trim_end_matches(['-', '+', ' ', '\t', '\n'])
                .ends_with("{%")
    });
    if !opened_raw {
        return end;
    }
    let mut ends = text[end..].match_indices("endraw");
    ends.find(|(n, word)| {
        let before = text[end..end + n].trim_end();
        let before = before.strip_suffix(['-', '+']).unwrap_or(before);
        let after = text[end + n + word.len()..].trim_start();
        let after = after.strip_prefix(['-', '+']).unwrap_or(after);
        before.ends_with("{%") && after.starts_with("%}")
    })
    .map_or(text.len(), |(n, _)| end + n)
}

/// Reads tokens from `at` until `close` (or the end) and answers where reading stopped.
fn expression(text: &str, mut at: usize, close: Option<&str>, tokens: &mut Vec<Placed>) -> usize {
    let mut depth = 0_usize;
    while let Some(first) = text[at..].chars().next() {
        if depth == 0 && close.is_some_and(|c| text[at..].starts_with(c)) {
            return at + 2;
        }
        let start = at;
        at += first.len_utf8();
        let token = match first {
            c if c.is_whitespace() => continue,
            '"' | '\'' => {
                let (content, end) = literal(text, at, first);
                at = end;
                Token::Text(content)
            }
            c if c.is_alphabetic() || c == '_' => {
                at += length_while(&text[at..], |c| c.is_alphanumeric() || c == '_');
                Token::Name(text[start..at].to_owned())
            }
            c if c.is_ascii_digit() => {
                at += length_while(&text[at..], |c| c.is_ascii_alphanumeric() || c == '_');
                at += exponent(&text[start..at], &text[at..]);
                Token::Number
            }
            c => {
                match c {
                    '{' | '[' | '(' => depth += 1,
                    '}' | ']' | ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                Token::Sign(c)
            }
        };
        tokens.push(Placed {
            token,
            range: start..at,
        });
    }
    text.len()
}

/// How far a number goes on after `digits`: `-5` after `1e`.
fn exponent(digits: &str, rest: &str) -> usize {
    let decimal = digits.strip_suffix(['e', 'E']);
    if !decimal.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit() || b == b'_')) {
        return 0;
    }
    match rest.strip_prefix(['-', '+']) {
        Some(power) => match length_while(power, |c| c.is_ascii_digit()) {
            0 => 0,
            length => length + 1,
        },
        None => 0,
    }
}

fn length_while(text: &str, keep: impl Fn(char) -> bool) -> usize {
    text.find(|c| !keep(c)).unwrap_or(text.len())
}

/// The content of a literal that was opened just before `from`, and where it ends.
fn literal(text: &str, from: usize, quote: char) -> (String, usize) {
    let mut escaped = false;
    for (n, c) in text[from..].char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            c if c == quote && !escaped => {
                return (text[from..from + n].to_owned(), from + n + 1);
            }
            _ => escaped = false,
        }
    }
    (text[from..].to_owned(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&str> {
        template(text, true)
            .into_iter()
            .filter(|p| matches!(p.token, Token::Name(_)))
            .map(|p| &text[p.range])
            .collect()
    }

    #[test]
    fn names_are_found_where_expressions_are() {
        assert_eq!(
            names("a {{ b.c }} d {% if e %}f{% endif %}"),
            ["b", "c", "if", "e", "endif"]
        );
        assert_eq!(names("{{ '}} x {{' ~ y }} z"), ["y"]);
        assert_eq!(names("{{ {'a': {'b': one}} }} z {{ two }}"), ["one", "two"]);
        assert_eq!(names("{# {{ no }} #}{{ yes }}"), ["yes"]);
        assert_eq!(
            names("{% raw %}{{ no }}{% endraw %}{{ yes }}"),
            ["raw", "yes"]
        );
        assert_eq!(names("no end {{ a"), ["a"]);
    }

    #[test]
    fn dashes_of_braces_and_of_exponents_are_no_operators() {
        let signs = |text: &str| {
            let tokens = template(text, true);
            let is_sign = |p: &&Placed| matches!(p.token, Token::Sign(_));
            tokens.iter().filter(is_sign).count()
        };
        assert_eq!(signs("{{- a -}} {%- if b +%}{% endif %}"), 0);
        assert_eq!(signs("{{ -1 }}"), 1);
        assert_eq!(signs("{{ 1e-5 }} {{ 2E+7 }}"), 0);
        assert_eq!(signs("{{ 1.5e-5 }}"), 1);
        assert_eq!(signs("{{ 1 - 5 }}{{ a-5 }}"), 2);
    }

    #[test]
    fn ranges_are_bytes_of_the_text() {
        let text = "ü {{ größe }}";
        let tokens = template(text, true);
        assert_eq!(&text[tokens[0].range.clone()], "größe");
    }
}
