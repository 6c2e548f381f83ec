//! Where things stand, and how values and names are put into sentences.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;

use serde_json::Value;

use super::{Places, Setting};
use crate::base::NodeId;
use crate::catalog::{Catalog, InputDef, InputType, NodeDef};
use crate::diagnostic::{Diagnostic, Origin, SourceMap, Span, did_you_mean, list_of};
use crate::workflow::{self, Finders, Graph, Node};

/// Names that are compared for one graph in search of the one that was meant. More are only compared for graphs that nobody made by
/// hand, and the mistakes themselves are told all the same.
const MOST_COMPARED: usize = 1_000_000;

/// What diagnostics are made from.
pub(super) struct Scene<'a> {
    pub(super) graph: &'a Graph,
    pub(super) catalog: &'a Catalog,
    pub(super) places: &'a dyn Places,
    pub(super) sources: &'a SourceMap,
    pub(super) setting: Setting<'a>,
    /// Where things stand. Files can be large and complaints many.
    pub(super) finders: Finders<'a>,
    /// What is worked out once, and how much of it.
    pub(super) memory: Memory,
}

/// A type, by the node and its output.
type Flows = HashMap<(String, i64), Option<std::rc::Rc<str>>>;

/// What is worked out once for a graph.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Names that were compared so far.
    compared: Cell<usize>,
    /// The class that was meant, by the one that was written.
    classes: RefCell<HashMap<String, Option<String>>>,
    /// What flows out of a node's output, where that can be told.
    pub(super) flows: RefCell<Flows>,
    /// Where files of a name are an option: by the last part of their names, the class, its input and the option.
    files: OnceCell<HashMap<String, [String; 3]>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        catalog: &'a Catalog,
        places: &'a dyn Places,
        sources: &'a SourceMap,
        setting: Setting<'a>,
    ) -> Self {
        Self {
            graph,
            catalog,
            places,
            sources,
            setting,
            finders: Finders::new(sources),
            memory: Memory::default(),
        }
    }

    /// The candidate that was probably meant, unless far too many names were compared already.
    pub(super) fn near<'c>(
        &self,
        wrong: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        let compared = &self.memory.compared;
        if compared.get() >= MOST_COMPARED {
            return None;
        }
        let count = |_: &&str| compared.set(compared.get() + 1);
        did_you_mean(wrong, candidates.into_iter().inspect(count))
    }

    /// The class that was probably meant. A file with one class that nobody has may have it a thousand times.
    pub(super) fn near_class(&self, wrong: &str) -> Option<String> {
        let known = self.memory.classes.borrow().get(wrong).cloned();
        known.unwrap_or_else(|| {
            let near = self.near(wrong, self.catalog.classes()).map(str::to_owned);
            let mut classes = self.memory.classes.borrow_mut();
            classes.insert(wrong.to_owned(), near.clone());
            near
        })
    }

    /// The option that was probably meant, unless far too many names were compared already.
    pub(super) fn near_option<'o>(&self, wrong: &str, options: &'o [Value]) -> Option<&'o str> {
        let compared = &self.memory.compared;
        if compared.get() >= MOST_COMPARED {
            return None;
        }
        compared.set(compared.get() + options.len());
        nearest_option(wrong, options)
    }

    /// The input that has a file of this name among its options, and that option: class, input, option.
    pub(super) fn offered_by(&self, file: &str) -> Option<&[String; 3]> {
        let files = self.memory.files.get_or_init(|| {
            let mut files = HashMap::new();
            for def in self.catalog.nodes() {
                for input in &def.inputs {
                    let InputType::Combo(combo) = &input.ty else {
                        continue;
                    };
                    let names = combo.options.iter().filter_map(Value::as_str);
                    for name in names.filter(|name| is_file(name)) {
                        files.entry(last_part(name)).or_insert_with(|| {
                            [def.name.clone(), input.name.clone(), name.to_owned()]
                        });
                    }
                }
            }
            files
        });
        files.get(&last_part(file))
    }

    /// How many names were compared.
    #[cfg(test)]
    pub(super) fn compared(&self) -> usize {
        self.memory.compared.get()
    }

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
        Some(self.finders.span_of(&origin))
    }

    /// Where an input's name stands, else its value.
    pub(super) fn key_span(&self, id: &NodeId, input: &str) -> Option<Span> {
        if let Some(key) = self.places.key(id, input) {
            return Some(key);
        }
        if let Some(Origin::Json { file, pointer }) = self.places.of(id, Some(input))
            && let Some(key) = self.finders.of(file).locate_key(&pointer)
        {
            return Some(Span::new(file, key.start, key.end));
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
                Some(self.finders.span_of(&Origin::Json { file, pointer }))
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
fn nearest_option<'a>(wrong: &str, options: &'a [Value]) -> Option<&'a str> {
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
