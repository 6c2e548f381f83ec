//! The tasks of a run, those that were planned and those that became known since, and what they made.

use std::collections::HashMap;
use std::sync::Arc;

use crate::artifact::Artifact;
use crate::base::{Input, RunId, StepId};
use crate::machine::{Machine, StepIx};
use crate::plan::{
    Grow, Item, Plan, Reads, Results, StepOutcome, StepPlan, TaskIx, TaskOutcome, TaskPlan,
};

/// What the dispatcher knows of tasks beside their states.
#[derive(Debug)]
pub(super) struct Roster {
    tasks: Vec<Arc<TaskPlan>>,
    made: Vec<Option<Arc<TaskOutcome>>>,
    /// Steps that have ended, told as a whole: built once, however many tasks look at them.
    steps: HashMap<StepIx, Arc<StepOutcome>>,
    /// What templates read that waited for results.
    reads: Reads,
}

impl Roster {
    pub(super) fn new(plan: &Plan) -> Self {
        let tasks: Vec<_> = plan.tasks.iter().cloned().map(Arc::new).collect();
        Self {
            made: vec![None; tasks.len()],
            tasks,
            steps: HashMap::new(),
            reads: Reads::noted(),
        }
    }

    /// What templates read so far that waited for results.
    pub(super) fn read(&self) -> Vec<Input> {
        self.reads.recorded()
    }

    /// Tasks that became known, in the order of their indices.
    pub(super) fn extend(&mut self, tasks: &[TaskPlan]) {
        self.tasks.extend(tasks.iter().cloned().map(Arc::new));
        self.made.resize(self.tasks.len(), None);
    }

    pub(super) fn task(&self, task: TaskIx) -> &Arc<TaskPlan> {
        &self.tasks[task.0 as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskIx, &Arc<TaskPlan>)> {
        (0..).map(TaskIx).zip(&self.tasks)
    }

    /// A task ended well.
    pub(super) fn made(&mut self, task: TaskIx, status: &str, artifacts: Vec<Arc<Artifact>>) {
        let outcome = TaskOutcome::of(self.task(task), status, artifacts);
        let outcome = outcome.following(self.source(task));
        self.made[task.0 as usize] = Some(Arc::new(outcome));
    }

    /// What a task made is gone.
    pub(super) fn unmake(&mut self, task: TaskIx) {
        if let Some(made) = self.made.get_mut(task.0 as usize) {
            *made = None;
        }
    }

    /// What a task made, if it ended well.
    pub(super) fn outcome(&self, task: TaskIx) -> Option<&Arc<TaskOutcome>> {
        self.made[task.0 as usize].as_ref()
    }

    pub(super) fn artifacts(&self, task: TaskIx) -> &[Arc<Artifact>] {
        self.outcome(task).map_or(&[], |made| &made.artifacts)
    }

    /// Steps have another chance: what was built of them may change.
    pub(super) fn reopen(&mut self) {
        self.steps.clear();
    }

    /// What a task of a step may see: the steps that its own one waits for, and the task that it follows from.
    pub(super) fn results_for(
        &mut self,
        (plan, run, machine): (&Plan, &RunId, &Machine),
        step: &StepPlan,
        task: Option<TaskIx>,
    ) -> Results {
        let mut results = Results::new(run.clone());
        results.reads = self.reads.clone();
        for need in &step.needs {
            // One that is followed task by task has no result as a whole.
            if followed(step) != Some(&need.step)
                && let Some((at, _, _)) = plan.steps.get_full(&need.step)
            {
                let at = StepIx(u32::try_from(at).unwrap_or(u32::MAX));
                if let Some(outcome) = self.step(machine, at) {
                    results.steps.insert(need.step.clone(), outcome);
                }
            }
        }
        results.item = task.and_then(|task| self.source(task)).cloned();
        results
    }

    /// What the task made that a task follows.
    fn source(&self, task: TaskIx) -> Option<&Arc<TaskOutcome>> {
        match self.task(task).item {
            Some(Item::Task(source)) => self.outcome(source),
            _ => None,
        }
    }

    fn step(&mut self, machine: &Machine, step: StepIx) -> Option<Arc<StepOutcome>> {
        if let Some(known) = self.steps.get(&step) {
            return Some(Arc::clone(known));
        }
        let status = machine.step_status(step)?;
        let tasks = machine.results(step);
        let outcomes = (0..).zip(tasks).filter_map(|(index, task)| {
            let made = self.outcome(task)?;
            Some(if made.index == index {
                Arc::clone(made)
            } else {
                Arc::new(TaskOutcome {
                    index,
                    ..TaskOutcome::clone(made)
                })
            })
        });
        let outcome = Arc::new(StepOutcome {
            status: status.as_str().to_owned(),
            tasks: outcomes.collect(),
        });
        self.steps.insert(step, Arc::clone(&outcome));
        Some(outcome)
    }
}

/// The step that a step follows task by task.
fn followed(step: &StepPlan) -> Option<&StepId> {
    match &step.grow {
        Grow::Stream { from, .. } => Some(from),
        _ => None,
    }
}
