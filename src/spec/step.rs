//! One entry under `steps:`.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::needs::{needs_schema, outputs_schema, read_needs, read_outputs};
use super::reading::{Key, Reading};
use super::{Node, SetNode, Spanned, schema, set};
use crate::diagnostic::Span;

/// A step as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its id and where it stands.
    pub id: Spanned<String>,
    /// The workflow file, relative to the pipeline file; may be a template. A string node, so that places inside it can be shown.
    pub workflow: Node,
    /// Changes to the workflow's nodes, in written order.
    pub set: Vec<SetNode>,
    /// Steps it waits for beyond those its expressions use.
    pub needs: Vec<Spanned<String>>,
    /// Output name → where the name stands, and the node's id, title or class.
    pub outputs: IndexMap<String, (Span, Spanned<String>)>,
    /// How result files are named; a string.
    pub save_as: Option<Node>,
    /// The server it runs on; a string, maybe a template.
    pub server: Option<Node>,
    /// Whether scalars of the workflow file are templates: `None` follows the file's format.
    pub template: Option<bool>,
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
        id: id.clone(),
        workflow: workflow?,
        set,
        needs,
        outputs,
        save_as,
        server,
        template,
    })
}

pub(super) fn schema() -> Value {
    schema::object("One step: a workflow that is run once.", KEYS, false)
}
