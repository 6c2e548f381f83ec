//! `--to`, `--from` and `--only`: which steps are run, and which are seen by their earlier results.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::scope::StepOutcome;
use super::sealed::{EditValue, Grow, StepPlan, TemplateText, Work};
use super::settings::{Settings, StepFlag};
use super::steps::Built;
use crate::base::StepId;
use crate::diagnostic::{Diagnostic, Report, codes, list_of};

/// Finds what a step made the last time it was run to its end, if its files are there still.
#[derive(Clone, Copy)]
pub struct Earlier<'a>(pub &'a dyn Fn(&StepId) -> Option<Arc<StepOutcome>>);

impl std::fmt::Debug for Earlier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Earlier").finish_non_exhaustive()
    }
}

/// Results of steps that are not run.
pub(super) type Given = IndexMap<StepId, Arc<StepOutcome>>;

/// Leaves in `steps` what is to be run.
pub(super) fn select(
    steps: &mut IndexMap<StepId, Built>,
    declared: &[String],
    settings: &Settings,
    earlier: Option<Earlier<'_>>,
    report: &mut Report,
) -> Given {
    let mut given = Given::new();
    if settings.force {
        for built in steps.values_mut() {
            built.step.force = true;
        }
    }
    let to = known(&settings.to, declared, report);
    let from = known(&settings.from, declared, report);
    let only = known(&settings.only, declared, report);
    if !settings.only.is_empty() {
        if let Some(flag) = settings.to.first().or(settings.from.first()) {
            let message = "`--only` names exactly the steps that are run, and goes with neither `--to` nor `--from`";
            report.push(Diagnostic::error(&codes::BAD_ARGUMENT, message).at(flag.span));
            return given;
        }
        exactly(steps, &only, settings, earlier, &mut given, report);
        return given;
    }
    if settings.to.is_empty() && settings.from.is_empty() {
        return given;
    }
    let mut wanted: BTreeSet<StepId> = steps.keys().cloned().collect();
    if !settings.from.is_empty() {
        let after = dependants(steps, from);
        for (id, built) in steps.iter_mut() {
            built.step.force |= after.contains(id);
        }
        wanted = after;
    }
    if !settings.to.is_empty() {
        let before = needed(steps, to);
        wanted.retain(|id| before.contains(id));
        // What lies between two steps that have nothing to do with each other is nothing; the named ones are wanted all the same.
        if wanted.is_empty() {
            wanted = before;
        }
    }
    let wanted = needed(steps, wanted);
    steps.retain(|id, _| wanted.contains(id));
    given
}

/// The steps that flags name; others are complained about.
fn known(flags: &[StepFlag], declared: &[String], report: &mut Report) -> BTreeSet<StepId> {
    let mut found = BTreeSet::new();
    for flag in flags {
        if declared.contains(&flag.step) {
            found.insert(StepId::from(flag.step.as_str()));
        } else {
            report.push(unknown(flag, declared));
        }
    }
    found
}

fn unknown(flag: &StepFlag, declared: &[String]) -> Diagnostic {
    let known = || declared.iter().map(String::as_str);
    Diagnostic::error(
        &codes::UNKNOWN_STEP,
        format!("the pipeline has no step `{}`", flag.step),
    )
    .at(flag.span)
    .suggest(&flag.step, known())
    .help(format!("its steps are {}", list_of(known(), 12)))
}

/// These steps and all that they need.
fn needed(steps: &IndexMap<StepId, Built>, from: BTreeSet<StepId>) -> BTreeSet<StepId> {
    let mut open: Vec<StepId> = from.into_iter().collect();
    let mut all = BTreeSet::new();
    while let Some(id) = open.pop() {
        if let Some(built) = steps.get(&id)
            && all.insert(id)
        {
            open.extend(built.step.needs.iter().map(|need| need.step.clone()));
        }
    }
    all
}

/// These steps and all that need them.
fn dependants(steps: &IndexMap<StepId, Built>, from: BTreeSet<StepId>) -> BTreeSet<StepId> {
    let mut all = from;
    loop {
        let more: Vec<StepId> = steps
            .iter()
            .filter(|(id, built)| {
                !all.contains(*id) && built.step.needs.iter().any(|n| all.contains(&n.step))
            })
            .map(|(id, _)| id.clone())
            .collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn exactly(
    steps: &mut IndexMap<StepId, Built>,
    only: &BTreeSet<StepId>,
    settings: &Settings,
    earlier: Option<Earlier<'_>>,
    given: &mut Given,
    report: &mut Report,
) {
    steps.retain(|id, _| only.contains(id));
    for (id, built) in steps.iter_mut() {
        let used = used(&built.step);
        let flag = settings.only.iter().find(|flag| flag.step == id.0);
        for need in used.iter().filter(|need| !only.contains(*need)) {
            if given.contains_key(need) {
                continue;
            }
            if let Some(outcome) = earlier.and_then(|earlier| earlier.0(need)) {
                given.insert(need.clone(), outcome);
                continue;
            }
            let message = format!(
                "`{id}` needs the results of `{need}`, and there are none from an earlier run"
            );
            let mut diagnostic = Diagnostic::error(&codes::NO_EARLIER_RESULTS, message);
            if let Some(flag) = flag {
                diagnostic = diagnostic.at(flag.span);
            }
            report
                .push(diagnostic.help(format!("run `--to {need}` first, or `--to {id}` for both")));
        }
        built.step.needs.retain(|need| only.contains(&need.step));
    }
}

/// The steps whose results a step uses; others that it waits for only set an order.
pub(super) fn used(step: &StepPlan) -> BTreeSet<StepId> {
    let mut used = BTreeSet::new();
    let mut note = |template: &TemplateText| used.extend(template.steps.iter().cloned());
    let single = [&step.when, &step.save_as, &step.retry.until];
    single.into_iter().flatten().for_each(&mut note);
    match &step.work {
        Work::Workflow(work) => {
            let in_file = work.in_file.iter().map(|found| &found.value);
            for value in in_file.chain(work.edits.iter().map(|edit| &edit.value)) {
                templates(value, &mut note);
            }
        }
        Work::Plugin(work) => templates(&work.with, &mut note),
        Work::Command(command) => {
            let values = command.args.iter().chain(command.env.values());
            for value in values.chain(&command.stdin) {
                templates(value, &mut note);
            }
        }
    }
    match &step.grow {
        Grow::Known => {}
        Grow::Later { list } => note(list),
        Grow::Stream { from, .. } => {
            used.insert(from.clone());
        }
    }
    used
}

fn templates(value: &EditValue, note: &mut impl FnMut(&TemplateText)) {
    match value {
        EditValue::Ready(_) | EditValue::Link { .. } => {}
        EditValue::Later(template) => note(template),
        EditValue::List(items) => items.iter().for_each(|item| templates(item, note)),
        EditValue::Map(entries) => entries.values().for_each(|item| templates(item, note)),
    }
}
