//! How tasks, steps and runs end, go on after an end, and begin again.

use super::tests::{
    chained, decided, done, end, failed, fan, planned, shape, started, statuses, step, ticket,
    tries,
};
use super::*;
use crate::base::{ContentHash, RunId};
use crate::event::{RunStatus, TaskStatus};
use crate::plan::{RetryClass, TaskIx, TaskPlan};

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

/// These are the tasks of step 1, or those that come of `source`.
fn grow(machine: &mut Machine, source: Option<TaskIx>, tasks: Vec<TaskPlan>) {
    let step = StepIx(1);
    assert_eq!(machine.actions(), [Action::Expand { step, source }]);
    let expanded = Fact::Expanded {
        step,
        source,
        tasks,
    };
    machine.apply(&expanded).unwrap();
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
    let mut end_of = |source: u32| {
        end(&mut machine, ticket(source, 1, 1), done());
        let tasks = vec![planned(source, &[source])];
        grow(&mut machine, Some(TaskIx(source)), tasks);
        started(&mut machine)
    };
    assert_eq!(end_of(1), [3]);
    assert_eq!(end_of(0), [4]);
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
    // It is owed after a crash, too.
    grow(&mut machine, source, Vec::new());
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
    let tasks = vec![planned(0, &[0])];
    grow(&mut machine, Some(TaskIx(0)), tasks);
    decided(&mut machine, 0);
    let cause = Some(Cause::Task(TaskIx(0)));
    assert_eq!(
        (machine.why(TaskIx(3)), machine.why(TaskIx(1))),
        (cause, cause)
    );
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
    assert_eq!((machine.counts().done, machine.counts().skipped), (1, 2));
}

fn key(text: &str) -> ContentHash {
    ContentHash::of(text.as_bytes())
}

#[test]
fn of_tasks_with_equal_keys_one_runs_and_the_others_find_its_result() {
    let mut machine = Machine::new(fan(3, 3));
    decided(&mut machine, 0);
    for task in 0..3 {
        let (ticket, key) = (ticket(task, 1, 1), Some(key("same")));
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
        let key = Some(key("same"));
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

#[test]
fn what_was_not_wanted_is_asked_again_only_when_its_needs_have_another_chance() {
    // 1 waits for 0 however it ends; 3 waits for 2.
    let mut shape = chained(&[&[], &[0], &[], &[2]], &[0; 4], &[9]);
    shape.steps[1].needs[0].optional = true;
    shape.policy.keep_going = true;
    let mut machine = Machine::new(shape);
    assert_eq!(started(&mut machine), [0, 2]);
    end(&mut machine, ticket(0, 1, 1), failed(FailureClass::Node));
    end(&mut machine, ticket(2, 1, 1), done());
    assert_eq!(started(&mut machine), [1, 3]);
    for task in [1, 3] {
        end(&mut machine, ticket(task, 1, 1), Outcome::Skipped);
    }
    decided(&mut machine, 0);
    assert_eq!(machine.finished(), Some(RunStatus::Failed));
    machine.apply(&Fact::Resumed { again: Vec::new() }).unwrap();
    assert_eq!(started(&mut machine), [0]);
    end(&mut machine, ticket(0, 1, 2), done());
    assert_eq!(tries(&mut machine, 0), [ticket(1, 1, 2)]);
    end(&mut machine, ticket(1, 1, 2), done());
    decided(&mut machine, 0);
    assert_eq!(machine.finished(), Some(RunStatus::Done));
    assert_eq!((machine.counts().done, machine.counts().skipped), (3, 1));
}
