//! Plans shown and drawn.

use super::super::{Plan, to_dot, to_json, to_mermaid, to_svg, to_text};
use super::Project;

const PIPELINE: &str = "limits: { gpu: 2 }
params: { what: { type: string, default: cat } }
steps:
  base:
    workflow: draw.json
    matrix: { i: \"{{ range(4) }}\" }
    set: { Make: { seed: \"{{ matrix.i }}\" }, Soft: bypass }
    retry: { attempts: 3, delay: 2s, for: [transient, oom] }
    timeout: 90s
  up: { workflow: draw.json, for_each: steps.base, claims: { gpu: 1 }, cache: strict }
  tag: { workflow: draw.json, for_each: \"{{ steps.up.texts | unique }}\", when: item != 'no' }
  film: { command: [ffmpeg, -i, \"{{ steps.up.images }}\", \"a <b> & \\\"c\\\"\"], needs: [{ step: tag, optional: true }] }
";

fn plan() -> Plan {
    let project = Project::new();
    let mut plan = project.plan(PIPELINE).good();
    let files: Vec<_> = plan.sources.files().map(|(id, _)| id).collect();
    for id in files {
        let name = plan.sources.file(id).name.clone();
        let short = name.rsplit('/').next().unwrap_or_default().to_owned();
        plan.sources.rename(id, &short);
    }
    plan
}

#[test]
fn a_plan_is_told_step_by_step() {
    insta::assert_snapshot!(to_text(&plan(), usize::MAX));
    // Where there is no room beside their names, what steps do stands below.
    insta::assert_snapshot!(to_text(&plan(), 40));
}

#[test]
fn a_plan_is_drawn_for_graphviz_mermaid_and_by_itself() {
    let plan = plan();
    insta::assert_snapshot!("dot", to_dot(&plan));
    insta::assert_snapshot!("mermaid", to_mermaid(&plan));
    let svg = to_svg(&plan);
    assert_eq!(svg, to_svg(&plan));
    insta::assert_snapshot!("svg", svg);
}

#[test]
fn json_tells_how_steps_grow_and_what_tasks_are_known() {
    let json = to_json(&plan());
    assert_eq!(json["steps"][0]["tasks"], 4);
    assert_eq!(json["steps"][1]["grow"]["stream"], "base");
    assert_eq!(
        json["steps"][2]["grow"]["for_each"],
        "{{ steps.up.texts | unique }}"
    );
    assert_eq!(json["steps"][3]["optional"][0], "tag");
    assert_eq!(json["tasks"][3]["matrix"]["i"], 3);
    assert_eq!(json["tasks"].as_array().unwrap().len(), 5);
}
