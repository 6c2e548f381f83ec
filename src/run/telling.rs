//! What the dispatcher tells of decisions and ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;

use super::dispatch::Dispatcher;
use super::failure::About;
use super::tell::output;
use crate::base::{StepId, TaskName};
use crate::diagnostic::{Diagnostic, JsonDiagnostic, Report, codes, to_json};
use crate::event::{RunEvent, StopReason, TaskInfo, TaskStatus};
use crate::machine::{
    CancelReason, Cause, Fact, FailureClass, RetryCause, Settlement, StepIx, TaskState, Ticket,
};
use crate::plan::{Plan, RetryClass, StepPlan, TaskIx, TaskPlan};

/// Names of tasks that one task waits for, at most: a step may wait for thousands.
const NEEDS: usize = 32;

impl Dispatcher {
    pub(super) fn tell_decision(&mut self, fact: &Fact) {
        match fact {
            Fact::Started { ticket } => self.tell_started(*ticket),
            Fact::Retried {
                task,
                not_before,
                because,
                ..
            } => self.tell_retried(*task, *not_before, *because),
            Fact::Settled { task, settlement } => self.tell_settled(*task, *settlement),
            Fact::Stop {
                reason: CancelReason::Deadline,
            } => self.tell_stopping(StopReason::Deadline),
            _ => {}
        }
    }

    fn tell_started(&mut self, ticket: Ticket) {
        self.started.insert(ticket.task, Instant::now());
        let server = &self.step(ticket.task).server;
        let several = self.shared.servers.of(server).len() > 1;
        let at = self.machine.endpoint(ticket.task).filter(|_| several);
        let url = at.map(|at| self.shared.endpoint(at).url.clone());
        self.shared.teller.tell(RunEvent::TaskStarted {
            task: self.name(ticket.task),
            server: server.clone(),
            attempt: ticket.attempt,
            url,
        });
    }

    fn tell_retried(&mut self, task: TaskIx, not_before: u64, because: RetryCause) {
        let delay = not_before.saturating_sub(super::log::now());
        let told = match because {
            RetryCause::Failed => self.failures.get(&task).map(|failed| {
                self.shared.teller.forget(failed.ticket);
                (class_name(failed.class), failed.diagnostic.message.clone())
            }),
            RetryCause::Lost => {
                let about = About::of(&self.shared.plan, self.roster.task(task));
                let lost = if self.is_ours(task) {
                    about.cut_short()
                } else {
                    about.lost_once(&about.step.server)
                };
                let message = lost.message.clone();
                self.shared.teller.warn(about.task, lost);
                Some(("lost", message))
            }
            RetryCause::Gone | RetryCause::Moved | RetryCause::Twin => None,
        };
        let Some((class, reason)) = told else { return };
        let attempt = self.machine.next(task).map_or(1, |next| next.attempt);
        #[expect(clippy::cast_precision_loss, reason = "a delay for people")]
        let delay_seconds = delay as f64 / 1000.0;
        self.shared.teller.tell(RunEvent::TaskRetried {
            task: self.name(task),
            attempt,
            class: class.to_owned(),
            reason,
            delay_seconds,
        });
    }

    /// Whether a task ends when kiln does: its program, or the server that has its job, is a part of this process.
    fn is_ours(&self, task: TaskIx) -> bool {
        let step = self.step(task);
        let endpoints = self.shared.servers.of(&step.server);
        step.workflow().is_none() || endpoints.iter().all(|endpoint| endpoint.is_embedded())
    }

    fn tell_settled(&mut self, task: TaskIx, settlement: Settlement) {
        let about = About::of(&self.shared.plan, self.roster.task(task));
        let built = match settlement {
            Settlement::Lost { times } => {
                self.classes.push(FailureClass::Lost);
                about.lost(&about.step.server, times)
            }
            Settlement::Impossible => {
                self.classes.push(FailureClass::Invalid);
                about.impossible()
            }
            _ => return self.tell_if_ended(task),
        };
        let diagnostic = to_json(&built, &self.shared.plan.sources);
        self.shared.teller.keep(built);
        self.tell_finished(task, TaskStatus::Failed, Some(diagnostic));
    }

    /// Tells how a task ended, if it did. A failed attempt may be followed by another one.
    pub(super) fn tell_if_ended(&mut self, task: TaskIx) {
        let TaskState::Ended(status) = self.machine.state(task) else {
            return;
        };
        let mut diagnostic = None;
        if status == TaskStatus::Failed
            && let Some(failed) = self.failures.remove(&task)
        {
            self.classes.push(failed.class);
            self.shared.teller.keep_held(failed.ticket);
            diagnostic = Some(failed.diagnostic);
        }
        self.tell_finished(task, status, diagnostic);
    }

    fn tell_finished(&self, task: TaskIx, status: TaskStatus, diagnostic: Option<JsonDiagnostic>) {
        let began = self.started.get(&task);
        let made = self.roster.artifacts(task).iter();
        self.shared.teller.tell(RunEvent::TaskFinished {
            task: self.name(task),
            status,
            outputs: made.map(|made| output(made)).collect(),
            seconds: began.map_or(0.0, |began| began.elapsed().as_secs_f64()),
            diagnostic,
        });
    }

    /// Tasks that became known in an earlier session.
    pub(super) fn tell_all_added(&self) {
        let planned = self.shared.plan.tasks.len();
        let mut of_step: IndexMap<StepId, Vec<TaskInfo>> = IndexMap::new();
        for (_, task) in self.roster.iter().skip(planned) {
            let sources = task.needs.iter().map(|need| self.name(*need));
            let told = info(&self.shared.plan, task, Arc::new(sources.collect()));
            of_step.entry(task.step.clone()).or_default().push(told);
        }
        for (step, tasks) in of_step {
            self.shared
                .teller
                .tell(RunEvent::TasksAdded { step, tasks });
        }
    }

    /// Tasks with the indices from `known` on became known.
    pub(super) fn tell_added(&self, step: StepIx, known: usize) {
        let plan = &self.shared.plan;
        let Some((id, _)) = plan.steps.get_index(step.0 as usize) else {
            return;
        };
        let new = self.roster.iter().skip(known);
        let tasks: Vec<TaskInfo> = new
            .map(|(_, task)| {
                let sources = task.needs.iter().map(|need| self.name(*need));
                info(plan, task, Arc::new(sources.collect()))
            })
            .collect();
        if !tasks.is_empty() {
            let step = id.clone();
            self.shared
                .teller
                .tell(RunEvent::TasksAdded { step, tasks });
        }
    }

    /// The tasks of a step cannot be known: what is wrong is told, and the first of it stands for the step.
    pub(super) fn tell_not_expanded(&mut self, step: StepIx, report: Report) -> JsonDiagnostic {
        self.classes.push(FailureClass::Invalid);
        let plan = &self.shared.plan;
        let id = plan.steps.get_index(step.0 as usize).map(|(id, _)| id);
        let named = |built: Diagnostic| {
            let id = id.map_or("", StepId::as_str);
            let message = format!("step `{id}`: {}", built.message);
            Diagnostic { message, ..built }
        };
        let mut built: Vec<Diagnostic> = report.items.into_iter().map(named).collect();
        if built.is_empty() {
            let said = "its tasks cannot be known".to_owned();
            built.push(named(Diagnostic::error(&codes::TEMPLATE_FAILED, said)));
        }
        let first = self.shared.hush.mask_diagnostic(built[0].clone());
        for diagnostic in built {
            self.shared.teller.complain(diagnostic);
        }
        to_json(&first, &plan.sources)
    }

    /// The task, or the step, that went wrong first.
    pub(super) fn cause(&self) -> Option<TaskName> {
        let plan = &self.shared.plan;
        match self.machine.cause()? {
            Cause::Task(task) => Some(self.name(task)),
            Cause::Step(step) => {
                let (id, _) = plan.steps.get_index(step.0 as usize)?;
                Some(TaskName(id.0.clone()))
            }
            Cause::Stop => None,
        }
    }

    pub(super) fn name(&self, task: TaskIx) -> TaskName {
        self.roster.task(task).name.clone()
    }
}

/// The tasks that are known when a run starts, as they are told.
pub fn infos(plan: &Plan) -> Vec<TaskInfo> {
    let mut of_step: HashMap<&StepId, Vec<&TaskName>> = HashMap::new();
    for task in &plan.tasks {
        of_step.entry(&task.step).or_default().push(&task.name);
    }
    let needs = |step: &StepPlan| -> Arc<Vec<TaskName>> {
        let names = step.needs.iter();
        let names = names.filter_map(|need| of_step.get(&need.step)).flatten();
        Arc::new(names.take(NEEDS).map(|&name| name.clone()).collect())
    };
    // All tasks of a step have the same.
    let steps = plan.steps.iter();
    let needs: HashMap<&StepId, Arc<Vec<TaskName>>> =
        steps.map(|(id, step)| (id, needs(step))).collect();
    let tasks = plan.tasks.iter();
    tasks
        .map(|task| info(plan, task, Arc::clone(&needs[&task.step])))
        .collect()
}

/// A task as it is told.
pub fn info(plan: &Plan, task: &TaskPlan, needs: Arc<Vec<TaskName>>) -> TaskInfo {
    let step = &plan.steps[&task.step];
    TaskInfo {
        task: task.name.clone(),
        step: task.step.clone(),
        server: step.server.clone(),
        needs,
        command: step.workflow().is_none(),
    }
}

/// The word of `retry.for` for a failure.
pub fn class_name(class: FailureClass) -> &'static str {
    match class.retry_class() {
        Some(RetryClass::Transient) => "transient",
        Some(RetryClass::Oom) => "oom",
        Some(RetryClass::Timeout) => "timeout",
        Some(RetryClass::Stall) => "stall",
        Some(RetryClass::Rejected) => "rejected",
        Some(RetryClass::NodeError) => "node_error",
        Some(RetryClass::Any) | None => "other",
    }
}
