//! The walk: from each output node up its links, as the server does it, with a stack of our own.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::python;
use super::types::{
    Assumed, Dependents, FileOracle, JudgeOptions, NodeError, NodeErrors, TopError, Unsure, Verdict,
};
use super::validators::Validator;
use super::values::{self, Exception};
use crate::base::NodeId;
use crate::catalog::{Catalog, InputDef, InputType, NodeDef, OpenInput, OutputType, Section};
use crate::workflow::Graph;

/// A chain of more nodes than this runs into the server's own recursion limit.
const LONGEST_CHAIN: usize = 960;

/// What a server with this catalog answers to a graph. Where that hangs on what nobody here can tell (whether the server has a file,
/// whether a class checks a value itself, whether another class takes the place of one), [`Verdict::accepted`] is `None`, and everything
/// else is as if it were well.
pub fn judge(graph: &Graph, catalog: &Catalog, options: &JudgeOptions<'_>) -> Verdict {
    let (graph, replaced) = super::replace::replaced(graph, catalog);
    let guessed = replaced.iter().any(|replaced| !replaced.certain);
    let verdict = Verdict {
        replaced,
        ..judge_taking(&graph, catalog, options, true)
    };
    if verdict.accepted != Some(true) || verdict.assumed.is_empty() && !guessed {
        return verdict;
    }
    // Without the other class, one that nobody has refuses everything.
    let otherwise =
        !guessed && judge_taking(&graph, catalog, options, false).accepted == Some(true);
    Verdict {
        accepted: verdict.accepted.filter(|_| otherwise),
        ..verdict
    }
}

/// The verdict, with what nothing is known of taken for well, or for not well.
fn judge_taking(
    graph: &Graph,
    catalog: &Catalog,
    options: &JudgeOptions<'_>,
    there: bool,
) -> Verdict {
    if let Some(error) = missing_class(graph, catalog) {
        return refused(graph, error);
    }
    let outputs = wanted_outputs(graph, catalog, options);
    if outputs.is_empty() {
        return refused(graph, top("prompt_no_outputs", "Prompt has no outputs"));
    }
    let mut walk = Walk {
        graph: graph.clone(),
        catalog,
        files: options.files,
        there,
        validated: IndexMap::new(),
        fresh: Vec::new(),
        assumed: Vec::new(),
    };
    let mut runs = Vec::new();
    let mut complaints = Vec::new();
    let mut failed = Vec::new();
    let mut noted: IndexMap<NodeId, Noted> = IndexMap::new();
    for output in outputs {
        walk.visit(&output);
        let Some(result) = walk.validated.get(&output) else {
            continue;
        };
        if result.valid {
            runs.push(output);
            continue;
        }
        complaints.extend(
            result
                .errors
                .iter()
                .map(|e| format!("{}: {}", e.message, e.details)),
        );
        walk.note(failed.len(), &mut noted);
        failed.push(output);
    }
    let error = runs.is_empty().then(|| TopError {
        details: complaints.join("\n"),
        ..top(
            "prompt_outputs_failed_validation",
            "Prompt outputs failed validation",
        )
    });
    Verdict {
        accepted: Some(error.is_none()),
        error,
        node_errors: walk.told(noted, failed),
        runs,
        coerced: walk.graph,
        assumed: walk.assumed,
        replaced: Vec::new(),
    }
}

/// What is wrong with a node, and how many outputs had been refused before it was known.
struct Noted {
    errors: Vec<NodeError>,
    from: usize,
}

/// The nodes that end the graph, those that were asked for.
fn wanted_outputs(graph: &Graph, catalog: &Catalog, options: &JudgeOptions<'_>) -> Vec<NodeId> {
    let wanted = |id: &NodeId| options.targets.is_none_or(|targets| targets.contains(id));
    let ends = |class: &str| catalog.node(class).is_some_and(|d| d.output_node);
    let nodes = graph.nodes.iter();
    nodes
        .filter(|(id, node)| wanted(id) && ends(&node.class_type))
        .map(|(id, _)| id.clone())
        .collect()
}

/// Whether the server takes a value for a link when it collects a node's inputs.
pub(super) fn is_link_shaped(value: &Value) -> bool {
    matches!(
        value.as_array().map(Vec::as_slice),
        Some([Value::String(_), Value::Number(_)])
    )
}

fn top(kind: &'static str, message: &str) -> TopError {
    TopError {
        kind,
        message: message.to_owned(),
        details: String::new(),
        extra_info: json!({}),
    }
}

fn refused(graph: &Graph, error: TopError) -> Verdict {
    Verdict {
        accepted: Some(false),
        error: Some(error),
        node_errors: IndexMap::new(),
        runs: Vec::new(),
        coerced: graph.clone(),
        assumed: Vec::new(),
        replaced: Vec::new(),
    }
}

/// The first node whose class the server does not have: one anywhere refuses the whole job.
fn missing_class(graph: &Graph, catalog: &Catalog) -> Option<TopError> {
    let (id, node) = graph
        .nodes
        .iter()
        .find(|(_, node)| catalog.node(&node.class_type).is_none())?;
    let (message, class, title) = if node.class_type.is_empty() {
        let name = node
            .title()
            .map_or_else(|| format!("ID #{id}"), str::to_owned);
        (
            format!(
                "Node '{name}' has no class_type. The workflow may be corrupted or a custom node is missing."
            ),
            Value::Null,
            node.title().map_or(Value::Null, Value::from),
        )
    } else {
        (
            format!(
                "Node '{}' not found. The custom node may not be installed.",
                node.label()
            ),
            Value::from(&*node.class_type),
            Value::from(node.label()),
        )
    };
    Some(TopError {
        message,
        details: format!("Node ID '#{id}'"),
        extra_info: json!({
            "node_id": id,
            "class_type": class,
            "node_title": title,
        }),
        ..top("missing_node_type", "")
    })
}

/// What is known about a node once it was looked at.
struct Outcome {
    valid: bool,
    errors: Vec<NodeError>,
}

/// A node that is being looked at.
struct Frame<'a> {
    id: NodeId,
    inputs: Vec<OpenInput<'a>>,
    next: usize,
    valid: bool,
    errors: Vec<NodeError>,
}

enum Step {
    /// The input is dealt with.
    Done,
    /// The linked node has to be looked at first.
    Descend(NodeId),
    /// The server meets an exception.
    Raise(Exception),
}

struct Walk<'a> {
    graph: Graph,
    catalog: &'a Catalog,
    files: &'a dyn FileOracle,
    /// Whether a file of which nothing is known is taken for there.
    there: bool,
    validated: IndexMap<NodeId, Outcome>,
    /// Nodes with errors that no refused output was told of yet.
    fresh: Vec<NodeId>,
    assumed: Vec<Assumed>,
}

impl<'a> Walk<'a> {
    /// Looks at an output node and everything it needs.
    fn visit(&mut self, output: &NodeId) {
        if self.validated.contains_key(output) {
            return;
        }
        let mut stack: Vec<Frame<'a>> = self.frame(output).into_iter().collect();
        while let Some(frame) = stack.last_mut() {
            let step = if frame.next < frame.inputs.len() {
                self.input(frame)
            } else {
                match self.finish(frame) {
                    Ok(()) => {
                        let valid = self.validated.get(&frame.id).is_some_and(|o| o.valid);
                        stack.pop();
                        resume(&mut stack, valid);
                        continue;
                    }
                    Err(exception) => Step::Raise(exception),
                }
            };
            match step {
                Step::Done => frame.next += 1,
                Step::Descend(id) => self.descend(&mut stack, &id),
                Step::Raise(exception) => self.raise(&mut stack, &exception),
            }
        }
    }

    fn frame(&self, id: &NodeId) -> Option<Frame<'a>> {
        let node = self.graph.nodes.get(id)?;
        let catalog: &'a Catalog = self.catalog;
        Some(Frame {
            id: id.clone(),
            inputs: catalog.node(&node.class_type)?.open_inputs(&node.inputs),
            next: 0,
            valid: true,
            errors: Vec::new(),
        })
    }

    fn descend(&mut self, stack: &mut Vec<Frame<'a>>, id: &NodeId) {
        if let Some(known) = self.validated.get(id) {
            let valid = known.valid;
            resume(stack, valid);
        } else if let Some(start) = stack.iter().position(|f| f.id == *id) {
            let path: Vec<NodeId> = stack[start..].iter().map(|f| f.id.clone()).collect();
            self.record_cycle(&path);
            resume(stack, false);
        } else if stack.len() >= LONGEST_CHAIN {
            let exception = Exception {
                kind: "RecursionError",
                text: "maximum recursion depth exceeded".to_owned(),
            };
            self.fail_link(stack, &exception);
        } else if let Some(frame) = self.frame(id) {
            stack.push(frame);
        } else {
            resume(stack, false);
        }
    }

    /// Every node of a cycle gets the error.
    fn record_cycle(&mut self, path: &[NodeId]) {
        let names: Vec<String> = path
            .iter()
            .chain(path.first())
            .map(|id| {
                let class = self.graph.nodes.get(id).map(|n| n.class_type.as_str());
                format!("{id} ({})", class.unwrap_or_default())
            })
            .collect();
        let details: Arc<str> = names.join(" -> ").into();
        let cycle: Arc<[NodeId]> = path.into();
        for id in path {
            let mut extra = Map::new();
            extra.insert("node_id".to_owned(), json!(id));
            let error = NodeError {
                cycle: Some(Arc::clone(&cycle)),
                ..NodeError::new(
                    "dependency_cycle",
                    "Dependency cycle detected",
                    Arc::clone(&details),
                    None,
                    extra,
                )
            };
            self.fails(id.clone(), error);
        }
    }

    /// A node's outcome is this error, whatever it was before.
    fn fails(&mut self, id: NodeId, error: NodeError) {
        self.fresh.push(id.clone());
        let errors = vec![error];
        let valid = false;
        self.validated.insert(id, Outcome { valid, errors });
    }

    /// The exception ends the topmost node; the node that links to it notes it there and goes on.
    fn raise(&mut self, stack: &mut Vec<Frame<'a>>, exception: &Exception) {
        let Some(frame) = stack.pop() else {
            return;
        };
        if stack.is_empty() {
            self.fails(frame.id, values::exception(exception));
        } else {
            self.fail_link(stack, exception);
        }
    }

    fn fail_link(&mut self, stack: &mut [Frame<'a>], exception: &Exception) {
        if let Some(frame) = stack.last()
            && let Some(input) = frame.inputs.get(frame.next)
            && let Some(link) = self
                .graph
                .nodes
                .get(&frame.id)
                .and_then(|n| n.inputs.get(&input.name))
            && let Some(linked) = link.get(0).and_then(Value::as_str)
        {
            let error = values::inner_exception(exception, &input.name, input.def, link);
            let linked = NodeId::from(linked);
            self.fails(linked, error);
        }
        resume(stack, false);
    }

    /// Looks at the frame's next input.
    fn input(&mut self, frame: &mut Frame<'a>) -> Step {
        let Some(input) = frame.inputs.get(frame.next) else {
            return Step::Done;
        };
        let (name, def) = (input.name.as_str(), input.def);
        let Some(node) = self.graph.nodes.get(&frame.id) else {
            return Step::Done;
        };
        let Some(value) = node.inputs.get(name) else {
            if input.section == Section::Required {
                frame.errors.push(values::missing(name));
            }
            return Step::Done;
        };
        if let Value::Array(items) = value {
            return self.link(items, name, def, &mut frame.errors);
        }
        let coerced = match values::coerce(name, def, value) {
            Ok(coerced) => coerced,
            Err(error) => {
                frame.errors.push(*error);
                return Step::Done;
            }
        };
        let exempt = Validator::of(&node.class_type).is_some_and(|v| v.exempts(name));
        let own = self.may_check(&node.class_type);
        let checked = if exempt {
            Ok(None)
        } else {
            values::check(name, def, &coerced)
        };
        if let Some(node) = self.graph.nodes.get_mut(&frame.id) {
            node.inputs.insert(name.to_owned(), coerced);
        }
        // What the server says against it, unless the class has a check of its own.
        let wrong = match checked {
            Ok(None) => return Step::Done,
            Ok(Some(error)) => Ok(error),
            Err(exception) => Err(exception),
        };
        let unsure = match &wrong {
            // Such lists are only what the editor offers; the class decides by itself.
            Ok(error) if def.upload && error.kind == "value_not_in_list" => Some(Unsure::File),
            _ if !own => None,
            Ok(error) => Some(Unsure::OwnCheck(Box::new(error.clone()))),
            Err(exception) => Some(Unsure::OwnCheck(Box::new(values::exception(exception)))),
        };
        let Some(unsure) = unsure else {
            return refuse(frame, wrong);
        };
        self.assumed.push(Assumed {
            node: frame.id.clone(),
            input: name.to_owned(),
            unsure,
        });
        if self.there {
            Step::Done
        } else {
            refuse(frame, wrong)
        }
    }

    /// Looks at an input that is a list: a link, or nothing that the server takes.
    fn link(
        &self,
        items: &[Value],
        name: &str,
        def: &InputDef,
        errors: &mut Vec<NodeError>,
    ) -> Step {
        let [target, slot] = items else {
            errors.push(values::bad_link(name, def, &json!(items)));
            return Step::Done;
        };
        match self.link_type(target, slot) {
            Err(exception) => Step::Raise(exception),
            Ok((id, received)) if accepts(&received, def) => Step::Descend(id),
            Ok((_, received)) => {
                errors.push(values::mismatch(name, def, &received, &json!(items)));
                Step::Done
            }
        }
    }

    /// The node a link leads to and the type of its output, as `output` of `object_info` has it.
    fn link_type(&self, target: &Value, slot: &Value) -> Result<(NodeId, Value), Exception> {
        let raise = |kind: &'static str, text: String| Err(Exception { kind, text });
        let Value::String(id) = target else {
            return match target {
                Value::Array(_) | Value::Object(_) => raise(
                    "TypeError",
                    format!("unhashable type: '{}'", python::type_name(target)),
                ),
                other => raise("KeyError", python::print(other)),
            };
        };
        let found = self.graph.nodes.get_key_value(id.as_str());
        let definition = found.and_then(|(_, node)| self.catalog.node(&node.class_type));
        let (Some((id, _)), Some(definition)) = (found, definition) else {
            return raise("KeyError", python::print(target));
        };
        let sequence = if definition.v3 { "list" } else { "tuple" };
        let index = match slot {
            Value::Bool(b) => i64::from(*b),
            Value::Number(n) if !n.is_f64() => n.as_i64().unwrap_or(i64::MAX),
            other => {
                let kind = python::type_name(other);
                return raise(
                    "TypeError",
                    format!("{sequence} indices must be integers or slices, not {kind}"),
                );
            }
        };
        match output_at(definition, index) {
            Some(ty) => Ok((id.clone(), ty)),
            None => raise("IndexError", format!("{sequence} index out of range")),
        }
    }

    /// All inputs are dealt with: the class's own check, then the node's outcome.
    fn finish(&mut self, frame: &mut Frame<'a>) -> Result<(), Exception> {
        if let Some(node) = self.graph.nodes.get(&frame.id)
            && let Some(definition) = self.catalog.node(&node.class_type)
            && let Some(validator) = Validator::of(&node.class_type)
        {
            let checked = validator.run(definition, &node.inputs, self.files)?;
            frame.errors.extend(checked.errors);
            frame.valid &= self.there || checked.assumed.is_none();
            self.assumed.extend(checked.assumed.map(|input| Assumed {
                node: frame.id.clone(),
                input,
                unsure: Unsure::File,
            }));
        }
        let outcome = self
            .validated
            .entry(frame.id.clone())
            .or_insert_with(|| Outcome {
                valid: true,
                errors: Vec::new(),
            });
        outcome.valid &= frame.valid && frame.errors.is_empty();
        if !frame.errors.is_empty() {
            outcome.errors.append(&mut frame.errors);
            self.fresh.push(frame.id.clone());
        }
        Ok(())
    }

    /// Whether a class may have a check of its own, of which nobody here knows: one of a pack may, and then the server leaves bounds and
    /// lists to it.
    fn may_check(&self, class: &str) -> bool {
        let def = self.catalog.node(class);
        let module = def.and_then(|def| def.python_module.as_deref());
        module.is_some_and(|module| module.starts_with("custom_nodes."))
    }

    /// Adds what became known since the last refused output, for the sake of the next one. `before`: how many were refused till now.
    fn note(&mut self, before: usize, noted: &mut IndexMap<NodeId, Noted>) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_by_key(|id| self.validated.get_index_of(id));
        for id in fresh {
            let Some(outcome) = self.validated.get(&id) else {
                continue;
            };
            noted.entry(id).or_insert_with(|| Noted {
                errors: outcome.errors.clone(),
                from: before,
            });
        }
    }

    /// The answer for each node.
    fn told(
        &self,
        noted: IndexMap<NodeId, Noted>,
        failed: Vec<NodeId>,
    ) -> IndexMap<NodeId, NodeErrors> {
        let failed: Arc<[NodeId]> = failed.into();
        let told = noted.into_iter().map(|(id, noted)| {
            let node = self.graph.nodes.get(&id);
            let errors = NodeErrors {
                class_type: node.map(|node| node.class_type.clone()).unwrap_or_default(),
                dependent_outputs: Dependents::new(&failed, noted.from),
                errors: noted.errors,
            };
            (id, errors)
        });
        told.collect()
    }
}

/// Notes what is wrong with a frame's input.
fn refuse(frame: &mut Frame<'_>, wrong: Result<NodeError, Exception>) -> Step {
    match wrong {
        Ok(error) => {
            frame.errors.push(error);
            Step::Done
        }
        Err(exception) => Step::Raise(exception),
    }
}

/// The linked node of the topmost frame's input is done.
fn resume(stack: &mut [Frame<'_>], valid: bool) {
    if let Some(frame) = stack.last_mut() {
        frame.valid &= valid;
        frame.next += 1;
    }
}

/// The type of an output; negative slots count from the end.
fn output_at(definition: &NodeDef, index: i64) -> Option<Value> {
    let count = i64::try_from(definition.outputs.len()).ok()?;
    let index = if index < 0 { index + count } else { index };
    let output = definition.outputs.get(usize::try_from(index).ok()?)?;
    Some(match &output.ty {
        OutputType::Named(name) => Value::from(&**name),
        OutputType::List(list) => Value::Array(list.clone()),
    })
}

/// Whether an input takes a link of this type.
fn accepts(received: &Value, def: &InputDef) -> bool {
    let matches_all = |name: &str| matches!(name, "*" | "COMFY_MATCHTYPE_V3");
    let wanted = def.type_name();
    let old_style = match &def.ty {
        InputType::Combo(combo) if combo.old_style => Some(&combo.options),
        _ => None,
    };
    match (received, old_style) {
        _ if old_style.is_none() && matches_all(wanted) => true,
        (Value::String(received), _) if matches_all(received) => true,
        (Value::String(_), Some(_)) => false,
        (Value::String(received), None) => {
            let received: HashSet<&str> = received.split(',').map(str::trim).collect();
            wanted.split(',').any(|ty| received.contains(ty.trim()))
        }
        (received, Some(options)) => received.as_array() == Some(options),
        (_, None) => wanted == "COMBO",
    }
}
