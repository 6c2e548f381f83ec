//! The immutable side: tasks, what they wait for, and the limits.

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, TaskIx, TaskPlan};

/// Index of a server in [`Plan::servers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerIx(pub u32);

/// A task as far as scheduling is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskShape {
    /// Tasks that must be done before it starts.
    pub needs: Vec<TaskIx>,
    /// Where it runs.
    pub server: ServerIx,
}

/// What does not change while a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Tasks in file order.
    pub tasks: Vec<TaskShape>,
    /// Jobs that each server may hold at a time; at least one each.
    pub max_jobs: Vec<u32>,
    /// Tasks that may be in flight over all servers.
    pub max_parallel: Option<u32>,
}

impl Shape {
    /// The shape of a plan.
    pub fn of(plan: &Plan) -> Self {
        let tasks = plan
            .tasks
            .iter()
            .map(|task| {
                let server = plan
                    .steps
                    .get(&task.step)
                    .and_then(|step| plan.servers.get_index_of(&step.server))
                    .unwrap_or_default();
                TaskShape {
                    needs: needs(plan, task),
                    server: ServerIx(dense(server)),
                }
            })
            .collect();
        Self {
            tasks,
            max_jobs: plan.servers.values().map(|s| s.max_jobs.max(1)).collect(),
            max_parallel: plan.max_parallel.map(|n| n.max(1)),
        }
    }

    /// For each task, the tasks that wait for it.
    pub(super) fn dependants(&self) -> Vec<Vec<TaskIx>> {
        let mut dependants = vec![Vec::new(); self.tasks.len()];
        for (at, task) in self.tasks.iter().enumerate() {
            for need in &task.needs {
                dependants[need.0 as usize].push(TaskIx(dense(at)));
            }
        }
        dependants
    }

    /// For each task, the number of tasks on the longest chain that starts with it. A task on a cycle (which no plan has) counts 0.
    pub(super) fn chains(&self, dependants: &[Vec<TaskIx>]) -> Vec<u32> {
        let mut chains = vec![0; self.tasks.len()];
        let mut open: Vec<usize> = dependants.iter().map(Vec::len).collect();
        let mut ready: Vec<usize> = (0..open.len()).filter(|&at| open[at] == 0).collect();
        while let Some(at) = ready.pop() {
            let below = dependants[at].iter().map(|d| chains[d.0 as usize]).max();
            chains[at] = below.unwrap_or(0) + 1;
            for need in &self.tasks[at].needs {
                let need = need.0 as usize;
                open[need] -= 1;
                if open[need] == 0 {
                    ready.push(need);
                }
            }
        }
        chains
    }
}

/// The tasks that a task waits for: all of the steps that its step needs, and its own.
fn needs(plan: &Plan, task: &TaskPlan) -> Vec<TaskIx> {
    let step = plan.steps.get(&task.step);
    let of_steps = plan.tasks.iter().enumerate().filter_map(|(at, other)| {
        step.is_some_and(|s| s.waits_for(&other.step))
            .then(|| TaskIx(dense(at)))
    });
    of_steps.chain(task.needs.iter().copied()).collect()
}

pub(super) fn dense(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
