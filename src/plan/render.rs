//! A task's graph, ready but for the names of its uploads.
//!
//! The same code serves a running task (every value must be known) and a check before anything runs (values that need results stay
//! as the file has them, and are reported as unknown).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::eval::{Extra, complaint, parse_at};
use super::scope::{self, Results};
use super::sealed::{EditValue, Plan, StepPlan, TaskPlan, TemplateText, WorkflowStep};
use super::world::PlanWorld;
use crate::artifact::{Artifact, Datum, FileValue};
use crate::base::{Inputs, NodeId};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, Report, Span, codes};
use crate::template::{Engine, Scope};
use crate::workflow::{self, Graph};

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
    edited: HashMap<(NodeId, String), (Origin, Option<Span>)>,
}

impl Origins {
    /// Where an input's value stands, or the node itself without an input.
    pub fn of(&self, node: &NodeId, input: Option<&str>) -> Option<Origin> {
        if let Some(input) = input
            && let Some((origin, _)) = self.edited.get(&(node.clone(), input.to_owned()))
        {
            return Some(origin.clone());
        }
        let pointer = match input {
            Some(input) => workflow::pointer([node.as_str(), "inputs", input]),
            None => workflow::pointer([node.as_str()]),
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
    let scope = scope::of_task(plan, task, results, attempt);
    let step = &plan.steps[&task.step];
    let mut renderer = Renderer::new(plan, (step, work), catalog, Some(scope));
    renderer.fill_in();
    if renderer.report.has_errors() {
        Err(renderer.report)
    } else {
        Ok(renderer.rendered)
    }
}

/// The graph of a task before anything ran, and everything that is already known to be wrong with its values. Inputs that need results,
/// or have a wrong value, are in [`Rendered::unknown`].
pub fn preview(
    plan: &Plan,
    task: &TaskPlan,
    work: &WorkflowStep,
    catalog: Option<&Catalog>,
) -> (Rendered, Report) {
    let step = &plan.steps[&task.step];
    let mut renderer = Renderer::new(plan, (step, work), catalog, None);
    renderer.fill_in();
    for diagnostic in &renderer.report.items {
        if let (Some(node), Some(input)) = (&diagnostic.node, &diagnostic.input) {
            let input = (NodeId::from(node.as_str()), input.clone());
            renderer.rendered.unknown.insert(input);
        }
    }
    (renderer.rendered, renderer.report)
}

/// An engine whose relative paths start from `folder`.
fn engine_at(plan: &Plan, folder: &Path) -> Engine {
    let inputs = Arc::new(Inputs::default());
    let world = PlanWorld::new(inputs, folder, plan.seed, plan.started_at.clone());
    Engine::new(Arc::new(world))
}

struct Renderer<'a> {
    plan: &'a Plan,
    step: &'a StepPlan,
    work: &'a WorkflowStep,
    catalog: Option<&'a Catalog>,
    /// `None` before a run.
    scope: Option<Scope>,
    engine: Engine,
    report: Report,
    rendered: Rendered,
}

impl<'a> Renderer<'a> {
    fn new(
        plan: &'a Plan,
        (step, work): (&'a StepPlan, &'a WorkflowStep),
        catalog: Option<&'a Catalog>,
        scope: Option<Scope>,
    ) -> Self {
        Self {
            plan,
            step,
            work,
            catalog,
            scope,
            engine: engine_at(plan, &plan.pipeline_dir),
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
                    edited: HashMap::new(),
                },
                unknown: BTreeSet::new(),
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
            self.rendered.origins.edited.insert(
                (edit.node.clone(), edit.input.clone()),
                (edit.origin.clone(), edit.key),
            );
            self.edit(&edit.node, &edit.input, &edit.value, &edit.origin);
        }
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
        let Some(datum) = self.evaluate(value, &self.place(node, input)) else {
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
        let Some(datum) = self.evaluate(
            value,
            &Extra {
                salt: origin_salt(origin),
                ..Extra::default()
            },
        ) else {
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

    /// The value, or `None` when it cannot be known yet or an error was reported.
    fn evaluate(&mut self, value: &EditValue, extra: &Extra) -> Option<Datum> {
        match value {
            EditValue::Ready(datum) => Some(datum.clone()),
            EditValue::Later(template) => self.evaluate_template(template, extra),
            EditValue::List(items) => {
                let values: Vec<Option<Datum>> = items
                    .iter()
                    .map(|item| self.evaluate(item, extra))
                    .collect();
                Some(Datum::List(values.into_iter().collect::<Option<_>>()?))
            }
            EditValue::Map(entries) => {
                let values: Vec<Option<(String, Datum)>> = entries
                    .iter()
                    .map(|(key, item)| Some((key.clone(), self.evaluate(item, extra)?)))
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

    fn evaluate_template(&mut self, template: &TemplateText, extra: &Extra) -> Option<Datum> {
        let scope = extra.onto(self.scope.clone()?);
        let parsed = match parse_at(&template.origin, &template.text) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Some(Datum::String(template.text.clone())),
            Err(error) => {
                self.report.push(complaint(
                    &error,
                    &template.text,
                    &template.origin,
                    &self.plan.sources,
                ));
                return None;
            }
        };
        let elsewhere = template.folder.as_deref().map(|f| engine_at(self.plan, f));
        let engine = elsewhere.as_ref().unwrap_or(&self.engine);
        match engine.eval(&parsed, &scope) {
            Ok(datum) => Some(datum),
            Err(error) => {
                self.report.push(complaint(
                    &error,
                    &template.text,
                    &template.origin,
                    &self.plan.sources,
                ));
                None
            }
        }
    }

    /// What the workflow file says of an input (`value` in `set`), and the input's own salt.
    fn place(&self, node: &NodeId, input: &str) -> Extra {
        let value = self
            .work
            .graph
            .nodes
            .get(node)
            .and_then(|n| n.inputs.get(input));
        Extra {
            value: value
                .filter(|v| workflow::is_link(v).is_none())
                .map(|v| Datum::from(v.clone())),
            salt: format!("{}/{node}/{input}", self.step.id),
            ..Extra::default()
        }
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
            Datum::Artifact(artifact) => match &artifact.text {
                Some(text) => Value::String(text.clone()),
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
        if self.scope.is_none() {
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

fn origin_salt(origin: &Origin) -> String {
    match origin {
        Origin::Json { pointer, .. } => pointer.clone(),
        Origin::Written(span) => span.start.to_string(),
    }
}

/// The file name of a result, relative to its step's folder: what `save_as` says, else the server's own name.
///
/// # Errors
/// When the template fails, or its path would leave the folder.
pub fn save_as(
    plan: &Plan,
    task: &TaskPlan,
    artifact: &Artifact,
    results: &Results,
    attempt: u32,
) -> Result<String, Box<Diagnostic>> {
    let step = &plan.steps[&task.step];
    let Some(template) = &step.save_as else {
        return Ok(artifact.name.clone());
    };
    let about = IndexMap::from([
        ("index".to_owned(), Datum::Number(artifact.index.into())),
        (
            "output".to_owned(),
            artifact.output.clone().map_or(Datum::Null, Datum::String),
        ),
        (
            "kind".to_owned(),
            Datum::String(artifact.kind.name().to_owned()),
        ),
        ("name".to_owned(), Datum::String(artifact.name.clone())),
    ]);
    let scope = scope::of_task(plan, task, results, attempt).with("file", Datum::Map(about));
    let world = PlanWorld::new(
        Arc::new(Inputs::default()),
        &plan.pipeline_dir,
        plan.seed,
        plan.started_at.clone(),
    );
    let complain = |error| {
        Box::new(complaint(
            &error,
            &template.text,
            &template.origin,
            &plan.sources,
        ))
    };
    let text = match parse_at(&template.origin, &template.text).map_err(complain)? {
        None => template.text.clone(),
        Some(parsed) => match Engine::new(Arc::new(world))
            .eval(&parsed, &scope)
            .map_err(complain)?
        {
            Datum::String(text) => text,
            Datum::Number(number) => number.to_string(),
            other => {
                let span = workflow::span_of(&template.origin, &plan.sources);
                let message = format!("`save_as` must give a string, not {}", other.describe());
                return Err(Box::new(
                    Diagnostic::error(&codes::WRONG_TYPE, message).at(span),
                ));
            }
        },
    };
    if let Err(error) = crate::base::safe_join(std::path::Path::new(""), &text) {
        let span = workflow::span_of(&template.origin, &plan.sources);
        return Err(Box::new(super::steps::unsafe_path(&error).at(span)));
    }
    Ok(with_extension(&text, &artifact.name))
}

/// The path with the artifact's extension, when it has none that a person would call one.
fn with_extension(path: &str, name: &str) -> String {
    let last = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let has_one = last.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && (1..=5).contains(&extension.len())
            && extension.chars().all(|c| c.is_ascii_alphanumeric())
            && extension.chars().any(|c| c.is_ascii_alphabetic())
    });
    match name.rsplit_once('.') {
        Some((_, extension)) if !has_one => format!("{path}.{extension}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_gets_the_artifacts_extension_when_it_has_none() {
        assert_eq!(with_extension("a", "x_00001_.png"), "a.png");
        assert_eq!(with_extension("a.jpg", "x.png"), "a.jpg");
        assert_eq!(with_extension("v1.5", "x.png"), "v1.5.png");
        assert_eq!(with_extension("deep.dir/a", "x.webp"), "deep.dir/a.webp");
        assert_eq!(with_extension(".hidden", "x.png"), ".hidden.png");
        assert_eq!(with_extension("a", "noext"), "a");
    }
}
