//! The tasks that are known when a plan is made.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::condition::decide;
use super::evaluate::Evaluation;
use super::expand::{self, Branch};
use super::sealed::{Grow, Plan, TaskPlan};
use super::{save_as, steps::Built};
use crate::artifact::Datum;
use crate::base::StepId;
use crate::diagnostic::{Diagnostic, Report, codes};
use crate::workflow;

/// Fills in the plan's tasks; its steps are those of `built`.
pub(super) fn fill(plan: &mut Plan, built: &IndexMap<StepId, Built>, report: &mut Report) {
    for (id, built) in built {
        let Some(groups) = branches(plan, id, built, report) else {
            continue;
        };
        let step = &plan.steps[id];
        let items = groups.iter().map(|(_, branches)| branches.len()).sum();
        if let Err(diagnostic) = expand::within_cap(step, items, plan.tasks.len(), step.span) {
            report.push(*diagnostic);
            continue;
        }
        let tasks = groups
            .into_iter()
            .flat_map(|(first, branches)| expand::tasks(step, branches, first));
        let mut tasks: Vec<TaskPlan> = tasks.collect();
        decide_all(plan, id, built, &mut tasks, report);
        same_paths(plan, id, &tasks, report);
        plan.tasks.extend(tasks);
    }
}

/// What the step's tasks are for, with the index of the first of each group; `None` while that is not known. A list that only needs
/// given results is known; its tasks are numbered as if they had followed each of those as it ended.
fn branches(
    plan: &mut Plan,
    id: &StepId,
    built: &Built,
    report: &mut Report,
) -> Option<Vec<(u32, Vec<Branch>)>> {
    let step = &plan.steps[id];
    let given = |id: &StepId| plan.given.get(id);
    let mut complain = |diagnostic: Box<Diagnostic>| report.push(*diagnostic);
    let one = |branches| vec![(0, branches)];
    let groups = match &step.grow {
        Grow::Known => one(match &built.items {
            Some(items) => expand::values(items),
            None => vec![Branch::default()],
        }),
        Grow::Later { list } if list.steps.iter().all(|step| given(step).is_some()) => {
            if let Some(outcome) = expand::whole_step(list).and_then(|from| given(&from)) {
                one(expand::of_outcomes(&outcome.tasks))
            } else {
                let nobody = TaskPlan::only(id);
                let names = Evaluation::before(plan, &nobody);
                let items = expand::items(plan, &names, list);
                let items = items.map_err(&mut complain).ok()??;
                one(expand::values(&items))
            }
        }
        Grow::Stream { from, list } if given(from).is_some() => {
            let outcome = given(from)?;
            match list {
                None => {
                    let each = outcome
                        .tasks
                        .iter()
                        .zip(expand::of_outcomes(&outcome.tasks));
                    each.map(|(task, branch)| (expand::first_of(step, task), vec![branch]))
                        .collect()
                }
                Some(list) => {
                    let mut all = Vec::new();
                    for task in &outcome.tasks {
                        let nobody = TaskPlan::only(id);
                        let mut names = Evaluation::before(plan, &nobody);
                        names.put_step(from, &expand::alone(task));
                        let items = expand::items(plan, &names, list);
                        let items = items.map_err(&mut complain).ok()??;
                        all.push((0, expand::of_parts(task, expand::values(&items))));
                    }
                    all
                }
            }
        }
        Grow::Later { .. } | Grow::Stream { .. } => return None,
    };
    if let Some(step) = plan.steps.get_mut(id) {
        step.grow = Grow::Known;
    }
    Some(groups)
}

/// `when`, for every task for which it can be known.
fn decide_all(
    plan: &mut Plan,
    id: &StepId,
    built: &Built,
    tasks: &mut [TaskPlan],
    report: &mut Report,
) {
    if let Some(runs) = built.runs {
        for task in tasks.iter_mut() {
            task.skip = !runs;
        }
        return;
    }
    let Some(template) = plan.steps[id].when.clone() else {
        return;
    };
    let mut decided = true;
    for task in tasks.iter_mut() {
        let names = Evaluation::before(plan, task);
        match decide(plan, &names, &template, "when") {
            Ok(Some(met)) => task.skip = !met,
            Ok(None) => {
                decided = false;
                break;
            }
            Err(wrong) => {
                // It is the same for every task.
                report.extend(wrong.items);
                return;
            }
        }
    }
    if decided && let Some(step) = plan.steps.get_mut(id) {
        step.when = None;
    }
}

/// Paths of `save_as` that two tasks share whatever they make.
fn same_paths(plan: &Plan, id: &StepId, tasks: &[TaskPlan], report: &mut Report) {
    let step = &plan.steps[id];
    let Some(template) = step.save_as.as_ref().filter(|_| tasks.len() > 1) else {
        return;
    };
    let mut taken: HashMap<String, &TaskPlan> = HashMap::new();
    for task in tasks.iter().filter(|task| !task.skip) {
        let mut names = Evaluation::before(plan, task);
        names.forget("file");
        let path = match save_as::path(plan, &names, template) {
            Ok(Some(path)) => path,
            Ok(None) => return,
            Err(diagnostic) => {
                report.push(*diagnostic);
                return;
            }
        };
        if let Some(first) = taken.insert(path.clone(), task) {
            let span = workflow::span_of(&template.origin, &plan.sources);
            let message = format!(
                "`{}` and `{}` would both be saved as `{path}`",
                first.name, task.name
            );
            report.push(
                Diagnostic::error(&codes::SAME_OUTPUT_PATH, message)
                    .at(span)
                    .help(tell_apart(task)),
            );
            return;
        }
    }
}

fn tell_apart(task: &TaskPlan) -> String {
    let name = match (task.matrix.keys().next(), &task.item) {
        (Some(key), _) => format!("matrix.{key}"),
        (None, Some(super::sealed::Item::Value(Datum::String(_)))) => "item | slug".to_owned(),
        _ => "task.index".to_owned(),
    };
    format!("let the name say which task it is for, e.g. with `{{{{ {name} }}}}`")
}
