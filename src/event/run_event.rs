//! The facts, and the JSON Schema of one line of them.

use crate::artifact::Kind;
use crate::base::{NodeId, RunId, ServerName, StepId, TaskName};
use crate::diagnostic::JsonDiagnostic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The version of the event format.
pub const VERSION: u32 = 1;

/// One line of `kiln run --output json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// Format version, 1.
    pub v: u32,
    /// Position in this run's stream, from 0.
    pub seq: u64,
    /// When it happened, RFC 3339 with a zone offset.
    pub time: String,
    /// The run.
    pub run: RunId,
    /// What happened.
    #[serde(flatten)]
    pub event: RunEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// Something to say about the user's files or servers, before anything runs.
    Diagnostic {
        /// What.
        diagnostic: JsonDiagnostic,
    },
    /// The plan is sealed and checked; work begins.
    RunStarted {
        /// The pipeline's name.
        pipeline: String,
        /// Its tasks in planned order.
        tasks: Vec<TaskInfo>,
        /// More tasks follow while it runs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        growing: bool,
        /// Where results will lie.
        output_dir: PathBuf,
        /// What a task of each step took in earlier runs, seconds; steps that never ran are missing.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        expected: BTreeMap<StepId, f64>,
    },
    /// Another kiln writes to the same outputs; this one waits for it.
    RunWaiting {
        /// Who has them.
        holder: String,
    },
    /// A step's tasks became known, or some of them.
    TasksAdded {
        /// The step.
        step: StepId,
        /// The new tasks, in the order in which they will be told of.
        tasks: Vec<TaskInfo>,
    },
    /// A server answered.
    ServerReady {
        /// Its name.
        server: ServerName,
        /// Its address.
        url: String,
        /// The version of `ComfyUI` that it reports; of the embedded server, the one it behaves like.
        version: String,
        /// It is kiln's own, inside this process.
        embedded: bool,
        /// It is Comfy Cloud.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cloud: bool,
        /// It is a rehearsal: one of kiln's own that paints stand-ins for what it cannot compute.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        simulated: bool,
    },
    /// A server that was in use does not answer; kiln goes on trying.
    ServerLost {
        /// Its name.
        server: ServerName,
        /// Why.
        reason: String,
    },
    /// A server answers again.
    ServerBack {
        /// Its name.
        server: ServerName,
    },
    /// A task was given a slot on a server; its inputs are being rendered and transferred.
    TaskStarted {
        /// The task.
        task: TaskName,
        /// Where it runs.
        server: ServerName,
        /// Which attempt, from 1.
        attempt: u32,
        /// The address, when the server has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// A file was sent to the server.
    TaskUploaded {
        /// The task.
        task: TaskName,
        /// The file's name on the server.
        name: String,
        /// Bytes.
        size: u64,
        /// How long that took, seconds.
        #[serde(default)]
        seconds: f64,
    },
    /// The server took the job.
    TaskQueued {
        /// The task.
        task: TaskName,
        /// The job's id on the server.
        prompt_id: String,
    },
    /// The job waits in the server's queue.
    TaskPlace {
        /// The task.
        task: TaskName,
        /// Its place among the jobs that wait there, whoever's they are; 1 comes next.
        place: u32,
    },
    /// The server began to execute the job.
    TaskExecuting {
        /// The task.
        task: TaskName,
    },
    /// The job moved on.
    TaskProgress {
        /// The task.
        task: TaskName,
        /// One honest fraction, 0 to 1; never falls within an attempt.
        fraction: f64,
        /// The node at work, if known.
        node: Option<NodeId>,
        /// Its title or class.
        node_title: Option<String>,
    },
    /// The work is done; its results are being fetched.
    TaskFetching {
        /// The task.
        task: TaskName,
    },
    /// An attempt failed, or the task was lost; it is tried again.
    TaskRetried {
        /// The task.
        task: TaskName,
        /// The attempt that comes, from 1.
        attempt: u32,
        /// The class of what went wrong: `transient`, `oom`, `timeout`, `stall`, `rejected`, `node_error`, `lost` or `other`.
        class: String,
        /// What went wrong, in a sentence.
        reason: String,
        /// Until then.
        delay_seconds: f64,
    },
    /// A command wrote a line to its stderr, or to a stdout that is no result.
    TaskOutput {
        /// The task.
        task: TaskName,
        /// The line, without its end; long ones are cut.
        line: String,
    },
    /// Something that will not stop the run but should be known.
    TaskWarning {
        /// The task.
        task: TaskName,
        /// What.
        diagnostic: JsonDiagnostic,
    },
    /// A plugin says something.
    PluginLog {
        /// The plugin.
        plugin: String,
        /// `error`, `warn`, `info` or `debug`.
        level: String,
        /// What.
        line: String,
    },
    /// A task ended.
    TaskFinished {
        /// The task.
        task: TaskName,
        /// How.
        status: TaskStatus,
        /// What it made.
        outputs: Vec<Output>,
        /// Wall time from start to end, seconds; 0 when it never started.
        seconds: f64,
        /// Why it failed or was skipped.
        diagnostic: Option<JsonDiagnostic>,
    },
    /// The user wants the run to stop: nothing new starts, jobs under way are cancelled.
    RunStopping {
        /// Who asked.
        reason: StopReason,
        /// Asked again: kiln leaves at once, and jobs may still be on servers.
        at_once: bool,
    },
    /// The run ended. Always the last event.
    RunFinished {
        /// How.
        status: RunStatus,
        /// The process's exit code.
        exit_code: u8,
        /// Tasks by status.
        counts: Counts,
        /// The task that failed first, when one did.
        cause: Option<TaskName>,
        /// The link `latest`, when it points to this run's results.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latest: Option<PathBuf>,
        /// Everything was done before and is where `latest` points: no folder was made.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        up_to_date: bool,
        /// The command that goes on with the run, when it did not end well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
        /// Wall time, seconds.
        seconds: f64,
    },
}

impl RunEvent {
    /// What `event` is in its JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Diagnostic { .. } => "diagnostic",
            Self::RunStarted { .. } => "run_started",
            Self::RunWaiting { .. } => "run_waiting",
            Self::TasksAdded { .. } => "tasks_added",
            Self::ServerReady { .. } => "server_ready",
            Self::ServerLost { .. } => "server_lost",
            Self::ServerBack { .. } => "server_back",
            Self::TaskStarted { .. } => "task_started",
            Self::TaskUploaded { .. } => "task_uploaded",
            Self::TaskQueued { .. } => "task_queued",
            Self::TaskPlace { .. } => "task_place",
            Self::TaskExecuting { .. } => "task_executing",
            Self::TaskProgress { .. } => "task_progress",
            Self::TaskFetching { .. } => "task_fetching",
            Self::TaskRetried { .. } => "task_retried",
            Self::TaskOutput { .. } => "task_output",
            Self::TaskWarning { .. } => "task_warning",
            Self::PluginLog { .. } => "plugin_log",
            Self::TaskFinished { .. } => "task_finished",
            Self::RunStopping { .. } => "run_stopping",
            Self::RunFinished { .. } => "run_finished",
        }
    }
}

/// A task as it was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskInfo {
    /// Its name.
    pub task: TaskName,
    /// Its step.
    pub step: StepId,
    /// The server it is meant for.
    pub server: ServerName,
    /// Tasks it waits for, as far as they are known.
    pub needs: Arc<Vec<TaskName>>,
    /// It is a command on this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub command: bool,
}

/// Something a task made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// What it is.
    pub kind: Kind,
    /// Where it lies; absent for a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The text of a text output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The node that made it.
    pub node: NodeId,
    /// The name `outputs:` gives that node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of its bytes, hex.
    pub hash: String,
}

/// How a task ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It ran and its files are here.
    Done,
    /// It was done before, and its files are here.
    Cached,
    /// It failed.
    Failed,
    /// It never ran: its `when` is false, or something it needs did not run.
    Skipped,
    /// It was stopped.
    Cancelled,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// No task failed or was stopped.
    Done,
    /// A task failed.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// Who asked a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The terminal is gone (SIGHUP).
    Hangup,
    /// `kiln cancel`.
    Requested,
    /// The run took longer than it may.
    Deadline,
}

/// Tasks by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Ran and ended well.
    pub done: usize,
    /// Were done before.
    #[serde(default)]
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Never ran.
    pub skipped: usize,
    /// Were stopped.
    pub cancelled: usize,
}

impl Counts {
    /// Counts one more task.
    pub fn add(&mut self, status: TaskStatus) {
        let of_status = match status {
            TaskStatus::Done => &mut self.done,
            TaskStatus::Cached => &mut self.cached,
            TaskStatus::Failed => &mut self.failed,
            TaskStatus::Skipped => &mut self.skipped,
            TaskStatus::Cancelled => &mut self.cancelled,
        };
        *of_status += 1;
    }
}

/// The JSON Schema (draft-07) of one line of the event stream.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::generate::SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<Envelope>();
    schema.insert("title".to_owned(), "kiln event".into());
    schema.into()
}
