//! Fan-out: the tasks of a step from its items and the combinations of its matrix.
//!
//! The same code makes the tasks that are known when the plan is made and those that become known while it runs, so that names and
//! order never depend on which of the two it was.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::evaluate::{Evaluation, Reading};
use super::naming::{self, Namer};
use super::scope::{Results, StepOutcome, TaskOutcome};
use super::sealed::{Grow, Item, MAX_TASKS, Plan, StepPlan, TaskIx, TaskPlan, TemplateText};
use crate::artifact::Datum;
use crate::base::StepId;
use crate::diagnostic::{Diagnostic, Report, Span, codes, thousands};
use crate::template::Template;
use crate::workflow;

/// What the tasks of one item have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    /// What it adds to names.
    pub(super) parts: Vec<String>,
    /// Its place in every list that led to it.
    pub(super) order: Vec<u32>,
    /// The item.
    pub(super) item: Option<Item>,
    /// The task that it streams from.
    pub(super) source: Option<TaskIx>,
}

/// The tasks that a step gets while the run goes on: from the list that all its needs allow, or (`source`) for one task of the step
/// that it streams from.
///
/// # Errors
/// When the list cannot be made, is none, or is too long.
pub fn expand(
    plan: &Plan,
    step: &StepId,
    source: Option<(TaskIx, &TaskOutcome)>,
    results: &Results,
) -> Result<Vec<TaskPlan>, Report> {
    let Some(step) = plan.steps.get(step) else {
        return Ok(Vec::new());
    };
    let grown = match (&step.grow, source) {
        (Grow::Later { list }, _) => later(plan, list, results).map(|items| (0, items)),
        (Grow::Stream { from, list }, Some((ix, outcome))) => {
            streamed(plan, from, list.as_ref(), (ix, outcome), results).map(|items| {
                let first = match list {
                    None => first_of(step, outcome),
                    Some(_) => 0,
                };
                (first, items)
            })
        }
        (Grow::Known | Grow::Stream { .. }, _) => return Ok(Vec::new()),
    };
    grown
        .and_then(|(first, branches)| {
            within_cap(
                step,
                branches.len(),
                plan.tasks.len(),
                list_span(plan, step),
            )?;
            Ok(tasks(step, branches, first))
        })
        .map_err(|diagnostic| Report {
            items: vec![*diagnostic],
        })
}

/// The index of the first task that follows a task of another step, where each task of that step is followed by as many.
pub(super) fn first_of(step: &StepPlan, source: &TaskOutcome) -> u32 {
    source.index.saturating_mul(count(step.matrix.len()))
}

/// Whether a run that has `known` tasks may get `more` for a step.
///
/// # Errors
/// When that would be more than a run may have.
pub fn room_for(plan: &Plan, step: &StepId, known: usize, more: usize) -> Result<(), Report> {
    if known.saturating_add(more) <= MAX_TASKS {
        return Ok(());
    }
    let span = plan.steps.get(step).and_then(|step| list_span(plan, step));
    let what = format!("the run has {} tasks by now", thousands(known));
    Err(Report {
        items: vec![too_many(step, more, known, &what, span)],
    })
}

/// What stands for the tasks of a step that are not known yet: one for each combination of its matrix, for nothing in particular.
pub fn samples(step: &StepPlan) -> Vec<TaskPlan> {
    match step.grow {
        Grow::Known => Vec::new(),
        _ => tasks(step, vec![Branch::default()], 0),
    }
}

fn later(
    plan: &Plan,
    list: &TemplateText,
    results: &Results,
) -> Result<Vec<Branch>, Box<Diagnostic>> {
    if let Some(from) = whole_step(list) {
        let outcome = results.steps.get(&from).or_else(|| plan.given.get(&from));
        let tasks = outcome.map(|outcome| outcome.tasks.as_slice());
        return Ok(of_outcomes(tasks.unwrap_or_default()));
    }
    let names = Evaluation::of_run(plan, results);
    Ok(values(&items(plan, &names, list)?.unwrap_or_default()))
}

fn streamed(
    plan: &Plan,
    from: &StepId,
    list: Option<&TemplateText>,
    (ix, outcome): (TaskIx, &TaskOutcome),
    results: &Results,
) -> Result<Vec<Branch>, Box<Diagnostic>> {
    let Some(list) = list else {
        return Ok(vec![Branch {
            parts: vec![outcome.name.0.clone()],
            order: outcome.order.clone(),
            item: Some(Item::Task(ix)),
            source: Some(ix),
        }]);
    };
    let mut names = Evaluation::of_run(plan, results);
    names.put_step(from, &alone(outcome));
    let items = items(plan, &names, list)?.unwrap_or_default();
    let mut branches = of_parts(outcome, values(&items));
    for branch in &mut branches {
        branch.source = Some(ix);
    }
    Ok(branches)
}

/// A step that made nothing but what this task made.
pub(super) fn alone(outcome: &TaskOutcome) -> StepOutcome {
    StepOutcome {
        status: outcome.status.clone(),
        tasks: vec![std::sync::Arc::new(outcome.clone())],
    }
}

/// The items of a list of one task: its name comes before theirs, its place before theirs.
pub(super) fn of_parts(outcome: &TaskOutcome, items: Vec<Branch>) -> Vec<Branch> {
    items
        .into_iter()
        .map(|item| Branch {
            parts: std::iter::once(outcome.name.0.clone())
                .chain(item.parts)
                .collect(),
            order: outcome.order.iter().copied().chain(item.order).collect(),
            ..item
        })
        .collect()
}

/// One item for each result of an ended task.
pub(super) fn of_outcomes(tasks: &[Arc<TaskOutcome>]) -> Vec<Branch> {
    let tasks = tasks.iter().zip(0..);
    tasks
        .map(|(outcome, at)| Branch {
            parts: vec![outcome.name.0.clone()],
            order: vec![at],
            item: Some(Item::Given(outcome.clone())),
            source: None,
        })
        .collect()
}

/// One item for each member of a list.
pub(super) fn values(items: &[Datum]) -> Vec<Branch> {
    items
        .iter()
        .enumerate()
        .map(|(at, value)| Branch {
            parts: vec![naming::part(value, at)],
            order: vec![count(at)],
            item: Some(Item::Value(value.clone())),
            source: None,
        })
        .collect()
}

/// The step of a `for_each` that is `steps.X` or `steps.X.tasks`.
pub(super) fn whole_step(list: &TemplateText) -> Option<StepId> {
    let path = Template::parse_expression(&list.text).ok()?.path()?;
    match path
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["steps", step] | ["steps", step, "tasks"] => Some(StepId::from(*step)),
        _ => None,
    }
}

/// The members of the list that a `for_each` gives; `None` when it cannot be known yet.
pub(super) fn items(
    plan: &Plan,
    names: &Evaluation<'_>,
    list: &TemplateText,
) -> Result<Option<Vec<Datum>>, Box<Diagnostic>> {
    match names.eval(list, Reading::Expression, "for_each", None)? {
        None => Ok(None),
        Some(Datum::List(items)) => Ok(Some(items)),
        Some(other) => {
            let span = workflow::span_of(&list.origin, &plan.sources);
            Err(Box::new(no_list(&other).at(span)))
        }
    }
}

/// What is said of a `for_each` that gives no list.
pub(super) fn no_list(value: &Datum) -> Diagnostic {
    let message = format!("`for_each` must give a list, not {}", value.describe());
    let diagnostic = Diagnostic::error(&codes::WRONG_TYPE, message);
    match value {
        Datum::Map(_) => diagnostic.help("`… | items` makes a list of its entries"),
        Datum::Number(_) => diagnostic.help("count with `range(…)`"),
        Datum::String(_) => {
            diagnostic.help("take it apart, e.g. with `… | lines`, or write `[…]` around it")
        }
        Datum::Artifact(_) => diagnostic.help("the plural accessors give lists, such as `.images`"),
        _ => diagnostic,
    }
}

/// The product of a step's items and its matrix, items outermost. `first` is the index of the first task.
pub(super) fn tasks(step: &StepPlan, branches: Vec<Branch>, first: u32) -> Vec<TaskPlan> {
    let fanned = step
        .matrix
        .iter()
        .any(|combination| !combination.is_empty());
    let places = places(&step.matrix);
    let combinations: Vec<Vec<String>> = step
        .matrix
        .iter()
        .map(|combination| naming::of_matrix(combination, |key, value| place(&places, key, value)))
        .collect();
    let mut names = Namer::default();
    let mut tasks = Vec::with_capacity(branches.len() * combinations.len());
    for branch in branches {
        for (at, (matrix, parts)) in step.matrix.iter().zip(&combinations).enumerate() {
            let mut all = branch.parts.clone();
            all.extend(parts.iter().cloned());
            let mut order = branch.order.clone();
            order.extend(fanned.then(|| count(at)));
            tasks.push(TaskPlan {
                name: names.name(&step.id, &all, tasks.len()),
                step: step.id.clone(),
                index: first.saturating_add(count(tasks.len())),
                order,
                matrix: Arc::clone(matrix),
                item: branch.item.clone(),
                needs: branch.source.into_iter().collect(),
                skip: false,
            });
        }
    }
    tasks
}

/// For each key of a matrix, the place of each value that may have to be told by it.
type Places = HashMap<String, HashMap<String, usize>>;

fn places(matrix: &[Arc<IndexMap<String, Datum>>]) -> Places {
    let mut places = Places::new();
    for (key, value) in matrix.iter().flat_map(|combination| combination.iter()) {
        if !told_by_place(value) {
            continue;
        }
        if !places.contains_key(key) {
            places.insert(key.clone(), HashMap::new());
        }
        if let Some(seen) = places.get_mut(key) {
            let next = seen.len();
            seen.entry(value.identity()).or_insert(next);
        }
    }
    places
}

fn told_by_place(value: &Datum) -> bool {
    !matches!(value, Datum::Null | Datum::Bool(_) | Datum::Number(_))
}

fn place(places: &Places, key: &str, value: &Datum) -> usize {
    if !told_by_place(value) {
        return 0;
    }
    let seen = places.get(key);
    let place = seen.and_then(|seen| seen.get(&value.identity()));
    place.copied().unwrap_or_default()
}

/// Refuses more tasks than a plan may have, and says what multiplies.
pub(super) fn within_cap(
    step: &StepPlan,
    items: usize,
    others: usize,
    span: Option<Span>,
) -> Result<(), Box<Diagnostic>> {
    let own = items.saturating_mul(step.matrix.len());
    if own.saturating_add(others) <= MAX_TASKS {
        return Ok(());
    }
    let mut what = Vec::new();
    if items != 1 || step.matrix.len() == 1 {
        what.push(format!("`for_each` has {} items", thousands(items)));
    }
    if step.matrix.len() > 1 {
        what.push(format!(
            "`matrix` has {} combinations",
            thousands(step.matrix.len())
        ));
    }
    Err(Box::new(too_many(
        &step.id,
        own,
        others,
        &what.join(", "),
        span,
    )))
}

/// What is said of a step with more tasks than a plan may have.
pub(super) fn too_many(
    step: &StepId,
    own: usize,
    others: usize,
    what: &str,
    span: Option<Span>,
) -> Diagnostic {
    let beside = match others {
        0 => String::new(),
        others => format!(" beside {} others", thousands(others)),
    };
    let message = format!(
        "the step `{step}` would have {} tasks{beside}, and a pipeline may have {}",
        thousands(own),
        thousands(MAX_TASKS)
    );
    let mut diagnostic = Diagnostic::error(&codes::TOO_MANY_TASKS, message);
    if let Some(span) = span {
        diagnostic = diagnostic.at(span);
    }
    diagnostic
        .help(what.to_owned())
        .help("run it in parts, with a param that chooses which")
}

fn list_span(plan: &Plan, step: &StepPlan) -> Option<Span> {
    match &step.grow {
        Grow::Later { list }
        | Grow::Stream {
            list: Some(list), ..
        } => Some(workflow::span_of(&list.origin, &plan.sources)),
        _ => step.span,
    }
}

pub(super) fn count(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// An expression without the `{{ }}` that it may wear.
pub(super) fn bare(text: &str) -> &str {
    let inside = text.trim();
    inside
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .map_or(inside, str::trim)
}
