//! The README's main job, and the proof that each of its steps does something.

use std::path::Path;

use image::{GenericImageView, RgbImage};

use crate::support::{Project, finish, kiln, repository};

/// The examples in a scratch project, so that the repository stays as it is.
pub(crate) fn examples() -> Project {
    let project = Project::new();
    copy(
        &repository().join("pipelines"),
        &project.path().join("pipelines"),
    );
    std::fs::copy(
        repository().join("kiln.yaml"),
        project.path().join("kiln.yaml"),
    )
    .unwrap();
    project
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

pub(crate) fn picture(path: &Path) -> RgbImage {
    image::open(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .to_rgb8()
}

fn only_picture(folder: &Path) -> RgbImage {
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|e| e.unwrap().path())
        .filter(|path| path.extension().is_none_or(|e| e != "json"))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    picture(&files[0])
}

/// Mean absolute difference of two pictures of one size, in 8-bit steps.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a
        .iter()
        .zip(b.iter())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.len() as f64
}

fn mean(picture: &RgbImage) -> f64 {
    picture.iter().map(|v| f64::from(*v)).sum::<f64>() / picture.len() as f64
}

/// What is wrong with the results of a run, step by step.
pub(crate) fn complaints(results: &Path, photo: &RgbImage) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let develop = only_picture(&results.join("develop"));
    let glow = only_picture(&results.join("glow"));
    let negative = only_picture(&results.join("negative"));
    let print = only_picture(&results.join("print"));

    if develop.width() != 768 || develop.height() != photo.height() * 768 / photo.width() {
        wrong.push("develop did not resize");
    } else {
        let plain = image::imageops::resize(
            photo,
            768,
            develop.height(),
            image::imageops::FilterType::Lanczos3,
        );
        if difference(&develop, &plain) < 0.5 {
            wrong.push("develop did not sharpen");
        }
    }
    if glow.dimensions() != develop.dimensions()
        || difference(&glow, &develop) < 5.0
        || mean(&glow) <= mean(&develop)
    {
        wrong.push("glow did not brighten");
    }
    if negative.dimensions() != (develop.width() / 4, develop.height() / 4)
        || (mean(&negative) + mean(&develop) - 255.0).abs() > 2.0
    {
        wrong.push("negative is no small negative");
    }
    if print.dimensions() == (glow.width() + 96, glow.height() + 96) {
        let inset = print
            .view(72, 72, negative.width(), negative.height())
            .to_image();
        if difference(&inset, &negative) > 0.01 {
            wrong.push("print lacks its inset");
        }
        let (x, y) = (glow.width() / 2, glow.height() / 2);
        let body = print.view(x + 48, y + 48, 100, 100).to_image();
        let of_glow = glow.view(x, y, 100, 100).to_image();
        if difference(&body, &of_glow) > 1.0 {
            wrong.push("print does not show the glow");
        }
    } else {
        wrong.push("print has no mount");
    }
    wrong
}

#[test]
fn the_main_job_makes_every_picture() {
    let project = examples();
    let done = project.kiln(&["run", "pipelines/quickstart.yaml"]).ok();
    let results = project.path().join("outputs/quickstart/latest");
    let photo = picture(&repository().join("pipelines/inputs/coffee.png"));
    assert_eq!(complaints(&results, &photo), Vec::<&str>::new());

    let paths: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(paths.len(), 4, "{}", done.stdout);
    for path in paths {
        assert!(project.path().join(path).is_file(), "{path}");
    }
    assert!(results.join("print/coffee-print.png").is_file());
    done.says("done in");
}

#[test]
fn a_step_that_only_passes_its_picture_on_is_noticed() {
    let pass = r#"{
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}, "_meta": {"title": "Photo"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "kiln/pass"}, "_meta": {"title": "Save"}}
    }"#;
    let photo = picture(&repository().join("pipelines/inputs/coffee.png"));
    for (step, complaint) in [
        ("develop", "develop did not resize"),
        ("glow", "glow did not brighten"),
        ("negative", "negative is no small negative"),
        ("print", "print has no mount"),
    ] {
        let project = examples();
        project.file(&format!("pipelines/workflows/{step}.json"), pass);
        let pipeline = project.path().join("pipelines/quickstart.yaml");
        let text = std::fs::read_to_string(&pipeline).unwrap();
        std::fs::write(&pipeline, without_set(&text, step)).unwrap();
        project.kiln(&["run", "pipelines/quickstart.yaml"]).ok();
        let found = complaints(&project.path().join("outputs/quickstart/latest"), &photo);
        assert!(found.contains(&complaint), "{step}: {found:?}");
    }
}

/// The pipeline with the `set` of one step cut down to its photo.
fn without_set(text: &str, step: &str) -> String {
    let mut out = String::new();
    let mut here = false;
    let mut set = false;
    for line in text.lines() {
        if line.starts_with("  ") && !line.starts_with("   ") && line.trim_end().ends_with(':') {
            here = line.trim() == format!("{step}:");
            set = false;
        }
        if here && line.starts_with("    ") && !line.starts_with("     ") {
            set = line.trim() == "set:";
        }
        let kept = !(here && set) || line.trim() == "set:" || line.contains("Photo:");
        if kept {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[test]
fn the_main_job_tells_programs_in_events() {
    let project = examples();
    let done = project
        .kiln(&["run", "pipelines/quickstart.yaml", "--output", "json"])
        .ok();
    let events = done.json_lines();
    let schema: serde_json::Value =
        serde_json::from_str(&finish(kiln().args(["schema", "event"])).ok().stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (at, event) in events.iter().enumerate() {
        assert!(validator.is_valid(event), "{event}");
        assert_eq!(event["seq"], at);
        assert_eq!(event["v"], 1);
    }
    assert_eq!(events[0]["event"], "run_started");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "run_finished");
    assert_eq!(last["exit_code"], 0);
    assert_eq!(last["counts"]["done"], 4);
    let finished: Vec<&str> = events
        .iter()
        .filter(|e| e["event"] == "task_finished")
        .map(|e| e["task"].as_str().unwrap())
        .collect();
    assert_eq!((finished[0], finished[3]), ("develop", "print"));
    // The negative is sent; what a step made is named to the next one on the same server without being sent back.
    let uploads = events
        .iter()
        .filter(|e| e["event"] == "task_uploaded")
        .count();
    assert_eq!(uploads, 1);
}

#[test]
fn the_same_file_runs_on_a_server_of_its_own() {
    let project = examples();
    let server = crate::support::Server::start(&[]);
    project
        .kiln(&["run", "pipelines/quickstart.yaml", "--server", &server.url])
        .ok();
    let photo = picture(&repository().join("pipelines/inputs/coffee.png"));
    assert_eq!(
        complaints(&project.path().join("outputs/quickstart/latest"), &photo),
        Vec::<&str>::new()
    );
}
