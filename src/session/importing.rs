//! From what people have to graphs in API format: files of the editor's, pictures and films that carry a workflow.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::care::find;
use super::definitions::Definitions;
use super::load;
use crate::base::{Inputs, NodeId};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, FileId, Report, Severity, SourceMap, Span, codes};
use crate::plan::{self, Which};
use crate::workflow::import::{self, Drawn};
use crate::workflow::{self, Finder, Graph, ParseProblem};

/// Converts one file after another; the server is asked once, when a file first needs it.
#[derive(Debug)]
pub struct Importer {
    offline: Option<Arc<Catalog>>,
    /// The server that is meant; the project's default when nobody says.
    server: Option<String>,
    /// What choices inside texts are drawn by.
    seed: u64,
    definitions: RefCell<Option<Definitions>>,
    inputs: Inputs,
}

/// A file that was converted, or why it was not.
#[derive(Debug, Default)]
pub struct Import {
    /// The graph, as a server takes it.
    pub graph: Option<Graph>,
    /// The catalog it was read with, where one was needed.
    pub catalog: Option<Arc<Catalog>>,
    /// Nodes whose class the server does not have.
    pub unknown: HashSet<NodeId>,
    /// Everything to be said about it.
    pub report: Report,
    /// All texts that the report points into.
    pub sources: SourceMap,
}

impl Import {
    /// The graph as JSON. As in what the editor sends, a node of a class that nobody knows is without one.
    pub fn json(&self) -> Option<Value> {
        let mut json = serde_json::to_value(self.graph.as_ref()?).ok()?;
        for id in &self.unknown {
            if let Some(node) = json.get_mut(id.as_str()).and_then(Value::as_object_mut) {
                node.shift_remove("class_type");
            }
        }
        Some(json)
    }
}

impl Importer {
    /// An importer against a saved catalog, or against a server.
    pub fn new(offline: Option<Arc<Catalog>>, server: Option<String>, seed: u64) -> Self {
        Self {
            offline,
            server,
            seed,
            definitions: RefCell::default(),
            inputs: Inputs::default(),
        }
    }

    /// Converts a file; `-` is stdin.
    pub fn import(&self, file: &Path) -> Import {
        let mut import = Import::default();
        if file.is_dir() {
            let message = format!("`{}` is a folder", file.display());
            let diagnostic = Diagnostic::error(&codes::FILE_NOT_READABLE, message)
                .help("give the workflow files in it");
            import.report.push(diagnostic);
            return import;
        }
        let here = std::env::current_dir().unwrap_or_default();
        let stdin = file.as_os_str() == "-";
        let taken = match load::taken(&here.join(file), stdin, &self.inputs) {
            Ok(taken) => taken,
            Err(diagnostic) => {
                import.report.push(*diagnostic);
                return import;
            }
        };
        let name = if stdin {
            "<stdin>".to_owned()
        } else if taken.kind.is_media() {
            plan::carried_in(file)
        } else {
            file.display().to_string()
        };
        let source = import.sources.add_text(&name, &taken.text);
        match import::drawn(&taken.text) {
            Some(drawn) => self.convert(&drawn, source, &mut import),
            None => import.graph = plain(source, &mut import),
        }
        import
    }

    fn convert(&self, drawn: &Drawn, file: FileId, import: &mut Import) {
        let catalog = match self.catalog(&drawn.classes()) {
            Ok(catalog) => catalog,
            Err((mut report, sources)) => {
                // What is wrong with the project points into the project's own texts.
                let in_project = report.items.iter().any(|d| d.primary.is_some());
                if in_project {
                    import.sources = sources;
                } else {
                    report.push(plan::no_definitions(file, &import.sources));
                }
                import.report = report;
                return;
            }
        };
        let imported = drawn.convert(&catalog, self.seed);
        import.report = imported.report(file, &import.sources);
        let fatal = imported.refusals(file, &import.sources).has_errors();
        import.catalog = Some(catalog);
        if !fatal {
            import.graph = Some(imported.graph);
            import.unknown = imported.unknown;
        }
    }

    fn catalog(&self, classes: &[String]) -> Result<Arc<Catalog>, (Report, SourceMap)> {
        if let Some(catalog) = &self.offline {
            return Ok(Arc::clone(catalog));
        }
        let which = match &self.server {
            Some(name) => Which::Named(name),
            None => Which::Default,
        };
        let here = std::env::current_dir().unwrap_or_default();
        let found = find(&here, which);
        let (Some((name, server)), false) = (found.servers.first(), found.report.has_errors())
        else {
            return Err((found.report, found.sources));
        };
        let mut definitions = self.definitions.borrow_mut();
        definitions
            .get_or_insert_with(|| Definitions::new(None, found.secrets.clone()))
            .of(name, server, classes)
            .map_err(|items| (Report { items }, found.sources))
    }
}

/// The graph of a file in API format, or of a whole request. What stands among the nodes and is none is left out.
fn plain(file: FileId, import: &mut Import) -> Option<Graph> {
    let text = Arc::clone(&import.sources.file(file).text);
    let Some(mut value) = workflow::lenient(&text) else {
        return workflow::read(file, &import.sources, &mut import.report);
    };
    let is_request = value.get("class_type").is_none() && value.get("prompt").is_some();
    let inner = value.get_mut("prompt").filter(|_| is_request);
    let inner = inner.filter(|inner| inner.is_object()).map(Value::take);
    let below = if inner.is_some() { "/prompt" } else { "" };
    let mut graph = inner.unwrap_or(value);
    let strangers = workflow::without_strangers(&mut graph);
    let finder = Finder::new(&text);
    for name in &strangers {
        let pointer = format!("{below}{}", workflow::pointer([name.as_str()]));
        let place = finder.nearest(&pointer);
        let message = format!("`{name}` is no node, and left out");
        let note = Diagnostic {
            severity: Severity::Note,
            ..Diagnostic::warning(&codes::CONVERTED, message)
        };
        let place = Span::new(file, place.start, place.end);
        import.report.push(note.at(place));
    }
    let changed = !below.is_empty() || !strangers.is_empty();
    match workflow::from_request(graph) {
        Ok(graph) if changed => {
            let bare = graph
                .nodes
                .iter()
                .find(|(_, node)| node.class_type.is_empty());
            if let Some((id, _)) = bare {
                let problem = ParseProblem::MissingClass {
                    node: id.clone(),
                    pointer: format!("{below}{}", workflow::pointer([id.as_str()])),
                };
                let told = workflow::problem_diagnostic(&problem, file, &import.sources);
                import.report.push(told);
                return None;
            }
            Some(graph)
        }
        // What is wrong with it is told at its place.
        _ => workflow::read(file, &import.sources, &mut import.report),
    }
}
