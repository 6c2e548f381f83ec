//! A step as written becomes a step as planned: its workflow read, its nodes addressed, its values evaluated as far as they can be.

use std::path::Path;
use std::sync::Arc;

use super::eval::{Evaluator, Extra, Place, unknown_step};
use super::sealed::{
    Edit, EditValue, InFile, NeedPlan, StepPlan, TemplateText, Work, WorkflowStep,
};
use super::settings::SetFlag;
use crate::artifact::Datum;
use crate::base::{Inputs, NodeId, ServerName, StepId};
use crate::diagnostic::{Diagnostic, FileId, Origin, SourceMap, Span, codes, list_of};
use crate::spec::{Node, NodeKind, SetEntry, SetNode, Spanned, Step, StepWork};
use crate::workflow::{self, AddressError, Graph};
use indexmap::IndexMap;

/// What building steps needs beside the evaluator.
pub(super) struct StepContext<'a> {
    pub(super) inputs: &'a Arc<Inputs>,
    /// Relative workflow paths start here.
    pub(super) folder: &'a Path,
    /// `--set` entries for this step, their step's name cut off.
    pub(super) flags: Vec<SetFlag>,
    /// The file of a bare workflow, already read.
    pub(super) bare: Option<FileId>,
}

/// Plans one step; `None` when it has an error (all of them are reported).
pub(super) fn build(
    step: &Step,
    server: ServerName,
    context: &StepContext<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> Option<StepPlan> {
    evaluator.used.clear();
    let before = evaluator.report.items.len();
    let (file, mut graph) = read(step, context, evaluator, sources)?;
    let sources: &SourceMap = sources;
    let in_file = in_file(step, file, &mut graph, evaluator, sources);
    let edits = edits(step, context, &mut graph, evaluator, sources);
    let (outputs, output_spans) = outputs(step, &graph, evaluator);
    let save_as = step
        .save_as
        .as_ref()
        .and_then(|node| save_as(node, evaluator, sources));
    let needs = needs(step, evaluator);
    let failed = evaluator.report.items[before..]
        .iter()
        .any(|d| d.severity == crate::diagnostic::Severity::Error);
    if failed {
        return None;
    }
    let work = Work::Workflow(WorkflowStep {
        file,
        graph,
        in_file,
        edits,
    });
    let id = StepId::from(step.id.value.as_str());
    let needs = needs.into_iter().map(|step| NeedPlan {
        step,
        optional: false,
    });
    Some(StepPlan {
        outputs,
        output_spans,
        save_as,
        needs: needs.collect(),
        ..StepPlan::new(id, Some(step.id.span), server, work)
    })
}

fn read(
    step: &Step,
    context: &StepContext<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> Option<(FileId, Graph)> {
    let file = if let Some(file) = context.bare {
        file
    } else {
        let StepWork::Workflow(written) = &step.work else {
            return None;
        };
        let path = evaluator.text_now(written, "`workflow`", sources)?;
        let path = context.folder.join(path);
        match context.inputs.read_text(&path) {
            Ok(text) => sources.add_file(&path, &text),
            Err(error) => {
                let near = neighbour(&path);
                let mut diagnostic =
                    Diagnostic::error(&codes::FILE_NOT_READABLE, error.to_string())
                        .at(written.span);
                if let Some(near) = near {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                evaluator
                    .report
                    .push(diagnostic.help("paths in a pipeline are relative to the pipeline file"));
                return None;
            }
        }
    };
    workflow::read(file, sources, evaluator.report).map(|graph| (file, graph))
}

/// The file in the same folder whose name is nearest to the missing one; `None` when it is not missing.
pub fn neighbour(path: &Path) -> Option<String> {
    if path.exists() {
        return None;
    }
    let wrong = path.file_name()?.to_str()?;
    let names: Vec<String> = std::fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    crate::diagnostic::did_you_mean(wrong, names.iter().map(String::as_str)).map(str::to_owned)
}

/// Templates in the workflow file itself. Bare workflows are never templated unless asked.
fn in_file(
    step: &Step,
    file: FileId,
    graph: &mut Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Vec<InFile> {
    let mut all = Vec::new();
    if step.template == Some(false) {
        return all;
    }
    for (id, node) in &mut graph.nodes {
        for (input, value) in &mut node.inputs {
            let base = workflow::pointer([id.as_str(), "inputs", input.as_str()]);
            let mut found = Vec::new();
            evaluator.json(value, file, &base, sources, &mut found);
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

fn edits(
    step: &Step,
    context: &StepContext<'_>,
    graph: &mut Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut removed = Vec::new();
    for SetNode { node: key, entry } in &step.set {
        let Some(id) = find(graph, key.value.as_str(), key.span, evaluator) else {
            continue;
        };
        match entry {
            SetEntry::Bypass | SetEntry::Remove => removed.push((id, key.span)),
            SetEntry::Inputs(inputs) => {
                for (name, value) in inputs {
                    let again = edits.iter().find(|e| e.node == id && e.input == name.value);
                    if let Some(first) = again.and_then(|edit| edit.key) {
                        evaluator.report.push(set_twice(graph, &id, name, first));
                        continue;
                    }
                    let extra = value_scope(&step.id.value, graph, &id, &name.value);
                    let Some(evaluated) = edit_value(value, graph, &extra, evaluator, sources)
                    else {
                        continue;
                    };
                    edits.push(Edit {
                        node: id.clone(),
                        input: name.value.clone(),
                        value: evaluated,
                        origin: Origin::Written(value.span),
                        key: Some(name.span),
                    });
                }
            }
        }
    }
    for flag in &context.flags {
        if let Some(edit) = flag_edit(&step.id.value, flag, graph, evaluator, sources) {
            edits.retain(|e| !(e.node == edit.node && e.input == edit.input));
            edits.push(edit);
        }
    }
    edits.retain(|edit| removed.iter().all(|(id, _)| *id != edit.node));
    for cut in remove(graph, &removed) {
        // An input that `set` fills again needs no other reason.
        if edits
            .iter()
            .all(|edit| !(edit.node == cut.node && edit.input == cut.input))
        {
            edits.push(cut);
        }
    }
    edits
}

/// Two keys of `set` can name one node, by its id and by its title.
fn set_twice(graph: &Graph, id: &NodeId, name: &Spanned<String>, first: Span) -> Diagnostic {
    let label = graph.nodes.get(id).map_or("", workflow::Node::label);
    Diagnostic::error(
        &codes::DUPLICATE_KEY,
        format!("`{}` of `{label}` (node {id}) is set twice", name.value),
    )
    .at(name.span)
    .also(first, "it is set here first")
    .help("both keys name the same node: keep one of them")
}

/// The node that a key of `set`, `outputs` or a link means; complains at `span`.
fn find(graph: &Graph, key: &str, span: Span, evaluator: &mut Evaluator<'_>) -> Option<NodeId> {
    match workflow::address(graph, key) {
        Ok(id) => Some(id),
        Err(error) => {
            let diagnostic = match &error {
                AddressError::NotFound { near, .. } => {
                    let mut d =
                        Diagnostic::error(&codes::SET_NO_SUCH_NODE, error.to_string()).at(span);
                    d = match near.first() {
                        Some(near) => d.help(format!("did you mean `{near}`?")),
                        None => d.help(format!(
                            "nodes of this workflow: {}",
                            list_of(graph.nodes.values().map(workflow::Node::label), 12)
                        )),
                    };
                    d
                }
                AddressError::Ambiguous { matches, .. } => {
                    Diagnostic::error(&codes::SET_AMBIGUOUS_NODE, error.to_string())
                        .at(span)
                        .help(format!(
                            "use an id instead: {}",
                            list_of(matches.iter().map(NodeId::as_str), 12)
                        ))
                }
            };
            evaluator.report.push(diagnostic);
            None
        }
    }
}

/// `value` in a `set` expression: what the workflow file says.
fn value_scope(step: &str, graph: &Graph, id: &NodeId, input: &str) -> Extra {
    let current = graph.nodes.get(id).and_then(|node| node.inputs.get(input));
    Extra {
        value: current
            .filter(|value| workflow::is_link(value).is_none())
            .map(|value| Datum::from(value.clone())),
        salt: format!("{step}/{id}/{input}"),
        file: false,
        typed: false,
    }
}

fn edit_value(
    node: &Node,
    graph: &Graph,
    extra: &Extra,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<EditValue> {
    if let NodeKind::List(items) = &node.kind
        && let [from, slot] = items.as_slice()
        && let (NodeKind::String(key), NodeKind::Number(number)) = (&from.kind, &slot.kind)
        && !number.is_f64()
    {
        let id = find(graph, key, from.span, evaluator)?;
        let Some(slot) = number.as_u64().and_then(|n| u32::try_from(n).ok()) else {
            evaluator.report.push(
                Diagnostic::error(
                    &codes::BAD_VALUE,
                    format!("{number} is no output slot of a node"),
                )
                .at(slot.span)
                .help("`[node, slot]` is a link; slots count from 0"),
            );
            return None;
        };
        return Some(EditValue::Link { node: id, slot });
    }
    evaluator.value(node, extra, sources)
}

/// `--set Node.input=value`: the longest node name wins.
fn flag_edit(
    step: &str,
    flag: &SetFlag,
    graph: &Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Edit> {
    let mut best: Option<(NodeId, &str)> = None;
    let mut ambiguous = None;
    for (at, _) in flag
        .target
        .match_indices('.')
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let (key, input) = (&flag.target[..at], &flag.target[at + 1..]);
        match workflow::address(graph, key) {
            Ok(id) if !input.is_empty() => {
                best = Some((id, input));
                break;
            }
            Err(AddressError::Ambiguous { .. }) if ambiguous.is_none() => ambiguous = Some(key),
            _ => {}
        }
    }
    let Some((id, input)) = best else {
        let key = ambiguous
            .or_else(|| flag.target.rsplit_once('.').map(|(key, _)| key))
            .unwrap_or(&flag.target);
        let span = Span::new(
            flag.target_span.file,
            flag.target_span.start,
            flag.target_span.start + key.len(),
        );
        if find(graph, key, span, evaluator).is_some() {
            evaluator.report.push(
                Diagnostic::error(
                    &codes::BAD_ARGUMENT,
                    format!("which input of `{key}` to set is not said"),
                )
                .at(flag.target_span)
                .help(format!(
                    "write the input's name after a dot: `{key}.INPUT=VALUE`"
                )),
            );
        }
        return None;
    };
    let extra = Extra {
        typed: true,
        ..value_scope(step, graph, &id, input)
    };
    let node = Node {
        span: flag.value_span,
        kind: NodeKind::String(flag.value.clone()),
    };
    let value = if flag.value == "null" {
        EditValue::Ready(Datum::Null)
    } else {
        evaluator.text(&flag.value, Place::Yaml(&node), &extra, sources)?
    };
    Some(Edit {
        node: id,
        input: input.to_owned(),
        value,
        origin: Origin::Written(flag.value_span),
        key: Some(flag.target_span),
    })
}

/// Takes nodes out, and the links that led to them: each is an edit of its own, so that a complaint about the input it leaves empty
/// leads to the line that took the node out.
fn remove(graph: &mut Graph, removed: &[(NodeId, Span)]) -> Vec<Edit> {
    let mut cut = Vec::new();
    graph
        .nodes
        .retain(|id, _| removed.iter().all(|(gone, _)| gone != id));
    for (id, node) in &mut graph.nodes {
        node.inputs.retain(|input, value| {
            let from = workflow::is_link(value).map(|(from, _)| from);
            let Some((_, span)) = removed.iter().find(|(gone, _)| from == Some(gone.as_str()))
            else {
                return true;
            };
            cut.push(Edit {
                node: id.clone(),
                input: input.clone(),
                value: EditValue::Ready(Datum::Null),
                origin: Origin::Written(*span),
                key: Some(*span),
            });
            false
        });
    }
    cut
}

/// The nodes that `outputs` names, and where it does.
fn outputs(
    step: &Step,
    graph: &Graph,
    evaluator: &mut Evaluator<'_>,
) -> (IndexMap<String, NodeId>, Vec<Span>) {
    step.outputs
        .iter()
        .filter_map(|(name, (_, key))| {
            let id = find(graph, &key.value, key.span, evaluator)?;
            Some(((name.clone(), id), key.span))
        })
        .unzip()
}

/// `save_as` is evaluated per file, so it is kept as a template even when it is plain text.
fn save_as(
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<TemplateText> {
    let text = node.as_str()?;
    let origin = Origin::Written(node.span);
    match evaluator.text(
        text,
        Place::Yaml(node),
        &Extra {
            file: true,
            ..Extra::default()
        },
        sources,
    )? {
        EditValue::Later(later) => Some(later),
        EditValue::Ready(Datum::String(fixed)) => {
            if let Err(error) = crate::base::safe_join(Path::new(""), &fixed) {
                evaluator.report.push(unsafe_path(&error).at(node.span));
                return None;
            }
            Some(TemplateText {
                text: text.to_owned(),
                origin,
                steps: Vec::new(),
                folder: None,
            })
        }
        EditValue::Ready(Datum::Number(_)) => Some(TemplateText {
            text: text.to_owned(),
            origin,
            steps: Vec::new(),
            folder: None,
        }),
        EditValue::Ready(other) => {
            evaluator.report.push(
                Diagnostic::error(
                    &codes::WRONG_TYPE,
                    format!("`save_as` must give a string, not {}", other.describe()),
                )
                .at(node.span),
            );
            None
        }
        _ => None,
    }
}

/// A path for results that would leave its folder.
pub(super) fn unsafe_path(error: &crate::base::UnsafePath) -> Diagnostic {
    Diagnostic::error(
        &codes::UNSAFE_OUTPUT_PATH,
        format!("the output path {error}"),
    )
    .help("`save_as` names a file inside the step's own folder, e.g. `final/picture`")
}

/// Written needs first, then the steps that expressions use.
fn needs(step: &Step, evaluator: &mut Evaluator<'_>) -> Vec<StepId> {
    let mut needs: Vec<StepId> = Vec::new();
    for need in &step.needs {
        if evaluator.names.steps.contains(&need.step.value) {
            needs.push(StepId::from(need.step.value.as_str()));
        } else {
            let diagnostic = unknown_step(&need.step.value, need.step.span, evaluator.names.steps);
            evaluator.report.push(diagnostic);
        }
    }
    needs.extend(evaluator.used.keys().map(|s| StepId::from(s.as_str())));
    needs.sort();
    needs.dedup();
    needs
}
