//! The machine against a simulated world: random graphs, limits, outcomes, stops and restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;

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

/// What the world does with the tries of a task, the last entry repeated, and how long each takes.
#[derive(Clone, Debug)]
struct Fate {
    outcomes: Vec<Outcome>,
    takes: u64,
}

#[derive(Clone, Debug)]
struct Scenario {
    shape: Shape,
    fates: Vec<Fate>,
    stop_at: Option<(u64, CancelReason)>,
}

/// The world and the driver: virtual time, jobs that end when they are due, a journal.
struct World {
    scenario: Scenario,
    machine: Machine,
    now: u64,
    jobs: BTreeMap<(u64, TaskIx), (Ticket, Outcome)>,
    journal: Vec<(u64, Fact)>,
    starts: Vec<Ticket>,
    stopped: bool,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        Self {
            machine: Machine::new(scenario.shape.clone()),
            scenario: scenario.clone(),
            now: 0,
            jobs: BTreeMap::new(),
            journal: Vec::new(),
            starts: Vec::new(),
            stopped: false,
        }
    }

    /// A world that has lived through a prefix of a journal: the servers kept what they had, the driver died.
    fn resumed(scenario: &Scenario, journal: &[(u64, Fact)], died: u64) -> Self {
        let mut world = Self::new(scenario);
        for (at, fact) in journal {
            let text = serde_json::to_string(fact).unwrap();
            let fact: Fact = serde_json::from_str(&text).unwrap();
            world.machine.apply(&fact).unwrap();
            world.stopped |= matches!(fact, Fact::Stop { .. });
            world.now = *at;
            world.journal.push((*at, fact));
        }
        let started: BTreeMap<Ticket, u64> = journal
            .iter()
            .filter_map(|(at, fact)| match fact {
                Fact::Assigned { ticket, .. } => Some((*ticket, *at)),
                _ => None,
            })
            .collect();
        for owed in world.machine.owed() {
            world.launch(owed.ticket, started[&owed.ticket]);
            if owed.cancelling.is_some() {
                world.cancel(owed.ticket.task);
            }
        }
        world.now = world.now.max(died);
        world
    }

    fn launch(&mut self, ticket: Ticket, at: u64) {
        let fate = &self.scenario.fates[ticket.task.0 as usize];
        let outcome = fate
            .outcomes
            .get(ticket.try_ as usize - 1)
            .or(fate.outcomes.last())
            .unwrap()
            .clone();
        self.jobs
            .insert((at + fate.takes, ticket.task), (ticket, outcome));
    }

    fn cancel(&mut self, task: TaskIx) {
        // A job that is about to succeed is kept, any other dies at once.
        if let Some(key) = self.jobs.keys().copied().find(|(_, t)| *t == task)
            && key.0 > self.now + 1
        {
            let (ticket, _) = self.jobs.remove(&key).unwrap();
            self.jobs
                .insert((self.now + 1, task), (ticket, Outcome::Cancelled));
        }
    }

    fn take(&mut self, fact: Fact) {
        self.machine.apply(&fact).unwrap();
        self.journal.push((self.now, fact));
        self.check_resources();
    }

    fn check_resources(&self) {
        let mut used = vec![0; self.scenario.shape.max_jobs.len()];
        let mut all = 0;
        for (at, task) in self.scenario.shape.tasks.iter().enumerate() {
            if matches!(
                self.machine.state(TaskIx(u32::try_from(at).unwrap())),
                TaskState::Running { .. }
            ) {
                used[task.server.0 as usize] += 1;
                all += 1;
            }
        }
        for (used, most) in used.iter().zip(&self.scenario.shape.max_jobs) {
            assert!(used <= most, "{used} jobs on a server that takes {most}");
        }
        assert!(self.scenario.shape.max_parallel.is_none_or(|m| all <= m));
    }

    fn turn(&mut self) {
        loop {
            let facts = self.machine.decide(self.now);
            if facts.is_empty() {
                break;
            }
            for fact in facts {
                self.take(fact);
            }
        }
        for action in self.machine.actions() {
            match action {
                Action::Start { ticket, .. } => {
                    self.starts.push(ticket);
                    self.launch(ticket, self.now);
                }
                Action::Cancel { task, .. } => self.cancel(task),
                Action::Finish { .. } => {}
            }
        }
    }

    fn observe(&mut self) {
        if let Some((at, reason)) = self.scenario.stop_at
            && !self.stopped
            && at <= self.now
        {
            self.stopped = true;
            self.take(Fact::Stop { reason });
        }
        while let Some(entry) = self.jobs.first_entry()
            && entry.key().0 <= self.now
        {
            let (ticket, outcome) = entry.remove();
            self.take(Fact::Ended { ticket, outcome });
        }
    }

    fn run(&mut self) -> RunStatus {
        let most = 40 * (self.scenario.fates.len() + 2);
        for _ in 0..most {
            self.observe();
            self.turn();
            if let Some(status) = self.machine.finished() {
                return status;
            }
            let next = [
                self.jobs.keys().next().map(|(at, _)| *at),
                self.machine.wakes_at(self.now),
                self.scenario
                    .stop_at
                    .filter(|_| !self.stopped)
                    .map(|(at, _)| at.max(self.now + 1)),
            ];
            self.now = next.into_iter().flatten().min().expect("no deadlock");
        }
        panic!("the run does not end");
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
                1..50_u64,
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
                Fact::Assigned { ticket, .. } => {
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

fn started(machine: &mut Machine) -> Vec<u32> {
    for fact in machine.decide(0) {
        machine.apply(&fact).unwrap();
    }
    machine
        .actions()
        .iter()
        .filter_map(|a| match a {
            Action::Start { ticket, .. } => Some(ticket.task.0),
            _ => None,
        })
        .collect()
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
    let [Action::Start { ticket, .. }] = machine.actions()[..] else {
        panic!("resubmitted")
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
        takes: 1,
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
