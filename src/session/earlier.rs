//! What steps made in earlier runs, for `--only`: the newest run in which the step went to its end and whose files are there still.

use std::path::Path;
use std::sync::Arc;

use super::history::{Standing, State, TaskStanding};
use crate::base::StepId;
use crate::event::RunStatus;
use crate::machine::Fact;
use crate::plan::{Grow, Item, Plan, StepOutcome, TaskOutcome, TaskPlan};
use crate::store::{self, Reader, StoredRun};

/// How many runs are looked through.
const MOST_RUNS: usize = 50;

/// The results of a step of a pipeline; `None` when there are none that can be used.
pub(super) fn earlier(project: &Path, pipeline: &str, step: &StepId) -> Option<Arc<StepOutcome>> {
    // A state that cannot be read has nothing to give; whoever needs to write to it says what is wrong.
    let reader = store::read(project).ok()??;
    let mut runs = reader.runs().ok()?;
    runs.retain(|run| run.pipeline == pipeline);
    runs.sort_by_key(|run| std::cmp::Reverse(run.started));
    runs.iter()
        .take(MOST_RUNS)
        .find_map(|run| of_run(&reader, run, step))
}

fn of_run(reader: &Reader, run: &StoredRun, step: &StepId) -> Option<Arc<StepOutcome>> {
    let replay = reader.replay(&run.run).ok()??;
    let plan = replay.plan;
    if let Some(given) = plan.given.get(step) {
        return is_there(given).then(|| Arc::clone(given));
    }
    let planned = plan.steps.get(step)?;
    // Whether all tasks of a step that grew are known only the end of the run tells.
    if planned.grow != Grow::Known && run.status != Some(RunStatus::Done) {
        return None;
    }
    let mut standing = Standing::new(&plan);
    let mut tasks: Vec<TaskPlan> = plan.tasks.clone();
    for (at, fact) in &replay.facts {
        if let Fact::Expanded { tasks: more, .. } = fact {
            tasks.extend(more.iter().cloned());
        }
        standing.apply(*at, fact);
    }
    let outcome = outcome(&plan, step, &tasks, &standing)?;
    is_there(&outcome).then(|| Arc::new(outcome))
}

/// What the step made, if every task of it that was to run did.
fn outcome(
    plan: &Plan,
    step: &StepId,
    tasks: &[TaskPlan],
    standing: &Standing,
) -> Option<StepOutcome> {
    let mut made: Vec<Arc<TaskOutcome>> = Vec::new();
    for (task, stands) in tasks.iter().zip(&standing.tasks) {
        if task.step != *step {
            continue;
        }
        let status = match stands.status {
            State::Done => "done",
            State::Cached => "cached",
            State::Skipped if plan.steps[step].when.is_some() || task.skip => continue,
            _ => return None,
        };
        made.push(Arc::new(told(task, status, stands, tasks, standing)));
    }
    made.sort_by(|a, b| a.order.cmp(&b.order));
    let status = "done".to_owned();
    (!made.is_empty()).then_some(StepOutcome {
        status,
        tasks: made,
    })
}

/// What a task made, with what the task made that it followed.
fn told(
    task: &TaskPlan,
    status: &str,
    stands: &TaskStanding,
    tasks: &[TaskPlan],
    standing: &Standing,
) -> TaskOutcome {
    let outcome = TaskOutcome::of(task, status, stands.outputs.clone());
    let Some(Item::Task(source)) = task.item else {
        return outcome;
    };
    let at = source.0 as usize;
    let source = tasks.get(at).zip(standing.tasks.get(at));
    let source = source.map(|(task, stands)| Arc::new(told(task, "done", stands, tasks, standing)));
    outcome.following(source.as_ref())
}

/// Whether every file of it is where it was.
fn is_there(outcome: &StepOutcome) -> bool {
    let artifacts = outcome.tasks.iter().flat_map(|task| &task.artifacts);
    let mut paths = artifacts.filter_map(|artifact| artifact.path.as_ref());
    paths.all(|path| path.is_file())
}
