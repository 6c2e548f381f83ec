//! The machine in ten thousand drawn worlds, against an oracle. A failure names the seed and the smallest size that fails.

use super::foresight::compare;
use super::scenario::{Dice, Scenario, mix};
use super::tests::{diagnostic, done, failed, planned};
use super::world::World;
use super::*;
use crate::base::ContentHash;
use crate::event::RunStatus;
use crate::plan::TaskIx;

/// Steps of the largest pipelines that are drawn.
const SIZE: u32 = 7;

/// Tries a property on many seeds; one that fails is tried again with smaller pipelines.
fn every(seeds: std::ops::Range<u64>, holds: impl Fn(u64, u32) -> Result<(), String>) {
    for seed in seeds {
        if holds(seed, SIZE).is_err() {
            for size in 1..=SIZE {
                if let Err(wrong) = holds(seed, size) {
                    panic!("seed {seed}, size {size}: {wrong}");
                }
            }
        }
    }
}

fn finish(world: &mut World) -> Result<RunStatus, String> {
    world.run()?.ok_or_else(|| "the driver died".to_owned())
}

fn nth(at: u64) -> TaskIx {
    TaskIx(u32::try_from(at).unwrap())
}

/// A life that ends somewhere in a journal.
fn cut(seed: u64, journal: usize) -> usize {
    usize::try_from(mix(&[seed, 99]) % (journal as u64)).unwrap()
}

/// The run ends as foreseen, goes on as if nothing had been when another driver takes over, and ends the same when it is resumed after a
/// crash.
fn orderly(seed: u64, size: u32) -> Result<(), String> {
    let scenario = Scenario::orderly(seed, size);
    let mut whole = World::new(&scenario);
    let status = finish(&mut whole)?;
    compare(&scenario, &whole.machine, &whole.ledger.statuses())?;
    let life = cut(seed, whole.journal.len());

    let mut resumed = World::living(&scenario, life);
    resumed.run()?;
    resumed.resume(mix(&[seed, 98]) % 100, &[])?;
    let again = finish(&mut resumed)?;
    if again != status {
        return Err(format!(
            "resumed after {life} facts it is {again:?}, not {status:?}"
        ));
    }
    compare(&scenario, &resumed.machine, &resumed.ledger.statuses())
        .map_err(|wrong| format!("resumed after {life} facts: {wrong}"))
}

/// Whatever happens, the run ends, breaks no rule on the way, and goes on as if nothing had been when another driver takes over.
fn chaotic(seed: u64, size: u32) -> Result<(), String> {
    let scenario = Scenario::chaotic(seed, size);
    let mut whole = World::new(&scenario);
    let status = finish(&mut whole)?;
    let life = cut(seed, whole.journal.len());

    let mut other = World::living(&scenario, life);
    other.run()?;
    other
        .take_over()
        .map_err(|wrong| format!("taken over after {life} facts: {wrong}"))?;
    let again = finish(&mut other)?;
    let both = whole.journal.iter().zip(&other.journal);
    for ((at, fact), (other_at, other_fact)) in both {
        if (at, fact) != (other_at, other_fact) {
            return Err(format!(
                "taken over after {life} facts: {other_fact:?} at {other_at}, not {fact:?} at {at}"
            ));
        }
    }
    if again != status || whole.journal.len() != other.journal.len() {
        return Err(format!(
            "taken over after {life} facts it is {again:?}, not {status:?}"
        ));
    }

    let mut resumed = World::living(&scenario, life);
    resumed.run()?;
    let gone: Vec<TaskIx> = (0..9)
        .filter(|at| mix(&[seed, 97, *at]).is_multiple_of(8))
        .map(nth)
        .collect();
    resumed.resume(mix(&[seed, 98]) % 100, &gone)?;
    finish(&mut resumed).map_err(|wrong| format!("resumed after {life} facts: {wrong}"))?;
    Ok(())
}

/// A run that failed or was stopped, resumed when nothing fails any more, ends well.
fn healed(seed: u64, size: u32) -> Result<(), String> {
    let mut scenario = Scenario::chaotic(seed, size);
    let mut world = World::new(&scenario);
    finish(&mut world)?;
    scenario.trouble = 0;
    scenario.stops.clear();
    scenario.outages.clear();
    scenario.shape.policy = Policy {
        keep_going: true,
        ..Policy::default()
    };
    world.scenario = scenario.clone();
    world.ledger.obey(scenario.shape.policy);
    world.resume(10, &[TaskIx(1)])?;
    finish(&mut world)?;
    compare(&scenario, &world.machine, &world.ledger.statuses())
}

#[test]
fn orderly_schedules_end_as_foreseen_however_often_the_driver_dies() {
    every(0..2500, orderly);
}

#[test]
fn more_orderly_schedules_end_as_foreseen_however_often_the_driver_dies() {
    every(2500..5000, orderly);
}

#[test]
fn chaotic_schedules_break_no_rule_however_often_the_driver_dies() {
    every(0..2000, chaotic);
}

#[test]
fn more_chaotic_schedules_break_no_rule_however_often_the_driver_dies() {
    every(2000..4000, chaotic);
}

#[test]
fn a_run_that_was_resumed_when_all_is_well_ends_well() {
    every(10_000..11_000, healed);
}

#[test]
fn the_drawn_worlds_contain_what_they_are_to_test() {
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    for seed in 0..1000 {
        let mut world = World::new(&Scenario::chaotic(seed, SIZE));
        finish(&mut world).unwrap();
        for (_, fact) in &world.journal {
            let kind = match fact {
                Fact::Expanded { source: None, .. } => "grown at once",
                Fact::Expanded { .. } => "streamed",
                Fact::ExpandFailed { .. } => "not expanded",
                Fact::StepSkipped { .. } => "closed",
                Fact::Retried { because, .. } => match because {
                    RetryCause::Lost => "lost",
                    RetryCause::Gone => "gone",
                    RetryCause::Failed => "failed",
                    RetryCause::Moved => "moved",
                    RetryCause::Twin => "twin",
                },
                Fact::ServerDown { .. } => "down",
                Fact::Cancelling { .. } => "cancelling",
                Fact::Ended { outcome, .. } => match outcome {
                    Outcome::Done { .. } => "done",
                    Outcome::Cached { .. } => "cached",
                    Outcome::Skipped => "skipped",
                    Outcome::Cancelled => "cancelled",
                    _ => "without result",
                },
                Fact::Settled { settlement, .. } => match settlement {
                    Settlement::Skipped { .. } => "kept",
                    Settlement::Unwanted => "unwanted",
                    Settlement::Cancelled => "stopped",
                    Settlement::Failed => "given up",
                    Settlement::Lost { .. } => "lost for good",
                    Settlement::Impossible => "impossible",
                },
                _ => "else",
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < 5).collect();
    assert!(seen.len() == 23 && rare.is_empty(), "{seen:?}");
}

/// A ticket that may be anything, often that of a try under way.
fn any_ticket(dice: &mut Dice, machine: &Machine) -> Ticket {
    let tasks = u32::try_from(machine.tasks()).unwrap() + 2;
    let most = |dice: &mut Dice, sides| {
        if dice.chance(3) {
            u32::MAX
        } else {
            dice.small(sides)
        }
    };
    let task = TaskIx(most(dice, tasks));
    match (machine.state(task), machine.next(task)) {
        (TaskState::Running { ticket, .. }, _) if dice.chance(90) => ticket,
        (_, Some(next)) if dice.chance(50) => next,
        _ => Ticket {
            task,
            attempt: dice.small(3),
            try_: most(dice, 4),
        },
    }
}

/// One of several.
fn any<T: Clone>(dice: &mut Dice, of: &[T]) -> T {
    of[usize::try_from(dice.roll(of.len() as u64)).unwrap()].clone()
}

/// A fact that may be anything.
fn any_fact(dice: &mut Dice, machine: &Machine) -> Fact {
    let ticket = any_ticket(dice, machine);
    match dice.roll(17) {
        0..=2 => Fact::Assigned {
            ticket,
            endpoint: EndpointIx(dice.small(5)),
            fresh: dice.chance(10),
        },
        3..=5 => {
            let keys = [
                None,
                Some(ContentHash::of(b"a")),
                Some(ContentHash::of(b"b")),
            ];
            let key = any(dice, &keys);
            Fact::Prepared { ticket, key }
        }
        6 | 7 => Fact::Started { ticket },
        8 => Fact::Released { ticket },
        9..=12 => {
            let outcomes = [
                done(),
                Outcome::Skipped,
                failed(FailureClass::Connection),
                Outcome::Cancelled,
                Outcome::Lost,
                Outcome::Gone,
            ];
            let outcome = any(dice, &outcomes);
            Fact::Ended { ticket, outcome }
        }
        _ => any_rare_fact(dice, ticket.task),
    }
}

fn any_rare_fact(dice: &mut Dice, task: TaskIx) -> Fact {
    let step = StepIx(if dice.chance(3) {
        u32::MAX
    } else {
        dice.small(8)
    });
    let source = dice.chance(60).then_some(task);
    let endpoint = EndpointIx(dice.small(5));
    let cause = any(dice, &[Cause::Task(task), Cause::Step(step), Cause::Stop]);
    let reason = any(
        dice,
        &[
            CancelReason::Superseded,
            CancelReason::Deadline,
            CancelReason::Leave,
        ],
    );
    let because = any(
        dice,
        &[RetryCause::Lost, RetryCause::Moved, RetryCause::Twin],
    );
    match dice.roll(11) {
        0 | 1 => Fact::Expanded {
            step,
            source,
            tasks: (0..dice.small(3)).map(|n| planned(n, &[task.0])).collect(),
        },
        2 => Fact::ExpandFailed {
            step,
            source,
            diagnostic: diagnostic(),
        },
        3 | 4 => Fact::Retried {
            task,
            not_before: dice.roll(3) * 40,
            fresh: false,
            attempt: dice.chance(30),
            because,
        },
        5 => Fact::ServerDown { endpoint },
        6 => Fact::ServerUp { endpoint },
        7 if dice.chance(10) => Fact::Stop { reason },
        7 => Fact::Cancelling { task, reason },
        8 => Fact::Settled {
            task,
            settlement: Settlement::Skipped { cause },
        },
        9 if dice.chance(20) => Fact::StepSkipped { step, cause },
        10 if dice.chance(10) => Fact::Resumed { again: vec![task] },
        _ => Fact::Finished {
            status: RunStatus::Done,
        },
    }
}

/// Whatever a journal says, it is taken or refused whole; and what is decided after it is never refused and has an end.
fn nonsense(seed: u64, size: u32) -> Result<(), String> {
    let scenario = Scenario::chaotic(seed, size);
    let mut dice = Dice::new(mix(&[seed, 5]));
    let mut machine = Machine::new(scenario.shape.clone());
    for turn in 0..120_u32 {
        let fact = any_fact(&mut dice, &machine);
        let before = (turn % 16 == 0).then(|| format!("{machine:?}"));
        if machine.apply(&fact).is_err()
            && before.is_some_and(|before| before != format!("{machine:?}"))
        {
            return Err(format!("refused, and yet it changed something: {fact:?}"));
        }
        if dice.chance(40) {
            machine.actions();
            let now = u64::from(turn);
            for decision in machine.decide(now) {
                let applied = machine.apply(&decision);
                applied.map_err(|refused| format!("{refused}: {decision:?}"))?;
            }
        }
        if dice.chance(3) {
            machine.owed();
        }
    }
    settle_down(machine)
}

/// Ends whatever is under way, until the run has finished.
fn settle_down(mut machine: Machine) -> Result<(), String> {
    for now in (0..100_000).map(|turn| 1000 + 50 * turn) {
        let facts = machine.decide(now);
        for decision in &facts {
            let applied = machine.apply(decision);
            applied.map_err(|refused| format!("{refused}: {decision:?}"))?;
        }
        if machine.finished().is_some() {
            return Ok(());
        }
        for action in machine.actions() {
            if let Action::Expand { step, source } = action {
                let tasks = Vec::new();
                let expanded = machine.apply(&Fact::Expanded {
                    step,
                    source,
                    tasks,
                });
                expanded.map_err(|refused| refused.to_string())?;
            }
        }
        if facts.is_empty() {
            for owed in machine.owed() {
                let ticket = owed.ticket;
                let fact = match owed.phase {
                    Phase::Preparing => Fact::Prepared { ticket, key: None },
                    _ => Fact::Ended {
                        ticket,
                        outcome: done(),
                    },
                };
                machine
                    .apply(&fact)
                    .map_err(|refused| refused.to_string())?;
            }
        }
    }
    Err(format!("it does not end: {machine:?}"))
}

#[test]
fn no_sequence_of_facts_breaks_the_machine() {
    every(20_000..22_000, nonsense);
}
