//! Fan-out: names, order, and what each task sees.

use std::sync::Arc;

use serde_json::json;

use super::super::{
    Grow, Item, StepOutcome, TaskIx, TaskOutcome, condition, expand, preview, render, samples,
    until,
};
use super::{Project, drawing, names, picture, planned, results};
use crate::artifact::Datum;
use crate::base::StepId;

#[test]
fn the_first_key_of_a_matrix_is_slowest_and_tasks_are_named_by_their_values() {
    let plan = planned("matrix: { i: \"{{ range(2) }}\", style: [ink, photo] }");
    assert_eq!(
        names(&plan.tasks),
        [
            "draw[i=0,style=ink]",
            "draw[i=0,style=photo]",
            "draw[i=1,style=ink]",
            "draw[i=1,style=photo]"
        ]
    );
    let orders: Vec<(u32, &[u32])> = plan
        .tasks
        .iter()
        .map(|t| (t.index, t.order.as_slice()))
        .collect();
    assert_eq!(orders, [(0, &[0][..]), (1, &[1]), (2, &[2]), (3, &[3])]);
    assert_eq!(plan.steps["draw"].grow, Grow::Known);
}

#[test]
fn exclude_matches_partially_and_include_adds_complete_combinations() {
    let plan = planned(
        "matrix:\n  i: [1, 2]\n  s: [a, b]\n  exclude: [{ i: 1 }, { i: 2, s: b }]\n  include: [{ s: z, i: \"{{ params.n }}\" }]",
    );
    assert_eq!(names(&plan.tasks), ["draw[i=2,s=a]", "draw[i=3,s=z]"]);
}

#[test]
fn a_list_known_before_the_run_gives_its_tasks_at_once_with_the_matrix_inside() {
    let plan = planned("for_each: params.words\nmatrix: { k: [1, 2] }");
    assert_eq!(
        names(&plan.tasks),
        [
            "draw[cat,k=1]",
            "draw[cat,k=2]",
            "draw[dog,k=1]",
            "draw[dog,k=2]"
        ]
    );
    assert_eq!(plan.tasks[2].order, [1, 0]);
    assert_eq!(
        plan.tasks[2].item,
        Some(Item::Value(Datum::String("dog".to_owned())))
    );
}

#[test]
fn an_empty_list_gives_no_tasks() {
    assert!(planned("for_each: []").tasks.is_empty());
    assert!(
        planned("matrix: { i: \"{{ range(0) }}\" }")
            .tasks
            .is_empty()
    );
}

#[test]
fn when_is_decided_for_each_task_where_it_needs_no_results() {
    let plan = planned("matrix: { i: [1, 2, 3] }\nwhen: matrix.i != 2 and params.n == 3");
    let skipped: Vec<bool> = plan.tasks.iter().map(|task| task.skip).collect();
    assert_eq!(skipped, [false, true, false]);
    assert_eq!(plan.steps["draw"].when, None);
    assert!(!condition(&plan, &plan.tasks[1], &results(), 1).unwrap());
    let plan = planned("matrix: { i: [1, 2] }\nwhen: task.attempt > matrix.i or run.id == 'x'");
    assert!(plan.steps["draw"].when.is_some());
    assert!(!condition(&plan, &plan.tasks[0], &results(), 1).unwrap());
    assert!(condition(&plan, &plan.tasks[0], &results(), 2).unwrap());
}

#[test]
fn each_task_is_rendered_with_its_own_names_and_draws_its_own_numbers() {
    let plan = planned(
        "matrix: { i: [10, 20] }\nset:\n  Make: { seed: \"{{ matrix.i + value + task.index }}\", noise: \"{{ random() }}\", own: \"{{ task.seed }}\" }",
    );
    let work = plan.steps["draw"].workflow().unwrap();
    let graph = |at: usize| {
        let task = &plan.tasks[at];
        let (looked_at, _) = preview(&plan, task, work, None);
        let rendered = render(&plan, task, work, &results(), None, 1).unwrap();
        assert_eq!(looked_at.graph, rendered.graph);
        assert!(looked_at.unknown.is_empty());
        rendered.graph.nodes["1"].inputs.clone()
    };
    let (first, second) = (graph(0), graph(1));
    assert_eq!(first["seed"], json!(15));
    assert_eq!(second["seed"], json!(26));
    assert_eq!(first["text"], json!("a cat"));
    assert_ne!(first["noise"], second["noise"]);
    assert_ne!(first["own"], second["own"]);
    let again = render(&plan, &plan.tasks[0], work, &results(), None, 2).unwrap();
    assert_ne!(again.graph.nodes["1"].inputs["own"], first["own"]);
    assert_eq!(again.graph.nodes["1"].inputs["noise"], first["noise"]);
}

const STREAM: &str = "steps:
  base: { workflow: draw.json, template: false, matrix: { i: [0, 1] } }
  up: { workflow: draw.json, template: false, for_each: steps.base, matrix: { scale: [2, 4] }, set: { Make: { seed: \"{{ item.matrix.i * 10 + matrix.scale }}\" } } }
  each: { workflow: draw.json, template: false, for_each: steps.base.images }
  all: { workflow: draw.json, template: false, for_each: \"steps.base.images | reverse\" }
  both: { workflow: draw.json, template: false, for_each: steps.base, save_as: \"{{ steps.base.images | length }}\" }
";

fn base(i: u32) -> TaskOutcome {
    let name = format!("base[i={i}]");
    let picture = |at: u32| picture("base", &name, &format!("{i}-{at}.png"));
    TaskOutcome {
        name: name.as_str().into(),
        index: i,
        order: vec![i],
        matrix: Arc::new([("i".to_owned(), Datum::Number(i.into()))].into()),
        item: None,
        source: None,
        status: "done".to_owned(),
        artifacts: vec![picture(0), picture(1)],
    }
}

#[test]
fn a_path_streams_task_by_task_and_names_tell_the_source() {
    let plan = Project::new().plan(STREAM).good();
    assert_eq!(names(&plan.tasks), ["base[i=0]", "base[i=1]"]);
    let from = StepId::from("base");
    assert_eq!(
        plan.steps["up"].grow,
        Grow::Stream {
            from: from.clone(),
            list: None
        }
    );
    assert!(plan.steps["up"].waits_for(&from));
    let grown = |step: &str, i: u32| {
        let source = base(i);
        let source = Some((TaskIx(i), &source));
        expand(&plan, &StepId::from(step), source, &results()).unwrap()
    };
    let up = grown("up", 1);
    assert_eq!(
        names(&up),
        ["up[base[i=1],scale=2]", "up[base[i=1],scale=4]"]
    );
    assert_eq!((up[1].index, up[1].order.as_slice()), (3, &[1, 1][..]));
    assert_eq!(up[1].needs, [TaskIx(1)]);
    assert_eq!(up[1].item, Some(Item::Task(TaskIx(1))));
    let each = grown("each", 0);
    assert_eq!(names(&each), ["each[base[i=0],0]", "each[base[i=0],1]"]);
    assert_eq!(each[1].order, [0, 1]);
    assert!(matches!(&each[1].item, Some(Item::Value(Datum::Artifact(a))) if a.name == "0-1.png"));
    let mut seen = results();
    seen.item = Some(Arc::new(base(1)));
    let work = plan.steps["up"].workflow().unwrap();
    let rendered = render(&plan, &up[1], work, &seen, None, 1).unwrap();
    assert_eq!(rendered.graph.nodes["1"].inputs["seed"], json!(14));
}

#[test]
fn anything_but_a_path_waits_for_the_whole_step() {
    let plan = Project::new().plan(STREAM).good();
    let mut seen = results();
    let outcome = StepOutcome {
        status: "done".to_owned(),
        tasks: vec![Arc::new(base(0)), Arc::new(base(1))],
    };
    seen.steps.insert("base".into(), Arc::new(outcome));
    assert!(matches!(plan.steps["all"].grow, Grow::Later { .. }));
    let all = expand(&plan, &StepId::from("all"), None, &seen).unwrap();
    assert_eq!(names(&all), ["all[0]", "all[1]", "all[2]", "all[3]"]);
    assert!(matches!(&all[0].item, Some(Item::Value(Datum::Artifact(a))) if a.name == "1-1.png"));
    // What uses all of the other step cannot start as its tasks end.
    assert!(matches!(plan.steps["both"].grow, Grow::Later { .. }));
    let both = expand(&plan, &StepId::from("both"), None, &seen).unwrap();
    assert_eq!(names(&both), ["both[base[i=0]]", "both[base[i=1]]"]);
    assert!(matches!(&both[1].item, Some(Item::Given(task)) if task.index == 1));
}

#[test]
fn a_step_that_has_no_tasks_yet_is_looked_at_with_what_is_known() {
    let plan = Project::new().plan(STREAM).good();
    let step = &plan.steps["up"];
    let samples = samples(step);
    assert_eq!(samples.len(), 2);
    let (rendered, wrong) = preview(&plan, &samples[0], step.workflow().unwrap(), None);
    assert!(wrong.items.is_empty());
    assert!(rendered.unknown.contains(&("1".into(), "seed".to_owned())));
}

#[test]
fn until_sees_what_the_attempt_made() {
    let plan = planned("retry: { attempts: 3, until: \"{{ result.images | length == 2 }}\" }");
    let task = &plan.tasks[0];
    assert!(until(&plan, task, &results(), &base(0), 1).unwrap());
    let nothing = TaskOutcome {
        artifacts: Vec::new(),
        ..base(0)
    };
    assert!(!until(&plan, task, &results(), &nothing, 1).unwrap());
}

#[test]
fn ten_thousand_tasks_of_a_step_are_planned() {
    let project = Project::new().param("n", "10000");
    let plan = project.plan(&drawing("matrix: { i: \"{{ range(params.n) }}\" }"));
    assert_eq!(plan.good().tasks.len(), 10_000);
}

#[test]
fn every_step_draws_for_itself_whatever_it_draws_for() {
    let steps: String = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .map(|id| {
            format!("  {id}:\n    command: [echo]\n    for_each: \"[random()]\"\n    matrix: {{ r: [\"{{{{ random() }}}}\"], include: [{{ r: \"{{{{ random() }}}}\" }}] }}\n    when: random() < 2147483648\n")
        })
        .concat();
    let plan = Project::new().plan(&format!("steps:\n{steps}")).good();
    let drawn: std::collections::BTreeSet<String> = plan
        .tasks
        .iter()
        .flat_map(|task| {
            let item = match &task.item {
                Some(Item::Value(value)) => value.to_json().to_string(),
                other => panic!("{other:?}"),
            };
            [item, task.matrix["r"].to_json().to_string()]
        })
        .collect();
    // Each of the eight steps has one item and two values of its matrix.
    assert_eq!(drawn.len(), 8 * 3, "{drawn:?}");

    let step = |at| format!("  s{at}: {{ command: [echo], when: random() < 2147483648 }}");
    let steps: Vec<String> = (0..24).map(step).collect();
    let plan = format!("steps:\n{}\n", steps.join("\n"));
    let plan = Project::new().plan(&plan).good();
    let skipped = plan.tasks.iter().filter(|task| task.skip).count();
    assert!((1..24).contains(&skipped), "{skipped} of 24 are skipped");
}

#[test]
fn values_of_a_matrix_are_the_same_when_they_are_equal_however_they_are_written() {
    let plan = planned(
        "matrix:\n  m: [{ a: 1, b: [x] }, { a: 1, b: [y] }]\n  n: [1, \"1\", 1.5]\n  exclude: [{ m: { b: [x], a: 1 } }, { n: 1, m: { a: 1, b: [y] } }, { n: \"1.5\" }]",
    );
    assert_eq!(
        names(&plan.tasks),
        ["draw[m=0,n=1]", "draw[m=0,n=1.5]"],
        "the text 1 is not the number"
    );
}
