//! The names that expressions see.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::sealed::{Item, ParamValue, Plan, TaskPlan};
use crate::artifact::{Artifact, Datum};
use crate::base::{Input, Inputs, RunId, StepId, TaskName};
use crate::template::{Scope, StepResult, TaskResult};

/// Members of `task`.
pub(super) const TASK: &[&str] = &["name", "index", "attempt", "seed"];
/// Members of `run`.
pub(super) const RUN: &[&str] = &["id", "seed", "started_at"];
/// Members of `file` in `save_as`.
pub(super) const FILE: &[&str] = &["index", "output", "kind", "name"];

/// What ended steps made, as expressions of later tasks see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The run.
    pub run: RunId,
    /// Steps that ended.
    pub steps: IndexMap<StepId, Arc<StepOutcome>>,
    /// What the task that this one is for made, in a step that streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Arc<TaskOutcome>>,
    /// Where it is noted what templates read that see these results.
    #[serde(skip)]
    pub reads: Reads,
}

/// What templates read that wait for results. Results are the same whatever was read.
#[derive(Clone, Debug, Default)]
pub struct Reads(Option<Arc<Inputs>>);

impl Reads {
    /// From here on everything is noted.
    pub fn noted() -> Self {
        Self(Some(Arc::default()))
    }

    /// What was read so far.
    pub fn recorded(&self) -> Vec<Input> {
        let inputs = self.0.as_ref();
        inputs.map(|inputs| inputs.recorded()).unwrap_or_default()
    }

    /// The door to what is read.
    pub(super) fn inputs(&self) -> Arc<Inputs> {
        self.0.clone().unwrap_or_default()
    }

    /// Whether both note in the same place, or both nowhere.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl PartialEq for Reads {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What one step made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// `done`, `failed`, `skipped` or `cancelled`.
    pub status: String,
    /// Its tasks that ran, in their order.
    pub tasks: Vec<Arc<TaskOutcome>>,
}

/// What one task made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Its name.
    pub name: TaskName,
    /// Its `task.index`.
    pub index: u32,
    /// Its place among the tasks of its step, as [`TaskPlan::order`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<u32>,
    /// Its combination of the matrix.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub matrix: Arc<IndexMap<String, Datum>>,
    /// What it was for, when that is a plain value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Datum>,
    /// The task that it was for, in a step that goes through another one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<TaskOutcome>>,
    /// `done` or `cached`.
    pub status: String,
    /// Its artifacts: by node id, then in the server's order.
    pub artifacts: Vec<Arc<Artifact>>,
}

impl TaskOutcome {
    /// What a task made that ended well.
    pub fn of(task: &TaskPlan, status: &str, artifacts: Vec<Arc<Artifact>>) -> Self {
        Self {
            name: task.name.clone(),
            index: task.index,
            order: task.order.clone(),
            matrix: Arc::clone(&task.matrix),
            item: match &task.item {
                Some(Item::Value(value)) => Some(value.clone()),
                _ => None,
            },
            source: match &task.item {
                Some(Item::Given(outcome)) => Some(Arc::clone(outcome)),
                _ => None,
            },
            status: status.to_owned(),
            artifacts,
        }
    }

    /// The same, where it was for a task of the same run.
    #[must_use]
    pub fn following(self, source: Option<&Arc<TaskOutcome>>) -> Self {
        Self {
            source: self.source.or_else(|| source.cloned()),
            ..self
        }
    }
}

impl Results {
    /// Nothing has ended yet.
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            steps: IndexMap::new(),
            item: None,
            reads: Reads::default(),
        }
    }
}

/// Names that are the same for all tasks of a plan: `params` and `pipeline`.
pub(super) fn fixed(pipeline: &str, dir: &Path, values: &IndexMap<String, ParamValue>) -> Scope {
    Scope::default()
        .with("params", params(values))
        .with("pipeline", about_pipeline(pipeline, dir))
}

/// `params`.
pub(super) fn params(values: &IndexMap<String, ParamValue>) -> Datum {
    let params = values.iter();
    Datum::Map(
        params
            .map(|(name, param)| (name.clone(), param.value.clone()))
            .collect(),
    )
}

/// `pipeline`.
pub(super) fn about_pipeline(name: &str, dir: &Path) -> Datum {
    Datum::Map(IndexMap::from([
        ("name".to_owned(), Datum::String(name.to_owned())),
        ("dir".to_owned(), Datum::String(dir.display().to_string())),
    ]))
}

/// `task` of one attempt.
pub(super) fn about_task(seed: u64, task: &TaskPlan, attempt: u32) -> Datum {
    Datum::Map(IndexMap::from([
        ("name".to_owned(), Datum::String(task.name.0.clone())),
        ("index".to_owned(), Datum::Number(task.index.into())),
        ("attempt".to_owned(), Datum::Number(attempt.into())),
        (
            "seed".to_owned(),
            Datum::Number(task_seed(seed, task.name.as_str(), attempt).into()),
        ),
    ]))
}

/// `run` of a plan's run.
pub(super) fn about_run(plan: &Plan, run: &RunId) -> Datum {
    let started_at = plan.started_at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    Datum::Map(IndexMap::from([
        ("id".to_owned(), Datum::String(run.0.clone())),
        ("seed".to_owned(), Datum::Number(plan.seed.into())),
        ("started_at".to_owned(), Datum::String(started_at)),
    ]))
}

/// A step as expressions see it.
pub(super) fn step_result(plan: &Plan, id: &StepId, outcome: &StepOutcome) -> StepResult {
    let declared = plan.steps.get(id).map(|s| s.outputs.keys().cloned());
    let mut outputs: Vec<String> = declared.map(Iterator::collect).unwrap_or_default();
    if outputs.is_empty() {
        // A step of an earlier run is known by its results alone.
        let artifacts = outcome.tasks.iter().flat_map(|task| &task.artifacts);
        for name in artifacts.filter_map(|artifact| artifact.output.as_ref()) {
            if !outputs.contains(name) {
                outputs.push(name.clone());
            }
        }
    }
    StepResult {
        tasks: outcome.tasks.iter().map(|t| task_result(t)).collect(),
        status: outcome.status.clone(),
        outputs,
    }
}

/// A task as the results of its step show it.
pub(super) fn task_result(task: &TaskOutcome) -> TaskResult {
    TaskResult {
        name: task.name.0.clone(),
        index: task.index,
        matrix: Arc::clone(&task.matrix),
        item: task.item.clone(),
        source: task.source.as_deref().map(|s| Arc::new(task_result(s))),
        status: task.status.clone(),
        artifacts: task.artifacts.clone(),
    }
}

/// A seed below 2^32 from the run's seed, the task's name and the attempt.
pub fn task_seed(run_seed: u64, task: &str, attempt: u32) -> u64 {
    let hash = blake3::Hasher::new()
        .update(b"kiln task seed\0")
        .update(&run_seed.to_le_bytes())
        .update(&attempt.to_le_bytes())
        .update(task.as_bytes())
        .finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    u64::from(u32::from_le_bytes([a, b, c, d]))
}
