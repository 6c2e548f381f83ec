//! `--to`, `--from`, `--only`, `--force`.

use std::sync::Arc;

use super::super::{Earlier, Item, Plan, StepOutcome, TaskOutcome, render};
use super::{Project, names, picture, results};
use crate::artifact::Datum;
use crate::base::StepId;

const CHAIN: &str = "steps:
  a: { workflow: draw.json, template: false }
  b: { workflow: draw.json, template: false, needs: a }
  c: { workflow: draw.json, template: false, for_each: steps.b, set: { Make: { text: \"{{ item.name }}\" } } }
  other: { workflow: draw.json, template: false }
  d: { workflow: draw.json, template: false, needs: [other, c] }
";

fn selected(change: impl FnOnce(&mut Project)) -> Plan {
    let mut project = Project::new();
    change(&mut project);
    project.plan(CHAIN).good()
}

fn steps(plan: &Plan) -> Vec<(&str, bool)> {
    let steps = plan.steps.values();
    steps.map(|step| (step.id.as_str(), step.force)).collect()
}

#[test]
fn to_runs_a_step_and_what_it_needs() {
    let plan = selected(|p| p.settings.to = vec![p.flag("--to", "b")]);
    assert_eq!(steps(&plan), [("a", false), ("b", false)]);
    assert_eq!(names(&plan.tasks), ["a", "b"]);
}

#[test]
fn from_runs_a_step_and_all_after_it_afresh() {
    let plan = selected(|p| p.settings.from = vec![p.flag("--from", "c")]);
    assert_eq!(
        steps(&plan),
        [
            ("a", false),
            ("b", false),
            ("c", true),
            ("other", false),
            ("d", true)
        ]
    );
    let plan = selected(|p| {
        p.settings.from = vec![p.flag("--from", "b")];
        p.settings.to = vec![p.flag("--to", "c")];
    });
    assert_eq!(steps(&plan), [("a", false), ("b", true), ("c", true)]);
}

#[test]
fn force_makes_everything_afresh() {
    let plan = selected(|p| p.settings.force = true);
    assert!(plan.steps.values().all(|step| step.force));
}

#[test]
fn only_runs_exactly_a_step_on_results_of_earlier_runs() {
    let mut project = Project::new();
    project.settings.only = vec![project.flag("--only", "c")];
    let earlier = |step: &StepId| {
        assert_eq!(step.as_str(), "b");
        let task = TaskOutcome {
            name: "b".into(),
            index: 0,
            order: Vec::new(),
            matrix: std::sync::Arc::default(),
            item: None,
            source: None,
            status: "cached".to_owned(),
            artifacts: vec![picture("b", "b", "old.png")],
        };
        Some(Arc::new(StepOutcome {
            status: "done".to_owned(),
            tasks: vec![Arc::new(task)],
        }))
    };
    let plan = project.plan_after(CHAIN, Some(Earlier(&earlier))).good();
    assert_eq!(steps(&plan), [("c", false)]);
    assert!(plan.steps["c"].needs.is_empty());
    assert_eq!(names(&plan.tasks), ["c[b]"]);
    assert!(matches!(&plan.tasks[0].item, Some(Item::Given(task)) if task.name.as_str() == "b"));
    let work = plan.steps["c"].workflow().unwrap();
    let rendered = render(&plan, &plan.tasks[0], work, &results(), None, 1).unwrap();
    assert_eq!(rendered.graph.nodes["1"].inputs["text"], "b");
    assert_eq!(
        Datum::from(rendered.graph.nodes["1"].inputs["seed"].clone()),
        Datum::Number(5.into())
    );
}

#[test]
fn what_cannot_be_selected_is_told() {
    let told = |change: &dyn Fn(&mut Project)| {
        let mut project = Project::new();
        change(&mut project);
        let planned = project.plan(CHAIN);
        assert!(planned.plan.is_none());
        planned.told
    };
    let cases = [
        told(&|p| p.settings.to = vec![p.flag("--to", "oter")]),
        told(&|p| p.settings.only = vec![p.flag("--only", "c")]),
        told(&|p| {
            p.settings.only = vec![p.flag("--only", "a")];
            p.settings.from = vec![p.flag("--from", "a")];
        }),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}
