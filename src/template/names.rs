//! What a template mentions: chains such as `steps.base.image`, functions it calls, filters and tests, each with its place.

use std::ops::Range;

use super::scan::{Placed, Token};

/// A name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    /// The name.
    pub(super) name: String,
    /// Its bytes.
    pub(super) range: Range<usize>,
}

/// A name and the attributes taken of it: `.name` or `['name']`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Its parts; never empty.
    pub(super) parts: Vec<Mention>,
    /// Whether it is called as a function.
    pub(super) called: bool,
}

/// Everything a template mentions, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mentions {
    /// Chains, except keywords and the names of keyword arguments.
    pub(super) chains: Vec<Chain>,
    /// Filters.
    pub(super) filters: Vec<Mention>,
    /// Tests (after `is`).
    pub(super) tests: Vec<Mention>,
}

const KEYWORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "endif",
    "endfor",
    "set",
    "endset",
    "with",
    "endwith",
    "macro",
    "endmacro",
    "call",
    "endcall",
    "filter",
    "endfilter",
    "block",
    "endblock",
    "raw",
    "endraw",
    "do",
    "break",
    "continue",
    "recursive",
    "autoescape",
    "endautoescape",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "loop",
];

/// Sorts tokens into mentions.
pub(super) fn mentions(tokens: &[Placed]) -> Mentions {
    let mut found = Mentions::default();
    let mut at = 0;
    while at < tokens.len() {
        let Token::Name(name) = &tokens[at].token else {
            at += 1;
            continue;
        };
        let mention = Mention {
            name: name.clone(),
            range: tokens[at].range.clone(),
        };
        let before = at.checked_sub(1).map(|n| &tokens[n].token);
        if before == Some(&Token::Sign('|')) || filter_block(tokens, at) {
            found.filters.push(mention);
            at += 1;
        } else if tested(tokens, at) && !KEYWORDS.contains(&name.as_str()) {
            found.tests.push(mention);
            at += 1;
        } else if before == Some(&Token::Sign('.'))
            || KEYWORDS.contains(&name.as_str())
            || keyword_argument(tokens, at)
        {
            at += 1;
        } else {
            at = chain(tokens, at, &mut found);
        }
    }
    found
}

fn sign(tokens: &[Placed], at: usize) -> Option<char> {
    match tokens.get(at).map(|t| &t.token) {
        Some(Token::Sign(c)) => Some(*c),
        _ => None,
    }
}

fn word(tokens: &[Placed], at: usize) -> Option<&str> {
    match tokens.get(at).map(|t| &t.token) {
        Some(Token::Name(name)) => Some(name),
        _ => None,
    }
}

/// `{% filter upper %}` names a filter without a bar.
fn filter_block(tokens: &[Placed], at: usize) -> bool {
    at >= 1 && word(tokens, at - 1) == Some("filter") && (at == 1 || sign(tokens, at - 2).is_none())
}

fn tested(tokens: &[Placed], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).and_then(|at| word(tokens, at));
    before(1) == Some("is") || before(1) == Some("not") && before(2) == Some("is")
}

fn keyword_argument(tokens: &[Placed], at: usize) -> bool {
    sign(tokens, at + 1) == Some('=')
        && sign(tokens, at + 2) != Some('=')
        && at
            .checked_sub(1)
            .is_some_and(|n| matches!(sign(tokens, n), Some('(' | ',')))
}

fn chain(tokens: &[Placed], mut at: usize, found: &mut Mentions) -> usize {
    let mut parts = Vec::new();
    let mut push = |name: &str, range: &Range<usize>| {
        parts.push(Mention {
            name: name.to_owned(),
            range: range.clone(),
        });
    };
    if let Some(name) = word(tokens, at) {
        push(name, &tokens[at].range);
    }
    at += 1;
    loop {
        if let (Some('.'), Some(name)) = (sign(tokens, at), word(tokens, at + 1)) {
            push(name, &tokens[at + 1].range);
            at += 2;
        } else if let (Some('['), Some(Token::Text(name)), Some(']')) = (
            sign(tokens, at),
            tokens.get(at + 1).map(|t| &t.token),
            sign(tokens, at + 2),
        ) {
            push(name, &tokens[at + 1].range);
            at += 3;
        } else {
            break;
        }
    }
    found.chains.push(Chain {
        parts,
        called: sign(tokens, at) == Some('('),
    });
    at
}

#[cfg(test)]
mod tests {
    use super::super::scan;
    use super::*;

    fn of(text: &str) -> Mentions {
        mentions(&scan::template(text, true))
    }

    fn chains(text: &str) -> Vec<String> {
        of(text)
            .chains
            .iter()
            .map(|c| {
                c.parts
                    .iter()
                    .map(|p| p.name.as_str())
                    .collect::<Vec<_>>()
                    .join(".")
            })
            .collect()
    }

    #[test]
    fn chains_follow_attributes_and_text_subscripts() {
        assert_eq!(
            chains("{{ steps.a.image }} {{ steps['b'].outputs.final.file }} {{ steps[x].y }}"),
            ["steps.a.image", "steps.b.outputs.final.file", "steps", "x"]
        );
        assert_eq!(
            chains("{{ a | default(value=b, true) if c is defined else d }}"),
            ["a", "b", "c", "d"]
        );
    }

    #[test]
    fn filters_tests_and_calls_are_told_apart() {
        let found = of(
            "{{ range(n) | map('upper') | list is not defined }}{% filter slug %}{% endfilter %}",
        );
        let names = |list: &[Mention]| list.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found.filters), ["map", "list", "slug"]);
        assert_eq!(names(&found.tests), ["defined"]);
        assert!(found.chains[0].called);
        assert!(!found.chains[1].called);
    }
}
