//! One entry under `steps:`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::needs::{needs_schema, outputs_schema, read_needs, read_outputs};
use super::reading::{Key, Reading};
use super::{Command, Matrix, Node, Retry, SetNode, Spanned, schema, set};
use crate::diagnostic::Span;

/// A step as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its id and where it stands.
    pub id: Spanned<String>,
    /// What it does.
    pub work: StepWork,
    /// Whether a task runs, decided for each: a boolean, or a string: an expression, bare or in `{{ }}`.
    pub when: Option<Node>,
    /// Lists whose combinations are its tasks.
    pub matrix: Option<Matrix>,
    /// A list with a task for each item: a list, or a string: an expression, bare or in `{{ }}`.
    pub for_each: Option<Node>,
    /// Changes to the workflow's nodes, in written order.
    pub set: Vec<SetNode>,
    /// Steps it waits for beyond those its expressions use.
    pub needs: Vec<Need>,
    /// Output name → where the name stands, and the node's id, title or class; for a command the pattern of its files.
    pub outputs: IndexMap<String, (Span, Spanned<String>)>,
    /// How result files are named; a string.
    pub save_as: Option<Node>,
    /// The server it runs on; a string, maybe a template.
    pub server: Option<Node>,
    /// Whether scalars of the workflow file are templates: `None` follows the file's format.
    pub template: Option<bool>,
    /// When it is tried again; instead of the pipeline's.
    pub retry: Option<Retry>,
    /// How long an attempt may execute: a string that is a duration ([`parse_duration`](super::parse_duration)) or a template.
    pub timeout: Option<Node>,
    /// How long an attempt may be without progress: as `timeout`.
    pub stall_timeout: Option<Node>,
    /// What each task claims of the pipeline's limits.
    pub claims: IndexMap<String, Spanned<u32>>,
    /// Whether earlier results may stand for new ones.
    pub cache: Option<Spanned<CacheMode>>,
    /// How results get to its server.
    pub transfer: Option<Spanned<Transfer>>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum StepWork {
    /// It runs a workflow file, relative to the pipeline file: a string node, maybe a template, so that places inside it can be shown.
    Workflow(Node),
    /// It runs a program.
    Command(Command),
}

/// A step that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its id.
    pub step: Spanned<String>,
    /// It is waited for however it ends.
    pub optional: bool,
}

/// Whether earlier results may stand for new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// When the content that shaped them is the same.
    #[default]
    On,
    /// Never.
    Off,
    /// When the server's version, packs and models are the same, too.
    Strict,
}

/// How results get to a step's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// By upload, always.
    Upload,
}

impl Step {
    /// A step with nothing but its work.
    pub fn new(id: Spanned<String>, work: StepWork) -> Self {
        Self {
            id,
            work,
            when: None,
            matrix: None,
            for_each: None,
            set: Vec::new(),
            needs: Vec::new(),
            outputs: IndexMap::new(),
            save_as: None,
            server: None,
            template: None,
            retry: None,
            timeout: None,
            stall_timeout: None,
            claims: IndexMap::new(),
            cache: None,
            transfer: None,
        }
    }
}

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "workflow",
        "The workflow to run, a file in ComfyUI's API format. Relative to this file.",
        schema::text,
    )
    .required(),
    Key::new(
        "set",
        "Changes to the workflow's nodes: node → input → value. A node is named by its id, its title or its class.",
        set::schema,
    ),
    Key::new(
        "needs",
        "Steps to wait for, beyond those whose results the templates use.",
        needs_schema,
    ),
    Key::new(
        "outputs",
        "Names for output nodes, for `steps.<step>.outputs.<name>`. Only these nodes, and what they need, are run.",
        outputs_schema,
    ),
    Key::new(
        "save_as",
        "How result files are named, relative to the step's folder. The file's extension is added when it is left out.",
        schema::text,
    ),
    Key::new(
        "server",
        "The server this step runs on: a name from `kiln.yaml`, or an address.",
        schema::text,
    ),
    Key::new(
        "template",
        "`false`: braces in the workflow file are text, not templates. `true`: templates also where they are off by default.",
        || json!({ "type": "boolean" }),
    ),
];

/// Reads a step; `None` when it has no usable workflow.
pub(super) fn read(id: &Spanned<String>, node: &Node, reading: &mut Reading<'_>) -> Option<Step> {
    let owner = format!("the step `{}`", id.value);
    let fields = reading.fields(node, &owner, KEYS, false)?;
    let workflow = fields.get("workflow");
    if workflow.is_none() {
        reading.missing(
            &fields,
            id.span,
            &owner,
            "workflow",
            "workflow: workflows/example.json",
        );
    }
    let workflow = workflow.and_then(|n| reading.text(n, "`workflow`"));
    let set = fields
        .get("set")
        .map_or_else(Vec::new, |n| set::read(n, reading));
    let needs = fields
        .get("needs")
        .map_or_else(Vec::new, |n| read_needs(n, reading));
    let outputs = fields
        .get("outputs")
        .map_or_else(IndexMap::new, |n| read_outputs(n, reading));
    let save_as = fields
        .get("save_as")
        .and_then(|n| reading.text(n, "`save_as`"));
    let server = fields
        .get("server")
        .and_then(|n| reading.text(n, "`server`"));
    let template = fields
        .get("template")
        .and_then(|n| reading.boolean(n, "`template`"));
    Some(Step {
        set,
        needs,
        outputs,
        save_as,
        server,
        template,
        ..Step::new(id.clone(), StepWork::Workflow(workflow?))
    })
}

pub(super) fn schema() -> Value {
    schema::object("One step: a workflow that is run once.", KEYS, false)
}
