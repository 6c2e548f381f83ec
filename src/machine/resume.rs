//! Another session goes on with a run: what has results keeps them, what is under way stays so, everything else has another chance.

use super::fact::Settlement;
use super::shape::{StepIx, dense};
use super::state::Machine;
use super::task::TaskState;
use crate::event::TaskStatus;
use crate::plan::TaskIx;

impl Machine {
    pub(super) fn resume(&mut self) {
        self.stop = None;
        self.cut_short = false;
        self.cause = None;
        self.failures = 0;
        self.finished = None;
        self.untold.clear();
        self.due.clear();
        for at in 0..self.tasks.len() {
            self.resume_task(TaskIx(dense(at)));
        }
        self.ask_again();
        for at in 0..self.tasks.len() {
            if self.tasks[at].skip && self.tasks[at].status().is_none() {
                let task = TaskIx(dense(at));
                self.due.insert(task, Settlement::Unwanted);
            }
        }
        self.open_gates();
    }

    fn resume_task(&mut self, task: TaskIx) {
        let known = &self.tasks[task.0 as usize];
        match known.state {
            TaskState::Ended(TaskStatus::Done | TaskStatus::Cached) => {}
            // Not wanted: that is a result, too.
            TaskState::Ended(TaskStatus::Skipped) if known.why.is_none() => {}
            TaskState::Ended(_) => self.revive(task),
            TaskState::Ready => self.put(task, TaskState::Waiting),
            TaskState::Running {
                ticket,
                endpoint,
                phase,
                fresh,
                ..
            } => {
                let cancelling = None;
                self.put(
                    task,
                    TaskState::Running {
                        ticket,
                        endpoint,
                        phase,
                        cancelling,
                        fresh,
                    },
                );
            }
            _ => {}
        }
    }

    fn revive(&mut self, task: TaskIx) {
        self.task(task).revive();
        self.put(task, TaskState::Waiting);
    }

    /// Tasks that were not wanted are asked again when something that their step waits for has another chance.
    fn ask_again(&mut self) {
        let mut changed: Vec<StepIx> = Vec::new();
        for at in 0..self.steps.len() {
            let step = &self.steps[at];
            let is_open = |task: &TaskIx| self.tasks[task.0 as usize].status().is_none();
            if step.progress.taint.is_some()
                || step.status.is_none()
                || step.tasks.iter().any(is_open)
            {
                changed.push(StepIx(dense(at)));
            }
        }
        while let Some(step) = changed.pop() {
            let known = &self.steps[step.0 as usize];
            let waiting = known.dependants.iter().chain(&known.streams);
            for dependant in waiting.map(|d| d.step).collect::<Vec<_>>() {
                let unwanted = |task: &TaskIx| {
                    let known = &self.tasks[task.0 as usize];
                    known.status() == Some(TaskStatus::Skipped) && !known.skip
                };
                let tasks = &self.steps[dependant.0 as usize].tasks;
                let tasks: Vec<TaskIx> = tasks.iter().copied().filter(unwanted).collect();
                if !tasks.is_empty() {
                    changed.push(dependant);
                }
                for task in tasks {
                    self.revive(task);
                }
            }
        }
    }
}
