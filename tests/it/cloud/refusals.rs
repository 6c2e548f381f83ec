//! An account that cannot: what each refusal says, and that only a full queue is worth waiting for.

use super::{KEY, ONE, cloud, ended, keyed, project};
use crate::support::{CARD, Project, Server, finish, settled};

fn card(server: &Server) -> Project {
    project(&server.url, &[("one.json", CARD), ("p.yaml", ONE)])
}

/// What a run says whose key brings an error with it.
fn told(word: &str) -> String {
    let server = cloud(&[]);
    let project = card(&server);
    let key = format!("{KEY}{word}");
    let done = finish(&mut keyed(&project, &key, &["run", "p.yaml"])).code(5);
    assert!(ended(&server).is_empty(), "no job was done");
    assert!(!done.stderr.contains(KEY), "{}", done.stderr);
    // Both classes of the card are asked for at once.
    settled(&done.stderr, project.path()).replace("object_info/EmptyImage", "object_info/SaveImage")
}

#[test]
fn a_key_that_nobody_knows() {
    insta::assert_snapshot!(told("-revoked"));
}

#[test]
fn an_account_without_credits() {
    insta::assert_snapshot!(told(":no-credits"));
}

#[test]
fn a_plan_without_access() {
    insta::assert_snapshot!(told(":no-tier"));
}

#[test]
fn a_subscription_that_ended() {
    insta::assert_snapshot!(told(":inactive"));
}

#[test]
fn an_account_that_owes() {
    insta::assert_snapshot!(told(":unpaid"));
}

#[test]
fn a_trial_that_is_used_up() {
    insta::assert_snapshot!(told(":free-tier"));
}

#[test]
fn partners_that_are_turned_off() {
    insta::assert_snapshot!(told(":no-partners"));
}

#[test]
fn a_partner_who_wants_to_be_paid() {
    insta::assert_snapshot!(told(":unpaid-partner"));
}

#[test]
fn a_full_queue_is_waited_for() {
    let server = cloud(&[]);
    let project = card(&server);
    let key = format!("{KEY}:queue-limit");
    finish(&mut keyed(&project, &key, &["run", "p.yaml"])).ok();
    assert_eq!(ended(&server).len(), 1);
}

#[test]
fn more_tasks_than_may_wait_are_all_done_in_the_end() {
    let server = cloud(&["--jobs", "1", "--queue-limit", "1"]);
    let project = crate::proofs::two_by(6, 64);
    let declared = super::declared(&server.url).replace("kind: cloud", "kind: cloud, max_jobs: 6");
    project.file("kiln.yaml", declared);
    finish(&mut keyed(&project, KEY, &["run", "p.yaml"])).ok();
    assert_eq!(ended(&server).len(), 12);
}
