//! What every element needs to read itself: maps with known keys, scalars of a wanted type, and the same words for the same mistakes.

use serde_json::Value;

use super::{Node, NodeKind, Spanned};
use crate::base::valid_id;
use crate::diagnostic::{Diagnostic, Report, SourceMap, Span, codes, did_you_mean, list_of};

/// One key of an element: known to its reader and described in the schema.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What editors show.
    pub(super) about: &'static str,
    /// The schema of its value.
    pub(super) schema: fn() -> Value,
    pub(super) required: bool,
}

impl Key {
    pub(super) const fn new(
        name: &'static str,
        about: &'static str,
        schema: fn() -> Value,
    ) -> Self {
        Self {
            name,
            about,
            schema,
            required: false,
        }
    }

    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// The file under the reader's finger and what is wrong with it.
pub(super) struct Reading<'a> {
    pub(super) sources: &'a SourceMap,
    pub(super) report: &'a mut Report,
}

/// The entries of a map whose keys were checked.
pub(super) struct Fields<'n> {
    entries: &'n [(Spanned<String>, Node)],
    /// Keys that unknown ones were probably meant to be.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Whether an unknown key was probably meant to be this one.
    pub(super) fn meant(&self, key: &str) -> bool {
        self.meant.contains(&key)
    }

    /// The value of a key.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, value)| value)
    }

    /// A key and its value.
    pub(super) fn entry(&self, name: &str) -> Option<(&'n Spanned<String>, &'n Node)> {
        self.entries
            .iter()
            .find(|(key, _)| key.value == name)
            .map(|(key, value)| (key, value))
    }
}

impl Reading<'_> {
    /// The text a span covers.
    pub(super) fn source(&self, span: Span) -> &str {
        self.sources.snippet(span)
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        self.report.push(diagnostic);
    }

    /// The entries of a map, checked against its keys; `owner` is what has them: `a step`, `the pipeline`. With `free`, keys that
    /// begin with `x-` are the user's own.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node,
        owner: &str,
        keys: &[Key],
        free: bool,
    ) -> Option<Fields<'n>> {
        let entries = self.map(node, owner)?;
        let mut meant = Vec::new();
        for (key, _) in entries {
            let name = key.value.as_str();
            if !(keys.iter().any(|k| k.name == name) || free && name.starts_with("x-")) {
                meant.extend(self.unknown_key(key, owner, keys));
            }
        }
        Some(Fields { entries, meant })
    }

    /// Complains about a key; gives the one that was probably meant.
    fn unknown_key(
        &mut self,
        key: &Spanned<String>,
        owner: &str,
        keys: &[Key],
    ) -> Option<&'static str> {
        let names = || keys.iter().map(|k| k.name);
        let near = did_you_mean(&key.value, names());
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{owner} has the keys {}", list_of(names(), 40)),
        };
        self.push(
            Diagnostic::error(
                &codes::UNKNOWN_KEY,
                format!("{owner} has no key `{}`", key.value),
            )
            .at(key.span)
            .help(help),
        );
        near
    }

    /// The entries of a map whose keys are the user's.
    pub(super) fn map<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
    ) -> Option<&'n [(Spanned<String>, Node)]> {
        if let NodeKind::Map(entries) = &node.kind {
            return Some(entries);
        }
        self.wrong_type(node, what, "a map");
        None
    }

    /// Says that a required key is missing from the element that `at` names, unless it is there with a slip in its name.
    pub(super) fn missing(
        &mut self,
        fields: &Fields<'_>,
        at: Span,
        owner: &str,
        key: &str,
        example: &str,
    ) {
        if fields.meant(key) {
            return;
        }
        self.push(
            Diagnostic::error(&codes::MISSING_KEY, format!("{owner} has no `{key}`"))
                .at(at)
                .help(format!("add one, such as `{example}`")),
        );
    }

    /// A string of at least one character.
    pub(super) fn string(&mut self, node: &Node, name: &str) -> Option<Spanned<String>> {
        let NodeKind::String(text) = &node.kind else {
            self.wrong_type(node, name, "a string");
            return None;
        };
        if text.trim().is_empty() {
            self.push(
                Diagnostic::error(&codes::BAD_VALUE, format!("{name} must not be empty"))
                    .at(node.span),
            );
            return None;
        }
        Some(Spanned::new(text.clone(), node.span))
    }

    /// A node that is a non-empty string, maybe with a template in it.
    pub(super) fn text(&mut self, node: &Node, name: &str) -> Option<Node> {
        self.string(node, name).map(|_| node.clone())
    }

    /// Text for people; may be empty.
    pub(super) fn prose(&mut self, node: &Node, name: &str) -> Option<String> {
        if let NodeKind::String(text) = &node.kind {
            return Some(text.clone());
        }
        self.wrong_type(node, name, "a string");
        None
    }

    pub(super) fn boolean(&mut self, node: &Node, name: &str) -> Option<bool> {
        if let NodeKind::Bool(value) = node.kind {
            return Some(value);
        }
        self.wrong_type(node, name, "`true` or `false`");
        None
    }

    /// An integer that is at least 1.
    pub(super) fn count(&mut self, node: &Node, name: &str) -> Option<Spanned<u32>> {
        let NodeKind::Number(number) = &node.kind else {
            self.wrong_type(node, name, "an integer");
            return None;
        };
        if number.is_f64() {
            self.wrong_type(node, name, "an integer");
            return None;
        }
        let count = number.as_u64().and_then(|n| u32::try_from(n).ok());
        if let Some(count) = count.filter(|n| *n >= 1) {
            return Some(Spanned::new(count, node.span));
        }
        self.push(
            Diagnostic::error(
                &codes::BAD_VALUE,
                format!("{name} must be at least 1 and below 2^32"),
            )
            .at(node.span),
        );
        None
    }

    /// A name that the user gives: `[a-z][a-z0-9_]*`. It is reported, not refused: whatever refers to it still finds it.
    pub(super) fn id(&mut self, name: &Spanned<String>, what: &str) {
        if valid_id(&name.value) {
            return;
        }
        let mut diagnostic = Diagnostic::error(
            &codes::BAD_NAME,
            format!("`{}` cannot be {what}", name.value),
        )
        .at(name.span);
        if name.value.contains("{{") || name.value.contains("{%") {
            self.push(diagnostic.help("keys are never templates: write the name itself"));
            return;
        }
        diagnostic = diagnostic
        .help("names begin with a lower-case letter and go on with lower-case letters, digits and `_`");
        let better = better_id(&name.value);
        if valid_id(&better) {
            diagnostic = diagnostic.help(format!("`{better}` would do"));
        }
        self.push(diagnostic);
    }

    /// Says that a value has the wrong type, and what was probably meant.
    pub(super) fn wrong_type(&mut self, node: &Node, name: &str, wanted: &str) {
        let mut diagnostic = Diagnostic::error(
            &codes::WRONG_TYPE,
            format!("{name} must be {wanted}, and this is {}", node.describe()),
        )
        .at(node.span);
        if let Some(help) = self.meant(node, wanted) {
            diagnostic = diagnostic.help(help);
        }
        self.push(diagnostic);
    }

    pub(super) fn meant(&self, node: &Node, wanted: &str) -> Option<String> {
        match (&node.kind, wanted) {
            (NodeKind::Bool(_) | NodeKind::Number(_), "a string") => Some(format!(
                "quote it if it is text: `\"{}\"`",
                self.source(node.span).trim()
            )),
            (NodeKind::Null, _) => Some("give it a value, or leave the key out".to_owned()),
            (NodeKind::String(text), "`true` or `false`") => {
                let plain = text.to_lowercase();
                match plain.as_str() {
                    "yes" | "on" | "y" | "true" => Some("write `true`".to_owned()),
                    "no" | "off" | "n" | "false" => Some("write `false`".to_owned()),
                    _ => None,
                }
            }
            (NodeKind::String(text), "an integer") => {
                meant_integer(text.trim(), self.source(node.span))
            }
            _ => None,
        }
    }
}

/// An integer that YAML takes for text: in quotes, or written as other languages write it.
fn meant_integer(text: &str, written: &str) -> Option<String> {
    let number = text.replace('_', "").parse::<i128>().ok()?;
    let plain = number.to_string();
    if plain == text && written.starts_with(['"', '\'']) {
        return Some(format!("leave the quotes out: `{plain}`"));
    }
    let octal = text
        .strip_prefix('0')
        .filter(|digits| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(8)));
    Some(match octal {
        Some(digits) => format!("write `{plain}`, or `0o{digits}` if it is octal"),
        None => format!("write `{plain}`"),
    })
}

/// Where a map begins: a complaint about what it lacks must not show all of it.
pub(super) fn first(map: &Node) -> Span {
    match &map.kind {
        NodeKind::Map(entries) => entries.first().map_or(map.span, |(key, _)| key.span),
        _ => map.span,
    }
}

fn better_id(name: &str) -> String {
    let mut better = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            let follows_small = better
                .chars()
                .next_back()
                .is_some_and(|b| b.is_ascii_lowercase());
            if follows_small {
                better.push('_');
            }
            better.push(c.to_ascii_lowercase());
        } else if c.is_ascii_alphanumeric() {
            better.push(c);
        } else if !better.is_empty() && !better.ends_with('_') {
            better.push('_');
        }
    }
    better.trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::meant_integer;

    #[test]
    fn an_integer_that_is_text_is_shown_as_it_must_be_written() {
        for (text, written, help) in [
            ("3", "\"3\"", Some("leave the quotes out: `3`")),
            (
                "0777",
                "0777",
                Some("write `777`, or `0o777` if it is octal"),
            ),
            ("'0777'", "0777", None),
            (
                "0777",
                "'0777'",
                Some("write `777`, or `0o777` if it is octal"),
            ),
            ("089", "089", Some("write `89`")),
            ("1_000", "1_000", Some("write `1000`")),
            ("many", "many", None),
        ] {
            assert_eq!(meant_integer(text, written).as_deref(), help, "{written}");
        }
    }
}
