//! `command:`, `env:` and `stdin:` of a step: a program on this machine.

use std::path::Path;

use serde_json::{Value, json};

use super::needs::templated;
use super::quoting::{element, quoted};
use super::reading::{Fields, Reading};
use super::{Node, NodeKind, Spanned};
use crate::diagnostic::{Diagnostic, Span, codes};

/// A program, its arguments and what it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Where `command` stands.
    pub span: Span,
    /// The program and its arguments, at least one; scalars, maybe templates, or lists that are spliced.
    pub args: Vec<Node>,
    /// Its environment beside `PATH`, `HOME` and `TMPDIR`; scalars, maybe templates.
    pub env: Vec<(Spanned<String>, Node)>,
    /// What it reads; a scalar, maybe a template.
    pub stdin: Option<Node>,
}

/// Reads the program of a step, with what it gets; `None` when it cannot be run.
pub(super) fn read(fields: &Fields<'_>, reading: &mut Reading<'_>) -> Option<Command> {
    let (key, node) = fields.entry("command")?;
    let args = args(node, reading);
    let env = fields
        .get("env")
        .map_or_else(Vec::new, |node| env(node, reading));
    let stdin = fields.get("stdin").filter(|node| {
        let good = scalar(node);
        if !good {
            reading.wrong_type(node, "`stdin`", "a text or a template");
        }
        good
    });
    let stdin = stdin.map(|node| as_written(node, reading));
    Some(Command {
        span: key.span,
        args: args?,
        env,
        stdin,
    })
}

fn scalar(node: &Node) -> bool {
    matches!(
        node.kind,
        NodeKind::String(_) | NodeKind::Number(_) | NodeKind::Bool(_)
    )
}

const EXAMPLE: &str =
    "write the program and its arguments as a list: `command: [ffmpeg, -i, in.mp4, out.mp4]`";

fn args(node: &Node, reading: &mut Reading<'_>) -> Option<Vec<Node>> {
    let complain = |why: String, span: Span, help: String, reading: &mut Reading<'_>| {
        let diagnostic = Diagnostic::error(&codes::BAD_COMMAND, why).at(span);
        reading.push(diagnostic.help(help));
    };
    let items = match &node.kind {
        NodeKind::List(items) if !items.is_empty() => items,
        NodeKind::List(_) => {
            let why = "`command` names no program".to_owned();
            complain(why, node.span, EXAMPLE.to_owned(), reading);
            return None;
        }
        NodeKind::String(text) if !text.trim().is_empty() => {
            let why = "`command` must be a list: there is no shell that would split a text";
            let folder = reading.sources.file(node.span.file).path.clone();
            let folder = folder.as_deref().and_then(Path::parent);
            let help = split_form(text, |word| {
                folder.is_some_and(|folder| names_a_file(folder, word))
            });
            complain(why.to_owned(), node.span, help, reading);
            return None;
        }
        _ => {
            let why = format!("`command` must be a list, and this is {}", node.describe());
            complain(why, node.span, EXAMPLE.to_owned(), reading);
            return None;
        }
    };
    let mut good = true;
    for (at, item) in items.iter().enumerate() {
        if let Some(why) = refusal(at, item) {
            good = false;
            let help = match &item.kind {
                NodeKind::Null => "for an empty argument write `\"\"`".to_owned(),
                NodeKind::Map(_) => match reading.source(item.span).trim() {
                    block if block.contains('\n') => "quote it if it is text".to_owned(),
                    line => format!("quote it if it is text: `{}`", quoted(line)),
                },
                _ => EXAMPLE.to_owned(),
            };
            complain(why, item.span, help, reading);
        }
    }
    good.then(|| items.iter().map(|item| as_written(item, reading)).collect())
}

/// A program gets a number as it is written: `1.10` is a version, and `1e3` need not be `1000.0`.
fn as_written(node: &Node, reading: &Reading<'_>) -> Node {
    let kind = match &node.kind {
        NodeKind::Number(_) => {
            let written = reading.source(node.span).trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
            if written.is_empty() || !written.chars().all(plain) {
                return node.clone();
            }
            NodeKind::String(written.to_owned())
        }
        NodeKind::List(items) => {
            NodeKind::List(items.iter().map(|item| as_written(item, reading)).collect())
        }
        _ => return node.clone(),
    };
    Node {
        span: node.span,
        kind,
    }
}

/// Why an element cannot stand where it stands.
fn refusal(at: usize, item: &Node) -> Option<String> {
    match &item.kind {
        NodeKind::String(text) if at == 0 && text.trim().is_empty() => {
            Some("the program of `command` is an empty text".to_owned())
        }
        NodeKind::String(_) => None,
        _ if at == 0 => Some(format!(
            "the program of `command` must be a string, and this is {}",
            item.describe()
        )),
        NodeKind::List(parts) if parts.iter().all(scalar) => None,
        NodeKind::List(_) => Some("a list inside `command` must hold plain values".to_owned()),
        NodeKind::Null | NodeKind::Map(_) => Some(format!(
            "an argument of `command` must be a text, and this is {}",
            item.describe()
        )),
        NodeKind::Number(_) | NodeKind::Bool(_) => None,
    }
}

fn env(node: &Node, reading: &mut Reading<'_>) -> Vec<(Spanned<String>, Node)> {
    let entries = reading.map(node, "`env`").unwrap_or_default();
    let mut env = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if templated(name, "a key", reading) {
            continue;
        }
        let mut chars = name.value.chars();
        let good = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !good {
            reading.push(
                Diagnostic::error(
                    &codes::BAD_NAME,
                    format!("`{}` cannot be the name of a variable", name.value),
                )
                .at(name.span)
                .help("names of environment variables consist of letters, digits and `_`"),
            );
        } else if scalar(value) {
            env.push((name.clone(), as_written(value, reading)));
        } else {
            reading.wrong_type(value, &format!("`{}`", name.value), "a text or a template");
        }
    }
    env
}

/// How a command that was written as one text is written as a list.
fn split_form(text: &str, is_file: impl Fn(&str) -> bool) -> String {
    let text = text.trim();
    let mut outside = String::new();
    let words = words(text, &mut outside);
    let wants_shell = outside.contains(['|', '>', '<', ';', '&', '*', '$', '`', '\n']);
    if wants_shell && !text.contains("{{") {
        return format!(
            "for a shell write `command: [sh, -c, {}]`",
            quoted(text).replace('\n', " ")
        );
    }
    let words = words.iter().enumerate();
    let list = words.map(|(at, word)| match at {
        1.. if is_file(word) => as_file(word),
        _ => element(word),
    });
    let list: Vec<String> = list.collect();
    format!("write `command: [{}]`", list.join(", "))
}

/// Whether an argument names a file by a path relative to a folder. A program runs in a folder of its own, and does not find it.
pub fn names_a_file(folder: &Path, arg: &str) -> bool {
    let relative = !arg.is_empty() && !arg.starts_with('-') && Path::new(arg).is_relative();
    let quotable = !arg.contains(['\'', '"', '\\', '{']);
    relative && quotable && folder.join(arg).is_file()
}

/// How a file of the user's is given to a program.
pub fn as_file(arg: &str) -> String {
    format!("\"{{{{ file('{arg}') }}}}\"")
}

/// A text split as a shell does: at white space, but not inside quotes and not inside `{{ }}`. What stands in neither is also added to
/// `outside`.
fn words(text: &str, outside: &mut String) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if quote.is_none()
            && rest.starts_with("{{")
            && let Some(end) = rest.find("}}")
        {
            word.get_or_insert_default().push_str(&rest[..end + 2]);
            rest = &rest[end + 2..];
            continue;
        }
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if matches!(c, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => {
                outside.push(c);
                word.get_or_insert_default().push(c);
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    words.extend(word);
    words
}

pub(super) fn args_schema() -> Value {
    let plain = json!(["string", "number", "boolean"]);
    json!({
        "type": "array",
        "minItems": 1,
        "items": {
            "oneOf": [
                { "type": plain },
                { "type": "array", "items": { "type": plain } },
            ],
        },
    })
}

pub(super) fn env_schema() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": {
            "description": "The variable's value; a file becomes its path.",
            "type": ["string", "number", "boolean"],
        },
    })
}

pub(super) fn stdin_schema() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_the_list_it_should_be() {
        for (text, help) in [
            (
                "ffmpeg -i in.mp4 out.mp4",
                "write `command: [ffmpeg, -i, in.mp4, out.mp4]`",
            ),
            (
                "magick '{{ steps.a.image }}' -resize 50% \"my file.png\"",
                "write `command: [magick, \"{{ steps.a.image }}\", -resize, \"50%\", \"my file.png\"]`",
            ),
            (
                "echo {{ params.a ~ ' b' }}x ''",
                "write `command: [echo, \"{{ params.a ~ ' b' }}x\", \"\"]`",
            ),
            (
                "ls *.png | wc -l",
                "for a shell write `command: [sh, -c, \"ls *.png | wc -l\"]`",
            ),
            ("true", "write `command: [\"true\"]`"),
            (
                "python3 tool.py x",
                "write `command: [python3, \"{{ file('tool.py') }}\", x]`",
            ),
            ("tool.py x", "write `command: [tool.py, x]`"),
        ] {
            assert_eq!(split_form(text, |word| word == "tool.py"), help);
        }
    }
}
