//! One step: who waits for it, how far it has grown, and how it ends.

use super::fact::Cause;
use super::shape::{EndpointIx, Grows, Shape, StepIx, dense};
use crate::plan::TaskIx;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStatus {
    /// Those of its tasks that were wanted are done.
    Done,
    /// None of its tasks ran.
    Skipped,
    /// A task of it failed, or could not run because another one failed.
    Failed,
    /// A task of it was cancelled.
    Cancelled,
}

impl StepStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A step that waits for another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dependant {
    pub(super) step: StepIx,
    /// It waits however the other one ends.
    pub(super) optional: bool,
}

/// A step, what waits for it, and how far it is.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) grow: Grows,
    pub(super) placeholders: bool,
    /// Steps that it waits for, without the one that it streams from.
    pub(super) needs: Vec<StepIx>,
    /// Steps that wait for all of it.
    pub(super) dependants: Vec<Dependant>,
    /// Steps that stream from it.
    pub(super) streams: Vec<Dependant>,
    /// The longest chain that starts with it, in expected milliseconds.
    pub(super) chain: u64,
    pub(super) tasks: Vec<TaskIx>,
    /// Where a task of it was assigned last.
    pub(super) at: Option<EndpointIx>,
    pub(super) progress: Progress,
    pub(super) status: Option<StepStatus>,
}

/// How far a step is; all of it follows from the states of tasks and steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Steps that it still waits for.
    pub(super) open_needs: u32,
    /// Its tasks that have not ended.
    pub(super) open_tasks: u32,
    /// Expansions that it waits for.
    pub(super) expanding: u32,
    /// No task of it will become known any more.
    pub(super) grown: bool,
    /// Why none of its tasks may run.
    pub(super) doomed: Option<Cause>,
    /// Tasks with results.
    pub(super) ran: u32,
    /// Tasks that failed, and expansions.
    pub(super) failed: u32,
    /// Tasks that were cancelled.
    pub(super) cancelled: u32,
    /// The first thing that kept a task of it from having a result, but for its own `when`.
    pub(super) first: Option<Cause>,
    /// The first such thing that is a failure or a stop, its own or another step's.
    pub(super) taint: Option<Taint>,
}

/// What keeps a step with results from being done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taint {
    pub(super) cause: Cause,
    pub(super) failure: bool,
}

impl Step {
    /// The steps of a shape.
    pub(super) fn all(shape: &Shape) -> Vec<Self> {
        let mut steps: Vec<Self> = shape
            .steps
            .iter()
            .map(|step| {
                let streamed = |need: StepIx| step.grow == Grows::Stream(need);
                let needs = step.needs.iter().map(|need| need.step);
                Self {
                    grow: step.grow,
                    placeholders: step.placeholders,
                    needs: needs.filter(|need| !streamed(*need)).collect(),
                    dependants: Vec::new(),
                    streams: Vec::new(),
                    chain: 0,
                    tasks: Vec::new(),
                    at: None,
                    progress: Progress::default(),
                    status: None,
                }
            })
            .collect();
        for (at, step) in shape.steps.iter().enumerate() {
            let this = StepIx(dense(at));
            for need in &step.needs {
                let Some(needed) = steps.get_mut(need.step.0 as usize) else {
                    continue;
                };
                if step.grow != Grows::Stream(need.step) {
                    needed.dependants.push(Dependant {
                        step: this,
                        optional: need.optional,
                    });
                }
            }
            if let Grows::Stream(from) = step.grow
                && let Some(source) = steps.get_mut(from.0 as usize)
            {
                let same = step.needs.iter().find(|need| need.step == from);
                let optional = same.is_some_and(|need| need.optional);
                source.streams.push(Dependant {
                    step: this,
                    optional,
                });
            }
        }
        for (step, chain) in steps.iter_mut().zip(chains(shape)) {
            step.chain = chain;
        }
        steps
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// How it ends now that it has grown and all its tasks have ended.
    pub(super) fn verdict(&self) -> StepStatus {
        let progress = &self.progress;
        match progress.taint {
            _ if progress.failed > 0 => StepStatus::Failed,
            _ if progress.cancelled > 0 => StepStatus::Cancelled,
            _ if progress.ran == 0 => StepStatus::Skipped,
            Some(Taint { failure: true, .. }) => StepStatus::Failed,
            Some(_) => StepStatus::Cancelled,
            None => StepStatus::Done,
        }
    }

    /// Why its dependants may not run, when it did not end well.
    pub(super) fn blame(&self, this: StepIx) -> Cause {
        let taint = self.progress.taint.map(|taint| taint.cause);
        taint.or(self.progress.first).unwrap_or(Cause::Step(this))
    }
}

/// For each step, the expected milliseconds of the longest chain of steps that starts with it. A step on a cycle (which no plan has)
/// counts only itself.
fn chains(shape: &Shape) -> Vec<u64> {
    let count = shape.steps.len();
    let mut below = vec![0_u64; count];
    let mut open = vec![0_u32; count];
    let needs_of = |at: usize| {
        let needs = shape.steps[at].needs.iter();
        needs
            .map(|need| need.step.0 as usize)
            .filter(|need| *need < count)
    };
    for at in 0..count {
        for need in needs_of(at) {
            open[need] += 1;
        }
    }
    let mut leaves: Vec<usize> = (0..count).filter(|at| open[*at] == 0).collect();
    let own = |at: usize| shape.steps[at].expected_ms.max(1);
    while let Some(at) = leaves.pop() {
        let chain = below[at].saturating_add(own(at));
        for need in needs_of(at) {
            below[need] = below[need].max(chain);
            open[need] -= 1;
            if open[need] == 0 {
                leaves.push(need);
            }
        }
    }
    (0..count)
        .map(|at| below[at].saturating_add(own(at)))
        .collect()
}
