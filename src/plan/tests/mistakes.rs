//! The exact words for what is wrong.

use super::super::{expand, preview};
use super::{Project, drawing, planned, refused, results};
use crate::base::StepId;
use crate::catalog::Catalog;
use crate::diagnostic::render_human;
use serde_json::json;

#[test]
fn mistakes_of_fan_out() {
    let cases = [
        "matrix: { i: [1, 1] }",
        "matrix: { i: \"{{ params.n }}\" }",
        "matrix: { i: \"{{ steps.draw.images }}\" }",
        "matrix: { i: [1, 2], exclude: [{ i: 1 }, { i: 2 }] }",
        "matrix: { i: [1], include: [{ i: 1 }] }",
        "matrix: { i: \"{{ range(1000) }}\", j: \"{{ range(200) }}\" }",
        "for_each: params.n",
        "for_each: \"{{ matrix.i }}\"",
        "for_each: task.index",
        "for_each: [\"{{ run.id }}\"]",
        "for_each: range(60000)\nmatrix: { j: [1, 2] }",
        "matrix: { i: [1] }\nset: { Make: { seed: \"{{ matrix.j }}\" } }",
        "set: { Make: { seed: \"{{ item }}\", text: \"{{ result.text }}\" } }",
        "matrix: { i: [1, 2] }\nsave_as: portrait",
        "for_each: params.words\nsave_as: \"{{ item | length }}\"",
    ];
    let told: Vec<String> = cases.iter().map(|case| refused(case)).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn mistakes_of_conditions_and_policies() {
    let cases = [
        "when: params.what",
        "when: params.words | length",
        "retry: { attempts: 2, until: \"{{ params.n > 5 }}\" }",
        "timeout: \"{{ params.what }}\"",
        "timeout: \"{{ task.name }}\"",
    ];
    let told: Vec<String> = cases.iter().map(|case| refused(case)).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_single_result_is_no_list() {
    let pipeline = "steps:\n  a: { workflow: draw.json, template: false }\n  b: { workflow: draw.json, template: false, for_each: steps.a.image }\n  c: { workflow: draw.json, template: false, for_each: steps.a.status }\n";
    insta::assert_snapshot!(Project::new().plan(pipeline).told);
}

#[test]
fn an_expansion_that_gives_no_list_is_told_where_for_each_stands() {
    let plan = planned("for_each: \"{{ run.seed }}\"");
    let report = expand(&plan, &StepId::from("draw"), None, &results()).unwrap_err();
    insta::assert_snapshot!(render_human(&report, &plan.sources));
}

#[test]
fn a_rendered_workflow_shows_the_text_that_was_made() {
    let project = Project::new();
    project.write(
        "w.json.j2",
        "{\"1\": {\"class_type\": \"Make\", \"inputs\": {\"text\": \"{{ params.what }}\"}}}",
    );
    let pipeline = drawing("set: { Make: { seed: 1 } }").replace("draw.json", "w.json.j2");
    let plan = project.plan(&pipeline).good();
    let work = plan.steps["draw"].workflow().unwrap();
    assert_eq!(work.graph.nodes["1"].inputs["text"], "cat");

    let bad = |text: &str| {
        let project = Project::new();
        project.write("w.json.j2", text);
        project.plan(&pipeline).told
    };
    let cases = [
        bad("{\"1\": {\"class_type\": {{ params.what }}}}"),
        bad("{\"1\": {\"class_type\": \"{{ params.wat }}\"}}"),
        bad("{\"1\": {\"class_type\": \"{{ task.name }}\"}}"),
        bad("{% if %}"),
    ];
    insta::assert_snapshot!(cases.join("\n"));
    for (text, place) in [
        (
            "a task and steps: {{ params.what }} {{ steps.draw.text }}",
            ":1:62",
        ),
        ("of a task: {{ params.what }}-{{ task.name }}", ":1:55"),
    ] {
        let told = bad(&format!("{{\"1\": {{\"class_type\": \"{text}\"}}}}"));
        assert!(told.contains(&format!("w.json.j2{place}\n")), "{told}");
    }
}

#[test]
fn a_bypass_passes_on_what_it_can_and_tells_what_it_cannot() {
    let info = json!({
        "Make": {"input": {"required": {"seed": ["INT", {}]}}, "output": ["IMAGE"]},
        "Blur": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": true},
    });
    let (catalog, _) = Catalog::from_object_info(&info);
    let plan = planned("set: { Soft: bypass }");
    let work = plan.steps["draw"].workflow().unwrap();
    let (rendered, wrong) = preview(&plan, &plan.tasks[0], work, Some(&catalog));
    assert!(wrong.items.is_empty());
    assert_eq!(rendered.graph.nodes["3"].inputs["images"], json!(["1", 0]));
    assert!(!rendered.graph.nodes.contains_key("2"));

    let plan = planned("set: { Make: bypass }");
    let work = plan.steps["draw"].workflow().unwrap();
    let (_, wrong) = preview(&plan, &plan.tasks[0], work, Some(&catalog));
    insta::assert_snapshot!(render_human(&wrong, &plan.sources));
}
