//! Running a part of a pipeline, and pictures of the whole.

use serde_json::json;

use crate::support::Project;

const PIPELINE: &str = r#"
steps:
  base:
    workflow: base.json
    matrix: { i: [0, 1] }
    set: { EmptyImage: { color: "{{ matrix.i }}" } }
  small:
    workflow: small.json
    for_each: steps.base
    set: { LoadImage: { image: "{{ item.image }}" } }
    save_as: "small-{{ item.matrix.i }}"
  apart:
    workflow: base.json
"#;

fn project() -> Project {
    let project = Project::new();
    project.file("p.yaml", PIPELINE);
    let base = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "base"}}
    });
    let small = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "area", "scale_by": 0.5}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "small"}}
    });
    project.file("base.json", base.to_string());
    project.file("small.json", small.to_string());
    project
}

fn steps(project: &Project) -> Vec<String> {
    let latest = project.path().join("outputs/p/latest");
    let mut names: Vec<String> = std::fs::read_dir(latest)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn to_runs_what_a_step_needs_and_only_runs_it_on_earlier_results() {
    let project = project();
    let refused = project.kiln(&["run", "p.yaml", "--only", "small"]);
    assert_eq!(refused.code, 3);
    refused.says("error[K0134]");

    project.kiln(&["run", "p.yaml", "--to", "base"]).ok();
    assert_eq!(steps(&project), ["base"]);

    let alone = project.kiln(&["run", "p.yaml", "--only", "small"]).ok();
    assert_eq!(steps(&project), ["small"]);
    let mut made: Vec<&str> = alone
        .stdout
        .lines()
        .filter_map(|line| line.rsplit('/').next())
        .collect();
    made.sort_unstable();
    assert_eq!(made, ["small-0.png", "small-1.png"]);
}

#[test]
fn plans_are_drawn() {
    let project = project();
    let drawn = |format: &str| {
        project
            .kiln(&["plan", "p.yaml", "--output", format])
            .ok()
            .stdout
    };
    assert!(drawn("dot").contains("\"base\" -> \"small\" [label=\"each\"];"));
    assert!(drawn("mermaid").starts_with("flowchart LR\n"));
    let svg = drawn("svg");
    assert!(
        svg.starts_with("<svg ") && svg.contains(">base × 2<"),
        "{svg}"
    );
}
