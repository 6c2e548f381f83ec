//! The sealed plan as data.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::scope::{StepOutcome, TaskOutcome};
use crate::artifact::Datum;
use crate::base::{Input, NodeId, ServerName, StepId, TaskName};
use crate::diagnostic::{Diagnostic, FileId, Origin, SourceMap, Span};
use crate::plugin::{Declared, Plugins};
use crate::workflow::import::Places;
use crate::workflow::{Graph, Node};

pub use crate::servers::ServerKind;
pub use crate::spec::{CacheMode, RetryClass};

/// The version of [`Plan`]'s stored form.
pub const PIPELINE_FORMAT: u32 = 2;

/// The most tasks that a plan may have; a run that grows beyond it fails.
pub const MAX_TASKS: usize = 100_000;

/// Index of a task: first those of [`Plan::tasks`], then those that the run adds.
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
    /// Named counters that steps may claim, each with how much there is of it.
    #[serde(default)]
    pub limits: IndexMap<String, u32>,
    /// The key for partner nodes, with placeholders for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_key: Option<String>,
    /// Why there is no such key, although `kiln.yaml` says one: of interest where a workflow needs it.
    #[serde(skip)]
    pub no_partner_key: Vec<Diagnostic>,
    /// The servers that tasks of this plan use.
    pub servers: IndexMap<ServerName, ServerPlan>,
    /// Every text that a diagnostic may point into.
    pub sources: SourceMap,
    /// Everything that was read to make the plan.
    pub inputs: Vec<Input>,
    /// Whether the project's `.env` speaks where the environment is silent.
    #[serde(default)]
    pub dotenv: bool,
    /// Steps in file order.
    pub steps: IndexMap<StepId, StepPlan>,
    /// Tasks that are known when the plan is made, in file order; more come while the run goes on.
    pub tasks: Vec<TaskPlan>,
    /// Results of steps that this plan does not run, from earlier runs.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub given: IndexMap<StepId, Arc<StepOutcome>>,
    /// Its plugins, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub plugins: IndexMap<String, Declared>,
    /// The same, loaded.
    #[serde(skip)]
    pub loaded: Plugins,
}

#[cfg(test)]
impl Plan {
    /// A plan of nothing, for tests to put over it what they need.
    pub(crate) fn blank() -> Self {
        Self {
            format: PIPELINE_FORMAT,
            pipeline: "shots".to_owned(),
            description: None,
            pipeline_dir: PathBuf::from("/p"),
            project_dir: PathBuf::from("/p"),
            output_dir: PathBuf::from("/p/outputs"),
            seed: 7,
            started_at: "2026-11-22T14:15:30[UTC]".parse().unwrap(),
            params: IndexMap::new(),
            max_parallel: None,
            limits: IndexMap::new(),
            partner_key: None,
            no_partner_key: Vec::new(),
            servers: IndexMap::new(),
            sources: SourceMap::default(),
            inputs: Vec::new(),
            dotenv: false,
            steps: IndexMap::new(),
            tasks: Vec::new(),
            given: IndexMap::new(),
            plugins: IndexMap::new(),
            loaded: Plugins::default(),
        }
    }
}

/// A param's value and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamValue {
    /// The value.
    pub value: Datum,
    /// Drawn for this run (a `random` seed).
    pub drawn: bool,
}

/// A server that the plan uses: one endpoint, or a pool of equal ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPlan {
    /// What it is.
    pub kind: ServerKind,
    /// The most jobs of ours that each of its endpoints holds at a time, queued or running.
    pub max_jobs: u32,
    /// Comfy Cloud's key, with placeholders for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// A bearer token, with placeholders for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Headers of every request, with placeholders for secrets.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// A root certificate to trust beside the system's, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// How long an endpoint that does not answer keeps its jobs, milliseconds.
    pub lost_after_ms: u64,
    /// Where it is declared, for messages.
    pub span: Option<Span>,
}

impl ServerPlan {
    /// A server at its usual settings.
    pub fn new(kind: ServerKind, max_jobs: u32, span: Option<Span>) -> Self {
        Self {
            kind,
            max_jobs,
            api_key: None,
            token: None,
            headers: IndexMap::new(),
            ca_cert: None,
            lost_after_ms: LOST_AFTER_MS,
            span,
        }
    }
}

/// How long an endpoint that does not answer keeps its jobs unless `lost_after` says otherwise, milliseconds.
pub const LOST_AFTER_MS: u64 = 120_000;

/// How long Comfy Cloud keeps its jobs when it does not answer: they are paid for, so they are waited for as long as anybody will.
pub(super) const CLOUD_LOST_AFTER_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// The name of the pseudo server on which commands run.
pub const HERE: &str = "this machine";

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its id.
    pub id: StepId,
    /// Where `id:` stands.
    pub span: Option<Span>,
    /// The server it runs on; [`HERE`] for a command.
    pub server: ServerName,
    /// What each of its tasks does.
    pub work: Work,
    /// How its tasks become known.
    #[serde(default)]
    pub grow: Grow,
    /// The combinations of its matrix, in order; one empty combination without a matrix.
    pub matrix: Vec<Arc<IndexMap<String, Datum>>>,
    /// Its `when`, where that could not be decided yet: a bare expression, evaluated for each task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<TemplateText>,
    /// Names for output nodes; when not empty, only these nodes' outputs run. For a command: names for the files it leaves, each its
    /// own "node".
    pub outputs: IndexMap<String, NodeId>,
    /// Where the nodes of `outputs` are named, in the same order.
    pub output_spans: Vec<Span>,
    /// How result files are named, relative to the step's folder.
    pub save_as: Option<TemplateText>,
    /// Steps it waits for, written or inferred, in file order.
    pub needs: Vec<NeedPlan>,
    /// What each of its tasks claims of the plan's limits.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub claims: IndexMap<String, u32>,
    /// When it is tried again.
    #[serde(default)]
    pub retry: RetryPlan,
    /// How long an attempt may execute, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long an attempt may be without progress, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_ms: Option<u64>,
    /// Whether earlier results may stand for new ones.
    #[serde(default)]
    pub cache: CacheMode,
    /// It runs although an earlier result would do (`--force`, `--from`); what it makes is remembered all the same.
    #[serde(default)]
    pub force: bool,
    /// Results are always uploaded, never passed by reference.
    #[serde(default)]
    pub transfer_upload: bool,
    /// A server may leave out outputs that it finds invalid, and run the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_partial: bool,
    /// Plugins that change its jobs, or what those leave behind, in the order in which they are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shaped_by: Vec<String>,
    /// Endpoints of its server, by their place there, that lack a class or a model which its tasks use, and that others have: it runs on
    /// the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<u32>,
}

impl StepPlan {
    /// A step with one task, at its usual settings.
    pub fn new(id: StepId, span: Option<Span>, server: ServerName, work: Work) -> Self {
        Self {
            id,
            span,
            server,
            work,
            grow: Grow::Known,
            matrix: vec![Arc::default()],
            when: None,
            outputs: IndexMap::new(),
            output_spans: Vec::new(),
            save_as: None,
            needs: Vec::new(),
            claims: IndexMap::new(),
            retry: RetryPlan::default(),
            timeout_ms: None,
            stall_timeout_ms: None,
            cache: CacheMode::On,
            force: false,
            transfer_upload: false,
            allow_partial: false,
            shaped_by: Vec::new(),
            unfit: Vec::new(),
        }
    }

    /// Whether an endpoint of its server, by its place there, has all that its tasks use.
    pub fn is_fit(&self, nth: u32) -> bool {
        !self.unfit.contains(&nth)
    }

    /// Its workflow, when it is a workflow step.
    pub fn workflow(&self) -> Option<&WorkflowStep> {
        match &self.work {
            Work::Workflow(workflow) => Some(workflow),
            Work::Command(_) | Work::Plugin(_) => None,
        }
    }

    /// Whether it waits for a step.
    pub fn waits_for(&self, step: &StepId) -> bool {
        self.needs.iter().any(|need| need.step == *step)
    }
}

/// A step that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedPlan {
    /// The step.
    pub step: StepId,
    /// It is waited for however it ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// What the tasks of a step do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A job on a server.
    Workflow(WorkflowStep),
    /// A program on this machine.
    Command(CommandStep),
    /// A plugin's doing, on this machine.
    Plugin(PluginStep),
}

impl Plan {
    /// Whether more tasks become known while it runs.
    pub fn grows(&self) -> bool {
        self.steps.values().any(|step| step.grow != Grow::Known)
    }
}

/// How a step's tasks become known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grow {
    /// They are among [`Plan::tasks`].
    #[default]
    Known,
    /// Once, when every step it waits for has ended: `list` is a bare expression that gives their items.
    Later {
        /// The list.
        list: TemplateText,
    },
    /// As each task of another step ends. That step is among the needs of this one, but a task waits only for the one it is for.
    Stream {
        /// The step whose tasks are followed.
        from: StepId,
        /// A path such as `steps.X.images`, evaluated for each task of `from` by itself, which gives the items; `None`: the result
        /// is the item.
        list: Option<TemplateText>,
    },
}

/// The work of a command step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandStep {
    /// The program and its arguments; a list is spliced.
    pub args: Vec<EditValue>,
    /// Where each of `args` stands, in the same order.
    pub spans: Vec<Span>,
    /// Its environment beside `PATH`, `HOME` and `TMPDIR`.
    pub env: IndexMap<String, EditValue>,
    /// What it reads.
    pub stdin: Option<EditValue>,
    /// Output name → pattern of the files that it leaves in its folder.
    pub collect: IndexMap<String, String>,
}

/// The work of a step that a plugin carries out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginStep {
    /// The plugin.
    pub plugin: String,
    /// Where its name stands.
    pub span: Span,
    /// What it is given: a map.
    pub with: EditValue,
    /// Where each value of `with` stands, by its JSON pointer.
    pub spans: Vec<(String, Span)>,
}

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The longest pause before the second attempt, milliseconds; doubled for each further one. The pause is drawn between 0 and it.
    pub delay_ms: u64,
    /// What the doubling ends at, milliseconds.
    pub max_delay_ms: u64,
    /// Failures that are worth another attempt.
    pub classes: Vec<RetryClass>,
    /// A bare expression that a good result fulfils.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TemplateText>,
}

impl Default for RetryPlan {
    fn default() -> Self {
        Self {
            attempts: 1,
            delay_ms: 1000,
            max_delay_ms: 60_000,
            classes: vec![RetryClass::Transient],
            until: None,
        }
    }
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
    /// Where the graph's parts stand in the file, when that is in the editor's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<Arc<Places>>,
    /// Nodes that are taken out while what they get is passed on, and where `set` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bypassed: Vec<(NodeId, Span)>,
    /// Nodes that are not in the graph any more, and where `set` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<(Node, Span)>,
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
    /// `task.index`: its place among the tasks of its step; among those of its source task, where a list of each source is streamed.
    #[serde(default)]
    pub index: u32,
    /// Its place among the tasks of its step: the position in each list that fans it out, outermost first. Tasks are sorted by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<u32>,
    /// Its combination of the matrix.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub matrix: Arc<IndexMap<String, Datum>>,
    /// What it is for, in a step with `for_each`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// Tasks it waits for beyond its step's needs: the one that it streams from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<TaskIx>,
    /// Its `when` is known to be false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
}

impl TaskPlan {
    /// The only task of a step.
    pub fn only(step: &StepId) -> Self {
        Self {
            name: TaskName(step.0.clone()),
            step: step.clone(),
            index: 0,
            order: Vec::new(),
            matrix: Arc::default(),
            item: None,
            needs: Vec::new(),
            skip: false,
        }
    }
}

/// What one task of a step with `for_each` is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A member of a list.
    Value(Datum),
    /// The result of a task.
    Task(TaskIx),
    /// The result of a task that ended before this one was planned.
    Given(Arc<TaskOutcome>),
}
