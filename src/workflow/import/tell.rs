//! Conversions told to people, at the places of their own file.

use super::convert::{Imported, convert};
use super::notice::{Lost, Notice, What};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, FileId, Report, Severity, SourceMap, Span, codes, list_of};
use crate::workflow::Finder;

/// A file in the editor's format, parsed.
#[derive(Clone, Debug)]
pub struct Drawn {
    value: serde_json::Value,
    /// What stands before every place in it.
    below: String,
}

/// The editor's file that a text is, by itself or under `workflow`.
pub fn drawn(text: &str) -> Option<Drawn> {
    let value = crate::protocol::tolerant_json(text.trim_start_matches('\u{feff}')).ok()?;
    if is_drawn(&value) {
        let below = String::new();
        return Some(Drawn { value, below });
    }
    let inner = value.get("workflow").filter(|inner| is_drawn(inner))?;
    Some(Drawn {
        value: inner.clone(),
        below: "/workflow".to_owned(),
    })
}

fn is_drawn(value: &serde_json::Value) -> bool {
    value.get("nodes").is_some_and(serde_json::Value::is_array)
}

impl Drawn {
    /// The classes that the file uses, sheets inside of it included.
    pub fn classes(&self) -> Vec<String> {
        let mut classes = std::collections::BTreeSet::new();
        let mut open = vec![&self.value];
        while let Some(sheet) = open.pop() {
            let parts = sheet.pointer("/definitions/subgraphs");
            let groups = sheet
                .pointer("/extra/groupNodes")
                .and_then(serde_json::Value::as_object);
            open.extend(super::document::list(parts));
            open.extend(groups.into_iter().flat_map(serde_json::Map::values));
            let nodes = super::document::list(sheet.get("nodes"));
            let named = nodes.iter().filter_map(|node| node.get("type")?.as_str());
            classes.extend(named.map(str::to_owned));
        }
        classes.into_iter().collect()
    }

    /// The graph that the editor would send. Choices inside texts are drawn by the seed.
    pub fn convert(&self, catalog: &Catalog, seed: u64) -> Imported {
        let mut imported = convert(&self.value, catalog, seed);
        if !self.below.is_empty() {
            imported.places.below(&self.below);
            for notice in &mut imported.notices {
                notice.pointer.insert_str(0, &self.below);
            }
        }
        imported
    }
}

impl Imported {
    /// What keeps the graph from being run, but for classes that a server lacks: those are told by whoever checks the graph.
    pub fn refusals(&self, file: FileId, sources: &SourceMap) -> Report {
        let fatal = self
            .notices
            .iter()
            .filter(|notice| notice.what.is_error() && notice.what != What::UnknownClass);
        let finder = Finder::new(&sources.file(file).text);
        Report {
            items: fatal.map(|notice| told(notice, file, &finder)).collect(),
        }
    }

    /// Everything worth saying, equal things once.
    pub fn report(&self, file: FileId, sources: &SourceMap) -> Report {
        let mut report = Report::default();
        let finder = Finder::new(&sources.file(file).text);
        let mut gone: Vec<&str> = Vec::new();
        let mut passed: Vec<&str> = Vec::new();
        for notice in &self.notices {
            match notice.what {
                What::Muted => gone.push(notice.name()),
                What::Bypassed => passed.push(notice.name()),
                _ => report.push(told(notice, file, &finder)),
            }
        }
        for (names, what) in [
            (gone, "muted nodes are left out"),
            (
                passed,
                "bypassed nodes are left out, and pass on what they get",
            ),
        ] {
            if !names.is_empty() {
                let listed = list_of(names.iter().copied(), 6);
                report.push(note(format!("{what}: {listed}")));
            }
        }
        report
    }
}

fn note(message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Note,
        ..Diagnostic::warning(&codes::CONVERTED, message)
    }
}

fn told(notice: &Notice, file: FileId, finder: &Finder<'_>) -> Diagnostic {
    let mut pointer = notice.pointer.clone();
    // One line says more than a whole node.
    let about_node = !matches!(
        notice.what,
        What::InputLost { .. } | What::Drawn(_) | What::NotFilled(_)
    );
    if about_node && notice.class.is_some() {
        pointer.push_str("/type");
    }
    let place = finder.nearest(&pointer);
    let place = Span::new(file, place.start, place.end);
    let mut diagnostic = worded(notice).at(place);
    diagnostic.node.clone_from(&notice.node);
    diagnostic.class_type.clone_from(&notice.class);
    if let What::InputLost { input, .. } = &notice.what {
        diagnostic.input = Some(input.clone());
    }
    diagnostic
}

/// A node by its title and its id.
fn named(notice: &Notice) -> String {
    match &notice.node {
        Some(id) => format!("`{}` (node {id})", notice.name()),
        None => format!("`{}`", notice.name()),
    }
}

fn worded(notice: &Notice) -> Diagnostic {
    let error = |message: String| Diagnostic::error(&codes::CANNOT_CONVERT, message);
    let node = named(notice);
    match &notice.what {
        What::NoNode(reason) => error(format!("an entry of `nodes` {reason}")),
        What::UnknownClass => {
            let class = notice.class.as_deref().unwrap_or_default();
            let message = if notice.title.as_deref().is_some_and(|title| title != class) {
                format!("{node} is of the class `{class}`, which the server does not have")
            } else {
                format!("the server does not have the class of {node}")
            };
            Diagnostic::error(&codes::MISSING_NODE_TYPE, message)
                .help("what its values mean only the node's pack knows; install it on the server, or name a server that has it with --server, or its saved node list with --catalog")
        }
        What::NotConnected => note(format!(
            "{node} is left out: no server has its class, and nothing is connected to it"
        )),
        What::Muted => note(format!("{node} is muted, and left out")),
        What::Bypassed => note(format!("{node} is bypassed, and passes on what it gets")),
        What::InputLost { input, source, why } => {
            let why = match why {
                Lost::Muted => format!("`{source}`, which it comes from, is left out"),
                Lost::Bypassed => {
                    format!(
                        "`{source}`, which it comes from, is bypassed and has nothing of that type to pass on"
                    )
                }
                Lost::Circle => "its connections go round in a circle".to_owned(),
                Lost::Missing => format!("`{source}`, which it comes from, is not in the file"),
            };
            note(format!("{node} gets no `{input}`: {why}"))
        }
        What::Drawn(text) => {
            let short: String = text.chars().take(60).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            note(format!(
                "choices in a text of {node} were drawn: `{short}{dots}`"
            ))
            .help("another --seed draws others")
        }
        What::NotFilled(name) => note(format!(
            "`%{name}%` in a file's name of {node} stays as it is: there is no such node, field or part of a date"
        )),
        What::InsideItself(name) => error(format!("the subgraph `{name}` stands inside itself"))
            .help("ComfyUI cannot open such a file either; take an earlier version of it"),
        What::TooMuch => error(format!(
            "{node} opens into more than 100,000 nodes, or two million connections, or subgraphs more than 32 deep"
        )),
        What::NoGroup => error(format!(
            "{node} is a group, and the file does not say what is in it"
        ))
        .help("open the file in ComfyUI, turn the group back into nodes, and save it again"),
        What::Empty => error("nothing is left of the workflow that could run".to_owned())
            .help("all its nodes are notes, muted or bypassed"),
    }
}
