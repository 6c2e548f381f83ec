//! Many jobs with a plugin that fails now and then.

use super::project;
use crate::support::files;

fn pipeline(jobs: usize, retry: &str) -> String {
    format!(
        "steps:\n  draw:\n    workflow: card.json\n    matrix: {{ i: \"{{{{ range({jobs}) }}}}\" }}\n    set: {{ Card: {{ color: \"{{{{ matrix.i }}}}\", width: 16, height: 16 }} }}\n{retry}"
    )
}

#[test]
fn five_hundred_jobs_with_a_plugin_that_fails_now_and_then_lose_nothing() {
    let project = project(
        "on_error: warn\nconfig: { misbehave: { before_submit: often, after_download: often, event: often } }",
        &pipeline(500, ""),
    );
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert_eq!(
        files(&project.path().join("outputs/p/latest/draw")).len(),
        500
    );
    let events = done.json_lines();
    let last = events.last().unwrap();
    assert_eq!(
        (&last["counts"]["done"], &last["counts"]["failed"]),
        (&500.into(), &0.into())
    );
    let ended = events
        .iter()
        .filter(|event| event["event"] == "task_finished");
    assert_eq!(ended.count(), 500);
    let warned = events
        .iter()
        .filter(|event| event["event"] == "task_warning")
        .count();
    assert!(warned > 100, "{warned} warnings");
}

#[test]
fn jobs_that_a_plugin_failed_at_are_tried_again_until_all_are_done() {
    let project = project(
        "config: { misbehave: { before_submit: often } }",
        &pipeline(
            60,
            "    retry: { attempts: 60, delay: 1ms, max_delay: 5ms, for: any }\n",
        ),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(
        files(&project.path().join("outputs/p/latest/draw")).len(),
        60
    );
    project.kiln(&["run", "p.yaml"]).ok().says("nothing to do");
}
