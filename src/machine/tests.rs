//! The machine against a simulated world: random graphs, limits, outcomes, stops and restarts.

use proptest::prelude::*;

use super::world::{Fate, Scenario, World};
use super::*;
use crate::diagnostic::{JsonDiagnostic, Severity};
use crate::event::{RunStatus, TaskStatus};
use crate::plan::TaskIx;

fn failed() -> Outcome {
    Outcome::Failed {
        class: FailureClass::Node,
        diagnostic: Box::new(JsonDiagnostic {
            code: "K0501".to_owned(),
            kind: "node_failed".to_owned(),
            severity: Severity::Error,
            node: None,
            class_type: None,
            input: None,
            message: "it failed".to_owned(),
            help: String::new(),
            file: None,
            line: None,
            column: None,
        }),
    }
}

fn done() -> Outcome {
    Outcome::Done {
        artifacts: Vec::new(),
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        12 => Just(done()),
        1 => Just(failed()),
        2 => Just(Outcome::Lost),
        1 => Just(Outcome::Gone),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (1..24_usize, 1..4_usize).prop_flat_map(|(tasks, servers)| {
        let limits = proptest::collection::vec(1..4_u32, servers);
        let rows = proptest::collection::vec(
            (
                proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
                0..servers,
                proptest::collection::vec(outcome(), 1..4),
                [1..20_u64, 1..50_u64, 1..20_u64],
            ),
            tasks,
        );
        let stop = proptest::option::weighted(0.3, (0..300_u64, any::<bool>()));
        (limits, proptest::option::of(1..6_u32), rows, stop).prop_map(
            |(max_jobs, max_parallel, rows, stop)| {
                let mut shape = Shape {
                    tasks: Vec::new(),
                    max_jobs,
                    max_parallel,
                };
                let mut fates = Vec::new();
                for (at, (needs, server, outcomes, takes)) in rows.into_iter().enumerate() {
                    let mut needs: Vec<TaskIx> = needs
                        .iter()
                        .filter(|_| at > 0)
                        .map(|n| TaskIx(u32::try_from(n.index(at)).unwrap()))
                        .collect();
                    needs.sort();
                    needs.dedup();
                    shape.tasks.push(TaskShape {
                        needs,
                        server: ServerIx(u32::try_from(server).unwrap()),
                    });
                    fates.push(Fate { outcomes, takes });
                }
                let stop_at = stop.map(|(at, leave)| {
                    let reason = if leave {
                        CancelReason::Leave
                    } else {
                        CancelReason::Requested
                    };
                    (at, reason)
                });
                Scenario {
                    shape,
                    fates,
                    stop_at,
                }
            },
        )
    })
}

/// Terminal facts per task, in journal order.
fn terminal(journal: &[(u64, Fact)]) -> Vec<(TaskIx, TaskStatus)> {
    journal
        .iter()
        .filter_map(|(_, fact)| match fact {
            Fact::Ended { ticket, outcome } => match outcome {
                Outcome::Done { .. } => Some((ticket.task, TaskStatus::Done)),
                Outcome::Failed { .. } => Some((ticket.task, TaskStatus::Failed)),
                Outcome::Cancelled => Some((ticket.task, TaskStatus::Cancelled)),
                Outcome::Lost | Outcome::Gone => None,
            },
            Fact::Settled { task, settlement } => Some((
                *task,
                match settlement {
                    Settlement::Skipped { .. } => TaskStatus::Skipped,
                    Settlement::Cancelled => TaskStatus::Cancelled,
                    Settlement::Lost { .. } => TaskStatus::Failed,
                },
            )),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_task_ends_once_in_order_within_the_limits(scenario in scenario()) {
        let mut world = World::new(&scenario);
        let status = world.run();
        let ends = terminal(&world.journal);
        let mut by_task: Vec<TaskIx> = ends.iter().map(|(t, _)| *t).collect();
        by_task.sort();
        let all: Vec<TaskIx> = (0..scenario.fates.len()).map(|n| TaskIx(u32::try_from(n).unwrap())).collect();
        prop_assert_eq!(by_task, all, "each task ends exactly once");

        let mut done = std::collections::BTreeSet::new();
        let mut halted = false;
        for (_, fact) in &world.journal {
            match fact {
                Fact::Assigned { ticket, .. } | Fact::Started { ticket } => {
                    for need in &scenario.shape.tasks[ticket.task.0 as usize].needs {
                        prop_assert!(done.contains(need), "{:?} started before {:?} was done", ticket, need);
                    }
                    prop_assert!(!halted, "{:?} started after the run was to halt", ticket);
                }
                Fact::Ended { ticket, outcome: Outcome::Done { .. } } => { done.insert(ticket.task); }
                Fact::Ended { outcome: Outcome::Failed { .. }, .. } | Fact::Stop { .. }
                | Fact::Settled { settlement: Settlement::Lost { .. }, .. } => halted = true,
                _ => {}
            }
        }
        let first_failed = ends.iter().find(|(_, s)| *s == TaskStatus::Failed).map(|(t, _)| *t);
        prop_assert_eq!(world.machine.cause(), first_failed);
        match status {
            RunStatus::Done => prop_assert!(ends.iter().all(|(_, s)| *s == TaskStatus::Done)),
            RunStatus::Failed => prop_assert!(first_failed.is_some()),
            RunStatus::Cancelled => prop_assert!(world.stopped),
        }
        let mut starts = world.starts.clone();
        starts.sort();
        starts.dedup();
        prop_assert_eq!(starts.len(), world.starts.len(), "no try is started twice");
    }

    #[test]
    fn a_replayed_prefix_goes_on_to_the_same_end(scenario in scenario(), cut in any::<prop::sample::Index>()) {
        let mut whole = World::new(&scenario);
        let status = whole.run();
        let cut = cut.index(whole.journal.len());
        let died = whole.journal.get(cut).map_or(whole.now, |(at, _)| *at);
        let mut resumed = World::resumed(&scenario, &whole.journal[..cut], died);
        prop_assert_eq!(resumed.run(), status);
        prop_assert_eq!(&resumed.journal, &whole.journal);
    }
}

fn chain_shape(needs: &[&[u32]], servers: &[u32], max_jobs: &[u32]) -> Shape {
    Shape {
        tasks: needs
            .iter()
            .zip(servers)
            .map(|(needs, server)| TaskShape {
                needs: needs.iter().map(|n| TaskIx(*n)).collect(),
                server: ServerIx(*server),
            })
            .collect(),
        max_jobs: max_jobs.to_vec(),
        max_parallel: None,
    }
}

/// Lets the machine decide, prepares at once whatever it assigns, and gives the tasks that were started.
fn started(machine: &mut Machine) -> Vec<u32> {
    let mut started = Vec::new();
    loop {
        let facts = machine.decide(0);
        for fact in &facts {
            machine.apply(fact).unwrap();
        }
        let actions = machine.actions();
        if facts.is_empty() && actions.is_empty() {
            return started;
        }
        for action in actions {
            match action {
                Action::Prepare { ticket, .. } => {
                    machine.apply(&Fact::Prepared { ticket }).unwrap();
                }
                Action::Start { ticket } => started.push(ticket.task.0),
                _ => {}
            }
        }
    }
}

#[test]
fn the_longest_chain_goes_first_and_ties_go_by_file_order() {
    // 0, 1 alone; 2 -> 3 -> 4; 5 -> 6.
    let shape = chain_shape(&[&[], &[], &[], &[2], &[3], &[], &[5]], &[0; 7], &[3]);
    assert_eq!(started(&mut Machine::new(shape)), [2, 5, 0]);
}

#[test]
fn a_full_server_does_not_hold_up_another_one() {
    let shape = chain_shape(&[&[], &[], &[], &[]], &[0, 0, 0, 1], &[1, 1]);
    assert_eq!(started(&mut Machine::new(shape)), [0, 3]);
}

#[test]
fn a_slot_is_free_when_the_server_is_done_and_a_place_when_the_results_are_here() {
    let ticket = |task| Ticket {
        task: TaskIx(task),
        attempt: 1,
        try_: 1,
    };
    let released = Fact::Released { ticket: ticket(0) };
    let mut machine = Machine::new(chain_shape(&[&[], &[]], &[0, 0], &[1]));
    assert_eq!(started(&mut machine), [0]);
    machine.apply(&released).unwrap();
    assert_eq!(started(&mut machine), [1]);

    let mut machine = Machine::new(Shape {
        max_parallel: Some(1),
        ..chain_shape(&[&[], &[]], &[0, 0], &[1])
    });
    assert_eq!(started(&mut machine), [0]);
    machine.apply(&released).unwrap();
    assert!(started(&mut machine).is_empty());
    let outcome = done();
    let ended = Fact::Ended {
        ticket: ticket(0),
        outcome,
    };
    machine.apply(&ended).unwrap();
    assert_eq!(started(&mut machine), [1]);
}

#[test]
fn a_task_that_is_only_prepared_is_skipped_when_another_one_fails() {
    let mut machine = Machine::new(chain_shape(&[&[], &[]], &[0, 0], &[1]));
    assert_eq!(started(&mut machine), [0]);
    let ticket = Ticket {
        task: TaskIx(0),
        attempt: 1,
        try_: 1,
    };
    let outcome = failed();
    machine.apply(&Fact::Ended { ticket, outcome }).unwrap();
    let facts = machine.decide(0);
    let (task, cause) = (TaskIx(1), TaskIx(0));
    let settlement = Settlement::Skipped { cause };
    assert_eq!(facts, [Fact::Settled { task, settlement }]);
    machine.apply(&facts[0]).unwrap();
    let reason = CancelReason::Leave;
    assert_eq!(machine.actions(), [Action::Cancel { task, reason }]);
}

#[test]
fn what_an_older_try_says_is_ignored() {
    let mut machine = Machine::new(chain_shape(&[&[]], &[0], &[1]));
    started(&mut machine);
    let old = Ticket {
        task: TaskIx(0),
        attempt: 1,
        try_: 1,
    };
    let lost = Fact::Ended {
        ticket: old,
        outcome: Outcome::Lost,
    };
    machine.apply(&lost).unwrap();
    for now in [0, 10_000] {
        for fact in machine.decide(now) {
            machine.apply(&fact).unwrap();
        }
    }
    let [Action::Prepare { ticket, .. }] = machine.actions()[..] else {
        panic!("it is not submitted again")
    };
    assert_eq!((ticket.attempt, ticket.try_), (1, 2));
    machine
        .apply(&Fact::Ended {
            ticket: old,
            outcome: failed(),
        })
        .unwrap();
    assert_eq!(machine.cause(), None);
}

#[test]
fn a_job_that_is_always_lost_fails_after_three_tries() {
    let shape = chain_shape(&[&[], &[0]], &[0, 0], &[1]);
    let lost = Fate {
        outcomes: vec![Outcome::Lost],
        takes: [1; 3],
    };
    let mut world = World::new(&Scenario {
        shape,
        fates: vec![lost.clone(), lost],
        stop_at: None,
    });
    assert_eq!(world.run(), RunStatus::Failed);
    assert_eq!(world.starts.len(), 3);
    assert!(world.journal.iter().any(|(_, f)| matches!(
        f,
        Fact::Settled {
            settlement: Settlement::Lost { times: 3 },
            ..
        }
    )));
}

#[test]
fn a_second_stop_outranks_the_first_and_an_earlier_one_never_does() {
    let mut machine = Machine::new(chain_shape(&[&[]], &[0], &[1]));
    started(&mut machine);
    let mut reasons = Vec::new();
    for reason in [
        CancelReason::Requested,
        CancelReason::Leave,
        CancelReason::Requested,
    ] {
        machine.apply(&Fact::Stop { reason }).unwrap();
        for fact in machine.decide(0) {
            machine.apply(&fact).unwrap();
        }
        reasons.extend(machine.actions());
    }
    let task = TaskIx(0);
    assert_eq!(
        reasons,
        [
            Action::Cancel {
                task,
                reason: CancelReason::Requested
            },
            Action::Cancel {
                task,
                reason: CancelReason::Leave
            }
        ]
    );
}

#[test]
fn a_fact_that_cannot_be_is_refused() {
    let mut machine = Machine::new(chain_shape(&[&[], &[0]], &[0, 0], &[1]));
    let ticket = |task| Ticket {
        task: TaskIx(task),
        attempt: 1,
        try_: 1,
    };
    let assigned = |task| Fact::Assigned {
        ticket: ticket(task),
        server: ServerIx(0),
        fresh: false,
    };
    assert!(machine.apply(&assigned(1)).is_err(), "its need is not done");
    assert!(machine.apply(&assigned(7)).is_err(), "no such task");
    machine.apply(&assigned(0)).unwrap();
    assert!(machine.apply(&assigned(0)).is_err(), "it runs already");
}

#[test]
fn deciding_about_many_tasks_stays_linear() {
    // A hundred thousand independent tasks; quadratic work would take minutes.
    let count = 100_000;
    let needs: Vec<&[u32]> = vec![&[]; count];
    let mut machine = Machine::new(chain_shape(&needs, &vec![0; count], &[4]));
    let mut running = started(&mut machine);
    let mut ended = 0;
    while let Some(task) = running.pop() {
        let ticket = Ticket {
            task: TaskIx(task),
            attempt: 1,
            try_: 1,
        };
        machine
            .apply(&Fact::Ended {
                ticket,
                outcome: done(),
            })
            .unwrap();
        ended += 1;
        running.extend(started(&mut machine));
    }
    assert_eq!(ended, count);
    assert_eq!(machine.finished(), Some(RunStatus::Done));
}

#[test]
fn while_there_is_room_the_first_in_order_is_prepared_alone() {
    let mut machine = Machine::new(Shape {
        max_parallel: Some(1),
        ..chain_shape(&[&[], &[]], &[0, 0], &[2])
    });
    let assigned = |facts: &[Fact]| -> Vec<u32> {
        facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::Assigned { ticket, .. } => Some(ticket.task.0),
                _ => None,
            })
            .collect()
    };
    let facts = machine.decide(0);
    assert_eq!(assigned(&facts), [0]);
    for fact in &facts {
        machine.apply(fact).unwrap();
    }
    assert!(machine.decide(0).is_empty());
    let Some(Fact::Assigned { ticket, .. }) = facts.into_iter().next() else {
        panic!("nothing was assigned");
    };
    machine.apply(&Fact::Prepared { ticket }).unwrap();
    for fact in machine.decide(0) {
        machine.apply(&fact).unwrap();
    }
    assert_eq!(
        assigned(&machine.decide(0)),
        [1],
        "prepared ahead once the place is taken"
    );
}

/// Decides until nothing is left to decide, `at_once` that many decisions of each answer, as if the driver died after them.
fn decided(mut machine: Machine, at_once: usize) -> Vec<Fact> {
    let mut decided = Vec::new();
    loop {
        let facts = machine.decide(0);
        if facts.is_empty() {
            return decided;
        }
        for fact in facts.into_iter().take(at_once) {
            machine.apply(&fact).unwrap();
            decided.push(fact);
        }
    }
}

#[test]
fn a_start_does_not_change_the_order_of_what_is_prepared_after_it() {
    // Server 0 is full once 0 starts, and then has room ahead for 1; server 1 has room for 2 from the beginning.
    let mut machine = Machine::new(chain_shape(&[&[], &[], &[]], &[0, 0, 1], &[1, 1]));
    let ticket = Ticket {
        task: TaskIx(0),
        attempt: 1,
        try_: 1,
    };
    let server = ServerIx(0);
    let fresh = false;
    for fact in [
        Fact::Assigned {
            ticket,
            server,
            fresh,
        },
        Fact::Prepared { ticket },
    ] {
        machine.apply(&fact).unwrap();
    }
    assert_eq!(decided(machine.clone(), 1), decided(machine, usize::MAX));
}

#[test]
fn a_job_lost_too_often_halts_the_run_before_another_one_is_retried() {
    let mut machine = Machine::new(chain_shape(&[&[], &[]], &[0, 0], &[2]));
    started(&mut machine);
    let lost = |task, try_| Fact::Ended {
        ticket: Ticket {
            task: TaskIx(task),
            attempt: 1,
            try_,
        },
        outcome: Outcome::Lost,
    };
    for try_ in 1..=2 {
        machine.apply(&lost(0, try_)).unwrap();
        for now in [0, 10_000, 10_000] {
            for fact in machine.decide(now) {
                machine.apply(&fact).unwrap();
            }
        }
    }
    machine.apply(&lost(0, 3)).unwrap();
    machine.apply(&lost(1, 1)).unwrap();
    let facts = decided(machine.clone(), usize::MAX);
    assert!(!facts.iter().any(|f| matches!(f, Fact::Retried { .. })));
    assert_eq!(decided(machine, 1), facts);
}
