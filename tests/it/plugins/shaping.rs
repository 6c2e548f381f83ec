//! Plugins that change graphs and results, and what that means for the cache.

use serde_json::Value;
use walkdir::DirEntry;

use super::{DRAW, noted, project};
use crate::support::{Running, Server, files, pictures, settled, slow, wait_for};

fn drawn(project: &crate::support::Project) -> image::RgbImage {
    let folder = project.path().join("outputs/p/latest/draw");
    let picture = pictures(&folder).pop().unwrap();
    image::open(picture).unwrap().to_rgb8()
}

#[test]
fn a_graph_is_changed_before_it_is_submitted() {
    let project = project(
        "config: { edit: { EmptyImage: { width: 100, color: 255 } } }",
        DRAW,
    );
    project.kiln(&["run", "p.yaml"]).ok();
    let picture = drawn(&project);
    assert_eq!(picture.dimensions(), (100, 48));
    assert_eq!(picture.get_pixel(0, 0).0, [0, 0, 255]);
    // The record tells of the graph as it was sent, and of the plugin.
    let record = record(&project);
    assert_eq!(record["graph"]["1"]["inputs"]["width"], 100);
    assert_eq!(record["plugins"][0]["name"], "trial");
    // So does that of a run which found the result.
    std::fs::remove_dir_all(project.path().join("outputs")).unwrap();
    project.kiln(&["run", "p.yaml"]).ok();
    let found = self::record(&project);
    assert_eq!(found["graph"], record["graph"]);
    assert_eq!(found["cached_from"]["run"], record["run"]);
}

/// The record of the one picture that is there.
fn record(project: &crate::support::Project) -> Value {
    let folder = project.path().join("outputs/p/latest/draw");
    let records = walkdir::WalkDir::new(folder).into_iter();
    let mut paths = records.filter_map(Result::ok).map(DirEntry::into_path);
    let record = paths.find(|path| path.to_string_lossy().ends_with(".kiln.json"));
    serde_json::from_slice(&std::fs::read(record.unwrap()).unwrap()).unwrap()
}

#[test]
fn the_record_of_a_job_that_is_taken_over_tells_of_the_graph_as_it_was_sent() {
    let server = Server::start(&["--jobs", "1"]);
    let log = "config: { log: log, edit: { EmptyImage: { color: 77 } } }";
    let project = project(log, DRAW);
    let log = log.replace(
        "log: log",
        &format!("log: {}", project.path().join("log").display()),
    );
    super::declare(&project, &super::trial(), &log);
    project.file("card.json", slow(1, 12).to_string());
    let running = Running::start(&project, &["p.yaml", "--server", &server.url]);
    wait_for("the job to be there", || {
        (!server.jobs().0.is_empty()).then_some(())
    });
    drop(running);
    project.kiln(&["run", "p.yaml", "--resume", "last"]).ok();
    assert_eq!(server.carried_out("slow"), 1, "it did not run twice");
    let asked = noted(&project);
    let asked = asked
        .iter()
        .filter(|line| line.starts_with("before_submit"));
    assert_eq!(asked.count(), 1, "nobody was asked again");
    let taken_over = record(&project);
    assert_eq!(taken_over["graph"]["1"]["inputs"]["color"], 77);
    assert_eq!(taken_over["graph"]["99"]["class_type"], "SaveImage");
    // What was taken over is kept like any other.
    std::fs::remove_dir_all(project.path().join("outputs")).unwrap();
    project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .ok();
    let found = record(&project);
    assert_eq!(found["cached_from"]["run"], taken_over["run"]);
    assert_eq!(found["graph"], taken_over["graph"]);
}

#[test]
fn a_changed_graph_is_judged_again_and_a_complaint_names_the_plugin() {
    let project = project(
        "config: { edit: { EmptyImage: { width: 0, heigth: 3 } } }",
        DRAW,
    );
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    let told = settled(&done.stderr, project.path());
    let path = regex_lite::Regex::new(r"path: \S+").unwrap();
    insta::assert_snapshot!(path.replace_all(&told, "path: [library]"));
}

#[test]
fn the_config_of_a_plugin_that_shapes_a_result_is_in_its_key_and_that_of_others_is_not() {
    let project = project("config: { edit: { EmptyImage: { color: 1 } } }", DRAW);
    project.kiln(&["run", "p.yaml"]).ok();
    project.kiln(&["run", "p.yaml"]).ok().says("nothing to do");
    super::declare(
        &project,
        &super::trial(),
        "config: { edit: { EmptyImage: { color: 2 } } }",
    );
    let plan = project.kiln(&["plan", "p.yaml"]).ok();
    assert!(
        plan.stdout.contains("config of plugin trial"),
        "{}",
        plan.stdout
    );
    assert!(plan.stdout.contains("shaped by trial"), "{}", plan.stdout);
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(drawn(&project).get_pixel(0, 0).0, [0, 0, 2]);
    // One that is not for the step shapes nothing.
    super::declare(
        &project,
        &super::trial(),
        "steps: [other]\nconfig: { edit: { EmptyImage: { color: 3 } } }",
    );
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(drawn(&project).get_pixel(0, 0).0, [0, 16, 64]);
    super::declare(
        &project,
        &super::trial(),
        "steps: [other]\nconfig: { edit: { EmptyImage: { color: 4 } } }",
    );
    project.kiln(&["run", "p.yaml"]).ok().says("nothing to do");
}

#[test]
fn a_plugin_for_other_pipelines_is_not_even_loaded() {
    let project = project(
        "pipelines: [other]\nconfig: { misbehave: { create: error } }",
        DRAW,
    );
    project.kiln(&["run", "p.yaml"]).ok();
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert!(!done.stdout.contains("plugin"), "{}", done.stdout);
}

#[test]
fn plugins_are_asked_in_the_order_in_which_they_are_declared() {
    let project = project("", DRAW);
    let entry = |name: &str, color: u32| {
        format!(
            "  {name}: {{ path: {}, config: {{ log: {}, edit: {{ EmptyImage: {{ color: {color} }} }} }} }}\n",
            super::trial().display(),
            project.path().join("log").display()
        )
    };
    project.file(
        "kiln.yaml",
        format!("plugins:\n{}{}", entry("b", 11), entry("a", 22)),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(
        drawn(&project).get_pixel(0, 0).0,
        [0, 0, 22],
        "the last one wins"
    );
    project.file(
        "kiln.yaml",
        format!("plugins:\n{}{}", entry("a", 22), entry("b", 11)),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(drawn(&project).get_pixel(0, 0).0, [0, 0, 11]);
    let asked = noted(&project);
    let asked = asked
        .iter()
        .filter(|line| line.starts_with("before_submit"));
    assert_eq!(asked.count(), 4);
}

fn results(how: &str, pipeline: &str) -> (crate::support::Project, crate::support::Done) {
    let project = project(&format!("config: {{ results: {how} }}"), pipeline);
    let done = project.kiln(&["run", "p.yaml"]);
    (project, done)
}

#[test]
fn results_are_added_and_dependants_see_them() {
    let pipeline = "steps:
  draw: { workflow: card.json }
  tell: { command: [cat, \"{{ steps.draw.files | last }}\"] , save_as: told }
";
    let (project, done) = results("add", pipeline);
    done.ok();
    assert_eq!(project.result("tell/told.txt"), "beside it");
    let folder = project.path().join("outputs/p/latest/draw");
    assert_eq!(files(&folder), ["card_00001_.png", "note.txt"]);
    // All of it comes back from the cache, and the plugin is not asked.
    std::fs::remove_dir_all(project.path().join("outputs")).unwrap();
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(files(&folder), ["card_00001_.png", "note.txt"]);
}

#[test]
fn a_result_is_replaced_by_one_of_another_kind() {
    let (project, done) = results("replace", DRAW);
    done.ok();
    let folder = project.path().join("outputs/p/latest/draw");
    assert_eq!(files(&folder), ["card_00001_.txt"]);
    assert_eq!(project.result("draw/card_00001_.txt"), "instead of it");
}

#[test]
fn results_that_are_dropped_are_gone() {
    let (project, done) = results("drop", DRAW);
    done.ok();
    assert_eq!(files(&project.path().join("outputs")), [""; 0]);
}

#[test]
fn a_file_outside_of_the_calls_folder_is_not_taken() {
    let (project, done) = results("steal", DRAW);
    let done = done.code(4);
    done.says("names the file `/etc/hostname`, which does not lie in the call's folder");
    assert!(!project.path().join("outputs/p/latest").exists());
    let (_, done) = results("absent", DRAW);
    done.code(4)
        .says("its answer names the artifact 7, and there are 1");
}

#[test]
fn a_result_that_a_plugin_failed_to_shape_stands_for_no_other_one() {
    let project = project(
        "on_error: warn\nconfig: { misbehave: { after_download: error } }",
        DRAW,
    );
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says("warning[K0606]");
    assert_eq!(
        files(&project.path().join("outputs/p/latest/draw")).len(),
        1
    );
    project
        .kiln(&["run", "p.yaml"])
        .ok()
        .says_not("nothing to do");
}
