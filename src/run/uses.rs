//! Which steps need what a step leaves behind.

use crate::plan::{EditValue, Grow, StepPlan, Work};

/// Whether an expression of `other` uses the results of `step`.
pub(super) fn uses(other: &StepPlan, step: &StepPlan) -> bool {
    fn value(value: &EditValue, step: &StepPlan) -> bool {
        match value {
            EditValue::Later(template) => template.steps.contains(&step.id),
            EditValue::List(items) => items.iter().any(|item| value_uses(item, step)),
            EditValue::Map(entries) => entries.values().any(|item| value_uses(item, step)),
            EditValue::Ready(_) | EditValue::Link { .. } => false,
        }
    }
    use value as value_uses;
    let shapes = match &other.work {
        Work::Workflow(workflow) => {
            let edits = workflow.edits.iter().map(|edit| &edit.value);
            let in_file = workflow.in_file.iter().map(|found| &found.value);
            edits.chain(in_file).any(|shape| value(shape, step))
        }
        Work::Plugin(work) => value(&work.with, step),
        Work::Command(command) => {
            let values = command.args.iter().chain(command.env.values());
            values.chain(&command.stdin).any(|shape| value(shape, step))
        }
    };
    let follows = match &other.grow {
        Grow::Known => false,
        Grow::Later { list } => list.steps.contains(&step.id),
        Grow::Stream { from, .. } => *from == step.id,
    };
    let templates = other.save_as.iter().chain(&other.retry.until);
    shapes || follows || templates.into_iter().any(|t| t.steps.contains(&step.id))
}
