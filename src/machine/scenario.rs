//! For tests: pipelines and worlds drawn from a seed. Whatever happens to a task follows from the seed and from what the task is, never
//! from when or under which index it runs, so that an oracle can know it beforehand.

use super::*;
use crate::base::{StepId, TaskName};
use crate::plan::{RetryClass, TaskIx, TaskPlan};

/// A number that follows from others.
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x51_7c_c1_b7, |state: u64, part| {
        let mut mixed = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Draws numbers in turn.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = mix(&[self.0, 77]);
        self.0 % sides.max(1)
    }

    pub(super) fn small(&mut self, sides: u32) -> u32 {
        u32::try_from(self.roll(sides.into())).unwrap()
    }

    /// With this chance in a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// What a task is, however it is numbered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TaskId {
    pub(super) step: StepIx,
    pub(super) order: Vec<u32>,
}

impl TaskId {
    pub(super) fn hash(&self) -> u64 {
        let mut parts = vec![u64::from(self.step.0)];
        parts.extend(self.order.iter().map(|n| u64::from(*n)));
        mix(&parts)
    }
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    Failed(FailureClass),
    /// Its job is lost whenever it is submitted.
    Lost,
}

/// An endpoint that does not answer for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) endpoint: EndpointIx,
    pub(super) from: u64,
    pub(super) to: u64,
    /// It was restarted: its jobs are gone.
    pub(super) forgets: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    /// Steps whose tasks share results with equal ones.
    pub(super) keyed: Vec<bool>,
    pub(super) outages: Vec<Outage>,
    pub(super) stops: Vec<(u64, CancelReason)>,
    /// Chance of trouble in a hundred.
    pub(super) trouble: u64,
}

impl Scenario {
    /// A world in which only the pipeline's own failures decide how tasks end: servers may be away, but forget nothing.
    pub(super) fn orderly(seed: u64, size: u32) -> Self {
        let mut dice = Dice::new(mix(&[seed, 1]));
        let mut scenario = Self::draw(&mut dice, seed, size);
        scenario.shape.policy.keep_going = true;
        scenario
    }

    /// A world in which anything may happen.
    pub(super) fn chaotic(seed: u64, size: u32) -> Self {
        let mut dice = Dice::new(mix(&[seed, 2]));
        let mut scenario = Self::draw(&mut dice, seed, size);
        for outage in &mut scenario.outages {
            outage.forgets = dice.chance(60);
        }
        if dice.chance(30) {
            let reasons = [CancelReason::Superseded, CancelReason::Requested];
            let reason = reasons[usize::try_from(dice.roll(2)).unwrap()];
            let at = dice.roll(200);
            scenario.stops.push((at, reason));
            if dice.chance(40) {
                scenario
                    .stops
                    .push((at + dice.roll(40), CancelReason::Leave));
            }
        }
        let policy = &mut scenario.shape.policy;
        policy.keep_going = dice.chance(60);
        policy.max_fail = dice.chance(20).then(|| 1 + dice.small(3));
        policy.deadline = dice.chance(10).then(|| 1 + dice.roll(300));
        scenario
    }

    fn draw(dice: &mut Dice, seed: u64, size: u32) -> Self {
        let mut shape = Shape {
            seed,
            limits: (0..dice.roll(3)).map(|_| 1 + dice.small(4)).collect(),
            max_parallel: dice.chance(40).then(|| 1 + dice.small(5)),
            ..Shape::default()
        };
        let servers = 1 + dice.small(3);
        for server in 0..servers {
            let pool = if dice.chance(40) {
                1 + dice.small(3)
            } else {
                1
            };
            shape.endpoints.extend((0..pool).map(|nth| EndpointShape {
                server: ServerIx(server),
                nth,
                max_jobs: 1 + dice.small(3),
            }));
        }
        let steps = 1 + dice.small(size.max(1));
        for at in 0..steps {
            let step = draw_step(dice, at, servers, &shape);
            if step.grow == Grows::Known {
                let count = [1, 1, 3, 4, 0][usize::try_from(dice.roll(5)).unwrap()];
                shape.tasks.extend((0..count).map(|nth| TaskShape {
                    step: StepIx(at),
                    order: vec![nth],
                    needs: Vec::new(),
                    skip: dice.chance(8),
                }));
            }
            shape.steps.push(step);
        }
        let mut outages = Vec::new();
        for at in 0..shape.endpoints.len() {
            if dice.chance(25) {
                let from = dice.roll(150);
                outages.push(Outage {
                    endpoint: EndpointIx(u32::try_from(at).unwrap()),
                    from,
                    to: from + 5 + dice.roll(100),
                    forgets: false,
                });
            }
        }
        Self {
            seed,
            keyed: (0..steps).map(|_| dice.chance(30)).collect(),
            outages,
            stops: Vec::new(),
            trouble: [0, 10, 30][usize::try_from(dice.roll(3)).unwrap()],
            shape,
        }
    }

    pub(super) fn step(&self, step: StepIx) -> &StepShape {
        &self.shape.steps[step.0 as usize]
    }

    fn happens(&self, what: u64, id: u64, percent: u64) -> bool {
        mix(&[self.seed, what, id]) % 100 < percent
    }

    /// What decides a task's result: its key, or itself.
    pub(super) fn content(&self, id: &TaskId) -> u64 {
        if self.keyed[id.step.0 as usize] {
            mix(&[id.step.0.into(), id.hash() % 2])
        } else {
            id.hash()
        }
    }

    pub(super) fn is_keyed(&self, id: &TaskId) -> bool {
        self.keyed[id.step.0 as usize]
    }

    /// Whether its `when` holds when it is evaluated.
    pub(super) fn is_wanted(&self, id: &TaskId) -> bool {
        !self.happens(10, id.hash(), 6)
    }

    /// Whether an earlier run has its result.
    pub(super) fn is_cached(&self, id: &TaskId) -> bool {
        self.happens(11, self.content(id), 8)
    }

    pub(super) fn fate(&self, id: &TaskId, attempt: u32) -> Fate {
        let drawn = mix(&[self.seed, 12, self.content(id), attempt.into()]);
        if drawn % 100 >= self.trouble {
            return Fate::Done;
        }
        match (drawn / 100) % 4 {
            0 => Fate::Lost,
            1 => Fate::Failed(FailureClass::Oom),
            2 => Fate::Failed(FailureClass::Connection),
            _ => Fate::Failed(FailureClass::Node),
        }
    }

    /// Whether the first job of an attempt is lost, or its files are gone, by accident.
    pub(super) fn accident(&self, id: &TaskId, attempt: u32) -> Option<Outcome> {
        match mix(&[self.seed, 13, id.hash(), attempt.into()]) % 20 {
            0 => Some(Outcome::Lost),
            1 => Some(Outcome::Gone),
            _ => None,
        }
    }

    pub(super) fn may_retry(&self, step: StepIx, attempt: u32, class: FailureClass) -> bool {
        let retry = &self.step(step).retry;
        attempt < retry.attempts
            && class.retry_class().is_some_and(|class| {
                retry.classes.contains(&class) || retry.classes.contains(&RetryClass::Any)
            })
    }

    /// The tasks of an expansion; `None`: they cannot be known.
    pub(super) fn expand(&self, step: StepIx, source: Option<&TaskId>) -> Option<Vec<TaskId>> {
        let from = source.map_or(0, TaskId::hash);
        let id = mix(&[step.0.into(), from]);
        let order = source.map_or_else(Vec::new, |source| source.order.clone());
        if self.step(step).placeholders {
            return Some(vec![TaskId { step, order }]);
        }
        if self.happens(20, id, self.trouble / 10) {
            return None;
        }
        let most = if source.is_some() { 3 } else { 4 };
        let count = u32::try_from(mix(&[self.seed, 21, id]) % most).unwrap();
        let of = |nth| {
            let mut order = order.clone();
            order.push(nth);
            TaskId { step, order }
        };
        Some((0..count).map(of).collect())
    }

    /// How long something takes.
    pub(super) fn takes(&self, what: u64, id: &TaskId, try_: u32) -> u64 {
        let most = [10, 60, 15, 5][usize::try_from(what).unwrap()];
        1 + mix(&[self.seed, 30 + what, id.hash(), try_.into()]) % most
    }
}

fn draw_step(dice: &mut Dice, at: u32, servers: u32, shape: &Shape) -> StepShape {
    let mut needs: Vec<Need> = Vec::new();
    for _ in 0..dice.roll(3).min(at.into()) {
        let step = StepIx(dice.small(at));
        if !needs.iter().any(|need| need.step == step) {
            let optional = dice.chance(20);
            needs.push(Need { step, optional });
        }
    }
    let grow = match (dice.roll(4), needs.first()) {
        (0, Some(need)) => Grows::Stream(need.step),
        (1, _) => Grows::Once,
        _ => Grows::Known,
    };
    let mut claims = Vec::new();
    for (limit, all) in shape.limits.iter().zip(0..) {
        if dice.chance(40) {
            // A claim that is too big must not keep the run up.
            let n = 1 + dice.small(*limit) + u32::from(dice.chance(2)) * 9;
            claims.push((LimitIx(all), n));
        }
    }
    let classes = [
        vec![RetryClass::Transient],
        vec![RetryClass::Any],
        vec![RetryClass::Oom, RetryClass::NodeError],
    ];
    StepShape {
        needs,
        placeholders: matches!(grow, Grows::Stream(_)) && dice.chance(50),
        grow,
        server: ServerIx(dice.small(servers)),
        unfit: Vec::new(),
        claims,
        retry: RetryShape {
            attempts: 1 + dice.small(3),
            delay: dice.roll(60),
            max_delay: 80,
            classes: classes[usize::try_from(dice.roll(3)).unwrap()].clone(),
        },
        expected_ms: 1 + dice.roll(100),
    }
}

/// The plan of a task, as an expansion gives it.
pub(super) fn plan_of(id: &TaskId, source: Option<TaskIx>) -> TaskPlan {
    TaskPlan {
        name: TaskName(format!("s{}{:?}", id.step.0, id.order)),
        order: id.order.clone(),
        needs: source.into_iter().collect(),
        ..TaskPlan::only(&StepId(format!("s{}", id.step.0)))
    }
}
