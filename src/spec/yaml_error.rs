//! The YAML reader's errors in kiln's words.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Location};

use super::expression;
use super::quoting::quoted;
use super::yaml::{MAX_ALIASES, MAX_DEPTH, MAX_NODES, MAX_TEXT};
use crate::diagnostic::{Diagnostic, FileId, Span, codes};

/// The bytes of a location.
pub(super) fn span_of(location: Location, file: FileId, text: &str) -> Span {
    let span = location.span();
    let Some(start) = span.byte_offset() else {
        let at = offset_of(location, text);
        return Span::new(file, at, at);
    };
    let floor = |at: u64| {
        let mut at = usize::try_from(at).unwrap_or(text.len()).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let end = start + span.byte_len().unwrap_or(0);
    Span::new(file, floor(start), floor(end))
}

/// The scanner's errors know only line and column, both from 1, columns in characters.
fn offset_of(location: Location, text: &str) -> usize {
    let before = usize::try_from(location.line().saturating_sub(1)).unwrap_or(0);
    let column = usize::try_from(location.column().saturating_sub(1)).unwrap_or(0);
    let line: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    text[line..]
        .char_indices()
        .nth(column)
        .map_or(text.len(), |(at, _)| line + at)
}

/// What is to be said about an error.
pub(super) fn diagnostic(error: &Error, file: FileId, text: &str) -> Diagnostic {
    let error = innermost(error);
    let span = error.location().map_or_else(
        || Span::new(file, 0, 0),
        |location| visible(span_of(location, file, text), text),
    );
    if let Some(limit) = limit(error) {
        return Diagnostic::error(&codes::YAML_LIMIT, format!("the file {limit}"))
            .at(span)
            .help(
                "kiln refuses such files unread, since a few lines of YAML can stand for gigabytes",
            );
    }
    if let Some(span) = tab_indent(span, text) {
        let message = "the file is no valid YAML: a tab stands where a line is indented";
        return Diagnostic::error(&codes::NOT_YAML, message)
            .at(span)
            .help("indent with spaces, not with tabs");
    }
    if let Some(help) = quotes_in_quotes(span, text) {
        let (message, _) = words(error);
        return Diagnostic::error(&codes::NOT_YAML, message)
            .at(span)
            .help(help);
    }
    if let Some((span, help)) = bare_expression(span, text) {
        if text[span.start..].starts_with("{{") {
            return Diagnostic::error(&codes::UNQUOTED_TEMPLATE, UNQUOTED)
                .at(span)
                .help(help);
        }
        let (message, _) = words(error);
        return Diagnostic::error(&codes::NOT_YAML, message)
            .at(span)
            .help(help);
    }
    if let Some((span, text)) = unquoted_near(span, file, text) {
        return unquoted(span, &text);
    }
    if let Some((span, text)) = unquoted_inside(span, text) {
        return unquoted(span, &text);
    }
    let (message, help) = words(error);
    let mut diagnostic = Diagnostic::error(&codes::NOT_YAML, message).at(span);
    if let Some(help) = help.or_else(|| hint(span, text)) {
        diagnostic = diagnostic.help(help);
    }
    diagnostic
}

fn innermost(error: &Error) -> &Error {
    let mut error = error.without_snippet();
    while let Error::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    error
}

/// An error at the end of a line or file points at its last character.
fn visible(span: Span, text: &str) -> Span {
    let mut start = span.start;
    if text[start..].chars().next().is_none_or(|c| c == '\n') {
        let line = text[..start].trim_end_matches(['\n', '\r', ' ', '\t']);
        if let Some(last) = line.chars().next_back()
            && !text[line.len()..start].contains('\n')
        {
            start = line.len() - last.len_utf8();
        }
    }
    let end = text[start..]
        .chars()
        .next()
        .filter(|c| *c != '\n')
        .map_or(start, |c| start + c.len_utf8());
    Span::new(span.file, start, end.max(span.end.min(text.len())))
}

fn limit(error: &Error) -> Option<String> {
    let breach = match error {
        Error::Budget { breach, .. } => breach,
        Error::AliasReplayLimitExceeded {
            max_total_replayed_events: most,
            ..
        } => {
            return Some(format!(
                "unfolds to more than {most} values through its aliases"
            ));
        }
        Error::AliasExpansionLimitExceeded {
            max_expansions_per_anchor: most,
            ..
        } => return Some(format!("uses one anchor more than {most} times")),
        Error::AliasReplayStackDepthExceeded { max_depth, .. } => {
            return Some(format!(
                "has aliases inside aliases deeper than {max_depth} levels"
            ));
        }
        other if other.to_string().starts_with("recursion limit") => {
            return Some(format!("nests collections deeper than {MAX_DEPTH} levels"));
        }
        _ => return None,
    };
    Some(match breach {
        BudgetBreach::Depth { .. } => {
            format!("nests collections deeper than {MAX_DEPTH} levels")
        }
        BudgetBreach::Nodes { .. } => {
            format!("has more than {MAX_NODES} values, aliases counted each time they are used")
        }
        BudgetBreach::Aliases { .. } => format!("uses more than {MAX_ALIASES} aliases"),
        BudgetBreach::ScalarBytes { .. } => format!(
            "has more than {} MiB of text, aliases counted each time they are used",
            MAX_TEXT >> 20
        ),
        BudgetBreach::AliasAnchorRatio { aliases, anchors } => {
            format!("uses {aliases} aliases of only {anchors} anchors")
        }
        BudgetBreach::MergeKeys { merge_keys } => format!("has {merge_keys} merge keys"),
        BudgetBreach::Anchors { anchors } => format!("has {anchors} anchors"),
        BudgetBreach::Events { events } => format!("has more than {events} parts"),
        _ => "is larger than YAML files may be".to_owned(),
    })
}

fn words(error: &Error) -> (String, Option<String>) {
    let told = |message: &str, help: &str| (message.to_owned(), Some(help.to_owned()));
    match error {
        Error::MultipleDocuments { .. } => told(
            "the file has more than one YAML document",
            "keep one, without `---` lines in between",
        ),
        Error::UnknownAnchor { .. } => told(
            "the alias names no anchor of this file",
            "define the anchor above it (`&name`), or quote the text if it is no alias",
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => (
            "an alias stands inside the value that it repeats".to_owned(),
            None,
        ),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => told(
            "`<<` merges a map, or a list of maps",
            "write an alias of a map after it: `<<: *name`",
        ),
        other => {
            let message = other.to_string();
            let place = message.rfind(" at line ").unwrap_or(message.len());
            let told = &message[..place];
            (format!("the file is no valid YAML: {told}"), usual(told))
        }
    }
}

/// What usually lies behind some of the reader's words.
fn usual(told: &str) -> Option<String> {
    if told.contains("quoted scalar") && told.contains("indentation") {
        return Some("is a closing quote missing above?".to_owned());
    }
    told.contains("did not find expected key")
        .then(|| "entries of one map must begin in the same column".to_owned())
}

/// A template that ends too early, since it holds the quotes that stand around it.
fn quotes_in_quotes(span: Span, text: &str) -> Option<String> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    for (outer, inner, name) in [('"', '\'', "single"), ('\'', '"', "double")] {
        for opening in [format!("{outer}{{{{"), format!("{outer}{{%")] {
            let Some(at) = line.find(&opening) else {
                continue;
            };
            let rest = &line[at + 1..];
            let Some(end) = rest.find(["}}", "%}"][usize::from(opening.ends_with('%'))]) else {
                continue;
            };
            let template = &rest[..end + 2];
            // Doubled or escaped, they are part of the text.
            let doubled = template.contains("''") || template.contains("\\\"");
            if template.contains(outer) && !template.contains(inner) && !doubled {
                let meant = template.replace(outer, &inner.to_string());
                return Some(format!(
                    "use {name} quotes inside the template: `{outer}{meant}{outer}`"
                ));
            }
        }
    }
    None
}

/// The tab that indents the line of an error, or the one below it: the reader may take such a line for more of the value above.
fn tab_indent(span: Span, text: &str) -> Option<Span> {
    let mut start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
    for line in text[start..].split_inclusive('\n').take(2) {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = &line[..line.len() - content.len()];
        if let Some(at) = indent.find('\t').filter(|_| !content.trim().is_empty()) {
            return Some(Span::new(span.file, start + at, start + at + 1));
        }
        start += line.len();
    }
    None
}

/// What newcomers to YAML usually meant.
fn hint(span: Span, text: &str) -> Option<String> {
    let line_start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let column = span.start - line_start;
    let at = line.get(column..).unwrap_or_default();
    if line
        .get(..column)
        .is_some_and(|before| before.contains('\t'))
        || at.starts_with('\t')
    {
        return Some("indent with spaces, not with tabs".to_owned());
    }
    if at.starts_with(['@', '`', '%', '*', '&', '!', '|', '>']) {
        return Some("a text that begins with this character must be quoted".to_owned());
    }
    if at.starts_with(':') {
        return Some("a text that contains `: ` must be quoted".to_owned());
    }
    if at.starts_with(['"', '\'']) || at.starts_with('\\') {
        return Some(
            "in double quotes a backslash begins an escape; single quotes take it as it is"
                .to_owned(),
        );
    }
    None
}

const UNQUOTED: &str =
    "a value that begins with `{{` must be quoted, since `{` begins a map in YAML";

/// The diagnostic for a template that YAML takes for a map.
pub(super) fn unquoted(span: Span, template: &str) -> Diagnostic {
    let quoted = match (template.contains('"'), template.contains('\'')) {
        (false, _) => format!("quote the template: `\"{template}\"`"),
        (true, false) => format!("quote the template: `'{template}'`"),
        (true, true) => "quote the whole value with `'`, and double every `'` inside it".to_owned(),
    };
    let why = match template.get(..2) {
        Some("{%") => "a value that begins with `{%` must be quoted",
        Some("{{") => UNQUOTED,
        _ => "inside `[ ]` and `{ }` a value with a template in it must be quoted",
    };
    Diagnostic::error(&codes::UNQUOTED_TEMPLATE, why)
        .at(span)
        .help(quoted)
}

/// The line of a place: where it begins, and its text.
fn line_of(span: Span, text: &str) -> (usize, &str) {
    let start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
    (start, text[start..].lines().next().unwrap_or_default())
}

/// An expression (`when: 'a' in x`) that YAML cannot read without quotes: its place, and what to do.
fn bare_expression(span: Span, text: &str) -> Option<(Span, String)> {
    let (line_start, line) = line_of(span, text);
    expression::KEYS.iter().find_map(|key| {
        let colon = format!("{key}: ");
        let at = line.match_indices(&colon).map(|(at, _)| at).find(|at| {
            let before = line[..*at].trim_end();
            before.is_empty() || before.ends_with(['{', ',', '-'])
        })?;
        let in_flow = line[..at].contains('{');
        let rest = &line[at + colon.len()..];
        let start = line_start + at + colon.len() + (rest.len() - rest.trim_start().len());
        let value = plain_value(rest.trim_start(), in_flow);
        // Nothing after the key was read yet: then the mistake is elsewhere, but a comment may have taken the bracket's end.
        if span.start <= line_start + at && !(in_flow && value.contains(" #")) {
            return None;
        }
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let odd = match quote {
            Some(quote) => {
                value.trim_end_matches(quote).len() > 1 && {
                    let close = value[1..].find(quote).map_or(value.len(), |n| n + 2);
                    close < value.len() && !value[close..].starts_with(quote)
                }
            }
            None if in_flow => [" #", ": ", "{", "["].iter().any(|odd| value.contains(odd)),
            None => value.contains(": ") || value.starts_with(['[', '{']),
        };
        let whole = value.starts_with("{{") && value.ends_with("}}");
        if !odd || whole || value.starts_with(['[', '{']) && in_flow {
            return None;
        }
        let span = Span::new(span.file, start, start + value.len());
        let meant = quoted(&expression::without_braces(value));
        Some((
            span,
            format!("quote the whole expression: `{key}: {meant}`"),
        ))
    })
}

/// A value as it was meant: to the line's end, in a flow collection to what ends it outside quotes and brackets.
fn plain_value(rest: &str, in_flow: bool) -> &str {
    if !in_flow {
        return rest.trim_end();
    }
    let mut quote = None;
    let mut depth = 0_u32;
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{' | '(') => depth += 1,
            (None, ',' | ']' | '}') if depth == 0 => return rest[..at].trim_end(),
            (None, ']' | '}' | ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    rest.trim_end()
}

/// A plain value inside a flow collection with a template after its beginning: `[x{{ y }}]`.
fn unquoted_inside(span: Span, text: &str) -> Option<(Span, String)> {
    let (line_start, line) = line_of(span, text);
    let column = span.start - line_start;
    let open = [column, column.checked_sub(1)?]
        .into_iter()
        .find(|at| line.get(*at..).is_some_and(|rest| rest.starts_with("{{")))?;
    let start = line[..open]
        .rfind(['[', ',', '{'])
        .into_iter()
        .chain(line[..open].rfind(": ").map(|at| at + 1))
        .max()?;
    let start = start + 1;
    let start = start + (line[start..].len() - line[start..].trim_start().len());
    let close = open + line[open..].find("}}")? + 2;
    let end = line[close..]
        .find([',', ']', '}'])
        .map_or(line.len(), |n| close + n);
    let value = line[start..end].trim_end();
    let span = Span::new(
        span.file,
        line_start + start,
        line_start + start + value.len(),
    );
    (!value.starts_with(['"', '\''])).then(|| (span, value.to_owned()))
}

/// The unquoted template that made the reader stumble: a `{{` or `{%` where a value begins, on the line of the error or shortly above.
fn unquoted_near(span: Span, file: FileId, text: &str) -> Option<(Span, String)> {
    let line_end = text[span.start..]
        .find('\n')
        .map_or(text.len(), |n| span.start + n);
    let mut end = line_end;
    for _ in 0..4 {
        let start = text[..end].rfind('\n').map_or(0, |n| n + 1);
        if let Some(at) = value_template(&text[start..end]) {
            let line = text[start..end].trim_end();
            let value = value_text(&line[at..]);
            let span = Span::new(file, start + at, start + at + value.len());
            return Some((span, value.to_owned()));
        }
        end = start.checked_sub(1)?;
    }
    None
}

/// Where a template begins a value on a line.
fn value_template(line: &str) -> Option<usize> {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => continue,
            None if c == '#' && before.is_whitespace() => return None,
            None if matches!(c, '"' | '\'') && !before.is_alphanumeric() => quote = Some(c),
            None if c == '{' && line[at + 1..].starts_with(['{', '%']) => {
                let start = line[..at].trim_end();
                let begins = start.is_empty() || start.ends_with([':', '-', '[', ',', '{']);
                if begins {
                    return Some(at);
                }
            }
            None => {}
        }
        before = c;
    }
    None
}

/// The value that begins with a template: to the end of the line where the line holds nothing else, else to the braces' end.
fn value_text(rest: &str) -> &str {
    let comment = rest.find(" #").unwrap_or(rest.len());
    let rest = rest[..comment].trim_end();
    let opened = rest.matches(['[', '{']).count();
    let closed = rest.matches([']', '}']).count();
    if opened == closed && !rest.ends_with(',') {
        return rest;
    }
    let close = if rest.starts_with("{%") { "%}" } else { "}}" };
    rest.find(close).map_or(rest, |n| &rest[..n + 2])
}
