//! Tasks with equal keys: one of them runs, the others wait for its end. When it succeeds they are all prepared again, and find its
//! result; when it does not, the next one runs.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::state::Machine;
use super::task::{Rank, TaskState};
use crate::base::ContentHash;
use crate::plan::TaskIx;

/// Who waits for whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Twins {
    groups: HashMap<ContentHash, Group>,
    /// Keys of tasks that have succeeded.
    done: HashSet<ContentHash>,
    /// Parked tasks whose wait is over.
    pub(super) woken: BTreeSet<TaskIx>,
}

#[derive(Clone, Debug)]
struct Group {
    leader: TaskIx,
    waiting: BTreeSet<Rank>,
}

impl Machine {
    /// Whether a task whose key has become known is to wait for another one.
    pub(super) fn joins(&mut self, task: TaskIx, key: ContentHash) -> bool {
        if self.tasks[task.0 as usize].key != Some(key) {
            self.abdicate(task, false);
        }
        let rank = self.rank(task);
        if let Some(group) = self.twins.groups.get_mut(&key) {
            if group.leader == task {
                return false;
            }
            group.waiting.insert(rank);
        } else if self.twins.done.contains(&key) && !self.tasks[task.0 as usize].doubled {
            self.task(task).doubled = true;
            self.twins.woken.insert(task);
            return true;
        } else {
            let waiting = BTreeSet::new();
            let group = Group {
                leader: task,
                waiting,
            };
            self.twins.groups.insert(key, group);
            self.task(task).key = Some(key);
            return false;
        }
        self.task(task).key = Some(key);
        true
    }

    /// A task neither leads those with its key any more nor waits for the one that does.
    pub(super) fn abdicate(&mut self, task: TaskIx, succeeded: bool) {
        self.twins.woken.remove(&task);
        let Some(key) = self.task(task).key.take() else {
            return;
        };
        let rank = self.rank(task);
        let Some(group) = self.twins.groups.get_mut(&key) else {
            return;
        };
        if group.leader != task {
            group.waiting.remove(&rank);
            return;
        }
        if succeeded {
            self.twins.done.insert(key);
            let group = self.twins.groups.remove(&key);
            for rank in group.into_iter().flat_map(|group| group.waiting) {
                let twin = self.task(rank.task);
                twin.key = None;
                twin.doubled = true;
                self.twins.woken.insert(rank.task);
            }
        } else if let Some(next) = group.waiting.pop_first() {
            group.leader = next.task;
            self.twins.woken.insert(next.task);
        } else {
            self.twins.groups.remove(&key);
        }
    }

    /// Whether a task waits for no twin any more, although it still stands where it did.
    pub(super) fn is_woken(&self, task: TaskIx) -> bool {
        let parked = matches!(self.state(task), TaskState::Parked { .. });
        parked && self.twins.woken.contains(&task)
    }
}
