//! Params of every type, from the command line and from files.

use serde_json::{Value, json};

use crate::support::Project;

const WORKFLOW: &str = r#"{"1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}"#;

fn project(params: &str) -> Project {
    let project = Project::new();
    project.file("w.json", WORKFLOW);
    let steps = "steps:\n  a:\n    workflow: w.json\n";
    project.file("p.yaml", format!("params:\n{params}{steps}"));
    project
}

/// The params of the plan that some flags make.
fn planned(project: &Project, flags: &[&str]) -> serde_json::Map<String, Value> {
    let mut args = vec!["plan", "p.yaml", "--output", "json"];
    args.extend(flags);
    let done = project.kiln(&args).ok();
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    let params = plan["params"].as_object().unwrap();
    let value = |(name, param): (&String, &Value)| (name.clone(), param["value"].clone());
    params.iter().map(value).collect()
}

#[test]
fn a_list_is_typed_in_brackets_and_by_repeated_flags() {
    let project = project(
        "  sizes: { type: list, items: integer, default: [512], minimum: 1 }\n  words: { type: list, default: [] }\n",
    );
    assert_eq!(planned(&project, &[])["sizes"], json!([512]));
    let given = planned(
        &project,
        &[
            "-p",
            "sizes=[1,2]",
            "-p",
            "words=a, b",
            "-p",
            "sizes=3",
            "-p",
            "words=5",
        ],
    );
    assert_eq!(given["sizes"], json!([1, 2, 3]));
    assert_eq!(given["words"], json!(["a, b", "5"]));
    project.file("more.yaml", "sizes: [7, 8]\n");
    let given = planned(&project, &["--params", "more.yaml"]);
    assert_eq!(given["sizes"], json!([7, 8]));
}

#[test]
fn items_of_lists_are_drawn_and_read_like_params_of_their_own() {
    let project = project(
        "  seeds: { type: list, items: seed, default: [random, 5, random] }\n  pictures: { type: list, items: file, default: \"{{ glob('*.txt') }}\" }\n  names: { type: list, default: [\"{{ 'a' ~ 'b' }}\", c] }\n",
    );
    project.file("one.txt", "1");
    project.file("two.txt", "2");
    let given = planned(&project, &["--seed", "1"]);
    let seeds = given["seeds"].as_array().unwrap();
    assert_eq!(seeds[1], 5);
    assert!(seeds[0].as_u64().unwrap() < 1 << 32);
    assert_ne!(seeds[0], seeds[2]);
    assert_eq!(given, planned(&project, &["--seed", "1"]));
    assert_eq!(given["pictures"].as_array().unwrap().len(), 2);
    assert_eq!(given["names"], json!(["ab", "c"]));
}

#[test]
fn mistakes_in_lists() {
    let project = project(
        "  sizes: { type: list, items: integer, default: [512], maximum: 600 }\n  files: { type: list, items: file, default: [here.txt] }\n",
    );
    project.file("more.yaml", "files: here.txt\n");
    let done = project
        .kiln(&["plan", "p.yaml", "-p", "sizes=4", "-p", "sizes=[3,700]"])
        .code(3);
    insta::assert_snapshot!(crate::support::settled(&done.stderr, project.path()));
    let done = project
        .kiln(&["plan", "p.yaml", "-p", "sizes=[3", "--params", "more.yaml"])
        .code(3);
    insta::assert_snapshot!(crate::support::settled(&done.stderr, project.path()));
}
