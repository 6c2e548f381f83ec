//! A step's workflow: read, parsed, and the templates in its texts evaluated as far as they can be.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::eval::{Evaluator, Extra, Place};
use super::sealed::{EditValue, InFile};
use super::steps::{StepContext, neighbour};
use crate::artifact::Datum;
use crate::base::display_path;
use crate::diagnostic::{Diagnostic, FileId, Origin, SourceMap, codes};
use crate::spec::Node;
use crate::workflow::import::{self, Places};
use crate::workflow::{self, Graph, LoadError};

/// What a file name ends with whose text is a template as a whole.
const RENDERED: &str = ".json.j2";

/// A step's graph as its file has it.
pub(super) struct Read {
    /// The file.
    pub(super) file: FileId,
    /// The graph.
    pub(super) graph: Graph,
    /// Its texts are templates still.
    pub(super) templated: bool,
    /// Where its parts stand, when the file is in the editor's format.
    pub(super) places: Option<Arc<Places>>,
}

/// The step's graph.
pub(super) fn read(
    workflow: &Node,
    context: &StepContext<'_>,
    template: Option<bool>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> Option<Read> {
    if let Some(file) = context.bare {
        return graph(file, false, template, context, evaluator, sources);
    }
    let path = evaluator.text_now(workflow, "`workflow`", sources)?;
    let whole = path.ends_with(RENDERED) && template != Some(false);
    let path = context.folder.join(path);
    let loaded = match workflow::load(&path, context.inputs) {
        Ok(loaded) => loaded,
        Err(error) => {
            let mut diagnostic = error.diagnostic().at(workflow.span);
            if let LoadError::Read(_) = error {
                if let Some(near) = neighbour(&path) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                let from = sources.file(context.pipeline.file);
                diagnostic = diagnostic.help(match from.path {
                    Some(_) => "paths in a pipeline are relative to the pipeline file",
                    None => "paths in a pipeline that comes through stdin are relative to the current folder",
                });
            }
            evaluator.report.push(diagnostic);
            return None;
        }
    };
    if loaded.kind.is_media() {
        let name = carried_in(&path);
        let file = sources.add_text(&name, &loaded.text);
        return graph(file, false, template, context, evaluator, sources);
    }
    let file = sources.add_file(&path, &loaded.text);
    if !whole {
        return graph(file, true, template, context, evaluator, sources);
    }
    let name = sources.file(file).name.clone();
    let rendered = evaluator.file_text(file, sources)?;
    let file = sources.add_text(&format!("{name} (rendered)"), &rendered);
    let before = evaluator.report.items.len();
    let graph = graph(file, false, None, context, evaluator, sources);
    for diagnostic in &mut evaluator.report.items[before..] {
        let help = format!("this is the text that the template `{name}` gave");
        diagnostic.help.push(help);
    }
    graph
}

/// How people are told of the text of a workflow that a picture or the like carries.
pub fn carried_in(path: &Path) -> String {
    format!("{} (workflow)", display_path(path))
}

/// The graph of a text. One in API format is a template unless that is turned off, where it stands in a file of its own; any other
/// only when that is asked for.
fn graph(
    file: FileId,
    own: bool,
    template: Option<bool>,
    context: &StepContext<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Read> {
    let Some(drawn) = import::drawn(&sources.file(file).text) else {
        return Some(Read {
            file,
            graph: workflow::read(file, sources, evaluator.report)?,
            templated: template.unwrap_or(own),
            places: None,
        });
    };
    let catalog = match (context.definitions)(&drawn.classes()) {
        Ok(catalog) => catalog,
        Err(reasons) => {
            evaluator.report.extend(reasons);
            evaluator.report.push(no_definitions(file, sources));
            return None;
        }
    };
    let imported = drawn.convert(&catalog, context.seed);
    let refusals = imported.refusals(file, sources);
    let refused = refusals.has_errors();
    evaluator.report.extend(refusals.items);
    (!refused).then(|| Read {
        file,
        graph: imported.graph,
        templated: template == Some(true),
        places: Some(Arc::new(imported.places)),
    })
}

/// What is said of a file in the editor's format while nobody can tell what its values mean.
pub fn no_definitions(file: FileId, sources: &SourceMap) -> Diagnostic {
    let pointer = String::new();
    let start = workflow::span_of(&Origin::Json { file, pointer }, sources);
    let message = "a workflow in the editor's format can only be read with the node definitions of its server";
    Diagnostic::error(&codes::UI_FORMAT, message)
        .label(start, "it has `nodes` and `links`")
        .help("start the server, or convert the file once with `kiln import FILE -o workflow.json` and use that")
}

/// Templates in the texts of the workflow file.
pub(super) fn in_file(
    step: &str,
    (file, places): (FileId, Option<&Places>),
    graph: &mut Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Vec<InFile> {
    let mut all = Vec::new();
    for (id, node) in &mut graph.nodes {
        for (input, value) in &mut node.inputs {
            let place = places.and_then(|places| places.of(id.as_str(), Some(input)));
            let base = match place {
                Some(place) => place.to_owned(),
                None => workflow::pointer([id.as_str(), "inputs", input.as_str()]),
            };
            let mut found = Vec::new();
            evaluator.json(value, file, (step, &base), sources, &mut found);
            for (pointer, evaluated) in found {
                let Some(evaluated) = evaluated else { continue };
                let inside = pointer[base.len()..].to_owned();
                if let (EditValue::Ready(datum), Some(place)) =
                    (&evaluated, value.pointer_mut(&inside))
                    && !matches!(datum, Datum::File(_) | Datum::Artifact(_))
                {
                    *place = datum.to_json();
                }
                all.push(InFile {
                    node: id.clone(),
                    input: input.clone(),
                    pointer: inside,
                    value: evaluated,
                    origin: Origin::Json { file, pointer },
                });
            }
        }
    }
    all
}

impl Evaluator<'_> {
    /// A value of a workflow file, with the templates in its texts: `None` when it holds none.
    fn json(
        &mut self,
        value: &Value,
        file: FileId,
        (step, pointer): (&str, &str),
        sources: &SourceMap,
        found: &mut Vec<(String, Option<EditValue>)>,
    ) {
        match value {
            Value::String(text) if text.contains("{{") || text.contains("{%") => {
                let place = Place::Json { file, pointer };
                found.push((
                    pointer.to_owned(),
                    self.text(
                        text,
                        place,
                        &Extra {
                            salt: format!("{step}{pointer}"),
                            ..Extra::default()
                        },
                        sources,
                    ),
                ));
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.json(
                        item,
                        file,
                        (step, &format!("{pointer}/{at}")),
                        sources,
                        found,
                    );
                }
            }
            Value::Object(entries) => {
                for (key, item) in entries {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.json(
                        item,
                        file,
                        (step, &format!("{pointer}/{key}")),
                        sources,
                        found,
                    );
                }
            }
            _ => {}
        }
    }
}
