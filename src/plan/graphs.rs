//! A step's workflow: read, parsed, and the templates in its texts evaluated as far as they can be.

use serde_json::Value;

use super::eval::{Evaluator, Extra, Place};
use super::sealed::{EditValue, InFile};
use super::steps::{StepContext, neighbour};
use crate::artifact::Datum;
use crate::diagnostic::{Diagnostic, FileId, Origin, SourceMap, codes};
use crate::spec::Node;
use crate::workflow::{self, Graph};

/// What a file name ends with whose text is a template as a whole.
const RENDERED: &str = ".json.j2";

/// The step's graph, as its file has it; the file, and whether its texts are templates still.
pub(super) fn read(
    workflow: &Node,
    context: &StepContext<'_>,
    template: Option<bool>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> Option<(FileId, Graph, bool)> {
    if let Some(file) = context.bare {
        let graph = workflow::read(file, sources, evaluator.report)?;
        return Some((file, graph, template == Some(true)));
    }
    let path = evaluator.text_now(workflow, "`workflow`", sources)?;
    let whole = path.ends_with(RENDERED) && template != Some(false);
    let path = context.folder.join(path);
    let file = match context.inputs.read_text(&path) {
        Ok(text) => sources.add_file(&path, &text),
        Err(error) => {
            let near = neighbour(&path);
            let mut diagnostic =
                Diagnostic::error(&codes::FILE_NOT_READABLE, error.to_string()).at(workflow.span);
            if let Some(near) = near {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            evaluator
                .report
                .push(diagnostic.help("paths in a pipeline are relative to the pipeline file"));
            return None;
        }
    };
    if !whole {
        let graph = workflow::read(file, sources, evaluator.report)?;
        return Some((file, graph, template != Some(false)));
    }
    let name = sources.file(file).name.clone();
    let rendered = evaluator.file_text(file, sources)?;
    let file = sources.add_text(&format!("{name} (rendered)"), &rendered);
    let before = evaluator.report.items.len();
    let graph = workflow::read(file, sources, evaluator.report);
    for diagnostic in &mut evaluator.report.items[before..] {
        let help = format!("this is the text that the template `{name}` gave");
        diagnostic.help.push(help);
    }
    Some((file, graph?, false))
}

/// Templates in the texts of the workflow file.
pub(super) fn in_file(
    step: &str,
    file: FileId,
    graph: &mut Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Vec<InFile> {
    let mut all = Vec::new();
    for (id, node) in &mut graph.nodes {
        for (input, value) in &mut node.inputs {
            let base = workflow::pointer([id.as_str(), "inputs", input.as_str()]);
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
