//! How steps grow, end, and let their dependants go on.

use super::fact::{Cause, Settlement};
use super::shape::{Grows, StepIx, TaskShape, dense};
use super::state::{Contradiction, Machine};
use super::step::{Dependant, Progress, StepStatus, Taint};
use super::task::TaskState;
use crate::event::TaskStatus;
use crate::plan::{TaskIx, TaskPlan};

impl Machine {
    pub(super) fn step(&mut self, step: StepIx) -> &mut Progress {
        &mut self.steps[step.0 as usize].progress
    }

    /// An expansion ended: it is awaited no more. `false` when it came too late: the step has been closed meanwhile.
    fn expansion_ended(
        &mut self,
        step: StepIx,
        source: Option<TaskIx>,
    ) -> Result<bool, Contradiction> {
        let what = "expanded";
        let contradiction = Contradiction::Step { step, what };
        let known = self.steps.get(step.0 as usize).ok_or(contradiction)?;
        if self.expanded.contains(&(step, source)) {
            return Err(contradiction);
        }
        if !self.expansions.remove(&(step, source)) {
            return if known.progress.grown && known.grow != Grows::Known {
                Ok(false)
            } else {
                Err(contradiction)
            };
        }
        self.step(step).expanding -= 1;
        Ok(true)
    }

    pub(super) fn expand(
        &mut self,
        step: StepIx,
        source: Option<TaskIx>,
        tasks: &[TaskPlan],
    ) -> Result<(), Contradiction> {
        let first = self.tasks.len();
        let known = |task: &TaskPlan| task.needs.iter().all(|need| (need.0 as usize) < first);
        if !tasks.iter().all(known) {
            return Err(Contradiction::Step {
                step,
                what: "expanded",
            });
        }
        if !self.expansion_ended(step, source)? {
            return Ok(());
        }
        self.expanded.insert((step, source));
        for task in tasks {
            self.add(TaskShape::of(task, step));
        }
        for at in first..self.tasks.len() {
            self.count_open(TaskIx(dense(at)));
        }
        self.grew(step);
        Ok(())
    }

    pub(super) fn fail_to_expand(
        &mut self,
        step: StepIx,
        source: Option<TaskIx>,
    ) -> Result<(), Contradiction> {
        if self.expansion_ended(step, source)? {
            let cause = Cause::Step(step);
            self.failures += 1;
            self.cause.get_or_insert(cause);
            self.step(step).failed += 1;
            self.taint(step, cause);
            self.grew(step);
        }
        Ok(())
    }

    /// No (more) tasks of a step will become known.
    pub(super) fn skip_step(&mut self, step: StepIx, cause: Cause) -> Result<(), Contradiction> {
        if !self.growing.contains(&step) {
            let what = "skipped";
            return Err(Contradiction::Step { step, what });
        }
        let of_step = (step, None)..(StepIx(step.0.saturating_add(1)), None);
        let pending: Vec<_> = self.expansions.range(of_step).copied().collect();
        for expansion in pending {
            self.expansions.remove(&expansion);
        }
        self.cut_short |= cause == Cause::Stop;
        self.step(step).expanding = 0;
        self.taint(step, cause);
        self.close_growth(step);
        Ok(())
    }

    /// After an expansion: whether it was the last one.
    fn grew(&mut self, step: StepIx) {
        let known = &self.steps[step.0 as usize];
        let over = match known.grow {
            Grows::Known | Grows::Once => true,
            Grows::Stream(from) => self.has_ended(from),
        };
        if over && known.progress.expanding == 0 {
            self.close_growth(step);
        }
    }

    fn close_growth(&mut self, step: StepIx) {
        self.step(step).grown = true;
        self.growing.remove(&step);
        self.due_steps.remove(&step);
        self.check_end(step);
    }

    fn has_ended(&self, step: StepIx) -> bool {
        self.steps
            .get(step.0 as usize)
            .is_some_and(super::step::Step::has_ended)
    }

    /// Remembers why a step lacks results, and whether that means more than that they are not wanted.
    fn taint(&mut self, step: StepIx, cause: Cause) {
        let failure = self.is_failure(cause);
        let progress = self.step(step);
        progress.first.get_or_insert(cause);
        if let Some(failure) = failure {
            progress.taint.get_or_insert(Taint { cause, failure });
        }
    }

    /// Whether a cause is a failure (`true`) or a stop (`false`); `None` when it only means that something was not wanted.
    fn is_failure(&self, cause: Cause) -> Option<bool> {
        match cause {
            Cause::Task(task) => match self.known(task)?.status()? {
                TaskStatus::Failed => Some(true),
                TaskStatus::Cancelled => Some(false),
                TaskStatus::Done | TaskStatus::Cached | TaskStatus::Skipped => None,
            },
            Cause::Step(step) => {
                let known = self.steps.get(step.0 as usize)?;
                (known.progress.failed > 0).then_some(true)
            }
            Cause::Stop => Some(false),
        }
    }

    /// A task ends.
    pub(super) fn close(&mut self, task: TaskIx, status: TaskStatus, why: Option<Cause>) {
        self.put(task, TaskState::Ended(status));
        self.due.remove(&task);
        self.task(task).why = why;
        if status == TaskStatus::Failed {
            self.failures += 1;
            self.cause.get_or_insert(Cause::Task(task));
        }
        let step = self.tasks[task.0 as usize].step;
        self.step(step).open_tasks -= 1;
        self.tally(task, status);
        self.tell_dependants(task);
        for at in 0..self.steps[step.0 as usize].streams.len() {
            let stream = self.steps[step.0 as usize].streams[at];
            self.source_ended(stream, task);
        }
        self.check_end(step);
    }

    /// Counts an ended task in its step.
    fn tally(&mut self, task: TaskIx, status: TaskStatus) {
        let step = self.tasks[task.0 as usize].step;
        let progress = self.step(step);
        match status {
            TaskStatus::Done | TaskStatus::Cached => progress.ran += 1,
            TaskStatus::Failed => progress.failed += 1,
            TaskStatus::Cancelled => progress.cancelled += 1,
            TaskStatus::Skipped => {}
        }
        if let Some(cause) = self.blame(task) {
            self.taint(step, cause);
        }
    }

    /// Why those that need a task's result may not run; `None` when it has one, or is not wanted.
    fn blame(&self, task: TaskIx) -> Option<Cause> {
        let known = self.known(task)?;
        match known.status()? {
            TaskStatus::Failed | TaskStatus::Cancelled => Some(Cause::Task(task)),
            TaskStatus::Skipped => known.why,
            TaskStatus::Done | TaskStatus::Cached => None,
        }
    }

    fn tell_dependants(&mut self, task: TaskIx) {
        let good = self.tasks[task.0 as usize].has_result();
        for at in 0..self.tasks[task.0 as usize].dependants.len() {
            let dependant = self.tasks[task.0 as usize].dependants[at];
            if self.tasks[dependant.0 as usize].status().is_some() {
                continue;
            }
            if good {
                let known = self.task(dependant);
                known.open_needs = known.open_needs.saturating_sub(1);
                self.admit(dependant);
            } else {
                let cause = self.blame(task).unwrap_or(Cause::Task(task));
                self.doom(dependant, cause);
            }
        }
    }

    fn doom(&mut self, task: TaskIx, cause: Cause) {
        if self.idle.contains(&task) {
            let settlement = Settlement::Skipped { cause };
            self.due.entry(task).or_insert(settlement);
        }
    }

    /// Lets a task go that waits for nothing any more.
    fn admit(&mut self, task: TaskIx) {
        let known = &self.tasks[task.0 as usize];
        let doomed = self.steps[known.step.0 as usize].progress.doomed;
        if known.state != TaskState::Waiting || doomed.is_some() || self.waits(task) {
            return;
        }
        if self.places.lane(known.step).impossible {
            self.due.entry(task).or_insert(Settlement::Impossible);
        } else if !self.due.contains_key(&task) {
            self.put(task, TaskState::Ready);
        }
    }

    /// What a task that ended means for a step that streams from its step.
    fn source_ended(&mut self, stream: Dependant, source: TaskIx) {
        let Dependant { step, optional } = stream;
        let known = &self.steps[step.0 as usize];
        let placeholders = known.placeholders;
        if known.progress.grown
            || known.progress.doomed.is_some()
            || self.expanded.contains(&(step, Some(source)))
        {
            return;
        }
        if self.tasks[source.0 as usize].has_result() {
            self.await_expansion(step, Some(source));
        } else if let Some(cause) = self.blame(source)
            && !optional
        {
            self.taint(step, cause);
            if placeholders && self.is_failure(cause).is_some() {
                self.await_expansion(step, Some(source));
            }
        }
    }

    fn await_expansion(&mut self, step: StepIx, source: Option<TaskIx>) {
        if self.expansions.insert((step, source)) {
            self.unasked.push((step, source));
            self.step(step).expanding += 1;
        }
    }

    fn check_end(&mut self, step: StepIx) {
        let known = &self.steps[step.0 as usize];
        if known.status.is_none() && known.progress.grown && known.progress.open_tasks == 0 {
            let status = known.verdict();
            self.steps[step.0 as usize].status = Some(status);
            self.open_steps -= 1;
            self.ended.push_back(step);
        }
    }

    /// Tells the dependants of steps that ended, until nothing follows any more.
    pub(super) fn spread(&mut self) {
        while let Some(step) = self.ended.pop_front() {
            let known = &self.steps[step.0 as usize];
            let good = known.status == Some(StepStatus::Done);
            let blame = known.blame(step);
            for at in 0..self.steps[step.0 as usize].dependants.len() {
                let Dependant {
                    step: dependant,
                    optional,
                } = self.steps[step.0 as usize].dependants[at];
                if good || optional {
                    let progress = self.step(dependant);
                    progress.open_needs = progress.open_needs.saturating_sub(1);
                    self.open_gate(dependant);
                } else {
                    self.doom_step(dependant, blame);
                }
            }
            for at in 0..self.steps[step.0 as usize].streams.len() {
                let stream = self.steps[step.0 as usize].streams[at];
                self.sources_ended(stream, good, blame);
            }
        }
    }

    /// A step has no more sources.
    fn sources_ended(&mut self, stream: Dependant, good: bool, blame: Cause) {
        let Dependant { step, optional } = stream;
        if self.steps[step.0 as usize].progress.grown {
            return;
        }
        if !good && !optional {
            self.taint(step, blame);
        }
        self.grew(step);
    }

    fn doom_step(&mut self, step: StepIx, cause: Cause) {
        let progress = self.step(step);
        if progress.doomed.is_some() {
            return;
        }
        progress.doomed = Some(cause);
        for at in 0..self.steps[step.0 as usize].tasks.len() {
            let task = self.steps[step.0 as usize].tasks[at];
            self.doom(task, cause);
        }
        if self.growing.contains(&step) {
            self.due_steps.entry(step).or_insert(cause);
        }
    }

    /// When a step waits for nothing any more, its tasks may go, or become known.
    fn open_gate(&mut self, step: StepIx) {
        let known = &self.steps[step.0 as usize];
        if known.progress.open_needs > 0 || known.progress.doomed.is_some() {
            return;
        }
        if known.grow == Grows::Once && !known.progress.grown {
            self.await_expansion(step, None);
        }
        for at in 0..self.steps[step.0 as usize].tasks.len() {
            let task = self.steps[step.0 as usize].tasks[at];
            self.admit(task);
        }
    }

    /// Counts a task that has not ended in its step, and lets it go when it waits for nothing.
    fn count_open(&mut self, task: TaskIx) {
        let step = self.tasks[task.0 as usize].step;
        self.step(step).open_tasks += 1;
        self.weigh(task);
    }

    /// Works out what a task waits for; lets it go when that is nothing.
    pub(super) fn weigh(&mut self, task: TaskIx) {
        let mut open = 0_u32;
        let mut bad = None;
        for need in &self.tasks[task.0 as usize].needs {
            match self.known(*need) {
                Some(need) if need.has_result() => {}
                Some(known) if known.status().is_some() => {
                    bad = bad.or(Some(self.blame(*need).unwrap_or(Cause::Task(*need))));
                }
                _ => open = open.saturating_add(1),
            }
        }
        self.task(task).open_needs = open;
        let step = self.tasks[task.0 as usize].step;
        match bad.or(self.steps[step.0 as usize].progress.doomed) {
            Some(cause) => self.doom(task, cause),
            None => self.admit(task),
        }
    }

    /// Whether a task still waits for a task or a step.
    pub(super) fn waits(&self, task: TaskIx) -> bool {
        let known = &self.tasks[task.0 as usize];
        let progress = &self.steps[known.step.0 as usize].progress;
        known.open_needs > 0 || progress.open_needs > 0
    }

    /// Works out from the states of all tasks how far the steps are: at the beginning, and when a run is resumed.
    pub(super) fn open_gates(&mut self) {
        self.expansions.clear();
        self.unasked.clear();
        self.growing.clear();
        self.due_steps.clear();
        self.open_steps = self.steps.len();
        for at in 0..self.steps.len() {
            let step = StepIx(dense(at));
            let known = &mut self.steps[at];
            known.status = None;
            known.progress = Progress {
                open_needs: dense(known.needs.len()),
                grown: match known.grow {
                    Grows::Known => true,
                    Grows::Once => self.expanded.contains(&(step, None)),
                    Grows::Stream(_) => false,
                },
                ..Progress::default()
            };
            if !known.progress.grown {
                self.growing.insert(step);
            }
        }
        for at in 0..self.tasks.len() {
            let task = TaskIx(dense(at));
            match self.tasks[at].status() {
                Some(status) => self.tally(task, status),
                None => self.count_open(task),
            }
        }
        self.reopen_sources();
        for at in 0..self.steps.len() {
            let step = StepIx(dense(at));
            self.open_gate(step);
            self.check_end(step);
        }
        self.spread();
    }

    /// What ended before and was not expanded yet.
    fn reopen_sources(&mut self) {
        for at in 0..self.steps.len() {
            for stream in self.steps[at].streams.clone() {
                for task in self.steps[at].tasks.clone() {
                    if self.tasks[task.0 as usize].status().is_some() {
                        self.source_ended(stream, task);
                    }
                }
            }
        }
    }
}
