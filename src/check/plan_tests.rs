//! Whole plans: what is said once, what is said of one task, and how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::base::{Inputs, Secrets};
use crate::catalog::Catalog;
use crate::diagnostic::{Report, SourceMap, render_human};
use crate::plan::{Materials, Plan, Settings, build};
use crate::spec;

const DRAW: &str = r#"{"1": {"class_type": "Make", "inputs": {"seed": 5, "size": 64}},
 "2": {"class_type": "Save", "inputs": {"images": ["1", 0]}}}"#;

fn planned(lines: &str) -> Plan {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("draw.json"), DRAW).unwrap();
    let text = format!("steps:\n  draw:\n    workflow: draw.json\n{lines}");
    let mut sources = SourceMap::default();
    let mut report = Report::default();
    let file = sources.add_text("p.yaml", &text);
    let path = dir.path().join("p.yaml");
    let pipeline = spec::pipeline_from_text(file, &path, &sources, &mut report).unwrap();
    let materials = Materials {
        pipeline: &pipeline,
        pipeline_dir: dir.path(),
        bare: None,
        project: None,
        project_dir: dir.path(),
        settings: &Settings::default(),
        inputs: &Arc::new(Inputs::default()),
        secrets: &Secrets::default(),
        earlier: None,
        plugins: &crate::plan::PlanPlugins::default(),
        declared: None,
    };
    let plan = build(&materials, &mut sources, &mut report);
    assert!(!report.has_errors(), "{}", render_human(&report, &sources));
    plan.unwrap()
}

fn told(plan: &Plan) -> String {
    let info = json!({
        "Make": {"input": {"required": {"seed": ["INT", {"max": 5000}], "size": ["INT", {"min": 16, "max": 128}]}}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": true},
    });
    let catalog = Arc::new(Catalog::from_object_info(&info).0);
    let found = super::plan(plan, false, &|_| Some(Arc::clone(&catalog)), &|_| None);
    render_human(&found.report, &plan.sources)
}

#[test]
fn what_is_wrong_with_every_task_is_said_once_and_what_is_wrong_with_some_names_one() {
    let all = planned(
        "    matrix: { i: [1, 2, 3] }\n    set: { Make: { seed: \"{{ matrix.i }}\", size: 8 } }\n",
    );
    let some = planned(
        "    matrix: { size: [8, 64, 9, 10, 11, 12] }\n    set: { Make: { size: \"{{ matrix.size }}\" } }\n",
    );
    let open = planned(
        "    matrix: { size: [8, 64] }\n    for_each: steps.first\n    set: { Make: { size: \"{{ matrix.size }}\", seed: \"{{ item.index }}\" } }\n  first:\n    workflow: draw.json\n",
    );
    insta::assert_snapshot!([told(&all), told(&some), told(&open)].join("\n"));
}

#[test]
fn four_thousand_tasks_are_checked_in_seconds() {
    let plan = planned(
        "    matrix: { i: \"{{ range(4000) }}\" }\n    set: { Make: { seed: \"{{ matrix.i }}\" } }\n",
    );
    let start = Instant::now();
    assert_eq!(told(&plan), "");
    // The machine may be busy with other tests; alone it takes a fraction of this.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
