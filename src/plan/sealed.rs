//! The sealed plan as data.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::artifact::Datum;
use crate::base::{Input, NodeId, ServerName, StepId, TaskName};
use crate::diagnostic::{FileId, Origin, SourceMap, Span};
use crate::workflow::Graph;

/// The version of [`Plan`]'s stored form.
pub const PIPELINE_FORMAT: u32 = 1;

/// Index of a task in [`Plan::tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskIx(pub u32);

/// Everything a run needs to know, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PIPELINE_FORMAT`].
    pub format: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// Its description.
    pub description: Option<String>,
    /// The folder of the pipeline file (absolute); relative paths in templates start here.
    pub pipeline_dir: PathBuf,
    /// The project's folder (absolute): `.kiln/` and the output folder lie in it.
    pub project_dir: PathBuf,
    /// Where results go (absolute), without the pipeline's name.
    pub output_dir: PathBuf,
    /// The run's seed, below 2^32: `task.seed` and `random` params come from it.
    pub seed: u64,
    /// When the plan was made, for `now()` and `run.started_at`.
    pub started_at: jiff::Zoned,
    /// Params with their values.
    pub params: IndexMap<String, ParamValue>,
    /// The most tasks in flight at a time over all servers.
    pub max_parallel: Option<u32>,
    /// The servers that tasks of this plan use.
    pub servers: IndexMap<ServerName, ServerPlan>,
    /// Every text that a diagnostic may point into.
    pub sources: SourceMap,
    /// Everything that was read to make the plan.
    pub inputs: Vec<Input>,
    /// Steps in file order.
    pub steps: IndexMap<StepId, StepPlan>,
    /// Tasks in file order.
    pub tasks: Vec<TaskPlan>,
}

/// A param's value and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamValue {
    /// The value.
    pub value: Datum,
    /// Drawn for this run (a `random` seed).
    pub drawn: bool,
}

/// A server that the plan uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPlan {
    /// What it is.
    pub kind: ServerKind,
    /// The most jobs of ours that it holds at a time, queued or running.
    pub max_jobs: u32,
    /// Where it is declared, for messages.
    pub span: Option<Span>,
}

/// What a server is and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    /// `ComfyUI` at an address (no trailing slash).
    Comfy {
        /// Its base URL.
        url: String,
    },
    /// kiln's own server, inside this process.
    Embedded,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its id.
    pub id: StepId,
    /// Where `id:` stands.
    pub span: Option<Span>,
    /// The server it runs on.
    pub server: ServerName,
    /// The workflow.
    pub workflow: WorkflowStep,
    /// Names for output nodes; when not empty, only these nodes' outputs run.
    pub outputs: IndexMap<String, NodeId>,
    /// Where the nodes of `outputs` are named, in the same order.
    pub output_spans: Vec<Span>,
    /// How result files are named, relative to the step's folder.
    pub save_as: Option<TemplateText>,
    /// Steps it waits for, written or inferred, in file order.
    pub needs: Vec<StepId>,
}

/// The work of a workflow step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowStep {
    /// The workflow file among the plan's sources.
    pub file: FileId,
    /// The graph with every in-file template and `set` value that could be decided filled in.
    pub graph: Graph,
    /// In-file templates, decided or not, in file order.
    pub in_file: Vec<InFile>,
    /// `set` entries, in written order; node addresses are resolved.
    pub edits: Vec<Edit>,
}

/// A templated scalar of the workflow file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFile {
    /// Its node.
    pub node: NodeId,
    /// Its input.
    pub input: String,
    /// Where inside the input's value, as a JSON pointer; empty for the value itself.
    pub pointer: String,
    /// Its value.
    pub value: EditValue,
    /// Where it stands.
    pub origin: Origin,
}

/// One input that `set` changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// The node.
    pub node: NodeId,
    /// The input.
    pub input: String,
    /// Its new value.
    pub value: EditValue,
    /// Where the value stands.
    pub origin: Origin,
    /// Where the input's name stands.
    pub key: Option<Span>,
}

/// A value of an edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditValue {
    /// Known at plan time; `null` removes the input. Not yet fitted to the input's declared type.
    Ready(Datum),
    /// An expression or text that needs results; evaluated when the task starts.
    Later(TemplateText),
    /// A list with at least one member that needs results.
    List(Vec<EditValue>),
    /// A map with at least one member that needs results.
    Map(IndexMap<String, EditValue>),
    /// A link to another node's output slot.
    Link {
        /// The node it comes from.
        node: NodeId,
        /// Which of its outputs.
        slot: u32,
    },
}

/// A template that waits for its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateText {
    /// Its text as YAML or JSON gave it, decoded.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
    /// The steps it uses.
    pub steps: Vec<StepId>,
    /// Where its paths start, when that is not the pipeline's folder: the folder in which it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// Its name.
    pub name: TaskName,
    /// Its step.
    pub step: StepId,
    /// Tasks it waits for.
    pub needs: Vec<TaskIx>,
}
