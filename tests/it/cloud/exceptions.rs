//! Jobs that the Cloud takes and that fail there with an exception of its own: what each says, and which are worth another try.

use super::{KEY, ONE, cloud, ended, keyed, project};
use crate::support::{CARD, finish, settled};

const RETRIED: &str = "steps:\n  one:\n    workflow: one.json\n    retry: { attempts: 3, delay: 10ms, for: [transient, oom] }\n";

/// What a run says whose first job fails so; and with `retry`, how many jobs there were.
fn once(exception: &str, pipeline: &str, code: i32) -> (String, usize) {
    let server = cloud(&[]);
    let project = project(&server.url, &[("one.json", CARD), ("p.yaml", pipeline)]);
    let key = format!("{KEY}:{exception}");
    let done = finish(&mut keyed(&project, &key, &["run", "p.yaml"])).code(code);
    (settled(&done.stderr, project.path()), ended(&server).len())
}

#[test]
fn a_workflow_that_turns_out_to_be_wrong() {
    insta::assert_snapshot!(once("ValidationError", ONE, 4).0);
    assert_eq!(once("ValidationError", RETRIED, 4).1, 1);
}

#[test]
fn a_model_that_cannot_be_fetched() {
    insta::assert_snapshot!(
        once(
            "ModelDownloadError",
            "steps:\n  one: { workflow: one.json, retry: { attempts: 1 } }\n",
            4
        )
        .0
    );
    assert_eq!(once("ModelDownloadError", RETRIED, 0).1, 2);
}

#[test]
fn a_picture_that_cannot_be_fetched() {
    insta::assert_snapshot!(
        once(
            "ImageDownloadError",
            "steps:\n  one: { workflow: one.json, retry: { attempts: 1 } }\n",
            4
        )
        .0
    );
    assert_eq!(once("ImageDownloadError", RETRIED, 0).1, 2);
}

#[test]
fn a_machine_without_memory() {
    insta::assert_snapshot!(
        once(
            "OOMError",
            "steps:\n  one: { workflow: one.json, retry: { attempts: 1 } }\n",
            4
        )
        .0
    );
    assert_eq!(once("OOMError", RETRIED, 0).1, 2);
}

#[test]
fn credits_that_run_out_while_a_job_runs() {
    insta::assert_snapshot!(once("InsufficientFundsError", ONE, 5).0);
    assert_eq!(once("InsufficientFundsError", RETRIED, 5).1, 1);
}

#[test]
fn a_subscription_that_ends_while_a_job_runs() {
    insta::assert_snapshot!(once("InactiveSubscriptionError", ONE, 5).0);
    assert_eq!(once("InactiveSubscriptionError", RETRIED, 5).1, 1);
}
