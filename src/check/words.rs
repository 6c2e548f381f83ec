//! Where things stand, and how values and names are put into sentences.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;

use super::{Places, Setting};
use crate::base::NodeId;
use crate::catalog::{Catalog, InputDef, InputType, NodeDef};
use crate::diagnostic::{Diagnostic, FileId, Origin, SourceMap, Span, did_you_mean, list_of};
use crate::workflow::{self, Graph, Node};

/// What diagnostics are made from.
pub(super) struct Scene<'a> {
    pub(super) graph: &'a Graph,
    pub(super) catalog: &'a Catalog,
    pub(super) places: &'a dyn Places,
    pub(super) sources: &'a SourceMap,
    pub(super) setting: Setting<'a>,
    /// Where each node stands in the workflow file.
    pub(super) index: OnceCell<Index>,
}

/// A file, and the bytes of the name and the value of each of its nodes.
pub(super) type Index = (FileId, HashMap<String, (Range<usize>, Range<usize>)>);

impl<'a> Scene<'a> {
    pub(super) fn node(&self, id: &NodeId) -> Option<(&'a Node, &'a NodeDef)> {
        let graph: &'a Graph = self.graph;
        let catalog: &'a Catalog = self.catalog;
        let node = graph.nodes.get(id)?;
        Some((node, catalog.node(&node.class_type)?))
    }

    /// Where an input's value stands, else where its node does.
    pub(super) fn span(&self, id: &NodeId, input: Option<&str>) -> Option<Span> {
        let origin = input
            .and_then(|input| self.places.of(id, Some(input)))
            .or_else(|| self.places.of(id, None))?;
        Some(self.place(&origin))
    }

    /// The bytes of an origin. Files can be large and complaints many, so nodes are looked for once.
    fn place(&self, origin: &Origin) -> Span {
        let (Origin::Json { file, pointer }, Some((key, value, rest))) =
            (origin, self.in_file(origin))
        else {
            return workflow::span_of(origin, self.sources);
        };
        let text = &self.sources.file(*file).text;
        let whole = Span::new(*file, key.start, key.end);
        let Some(node) = text.get(value.clone()).filter(|node| node.starts_with('{')) else {
            return workflow::span_of(origin, self.sources);
        };
        if rest.is_empty() || pointer.is_empty() {
            return whole;
        }
        match workflow::nearest(node, &rest) {
            // Nothing of it is there but the node.
            Range { start: 0, end: 1 } => whole,
            range => Span::new(*file, value.start + range.start, value.start + range.end),
        }
    }

    /// Where the node of an origin stands, and what of its pointer leads on from there.
    fn in_file(&self, origin: &Origin) -> Option<(Range<usize>, Range<usize>, String)> {
        let Origin::Json { file, pointer } = origin else {
            return None;
        };
        let text = &self.sources.file(*file).text;
        let index = || (*file, workflow::top_level(text));
        let (known, nodes) = self.index.get_or_init(index);
        let inside = pointer.strip_prefix('/').filter(|_| known == file)?;
        let (id, rest) = inside.split_once('/').unwrap_or((inside, ""));
        let id = id.replace("~1", "/").replace("~0", "~");
        let (key, value) = nodes.get(&id)?;
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!("/{rest}")
        };
        Some((key.clone(), value.clone(), rest))
    }

    /// Where an input's name stands, else its value.
    pub(super) fn key_span(&self, id: &NodeId, input: &str) -> Option<Span> {
        if let Some(key) = self.places.key(id, input) {
            return Some(key);
        }
        if let Some(origin @ Origin::Json { file, .. }) = self.places.of(id, Some(input))
            && let Some((_, value, rest)) = self.in_file(&origin)
            && let Some(node) = self.sources.file(file).text.get(value.clone())
            && let Some(key) = workflow::locate_key(node, &rest)
        {
            return Some(Span::new(
                file,
                value.start + key.start,
                value.start + key.end,
            ));
        }
        self.span(id, Some(input))
    }

    /// Where the graph begins: for what concerns no node.
    pub(super) fn start(&self) -> Option<Span> {
        let nowhere = NodeId::from("");
        let first = self.graph.nodes.first().map_or(&nowhere, |(id, _)| id);
        match self.places.of(first, None)? {
            Origin::Json { file, .. } => {
                let pointer = String::new();
                Some(workflow::span_of(
                    &Origin::Json { file, pointer },
                    self.sources,
                ))
            }
            Origin::Written(span) => Some(span),
        }
    }

    /// Sets node, class, input and place of a diagnostic.
    pub(super) fn about(
        &self,
        diagnostic: Diagnostic,
        id: &NodeId,
        input: Option<&str>,
    ) -> Diagnostic {
        self.about_at(diagnostic, id, input, self.span(id, input))
    }

    /// The same with a place of its own.
    pub(super) fn about_at(
        &self,
        diagnostic: Diagnostic,
        id: &NodeId,
        input: Option<&str>,
        span: Option<Span>,
    ) -> Diagnostic {
        let class = self.graph.nodes.get(id).map(|n| n.class_type.as_str());
        let diagnostic = diagnostic.node(id.as_str(), class.unwrap_or_default(), input);
        match span {
            Some(span) => diagnostic.at(span),
            None => diagnostic,
        }
    }

    /// Whether a file of this name lies where the paths of the user's own files start.
    pub(super) fn is_here(&self, file: &str) -> bool {
        let mut folders = self.setting.folders.iter();
        folders.any(|folder| folder.join(file).is_file())
    }

    /// The exact words that have kiln upload a file, there where the user sets values.
    pub(super) fn how_to_upload(&self, id: &NodeId, input: &str, file: &str) -> String {
        let places = [" [input]", " [output]", " [temp]"];
        let named = places.iter().find_map(|place| file.strip_suffix(place));
        let file = named.unwrap_or(file);
        if let Some(Origin::Written(span)) = self.places.of(id, Some(input)) {
            let source = self.sources.file(span.file);
            let typed = source.path.is_none() && source.name == "--set";
            return match source.text.get(..span.start).filter(|_| typed) {
                Some(target) => format!("write `--set '{target}{{{{ file(\"{file}\") }}}}'`"),
                None => format!("write `\"{{{{ file('{file}') }}}}\"`"),
            };
        }
        let label = self.graph.nodes.get(id).map_or("", |node| node.label());
        let unique = workflow::address(self.graph, label).is_ok_and(|found| found == *id);
        let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '_' | '-');
        let node = if unique && label.chars().all(plain) {
            label
        } else {
            id.as_str()
        };
        if self.setting.bare {
            format!("write `--set '{node}.{input}={{{{ file(\"{file}\") }}}}'`")
        } else {
            format!(
                "write `set: {{ {node}: {{ {input}: \"{{{{ file('{file}') }}}}\" }} }}` in the step"
            )
        }
    }

    /// `` `KSampler.seed` ``.
    pub(super) fn input_name(&self, id: &NodeId, input: &str) -> String {
        let class = self.graph.nodes.get(id).map(|n| n.class_type.as_str());
        format!("`{}.{input}`", class.unwrap_or_default())
    }

    /// `` `Positive Prompt` (node 6) ``, or the class where there is no title.
    pub(super) fn node_name(&self, id: &NodeId) -> String {
        let label = self.graph.nodes.get(id).map_or("", |node| node.label());
        format!("`{label}` (node {id})")
    }
}

/// A value in a sentence, cut when it is long.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) if text.is_empty() => return "an empty text".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(members) if members.contains_key("__value__") => {
            return members.get("__value__").map(shown).unwrap_or_default();
        }
        other => other.to_string(),
    };
    if text.chars().count() > LONGEST || text.contains('\n') {
        let line = text.lines().next().unwrap_or_default();
        let cut: String = line.chars().take(LONGEST).collect();
        format!("`{cut}…`")
    } else {
        format!("`{text}`")
    }
}

/// What an input takes, in words: `a whole number`, `MODEL`, `one of its 44 choices`.
pub(super) fn takes(def: &InputDef) -> String {
    match &def.ty {
        InputType::Int => "a whole number".to_owned(),
        InputType::Float => "a number".to_owned(),
        InputType::String => "a text".to_owned(),
        InputType::Boolean => "true or false".to_owned(),
        InputType::Combo(combo) => format!("one of its {} choices", combo.options.len()),
        InputType::DynamicCombo(options) => format!("one of its {} choices", options.len()),
        InputType::Union { types, .. } => types.join(" or "),
        InputType::Any | InputType::MatchType { .. } => "any type".to_owned(),
        _ => def.type_name().to_owned(),
    }
}

/// Choices for a sentence: `` `a`, `b` or `c` ``.
pub(super) fn either<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 8;
    let names: Vec<&str> = names.into_iter().collect();
    let list = list_of(names.iter().copied(), MOST);
    match list.rsplit_once(" and ") {
        Some((before, end)) if names.len() <= MOST => format!("{before} or {end}"),
        _ => list,
    }
}

/// The option that was probably meant. Names of model files are the same with `/` and `\`, and a file is found in another folder.
pub(super) fn nearest_option<'a>(wrong: &str, options: &'a [Value]) -> Option<&'a str> {
    let names = || options.iter().filter_map(Value::as_str);
    let wanted = folded(wrong);
    names()
        .find(|name| folded(name) == wanted)
        .or_else(|| {
            let mut same = names().filter(|name| last_part(name) == last_part(&wanted));
            same.next().filter(|_| same.next().is_none())
        })
        .or_else(|| {
            if !is_file(wrong) {
                return did_you_mean(wrong, names());
            }
            // Endings and folders say nothing about which file is meant.
            let stems: Vec<(String, &str)> = names().map(|name| (stem(name), name)).collect();
            let wanted = stem(wrong);
            let near = did_you_mean(&wanted, stems.iter().map(|(stem, _)| stem.as_str()))?;
            let found = stems.iter().find(|(stem, _)| stem == near);
            found.map(|(_, name)| *name)
        })
}

/// The name of a file without its folder and its ending.
fn stem(name: &str) -> String {
    let last = last_part(name);
    match last.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => last,
    }
}

/// A name as it is compared: `\\` is `/`, and case counts for nothing.
fn folded(name: &str) -> String {
    name.replace('\\', "/").to_lowercase()
}

fn last_part(name: &str) -> String {
    let folded = folded(name);
    folded.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The option that names the same file, whatever folder it lies in.
pub(super) fn same_file<'a>(wrong: &str, options: &'a [Value]) -> Option<&'a str> {
    let wanted = last_part(wrong);
    let mut names = options.iter().filter_map(Value::as_str);
    names.find(|name| is_file(name) && last_part(name) == wanted)
}

/// Whether options are names of files.
pub(super) fn are_files(options: &[Value]) -> bool {
    !options.is_empty() && options.iter().filter_map(Value::as_str).all(is_file)
}

/// Whether a value looks like the name of a file.
pub(super) fn is_file(name: &str) -> bool {
    let extension = name.rsplit('.').next().unwrap_or_default();
    name.contains('.')
        && (2..=11).contains(&extension.len())
        && extension.bytes().all(|b| b.is_ascii_alphanumeric())
        && extension.bytes().any(|b| b.is_ascii_alphabetic())
}
