//! `set` and `--set`: which inputs of which nodes get which values, and which nodes are taken out.

use indexmap::IndexMap;

use super::eval::{Evaluator, Extra, Place};
use super::sealed::{Edit, EditValue};
use super::settings::SetFlag;
use super::steps::StepContext;
use crate::artifact::Datum;
use crate::base::NodeId;
use crate::diagnostic::{Diagnostic, Origin, SourceMap, Span, codes, list_of};
use crate::spec::{Node, NodeKind, SetEntry, SetNode, Spanned, Step};
use crate::workflow::{self, AddressError, Graph};

/// What `set` and `--set` change of a graph.
pub(super) struct Changes {
    /// The inputs.
    pub(super) edits: Vec<Edit>,
    /// The nodes that are bypassed when a task is rendered.
    pub(super) bypassed: Vec<(NodeId, Span)>,
    /// The nodes that have been taken out.
    pub(super) removed: Vec<(workflow::Node, Span)>,
}

/// Reads the changes. Removed nodes are taken out of the graph at once.
pub(super) fn edits(
    step: &Step,
    context: &StepContext<'_>,
    graph: &mut Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Changes {
    let mut edits: Vec<Edit> = Vec::new();
    let mut removed = Vec::new();
    let mut bypassed: Vec<(NodeId, Span)> = Vec::new();
    for SetNode { node: key, entry } in &step.set {
        let Some(id) = find(graph, key.value.as_str(), key.span, evaluator) else {
            continue;
        };
        match entry {
            SetEntry::Bypass => bypassed.push((id, key.span)),
            SetEntry::Remove => removed.push((id, key.span)),
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
    bypassed.retain(|(id, _)| removed.iter().all(|(gone, _)| gone != id));
    let gone = |id: &NodeId| removed.iter().chain(&bypassed).any(|(gone, _)| gone == id);
    edits.retain(|edit| !gone(&edit.node));
    let nodes = removed.iter();
    let nodes = nodes.filter_map(|(id, span)| {
        let node: &workflow::Node = graph.nodes.get(id)?;
        Some((node.clone(), *span))
    });
    let taken_out = nodes.collect();
    for cut in remove(graph, &removed) {
        // An input that `set` fills again needs no other reason.
        let same = |edit: &Edit| edit.node == cut.node && edit.input == cut.input;
        if !edits.iter().any(same) {
            edits.push(cut);
        }
    }
    Changes {
        edits,
        bypassed,
        removed: taken_out,
    }
}

/// Two keys of `set` can name one node, by its id and by its title.
fn set_twice(graph: &Graph, id: &NodeId, name: &Spanned<String>, first: Span) -> Diagnostic {
    let label = graph.nodes.get(id).map_or("", |node| node.label());
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
                            list_of(graph.nodes.values().map(|node| node.label()), 12)
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
        ..Extra::default()
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

/// `--set Node.input=value`.
fn flag_edit(
    step: &str,
    flag: &SetFlag,
    graph: &Graph,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Edit> {
    let (id, input) = flag_target(flag, graph, evaluator)?;
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

/// The node and the input that a `--set` names: the longest node name wins.
fn flag_target<'a>(
    flag: &'a SetFlag,
    graph: &Graph,
    evaluator: &mut Evaluator<'_>,
) -> Option<(NodeId, &'a str)> {
    let mut ambiguous = None;
    for (at, _) in flag.target.rmatch_indices('.') {
        let (key, input) = (&flag.target[..at], &flag.target[at + 1..]);
        match workflow::address(graph, key) {
            Ok(id) if !input.is_empty() => return Some((id, input)),
            Err(AddressError::Ambiguous { .. }) if ambiguous.is_none() => ambiguous = Some(key),
            _ => {}
        }
    }
    let key = ambiguous
        .or_else(|| flag.target.rsplit_once('.').map(|(key, _)| key))
        .unwrap_or(&flag.target);
    let start = flag.target_span.start;
    let span = Span::new(flag.target_span.file, start, start + key.len());
    if find(graph, key, span, evaluator).is_some() {
        let message = format!("which input of `{key}` to set is not said");
        let help = format!("write the input's name after a dot: `{key}.INPUT=VALUE`");
        let diagnostic = Diagnostic::error(&codes::BAD_ARGUMENT, message);
        evaluator
            .report
            .push(diagnostic.at(flag.target_span).help(help));
    }
    None
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
pub(super) fn outputs(
    step: &Step,
    graph: &Graph,
    bypassed: &[(NodeId, Span)],
    evaluator: &mut Evaluator<'_>,
) -> (IndexMap<String, NodeId>, Vec<Span>) {
    step.outputs
        .iter()
        .filter_map(|(name, (_, key))| {
            let id = find(graph, &key.value, key.span, evaluator)?;
            if let Some((_, span)) = bypassed.iter().find(|(gone, _)| *gone == id) {
                let message = format!(
                    "the output `{name}` names `{}`, which is bypassed",
                    key.value
                );
                let diagnostic = Diagnostic::error(&codes::BAD_VALUE, message).at(key.span);
                evaluator.report.push(diagnostic.also(*span, "here"));
                return None;
            }
            Some(((name.clone(), id), key.span))
        })
        .unzip()
}
