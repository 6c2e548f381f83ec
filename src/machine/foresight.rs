//! For tests: how every task and step of an orderly world must end, worked out from the pipeline alone, step by step in file order.

use std::collections::BTreeMap;

use super::scenario::{Fate, Scenario, TaskId};
use super::*;
use crate::event::TaskStatus;

/// How a task must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ran,
    Failed,
    /// Not wanted.
    Unwanted,
    /// It could not run, since something failed (`true`), or was not wanted.
    Kept(bool),
}

/// How a step must end.
#[derive(Clone, Debug)]
pub(super) struct StepEnd {
    pub(super) status: StepStatus,
    /// None of its tasks may run. Which of them become known, and those of steps that stream from it, depends on when things happen.
    pub(super) doomed: bool,
    pub(super) tasks: BTreeMap<TaskId, End>,
}

/// How all steps must end when every failure stops only what depends on it.
pub(super) fn foresee(scenario: &Scenario) -> Vec<StepEnd> {
    let mut ends: Vec<StepEnd> = Vec::new();
    for at in 0..scenario.shape.steps.len() {
        let step = StepIx(u32::try_from(at).unwrap());
        let end = step_end(scenario, step, &ends);
        ends.push(end);
    }
    ends
}

fn step_end(scenario: &Scenario, this: StepIx, ends: &[StepEnd]) -> StepEnd {
    let step = scenario.step(this);
    let doomed = step
        .needs
        .iter()
        .filter(|need| step.grow != Grows::Stream(need.step) && !need.optional)
        .any(|need| ends[need.step.0 as usize].status != StepStatus::Done);
    if doomed {
        let known = scenario.shape.tasks.iter().filter(|task| task.step == this);
        let tasks = known.map(|task| {
            let order = task.order.clone();
            (TaskId { step: this, order }, End::Kept(true))
        });
        return StepEnd {
            status: StepStatus::Skipped,
            doomed: true,
            tasks: tasks.collect(),
        };
    }
    let mut grown = Grown::default();
    match step.grow {
        Grows::Known => {
            for task in scenario.shape.tasks.iter().filter(|task| task.step == this) {
                let order = task.order.clone();
                let id = TaskId { step: this, order };
                let end = if task.skip {
                    End::Unwanted
                } else {
                    task_end(scenario, &id)
                };
                grown.tasks.insert(id, end);
            }
        }
        Grows::Once => grown.add(scenario, this, None),
        Grows::Stream(from) => stream(scenario, this, &ends[from.0 as usize], from, &mut grown),
    }
    grown.end()
}

#[derive(Default)]
struct Grown {
    tasks: BTreeMap<TaskId, End>,
    broken: bool,
    tainted: bool,
}

impl Grown {
    fn add(&mut self, scenario: &Scenario, step: StepIx, source: Option<&TaskId>) {
        match scenario.expand(step, source) {
            Some(ids) => {
                for id in ids {
                    let end = task_end(scenario, &id);
                    self.tasks.insert(id, end);
                }
            }
            None => self.broken = true,
        }
    }

    fn end(self) -> StepEnd {
        let any = |end: End| self.tasks.values().any(|e| *e == end);
        let status = if self.broken || any(End::Failed) {
            StepStatus::Failed
        } else if !any(End::Ran) {
            StepStatus::Skipped
        } else if self.tainted {
            StepStatus::Failed
        } else {
            StepStatus::Done
        };
        StepEnd {
            status,
            doomed: false,
            tasks: self.tasks,
        }
    }
}

/// A task for each source that ran; one that failed taints the stream unless it is optional.
fn stream(scenario: &Scenario, this: StepIx, source: &StepEnd, from: StepIx, grown: &mut Grown) {
    let step = scenario.step(this);
    let need = step.needs.iter().find(|need| need.step == from);
    let optional = need.is_some_and(|need| need.optional);
    for (id, end) in &source.tasks {
        match end {
            End::Ran => grown.add(scenario, this, Some(id)),
            End::Failed | End::Kept(true) if !optional => {
                grown.tainted = true;
                if step.placeholders {
                    for id in scenario.expand(this, Some(id)).unwrap_or_default() {
                        grown.tasks.insert(id, End::Kept(true));
                    }
                }
            }
            End::Failed | End::Unwanted | End::Kept(_) => {}
        }
    }
    if !optional && source.status == StepStatus::Failed {
        grown.tainted = true;
    }
}

/// How a task ends that may run.
fn task_end(scenario: &Scenario, id: &TaskId) -> End {
    let step = scenario.step(id.step);
    let impossible = |(limit, n): &(LimitIx, u32)| scenario.shape.limits[limit.0 as usize] < *n;
    if step.claims.iter().any(impossible) {
        return End::Failed;
    }
    if !scenario.is_wanted(id) {
        return End::Unwanted;
    }
    if scenario.is_cached(id) {
        return End::Ran;
    }
    for attempt in 1.. {
        let class = match scenario.fate(id, attempt) {
            Fate::Done => return End::Ran,
            Fate::Failed(class) => class,
            Fate::Lost => FailureClass::Lost,
        };
        if !scenario.may_retry(id.step, attempt, class) {
            return End::Failed;
        }
    }
    End::Failed
}

/// Compares what was foreseen with what became of it.
pub(super) fn compare(
    scenario: &Scenario,
    machine: &Machine,
    statuses: &BTreeMap<TaskId, Option<TaskStatus>>,
) -> Result<(), String> {
    let ends = foresee(scenario);
    for (at, end) in ends.iter().enumerate() {
        let step = StepIx(u32::try_from(at).unwrap());
        let found: BTreeMap<_, _> = statuses.iter().filter(|(id, _)| id.step == step).collect();
        let status = machine.step_status(step);
        if is_open(scenario, step, &ends) {
            if status == Some(StepStatus::Done) || found.values().any(|status| ran(**status)) {
                return Err(format!("{step:?} ran: {found:?}"));
            }
            continue;
        }
        let same = found.len() == end.tasks.len()
            && end.tasks.iter().all(|(id, end)| {
                let status = found.get(id).and_then(|status| **status);
                match end {
                    End::Ran => ran(status),
                    End::Failed => status == Some(TaskStatus::Failed),
                    End::Unwanted | End::Kept(_) => status == Some(TaskStatus::Skipped),
                }
            });
        if !same || status != Some(end.status) {
            return Err(format!(
                "{step:?} is {status:?}, {found:?}; it should be {end:?}"
            ));
        }
    }
    Ok(())
}

/// Whether it depends on when things happen which tasks of a step become known: none of them may run.
fn is_open(scenario: &Scenario, step: StepIx, ends: &[StepEnd]) -> bool {
    let end = &ends[step.0 as usize];
    match scenario.step(step).grow {
        Grows::Known => false,
        Grows::Once => end.doomed,
        Grows::Stream(from) => {
            end.doomed || ends[from.0 as usize].doomed || is_open(scenario, from, ends)
        }
    }
}

/// Whether a task has results.
pub(super) fn ran(status: Option<TaskStatus>) -> bool {
    matches!(status, Some(TaskStatus::Done | TaskStatus::Cached))
}
