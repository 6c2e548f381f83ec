//! Reading API-format JSON: every structural problem at once, each with its place.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Map, Value};

use super::{Finder, Graph, Node, scan};
use crate::base::NodeId;
use crate::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span, codes};
use crate::protocol::quoted_nan;

/// A file with more broken nodes than this is not described node by node.
const MOST_PROBLEMS: usize = 20;

/// What is wrong with a text that should be a workflow in API format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseProblem {
    /// Not JSON.
    #[error("not valid JSON: {message}")]
    NotJson {
        /// What the parser says, without a place.
        message: String,
        /// Line, from 1.
        line: usize,
        /// Byte offset in the text.
        offset: usize,
        /// The text ends too early.
        truncated: bool,
    },
    /// The editor's own format, with `nodes` and `links`.
    #[error("this is a workflow in the editor's format; a server takes only the API format")]
    UiFormat,
    /// A whole request body (`{"prompt": {…}}`).
    #[error("this is a whole request; the workflow is only what stands under `prompt`")]
    Request,
    /// JSON, but no graph.
    #[error("not a workflow: {reason}")]
    NotAGraph {
        /// The place, as a JSON pointer.
        pointer: String,
        /// What is wrong there.
        reason: String,
        /// The node it concerns.
        node: Option<NodeId>,
    },
    /// A node without a class.
    #[error("node `{node}` has no `class_type`")]
    MissingClass {
        /// The node.
        node: NodeId,
        /// The place, as a JSON pointer.
        pointer: String,
    },
}

/// Reads a workflow in API format. A node without `inputs` gets empty ones, since a server dies of a node that has none.
///
/// # Errors
/// All problems of the text, in the order they stand in it.
pub fn parse(text: &str) -> Result<Graph, Vec<ParseProblem>> {
    parse_allowing(text, |_| false)
}

/// The graph, where every problem is an allowed one.
fn parse_allowing(
    text: &str,
    allowed: impl Fn(&ParseProblem) -> bool,
) -> Result<Graph, Vec<ParseProblem>> {
    let value = json(text).map_err(|problem| vec![problem])?;
    let (graph, problems) = from_value(value);
    match graph {
        Some(graph) if problems.iter().all(allowed) => Ok(graph),
        _ => Err(problems),
    }
}

/// The JSON of a text. Servers write `NaN` and `Infinity`, and read them: here they become texts of the same meaning.
fn json(text: &str) -> Result<Value, ParseProblem> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refused = match serde_json::from_str(body) {
        Ok(value) => return Ok(value),
        Err(refused) => refused,
    };
    let quoted = quoted_nan(body);
    if matches!(quoted, Cow::Borrowed(_)) {
        return Err(not_json(text, &refused));
    }
    serde_json::from_str(&quoted).map_err(|_| {
        // What else is wrong stands where it does without the quotes.
        let numbers = body.replace("-Infinity", "-11111111");
        let numbers = numbers
            .replace("Infinity", "11111111")
            .replace("NaN", "111");
        let other = serde_json::from_str::<serde::de::IgnoredAny>(&numbers);
        not_json(text, &other.err().unwrap_or(refused))
    })
}

/// The JSON of a text that is no workflow, to look into: as [`parse`] reads it.
pub fn lenient(text: &str) -> Option<Value> {
    json(text).ok()
}

/// Takes out the members that are no nodes, such as `extra` or `version`, where others are: their names.
pub fn without_strangers(value: &mut Value) -> Vec<String> {
    let Value::Object(members) = value else {
        return Vec::new();
    };
    let is_node = |value: &Value| {
        let node = value.as_object();
        node.is_some_and(|node| node.contains_key("class_type") || node.contains_key("inputs"))
    };
    if other_format(members).is_some() || !members.values().any(is_node) {
        return Vec::new();
    }
    let strangers = members.iter().filter(|(_, value)| !is_node(value));
    let strangers: Vec<String> = strangers.map(|(name, _)| name.clone()).collect();
    members.retain(|_, value| is_node(value));
    strangers
}

/// The graph of a `POST /prompt` body's `prompt`, read as a server does: a node without a class is kept with an empty one, for the
/// verdict to refuse.
///
/// # Errors
/// The first problem that no verdict can describe (a server answers 500 to it).
pub fn from_request(value: Value) -> Result<Graph, ParseProblem> {
    let (graph, problems) = from_value(value);
    let fatal = problems
        .into_iter()
        .find(|problem| !matches!(problem, ParseProblem::MissingClass { .. }));
    match (graph, fatal) {
        (Some(graph), None) => Ok(graph),
        (_, Some(problem)) => Err(problem),
        (None, None) => Err(not_a_graph(String::new(), "nothing in it is a node", None)),
    }
}

/// Whether a value is a link: a list of a node id and the number of one of its outputs.
pub fn is_link(value: &Value) -> Option<(&str, i64)> {
    match value.as_array()?.as_slice() {
        [Value::String(node), Value::Number(slot)] => Some((node, slot.as_i64()?)),
        _ => None,
    }
}

/// Reads a workflow that is one of the sources, reporting everything that is wrong with it, repeated names included.
pub fn read(file: FileId, sources: &SourceMap, report: &mut Report) -> Option<Graph> {
    tell(parse(&sources.file(file).text), file, sources, report)
}

/// Reads a workflow that is only to be judged, not run: as [`read`], but a node without a class is kept with an empty one, since
/// that is for the verdict to refuse.
pub fn read_for_verdict(file: FileId, sources: &SourceMap, report: &mut Report) -> Option<Graph> {
    let parsed = parse_allowing(&sources.file(file).text, |problem| {
        matches!(problem, ParseProblem::MissingClass { .. })
    });
    tell(parsed, file, sources, report)
}

fn tell(
    parsed: Result<Graph, Vec<ParseProblem>>,
    file: FileId,
    sources: &SourceMap,
    report: &mut Report,
) -> Option<Graph> {
    match parsed {
        Ok(graph) => {
            report.extend(repeated_names(&sources.file(file).text, file));
            Some(graph)
        }
        Err(problems) => {
            let finder = Finder::new(&sources.file(file).text);
            let told = problems.iter();
            report.extend(told.map(|problem| problem_at(problem, file, &finder)));
            None
        }
    }
}

fn not_a_graph(pointer: String, reason: &str, node: Option<&NodeId>) -> ParseProblem {
    ParseProblem::NotAGraph {
        pointer,
        reason: reason.to_owned(),
        node: node.cloned(),
    }
}

fn not_json(text: &str, error: &serde_json::Error) -> ParseProblem {
    let whole = error.to_string();
    let message = whole
        .rsplit_once(" at line ")
        .map_or(whole.as_str(), |(message, _)| message);
    let line_start = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let mark = if error.line() <= 1 && text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    ParseProblem::NotJson {
        message: message.to_owned(),
        line: error.line().max(1),
        offset: (line_start + mark + error.column().saturating_sub(1)).min(text.len()),
        truncated: error.is_eof(),
    }
}

/// The graph, unless there is none at all, and what is wrong with it.
fn from_value(value: Value) -> (Option<Graph>, Vec<ParseProblem>) {
    let Value::Object(members) = value else {
        let reason = format!(
            "it is {}, and should be an object that maps node ids to nodes",
            describe(&value)
        );
        return (None, vec![not_a_graph(String::new(), &reason, None)]);
    };
    if let Some(problem) = other_format(&members) {
        return (None, vec![problem]);
    }
    let mut graph = Graph::default();
    let mut problems = Vec::new();
    for (id, value) in members {
        let id = NodeId(id);
        match node(&id, value, &mut problems) {
            Some(node) => {
                graph.nodes.insert(id, node.into());
            }
            None if problems.len() > MOST_PROBLEMS => break,
            None => {}
        }
    }
    (Some(graph), problems)
}

/// The formats that people take for the API format, and JSON that is something else altogether.
fn other_format(members: &Map<String, Value>) -> Option<ParseProblem> {
    let node_like = |value: &Value| {
        value
            .as_object()
            .is_some_and(|node| node.contains_key("class_type") || node.contains_key("inputs"))
    };
    if members.get("nodes").is_some_and(Value::is_array)
        && (members.contains_key("links") || members.contains_key("last_node_id"))
    {
        return Some(ParseProblem::UiFormat);
    }
    if members.is_empty() || members.values().any(node_like) {
        return None;
    }
    if let Some(Value::Object(inner)) = members.get("prompt")
        && inner.values().any(node_like)
    {
        return Some(ParseProblem::Request);
    }
    Some(not_a_graph(
        String::new(),
        "nothing in it is a node (an object with `class_type` and `inputs`)",
        None,
    ))
}

fn node(id: &NodeId, value: Value, problems: &mut Vec<ParseProblem>) -> Option<Node> {
    let at = |member: &str| {
        let path = [id.as_str(), member];
        super::pointer(
            path.into_iter()
                .filter(|part| !part.is_empty() || *part == id.as_str()),
        )
    };
    let Value::Object(mut members) = value else {
        let reason = format!("node `{id}` is {}, not an object", describe(&value));
        problems.push(not_a_graph(
            super::pointer([id.as_str()]),
            &reason,
            Some(id),
        ));
        return None;
    };
    let class_type = if let Some(Value::String(class)) = members.swap_remove("class_type") {
        class
    } else {
        problems.push(ParseProblem::MissingClass {
            node: id.clone(),
            pointer: super::pointer([id.as_str()]),
        });
        String::new()
    };
    let inputs = match members.swap_remove("inputs") {
        Some(Value::Object(inputs)) => inputs,
        None => Map::new(),
        Some(other) => {
            let reason = format!(
                "`inputs` of node `{id}` is {}, not an object",
                describe(&other)
            );
            problems.push(not_a_graph(at("inputs"), &reason, Some(id)));
            return None;
        }
    };
    let meta = match members.swap_remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    Some(Node {
        class_type,
        inputs,
        meta,
    })
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A problem as people are told of it.
pub fn problem_diagnostic(problem: &ParseProblem, file: FileId, sources: &SourceMap) -> Diagnostic {
    problem_at(problem, file, &Finder::new(&sources.file(file).text))
}

/// What is said of something among the nodes that is none.
const NO_NODE: &str = "a server takes every member for a node: if this is none, remove it; `kiln import` takes out what is no node";

fn problem_at(problem: &ParseProblem, file: FileId, finder: &Finder<'_>) -> Diagnostic {
    let text = finder.text();
    let span = |range: Range<usize>| Span::new(file, range.start, range.end);
    let opening = scan::skip_space(text.as_bytes(), 0);
    let start = span(opening..(opening + 1).min(text.len()));
    let place = |pointer: &str| {
        if pointer.is_empty() {
            return start;
        }
        finder
            .locate_key(pointer)
            .or_else(|| finder.locate(pointer))
            .map_or(start, span)
    };
    match problem {
        ParseProblem::NotJson {
            message,
            offset,
            truncated,
            ..
        } => not_json_diagnostic(text, message, *truncated, span, *offset),
        ParseProblem::UiFormat => Diagnostic::error(&codes::UI_FORMAT, problem.to_string())
            .label(start, "it has `nodes` and `links`")
            .help(
                "open it in ComfyUI and save it with Workflow → Export (API), then use that file",
            ),
        ParseProblem::Request => Diagnostic::error(&codes::NOT_A_WORKFLOW, problem.to_string())
            .label(place("/prompt"), "the workflow")
            .help("save the value of `prompt` as a file of its own"),
        ParseProblem::NotAGraph { pointer, node, .. } => {
            let mut diagnostic =
                Diagnostic::error(&codes::NOT_A_WORKFLOW, problem.to_string()).at(place(pointer));
            diagnostic.node = node.as_ref().map(|id| id.as_str().to_owned());
            // A member that is no object; else its inputs are none.
            if node.is_some() && pointer.matches('/').count() == 1 {
                diagnostic = diagnostic.help(NO_NODE);
            }
            diagnostic
        }
        ParseProblem::MissingClass { node, pointer } => {
            let mut diagnostic = Diagnostic::error(&codes::MISSING_NODE_TYPE, problem.to_string())
                .at(place(pointer))
                .help("every node needs a `class_type`, such as `\"class_type\": \"SaveImage\"`");
            if finder.locate(&format!("{pointer}/inputs")).is_none() {
                diagnostic = diagnostic.help(NO_NODE);
            }
            diagnostic.node = Some(node.as_str().to_owned());
            diagnostic
        }
    }
}

fn not_json_diagnostic(
    text: &str,
    message: &str,
    truncated: bool,
    span: impl Fn(Range<usize>) -> Span,
    offset: usize,
) -> Diagnostic {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let rest = &text[at..];
    let end = at + rest.chars().next().map_or(0, char::len_utf8);
    let error = |message: String| Diagnostic::error(&codes::NOT_JSON, message);
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return error("the workflow file is empty".to_owned()).at(span(0..0));
    }
    if truncated {
        return error("the workflow file ends in the middle of its JSON".to_owned())
            .label(span(at..end), message)
            .help("it was probably cut off while it was saved or copied");
    }
    let diagnostic =
        error("the workflow file is not valid JSON".to_owned()).label(span(at..end), message);
    let word = |names: &[&str]| names.iter().any(|name| rest.starts_with(name));
    if word(&["True", "False", "None"]) {
        diagnostic.help("JSON writes `true`, `false` and `null` in lower case")
    } else if rest.starts_with("//") || rest.starts_with("/*") {
        diagnostic.help("JSON has no comments")
    } else if rest.starts_with('\'') {
        diagnostic.help("JSON strings stand in double quotes")
    } else if text.trim_start().starts_with('<') {
        diagnostic.help("this looks like a web page; was it downloaded from a page about the file?")
    } else {
        diagnostic
    }
}

/// Names that stand twice in one object: of two nodes with one id, or two values of one input, only the last is used.
fn repeated_names(text: &str, file: FileId) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let start = scan::skip_space(text.as_bytes(), 0);
    let mut check = |members: &[scan::Member], what: &str| {
        let mut seen: HashSet<String> = HashSet::new();
        for member in members {
            let Some(name) = scan::decode(text, &member.key) else {
                continue;
            };
            if seen.contains(&name) {
                let span = Span::new(file, member.key.start, member.key.end);
                let message = format!("the {what} `{name}` stands twice in this object");
                out.push(
                    Diagnostic::warning(&codes::DUPLICATE_KEY, message)
                        .label(span, "only this one is used"),
                );
            } else {
                seen.insert(name);
            }
        }
    };
    let nodes = scan::members(text, start);
    check(&nodes, "node id");
    for node in &nodes {
        let members = scan::members(text, node.value.start);
        check(&members, "name");
        for member in &members {
            if text.get(member.key.clone()) == Some("\"inputs\"") {
                check(&scan::members(text, member.value.start), "input");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::render_human;

    fn told(text: &str) -> String {
        let mut sources = SourceMap::default();
        let file = sources.add_text("w.json", text);
        let mut report = Report::default();
        read(file, &sources, &mut report);
        render_human(&report, &sources)
    }

    #[test]
    fn a_node_without_inputs_gets_empty_ones_and_numbers_stay_exact() {
        let graph = parse(
            "\u{feff}{\"1\":{\"class_type\":\"A\",\"extra\":1},\"2\":{\"class_type\":\"B\",\"inputs\":{\"seed\":18446744073709551615}}}",
        )
        .unwrap();
        assert!(graph.nodes["1"].inputs.is_empty());
        assert_eq!(
            serde_json::to_string(&graph).unwrap(),
            r#"{"1":{"class_type":"A","inputs":{}},"2":{"class_type":"B","inputs":{"seed":18446744073709551615}}}"#
        );
    }

    #[test]
    fn every_broken_node_is_reported_at_once() {
        let problems = parse(
            r#"{"1": 5, "2": {"inputs": {}}, "3": {"class_type": "A", "inputs": []}, "4": {"class_type": "B"}}"#,
        )
        .unwrap_err();
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "not a workflow: node `1` is a number, not an object",
                "node `2` has no `class_type`",
                "not a workflow: `inputs` of node `3` is a list, not an object",
            ]
        );
    }

    #[test]
    fn a_request_keeps_nodes_without_a_class() {
        let graph = from_request(serde_json::json!({"1": {"inputs": {}}})).unwrap();
        assert_eq!(graph.nodes["1"].class_type, "");
        assert!(from_request(serde_json::json!({"1": "x", "2": {"inputs": {}}})).is_err());
        assert!(from_request(serde_json::json!({"nodes": [], "links": []})).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!(
            "{{\"1\":{{\"class_type\":\"A\",\"inputs\":{{\"x\":{}{}}}}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(matches!(
            parse(&deep).unwrap_err().as_slice(),
            [ParseProblem::NotJson { message, .. }] if message == "recursion limit exceeded"
        ));
    }

    #[test]
    fn links_are_lists_of_an_id_and_a_slot() {
        use serde_json::json;
        assert_eq!(is_link(&json!(["4", 1])), Some(("4", 1)));
        assert_eq!(is_link(&json!(["4", -1])), Some(("4", -1)));
        for other in [json!(["4"]), json!([4, 1]), json!(["4", "1"]), json!("4")] {
            assert_eq!(is_link(&other), None);
        }
    }

    #[test]
    fn invalid_json_is_shown_where_it_breaks() {
        insta::assert_snapshot!(told(
            "{\n  \"1\": {\"class_type\": \"Ä\", \"inputs\": {\"x\": NaN, \"y\": nan}}\n}"
        ));
        insta::assert_snapshot!(told("{\n  \"1\": {\"class_type\": \"A\",}\n}"));
        insta::assert_snapshot!(told("{\n  \"1\": {\"class_type\": \"A\""));
        insta::assert_snapshot!(told("<!DOCTYPE html>"));
        insta::assert_snapshot!(told(" \n"));
    }

    #[test]
    fn numbers_that_only_python_writes_become_texts_that_it_reads() {
        let text =
            r#"{"1": {"class_type": "A", "inputs": {"x": NaN, "y": [-Infinity], "z": "NaN"}}}"#;
        let graph = parse(text).unwrap();
        let inputs = serde_json::json!({"x": "NaN", "y": ["-Infinity"], "z": "NaN"});
        assert_eq!(Value::Object(graph.nodes["1"].inputs.clone()), inputs);
    }

    #[test]
    fn mistakes_in_every_node_are_each_looked_for_once() {
        let nodes: Vec<String> = (0..30_000).map(|n| format!("\"{n}\": {{}}")).collect();
        let text = format!("{{{}}}", nodes.join(","));
        let mut sources = SourceMap::default();
        let file = sources.add_text("w.json", &text);
        let mut report = Report::default();
        assert!(read(file, &sources, &mut report).is_none());
        let text = format!(
            "{{\"a\": {{\"class_type\": \"A\", \"inputs\": {{}}}}, {}}}",
            nodes.join(",")
        );
        let file = sources.add_text("w.json", &text);
        let mut report = Report::default();
        assert!(read(file, &sources, &mut report).is_none());
        assert_eq!(report.items.len(), 30_000);
        let last = report.items.last().unwrap().primary.as_ref().unwrap();
        assert_eq!(sources.snippet(last.span), "\"29999\"");
    }

    #[test]
    fn other_files_are_told_apart() {
        insta::assert_snapshot!(told(
            "{\n \"last_node_id\": 3,\n \"nodes\": [],\n \"links\": [] }"
        ));
        insta::assert_snapshot!(told(
            "{ \"prompt\": {\"1\": {\"class_type\": \"A\", \"inputs\": {}}}, \"client_id\": \"x\" }"
        ));
        insta::assert_snapshot!(told("[1, 2]"));
        insta::assert_snapshot!(told("{\"name\": \"my package\"}"));
        insta::assert_snapshot!(told("{\n \"1\": {\"inputs\": {}},\n \"2\": 7\n}"));
    }

    #[test]
    fn repeated_names_are_warned_about() {
        insta::assert_snapshot!(told(
            "{\n \"1\": {\"class_type\": \"A\", \"inputs\": {\"seed\": 1, \"s\\u0065ed\": 2}},\n \"1\": {\"class_type\": \"B\", \"inputs\": {}}\n}"
        ));
    }
}
