//! Where tasks run and what they take: endpoints, limits, and lanes, which are tasks that compete for exactly the same things.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::shape::{EndpointIx, ServerIx, Shape, StepIx, StepShape, dense};
use super::task::Rank;
use crate::plan::TaskIx;

/// Tasks of one endpoint that are prepared beyond the jobs it may hold, at least; so many, that the next job need not wait for the journal.
const AHEAD: u32 = 4;

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) max_jobs: u32,
    pub(super) up: bool,
    /// Slots taken.
    pub(super) in_use: u32,
    /// Tasks that are being prepared for it.
    pub(super) preparing: u32,
    /// Tasks that are prepared for it, or being so.
    pub(super) ahead: BTreeSet<TaskIx>,
    /// Prepared tasks, by lane; no set is empty.
    pub(super) prepared: BTreeMap<usize, BTreeSet<Rank>>,
}

impl Endpoint {
    pub(super) fn free(&self) -> u32 {
        self.max_jobs.saturating_sub(self.in_use)
    }

    /// Tasks of ours, without those whose results are only fetched.
    pub(super) fn load(&self) -> u32 {
        dense(self.ahead.len()).saturating_add(self.in_use)
    }
}

/// Tasks with the same endpoints and the same claims. When the first of them cannot start, no other one can.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// The endpoints of its server where they can run.
    pub(super) pool: Vec<EndpointIx>,
    /// What each task takes of the limits.
    pub(super) claims: Vec<(usize, u32)>,
    /// No task of it can ever start: it claims more than there is, or has no server.
    pub(super) impossible: bool,
    /// Tasks that may be prepared.
    pub(super) ready: BTreeSet<Rank>,
    /// Tasks that may be prepared later, by time.
    pub(super) paused: BTreeSet<(u64, TaskIx)>,
    /// Tasks that are prepared, or being so.
    pub(super) ahead: u32,
}

impl Lane {
    pub(super) fn shares_a_claim_with(&self, other: &Self) -> bool {
        let theirs = |limit| other.claims.iter().any(|(l, _)| *l == limit);
        self.claims.iter().any(|(limit, _)| theirs(*limit))
    }
}

/// All resources of a run.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) lanes: Vec<Lane>,
    /// The lane of each step.
    lane_of: Vec<usize>,
    limits: Vec<u32>,
    /// What running tasks hold of each limit.
    claimed: Vec<u32>,
    /// What tasks that are prepared, or being so, will want of each limit.
    wanted: Vec<u32>,
    max_parallel: usize,
    /// Tasks that count against `max_parallel`.
    pub(super) in_flight: usize,
}

/// What the tasks of a lane have in common: where they run, where they cannot, and what they claim.
type Kind<'a> = (ServerIx, &'a [u32], Vec<(usize, u32)>);

impl Places {
    pub(super) fn new(shape: &Shape) -> Self {
        let mut known: HashMap<Kind<'_>, usize> = HashMap::new();
        let mut lanes = Vec::new();
        let lane_of = shape
            .steps
            .iter()
            .map(|step| {
                let mut claims: BTreeMap<usize, u32> = BTreeMap::new();
                for (limit, n) in step.claims.iter().filter(|(_, n)| *n > 0) {
                    let sum = claims.entry(limit.0 as usize).or_default();
                    *sum = sum.saturating_add(*n);
                }
                let claims: Vec<_> = claims.into_iter().collect();
                *known
                    .entry((step.server, &step.unfit, claims.clone()))
                    .or_insert_with(|| {
                        lanes.push(lane(shape, step, claims));
                        lanes.len() - 1
                    })
            })
            .collect();
        let endpoints = shape.endpoints.iter().map(|endpoint| Endpoint {
            max_jobs: endpoint.max_jobs.max(1),
            up: true,
            in_use: 0,
            preparing: 0,
            ahead: BTreeSet::new(),
            prepared: BTreeMap::new(),
        });
        Self {
            endpoints: endpoints.collect(),
            lanes,
            lane_of,
            limits: shape.limits.clone(),
            claimed: vec![0; shape.limits.len()],
            wanted: vec![0; shape.limits.len()],
            max_parallel: shape.max_parallel.map_or(usize::MAX, |n| n.max(1) as usize),
            in_flight: 0,
        }
    }

    pub(super) fn lane_of(&self, step: StepIx) -> usize {
        self.lane_of[step.0 as usize]
    }

    pub(super) fn lane(&self, step: StepIx) -> &Lane {
        &self.lanes[self.lane_of(step)]
    }

    pub(super) fn lane_mut(&mut self, step: StepIx) -> &mut Lane {
        let lane = self.lane_of(step);
        &mut self.lanes[lane]
    }

    pub(super) fn endpoint(&mut self, endpoint: EndpointIx) -> &mut Endpoint {
        &mut self.endpoints[endpoint.0 as usize]
    }

    /// Places under `max_parallel` that are left.
    pub(super) fn left(&self) -> usize {
        self.max_parallel.saturating_sub(self.in_flight)
    }

    /// What is left of each limit.
    pub(super) fn available(&self) -> Vec<u32> {
        let both = self.limits.iter().zip(&self.claimed);
        both.map(|(all, taken)| all.saturating_sub(*taken))
            .collect()
    }

    /// Counts a task of a lane as one that is prepared (or being so), or no more.
    pub(super) fn count_ahead(&mut self, lane: usize, comes: bool) {
        let step = |count: &mut u32, n: u32| {
            *count = if comes {
                count.saturating_add(n)
            } else {
                count.saturating_sub(n)
            };
        };
        step(&mut self.lanes[lane].ahead, 1);
        for (limit, n) in &self.lanes[lane].claims {
            if let Some(wanted) = self.wanted.get_mut(*limit) {
                step(wanted, *n);
            }
        }
    }

    /// Takes what a task of a lane needs beside its slot, or gives it back.
    pub(super) fn count_in_flight(&mut self, lane: usize, comes: bool) {
        self.in_flight = if comes {
            self.in_flight + 1
        } else {
            self.in_flight.saturating_sub(1)
        };
        for (limit, n) in &self.lanes[lane].claims {
            if let Some(claimed) = self.claimed.get_mut(*limit) {
                *claimed = if comes {
                    claimed.saturating_add(*n)
                } else {
                    claimed.saturating_sub(*n)
                };
            }
        }
    }

    pub(super) fn add_prepared(&mut self, endpoint: EndpointIx, lane: usize, rank: Rank) {
        let prepared = &mut self.endpoint(endpoint).prepared;
        prepared.entry(lane).or_default().insert(rank);
    }

    pub(super) fn remove_prepared(&mut self, endpoint: EndpointIx, lane: usize, rank: &Rank) {
        let prepared = &mut self.endpoint(endpoint).prepared;
        if let Some(ranks) = prepared.get_mut(&lane) {
            ranks.remove(rank);
            if ranks.is_empty() {
                prepared.remove(&lane);
            }
        }
    }

    /// Whether another task of a lane may be prepared as far as its claims go: as many as can hold them at a time, and at least one, so
    /// that no other lane keeps this one from being next.
    pub(super) fn may_want(&self, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        let left: Vec<u32> = self
            .limits
            .iter()
            .zip(&self.wanted)
            .map(|(all, wanted)| all.saturating_sub(*wanted))
            .collect();
        lane.ahead == 0 || fits(&lane.claims, &left)
    }

    /// How many more tasks of an endpoint may be prepared. While there is room for a job, no more than fit: the first in order are the
    /// first to start, not those that happen to be prepared sooner. Beyond that, some are prepared ahead. Tasks that only wait for their
    /// claims keep nobody from being prepared.
    pub(super) fn room(&self, endpoint: EndpointIx, available: &[u32]) -> u32 {
        let endpoint = &self.endpoints[endpoint.0 as usize];
        let free = endpoint.free().min(dense(self.left()));
        let window = if free > 0 {
            free
        } else {
            endpoint.free().saturating_add(endpoint.max_jobs.max(AHEAD))
        };
        let waiting: u32 = endpoint
            .prepared
            .iter()
            .filter(|(lane, _)| fits(&self.lanes[**lane].claims, available))
            .map(|(_, ranks)| dense(ranks.len()))
            .sum();
        window.saturating_sub(endpoint.preparing.saturating_add(waiting))
    }
}

fn lane(shape: &Shape, step: &StepShape, claims: Vec<(usize, u32)>) -> Lane {
    let endpoints = shape.endpoints.iter().enumerate();
    let all: Vec<_> = endpoints
        .filter(|(_, endpoint)| endpoint.server == step.server)
        .map(|(at, endpoint)| (EndpointIx(dense(at)), endpoint.nth))
        .collect();
    let fit = all.iter().filter(|(_, nth)| !step.unfit.contains(nth));
    let mut pool: Vec<_> = fit.map(|(at, _)| *at).collect();
    if pool.is_empty() {
        // Where nobody can, the server's own words say why.
        pool.extend(all.iter().map(|(at, _)| *at));
    }
    let impossible = pool.is_empty() || !fits(&claims, &shape.limits);
    Lane {
        pool,
        claims,
        impossible,
        ready: BTreeSet::new(),
        paused: BTreeSet::new(),
        ahead: 0,
    }
}

/// Whether there is enough of every limit.
pub(super) fn fits(claims: &[(usize, u32)], available: &[u32]) -> bool {
    let enough = |limit: usize, n: u32| available.get(limit).is_some_and(|left| *left >= n);
    claims.iter().all(|(limit, n)| enough(*limit, *n))
}
