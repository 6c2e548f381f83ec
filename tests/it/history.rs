//! What ran is remembered: `kiln runs`, `show`, `diff`, `cancel` and `gc`.

use crate::support::{Project, quiet, settled, slow, wait_for};

const PIPELINE: &str = "name: shots
params: { size: { type: integer, default: 16 } }
steps:
  draw: { workflow: w.json, set: { EmptyImage: { width: '{{ params.size }}' } } }
  sheet: { workflow: w.json, needs: [draw] }
";

const WORKFLOW: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}},
  "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}
}"#;

fn project() -> Project {
    Project::of(&[
        ("kiln.yaml", ""),
        ("shots.yaml", PIPELINE),
        ("w.json", WORKFLOW),
    ])
}

#[test]
fn what_ran_can_be_listed_shown_and_compared() {
    let project = project();
    project.kiln(&["run", "shots.yaml", "--seed", "1"]).ok();
    project
        .kiln(&["run", "shots.yaml", "--seed", "1", "-p", "size=24"])
        .ok();
    let runs = project
        .kiln(&["runs", "--output", "json"])
        .ok()
        .json_lines();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0]["status"], "done");
    assert_eq!(runs[0]["tasks"], 2);
    let first = runs[1]["run"].as_str().unwrap();
    let list = project.kiln(&["runs"]).ok().stdout;
    assert_eq!(list.lines().count(), 3, "{list}");

    let shown = project
        .kiln(&["show", "last", "--output", "json"])
        .ok()
        .json_lines();
    assert_eq!(shown[0]["params"]["size"], 24);
    assert_eq!(shown[0]["tasks"][0]["status"], "done");
    let path = shown[0]["tasks"][0]["outputs"][0]["path"].as_str().unwrap();
    assert!(std::path::Path::new(path).is_file(), "{path}");
    let task = project.kiln(&["show", "last", "draw"]).ok().stdout;
    assert!(task.starts_with("draw: done\n"), "{task}");
    assert!(task.contains("given to embedded"), "{task}");
    let followed = project.kiln(&["show", first, "--follow"]).ok().stdout;
    assert!(
        followed.ends_with(&format!("run {first}: done, 2 tasks, 2 done\n")),
        "{followed}"
    );

    let diff = project.kiln(&["diff", first, "last", "--output", "json"]);
    let found = diff.ok().json_lines();
    let about: Vec<&str> = found
        .iter()
        .map(|line| line["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        about,
        ["size", "draw.EmptyImage (node 1).width", "draw result 1"]
    );
    let same = project.kiln(&["diff", "last", "last"]).ok().stdout;
    assert!(same.starts_with("nothing differs"), "{same}");
    let late = project.kiln(&["cancel", "last"]).ok().stdout;
    assert!(late.contains("has ended already: done"), "{late}");
}

#[test]
fn old_runs_are_removed_and_the_last_one_stays() {
    let project = project();
    for size in ["16", "24"] {
        let param = format!("size={size}");
        project.kiln(&["run", "shots.yaml", "-p", &param]).ok();
    }
    let would = project
        .kiln(&["gc", "--keep", "0", "--dry-run"])
        .ok()
        .stdout;
    assert!(would.contains("would remove 1 run"), "{would}");
    let before = project.kiln(&["runs"]).ok().stdout;
    assert_eq!(before.lines().count(), 3);
    let did = project.kiln(&["gc", "--keep", "0"]).ok().stdout;
    assert!(did.contains("removed 1 run"), "{did}");
    assert_eq!(project.kiln(&["runs"]).ok().stdout.lines().count(), 2);
    let set = project.path().join("outputs/shots");
    let folders = std::fs::read_dir(set).unwrap().count();
    assert_eq!(folders, 2, "one run and `latest`");
}

#[test]
fn a_run_that_is_not_there_is_answered_with_what_is() {
    let project = project();
    let none = project.kiln(&["runs"]).code(2);
    project.kiln(&["run", "shots.yaml"]).ok();
    let runs = project
        .kiln(&["runs", "--output", "json"])
        .ok()
        .json_lines();
    let typed = runs[0]["run"].as_str().unwrap().replace('-', "_");
    let near = project.kiln(&["show", &typed]).code(2);
    let far = project.kiln(&["show", "nothing"]).code(2);
    let task = project.kiln(&["show", "last", "drew"]).code(2);
    let age = project.kiln(&["gc", "--older-than", "30"]).code(2);
    let all = [none, near, far, task, age]
        .map(|done| done.stderr)
        .join("----\n");
    let all = all.replace(&typed, "[typed]");
    insta::assert_snapshot!(settled(&all, project.path()));
}

#[test]
fn a_run_of_another_terminal_can_be_stopped() {
    let project = project();
    project.file("slow.json", slow(7, 60).to_string());
    project.file("slow.yaml", "steps:\n  only: { workflow: slow.json }\n");
    let mut running = quiet(&mut project.command(&["run", "slow.yaml"]))
        .spawn()
        .unwrap();
    wait_for("the task to start", || {
        let shown = project.kiln(&["show", "last", "--output", "json"]);
        let started = "\"status\":\"running\",\"attempts\"";
        shown.stdout.contains(started).then_some(())
    });
    let asked = project.kiln(&["cancel", "last"]).ok().stdout;
    assert!(asked.starts_with("asked process "), "{asked}");
    let status = running.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let runs = project
        .kiln(&["runs", "--output", "json"])
        .ok()
        .json_lines();
    assert_eq!(runs[0]["status"], "cancelled");
    assert_eq!(runs[0]["counts"]["cancelled"], 1);
}
