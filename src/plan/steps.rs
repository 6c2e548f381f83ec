//! A step as written becomes a step as planned: what it does, how it fans out, and its values evaluated as far as they can be.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::edits::{Changes, edits, outputs};
use super::eval::{Evaluator, Extra, Place, unknown_step};
use super::fan::{Fan, fan, here};
use super::plugins::PlanPlugins;
use super::sealed::{
    CommandStep, EditValue, Grow, NeedPlan, PluginStep, StepPlan, TemplateText, Work, WorkflowStep,
};
use super::settings::SetFlag;
use super::{condition, graphs, policy};
use crate::artifact::Datum;
use crate::base::{Inputs, NodeId, ServerName, StepId};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, FileId, Origin, Severity, SourceMap, Span, codes};
use crate::plugin;
use crate::spec::{Command, Node, NodeKind, Pipeline, PluginWork, Step, StepWork};

/// What building steps needs beside the evaluator.
pub(super) struct StepContext<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) inputs: &'a Arc<Inputs>,
    /// Relative workflow paths start here.
    pub(super) folder: &'a Path,
    /// `--set` entries for this step, their step's name cut off.
    pub(super) flags: Vec<SetFlag>,
    /// The file of a bare workflow, already read.
    pub(super) bare: Option<FileId>,
    /// Plugins, loaded.
    pub(super) plugins: &'a PlanPlugins,
    /// `--no-plugins`.
    pub(super) no_plugins: bool,
    /// What the step's server declares, for files in the editor's format.
    pub(super) definitions: &'a dyn Fn(&[String]) -> Definitions,
    /// What choices inside the texts of such files are drawn by.
    pub(super) seed: u64,
}

/// The node definitions of a server, or why there are none.
pub type Definitions = Result<Arc<Catalog>, Vec<Diagnostic>>;

/// A planned step, and what its tasks are made from.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) step: StepPlan,
    /// The items of its `for_each`, when they are known; none when none of its tasks will be wanted.
    pub(super) items: Option<Vec<Datum>>,
    /// What its `when` is for every task, when that is known.
    pub(super) runs: Option<bool>,
}

/// Plans one step; `None` when it has an error (all of them are reported).
pub(super) fn build(
    step: &Step,
    server: ServerName,
    context: &StepContext<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> Option<Built> {
    evaluator.used.clear();
    evaluator.here = here(step);
    let before = evaluator.report.items.len();
    let work = match &step.work {
        StepWork::Workflow(written) => workflow(step, written, context, evaluator, sources),
        StepWork::Command(written) => {
            refuse_flags(&step.id.value, "runs a command", &context.flags, evaluator);
            command(step, written, evaluator, sources)
        }
        StepWork::Plugin(written) => {
            let does = "is carried out by a plugin";
            refuse_flags(&step.id.value, does, &context.flags, evaluator);
            of_plugin(step, written, context, evaluator, sources)
        }
    };
    let sources: &SourceMap = sources;
    let save_as = step
        .save_as
        .as_ref()
        .and_then(|node| save_as(node, evaluator, sources));
    let (runs, when) = match &step.when {
        Some(node) => met(&step.id.value, node, evaluator, sources),
        None => (None, None),
    };
    let id = StepId::from(step.id.value.as_str());
    // What is wrong with its work need not be said here: its plugin may be missing, and that was told.
    let does_something = work.is_some();
    let placeholder = Work::Command(CommandStep::default());
    let (work, outputs, output_spans) = work.unwrap_or((placeholder, IndexMap::new(), Vec::new()));
    let mut planned = StepPlan {
        when,
        outputs,
        output_spans,
        save_as,
        ..StepPlan::new(id, Some(step.id.span), server, work)
    };
    if planned.workflow().is_some() {
        planned.shaped_by = context.plugins.loaded.shaping(&planned.id);
    }
    policy::apply(&mut planned, step, context.pipeline, evaluator, sources);
    // Last, since a list that is streamed must know what else of the step waits for the other step.
    let fan = fan(step, evaluator, sources);
    planned.needs = needs(step, evaluator);
    let mut complaints = evaluator.report.items[before..].iter();
    if !does_something || complaints.any(|d| d.severity == Severity::Error) {
        return None;
    }
    let Fan {
        matrix,
        grow,
        mut items,
    } = fan?;
    planned.matrix = matrix;
    planned.grow = grow;
    if runs == Some(false) && planned.grow != Grow::Known {
        items = Some(no_tasks(&mut planned, step));
    }
    Some(Built {
        step: planned,
        items,
        runs,
    })
}

/// What a `when` is, when that is known, or else what decides it for each task.
fn met(
    step: &str,
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> (Option<bool>, Option<TemplateText>) {
    match decided(step, node, evaluator, sources) {
        Some(EditValue::Ready(Datum::Bool(met))) => (Some(met), None),
        Some(EditValue::Later(template)) => (None, Some(template)),
        _ => (None, None),
    }
}

/// What a step does, the nodes or files that its outputs are, and where those are named.
type Works = (Work, IndexMap<String, NodeId>, Vec<Span>);

fn workflow(
    step: &Step,
    written: &Node,
    context: &StepContext<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> Option<Works> {
    let graphs::Read {
        file,
        mut graph,
        templated,
        places,
    } = graphs::read(written, context, step.template, evaluator, sources)?;
    let in_file = if templated {
        let places = places.as_deref();
        graphs::in_file(
            &step.id.value,
            (file, places),
            &mut graph,
            evaluator,
            sources,
        )
    } else {
        Vec::new()
    };
    let Changes {
        edits,
        bypassed,
        removed,
    } = edits(step, context, &mut graph, evaluator, sources);
    let (outputs, spans) = outputs(step, &graph, &bypassed, evaluator);
    let work = Work::Workflow(WorkflowStep {
        file,
        graph,
        in_file,
        edits,
        places,
        bypassed,
        removed,
    });
    Some((work, outputs, spans))
}

fn command(
    step: &Step,
    written: &Command,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Works> {
    let mut value = |node: &Node, place: String| {
        let salt = format!("{}/{place}", step.id.value);
        let extra = Extra {
            salt,
            paths: true,
            ..Extra::default()
        };
        evaluator.value(node, &extra, sources)
    };
    let args: Vec<Option<EditValue>> = written
        .args
        .iter()
        .enumerate()
        .map(|(at, node)| value(node, format!("command/{at}")))
        .collect();
    let env: Vec<Option<(String, EditValue)>> = written
        .env
        .iter()
        .map(|(name, node)| {
            let value = value(node, format!("env/{}", name.value))?;
            Some((name.value.clone(), value))
        })
        .collect();
    let stdin = written
        .stdin
        .as_ref()
        .map(|node| value(node, "stdin".to_owned()));
    let collect: IndexMap<String, String> = step
        .outputs
        .iter()
        .map(|(name, (_, pattern))| (name.clone(), pattern.value.clone()))
        .collect();
    let outputs = collect
        .keys()
        .map(|name| (name.clone(), NodeId(name.clone())))
        .collect();
    let spans = step.outputs.values().map(|(_, p)| p.span).collect();
    let work = Work::Command(CommandStep {
        args: args.into_iter().collect::<Option<_>>()?,
        spans: written.args.iter().map(|node| node.span).collect(),
        env: env.into_iter().collect::<Option<_>>()?,
        stdin: match stdin {
            None => None,
            Some(value) => Some(value?),
        },
        collect,
    });
    Some((work, outputs, spans))
}

/// What a plugin is given, as far as it is known, and where each value of it stands.
fn of_plugin(
    step: &Step,
    written: &PluginWork,
    context: &StepContext<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<Works> {
    let name = &written.plugin;
    let loaded = &context.plugins.loaded;
    let about = loaded.about(&name.value);
    let kind = about.and_then(|about| about.step.as_ref());
    let extra = Extra {
        salt: format!("{}/with", step.id.value),
        ..Extra::default()
    };
    let with = match &written.with {
        Some(node) => evaluator.value(node, &extra, sources),
        None => Some(EditValue::Ready(Datum::Map(IndexMap::new()))),
    };
    let Some(kind) = kind else {
        if context.no_plugins {
            let built = plugin::switched_off(&name.value, name.span);
            evaluator.report.push(built);
        } else if let Some((_, told)) = context
            .plugins
            .broken
            .iter()
            .find(|(broken, _)| *broken == name.value)
        {
            if !told {
                let built = plugin::step_without(&name.value, name.span);
                evaluator.report.push(built);
            }
        } else {
            let known = loaded.abouts();
            let known: Vec<&str> = known.map(|(one, _)| one.name.as_str()).collect();
            let known = known.iter().copied();
            let built = plugin::step_unknown(&name.value, name.span, known, about.is_some());
            evaluator.report.push(built);
        }
        return None;
    };
    let mut spans = Vec::new();
    if let Some(node) = &written.with {
        places(node, "", &mut spans);
    }
    let outputs: IndexMap<String, NodeId> = kind
        .outputs
        .iter()
        .map(|name| (name.clone(), NodeId(name.clone())))
        .collect();
    let output_spans = vec![name.span; outputs.len()];
    let work = Work::Plugin(PluginStep {
        plugin: name.value.clone(),
        span: name.span,
        with: with?,
        spans,
    });
    Some((work, outputs, output_spans))
}

/// Where every value inside a node stands, by its JSON pointer.
fn places(node: &Node, pointer: &str, spans: &mut Vec<(String, Span)>) {
    spans.push((pointer.to_owned(), node.span));
    match &node.kind {
        NodeKind::List(items) => {
            for (at, item) in items.iter().enumerate() {
                places(item, &format!("{pointer}/{at}"), spans);
            }
        }
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                let key = key.value.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{pointer}/{key}"), spans);
            }
        }
        _ => {}
    }
}

/// `--set` is for workflows.
fn refuse_flags(step: &str, does: &str, flags: &[SetFlag], evaluator: &mut Evaluator<'_>) {
    for flag in flags {
        let message = format!("the step `{step}` {does}, which has no nodes to set");
        let diagnostic = Diagnostic::error(&codes::BAD_ARGUMENT, message);
        evaluator.report.push(diagnostic.at(flag.target_span));
    }
}

/// `when`, as far as it is known.
fn decided(
    step: &str,
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<EditValue> {
    let extra = Extra {
        salt: format!("{step}/when"),
        ..Extra::default()
    };
    match evaluator.expression(node, &extra, sources)? {
        EditValue::Ready(Datum::Bool(met)) => Some(EditValue::Ready(Datum::Bool(met))),
        EditValue::Ready(other) => {
            let diagnostic = condition::no_truth("when", &other);
            evaluator.report.push(diagnostic.at(node.span));
            None
        }
        later => Some(later),
    }
}

/// None of a step's tasks will be wanted, whatever its list will be: it is empty, and its `when` says why.
fn no_tasks(planned: &mut StepPlan, step: &Step) -> Vec<Datum> {
    planned.grow = Grow::Known;
    planned.when = step.when.as_ref().map(as_written);
    Vec::new()
}

/// A condition for people to read.
fn as_written(node: &Node) -> TemplateText {
    TemplateText {
        text: node.as_str().unwrap_or("false").to_owned(),
        origin: Origin::Written(node.span),
        steps: Vec::new(),
        folder: None,
    }
}

/// The file in the same folder whose name is nearest to the missing one; `None` when it is not missing.
pub fn neighbour(path: &Path) -> Option<String> {
    if path.exists() {
        return None;
    }
    let wrong = path.file_name()?.to_str()?;
    let names: Vec<String> = std::fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    crate::diagnostic::did_you_mean(wrong, names.iter().map(String::as_str)).map(str::to_owned)
}

/// `save_as` is evaluated per file, so it is kept as a template even when it is plain text.
fn save_as(
    node: &Node,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<TemplateText> {
    let text = node.as_str()?;
    let origin = Origin::Written(node.span);
    match evaluator.text(
        text,
        Place::Yaml(node),
        &Extra {
            file: true,
            ..Extra::default()
        },
        sources,
    )? {
        EditValue::Later(later) => Some(later),
        EditValue::Ready(Datum::String(fixed)) => {
            if let Err(error) = crate::base::safe_join(Path::new(""), &fixed) {
                evaluator.report.push(unsafe_path(&error).at(node.span));
                return None;
            }
            Some(TemplateText {
                text: text.to_owned(),
                origin,
                steps: Vec::new(),
                folder: None,
            })
        }
        EditValue::Ready(Datum::Number(_)) => Some(TemplateText {
            text: text.to_owned(),
            origin,
            steps: Vec::new(),
            folder: None,
        }),
        EditValue::Ready(other) => {
            evaluator.report.push(
                Diagnostic::error(
                    &codes::WRONG_TYPE,
                    format!("`save_as` must give a string, not {}", other.describe()),
                )
                .at(node.span),
            );
            None
        }
        _ => None,
    }
}

/// A path for results that would leave its folder.
pub(super) fn unsafe_path(error: &crate::base::UnsafePath) -> Diagnostic {
    Diagnostic::error(
        &codes::UNSAFE_OUTPUT_PATH,
        format!("the output path {error}"),
    )
    .help("`save_as` names a file inside the step's own folder, e.g. `final/picture`")
}

/// Written needs, and the steps that expressions use.
fn needs(step: &Step, evaluator: &mut Evaluator<'_>) -> Vec<NeedPlan> {
    let mut needs: Vec<NeedPlan> = Vec::new();
    for need in &step.needs {
        let id = &need.step;
        if evaluator.names.steps.contains(&id.value) {
            needs.push(NeedPlan {
                step: StepId::from(id.value.as_str()),
                optional: need.optional,
            });
        } else {
            let diagnostic = unknown_step(&id.value, id.span, evaluator.names.steps);
            evaluator.report.push(diagnostic);
        }
    }
    // One that is used and written is what is written.
    for used in evaluator.used.keys() {
        if needs.iter().all(|need| need.step.as_str() != used) {
            needs.push(NeedPlan {
                step: StepId::from(used.as_str()),
                optional: false,
            });
        }
    }
    if needs.len() > 1 {
        let order = evaluator.names.order;
        let place = |need: &NeedPlan| order.iter().position(|s| *s == need.step.0);
        needs.sort_by_cached_key(place);
    }
    needs.dedup_by(|later, first| {
        let same = later.step == first.step;
        if same {
            first.optional &= later.optional;
        }
        same
    });
    needs
}
