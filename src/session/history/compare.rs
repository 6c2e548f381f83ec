//! What differs between two runs.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use super::find::History;
use super::standing::{Standing, TaskStanding};
use crate::artifact::{Artifact, Datum};
use crate::base::{Input, RunId};
use crate::diagnostic::Diagnostic;
use crate::plan::{EditValue, Plan, StepPlan, Work, WorkflowStep};
use crate::report::plural;

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind of thing: `params`, `inputs`, `plan`, `tasks` or `outputs`.
    pub about: &'static str,
    /// Which one.
    pub what: String,
    /// In the first run; `None`: there is none.
    pub old: Option<String>,
    /// In the second run; `None`: there is none.
    pub new: Option<String>,
}

/// Two runs beside each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What differs.
    pub found: Vec<Difference>,
    /// How many things of each kind are the same, in the order in which kinds are told.
    pub same: IndexMap<&'static str, usize>,
}

/// Named things with their values, in order.
type Values = IndexMap<String, String>;

/// Compares two runs: what they were given, what that made of their plans, how their tasks ended and what came out.
///
/// # Errors
/// When the state cannot be read.
pub fn compare(history: &History, old: &RunId, new: &RunId) -> Result<Comparison, Box<Diagnostic>> {
    let old = history.standing(old)?;
    let new = history.standing(new)?;
    Ok(differences(&old, &new))
}

pub(super) fn differences(old: &(Plan, Standing), new: &(Plan, Standing)) -> Comparison {
    type View = fn(&(Plan, Standing)) -> Values;
    let views: [(&'static str, View); 5] = [
        ("params", |(plan, _)| params(plan)),
        ("inputs", |(plan, _)| inputs(plan)),
        ("plan", |(plan, _)| settings(plan)),
        ("tasks", |(_, standing)| statuses(standing)),
        ("outputs", |(_, standing)| outputs(standing)),
    ];
    let mut comparison = Comparison::default();
    for (about, view) in views {
        let (old, new) = (view(old), view(new));
        let same = new
            .iter()
            .filter(|(what, value)| old.get(*what) == Some(value));
        comparison.same.insert(about, same.count());
        comparison.found.extend(between(about, &old, &new));
    }
    comparison
}

/// In the order of the second run; what only the first one has comes last.
fn between(about: &'static str, old: &Values, new: &Values) -> Vec<Difference> {
    let gone = old.keys().filter(|what| !new.contains_key(*what));
    new.keys()
        .chain(gone)
        .filter(|what| old.get(*what) != new.get(*what))
        .map(|what| Difference {
            about,
            what: what.clone(),
            old: old.get(what).cloned(),
            new: new.get(what).cloned(),
        })
        .collect()
}

fn params(plan: &Plan) -> Values {
    plan.params
        .iter()
        .map(|(name, param)| (name.clone(), datum(&param.value)))
        .collect()
}

/// Files by content; what else was read before the run only as far as it is no secret.
fn inputs(plan: &Plan) -> Values {
    let named = |path: &Path| {
        let inside = path.strip_prefix(&plan.project_dir).unwrap_or(path);
        inside.display().to_string()
    };
    plan.inputs
        .iter()
        .map(|input| match input {
            Input::Secret { name, set } => (
                format!("secret {name}"),
                if *set { "set" } else { "unset" }.to_owned(),
            ),
            Input::File { path, hash, .. } => (
                named(path),
                hash.map_or_else(|| "missing".to_owned(), |hash| short(&hash)),
            ),
            Input::Stdin { hash } => ("stdin".to_owned(), short(hash)),
            Input::Env { name, value } => (
                format!("${name}"),
                value.map_or_else(|| "unset".to_owned(), |hash| short(&hash)),
            ),
            Input::Presence { path, there } => (
                format!("whether {} is there", named(path)),
                if *there { "yes" } else { "no" }.to_owned(),
            ),
            Input::Glob {
                folder,
                pattern,
                matches,
            } => {
                let files: Vec<String> = matches.iter().map(|path| named(path)).collect();
                (named(&folder.join(pattern)), files.join(", "))
            }
        })
        .collect()
}

/// Everything in the plan that shapes the run, by the name that people know it by.
fn settings(plan: &Plan) -> Values {
    let mut values = Values::new();
    values.insert("seed".to_owned(), plan.seed.to_string());
    for (name, limit) in &plan.limits {
        values.insert(format!("limits.{name}"), limit.to_string());
    }
    if let Some(most) = plan.max_parallel {
        values.insert("max_parallel".to_owned(), most.to_string());
    }
    for (name, server) in &plan.servers {
        let kind = serde_json::to_value(&server.kind).unwrap_or_default();
        values.insert(format!("server {name}"), compact(&kind));
        values.insert(
            format!("server {name}.max_jobs"),
            server.max_jobs.to_string(),
        );
    }
    for (id, step) in &plan.steps {
        values.insert(format!("step {id}"), "there".to_owned());
        of_step(step, &mut values);
    }
    values
}

fn of_step(step: &StepPlan, values: &mut Values) {
    let id = &step.id;
    match &step.work {
        Work::Workflow(workflow) => {
            for ((node, input), value) in of_workflow(workflow) {
                values.insert(format!("{id}.{node}.{input}"), value);
            }
        }
        Work::Plugin(work) => {
            values.insert(format!("{id}.plugin"), work.plugin.clone());
            values.insert(format!("{id}.with"), edit(&work.with));
        }
        Work::Command(command) => {
            let words: Vec<String> = command.args.iter().map(edit).collect();
            values.insert(format!("{id}.command"), words.join(" "));
            for (name, value) in &command.env {
                values.insert(format!("{id}.env.{name}"), edit(value));
            }
            if let Some(stdin) = &command.stdin {
                values.insert(format!("{id}.stdin"), edit(stdin));
            }
        }
    }
    let Ok(Value::Object(mut all)) = serde_json::to_value(step) else {
        return;
    };
    of_matrix(step, values);
    // What is compared above, and where things stand in files.
    for skipped in ["id", "work", "span", "output_spans", "matrix"] {
        all.remove(skipped);
    }
    for (key, mut value) in all {
        without_places(&mut value);
        if value.as_object().is_some_and(serde_json::Map::is_empty) || value.is_null() {
            continue;
        }
        values.insert(format!("{id}.{key}"), compact(&value));
    }
}

/// What a step fans out over: the values of each key, and how many of their combinations there are.
fn of_matrix(step: &StepPlan, values: &mut Values) {
    let id = &step.id;
    let Some(first) = step.matrix.first().filter(|first| !first.is_empty()) else {
        return;
    };
    for key in first.keys() {
        let mut all: Vec<String> = Vec::new();
        for value in step.matrix.iter().filter_map(|one| one.get(key)) {
            let value = match value {
                Datum::String(text) => text.clone(),
                value => datum(value),
            };
            if !all.contains(&value) {
                all.push(value);
            }
        }
        values.insert(format!("{id}.matrix.{key}"), all.join(", "));
    }
    let count = step.matrix.len();
    values.insert(format!("{id}.matrix"), plural(count, "combination"));
}

/// The inputs of all nodes, as far as they are known, under what people call the node.
fn of_workflow(workflow: &WorkflowStep) -> BTreeMap<(String, String), String> {
    let mut values = BTreeMap::new();
    let label = |id: &crate::base::NodeId| match workflow.graph.nodes.get(id) {
        Some(node) => format!("{} (node {id})", node.label()),
        None => format!("node {id}"),
    };
    for (id, node) in &workflow.graph.nodes {
        for (input, value) in &node.inputs {
            values.insert((label(id), input.clone()), compact(value));
        }
        values.insert((label(id), "class".to_owned()), node.class_type.clone());
    }
    for in_file in &workflow.in_file {
        let name = format!("{}{}", in_file.input, in_file.pointer);
        values.insert((label(&in_file.node), name), edit(&in_file.value));
    }
    for change in &workflow.edits {
        values.insert(
            (label(&change.node), change.input.clone()),
            edit(&change.value),
        );
    }
    values
}

fn statuses(standing: &Standing) -> Values {
    standing
        .tasks
        .iter()
        .map(|task| (task.task.to_string(), status(task)))
        .collect()
}

/// A result taken from the cache is as good as one made anew.
fn status(task: &TaskStanding) -> String {
    use super::standing::State;
    match task.status {
        State::Cached => State::Done.word().to_owned(),
        status => status.word().to_owned(),
    }
}

fn outputs(standing: &Standing) -> Values {
    let mut values = Values::new();
    for task in &standing.tasks {
        for artifact in &task.outputs {
            values.insert(
                format!("{} {}", task.task, named(artifact)),
                short(&artifact.hash),
            );
        }
    }
    values
}

fn named(artifact: &Artifact) -> String {
    match &artifact.output {
        Some(output) => format!("{output}[{}]", artifact.index),
        None => format!("result {}", artifact.index + 1),
    }
}

fn datum(value: &Datum) -> String {
    match value {
        Datum::File(file) => format!("{} ({})", file.path.display(), short(&file.hash)),
        value => compact(&value.to_json()),
    }
}

fn edit(value: &EditValue) -> String {
    match value {
        EditValue::Ready(value) => datum(value),
        EditValue::Later(text) => text.text.clone(),
        EditValue::List(members) => {
            let members: Vec<String> = members.iter().map(edit).collect();
            format!("[{}]", members.join(", "))
        }
        EditValue::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(name, value)| format!("{name}: {}", edit(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        EditValue::Link { node, slot } => format!("[\"{node}\",{slot}]"),
    }
}

/// Takes out of a value where its parts stand: a moved line is no difference.
fn without_places(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for place in ["span", "origin", "key_span", "spans"] {
                members.shift_remove(place);
            }
            members.values_mut().for_each(without_places);
        }
        Value::Array(members) => members.iter_mut().for_each(without_places),
        _ => {}
    }
}

fn compact(value: &Value) -> String {
    value.to_string()
}

fn short(hash: &crate::base::ContentHash) -> String {
    hash.to_hex()[..12].to_owned()
}
