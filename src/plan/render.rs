//! A task's graph, ready but for the names of its uploads.
//!
//! The same code serves a running task (every value must be known) and a check before anything runs (values that need results stay
//! as the file has them, and are reported as unknown).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::evaluate::{Evaluation, Reading};
use super::scope::Results;
use super::sealed::{EditValue, Plan, StepPlan, TaskPlan, WorkflowStep};
use crate::artifact::{Artifact, Datum, FileValue};
use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, Report, Span, codes};
use crate::plugin::{Declared, Shape};
use crate::workflow::import::Places;
use crate::workflow::{self, Dropped, Graph, Why};

/// A task's graph.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The graph; inputs that take an upload hold the file's own name until [`Rendered::fill`].
    pub graph: Graph,
    /// Files to send before the graph can be queued.
    pub uploads: Vec<Upload>,
    /// Output nodes to run; empty: all.
    pub targets: Vec<NodeId>,
    /// Where each input came from.
    pub origins: Origins,
    /// Inputs whose value is not known yet (only before a run).
    pub unknown: BTreeSet<(NodeId, String)>,
    /// The plugins that change it, or what it leaves behind.
    pub shaped_by: Vec<Shape>,
}

/// A file that an input takes.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The node.
    pub node: NodeId,
    /// The input.
    pub input: String,
    /// Where inside the input's value, as a JSON pointer; empty for the value itself.
    pub pointer: String,
    /// The file.
    pub file: Uploadable,
}

/// A file that can be sent to a server.
#[derive(Clone, Debug)]
pub enum Uploadable {
    /// One of the user's.
    File(FileValue),
    /// One that a task made.
    Artifact(Arc<Artifact>),
}

/// Where the inputs of a rendered graph came from.
#[derive(Clone, Debug)]
pub struct Origins {
    file: crate::diagnostic::FileId,
    places: Option<Arc<Places>>,
    edited: HashMap<(NodeId, String), (Origin, Option<Span>)>,
    /// Inputs that the workflow file does not have.
    added: HashSet<(NodeId, String)>,
}

impl Origins {
    /// Where an input's value stands, or the node itself without an input.
    pub fn of(&self, node: &NodeId, input: Option<&str>) -> Option<Origin> {
        if let Some(input) = input
            && let Some((origin, _)) = self.edited.get(&(node.clone(), input.to_owned()))
        {
            return Some(origin.clone());
        }
        let drawn = self.places.as_ref();
        let drawn = drawn.and_then(|places| places.of(node.as_str(), input));
        let pointer = match (drawn, input) {
            (Some(place), _) => place.to_owned(),
            (None, Some(input)) => workflow::pointer([node.as_str(), "inputs", input]),
            (None, None) => workflow::pointer([node.as_str()]),
        };
        Some(Origin::Json {
            file: self.file,
            pointer,
        })
    }
}

impl Origins {
    /// Where `set` names an input.
    pub fn key(&self, node: &NodeId, input: &str) -> Option<Span> {
        self.edited
            .get(&(node.clone(), input.to_owned()))
            .and_then(|(_, key)| *key)
    }

    /// Whether `set` gives an input that the workflow file does not have.
    pub fn is_added(&self, node: &NodeId, input: &str) -> bool {
        self.added.contains(&(node.clone(), input.to_owned()))
    }
}

impl Rendered {
    /// Puts the name that the server gave an upload into the graph.
    pub fn fill(&mut self, upload: usize, name: &str) {
        let Some(upload) = self.uploads.get(upload) else {
            return;
        };
        if let Some(node) = self.graph.nodes.get_mut(&upload.node)
            && let Some(value) = node.inputs.get_mut(&upload.input)
            && let Some(place) = value.pointer_mut(&upload.pointer)
        {
            *place = Value::String(name.to_owned());
        }
    }
}

/// The graph of a task whose needs have ended.
///
/// # Errors
/// Everything that is wrong with its values, each at the user's own line.
pub fn render(
    plan: &Plan,
    task: &TaskPlan,
    work: &WorkflowStep,
    results: &Results,
    catalog: Option<&Catalog>,
    attempt: u32,
) -> Result<Rendered, Report> {
    let names = Evaluation::of_task(plan, task, results, attempt);
    let step = &plan.steps[&task.step];
    let mut renderer = Renderer::new(plan, (step, work), catalog, names, true);
    renderer.fill_in();
    if renderer.report.has_errors() {
        Err(renderer.report)
    } else {
        Ok(renderer.rendered)
    }
}

/// The graph of a task before anything ran, and everything that is already known to be wrong with its values. Inputs whose values need
/// names that have none yet, or have a wrong value, are in [`Rendered::unknown`].
pub fn preview(
    plan: &Plan,
    task: &TaskPlan,
    work: &WorkflowStep,
    catalog: Option<&Catalog>,
) -> (Rendered, Report) {
    let step = &plan.steps[&task.step];
    let names = Evaluation::before(plan, task);
    let mut renderer = Renderer::new(plan, (step, work), catalog, names, false);
    renderer.fill_in();
    for diagnostic in &renderer.report.items {
        if let (Some(node), Some(input)) = (&diagnostic.node, &diagnostic.input) {
            let input = (NodeId::from(node.as_str()), input.clone());
            renderer.rendered.unknown.insert(input);
        }
    }
    (renderer.rendered, renderer.report)
}

fn shaped_by(plan: &Plan, step: &StepPlan) -> Vec<Shape> {
    let plugins = step.shaped_by.iter();
    plugins
        .filter_map(|name| plan.plugins.get(name))
        .map(Declared::shape)
        .collect()
}

struct Renderer<'a> {
    plan: &'a Plan,
    work: &'a WorkflowStep,
    catalog: Option<&'a Catalog>,
    names: Evaluation<'a>,
    /// Whether the task is about to run, and no longer only looked at.
    running: bool,
    report: Report,
    rendered: Rendered,
}

impl<'a> Renderer<'a> {
    fn new(
        plan: &'a Plan,
        (step, work): (&'a StepPlan, &'a WorkflowStep),
        catalog: Option<&'a Catalog>,
        names: Evaluation<'a>,
        running: bool,
    ) -> Self {
        Self {
            plan,
            work,
            catalog,
            names,
            running,
            report: Report::default(),
            rendered: Rendered {
                graph: work.graph.clone(),
                uploads: Vec::new(),
                targets: step
                    .outputs
                    .values()
                    .cloned()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                origins: Origins {
                    file: work.file,
                    places: work.places.clone(),
                    edited: HashMap::new(),
                    added: HashSet::new(),
                },
                unknown: BTreeSet::new(),
                shaped_by: shaped_by(plan, step),
            },
        }
    }

    fn fill_in(&mut self) {
        let work = self.work;
        for found in &work.in_file {
            self.put(
                &found.node,
                &found.input,
                &found.pointer,
                &found.value,
                &found.origin,
            );
        }
        for edit in &work.edits {
            let input = (edit.node.clone(), edit.input.clone());
            let node = work.graph.nodes.get(&edit.node);
            if node.is_some_and(|node| !node.inputs.contains_key(&edit.input)) {
                self.rendered.origins.added.insert(input.clone());
            }
            let place = (edit.origin.clone(), edit.key);
            self.rendered.origins.edited.insert(input, place);
            self.edit(&edit.node, &edit.input, &edit.value, &edit.origin);
        }
        if !work.bypassed.is_empty() {
            self.bypass(&work.bypassed);
        }
    }

    /// Takes bypassed nodes out, now that every link is known. Without a catalog nobody can tell which input stands for an output, and
    /// nobody is going to run the graph.
    fn bypass(&mut self, bypassed: &[(NodeId, Span)]) {
        let Some(catalog) = self.catalog else {
            return;
        };
        let nodes: Vec<NodeId> = bypassed.iter().map(|(id, _)| id.clone()).collect();
        let gone: HashMap<&NodeId, Span> = bypassed.iter().map(|(id, span)| (id, *span)).collect();
        let before = self.rendered.graph.clone();
        let changed = workflow::bypass(&mut self.rendered.graph, &nodes, catalog);
        let rewired = changed.rewired.into_iter();
        let dropped = changed.dropped.iter();
        let cut = dropped.map(|d| (d.node.clone(), d.input.clone(), d.bypassed.clone()));
        for (node, input, by) in rewired.chain(cut) {
            if let Some(span) = gone.get(&by) {
                let place = (Origin::Written(*span), Some(*span));
                self.rendered.origins.edited.insert((node, input), place);
            }
        }
        for dropped in changed.dropped.iter().filter(|dropped| dropped.required) {
            let diagnostic = cannot_bypass(dropped, &before);
            self.report.push(match gone.get(&dropped.bypassed) {
                Some(span) => diagnostic.at(*span),
                None => diagnostic,
            });
        }
        self.rendered
            .uploads
            .retain(|upload| !gone.contains_key(&upload.node));
        self.rendered
            .unknown
            .retain(|(node, _)| !gone.contains_key(node));
    }

    /// A `set` value replaces the input as a whole and is fitted to its declared type.
    fn edit(&mut self, node: &NodeId, input: &str, value: &EditValue, origin: &Origin) {
        self.rendered
            .uploads
            .retain(|u| !(u.node == *node && u.input == input));
        self.rendered
            .unknown
            .remove(&(node.clone(), input.to_owned()));
        if let EditValue::Link { node: from, slot } = value {
            self.write(node, input, Some(json!([from, slot])));
            return;
        }
        let was = self.was(node, input);
        let Some(datum) = self.evaluate(value, &format!("{node}/{input}"), was.as_ref()) else {
            self.rendered
                .unknown
                .insert((node.clone(), input.to_owned()));
            return;
        };
        match &datum {
            Datum::Null => self.write(node, input, None),
            Datum::File(_) | Datum::Artifact(_) => {
                let value = self.with_uploads(node, input, "", &datum);
                self.write(node, input, Some(value));
            }
            Datum::List(_) => {
                let value = self.with_uploads(node, input, "/__value__", &datum);
                let fitted = match self.fit(node, input, value, origin) {
                    bare @ Value::Array(_) => json!({ "__value__": bare }),
                    wrapped => wrapped,
                };
                self.write(node, input, Some(fitted));
            }
            _ => {
                let value = self.with_uploads(node, input, "", &datum);
                let fitted = self.fit(node, input, value, origin);
                self.write(node, input, Some(fitted));
            }
        }
    }

    /// A template of the workflow file replaces its own text and nothing else.
    fn put(
        &mut self,
        node: &NodeId,
        input: &str,
        pointer: &str,
        value: &EditValue,
        origin: &Origin,
    ) {
        let Some(datum) = self.evaluate(value, &origin_salt(origin), None) else {
            self.rendered
                .unknown
                .insert((node.clone(), input.to_owned()));
            return;
        };
        if pointer.is_empty() && datum == Datum::Null {
            self.write(node, input, None);
            return;
        }
        let wrapped = pointer.is_empty() && matches!(datum, Datum::List(_));
        let prefix = if wrapped { "/__value__" } else { pointer };
        let mut json = self.with_uploads(node, input, prefix, &datum);
        if wrapped {
            json = json!({ "__value__": json });
        }
        if let Some(place) = self
            .rendered
            .graph
            .nodes
            .get_mut(node)
            .and_then(|n| n.inputs.get_mut(input))
            .and_then(|v| v.pointer_mut(pointer))
        {
            *place = json;
        }
    }

    /// The value, or `None` when it cannot be known yet or an error was reported. `was` is what the workflow file says.
    fn evaluate(&mut self, value: &EditValue, place: &str, was: Option<&Datum>) -> Option<Datum> {
        match value {
            EditValue::Ready(datum) => Some(datum.clone()),
            EditValue::Later(template) => {
                match self.names.eval(template, Reading::Scalar, place, was) {
                    Ok(datum) => datum,
                    Err(diagnostic) => {
                        self.report.push(*diagnostic);
                        None
                    }
                }
            }
            EditValue::List(items) => {
                let values: Vec<Option<Datum>> = items
                    .iter()
                    .map(|item| self.evaluate(item, place, was))
                    .collect();
                Some(Datum::List(values.into_iter().collect::<Option<_>>()?))
            }
            EditValue::Map(entries) => {
                let values: Vec<Option<(String, Datum)>> = entries
                    .iter()
                    .map(|(key, item)| Some((key.clone(), self.evaluate(item, place, was)?)))
                    .collect();
                Some(Datum::Map(
                    values.into_iter().collect::<Option<IndexMap<_, _>>>()?,
                ))
            }
            // Handled where the whole input is replaced; a link inside a value is plain data there.
            EditValue::Link { node, slot } => Some(Datum::List(vec![
                Datum::String(node.0.clone()),
                Datum::Number((*slot).into()),
            ])),
        }
    }

    /// What the workflow file says of an input: `value` in `set`.
    fn was(&self, node: &NodeId, input: &str) -> Option<Datum> {
        let nodes = &self.work.graph.nodes;
        let value = nodes.get(node).and_then(|n| n.inputs.get(input))?;
        let plain = workflow::is_link(value).is_none();
        plain.then(|| Datum::from(value.clone()))
    }

    /// The value as JSON; files in it are noted as uploads and stand there under their own names.
    fn with_uploads(&mut self, node: &NodeId, input: &str, pointer: &str, datum: &Datum) -> Value {
        match datum {
            Datum::File(file) => {
                let name = file
                    .path
                    .file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default();
                self.upload(node, input, pointer, Uploadable::File(file.clone()), name)
            }
            Datum::Artifact(artifact) => match artifact.as_text() {
                Some(text) => Value::String(text.to_owned()),
                None => self.upload(
                    node,
                    input,
                    pointer,
                    Uploadable::Artifact(Arc::clone(artifact)),
                    artifact.name.clone(),
                ),
            },
            Datum::List(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| self.with_uploads(node, input, &format!("{pointer}/{at}"), item))
                .collect(),
            Datum::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, item)| {
                        let step = key.replace('~', "~0").replace('/', "~1");
                        let value =
                            self.with_uploads(node, input, &format!("{pointer}/{step}"), item);
                        (key.clone(), value)
                    })
                    .collect(),
            ),
            plain => plain.to_json(),
        }
    }

    fn upload(
        &mut self,
        node: &NodeId,
        input: &str,
        pointer: &str,
        file: Uploadable,
        name: String,
    ) -> Value {
        self.rendered.uploads.push(Upload {
            node: node.clone(),
            input: input.to_owned(),
            pointer: pointer.to_owned(),
            file,
        });
        if !self.running {
            // Before a run the server does not have the file, and must not be asked for it.
            self.rendered
                .unknown
                .insert((node.clone(), input.to_owned()));
        }
        Value::String(name)
    }

    /// The value as the input's declared type wants it; complains at the user's line when it does not fit.
    fn fit(&mut self, node: &NodeId, input: &str, value: Value, origin: &Origin) -> Value {
        let Some(written) = self.rendered.graph.nodes.get(node) else {
            return value;
        };
        let class = written.class_type.clone();
        let fitted = self
            .catalog
            .and_then(|catalog| catalog.node(&class))
            .and_then(|def| def.open_input(input, &written.inputs))
            .map(|open| workflow::fit(&Datum::from(value.clone()), open.def));
        match fitted {
            None => value,
            Some(Ok(fitted)) => fitted,
            Some(Err(why)) => {
                let span = workflow::span_of(origin, &self.plan.sources);
                self.report.push(
                    Diagnostic::error(&codes::SET_DOES_NOT_FIT, format!("`{class}.{input}` {why}"))
                        .at(span)
                        .node(node.as_str(), &class, Some(input)),
                );
                value
            }
        }
    }

    fn write(&mut self, node: &NodeId, input: &str, value: Option<Value>) {
        let Some(node) = self.rendered.graph.nodes.get_mut(node) else {
            return;
        };
        match value {
            Some(value) => {
                node.inputs.insert(input.to_owned(), value);
            }
            None => {
                node.inputs.shift_remove(input);
            }
        }
    }
}

fn cannot_bypass(dropped: &Dropped, graph: &Graph) -> Diagnostic {
    let label = |id: &NodeId| {
        let node = graph.nodes.get(id);
        let label = node.map_or("", |node| node.label());
        format!("`{label}` (node {id})")
    };
    let class = graph
        .nodes
        .get(&dropped.node)
        .map_or("", |node| &node.class_type);
    let gone = label(&dropped.bypassed);
    let why = match &dropped.why {
        Why::NoInput(ty) => format!("{gone} has no input of type {ty}"),
        Why::NotConnected(input) => format!("the input `{input}` of {gone} is not connected"),
        Why::UnknownClass => {
            format!(
                "the server does not know the class of {gone}, so which of its inputs to pass on cannot be told"
            )
        }
        Why::Circle => format!("{gone} leads back to itself"),
    };
    let message = format!(
        "nothing can be passed on to `{}` of {}: {why}",
        dropped.input,
        label(&dropped.node)
    );
    Diagnostic::error(&codes::CANNOT_BYPASS, message)
        .node(dropped.node.as_str(), class, Some(&dropped.input))
        .help(format!(
            "connect it to another node with `{}: [NODE, SLOT]`, or remove that node as well",
            dropped.input
        ))
}

fn origin_salt(origin: &Origin) -> String {
    match origin {
        Origin::Json { pointer, .. } => pointer.trim_start_matches('/').to_owned(),
        Origin::Written(span) => span.start.to_string(),
    }
}
