//! Another session goes on with a run: what has results keeps them, what is under way stays so, everything else has another chance.

use std::collections::HashSet;

use super::decide::MAX_SUBMISSIONS;
use super::fact::{Settlement, Ticket};
use super::shape::{StepIx, dense};
use super::state::Machine;
use super::task::{Phase, TaskState, Trouble};
use crate::event::TaskStatus;
use crate::plan::TaskIx;

impl Machine {
    /// The results of the tasks `again` are gone.
    pub(super) fn resume(&mut self, again: &[TaskIx]) {
        self.stop = None;
        self.cut_short = false;
        self.cause = None;
        self.failures = 0;
        self.finished = None;
        self.untold.clear();
        self.due.clear();
        let again: HashSet<TaskIx> = again.iter().copied().collect();
        for at in 0..self.tasks.len() {
            let task = TaskIx(dense(at));
            // What is under way may be lost with the session that began it, and no server is to blame for that.
            let losses = std::mem::take(&mut self.tasks[at].losses);
            if again.contains(&task) && self.tasks[at].has_result() {
                self.revive(task);
            } else {
                self.resume_task(task, losses);
            }
        }
        self.ask_again();
        for at in 0..self.tasks.len() {
            if self.tasks[at].skip && self.tasks[at].status().is_none() {
                let task = TaskIx(dense(at));
                self.due.insert(task, Settlement::Unwanted);
            }
        }
        self.open_gates();
        self.call_back();
    }

    fn resume_task(&mut self, task: TaskIx, losses: u32) {
        let known = &self.tasks[task.0 as usize];
        match known.state {
            TaskState::Ended(TaskStatus::Done | TaskStatus::Cached) | TaskState::Waiting => {}
            // Not wanted: that is a result, too.
            TaskState::Ended(TaskStatus::Skipped) if known.why.is_none() => {}
            TaskState::Ended(_) => self.revive(task),
            TaskState::Ready | TaskState::Paused { .. } => self.put(task, TaskState::Waiting),
            TaskState::Unsettled { ticket, trouble } => {
                let failed = matches!(trouble, Trouble::Failed(_));
                if failed || losses >= MAX_SUBMISSIONS {
                    self.revive(task);
                } else {
                    self.task(task).fresh = trouble == Trouble::Gone;
                    self.put_back(task, ticket);
                }
            }
            TaskState::Parked { ticket } => self.put_back(task, ticket),
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
        }
    }

    /// A try that has nothing on a server is given up; the next one waits for its turn.
    fn put_back(&mut self, task: TaskIx, ticket: Ticket) {
        self.abdicate(task, false);
        self.task(task).next = ticket.again();
        self.put(task, TaskState::Waiting);
    }

    /// What was only prepared waits again when something that it needs has another chance.
    fn call_back(&mut self) {
        for task in self.running.clone() {
            if let TaskState::Running {
                ticket,
                phase: Phase::Preparing | Phase::Prepared,
                fresh,
                ..
            } = self.state(task)
                && self.waits(task)
            {
                self.task(task).fresh = fresh;
                self.put_back(task, ticket);
            }
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
