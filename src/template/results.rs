//! `steps.X` and its accessors: what tasks made, looked up only when it is asked for.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::Error;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value};

use super::error::{TemplateErrorKind, failed, raise};
use super::objects::ArtifactObject;
use super::scope::{StepResult, TaskResult};
use super::value::{from_datum, from_map, from_outside};
use super::world::World;
use crate::artifact::{Artifact, Kind};
use crate::base::secret::without;
use crate::diagnostic::list_of;

/// Accessors that every result has.
pub(super) const ACCESSORS: &[&str] = &[
    "file", "files", "image", "images", "video", "videos", "audio", "audios", "model3d",
    "models3d", "text", "texts", "data",
];
/// Accessors of a step beside [`ACCESSORS`].
pub(super) const STEP_ACCESSORS: &[&str] = &["outputs", "tasks", "status"];
/// Accessors of a task beside [`ACCESSORS`].
pub(super) const TASK_ACCESSORS: &[&str] =
    &["outputs", "status", "name", "index", "matrix", "item"];

/// A plural accessor, its singular and the kind it picks; `None`: any file.
const KINDS: &[(&str, &str, Option<Kind>)] = &[
    ("files", "file", None),
    ("images", "image", Some(Kind::Image)),
    ("videos", "video", Some(Kind::Video)),
    ("audios", "audio", Some(Kind::Audio)),
    ("models3d", "model3d", Some(Kind::Model3d)),
    ("texts", "text", Some(Kind::Text)),
];

/// `steps`.
pub(super) struct StepsObject {
    pub(super) steps: IndexMap<String, Arc<StepResult>>,
    pub(super) world: Arc<dyn World>,
}

/// A step, one of its tasks, or one of its named outputs.
pub(super) struct ResultsObject {
    /// The expression that leads here, e.g. `steps.base.outputs.final`.
    label: String,
    artifacts: Vec<Arc<Artifact>>,
    of: Of,
    world: Arc<dyn World>,
}

/// Whose results they are.
enum Of {
    /// All of a step's.
    Step(Arc<StepResult>),
    /// A task's, with the names under the step's `outputs:`.
    Task(Arc<TaskResult>, Vec<String>),
    /// Some of a step's or a task's.
    Part,
}

/// `steps.X.outputs`.
pub(super) struct OutputsObject {
    results: ResultsObject,
    pub(super) names: Vec<String>,
}

impl fmt::Debug for StepsObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("steps")
    }
}

impl fmt::Debug for ResultsObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl fmt::Debug for OutputsObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.results.label)
    }
}

impl Object for StepsObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let id = key.as_str()?;
        let step = self.steps.get(id)?;
        let artifacts = step.tasks.iter().flat_map(|t| counted(&t.artifacts));
        Some(Value::from_object(ResultsObject {
            label: format!("steps.{id}"),
            artifacts: artifacts.collect(),
            of: Of::Step(Arc::clone(step)),
            world: Arc::clone(&self.world),
        }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

impl Object for ResultsObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        if let Some((_, _, kind)) = KINDS.iter().find(|k| k.0 == key) {
            return Some(
                self.of_kind(*kind)
                    .map(|artifact| self.value(artifact, *kind))
                    .collect(),
            );
        }
        if let Some(&(plural, singular, kind)) = KINDS.iter().find(|k| k.1 == key) {
            return Some(match self.only(plural, singular, kind) {
                Ok(artifact) => self.value(artifact, kind),
                Err(error) => Value::from(error),
            });
        }
        if key == "data" {
            return Some(self.data().unwrap_or_else(Value::from));
        }
        match (&self.of, key) {
            (Of::Step(step), "status") => Some(Value::from(step.status.as_str())),
            (Of::Step(step), "tasks") => Some(self.tasks(step)),
            (Of::Step(step), "outputs") => Some(self.outputs(step.outputs.clone())),
            (Of::Task(_, outputs), "outputs") => Some(self.outputs(outputs.clone())),
            (Of::Task(task, _), _) => match (&task.source, key) {
                (Some(source), "item") => Some(self.source(source)),
                _ => of_task(task, key),
            },
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

impl Object for OutputsObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = self
            .names
            .iter()
            .find(|n| Some(n.as_str()) == key.as_str())?;
        let artifacts = self
            .results
            .artifacts
            .iter()
            .filter(|a| a.output.as_deref() == Some(name))
            .cloned()
            .collect();
        Some(Value::from_object(self.results.part(name, artifacts)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// A member of a task that is not about what it made.
fn of_task(task: &TaskResult, key: &str) -> Option<Value> {
    Some(match key {
        "status" => Value::from(task.status.as_str()),
        "name" => Value::from(task.name.as_str()),
        "index" => Value::from(task.index),
        "matrix" => from_map(&task.matrix),
        "item" => from_datum(task.item.as_ref()?),
        _ => return None,
    })
}

/// The artifacts of a task that count: those that the server keeps as `temp` only if the task saved nothing else, or a name under
/// `outputs:` asks for them.
fn counted(artifacts: &[Arc<Artifact>]) -> Vec<Arc<Artifact>> {
    let saved = artifacts.iter().any(|a| a.path.is_some() && !a.temp);
    artifacts
        .iter()
        .filter(|a| !a.temp || a.output.is_some() || !saved)
        .cloned()
        .collect()
}

impl ResultsObject {
    /// What a task made, under the name that leads to it.
    pub(super) fn of_task(
        label: String,
        task: Arc<TaskResult>,
        outputs: &[String],
        world: &Arc<dyn World>,
    ) -> Self {
        // Names that only its artifacts tell of count, too: who hands a task over may not know its step.
        let mut outputs = outputs.to_vec();
        for name in task.artifacts.iter().filter_map(|a| a.output.as_ref()) {
            if !outputs.contains(name) {
                outputs.push(name.clone());
            }
        }
        Self {
            label,
            artifacts: counted(&task.artifacts),
            of: Of::Task(task, outputs),
            world: Arc::clone(world),
        }
    }

    /// The task that a task was for.
    fn source(&self, source: &Arc<TaskResult>) -> Value {
        let label = format!("{}.item", self.label);
        let source = Arc::clone(source);
        Value::from_object(Self::of_task(label, source, &[], &self.world))
    }

    fn outputs(&self, names: Vec<String>) -> Value {
        Value::from_object(OutputsObject {
            results: self.part("outputs", self.artifacts.clone()),
            names,
        })
    }

    fn part(&self, name: &str, artifacts: Vec<Arc<Artifact>>) -> Self {
        Self {
            label: format!("{}.{name}", self.label),
            artifacts,
            of: Of::Part,
            world: Arc::clone(&self.world),
        }
    }

    fn of_kind(&self, kind: Option<Kind>) -> impl Iterator<Item = &Arc<Artifact>> {
        self.artifacts.iter().filter(move |a| match kind {
            None => a.path.is_some(),
            Some(kind) => a.kind == kind,
        })
    }

    /// A text is its string; everything else is a file.
    fn value(&self, artifact: &Arc<Artifact>, kind: Option<Kind>) -> Value {
        if kind != Some(Kind::Text) {
            return Value::from_object(ArtifactObject(Arc::clone(artifact)));
        }
        self.text(artifact)
            .map_or_else(|error| Value::from(failed(error)), Value::from)
    }

    fn text(&self, artifact: &Artifact) -> Result<String, String> {
        match (&artifact.text, &artifact.path) {
            (Some(text), _) => Ok(without(text).into_owned()),
            (None, Some(path)) => self
                .world
                .read_text(&path.display().to_string())
                .map(|text| without(&text).into_owned())
                .map_err(|reason| format!("could not read `{}`: {reason}", artifact.name)),
            (None, None) => Ok(String::new()),
        }
    }

    fn only(
        &self,
        plural: &str,
        singular: &str,
        kind: Option<Kind>,
    ) -> Result<&Arc<Artifact>, Error> {
        let mut found: Vec<_> = self.of_kind(kind).collect();
        // What a command prints is its `.text`, whatever text files it leaves beside it.
        let printed: Vec<_> = found.iter().filter(|a| a.is_stdout()).copied().collect();
        if let [_] = printed.as_slice() {
            found = printed;
        }
        match found.as_slice() {
            [only] => Ok(only),
            [] => Err(self.none(singular)),
            many => {
                let with_name = many
                    .iter()
                    .map(|a| a.name.as_str())
                    .filter(|n| !n.is_empty());
                let list = list_of(with_name, 4);
                let names = if list == "none" {
                    String::new()
                } else {
                    format!(": {list}")
                };
                Err(raise(
                    TemplateErrorKind::Count,
                    format!(
                        "`{}` made {} {}, and `.{singular}` takes exactly one{names}",
                        self.label,
                        many.len(),
                        people(plural),
                    ),
                    Some(format!(
                        "take one by its place, `{label}.{plural}[0]`, or all of them, `{label}.{plural}`, or name the node under `outputs:` and use `{label}.outputs.<name>.{singular}`",
                        label = self.label,
                    )),
                ))
            }
        }
    }

    fn none(&self, singular: &str) -> Error {
        let what = match singular {
            "model3d" => "3D model",
            other => other,
        };
        let mut names = self.artifacts.iter().map(|a| a.name.as_str());
        let help = if self.artifacts.is_empty() {
            None
        } else if names.all(str::is_empty) {
            Some("it made only text".to_owned())
        } else {
            let names = self.artifacts.iter().map(|a| a.name.as_str());
            let files = names.filter(|name| !name.is_empty());
            Some(format!("it made {}", list_of(files, 4)))
        };
        raise(
            TemplateErrorKind::Count,
            format!("`{}` made no {what}", self.label),
            help,
        )
    }

    fn data(&self) -> Result<Value, Error> {
        let artifact = self.only("texts", "text", Some(Kind::Text))?;
        let text = self.text(artifact).map_err(failed)?;
        let json: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| failed(format!("the text of `{}` is no JSON: {error}", self.label)))?;
        Ok(from_outside(json))
    }

    fn tasks(&self, step: &StepResult) -> Value {
        step.tasks
            .iter()
            .enumerate()
            .map(|(index, task)| {
                let label = format!("{}.tasks[{index}]", self.label);
                let task = Arc::new(task.clone());
                Value::from_object(Self::of_task(label, task, &step.outputs, &self.world))
            })
            .collect()
    }

    /// The error for a whole step where a value is wanted.
    pub(super) fn is_no_value(&self) -> Error {
        raise(
            TemplateErrorKind::Failed,
            format!(
                "`{}` is everything that {} made, not one value",
                self.label,
                match self.of {
                    Of::Step(_) => "a step",
                    Of::Task(..) => "a task",
                    Of::Part => "an output",
                }
            ),
            Some(format!(
                "say which part: `{label}.image`, `{label}.images`, `{label}.text`, …",
                label = self.label
            )),
        )
    }

    /// Names that may follow it.
    pub(super) fn attributes(&self) -> Vec<String> {
        let more = match &self.of {
            Of::Step(_) => STEP_ACCESSORS,
            Of::Task(..) => TASK_ACCESSORS,
            Of::Part => &[],
        };
        ACCESSORS
            .iter()
            .chain(more)
            .map(|name| (*name).to_owned())
            .collect()
    }
}

fn people(plural: &str) -> &str {
    match plural {
        "models3d" => "3D models",
        other => other,
    }
}
