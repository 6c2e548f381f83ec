//! Who is next, and where: starts, assignments, and moves between the endpoints of a pool.

use std::cmp::Reverse;

use super::fact::{Fact, RetryCause};
use super::places::fits;
use super::shape::{EndpointIx, dense};
use super::state::Machine;
use super::task::{Rank, TaskState};
use crate::plan::TaskIx;

/// How often a task may be overtaken by lower-ranked ones that take what it claims while its endpoint is full. After that they wait.
pub(super) const MAX_OVERTAKEN: u32 = 4;

impl Machine {
    /// A task whose twin has ended is prepared again.
    pub(super) fn decide_woken(&self) -> Option<Fact> {
        let task = *self.twins.woken.first()?;
        Some(moved(task, self.task_is_fresh(task), RetryCause::Twin))
    }

    fn task_is_fresh(&self, task: TaskIx) -> bool {
        match self.tasks[task.0 as usize].state {
            TaskState::Running { fresh, .. } => fresh,
            _ => self.tasks[task.0 as usize].fresh,
        }
    }

    /// The next prepared task for which there is a slot, a place and all it claims. Ranks decide; but one that waits for its slot holds
    /// up nobody elsewhere, unless others have taken too often what it claims. One that waits for its claims keeps them from the lower
    /// ones, else many small claims would starve a big one.
    pub(super) fn decide_start(&self) -> Option<Fact> {
        if self.places.left() == 0 {
            return None;
        }
        let mut heads: Vec<(&Rank, usize, usize)> = Vec::new();
        for (at, endpoint) in self.places.endpoints.iter().enumerate() {
            let lanes = endpoint.prepared.iter();
            heads.extend(lanes.filter_map(|(lane, ranks)| Some((ranks.first()?, *lane, at))));
        }
        heads.sort_unstable();
        let mut available = self.places.available();
        for (rank, lane, at) in heads {
            let claims = &self.places.lanes[lane].claims;
            let has_slot = self.places.endpoints[at].free() > 0;
            let enough = fits(claims, &available);
            if has_slot && enough {
                return match self.state(rank.task) {
                    TaskState::Running { ticket, .. } => Some(Fact::Started { ticket }),
                    _ => None,
                };
            }
            let overtaken = self.tasks[rank.task.0 as usize].overtaken >= MAX_OVERTAKEN;
            if has_slot || overtaken {
                for (limit, n) in claims {
                    available[*limit] = available[*limit].saturating_sub(*n);
                }
            }
        }
        None
    }

    /// The next task to prepare. What was paused goes first: it has waited longest.
    pub(super) fn decide_assignment(&self, now: u64) -> Option<Fact> {
        let mut heads: Vec<(bool, Rank, usize)> = Vec::new();
        for (at, lane) in self.places.lanes.iter().enumerate() {
            match lane.paused.first() {
                Some((not_before, task)) if *not_before <= now => {
                    heads.push((false, self.rank(*task), at));
                }
                _ => heads.extend(lane.ready.first().map(|rank| (true, rank.clone(), at))),
            }
        }
        heads.sort_unstable();
        let available = self.places.available();
        heads.into_iter().find_map(|(_, rank, lane)| {
            if !self.places.may_want(lane) {
                return None;
            }
            let endpoint = self.endpoint_for(rank.task, lane, &available)?;
            let known = &self.tasks[rank.task.0 as usize];
            Some(Fact::Assigned {
                ticket: known.next,
                endpoint,
                fresh: known.fresh,
            })
        })
    }

    /// The endpoint on which a task is best prepared: one that is up, not the one where it went wrong, with the fewest tasks of ours,
    /// where the results that it needs are. When none is up, any of them, so that the failure shows.
    fn endpoint_for(&self, task: TaskIx, lane: usize, available: &[u32]) -> Option<EndpointIx> {
        let pool = &self.places.lanes[lane].pool;
        let is_up = |at: &EndpointIx| self.places.endpoints[at.0 as usize].up;
        let some_up = pool.iter().any(is_up);
        let known = &self.tasks[task.0 as usize];
        let open = pool.iter().filter(|at| is_up(at) || !some_up);
        open.filter(|at| self.places.room(**at, available) > 0)
            .min_by_key(|at| {
                (
                    known.avoid == Some(**at),
                    self.places.endpoints[at.0 as usize].load(),
                    Reverse(self.affinity(task, **at)),
                    **at,
                )
            })
            .copied()
    }

    /// How much of what a task needs is at an endpoint already.
    fn affinity(&self, task: TaskIx, at: EndpointIx) -> u32 {
        let known = &self.tasks[task.0 as usize];
        let step = &self.steps[known.step.0 as usize];
        let is_here = |task: &TaskIx| self.known(*task).is_some_and(|task| task.at == Some(at));
        let own = known.needs.iter().filter(|need| is_here(need)).count();
        let single = step.needs.iter().filter(|need| {
            let needed = self.steps.get(need.0 as usize);
            needed.is_some_and(|need| matches!(&need.tasks[..], [only] if is_here(only)))
        });
        let models = u32::from(step.at == Some(at));
        dense(own + single.count())
            .saturating_mul(2)
            .saturating_add(models)
    }

    /// What waits on an endpoint that is down goes to another one of its pool that is up.
    pub(super) fn decide_leaving(&self) -> Option<Fact> {
        let down = self.places.endpoints.iter().filter(|endpoint| !endpoint.up);
        down.flat_map(|endpoint| &endpoint.ahead).find_map(|task| {
            let known = &self.tasks[task.0 as usize];
            let pool = &self.places.lane(known.step).pool;
            let up = pool
                .iter()
                .any(|at| self.places.endpoints[at.0 as usize].up);
            (up && !known.pinned)
                .then(|| moved(*task, self.task_is_fresh(*task), RetryCause::Moved))
        })
    }

    /// When nothing is left to prepare for an endpoint with a free slot, it takes over what waits for a slot of another one.
    pub(super) fn decide_move(&self) -> Option<Fact> {
        if self.places.left() == 0 {
            return None;
        }
        let endpoints = &self.places.endpoints;
        let available = self.places.available();
        let idle = |at: &EndpointIx| {
            let endpoint = &endpoints[at.0 as usize];
            endpoint.up && endpoint.free() > 0 && endpoint.ahead.is_empty()
        };
        let mut best: Option<&Rank> = None;
        for endpoint in endpoints.iter().filter(|e| e.up && e.free() == 0) {
            for (lane, ranks) in &endpoint.prepared {
                let lane = &self.places.lanes[*lane];
                if lane.pool.len() == 1 || !fits(&lane.claims, &available) {
                    continue;
                }
                let idle: Vec<_> = lane.pool.iter().filter(|at| idle(at)).collect();
                let first = ranks.iter().find(|rank| {
                    let known = &self.tasks[rank.task.0 as usize];
                    !known.pinned && idle.iter().any(|at| known.avoid != Some(**at))
                });
                best = first.into_iter().chain(best).min();
            }
        }
        let task = best?.task;
        Some(moved(task, self.task_is_fresh(task), RetryCause::Moved))
    }
}

/// A task is prepared again in its turn, as the attempt that it was.
fn moved(task: TaskIx, fresh: bool, because: RetryCause) -> Fact {
    Fact::Retried {
        task,
        not_before: 0,
        fresh,
        attempt: false,
        because,
    }
}
