//! Commands as they are started.

use std::path::PathBuf;

use super::super::{HERE, Results, ServerKind, StepOutcome, TaskOutcome, render_command};
use super::{Project, picture, results};
use crate::base::ContentHash;

fn with_picture() -> Results {
    let mut seen = results();
    let task = TaskOutcome {
        name: "draw".into(),
        index: 0,
        order: Vec::new(),
        matrix: std::sync::Arc::default(),
        item: None,
        source: None,
        status: "done".to_owned(),
        artifacts: vec![
            picture("draw", "draw", "a.png"),
            picture("draw", "draw", "b.png"),
        ],
    };
    let outcome = StepOutcome {
        status: "done".to_owned(),
        tasks: vec![task.into()],
    };
    seen.steps.insert("draw".into(), outcome.into());
    seen
}

const FILM: &str = "steps:
  draw: { workflow: draw.json, template: false }
  film:
    command: [tools/join, -n, 2, \"{{ steps.draw.images }}\", \"--list={{ file('list.txt') }}\", \"{{ [] }}\"]
    env: { FIRST: \"{{ steps.draw.images[0] }}\", LEVEL: 3, NONE: \"{{ none }}\" }
    stdin: \"{{ steps.draw.images | map(attribute='name') | list }}\"
    outputs: { film: \"*.mp4\" }
";

#[test]
fn files_become_absolute_paths_lists_are_spliced_and_both_are_inputs() {
    let project = Project::new();
    std::fs::create_dir(project.dir.path().join("tools")).unwrap();
    project.write("tools/join", "#!/bin/sh\n");
    project.write("list.txt", "1");
    let dir = project.dir.path().to_path_buf();
    let planned = project.plan(FILM);
    // The folder lives as long as this.
    let folder = planned.folder.clone();
    let plan = planned.good();
    assert!(folder.path().is_dir());
    let task = plan
        .tasks
        .iter()
        .find(|t| t.step.as_str() == "film")
        .unwrap();
    let command = render_command(&plan, task, &with_picture(), 1).unwrap();
    assert_eq!(command.program, dir.join("tools/join"));
    let list = format!("--list={}", dir.join("list.txt").display());
    assert_eq!(command.args, ["-n", "2", "/out/a.png", "/out/b.png", &list]);
    assert_eq!(command.env["FIRST"], "/out/a.png");
    assert_eq!(command.env["LEVEL"], "3");
    assert!(!command.env.contains_key("NONE"));
    assert_eq!(command.stdin.as_deref(), Some("[\"a.png\",\"b.png\"]"));
    let mut files = vec![
        (PathBuf::from("/out/a.png"), ContentHash::of(b"a.png")),
        (PathBuf::from("/out/b.png"), ContentHash::of(b"b.png")),
        (dir.join("list.txt"), ContentHash::of(b"1")),
        (dir.join("tools/join"), ContentHash::of(b"#!/bin/sh\n")),
    ];
    files.sort();
    assert_eq!(command.files, files);
    assert_eq!(plan.servers[HERE].kind, ServerKind::Here);
    assert_eq!(plan.steps["film"].outputs["film"].as_str(), "film");
}

#[test]
fn a_bare_program_is_left_to_the_path() {
    let plan = Project::new()
        .plan("steps:\n  say: { command: [echo, \"{{ task.name }}\"] }\n")
        .good();
    let command = render_command(&plan, &plan.tasks[0], &results(), 1).unwrap();
    assert_eq!(command.program, PathBuf::from("echo"));
    assert_eq!(command.args, ["say"]);
    assert!(command.files.is_empty());
}
