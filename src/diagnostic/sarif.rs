//! Diagnostics as a SARIF 2.1.0 log, for code scanning and for editors that read it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::codes::Code;
use super::{Diagnostic, Label, Report, Severity, SourceMap, Span};

/// The schema that a log names.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Where kiln is described.
const HOME: &str = "https://github.com/kiln-run/kiln";

/// A log in the making: the diagnostics of one file after the other.
#[derive(Debug, Default)]
pub struct SarifLog {
    /// The rules that were broken, by id.
    rules: BTreeMap<&'static str, &'static Code>,
    results: Vec<(&'static Code, Map<String, Value>)>,
    files: Vec<String>,
}

impl SarifLog {
    /// Adds what was found in `file`.
    pub fn add(&mut self, file: &str, report: &Report, sources: &SourceMap) {
        self.files.push(uri(file));
        for diagnostic in report.in_order() {
            self.rules.insert(diagnostic.code.id, diagnostic.code);
            let result = result(diagnostic, sources, file);
            self.results.push((diagnostic.code, result));
        }
    }

    /// The log. `good`: the program did what it was asked for.
    pub fn finish(self, good: bool) -> Value {
        let index: BTreeMap<&str, usize> = self
            .rules
            .keys()
            .enumerate()
            .map(|(at, id)| (*id, at))
            .collect();
        let rules: Vec<Value> = self.rules.values().map(|code| rule(code)).collect();
        let results: Vec<Value> = self
            .results
            .into_iter()
            .map(|(code, mut result)| {
                if let Some(at) = index.get(code.id) {
                    result.insert("ruleIndex".to_owned(), json!(at));
                }
                Value::Object(result)
            })
            .collect();
        let mut files = self.files;
        files.sort();
        files.dedup();
        let artifacts: Vec<Value> = files
            .iter()
            .filter(|file| file.as_str() != "-")
            .map(|file| json!({ "location": { "uri": file } }))
            .collect();
        json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "kiln",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "informationUri": HOME,
                    "rules": rules,
                }},
                "invocations": [{ "executionSuccessful": good }],
                "columnKind": "unicodeCodePoints",
                "artifacts": artifacts,
                "results": results,
            }],
        })
    }
}

fn rule(code: &Code) -> Value {
    let title = code.page.lines().next().unwrap_or_default();
    let title = title.split_once(": ").map_or(title, |(_, words)| words);
    let body = code.page.split_once('\n').map_or("", |(_, rest)| rest);
    let first = body.trim_start().lines().next().unwrap_or_default();
    json!({
        "id": code.id,
        "name": code.kind,
        "shortDescription": { "text": title },
        "fullDescription": { "text": first },
        "help": { "text": body.trim(), "markdown": body.trim() },
        "helpUri": format!("{HOME}/blob/main/docs/codes/{}.md", code.id),
    })
}

fn result(diagnostic: &Diagnostic, sources: &SourceMap, file: &str) -> Map<String, Value> {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut text = diagnostic.message.clone();
    for help in &diagnostic.help {
        text.push_str("\nhelp: ");
        text.push_str(help);
    }
    let primary = diagnostic.primary.as_ref();
    let mut place = primary
        .and_then(|label| location(label, sources))
        .unwrap_or_else(|| match file {
            "-" => Map::new(),
            file => physical(json!({ "artifactLocation": { "uri": uri(file) } })),
        });
    if let Some(node) = logical(diagnostic) {
        place.insert("logicalLocations".to_owned(), json!([node]));
    }
    let mut result = Map::new();
    result.insert("ruleId".to_owned(), json!(diagnostic.code.id));
    result.insert("level".to_owned(), json!(level));
    result.insert("message".to_owned(), json!({ "text": text }));
    if !place.is_empty() {
        result.insert("locations".to_owned(), json!([place]));
    }
    let related: Vec<Value> = diagnostic
        .secondary
        .iter()
        .filter_map(|label| {
            let mut place = location(label, sources)?;
            if !label.message.is_empty() {
                place.insert("message".to_owned(), json!({ "text": label.message }));
            }
            Some(Value::Object(place))
        })
        .collect();
    if !related.is_empty() {
        result.insert("relatedLocations".to_owned(), json!(related));
    }
    let mut properties = Map::new();
    properties.insert("kind".to_owned(), json!(diagnostic.kind));
    for (name, value) in [
        ("node", &diagnostic.node),
        ("class_type", &diagnostic.class_type),
        ("input", &diagnostic.input),
    ] {
        if let Some(value) = value {
            properties.insert(name.to_owned(), json!(value));
        }
    }
    result.insert("properties".to_owned(), Value::Object(properties));
    result
}

/// The node, as a place that is no line.
fn logical(diagnostic: &Diagnostic) -> Option<Value> {
    let node = diagnostic.node.as_deref().filter(|node| !node.is_empty())?;
    let full = match &diagnostic.input {
        Some(input) => format!("{node}.{input}"),
        None => node.to_owned(),
    };
    Some(json!({ "name": node, "fullyQualifiedName": full, "kind": "member" }))
}

fn physical(physical: Value) -> Map<String, Value> {
    let mut place = Map::new();
    place.insert("physicalLocation".to_owned(), physical);
    place
}

/// `None` for what was typed or piped in: that is no file.
fn location(label: &Label, sources: &SourceMap) -> Option<Map<String, Value>> {
    let span = label.span;
    let source = sources.file(span.file);
    source.path.as_ref()?;
    let start = sources.line_column(span);
    let end = sources.line_column(Span::new(span.file, span.end.max(span.start), span.end));
    Some(physical(json!({
        "artifactLocation": { "uri": uri(&source.name) },
        "region": {
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        },
    })))
}

/// A path as a URI reference: relative ones stay relative, so that they are found below the repository's root.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let path = path.strip_prefix("./").unwrap_or(path);
    let slashed = if cfg!(windows) {
        path.replace('\\', "/")
    } else {
        path.to_owned()
    };
    let mut out = String::new();
    if slashed.starts_with('/') {
        out.push_str("file://");
    } else if slashed.get(1..3) == Some(":/") {
        out.push_str("file:///");
    }
    for byte in slashed.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&byte);
        if plain && !(byte == b':' && out.is_empty()) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    // A colon in the first part of a relative path would be taken for the end of a scheme.
    let first = out.split('/').next().unwrap_or_default();
    if first.contains(':') && !out.starts_with("file://") {
        out = format!("./{out}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("a b/é.json"), "a%20b/%C3%A9.json");
        assert_eq!(uri("/x/100%.json"), "file:///x/100%25.json");
        assert_eq!(uri("./a.json"), "a.json");
        assert_eq!(uri("a:b.json"), "./a:b.json");
    }
}
