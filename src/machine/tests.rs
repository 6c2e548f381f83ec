//! What the machine decides in particular situations. Random schedules against an oracle are in `schedules`.

use super::*;
use crate::base::{ContentHash, RunId, StepId, TaskName};
use crate::diagnostic::{JsonDiagnostic, Severity};
use crate::event::{RunStatus, TaskStatus};
use crate::plan::{RetryClass, TaskIx, TaskPlan};

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

fn step(needs: &[u32], server: u32) -> StepShape {
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
        claims: Vec::new(),
        retry: RetryShape::default(),
        expected_ms: 1000,
        placeholders: false,
    }
}

/// Steps with one task each, except for those that grow; servers with one endpoint each.
fn shape(steps: Vec<StepShape>, max_jobs: &[u32]) -> Shape {
    let tasks = steps
        .iter()
        .zip(0..)
        .filter(|(s, _)| s.grow == Grows::Known);
    let tasks = tasks.map(|(_, at)| TaskShape {
        step: StepIx(at),
        order: Vec::new(),
        needs: Vec::new(),
        skip: false,
    });
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
fn chained(needs: &[&[u32]], servers: &[u32], max_jobs: &[u32]) -> Shape {
    let steps = needs.iter().zip(servers).map(|(n, s)| step(n, *s));
    shape(steps.collect(), max_jobs)
}

/// One step with this many tasks on one server.
fn fan(tasks: u32, max_jobs: u32) -> Shape {
    Shape {
        tasks: (0..tasks)
            .map(|at| TaskShape {
                step: StepIx(0),
                order: vec![at],
                needs: Vec::new(),
                skip: false,
            })
            .collect(),
        ..shape(vec![step(&[], 0)], &[max_jobs])
    }
}

fn ticket(task: u32, attempt: u32, try_: u32) -> Ticket {
    Ticket {
        task: TaskIx(task),
        attempt,
        try_,
    }
}

/// Decides until there is nothing to decide at this time.
fn decided(machine: &mut Machine, now: u64) -> Vec<Fact> {
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
fn tries(machine: &mut Machine, now: u64) -> Vec<Ticket> {
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

fn started(machine: &mut Machine) -> Vec<u32> {
    tries(machine, 0).iter().map(|t| t.task.0).collect()
}

fn end(machine: &mut Machine, ticket: Ticket, outcome: Outcome) {
    machine.apply(&Fact::Ended { ticket, outcome }).unwrap();
}

fn statuses(machine: &Machine) -> Vec<TaskState> {
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
fn a_task_that_is_only_prepared_is_skipped_when_another_one_fails() {
    let mut machine = Machine::new(chained(&[&[], &[]], &[0, 0], &[1]));
    assert_eq!(started(&mut machine), [0]);
    end(&mut machine, ticket(0, 1, 1), failed(FailureClass::Node));
    let facts = machine.decide(0);
    let (task, cause) = (TaskIx(1), Cause::Task(TaskIx(0)));
    let settlement = Settlement::Skipped { cause };
    assert_eq!(facts, [Fact::Settled { task, settlement }]);
    machine.apply(&facts[0]).unwrap();
    let reason = CancelReason::Leave;
    assert_eq!(machine.actions(), [Action::Cancel { task, reason }]);
}

#[test]
fn what_an_older_try_says_is_ignored() {
    let mut machine = Machine::new(chained(&[&[]], &[0], &[1]));
    let old = tries(&mut machine, 0)[0];
    end(&mut machine, old, Outcome::Lost);
    assert!(
        tries(&mut machine, 0).is_empty(),
        "it waits before it is sent again"
    );
    assert_eq!(tries(&mut machine, 10_000), [ticket(0, 1, 2)]);
    end(&mut machine, old, failed(FailureClass::Node));
    assert_eq!(machine.cause(), None);
}

#[test]
fn a_job_that_is_always_lost_fails_after_three_submissions_of_each_attempt() {
    let mut shape = chained(&[&[], &[0]], &[0, 0], &[1]);
    shape.steps[0].retry = RetryShape {
        attempts: 2,
        classes: vec![RetryClass::Transient],
        ..RetryShape::default()
    };
    let mut machine = Machine::new(shape);
    let mut all = Vec::new();
    for now in (0..100_000).step_by(10_000) {
        for ticket in tries(&mut machine, now) {
            all.push((ticket.attempt, ticket.try_));
            end(&mut machine, ticket, Outcome::Lost);
        }
    }
    assert_eq!(all, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]);
    decided(&mut machine, 100_000);
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
    assert_eq!(statuses(&machine)[0], TaskState::Ended(TaskStatus::Failed));
}

#[test]
fn a_failed_attempt_is_repeated_as_its_class_allows_and_holds_nothing_meanwhile() {
    let mut shape = chained(&[&[], &[]], &[0, 0], &[1]);
    shape.limits = vec![1];
    for step in &mut shape.steps {
        step.claims = vec![(LimitIx(0), 1)];
    }
    shape.steps[0].retry = RetryShape {
        attempts: 3,
        delay: 1000,
        max_delay: 1500,
        classes: vec![RetryClass::Oom],
    };
    let mut machine = Machine::new(shape);
    let first = tries(&mut machine, 5)[0];
    end(&mut machine, first, failed(FailureClass::Oom));
    assert_eq!(
        tries(&mut machine, 5),
        [ticket(1, 1, 1)],
        "the other one takes slot and claim"
    );
    end(&mut machine, ticket(1, 1, 1), done());
    let wakes = machine.wakes_at(5).unwrap();
    assert!(
        (6..=1005).contains(&wakes),
        "full jitter, at most the delay: {wakes}"
    );
    assert!(tries(&mut machine, wakes - 1).is_empty());
    assert_eq!(tries(&mut machine, wakes), [ticket(0, 2, 1)]);
    end(&mut machine, ticket(0, 2, 1), failed(FailureClass::Node));
    assert_eq!(
        statuses(&machine)[0],
        TaskState::Ended(TaskStatus::Failed),
        "not that class"
    );
}

#[test]
fn a_second_stop_outranks_the_first_and_an_earlier_one_never_does() {
    let mut machine = Machine::new(chained(&[&[]], &[0], &[1]));
    started(&mut machine);
    let mut reasons = Vec::new();
    for reason in [
        CancelReason::Deadline,
        CancelReason::Requested,
        CancelReason::Leave,
        CancelReason::Requested,
    ] {
        machine.apply(&Fact::Stop { reason }).unwrap();
        decided(&mut machine, 0);
        reasons.extend(machine.actions());
    }
    let task = TaskIx(0);
    let cancel = |reason| Action::Cancel { task, reason };
    assert_eq!(
        reasons,
        [
            cancel(CancelReason::Deadline),
            cancel(CancelReason::Requested),
            cancel(CancelReason::Leave)
        ]
    );
}

#[test]
fn a_run_whose_time_is_up_is_stopped() {
    let mut shape = chained(&[&[], &[0]], &[0, 0], &[1]);
    shape.policy.deadline = Some(500);
    let mut machine = Machine::new(shape);
    started(&mut machine);
    assert_eq!(machine.wakes_at(0), Some(500));
    let (task, reason) = (TaskIx(0), CancelReason::Deadline);
    let facts = decided(&mut machine, 500);
    assert_eq!(
        facts[..2],
        [Fact::Stop { reason }, Fact::Cancelling { task, reason }]
    );
    end(&mut machine, ticket(0, 1, 1), Outcome::Cancelled);
    decided(&mut machine, 501);
    assert_eq!(machine.finished(), Some(RunStatus::Cancelled));
}

#[test]
fn a_fact_that_cannot_be_is_refused() {
    let mut machine = Machine::new(chained(&[&[], &[0]], &[0, 0], &[1]));
    let assigned = |task, endpoint| Fact::Assigned {
        ticket: ticket(task, 1, 1),
        endpoint: EndpointIx(endpoint),
        fresh: false,
    };
    assert!(
        machine.apply(&assigned(1, 0)).is_err(),
        "its need is not done"
    );
    assert!(machine.apply(&assigned(7, 0)).is_err(), "no such task");
    assert!(machine.apply(&assigned(0, 1)).is_err(), "no such endpoint");
    let status = RunStatus::Done;
    assert!(
        machine.apply(&Fact::Finished { status }).is_err(),
        "nothing has ended"
    );
    machine.apply(&assigned(0, 0)).unwrap();
    assert!(machine.apply(&assigned(0, 0)).is_err(), "it runs already");
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
fn giving_up_many_tasks_and_steps_stays_linear() {
    let count = 100_000;
    let mut steps = vec![step(&[], 0)];
    steps.extend((1..count).map(|at| step(&[at - 1], 0)));
    let mut machine = Machine::new(shape(steps, &[4]));
    let first = tries(&mut machine, 0)[0];
    end(&mut machine, first, failed(FailureClass::Node));
    decided(&mut machine, 0);
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
    assert_eq!(machine.counts().skipped, count as usize - 1);
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
fn a_job_lost_too_often_halts_the_run_before_another_one_is_retried() {
    let mut machine = Machine::new(chained(&[&[], &[]], &[0, 0], &[2]));
    tries(&mut machine, 0);
    for try_ in 1..=2 {
        end(&mut machine, ticket(0, 1, try_), Outcome::Lost);
        tries(&mut machine, 0);
        tries(&mut machine, 10_000);
    }
    end(&mut machine, ticket(0, 1, 3), Outcome::Lost);
    end(&mut machine, ticket(1, 1, 1), Outcome::Lost);
    let facts = decided(&mut machine, 10_000);
    assert!(!facts.iter().any(|f| matches!(f, Fact::Retried { .. })));
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
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
    for at in 0..100 {
        let needs = Vec::new();
        let (step, order) = (StepIx(2), vec![at]);
        shape.tasks.push(TaskShape {
            step,
            order,
            needs,
            skip: false,
        });
    }
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
fn a_stream_starts_as_its_sources_end_and_in_their_order() {
    let mut steps = vec![step(&[], 0), step(&[0], 0), step(&[1], 0)];
    steps[1].grow = Grows::Stream(StepIx(0));
    steps[1].placeholders = true;
    let mut shape = shape(steps, &[2]);
    shape.tasks.insert(
        1,
        TaskShape {
            order: vec![1],
            ..shape.tasks[0].clone()
        },
    );
    let mut machine = Machine::new(shape);
    assert_eq!(started(&mut machine), [0, 1]);
    let mut grow = |source: u32| {
        end(&mut machine, ticket(source, 1, 1), done());
        let (step, source) = (StepIx(1), Some(TaskIx(source)));
        assert_eq!(machine.actions(), [Action::Expand { step, source }]);
        let tasks = vec![planned(source.unwrap().0, &[source.unwrap().0])];
        machine
            .apply(&Fact::Expanded {
                step,
                source,
                tasks,
            })
            .unwrap();
        started(&mut machine)
    };
    assert_eq!(grow(1), [3]);
    assert_eq!(grow(0), [4]);
    for task in [3, 4] {
        end(&mut machine, ticket(task, 1, 1), done());
    }
    assert_eq!(
        machine.results(StepIx(1)),
        [TaskIx(4), TaskIx(3)],
        "as they are written"
    );
    assert_eq!(
        started(&mut machine),
        [2],
        "the step that waits for all of it"
    );
}

#[test]
fn a_list_that_waits_for_results_is_expanded_once_and_an_empty_one_skips_the_step() {
    let mut steps = vec![step(&[], 0), step(&[0], 0), step(&[1], 0)];
    steps[1].grow = Grows::Once;
    steps[2].needs[0].optional = true;
    let mut machine = Machine::new(shape(steps, &[2]));
    assert_eq!(started(&mut machine), [0]);
    assert!(!machine.expects(StepIx(1), None));
    end(&mut machine, ticket(0, 1, 1), done());
    let (step, source) = (StepIx(1), None);
    assert_eq!(machine.actions(), [Action::Expand { step, source }]);
    assert!(machine.owed().is_empty());
    assert_eq!(
        machine.actions(),
        [Action::Expand { step, source }],
        "owed after a crash"
    );
    let tasks = Vec::new();
    machine
        .apply(&Fact::Expanded {
            step,
            source,
            tasks,
        })
        .unwrap();
    assert_eq!(machine.step_status(step), Some(StepStatus::Skipped));
    assert_eq!(
        started(&mut machine),
        [1],
        "an optional need only has to end"
    );
}

#[test]
fn a_failed_source_taints_a_stream_and_only_what_depends_on_it_is_skipped() {
    let mut steps = vec![step(&[], 0), step(&[0], 0), step(&[1], 0), step(&[], 0)];
    steps[1].grow = Grows::Stream(StepIx(0));
    steps[1].placeholders = true;
    let mut shape = shape(steps, &[9]);
    shape.policy.keep_going = true;
    let mut machine = Machine::new(shape);
    assert_eq!(started(&mut machine), [0, 2]);
    end(&mut machine, ticket(0, 1, 1), failed(FailureClass::Node));
    end(&mut machine, ticket(2, 1, 1), done());
    let (step, source) = (StepIx(1), Some(TaskIx(0)));
    assert_eq!(machine.actions(), [Action::Expand { step, source }]);
    let tasks = vec![planned(0, &[0])];
    machine
        .apply(&Fact::Expanded {
            step,
            source,
            tasks,
        })
        .unwrap();
    decided(&mut machine, 0);
    let cause = Some(Cause::Task(TaskIx(0)));
    assert_eq!(
        (machine.why(TaskIx(3)), machine.why(TaskIx(1))),
        (cause, cause)
    );
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
    assert_eq!((machine.counts().done, machine.counts().skipped), (1, 2));
}

fn key(text: &str) -> Option<ContentHash> {
    Some(ContentHash::of(text.as_bytes()))
}

#[test]
fn of_tasks_with_equal_keys_one_runs_and_the_others_find_its_result() {
    let mut machine = Machine::new(fan(3, 3));
    decided(&mut machine, 0);
    for task in 0..3 {
        let (ticket, key) = (ticket(task, 1, 1), key("same"));
        machine.apply(&Fact::Prepared { ticket, key }).unwrap();
    }
    let facts = decided(&mut machine, 0);
    assert_eq!(
        facts,
        [Fact::Started {
            ticket: ticket(0, 1, 1)
        }]
    );
    end(&mut machine, ticket(0, 1, 1), done());
    decided(&mut machine, 0);
    for task in 1..3 {
        let outcome = Outcome::Cached {
            artifacts: Vec::new(),
            from: RunId::from("r"),
        };
        end(&mut machine, ticket(task, 1, 2), outcome);
    }
    decided(&mut machine, 0);
    assert_eq!(machine.finished(), Some(RunStatus::Done));
    assert_eq!((machine.counts().done, machine.counts().cached), (1, 2));
}

#[test]
fn when_the_first_of_equal_tasks_fails_the_next_one_runs_itself() {
    let mut shape = fan(3, 3);
    shape.policy.keep_going = true;
    let mut machine = Machine::new(shape);
    decided(&mut machine, 0);
    let prepared = |machine: &mut Machine, ticket| {
        let key = key("same");
        machine.apply(&Fact::Prepared { ticket, key }).unwrap();
        decided(machine, 0)
    };
    for task in 0..3 {
        prepared(&mut machine, ticket(task, 1, 1));
    }
    end(&mut machine, ticket(0, 1, 1), failed(FailureClass::Node));
    decided(&mut machine, 0);
    let next = ticket(1, 1, 2);
    assert_eq!(
        prepared(&mut machine, next),
        [Fact::Started { ticket: next }]
    );
    assert_eq!(
        statuses(&machine)[2],
        TaskState::Parked {
            ticket: ticket(2, 1, 1)
        }
    );
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

#[test]
fn a_resumed_run_gives_what_failed_another_chance_under_new_tickets() {
    let mut machine = Machine::new(chained(&[&[], &[0], &[], &[2]], &[0; 4], &[9]));
    assert_eq!(started(&mut machine), [0, 2]);
    end(&mut machine, ticket(0, 1, 1), failed(FailureClass::Node));
    end(&mut machine, ticket(2, 1, 1), done());
    decided(&mut machine, 0);
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
    machine.apply(&Fact::Resumed { again: Vec::new() }).unwrap();
    assert_eq!((machine.finished(), machine.cause()), (None, None));
    let again = tries(&mut machine, 0);
    assert_eq!(again, [ticket(0, 1, 2), ticket(3, 1, 1)], "done stays done");
    for ticket in again {
        end(&mut machine, ticket, done());
    }
    let last = tries(&mut machine, 0);
    assert_eq!(last, [ticket(1, 1, 1)]);
    end(&mut machine, last[0], done());
    decided(&mut machine, 0);
    assert_eq!(machine.finished(), Some(RunStatus::Done));
}

#[test]
fn a_job_that_an_earlier_session_cancelled_is_sent_again() {
    let mut machine = Machine::new(chained(&[&[]], &[0], &[1]));
    started(&mut machine);
    let reason = CancelReason::Requested;
    machine.apply(&Fact::Stop { reason }).unwrap();
    decided(&mut machine, 0);
    machine.apply(&Fact::Resumed { again: Vec::new() }).unwrap();
    assert_eq!(machine.owed().len(), 1);
    end(&mut machine, ticket(0, 1, 1), Outcome::Cancelled);
    decided(&mut machine, 0);
    assert_eq!(tries(&mut machine, 10_000), [ticket(0, 1, 2)]);
}

#[test]
fn after_so_many_failures_nothing_new_starts() {
    let mut shape = fan(10, 1);
    shape.policy = Policy {
        keep_going: true,
        max_fail: Some(2),
        deadline: None,
    };
    let mut machine = Machine::new(shape);
    let mut tried = 0;
    while let [ticket] = tries(&mut machine, 0)[..] {
        tried += 1;
        end(&mut machine, ticket, failed(FailureClass::Node));
    }
    assert_eq!((tried, machine.finished()), (2, Some(RunStatus::Failed)));
}
