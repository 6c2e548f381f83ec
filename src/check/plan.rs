//! A whole plan checked: each step's graph as each of its tasks has it, as far as that is known before anything runs.
//!
//! Tasks whose graphs are the same are judged once, and what is true of all tasks of a step is said once.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::beyond::SECRET_HELP;
use super::graph::{Setting, verdict_diagnostics};
use super::uploads::{self, Pictures};
use crate::base::{ContentHash, NodeId, ServerName};
use crate::catalog::Catalog;
use crate::diagnostic::{Code, Diagnostic, Report, Severity, Span, codes, list_of};
use crate::plan::{
    self, EditValue, Grow, Plan, Rendered, ServerKind, StepPlan, TaskPlan, Work, WorkflowStep,
};
use crate::protocol::UploadRules;
use crate::template::Template;
use crate::workflow::verdict::{self, FileOracle, JudgeOptions};
use crate::workflow::{self, Graph, Node};

/// How many of a step's values are complained about at one place.
const AT_ONE_PLACE: usize = 3;

/// What is known of a plan before anything runs.
#[derive(Debug, Default)]
pub struct Checked {
    /// Every complaint.
    pub report: Report,
    /// Whether its servers take it hangs on what nobody here can tell.
    pub open: bool,
    /// Of a plan around a workflow alone, what its server answers: whether it takes it, and the output nodes that run, sorted as text.
    pub answer: Option<(Option<bool>, Vec<String>)>,
}

/// Every complaint about a plan that can be known before anything runs. `bare`: it is made around a workflow alone; `rules_of`: what a
/// server takes for files, where that is known.
pub fn plan(
    plan: &Plan,
    bare: bool,
    catalog_of: &dyn Fn(&ServerName) -> Option<Arc<Catalog>>,
    rules_of: &dyn Fn(&ServerName) -> Option<UploadRules>,
) -> Checked {
    let mut checked = Checked::default();
    let folders = folders(plan, bare);
    let mut at = 0;
    let mut pictures = Pictures::default();
    for step in plan.steps.values() {
        // The tasks of a step stand together, in the order of the steps.
        let rest = &plan.tasks[at.min(plan.tasks.len())..];
        let own = rest.iter().take_while(|task| task.step == step.id).count();
        let known = &rest[..own];
        at += own;
        let samples = plan::samples(step);
        let tasks = match step.grow {
            Grow::Known => known,
            _ => &samples,
        };
        let catalog = catalog_of(&step.server);
        let setting = Setting {
            embedded: is_embedded(plan, &step.server),
            bare,
            folders: &folders,
            partner_key: plan.partner_key.is_some() || !plan.no_partner_key.is_empty(),
            partial: step.allow_partial,
            uploads: rules_of(&step.server),
        };
        let catalog = catalog.as_deref();
        let found = of_step(
            plan,
            step,
            (tasks, catalog),
            setting,
            &mut pictures,
            &mut checked,
        );
        checked.report.extend(found);
    }
    let report = &mut checked.report;
    report.extend(super::across::across(plan, catalog_of));
    say_once(report);
    if plan.steps.values().any(|step| is_paid(step, catalog_of)) {
        report.extend(plan.no_partner_key.clone());
    }
    checked
}

/// Whether a step has partner nodes, which want a key.
fn is_paid(step: &StepPlan, catalog_of: &dyn Fn(&ServerName) -> Option<Arc<Catalog>>) -> bool {
    let Work::Workflow(work) = &step.work else {
        return false;
    };
    catalog_of(&step.server).is_some_and(|catalog| {
        let mut nodes = work.graph.nodes.values();
        nodes.any(|node| catalog.node(&node.class_type).is_some_and(|n| n.api_node))
    })
}

/// Whether a server of a plan is kiln's own.
fn is_embedded(plan: &Plan, server: &ServerName) -> bool {
    let planned = plan.servers.get(server);
    planned.is_some_and(|planned| matches!(planned.kind, ServerKind::Embedded { .. }))
}

/// Where the paths of `file()` start: for `set` at the pipeline, for `--set` at the current folder.
fn folders(plan: &Plan, bare: bool) -> Vec<PathBuf> {
    if bare {
        std::env::current_dir().into_iter().collect()
    } else {
        vec![plan.pipeline_dir.clone()]
    }
}

fn of_step(
    plan: &Plan,
    step: &StepPlan,
    (tasks, catalog): (&[TaskPlan], Option<&Catalog>),
    setting: Setting<'_>,
    pictures: &mut Pictures,
    checked: &mut Checked,
) -> Vec<Diagnostic> {
    let mut told = Told::default();
    let work = match &step.work {
        Work::Workflow(work) => work,
        Work::Plugin(work) => {
            for task in tasks {
                let wrong = plan::preview_plugin(plan, task, work);
                told.add(wrong.items, task, 1);
            }
            return told.finish(tasks.len());
        }
        Work::Command(command) => {
            for task in tasks.iter().filter(|task| !task.skip) {
                let wrong = plan::preview_command(plan, task, command);
                told.add(wrong.items, task, 1);
            }
            return told.finish(tasks.len());
        }
    };
    let mut graphs: HashMap<ContentHash, usize> = HashMap::new();
    let mut different: Vec<(&TaskPlan, Rendered, usize)> = Vec::new();
    for task in tasks {
        let (rendered, wrong) = plan::preview(plan, task, work, catalog);
        told.add(wrong.items, task, 1);
        let refused = uploads::refused(&rendered, &step.server, &plan.sources, setting, pictures);
        told.add(refused, task, 1);
        if catalog.is_none() {
            continue;
        }
        let key = fingerprint(&rendered);
        if let Some(at) = graphs.get(&key) {
            different[*at].2 += 1;
        } else {
            graphs.insert(key, different.len());
            different.push((task, rendered, 1));
        }
    }
    let Some(catalog) = catalog else {
        return told.finish(tasks.len());
    };
    for (task, rendered, weight) in different {
        let found = judge(plan, step, &rendered, catalog, setting, checked);
        let found = found.into_iter();
        let mut found: Vec<_> = found.map(|d| blamed(d, work, catalog)).collect();
        found.extend(later_secrets(plan, work, &rendered));
        told.add(found, task, weight);
    }
    told.finish(tasks.len())
}

/// Inputs that will hold a secret, and are not known before the run. Of the others the graph itself tells.
fn later_secrets(plan: &Plan, work: &WorkflowStep, rendered: &Rendered) -> Vec<Diagnostic> {
    let in_file = work.in_file.iter();
    let in_file = in_file.map(|at| (&at.node, &at.input, &at.value, &at.origin));
    let edits = work.edits.iter();
    let edits = edits.map(|edit| (&edit.node, &edit.input, &edit.value, &edit.origin));
    edits
        .chain(in_file)
        .filter(|(node, input, value, _)| {
            let place = ((*node).clone(), (*input).clone());
            rendered.unknown.contains(&place) && uses_secret(value)
        })
        .filter_map(|(id, input, _, origin)| {
            let node = rendered.graph.nodes.get(id)?;
            let message = format!(
                "`{}.{input}`: a secret becomes part of the graph, which servers keep and write into the pictures they save",
                node.class_type
            );
            let warning = Diagnostic::warning(&codes::SECRET_IN_GRAPH, message)
                .at(workflow::span_of(origin, &plan.sources))
                .node(id.as_str(), &node.class_type, Some(input))
                .help(SECRET_HELP);
            Some(warning)
        })
        .collect()
}

/// Whether a value that is not known yet takes a secret.
fn uses_secret(value: &EditValue) -> bool {
    match value {
        EditValue::Later(later) => Template::parse(&later.text)
            .is_ok_and(|parsed| parsed.is_some_and(|t| t.uses().names.contains("secret"))),
        EditValue::List(items) => items.iter().any(uses_secret),
        EditValue::Map(entries) => entries.values().any(uses_secret),
        EditValue::Ready(_) | EditValue::Link { .. } => false,
    }
}

/// What is the same for tasks that need to be judged once.
fn fingerprint(rendered: &Rendered) -> ContentHash {
    let mut bytes = serde_json::to_vec(&rendered.graph).unwrap_or_default();
    for (node, input) in &rendered.unknown {
        bytes.extend_from_slice(format!("\0{node}\0{input}").as_bytes());
    }
    ContentHash::of(&bytes)
}

fn judge(
    plan: &Plan,
    step: &StepPlan,
    rendered: &Rendered,
    catalog: &Catalog,
    setting: Setting<'_>,
    checked: &mut Checked,
) -> Vec<Diagnostic> {
    let idle = idle_outputs(step, &rendered.graph, catalog);
    if !idle.is_empty() {
        // What the server would say of a job without outputs says less.
        return idle;
    }
    let mut options = JudgeOptions {
        targets: (!rendered.targets.is_empty()).then_some(&rendered.targets[..]),
        ..JudgeOptions::default()
    };
    let verdict = verdict::judge(&rendered.graph, catalog, &options);
    let mut unsure = verdict.assumed.iter();
    let unsure = unsure.any(|a| {
        !rendered
            .unknown
            .contains(&(a.node.clone(), a.input.clone()))
    });
    let guessed = verdict.replaced.iter().any(|replaced| !replaced.certain);
    checked.open |= verdict.accepted.is_none() && (unsure || guessed);
    if setting.bare {
        // What is uploaded is there when the job is sent.
        let sent = Sent::of(rendered);
        options.files = &sent;
        let answer = verdict::judge(&rendered.graph, catalog, &options);
        let mut runs: Vec<String> = answer.runs.iter().map(|id| id.0.clone()).collect();
        runs.sort();
        checked.answer = Some((answer.accepted, runs));
    }
    let mut found = verdict_diagnostics(
        &verdict,
        &rendered.graph,
        catalog,
        &rendered.origins,
        &plan.sources,
        setting,
    );
    // What an input will be is not known yet, so nothing can be said against it.
    found.retain(|diagnostic| !concerns_unknown(diagnostic, rendered));
    for diagnostic in &mut found {
        if is_mistyped(diagnostic, rendered, catalog) {
            diagnostic.severity = Severity::Error;
        }
    }
    found
}

/// Files that are sent before the graph is, by the names that stand in it.
struct Sent<'a>(HashSet<&'a str>);

impl<'a> Sent<'a> {
    fn of(rendered: &'a Rendered) -> Self {
        let names = rendered.uploads.iter().filter_map(|upload| {
            let node = rendered.graph.nodes.get(&upload.node)?;
            let value = node.inputs.get(&upload.input)?;
            value.pointer(&upload.pointer)?.as_str()
        });
        Self(names.collect())
    }
}

impl FileOracle for Sent<'_> {
    fn exists(&self, _: &str, _: &str, name: &str) -> Option<bool> {
        self.0.contains(name).then_some(true)
    }
}

/// Whether somebody typed an input for this pipeline that neither the workflow nor the class knows: a file may well be older than a
/// class, but a value that was typed for nothing is a mistake. Nodes of custom packs may take inputs that they do not declare.
fn is_mistyped(diagnostic: &Diagnostic, rendered: &Rendered, catalog: &Catalog) -> bool {
    let (Some(node), Some(input)) = (&diagnostic.node, &diagnostic.input) else {
        return false;
    };
    let class = diagnostic.class_type.as_deref().unwrap_or_default();
    let module = catalog.node(class).and_then(|n| n.python_module.as_deref());
    diagnostic.code == &codes::UNDECLARED_INPUT
        && diagnostic.severity == Severity::Warning
        && module.is_none_or(|module| !module.starts_with("custom_nodes"))
        && rendered
            .origins
            .is_added(&NodeId::from(node.as_str()), input)
}

/// Where nothing saves a result because `set` takes out the nodes that do, that is the place to look at.
fn blamed(diagnostic: Diagnostic, work: &WorkflowStep, catalog: &Catalog) -> Diagnostic {
    if diagnostic.code != &codes::NO_OUTPUTS {
        return diagnostic;
    }
    let bypassed = work.bypassed.iter();
    let bypassed = bypassed.filter_map(|(id, span)| Some((&**work.graph.nodes.get(id)?, *span)));
    let removed = work.removed.iter().map(|(node, span)| (node, *span));
    let saves = |node: &Node| {
        catalog
            .node(&node.class_type)
            .is_some_and(|n| n.output_node)
    };
    let mut gone = removed.chain(bypassed).filter(|(node, _)| saves(node));
    let Some((node, span)) = gone.next() else {
        return diagnostic;
    };
    let said = |node: &Node| format!("this takes `{}` out", node.label());
    let diagnostic = Diagnostic {
        help: Vec::new(),
        ..diagnostic
    };
    let diagnostic = diagnostic.label(span, said(node));
    let diagnostic = gone.fold(diagnostic, |d, (node, span)| d.also(span, said(node)));
    diagnostic.help("leave it in, or add another node that saves or shows something")
}

type Place = (&'static str, Option<Span>, Option<String>, Option<String>);

/// The complaints about one step's tasks.
#[derive(Default)]
struct Told {
    /// Each with the first task that it is about, and how many there are.
    items: Vec<(Diagnostic, String, usize)>,
    by_message: HashMap<(Place, String), usize>,
    by_place: HashMap<Place, Vec<usize>>,
}

impl Told {
    fn add(&mut self, found: Vec<Diagnostic>, task: &TaskPlan, weight: usize) {
        // The same words twice for one task are two complaints.
        let mut repeated: HashMap<(Place, String), usize> = HashMap::new();
        for diagnostic in found {
            let place = place(&diagnostic);
            let message = diagnostic.message.clone();
            let again = repeated
                .entry((place.clone(), message.clone()))
                .or_insert(0);
            *again += 1;
            let key = (place.clone(), format!("{message}\0{again}"));
            if let Some(at) = self.by_message.get(&key) {
                self.items[*at].2 += weight;
                continue;
            }
            let at = self.items.len();
            self.by_message.insert(key, at);
            self.by_place.entry(place).or_default().push(at);
            self.items.push((diagnostic, task.name.0.clone(), weight));
        }
    }

    /// What is said: what is not true of all tasks names one of them, and at one place only the first few are told.
    fn finish(self, tasks: usize) -> Vec<Diagnostic> {
        let mut dropped = BTreeSet::new();
        let mut more: HashMap<usize, usize> = HashMap::new();
        for all in self.by_place.values() {
            let fanned = all.iter().any(|at| self.items[*at].2 < tasks);
            if fanned && all.len() > AT_ONE_PLACE {
                let rest = &all[AT_ONE_PLACE..];
                let count = rest.iter().map(|at| self.items[*at].2).sum();
                more.insert(all[AT_ONE_PLACE - 1], count);
                dropped.extend(rest.iter().copied());
            }
        }
        let items = self.items.into_iter().enumerate();
        let kept = items.filter(|(at, _)| !dropped.contains(at));
        kept.map(|(at, (diagnostic, task, count))| {
            let diagnostic = match count {
                all if all >= tasks => diagnostic,
                1 => diagnostic.help(format!("in the task `{task}`")),
                n => diagnostic.help(format!("in the task `{task}` and {} more", n - 1)),
            };
            match more.get(&at) {
                Some(n) => diagnostic.help(format!("{n} more tasks have such values here")),
                None => diagnostic,
            }
        })
        .collect()
    }
}

fn place(diagnostic: &Diagnostic) -> Place {
    let code: &Code = diagnostic.code;
    let span = diagnostic.primary.as_ref().map(|label| label.span);
    (
        code.id,
        span,
        diagnostic.node.clone(),
        diagnostic.input.clone(),
    )
}

/// Advice on where to get node classes is given once, however many steps lack them.
fn say_once(report: &mut Report) {
    let mut said = BTreeSet::new();
    for diagnostic in &mut report.items {
        if diagnostic.code == &codes::MISSING_NODE_TYPE {
            let near = |help: &str| help.starts_with("did you mean");
            diagnostic
                .help
                .retain(|help| near(help) || said.insert(help.clone()));
        }
    }
    // What is said of a class is true of all steps that use it.
    let mut classes = BTreeSet::new();
    report.items.retain(|diagnostic| {
        let of_class = [
            codes::DEPRECATED_NODE.id,
            codes::EXPERIMENTAL_NODE.id,
            codes::NO_PARTNER_KEY.id,
        ]
        .contains(&diagnostic.code.id);
        !of_class || classes.insert((diagnostic.code.id, diagnostic.message.clone()))
    });
}

/// Entries of `outputs` whose node saves and shows nothing: the server would pass over it without a word.
fn idle_outputs(step: &StepPlan, graph: &Graph, catalog: &Catalog) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for ((name, id), span) in step.outputs.iter().zip(&step.output_spans) {
        let Some(node) = graph.nodes.get(id) else {
            continue;
        };
        if catalog
            .node(&node.class_type)
            .is_none_or(|def| def.output_node)
        {
            continue;
        }
        let saving = graph.nodes.values().filter(|node| {
            let def = catalog.node(&node.class_type);
            def.is_some_and(|def| def.output_node)
        });
        let message = format!(
            "the output `{name}` names `{}` (node {id}), which saves and shows nothing",
            node.label()
        );
        let diagnostic = Diagnostic::error(&codes::BAD_VALUE, message)
            .at(*span)
            .node(id.as_str(), &node.class_type, None);
        let help = format!(
            "nodes that do: {}",
            list_of(saving.map(|node| node.label()), 8)
        );
        found.push(diagnostic.help(help));
    }
    found
}

fn concerns_unknown(diagnostic: &Diagnostic, rendered: &plan::Rendered) -> bool {
    let (Some(node), Some(input)) = (&diagnostic.node, &diagnostic.input) else {
        return false;
    };
    // That an input does not exist is true whatever its value.
    diagnostic.code != &codes::UNDECLARED_INPUT
        && rendered
            .unknown
            .contains(&(NodeId::from(node.as_str()), input.clone()))
}
