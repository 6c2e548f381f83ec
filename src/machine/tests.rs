//! What the machine decides in particular situations. Random schedules against an oracle are in `schedules`.

use super::*;
use crate::base::{StepId, TaskName};
use crate::diagnostic::{JsonDiagnostic, Severity};
use crate::event::RunStatus;
use crate::plan::{TaskIx, TaskPlan};

pub(super) fn diagnostic() -> Box<JsonDiagnostic> {
    Box::new(JsonDiagnostic {
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
    })
}

pub(super) fn failed(class: FailureClass) -> Outcome {
    Outcome::Failed {
        class,
        diagnostic: diagnostic(),
    }
}

pub(super) fn done() -> Outcome {
    Outcome::Done {
        artifacts: Vec::new(),
    }
}

pub(super) fn planned(order: u32, needs: &[u32]) -> TaskPlan {
    let step = StepId::from("step");
    TaskPlan {
        name: TaskName(format!("step[{order}]")),
        order: vec![order],
        needs: needs.iter().map(|n| TaskIx(*n)).collect(),
        ..TaskPlan::only(&step)
    }
}

pub(super) fn step(needs: &[u32], server: u32) -> StepShape {
    StepShape {
        needs: needs
            .iter()
            .map(|n| Need {
                step: StepIx(*n),
                optional: false,
            })
            .collect(),
        grow: Grows::Known,
        server: ServerIx(server),
        unfit: Vec::new(),
        claims: Vec::new(),
        retry: RetryShape::default(),
        expected_ms: 1000,
        placeholders: false,
    }
}

fn task(step: u32, order: Vec<u32>) -> TaskShape {
    TaskShape {
        step: StepIx(step),
        order,
        needs: Vec::new(),
        skip: false,
    }
}

/// Steps with one task each, except for those that grow; servers with one endpoint each.
pub(super) fn shape(steps: Vec<StepShape>, max_jobs: &[u32]) -> Shape {
    let tasks = steps
        .iter()
        .zip(0..)
        .filter(|(s, _)| s.grow == Grows::Known);
    let tasks = tasks.map(|(_, at)| task(at, Vec::new()));
    let endpoints = max_jobs.iter().zip(0..);
    Shape {
        tasks: tasks.collect(),
        steps,
        endpoints: endpoints
            .map(|(max_jobs, at)| EndpointShape {
                server: ServerIx(at),
                nth: 0,
                max_jobs: *max_jobs,
            })
            .collect(),
        ..Shape::default()
    }
}

/// Steps of one task each, by what they need, on these servers.
pub(super) fn chained(needs: &[&[u32]], servers: &[u32], max_jobs: &[u32]) -> Shape {
    let steps = needs.iter().zip(servers).map(|(n, s)| step(n, *s));
    shape(steps.collect(), max_jobs)
}

/// One step with this many tasks on one server.
pub(super) fn fan(tasks: u32, max_jobs: u32) -> Shape {
    Shape {
        tasks: (0..tasks).map(|at| task(0, vec![at])).collect(),
        ..shape(vec![step(&[], 0)], &[max_jobs])
    }
}

pub(super) fn ticket(task: u32, attempt: u32, try_: u32) -> Ticket {
    Ticket {
        task: TaskIx(task),
        attempt,
        try_,
    }
}

/// Decides until there is nothing to decide at this time.
pub(super) fn decided(machine: &mut Machine, now: u64) -> Vec<Fact> {
    let mut decided = Vec::new();
    loop {
        let facts = machine.decide(now);
        if facts.is_empty() {
            return decided;
        }
        for fact in facts {
            machine.apply(&fact).unwrap();
            decided.push(fact);
        }
    }
}

/// Lets the machine decide, prepares at once whatever it assigns, and gives the tries that were started.
pub(super) fn tries(machine: &mut Machine, now: u64) -> Vec<Ticket> {
    let mut started = Vec::new();
    loop {
        let facts = decided(machine, now);
        let actions = machine.actions();
        if facts.is_empty() && actions.is_empty() {
            return started;
        }
        for action in actions {
            match action {
                Action::Prepare { ticket, .. } => {
                    machine
                        .apply(&Fact::Prepared { ticket, key: None })
                        .unwrap();
                }
                Action::Start { ticket } => started.push(ticket),
                _ => {}
            }
        }
    }
}

pub(super) fn started(machine: &mut Machine) -> Vec<u32> {
    tries(machine, 0).iter().map(|t| t.task.0).collect()
}

pub(super) fn end(machine: &mut Machine, ticket: Ticket, outcome: Outcome) {
    machine.apply(&Fact::Ended { ticket, outcome }).unwrap();
}

pub(super) fn statuses(machine: &Machine) -> Vec<TaskState> {
    let all = 0..u32::try_from(machine.tasks()).unwrap();
    all.map(|task| machine.state(TaskIx(task))).collect()
}

#[test]
fn the_longest_chain_goes_first_and_ties_go_by_file_order() {
    // 0, 1 alone; 2 -> 3 -> 4; 5 -> 6.
    let shape = chained(&[&[], &[], &[], &[2], &[3], &[], &[5]], &[0; 7], &[3]);
    assert_eq!(started(&mut Machine::new(shape)), [2, 5, 0]);
}

#[test]
fn a_short_chain_that_takes_long_goes_before_a_long_one_that_does_not() {
    let mut shape = chained(&[&[], &[0], &[1], &[]], &[0; 4], &[1]);
    shape.steps[3].expected_ms = 60_000;
    assert_eq!(started(&mut Machine::new(shape)), [3]);
}

#[test]
fn a_full_server_does_not_hold_up_another_one() {
    let shape = chained(&[&[], &[], &[], &[]], &[0, 0, 0, 1], &[1, 1]);
    assert_eq!(started(&mut Machine::new(shape)), [0, 3]);
}

#[test]
fn a_slot_is_free_when_the_server_is_done_and_a_place_when_the_results_are_here() {
    let released = Fact::Released {
        ticket: ticket(0, 1, 1),
    };
    let mut machine = Machine::new(chained(&[&[], &[]], &[0, 0], &[1]));
    assert_eq!(started(&mut machine), [0]);
    machine.apply(&released).unwrap();
    assert_eq!(started(&mut machine), [1]);

    let mut machine = Machine::new(Shape {
        max_parallel: Some(1),
        ..chained(&[&[], &[]], &[0, 0], &[1])
    });
    assert_eq!(started(&mut machine), [0]);
    machine.apply(&released).unwrap();
    assert!(started(&mut machine).is_empty());
    end(&mut machine, ticket(0, 1, 1), done());
    assert_eq!(started(&mut machine), [1]);
}

#[test]
fn deciding_about_many_tasks_stays_linear() {
    // A hundred thousand independent tasks; quadratic work would take minutes.
    let count = 100_000;
    let mut machine = Machine::new(fan(count, 4));
    let mut running = tries(&mut machine, 0);
    let mut ended = 0;
    while let Some(ticket) = running.pop() {
        end(&mut machine, ticket, done());
        ended += 1;
        running.extend(tries(&mut machine, 0));
    }
    assert_eq!(ended, count);
    assert_eq!(machine.finished(), Some(RunStatus::Done));
}

#[test]
fn while_there_is_room_the_first_in_order_is_prepared_alone() {
    let mut machine = Machine::new(Shape {
        max_parallel: Some(1),
        ..chained(&[&[], &[]], &[0, 0], &[2])
    });
    let assigned = |facts: &[Fact]| -> Vec<u32> {
        let assigned = facts.iter().filter_map(|fact| match fact {
            Fact::Assigned { ticket, .. } => Some(ticket.task.0),
            _ => None,
        });
        assigned.collect()
    };
    assert_eq!(assigned(&decided(&mut machine, 0)), [0]);
    let (ticket, key) = (ticket(0, 1, 1), None);
    machine.apply(&Fact::Prepared { ticket, key }).unwrap();
    assert_eq!(
        assigned(&decided(&mut machine, 0)),
        [1],
        "prepared ahead once the place is taken"
    );
}

#[test]
fn a_task_that_claims_more_than_there_is_fails_instead_of_waiting() {
    let mut shape = chained(&[&[]], &[0], &[1]);
    shape.limits = vec![1];
    shape.steps[0].claims = vec![(LimitIx(0), 2)];
    for shape in [
        shape,
        chained(&[&[]], &[7], &[1]),
        chained(&[&[0]], &[0], &[1]),
    ] {
        let mut machine = Machine::new(shape);
        let (task, settlement) = (TaskIx(0), Settlement::Impossible);
        assert_eq!(machine.decide(0), [Fact::Settled { task, settlement }]);
        decided(&mut machine, 0);
        assert_eq!(machine.finished(), Some(RunStatus::Failed));
    }
}

#[test]
fn a_big_claim_is_not_starved_by_small_ones() {
    // Step 0 wants everything, but its server is busy when it could have it; step 1 takes bits of it all the time elsewhere.
    let mut steps = vec![step(&[], 0), step(&[], 0), step(&[], 1)];
    steps[1].claims = vec![(LimitIx(0), 2)];
    steps[2].claims = vec![(LimitIx(0), 1)];
    steps[0].expected_ms = 9000;
    steps[1].expected_ms = 3000;
    let mut shape = shape(steps, &[1, 2]);
    shape.limits = vec![2];
    shape.tasks.extend((0..100).map(|at| task(2, vec![at])));
    let mut machine = Machine::new(shape);
    let mut running: std::collections::VecDeque<_> = tries(&mut machine, 0).into();
    assert_eq!(
        running.pop_front(),
        Some(ticket(0, 1, 1)),
        "it keeps its server full"
    );
    let mut small = 2;
    while let Some(next) = running.pop_front() {
        end(&mut machine, next, done());
        let more = tries(&mut machine, 0);
        small += more.len();
        running.extend(more);
    }
    assert!(
        small < 10,
        "{small} went before the claims were kept for the big one"
    );
    end(&mut machine, ticket(0, 1, 1), done());
    assert_eq!(started(&mut machine), [1]);
}

#[test]
fn a_big_claim_that_comes_late_is_prepared_beside_small_ones() {
    let mut steps = vec![step(&[], 0), step(&[0], 0), step(&[], 1)];
    steps[1].claims = vec![(LimitIx(0), 2)];
    steps[2].claims = vec![(LimitIx(0), 1)];
    let mut shape = shape(steps, &[1, 2]);
    shape.limits = vec![2];
    shape.tasks.extend((0..100).map(|at| task(2, vec![at])));
    let mut machine = Machine::new(shape);
    let mut running: std::collections::VecDeque<_> = tries(&mut machine, 0).into();
    let mut before = 0;
    while let Some(next) = running.pop_front() {
        end(&mut machine, next, done());
        let more = tries(&mut machine, 0);
        if more.contains(&ticket(1, 1, 1)) {
            break;
        }
        before += more.len();
        running.extend(more);
    }
    assert!(before < 10, "{before} went before it");
}

#[test]
fn tasks_that_wait_for_a_claim_leave_the_slots_to_others() {
    let mut steps = vec![step(&[], 0), step(&[], 0)];
    steps[0].claims = vec![(LimitIx(0), 1)];
    steps[0].expected_ms = 9000;
    let mut shape = shape(steps, &[3]);
    shape.limits = vec![1];
    for at in 1..20 {
        for step in [StepIx(0), StepIx(1)] {
            let (order, needs) = (vec![at], Vec::new());
            shape.tasks.push(TaskShape {
                step,
                order,
                needs,
                skip: false,
            });
        }
    }
    let mut machine = Machine::new(shape);
    let running = tries(&mut machine, 0);
    assert_eq!(running.len(), 3, "the server is busy: {running:?}");
}

#[test]
fn a_pool_spreads_its_tasks_and_does_without_an_endpoint_that_is_down() {
    let mut shape = fan(6, 2);
    shape.endpoints = (0..2)
        .map(|nth| EndpointShape {
            server: ServerIx(0),
            nth,
            max_jobs: 2,
        })
        .collect();
    let mut machine = Machine::new(shape);
    assert_eq!(tries(&mut machine, 0).len(), 4);
    let at = |machine: &Machine, task| machine.endpoint(TaskIx(task)).unwrap().0;
    let mut places: Vec<u32> = (0..4).map(|task| at(&machine, task)).collect();
    assert_ne!(places[0], places[1], "to the one with the fewest tasks");
    places.sort_unstable();
    assert_eq!(places, [0, 0, 1, 1]);
    let endpoint = EndpointIx(1);
    machine.apply(&Fact::ServerDown { endpoint }).unwrap();
    tries(&mut machine, 0);
    assert!(
        (4..6).all(|task| at(&machine, task) == 0),
        "nothing waits for it"
    );
    let there: Vec<u32> = (0..4).filter(|task| at(&machine, *task) == 1).collect();
    for task in &there {
        end(&mut machine, ticket(*task, 1, 1), Outcome::Lost);
    }
    tries(&mut machine, 0);
    tries(&mut machine, 10_000);
    let elsewhere = there.iter().all(|task| at(&machine, *task) == 0);
    assert!(elsewhere, "they run elsewhere");
    machine.apply(&Fact::ServerUp { endpoint }).unwrap();
    assert_eq!(
        tries(&mut machine, 20_000).len(),
        2,
        "it is back and takes over what waits"
    );
}
