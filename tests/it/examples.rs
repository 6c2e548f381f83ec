//! Every pipeline under `pipelines/` is checked and run, and what it leaves is looked at.

use std::path::Path;

use crate::support::{Project, names, repository};

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
            "framed.yaml",
            "mistake.yaml",
            "pick.yaml",
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

#[test]
fn framed_has_a_node_for_every_frame_and_titles_that_are_drawn() {
    let project = examples();
    project
        .kiln(&["check", "pipelines/framed.yaml", "--deny", "warnings"])
        .ok();
    project.kiln(&["run", "pipelines/framed.yaml"]).ok();
    let latest = project.path().join("outputs/framed/latest");
    let open = |name: &str| {
        let path = latest.join("frame").join(name);
        image::open(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .to_rgb8()
    };
    let framed = open("coffee-3-frames.png");
    let all = 2 * (4 + 24 + 8);
    assert_eq!(framed.dimensions(), (320 + all, 240 + all));
    let (dark, light) = ([0x1c; 3], [0xf4, 0xef, 0xe6]);
    // From the outside in: 8 dark, 24 light, 4 dark, the photograph.
    let along = |x: u32| framed.get_pixel(x, 150).0;
    assert_eq!((along(0), along(7)), (dark, dark));
    assert_eq!((along(8), along(31)), (light, light));
    assert_eq!((along(32), along(35)), (dark, dark));
    let photo: std::collections::BTreeSet<[u8; 3]> = (36..356).map(along).collect();
    assert!(photo.len() > 50, "a photograph has many colours");

    let page = std::fs::read_to_string(latest.join("gallery/gallery.md")).unwrap();
    let title = std::fs::read_to_string(latest.join("title/1.txt")).unwrap();
    assert_eq!(
        page,
        format!("# {title}\n\n![](../frame/coffee-3-frames.png)\n")
    );
    for n in 1..=3 {
        let title = std::fs::read_to_string(latest.join(format!("title/{n}.txt"))).unwrap();
        let (what, with) = title.split_once(" with ").unwrap();
        let whats = ["A quiet morning", "A lazy morning", "An afternoon"];
        assert!(whats.contains(&what), "{title}");
        assert!(
            ["ink, coffee", "pencil, coffee", "tea"].contains(&with),
            "{title}"
        );
    }

    let two = [
        "-p",
        "frames=10",
        "-p",
        "frames=5",
        "-p",
        "colours=[0xff0000]",
    ];
    project
        .kiln(&[&["run", "pipelines/framed.yaml"][..], &two].concat())
        .ok();
    let framed = open("coffee-2-frames.png");
    assert_eq!(framed.dimensions(), (350, 270));
    assert_eq!(framed.get_pixel(14, 14).0, [255, 0, 0]);
}

/// Which mode made how many bytes, the heaviest first.
fn weights<'a>(latest: &Path, moods: &'a [String]) -> Vec<(u64, &'a str)> {
    let mut weights: Vec<(u64, &str)> = moods
        .iter()
        .map(|name| {
            let size = std::fs::metadata(latest.join("mood").join(name))
                .unwrap()
                .len();
            (size, name.split('-').next().unwrap())
        })
        .collect();
    weights.sort_unstable();
    weights.reverse();
    weights
}

#[test]
fn pick_weighs_every_mood_and_enlarges_the_best() {
    let project = examples();
    project
        .kiln(&["check", "pipelines/pick.yaml", "--deny", "warnings"])
        .ok();
    project.kiln(&["run", "pipelines/pick.yaml"]).ok();
    let latest = project.path().join("outputs/pick/latest");
    let moods = names(&latest.join("mood"));
    assert_eq!(
        moods,
        [
            "multiply-0.2.png",
            "multiply-0.6.png",
            "screen-0.2.png",
            "soft_light-1.0.png"
        ]
    );
    // What the report says is what lies there.
    let weights = weights(&latest, &moods);
    let report = std::fs::read_to_string(latest.join("report/report.txt")).unwrap();
    let told: Vec<String> = weights
        .iter()
        .map(|(size, mode)| format!("{size} {mode}"))
        .collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[..4], told);
    assert_eq!(lines[5], "faded: skipped");
    let mut proofs: Vec<String> = weights
        .iter()
        .filter(|(size, _)| *size >= 220_000)
        .map(|(size, mode)| format!("{mode}-{size}.png"))
        .collect();
    proofs.sort();
    assert!(
        (1..4).contains(&proofs.len()),
        "the limit tells them apart: {proofs:?}"
    );
    assert_eq!(names(&latest.join("proof")), proofs);
    let best = names(&latest.join("best"));
    assert_eq!(best, [format!("best-{}.png", weights[0].1)]);
    let (width, height) = size(&repository().join("pipelines/inputs/chelsea.png"));
    assert_eq!(
        size(&latest.join("best").join(&best[0])),
        (2 * width, 2 * height)
    );
    assert!(!latest.join("faded").exists(), "`when` was false");

    let all = ["-p", "least=0", "-p", "fading=true"];
    let done = project
        .kiln(&[&["run", "pipelines/pick.yaml"][..], &all].concat())
        .ok();
    assert_eq!(names(&latest.join("proof")).len(), 4);
    let report = std::fs::read_to_string(latest.join("report/report.txt")).unwrap();
    assert!(
        report.ends_with("faded: done\n"),
        "{report}\n{}",
        done.stderr
    );
}
