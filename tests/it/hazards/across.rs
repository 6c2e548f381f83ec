//! One run over several servers: what is handed from one to the next, what one of them holds up, and what all of them share.

use std::path::Path;

use super::{invert, is_post, latest, noting, occupy, sampled, server, servers};
use crate::support::proxy::Fate;
use crate::support::{Project, Running, pictures, quick};

/// The colours of the pictures in a folder, each of which has one; sorted.
fn colours_in(folder: &Path) -> Vec<[u8; 3]> {
    let pictures = pictures(folder).into_iter();
    let colour = |path: std::path::PathBuf| {
        let image = image::open(&path).unwrap().to_rgb8();
        let first = image.get_pixel(0, 0).0;
        assert!(
            image.pixels().all(|pixel| pixel.0 == first),
            "{}",
            path.display()
        );
        first
    };
    let mut colours: Vec<_> = pictures.map(colour).collect();
    colours.sort_unstable();
    colours
}

/// Ten pictures are drawn on `main`, inverted in the pool `farm`, in this process, and on `main` again.
fn there_and_back() -> String {
    let step = |name: &str, from: &str, server: &str| {
        format!(
            "  {name}:\n    workflow: invert.json\n    for_each: steps.{from}\n    server: {server}\n    set: {{ LoadImage: {{ image: \"{{{{ item.image }}}}\" }} }}\n"
        )
    };
    format!(
            "steps:\n  draw:\n    workflow: quick.json\n    server: main\n    matrix: {{ i: \"{{{{ range(10) }}}}\" }}\n    set: {{ EmptyImage: {{ color: \"{{{{ 0x102030 + 4 * matrix.i }}}}\" }} }}\n    save_as: \"{{{{ matrix.i }}}}\"\n{}{}{}",
            step("over", "draw", "farm"),
            step("here", "over", "embedded"),
            step("back", "here", "main"),
        )
        .replace("0x102030", &0x10_20_30.to_string())
}

#[test]
fn results_go_from_server_to_pool_to_kilns_own_and_back_while_one_of_the_pool_dies() {
    let (main, one, two) = (server(), server(), server());
    let project = Project::with("", &[("quick", quick(0)), ("invert", invert())]);
    servers(
        &project,
        &[
            ("main", format!("url: \"{}\"", main.url)),
            (
                "farm",
                format!(
                    "urls: [\"{}\", \"{}\"], max_jobs: 1, lost_after: 1s",
                    one.url, two.url
                ),
            ),
        ],
    );
    project.file("p.yaml", there_and_back());
    // Somebody keeps the first of the pool busy, so that a job of ours is there when it dies.
    occupy(&one);
    let mut run = Running::start(&project, &["p.yaml"]);
    run.when("a result of the pool", |event| {
        event["event"] == "task_finished" && event["task"].as_str().unwrap().starts_with("over")
    });
    drop(one);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    let counts = &run.events.last().unwrap()["counts"];
    assert_eq!(counts["done"], 40);
    let drawn: Vec<_> = (0..10).map(|i| [0x10, 0x20, 0x30 + 4 * i]).collect();
    let inverted: Vec<_> = drawn
        .iter()
        .rev()
        .map(|c| c.map(|part| 255 - part))
        .collect();
    for (step, colours) in [
        ("draw", &drawn),
        ("over", &inverted),
        ("here", &drawn),
        ("back", &inverted),
    ] {
        let found = colours_in(&latest(&project).join(step));
        assert_eq!(found.len(), colours.len(), "{step}: {found:?}");
        for (found, wanted) in found.iter().flatten().zip(colours.iter().flatten()) {
            assert!(found.abs_diff(*wanted) <= 2, "{step}: {found} for {wanted}");
        }
    }
    assert_eq!(
        two.carried_out("invert"),
        10,
        "nothing was lost, or done twice"
    );
}

#[test]
fn a_step_that_waits_for_a_full_server_holds_up_no_other() {
    let (full, free) = (server(), server());
    let theirs = occupy(&full);
    let project = Project::with("max_parallel: 4\n", &[("quick", quick(0))]);
    servers(
        &project,
        &[
            ("full", format!("url: \"{}\", max_jobs: 1", full.url)),
            ("free", format!("url: \"{}\", max_jobs: 1", free.url)),
        ],
    );
    let step = |name: &str, server: &str, first: u32| {
        format!(
            "  {name}:\n    workflow: quick.json\n    server: {server}\n    matrix: {{ i: \"{{{{ range(5) }}}}\" }}\n    set: {{ EmptyImage: {{ color: \"{{{{ matrix.i + {first} }}}}\" }} }}\n"
        )
    };
    project.file(
        "p.yaml",
        format!(
            "max_parallel: 4\nsteps:\n{}{}",
            step("early", "full", 100),
            step("late", "free", 200)
        ),
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    for _ in 0..5 {
        let ended = run.until("task_finished");
        assert!(
            ended["task"].as_str().unwrap().starts_with("late"),
            "{ended}"
        );
    }
    full.interrupt(&theirs);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(run.all("task_finished").len(), 10);
}

#[test]
fn a_big_claim_on_one_server_is_not_starved_by_small_ones_on_another() {
    let (small, big) = (server(), server());
    let project = Project::with(
        "",
        &[
            ("short", sampled(0, 1)),
            ("quick", quick(0)),
            ("after", quick(1)),
        ],
    );
    servers(
        &project,
        &[
            ("small", format!("url: \"{}\", max_jobs: 2", small.url)),
            ("big", format!("url: \"{}\", max_jobs: 1", big.url)),
        ],
    );
    project.file(
        "p.yaml",
        r#"limits: { gpu: 2 }
steps:
  little:
    workflow: short.json
    server: small
    claims: { gpu: 1 }
    matrix: { i: "{{ range(12) }}" }
    set: { KSampler: { seed: "{{ matrix.i }}" } }
  warm: { workflow: short.json, server: big, set: { KSampler: { seed: 77 } } }
  large: { workflow: quick.json, server: big, claims: { gpu: 2 }, needs: [warm] }
  after: { workflow: after.json, server: big, needs: [large] }
"#,
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    let at = |kind: &str, task: &str| {
        let is = |e: &serde_json::Value| e["event"] == kind && e["task"] == task;
        run.events.iter().position(is).unwrap()
    };
    let (warm, start, end) = (
        at("task_finished", "warm"),
        at("task_started", "large"),
        at("task_finished", "large"),
    );
    let mut meanwhile = 0;
    let mut after = 0;
    for i in 0..12 {
        let name = format!("little[i={i}]");
        let (began, ended) = (at("task_started", &name), at("task_finished", &name));
        assert!(
            ended < start || began > end,
            "{name} ran beside what claims all"
        );
        meanwhile += usize::from(began > warm && began < start);
        after += usize::from(began > end);
    }
    assert!(meanwhile <= 6, "{meanwhile} went first");
    assert!(after > 0, "it was the last of all");
}

#[test]
fn a_submission_that_is_never_answered_holds_up_no_other_server() {
    let (stuck, free) = (server(), server());
    let (proxy, _) = noting(&stuck.url, |line| {
        if is_post(line, "/prompt") {
            Fate::Hold
        } else {
            Fate::Pass
        }
    });
    let project = Project::with("", &[("quick", quick(0))]);
    project.file(
        "p.yaml",
        format!(
            "steps:\n  first: {{ workflow: quick.json, server: \"{}\" }}\n  other: {{ workflow: quick.json, server: \"{}\", set: {{ EmptyImage: {{ color: 9 }} }} }}\n",
            proxy.url, free.url
        ),
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    let ended = run.until("task_finished");
    assert_eq!(ended["task"], "other");
    proxy.release();
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(stuck.carried_out("quick"), 1);
}
