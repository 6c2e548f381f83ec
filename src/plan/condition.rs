//! `when` and `until`: expressions that must give true or false.

use super::evaluate::{Evaluation, Reading};
use super::scope::{Results, TaskOutcome};
use super::sealed::{Plan, TaskPlan, TemplateText};
use crate::artifact::Datum;
use crate::diagnostic::{Diagnostic, Report, codes};
use crate::workflow;

/// Whether a task is to run: its step's `when`.
///
/// # Errors
/// When the expression fails, or gives neither true nor false.
pub fn condition(
    plan: &Plan,
    task: &TaskPlan,
    results: &Results,
    attempt: u32,
) -> Result<bool, Report> {
    if task.skip {
        return Ok(false);
    }
    let Some(template) = &plan.steps[&task.step].when else {
        return Ok(true);
    };
    let names = Evaluation::of_task(plan, task, results, attempt);
    decide(plan, &names, template, "when").map(|met| met.unwrap_or(true))
}

/// Whether what an attempt made is what its step's `retry.until` wants.
///
/// # Errors
/// When the expression fails, or gives neither true nor false.
pub fn until(
    plan: &Plan,
    task: &TaskPlan,
    results: &Results,
    result: &TaskOutcome,
    attempt: u32,
) -> Result<bool, Report> {
    let Some(template) = &plan.steps[&task.step].retry.until else {
        return Ok(true);
    };
    let mut names = Evaluation::of_task(plan, task, results, attempt);
    names.put_result(result);
    decide(plan, &names, template, "until").map(|met| met.unwrap_or(true))
}

/// The truth of an expression; `None` when it cannot be known yet.
pub(super) fn decide(
    plan: &Plan,
    names: &Evaluation<'_>,
    template: &TemplateText,
    key: &str,
) -> Result<Option<bool>, Report> {
    let complain = |diagnostic: Diagnostic| Report {
        items: vec![diagnostic],
    };
    match names.eval(template, Reading::Expression, key, None) {
        Ok(None) => Ok(None),
        Ok(Some(Datum::Bool(met))) => Ok(Some(met)),
        Ok(Some(other)) => {
            let span = workflow::span_of(&template.origin, &plan.sources);
            Err(complain(no_truth(key, &other).at(span)))
        }
        Err(diagnostic) => Err(complain(*diagnostic)),
    }
}

/// What is said of a value that is neither true nor false.
pub(super) fn no_truth(key: &str, value: &Datum) -> Diagnostic {
    let message = format!("`{key}` must give true or false, not {}", value.describe());
    let diagnostic = Diagnostic::error(&codes::WRONG_TYPE, message);
    diagnostic.help(match value {
        Datum::String(_) => "compare it: `… == 'text'`, or `… != ''`",
        Datum::Number(_) => "compare it: `… > 0`",
        Datum::List(_) | Datum::Map(_) => "ask how many there are: `… | length > 0`",
        _ => "compare it with something, or ask `… is not none`",
    })
}
