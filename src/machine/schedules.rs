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
        .filter(|at| mix(&[seed, 97, *at]) % 8 == 0)
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

/// A fact that may be anything.
fn any_fact(dice: &mut Dice, machine: &Machine) -> Fact {
    let tasks = u32::try_from(machine.tasks()).unwrap() + 2;
    let task = TaskIx(if dice.chance(3) {
        u32::MAX
    } else {
        dice.small(tasks)
    });
    let ticket = machine.next(task).filter(|_| dice.chance(50));
    let ticket = match machine.state(task) {
        TaskState::Running { ticket, .. } if dice.chance(90) => ticket,
        _ => ticket.unwrap_or(Ticket {
            task,
            attempt: dice.small(3),
            try_: if dice.chance(3) {
                u32::MAX
            } else {
                dice.small(4)
            },
        }),
    };
    let step = StepIx(if dice.chance(3) {
        u32::MAX
    } else {
        dice.small(8)
    });
    let source = dice.chance(60).then_some(task);
    let endpoint = EndpointIx(dice.small(5));
    let cause =
        [Cause::Task(task), Cause::Step(step), Cause::Stop][usize::try_from(dice.roll(3)).unwrap()];
    let reasons = [
        CancelReason::Superseded,
        CancelReason::Deadline,
        CancelReason::Leave,
    ];
    let reason = reasons[usize::try_from(dice.roll(3)).unwrap()];
    match dice.roll(26) {
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
        3..=5 => Fact::Assigned {
            ticket,
            endpoint,
            fresh: dice.chance(10),
        },
        6..=8 => Fact::Prepared {
            ticket,
            key: dice
                .chance(50)
                .then(|| ContentHash::of(&[u8::try_from(dice.roll(3)).unwrap()])),
        },
        9 | 10 => Fact::Started { ticket },
        11 => Fact::Released { ticket },
        12..=16 => Fact::Ended {
            ticket,
            outcome: match dice.roll(6) {
                0 => done(),
                1 => Outcome::Skipped,
                2 => failed(FailureClass::Connection),
                3 => Outcome::Cancelled,
                4 => Outcome::Lost,
                _ => Outcome::Gone,
            },
        },
        17 | 18 => Fact::Retried {
            task,
            not_before: dice.roll(3) * 40,
            fresh: false,
            attempt: dice.chance(30),
            because: [RetryCause::Lost, RetryCause::Moved, RetryCause::Twin]
                [usize::try_from(dice.roll(3)).unwrap()],
        },
        19 => Fact::ServerDown { endpoint },
        20 => Fact::ServerUp { endpoint },
        21 if dice.chance(10) => Fact::Stop { reason },
        22 => Fact::Cancelling { task, reason },
        23 => Fact::Settled {
            task,
            settlement: Settlement::Skipped { cause },
        },
        24 if dice.chance(20) => Fact::StepSkipped { step, cause },
        25 if dice.chance(10) => Fact::Resumed { again: vec![task] },
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
