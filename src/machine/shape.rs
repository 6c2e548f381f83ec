//! The immutable side: steps, the tasks that are known from the beginning, where they may run, and the limits.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::base::StepId;
use crate::plan::{Grow, Plan, RetryClass, ServerKind, StepPlan, TaskIx, TaskPlan};

/// What a step is expected to take when nothing is known about any, milliseconds.
const EXPECTED_MS: u64 = 1000;

/// Index of a server in [`Plan::servers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerIx(pub u32);

/// Index of an endpoint in [`Shape::endpoints`]: those of the first server, then those of the second, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointIx(pub u32);

/// Index of a step in [`Plan::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIx(pub u32);

/// Index of a limit in [`Plan::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitIx(pub u32);

/// A step that another one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The step.
    pub step: StepIx,
    /// It is waited for however it ends.
    pub optional: bool,
}

/// How a step's tasks become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grows {
    /// They are among [`Shape::tasks`].
    Known,
    /// At once, when everything that the step waits for has ended.
    Once,
    /// For each task of another step, as it ends.
    Stream(StepIx),
}

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryShape {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The longest pause before the second attempt, milliseconds; doubled for each further one.
    pub delay: u64,
    /// What the doubling ends at, milliseconds.
    pub max_delay: u64,
    /// Failures that are worth another attempt.
    pub classes: Vec<RetryClass>,
}

impl Default for RetryShape {
    fn default() -> Self {
        Self {
            attempts: 1,
            delay: 0,
            max_delay: 0,
            classes: Vec::new(),
        }
    }
}

/// A step as far as scheduling is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepShape {
    /// Steps that it waits for. One that it streams from is among them, but its tasks do not wait for all of that.
    pub needs: Vec<Need>,
    /// How its tasks become known.
    pub grow: Grows,
    /// Where its tasks run.
    pub server: ServerIx,
    /// Endpoints of the server, as [`EndpointShape::nth`], where they cannot; unless that were all.
    pub unfit: Vec<u32>,
    /// What each of its tasks takes of the limits while it runs.
    pub claims: Vec<(LimitIx, u32)>,
    /// When its tasks are tried again.
    pub retry: RetryShape,
    /// How long one of its tasks is expected to take, milliseconds.
    pub expected_ms: u64,
    /// It streams results one to one, so that a source without a result still has its task, which is then skipped.
    pub placeholders: bool,
}

/// A task as far as scheduling is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskShape {
    /// Its step.
    pub step: StepIx,
    /// Its place among the tasks of its step.
    pub order: Vec<u32>,
    /// Tasks that must be done before it starts, beyond its step's needs; each has a lower index.
    pub needs: Vec<TaskIx>,
    /// Its `when` is known to be false.
    pub skip: bool,
}

impl TaskShape {
    /// A planned task of a step.
    pub fn of(task: &TaskPlan, step: StepIx) -> Self {
        Self {
            step,
            order: task.order.clone(),
            needs: task.needs.clone(),
            skip: task.skip,
        }
    }
}

/// One place where tasks of a server run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointShape {
    /// Its server.
    pub server: ServerIx,
    /// Its place among the endpoints of that server: the index of its address.
    pub nth: u32,
    /// Jobs that it may hold at a time; 0 counts as 1.
    pub max_jobs: u32,
}

/// How far a run goes after a failure, and how long it may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A failure stops only what depends on it.
    pub keep_going: bool,
    /// Failures after which nothing new starts, whatever `keep_going` says.
    pub max_fail: Option<u32>,
    /// When the run must stop: milliseconds of the driver's clock.
    pub deadline: Option<u64>,
}

/// What does not change while a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The run's seed; pauses before new attempts are drawn from it.
    pub seed: u64,
    /// Steps in file order.
    pub steps: Vec<StepShape>,
    /// Tasks known from the beginning, in file order.
    pub tasks: Vec<TaskShape>,
    /// Where tasks run.
    pub endpoints: Vec<EndpointShape>,
    /// How much there is of each limit.
    pub limits: Vec<u32>,
    /// Tasks that may be in flight over all servers.
    pub max_parallel: Option<u32>,
    /// What a failure means for the rest.
    pub policy: Policy,
}

impl Shape {
    /// The shape of a plan. `expected` is what is known of how long a task of a step takes, in milliseconds.
    pub fn of(plan: &Plan, policy: Policy, expected: &HashMap<StepId, u64>) -> Self {
        let usual = match expected.len() {
            0 => EXPECTED_MS,
            count => {
                expected
                    .values()
                    .fold(0_u64, |sum, ms| sum.saturating_add(*ms))
                    / count as u64
            }
        };
        let steps = plan
            .steps
            .values()
            .map(|step| step_shape(plan, step, expected.get(&step.id).copied().unwrap_or(usual)))
            .collect();
        let tasks = plan
            .tasks
            .iter()
            .map(|task| TaskShape::of(task, step_ix(plan, &task.step)))
            .collect();
        Self {
            seed: plan.seed,
            steps,
            tasks,
            endpoints: endpoints(plan),
            limits: plan.limits.values().copied().collect(),
            max_parallel: plan.max_parallel,
            policy,
        }
    }
}

impl Shape {
    /// The shape with a step for tasks that name one which is not there: it has no server, so that they fail instead of waiting forever.
    pub(super) fn total(mut self) -> Self {
        let nowhere = StepIx(dense(self.steps.len()));
        let mut homeless = self
            .tasks
            .iter_mut()
            .filter(|task| task.step >= nowhere)
            .peekable();
        if homeless.peek().is_some() {
            homeless.for_each(|task| task.step = nowhere);
            self.steps.push(StepShape {
                needs: Vec::new(),
                grow: Grows::Known,
                server: ServerIx(u32::MAX),
                unfit: Vec::new(),
                claims: Vec::new(),
                retry: RetryShape::default(),
                expected_ms: 1,
                placeholders: false,
            });
        }
        self
    }
}

/// The endpoints of a plan's servers, in the order of [`EndpointIx`].
fn endpoints(plan: &Plan) -> Vec<EndpointShape> {
    let mut endpoints = Vec::new();
    for (at, server) in plan.servers.values().enumerate() {
        let count = match &server.kind {
            ServerKind::Comfy { urls } => urls.len(),
            ServerKind::Cloud { .. } | ServerKind::Embedded { .. } | ServerKind::Here => 1,
        };
        endpoints.extend((0..count).map(|nth| EndpointShape {
            server: ServerIx(dense(at)),
            nth: dense(nth),
            max_jobs: server.max_jobs,
        }));
    }
    endpoints
}

/// A step that the plan does not have is one that nothing can be done for: no index is as large.
fn step_ix(plan: &Plan, id: &StepId) -> StepIx {
    StepIx(plan.steps.get_index_of(id).map_or(u32::MAX, dense))
}

fn step_shape(plan: &Plan, step: &StepPlan, expected_ms: u64) -> StepShape {
    let server = plan.servers.get_index_of(&step.server);
    let (grow, placeholders) = match &step.grow {
        Grow::Known => (Grows::Known, false),
        Grow::Later { .. } => (Grows::Once, false),
        Grow::Stream { from, list } => (Grows::Stream(step_ix(plan, from)), list.is_none()),
    };
    StepShape {
        needs: step
            .needs
            .iter()
            .map(|need| Need {
                step: step_ix(plan, &need.step),
                optional: need.optional,
            })
            .collect(),
        grow,
        server: ServerIx(server.map_or(u32::MAX, dense)),
        unfit: step.unfit.clone(),
        claims: step
            .claims
            .iter()
            .map(|(limit, n)| {
                let at = plan.limits.get_index_of(limit);
                (LimitIx(at.map_or(u32::MAX, dense)), *n)
            })
            .collect(),
        retry: RetryShape {
            attempts: step.retry.attempts,
            delay: step.retry.delay_ms,
            max_delay: step.retry.max_delay_ms,
            classes: step.retry.classes.clone(),
        },
        expected_ms,
        placeholders,
    }
}

pub(super) fn dense(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
