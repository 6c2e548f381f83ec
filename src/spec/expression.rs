//! `when:`, `for_each:` and `until:`: expressions that stand bare, where YAML may have had its own idea of them.

use serde_json::{Value, json};

use super::quoting::quoted;
use super::reading::Reading;
use super::{Node, NodeKind, template_diagnostic};
use crate::diagnostic::{Diagnostic, Span, codes};
use crate::template::Template;

/// The keys that hold bare expressions.
pub(super) const KEYS: &[&str] = &["when", "for_each", "until"];

/// Reads a condition: a boolean, or an expression.
pub(super) fn condition(key: &str, node: &Node, reading: &mut Reading<'_>) -> Option<Node> {
    match &node.kind {
        NodeKind::Bool(_) => Some(node.clone()),
        NodeKind::String(text) if meant_boolean(text).is_some() => {
            let word = meant_boolean(text).unwrap_or_default();
            refuse(
                key,
                node.span,
                &format!("must be an expression or a boolean, and in YAML 1.2 `{text}` is neither"),
                format!("write `{key}: {word}`"),
                reading,
            );
            None
        }
        _ => expression(key, node, "an expression or a boolean", reading),
    }
}

/// Reads what is gone through: a list, or an expression that gives one.
pub(super) fn list(key: &str, node: &Node, reading: &mut Reading<'_>) -> Option<Node> {
    match &node.kind {
        NodeKind::List(_) => Some(node.clone()),
        _ => expression(key, node, "an expression or a list", reading),
    }
}

fn expression(key: &str, node: &Node, wanted: &str, reading: &mut Reading<'_>) -> Option<Node> {
    let NodeKind::String(text) = &node.kind else {
        let why = match node.kind {
            NodeKind::Null => "has no value".to_owned(),
            _ => format!("must be {wanted}, and this is {}", node.describe()),
        };
        refuse(key, node.span, &why, such_as(key), reading);
        return None;
    };
    let inside = text.trim();
    let bare = inside
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .map_or(inside, str::trim);
    if bare.is_empty() {
        refuse(key, node.span, "has no value", such_as(key), reading);
        return None;
    }
    let Err(error) = Template::parse_expression(text) else {
        return Some(node.clone());
    };
    let meant = without_braces(inside);
    if meant != inside && Template::parse_expression(&meant).is_ok() {
        refuse(
            key,
            node.span,
            "is an expression by itself, and takes no braces inside it",
            format!("write `{key}: {}`", quoted(&meant)),
            reading,
        );
        return None;
    }
    let mut diagnostic = template_diagnostic(&error, node, reading.sources);
    let meant = other_words(inside);
    if meant != inside && Template::parse_expression(&meant).is_ok() {
        diagnostic = diagnostic.help(format!(
            "the operators are `and`, `or`, `not` and `==`: `{key}: {}`",
            quoted(&meant)
        ));
    }
    reading.push(diagnostic);
    None
}

/// An expression in the operators of other languages, as it was meant.
fn other_words(text: &str) -> String {
    let mut meant = text
        .replace("===", "==")
        .replace(" && ", " and ")
        .replace(" || ", " or ")
        .replace(" = ", " == ");
    while let Some(at) = negation(&meant) {
        meant.replace_range(at..=at, "not ");
    }
    meant
}

/// An expression whose names stand in `{{ }}` as in a text, as it was meant.
pub(super) fn without_braces(text: &str) -> String {
    let mut meant = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, after)) = after.split_once("}}") else {
            break;
        };
        match before.strip_suffix('.') {
            Some(before) => meant = meant + before + "[" + inside.trim() + "]",
            None => meant = meant + before + inside.trim(),
        }
        rest = after;
    }
    meant + rest
}

fn refuse(key: &str, span: Span, why: &str, help: String, reading: &mut Reading<'_>) {
    reading.push(
        Diagnostic::error(&codes::BAD_EXPRESSION, format!("`{key}` {why}"))
            .at(span)
            .help(help),
    );
}

fn such_as(key: &str) -> String {
    format!("write an expression, such as `{}`", such_as_text(key))
}

fn such_as_text(key: &str) -> &'static str {
    match key {
        "for_each" => "for_each: \"steps.draw.images\"",
        "until" => "until: \"result.images | length > 0\"",
        _ => "when: \"params.style == 'photo'\"",
    }
}

/// The boolean that YAML 1.1 takes a word for.
fn meant_boolean(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => Some("true"),
        "no" | "off" | "n" => Some("false"),
        _ => None,
    }
}

/// The complaint about an expression that YAML took a tag off: `when: !params.draft`, of which `written` is all.
pub(super) fn tagged(key: &str, written: &str, span: Span) -> Diagnostic {
    let rest = written.trim_start_matches('!').trim_start();
    let meant = if rest.is_empty() { "…" } else { rest };
    let tag = written.split_whitespace().next().unwrap_or("!");
    Diagnostic::error(
        &codes::BAD_EXPRESSION,
        format!("in YAML `{tag}` is a tag, and no part of the expression"),
    )
    .at(span)
    .help(match key {
        "for_each" => format!("quote the expression: `{key}: {}`", quoted(meant)),
        _ => format!(
            "quote the expression; its word for `!` is `not`: `{key}: {}`",
            quoted(&format!("not {meant}"))
        ),
    })
}

/// Where a `!` stands before a name or a bracket.
fn negation(text: &str) -> Option<usize> {
    text.match_indices('!').map(|(at, _)| at).find(|at| {
        let after = text[at + 1..].chars().next();
        after.is_some_and(|c| c.is_alphabetic() || c == '(')
    })
}

/// What stands for an expression that had its complaint, so that it gets no second one.
pub(super) fn stand_in(key: &str) -> NodeKind {
    match key {
        "for_each" => NodeKind::List(Vec::new()),
        _ => NodeKind::Bool(true),
    }
}

pub(super) fn condition_schema() -> Value {
    json!({ "oneOf": [{ "type": "boolean" }, { "type": "string", "minLength": 1 }] })
}

pub(super) fn list_schema() -> Value {
    json!({ "oneOf": [{ "type": "array" }, { "type": "string", "minLength": 1 }] })
}
