//! The server's verdict in plain words.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::words::{Scene, are_files, either, is_file, shown, takes};
use crate::base::NodeId;
use crate::catalog::{InputDef, InputType, OpenInput, OutputType};
use crate::diagnostic::{Code, Diagnostic, Origin, Severity, codes, list_of};
use crate::workflow::verdict::{NodeError, Unsure, Verdict, must_be_written};

/// Options are all named when there are no more than these.
const FEW: usize = 8;
/// Of a longer circle of nodes only so many are named at each of them.
const LONGEST_CYCLE: usize = 20;

pub(super) fn refusals(scene: &Scene<'_>, verdict: &Verdict) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    if let Some(error) = &verdict.error {
        match error.kind {
            "missing_node_type" => out.extend(missing_classes(scene)),
            "prompt_no_outputs" => out.push(no_outputs(scene)),
            _ => {}
        }
    }
    out.extend(own_checks(scene, verdict));
    let left_out = scene.setting.partial && !verdict.runs.is_empty();
    for (id, node) in &verdict.node_errors {
        let opened = opened(scene, id);
        for error in &node.errors {
            let refusal = refusal(scene, id, error, &opened);
            // A link that leads nowhere is an exception there; such a graph is never sent.
            let broken = refusal.code.id == codes::EXCEPTION.id;
            out.push(if left_out && !broken {
                Diagnostic {
                    severity: Severity::Warning,
                    ..refusal
                }
                .help("outputs that need this node are left out, as `allow_partial` allows")
            } else {
                refusal
            });
        }
    }
    out
}

/// What a server says against values, unless their classes have checks of their own.
fn own_checks(scene: &Scene<'_>, verdict: &Verdict) -> Vec<Diagnostic> {
    let mut known: HashMap<&NodeId, Opened<'_>> = HashMap::new();
    let mut out = Vec::new();
    for assumed in &verdict.assumed {
        if let Unsure::OwnCheck(error) = &assumed.unsure {
            let node = &assumed.node;
            let opened = known.entry(node).or_insert_with(|| opened(scene, node));
            out.push(Diagnostic {
                severity: Severity::Warning,
                ..refusal(scene, node, error, opened).help(
                    "the server refuses it, unless the node's pack has a check of its own for this input, which no server tells",
                )
            });
        }
    }
    out
}

/// The server names only the first; people want all.
fn missing_classes(scene: &Scene<'_>) -> Vec<Diagnostic> {
    let unknown = scene
        .graph
        .nodes
        .iter()
        .filter(|(_, node)| scene.catalog.node(&node.class_type).is_none());
    // Where to get node classes is the same for all of them.
    let mut advice = Some(where_classes_are(scene));
    unknown
        .map(|(id, node)| {
            let class = node.class_type.as_str();
            let diagnostic = if class.is_empty() {
                Diagnostic::error(
                    &codes::MISSING_NODE_TYPE,
                    format!("node `{id}` has no `class_type`"),
                )
                .help("every node needs a `class_type`, such as `\"class_type\": \"SaveImage\"`")
            } else {
                let message = format!("the server has no node class `{class}`");
                let diagnostic = Diagnostic::error(&codes::MISSING_NODE_TYPE, message);
                match scene.near_class(class) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => match advice.take() {
                        Some(advice) => diagnostic.help(advice),
                        None => diagnostic,
                    },
                }
            };
            scene.about(diagnostic, id, None)
        })
        .collect()
}

fn where_classes_are(scene: &Scene<'_>) -> String {
    if !scene.setting.embedded {
        return "install the custom node pack that brings it, or update the server".to_owned();
    }
    format!(
        "kiln's embedded server has only {} nodes, all without models; run it on your ComfyUI with `--server local` (http://127.0.0.1:8188)",
        crate::embedded::catalog().classes().count()
    )
}

fn no_outputs(scene: &Scene<'_>) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        &codes::NO_OUTPUTS,
        "no node of this workflow saves or shows a result, so there is nothing to run",
    )
    .help("add an output node, such as SaveImage or PreviewImage");
    match scene.start() {
        Some(span) => diagnostic.at(span),
        None => diagnostic,
    }
}

fn code_of(kind: &str) -> &'static Code {
    codes::ALL
        .iter()
        .copied()
        .find(|code| code.kind == kind)
        .unwrap_or(&codes::EXCEPTION)
}

/// The inputs that a node has, by name.
type Opened<'a> = IndexMap<String, OpenInput<'a>>;

fn opened<'a>(scene: &Scene<'a>, id: &NodeId) -> Opened<'a> {
    let inputs = scene
        .node(id)
        .map(|(node, def)| def.open_inputs(&node.inputs))
        .unwrap_or_default();
    let named = inputs.into_iter().map(|open| (open.name.clone(), open));
    named.collect()
}

fn refusal(scene: &Scene<'_>, id: &NodeId, error: &NodeError, opened: &Opened<'_>) -> Diagnostic {
    let input = error.input.as_deref();
    let open = input.and_then(|input| opened.get(input));
    let value = scene
        .graph
        .nodes
        .get(id)
        .zip(input)
        .and_then(|(node, input)| node.inputs.get(input));
    let complaint = Complaint {
        scene,
        id,
        error,
        name: input
            .map(|input| scene.input_name(id, input))
            .unwrap_or_default(),
        def: open.map(|open| open.def),
        value,
    };
    match error.kind {
        "required_input_missing" => complaint.missing(opened),
        "value_not_in_list" => complaint.not_in_list(),
        "invalid_input_type" => complaint.invalid_type(),
        "value_smaller_than_min" => complaint.out_of_bounds("at least", |def| &def.bounds.min),
        "value_bigger_than_max" => complaint.out_of_bounds("at most", |def| &def.bounds.max),
        "return_type_mismatch" => complaint.mismatch(),
        "bad_linked_input" => complaint.bad_link(),
        "custom_validation_failed" => complaint.custom(),
        "dependency_cycle" => complaint.cycle(),
        _ => complaint.exception(opened),
    }
}

/// One error of the server with all that helps to explain it.
struct Complaint<'a, 's> {
    scene: &'a Scene<'s>,
    id: &'a NodeId,
    error: &'a NodeError,
    /// `` `Class.input` ``.
    name: String,
    def: Option<&'a InputDef>,
    value: Option<&'a Value>,
}

impl Complaint<'_, '_> {
    fn diagnostic(&self, message: String) -> Diagnostic {
        let diagnostic = Diagnostic::error(code_of(self.error.kind), message);
        self.scene
            .about(diagnostic, self.id, self.error.input.as_deref())
    }

    fn value(&self) -> String {
        self.value.map(shown).unwrap_or_default()
    }

    fn missing(&self, opened: &Opened<'_>) -> Diagnostic {
        let input = self.error.input.as_deref().unwrap_or_default();
        let node = self.scene.node_name(self.id);
        let diagnostic = Diagnostic::error(
            code_of(self.error.kind),
            format!("{node} needs the input `{input}`"),
        );
        // Where `set` took the input away, that line is the cause.
        let span = match self.scene.places.of(self.id, Some(input)) {
            Some(Origin::Written(span)) => Some(span),
            _ => self.scene.span(self.id, None),
        };
        let diagnostic = self.scene.about_at(diagnostic, self.id, Some(input), span);
        let undeclared = self
            .scene
            .graph
            .nodes
            .get(self.id)
            .into_iter()
            .flat_map(|node| node.inputs.keys())
            .map(String::as_str)
            .filter(|name| !opened.contains_key(*name));
        if let Some(written) = self.scene.near(input, undeclared) {
            return diagnostic.help(format!("it has `{written}`: did you mean `{input}`?"));
        }
        match self.def {
            Some(def) => diagnostic.help(how_to_give(input, def)),
            None => diagnostic,
        }
    }

    fn not_in_list(&self) -> Diagnostic {
        let options: &[Value] = match self.def.map(|def| &def.ty) {
            Some(InputType::Combo(combo)) => &combo.options,
            _ => &[],
        };
        let text = self.value.and_then(Value::as_str);
        let files = are_files(options) || options.is_empty() && text.is_some_and(is_file);
        let (name, value) = (&self.name, self.value());
        let message = match (files, options.len()) {
            (true, _) => format!("{name}: the server has no {value}"),
            (false, 0) => format!("{name}: {value} cannot be chosen, since there are no choices"),
            (false, 1) => format!("{name}: {value} is not its one choice"),
            (false, count) => format!("{name}: {value} is not one of its {count} choices"),
        };
        let diagnostic = self.diagnostic(message);
        if let Some(near) = text.and_then(|text| self.scene.near_option(text, options)) {
            return diagnostic.help(format!("did you mean `{near}`?"));
        }
        match options.len() {
            _ if files && let Some(help) = text.and_then(|text| self.elsewhere(text)) => {
                diagnostic.help(help)
            }
            0 if files => {
                diagnostic.help("it has no such files at all; put the file on the server")
            }
            0 => diagnostic,
            1..=FEW => {
                let names: Vec<String> = options.iter().map(plain).collect();
                let names = names.iter().map(String::as_str);
                diagnostic.help(if files {
                    format!("it has {}", list_of(names, FEW))
                } else {
                    format!("choose {}", either(names))
                })
            }
            _ if files => {
                let names: Vec<String> = options.iter().map(plain).collect();
                let some = list_of(names.iter().map(String::as_str), FEW);
                let folders = names
                    .first()
                    .map(|name| self.scene.catalog.folders_with(name));
                let folder = match folders.as_deref() {
                    Some([folder]) => format!(" {folder}"),
                    _ => " FOLDER".to_owned(),
                };
                diagnostic.help(format!("it has {some}")).help(format!(
                    "put the file on the server, or name one that it has: `kiln server models{folder}` lists them"
                ))
            }
            _ => diagnostic,
        }
    }

    /// Where the server has a file of this name, when this input does not look there.
    fn elsewhere(&self, file: &str) -> Option<String> {
        let catalog = self.scene.catalog;
        let folders = catalog.folders_with(file);
        if !folders.is_empty() {
            return Some(format!(
                "it lies in {}, where `{}` does not look",
                list_of(folders, 3),
                self.error.input.as_deref().unwrap_or_default()
            ));
        }
        let [class, input, found] = self.scene.offered_by(file)?;
        Some(format!(
            "`{class}.{input}` has `{found}`: it lies in another folder than this input looks into"
        ))
    }

    fn invalid_type(&self) -> Diagnostic {
        let takes = self.def.map(takes).unwrap_or_default();
        let what = match self.value {
            Some(Value::Object(_)) => "an object".to_owned(),
            _ => self.value(),
        };
        self.diagnostic(format!("{} takes {takes}, not {what}", self.name))
    }

    fn out_of_bounds(
        &self,
        words: &str,
        bound: fn(&InputDef) -> &Option<serde_json::Number>,
    ) -> Diagnostic {
        let bound = self
            .def
            .and_then(|def| bound(def).as_ref())
            .map(ToString::to_string)
            .unwrap_or_default();
        let value = self.value();
        self.diagnostic(format!(
            "{} is {value}, but must be {words} {bound}",
            self.name
        ))
    }

    fn mismatch(&self) -> Diagnostic {
        let takes = self.def.map(takes).unwrap_or_default();
        let received = match self.error.extra_info.get("received_type") {
            Some(Value::String(name)) => name.clone(),
            _ => "a choice".to_owned(),
        };
        let linked = self.value.and_then(|v| v.get(0)).and_then(Value::as_str);
        let Some(linked) = linked.map(NodeId::from) else {
            return self.diagnostic(format!("{} takes {takes}, not {received}", self.name));
        };
        let slot = self.value.and_then(|v| v.get(1)).map(ToString::to_string);
        let message = format!(
            "{} takes {takes}, but output {} of {} gives {received}",
            self.name,
            slot.unwrap_or_default(),
            self.scene.node_name(&linked),
        );
        let diagnostic = self.diagnostic(message);
        let wanted = self.def.map(InputDef::type_name).unwrap_or_default();
        let other = self.scene.node(&linked).and_then(|(_, def)| {
            def.outputs
                .iter()
                .position(|o| matches!(&o.ty, OutputType::Named(ty) if ty == wanted))
        });
        match other {
            Some(slot) => diagnostic.help(format!("output {slot} of that node gives {wanted}")),
            None if linked == *self.id => diagnostic.help("the node is linked to itself"),
            None => diagnostic,
        }
    }

    fn bad_link(&self) -> Diagnostic {
        self.diagnostic(format!(
            "{}: a list is taken for a link, and must be a node id and an output number",
            self.name
        ))
        .help(
            "a link looks like [\"4\", 0]; a list that is a value is written {\"__value__\": […]}",
        )
    }

    fn custom(&self) -> Diagnostic {
        let details = &self.error.details;
        let reason = details.split_once(" - ").map_or(&**details, |(_, r)| r);
        match (self.value, reason.strip_prefix("Invalid ")) {
            (Some(value @ Value::String(file)), Some(rest)) if rest.ends_with(file.as_str()) => {
                let diagnostic = self.diagnostic(format!(
                    "{}: the server has no input file {}",
                    self.name,
                    shown(value)
                ));
                let near = match self.def.map(|def| &def.ty) {
                    Some(InputType::Combo(combo)) => self.scene.near_option(file, &combo.options),
                    _ => None,
                };
                if let Some(meant) = meant_as_template(file) {
                    return diagnostic.help(format!(
                        "if that is no name of a file, write it as a template: `\"{{{{ {meant} }}}}\"`"
                    ));
                }
                let input = self.error.input.as_deref().unwrap_or_default();
                let how = || self.scene.how_to_upload(self.id, input, file);
                match near {
                    _ if self.scene.is_here(file) => diagnostic.help(format!(
                        "`{file}` is here, and not on the server; to upload it {}",
                        how()
                    )),
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None => diagnostic.help(format!("to upload a local file {}", how())),
                }
            }
            _ => self.diagnostic(format!("{}: the node refuses it: {reason}", self.name)),
        }
    }

    fn cycle(&self) -> Diagnostic {
        let cycle = self.error.cycle.as_deref().unwrap_or_default();
        let shown = cycle.iter().take(LONGEST_CYCLE);
        let mut path: Vec<String> = shown.map(|id| self.scene.node_name(id)).collect();
        if cycle.len() > LONGEST_CYCLE {
            path.push(format!("{} more", cycle.len() - LONGEST_CYCLE));
        }
        path.extend(path.first().cloned());
        let message = match path.as_slice() {
            [only, _] => format!("{only} is linked to itself"),
            _ => format!("nodes wait for each other: {}", path.join(" → ")),
        };
        self.diagnostic(message)
    }

    /// The server stumbles over something in the node: the first link or value that it must stumble over is shown.
    fn exception(&self, opened: &Opened<'_>) -> Diagnostic {
        let found = self.scene.node(self.id).and_then(|(node, _)| {
            opened.values().find_map(|open| {
                let value = node.inputs.get(&open.name);
                let why = broken(self.scene, &node.class_type, open, value)?;
                Some((open.name.as_str(), why))
            })
        });
        let message = if let Some((input, why)) = &found {
            format!("{} {why}", self.scene.input_name(self.id, input))
        } else {
            let node = self.scene.node_name(self.id);
            format!("the server fails to check {node}: {}", self.error.details)
        };
        let diagnostic = Diagnostic::error(code_of(self.error.kind), message);
        let span = self.scene.span(self.id, found.map(|(input, _)| input));
        let reported = self.error.input.as_deref();
        self.scene.about_at(diagnostic, self.id, reported, span)
    }
}

/// A name of templates that was written without braces.
fn meant_as_template(text: &str) -> Option<String> {
    let name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    let path = |path: &str| path.split('.').all(name);
    if let Some(param) = text.strip_prefix('$') {
        let param = param.trim_matches(['{', '}']);
        let param = param.strip_prefix("params.").unwrap_or(param);
        return name(param).then(|| format!("params.{param}"));
    }
    let rooted = text.starts_with("params.") || text.starts_with("steps.");
    (rooted && path(text)).then(|| text.to_owned())
}

/// Why the server cannot even look at this value.
fn broken(
    scene: &Scene<'_>,
    class: &str,
    open: &OpenInput<'_>,
    value: Option<&Value>,
) -> Option<String> {
    let must_be_written = must_be_written(class, &open.name);
    let Some(value) = value else {
        return must_be_written.then(|| "is missing".to_owned());
    };
    match value {
        Value::Array(items) if items.len() == 2 => super::beyond::broken_link(scene, items)
            .or_else(|| must_be_written.then(|| "must be a value, not a link".to_owned())),
        Value::String(_) => None,
        other if open.def.upload => Some(format!("takes the name of a file, not {}", shown(other))),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn how_to_give(input: &str, def: &InputDef) -> String {
    let last = input.rsplit('.').next().unwrap_or(input);
    match (&def.ty, &def.default) {
        (InputType::Named(ty), _) => format!("link it to an output of type {ty}"),
        (InputType::Union { types, .. }, _) => {
            format!("link it to an output of type {}", types.join(" or "))
        }
        (_, Some(default)) if !default.is_null() && default.as_str() != Some("") => {
            format!("the editor starts with `{default}`")
        }
        _ => format!("`{last}` takes {}", takes(def)),
    }
}
