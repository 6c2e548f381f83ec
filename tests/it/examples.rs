//! Every pipeline under `pipelines/` is checked and run, and what it leaves is looked at.

use std::path::Path;

use crate::support::{Project, repository};

/// The examples in a project of their own.
fn examples() -> Project {
    let project = Project::new();
    for entry in walkdir::WalkDir::new(repository().join("pipelines")) {
        let entry = entry.unwrap();
        let inside = entry.path().strip_prefix(repository()).unwrap();
        if entry.file_type().is_file() {
            project.file(
                &inside.display().to_string(),
                std::fs::read(entry.path()).unwrap(),
            );
        }
    }
    let settings = repository().join("kiln.yaml");
    project.file("kiln.yaml", std::fs::read(settings).unwrap());
    project
}

/// The names of the results of a step, without records of where they came from.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".kiln.json"))
        .collect();
    names.sort();
    names
}

fn size(path: &Path) -> (u32, u32) {
    image::image_dimensions(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_example_is_run_by_a_test_here() {
    let mut found: Vec<String> = names(&repository().join("pipelines"))
        .into_iter()
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    // `mistake` is for the diagnostics in the README, `quickstart` has a module of its own.
    assert_eq!(
        found,
        [
            "mistake.yaml",
            "prints.yaml",
            "product-shots.yaml",
            "quickstart.yaml",
            "retouch.yaml"
        ]
    );
}

#[test]
fn prints_fans_out_streams_and_lists_what_it_made() {
    let project = examples();
    project
        .kiln(&["check", "pipelines/prints.yaml", "--deny", "warnings"])
        .ok();
    let first = project
        .kiln(&["run", "pipelines/prints.yaml", "--output", "json"])
        .ok();
    let latest = project.path().join("outputs/prints/latest");
    let list = first
        .stdout
        .lines()
        .find(|line| line.contains("task_finished") && line.contains(r#""task":"list""#))
        .unwrap();
    let list: serde_json::Value = serde_json::from_str(list).unwrap();
    let list = list["outputs"][0]["text"].as_str().unwrap();
    assert_eq!(list.lines().count(), 6, "{list}");
    assert!(
        list.lines().all(|line| line.ends_with("-mounted.png")),
        "{list}"
    );
    assert_eq!(
        names(&latest.join("develop")),
        [
            "chelsea-240-plain.png",
            "chelsea-480-crisp.png",
            "chelsea-480-plain.png",
            "coffee-240-plain.png",
            "coffee-480-crisp.png",
            "coffee-480-plain.png",
        ]
    );
    let (width, _) = size(&latest.join("develop/coffee-240-plain.png"));
    assert_eq!(width, 240);
    let (width, _) = size(&latest.join("mount/coffee-240-plain-mounted.png"));
    assert_eq!(width, 240 + 48, "a mount on either side");
    assert_eq!(names(&latest.join("mount")).len(), 6);

    // Nothing changed: nothing runs. One width more: only its pictures.
    let quiet = ["run", "pipelines/prints.yaml", "-p", "inventory=false"];
    project.kiln(&quiet).ok();
    let again = project.kiln(&quiet).ok();
    again.says("nothing to do");
    let more = project
        .kiln(&[
            "run",
            "pipelines/prints.yaml",
            "-p",
            "widths=[240,480,360]",
            "-p",
            "inventory=false",
        ])
        .ok();
    more.says("12 cached");
    assert_eq!(names(&latest.join("mount")).len(), 10);
    assert!(!latest.join("list").exists(), "`when` was false");
}

#[test]
fn retouch_masks_bypasses_reads_a_table_and_writes_a_report() {
    let project = examples();
    project
        .kiln(&["check", "pipelines/retouch.yaml", "--deny", "warnings"])
        .ok();
    project.kiln(&["run", "pipelines/retouch.yaml"]).ok();
    let latest = project.path().join("outputs/retouch/latest");
    let open = |name: &str| {
        let folder = latest.join(name);
        let file = names(&folder).into_iter().next_back().unwrap();
        image::open(folder.join(file)).unwrap().to_rgb8()
    };
    let photo = open("cut");
    let repainted = open("repaint");
    assert_eq!(photo.dimensions(), repainted.dimensions());
    let (corner, middle) = ((5, 5), (240, 160));
    let at = |image: &image::RgbImage, (x, y)| *image.get_pixel(x, y);
    assert_eq!(
        at(&photo, corner),
        at(&repainted, corner),
        "outside the mask"
    );
    let (before, after) = (at(&photo, middle), at(&repainted, middle));
    for (b, a) in before.0.iter().zip(after.0) {
        assert!((255 - b).abs_diff(a) <= 2, "{before:?} → {after:?}");
    }
    let report = std::fs::read_to_string(latest.join("report/report.txt")).unwrap();
    assert_eq!(
        report,
        "Chelsea: Chelsea, 2014\nA cup of coffee: A cup of coffee, 2013\n\n"
    );
}

#[test]
fn product_shots_is_rehearsed_with_a_profile() {
    let project = examples();
    project
        .kiln(&[
            "check",
            "pipelines/product-shots.yaml",
            "--profile",
            "draft",
        ])
        .ok();
    project
        .kiln(&["run", "pipelines/product-shots.yaml", "--profile", "draft"])
        .ok();
    let latest = project.path().join("outputs/product-shots/latest");
    assert_eq!(names(&latest.join("base")).len(), 2);
    assert_eq!(
        names(&latest.join("upscale")),
        ["a-teapot-0.png", "a-teapot-1.png"]
    );
    assert_eq!(size(&latest.join("upscale/a-teapot-1.png")), (1024, 1024));
    assert_eq!(names(&latest.join("pack")), ["shots.tar"]);
    // A rehearsal never stands for the real thing.
    let plan = project.kiln(&[
        "plan",
        "pipelines/product-shots.yaml",
        "--server",
        "embedded",
    ]);
    assert!(!plan.stdout.contains("cached"), "{}", plan.stdout);
}
