//! A run says that there is nothing to do only when that is so: whatever shapes a result, and whatever lies where results belong, is
//! looked at each time.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::support::{Project, Server, finish};

const CARD: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
  "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "card"}}
}"#;

/// A project with a step of three cards, whose colour is `colour`.
fn cards(colour: &str, more: &str) -> Project {
    let project = Project::new();
    project.file("card.json", CARD);
    let text = format!(
        "steps:\n  card:\n    workflow: card.json\n    matrix: {{ i: [1, 2, 3] }}\n    set: {{ EmptyImage: {{ color: \"{{{{ {colour} }}}}\" }} }}\n    save_as: \"card-{{{{ matrix.i }}}}\"\n{more}"
    );
    project.file("p.yaml", text);
    project
}

/// Runs the pipeline; whether there was nothing to do.
fn rests_with(project: &Project, more: &[&str], env: &[(&str, &str)]) -> bool {
    let mut command = project.command(&[&["run", "p.yaml"], more].concat());
    finish(command.envs(env.iter().copied()))
        .ok()
        .stderr
        .contains("nothing to do")
}

fn rests(project: &Project) -> bool {
    rests_with(project, &[], &[])
}

fn result(project: &Project, i: u32) -> PathBuf {
    let latest = project.path().join("outputs/p/latest");
    latest.join(format!("card/card-{i}.png"))
}

fn blob(project: &Project, result: &[u8]) -> PathBuf {
    let hash = blake3::hash(result).to_hex().to_string();
    let blobs = project.path().join(".kiln/blobs");
    blobs.join(&hash[..2]).join(&hash)
}

#[test]
fn a_file_that_templates_of_tasks_read_counts_as_it_is_now() {
    let project = cards(
        "matrix.i + (read_text('shift.txt') | trim | int if matrix.i == 3 else 0)",
        "",
    );
    project.file("shift.txt", "1\n");
    assert!(!rests(&project));
    assert!(rests(&project));
    project.file("shift.txt", "2\n");
    assert!(!rests(&project));
    assert!(rests(&project));
}

#[test]
fn a_variable_of_the_environment_counts_as_it_is_now() {
    let project = cards("matrix.i + (env('RESTING_SHIFT', '0') | int)", "");
    assert!(!rests(&project));
    assert!(rests(&project));
    let shifted = [("RESTING_SHIFT", "7")];
    assert!(!rests_with(&project, &[], &shifted));
    assert!(rests_with(&project, &[], &shifted));
    assert!(!rests(&project), "the other cards lie in another run");
    assert!(rests(&project));
}

#[test]
fn what_is_drawn_anew_is_made_anew_and_rests_under_one_seed() {
    let project = cards("matrix.i + random() % 16000000", "");
    let seeded = ["--seed", "7"];
    assert!(!rests_with(&project, &seeded, &[]));
    assert!(rests_with(&project, &seeded, &[]));
    assert!(!rests(&project));
    assert!(!rests(&project));
}

#[test]
fn what_names_its_run_is_made_in_each() {
    let stamped = "  stamped:\n    command: [sh, -c, \"echo $0 > o.txt\", \"{{ run.id }} {{ now() }}\"]\n    outputs: { o: \"*.txt\" }\n";
    let project = cards("matrix.i", stamped);
    assert!(!rests(&project));
    assert!(!rests(&project));
}

#[test]
fn what_always_runs_lets_nothing_rest() {
    for more in [
        "  told: { command: [echo, hi] }\n",
        "  twice:\n    workflow: card.json\n    cache: false\n",
    ] {
        let project = cards("matrix.i", more);
        assert!(!rests(&project), "{more}");
        assert!(!rests(&project), "{more}");
    }
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    assert!(!rests_with(&project, &["--force"], &[]));
    assert!(rests(&project));
}

#[test]
fn a_rehearsal_is_no_rest_for_the_real_thing() {
    let project = cards("matrix.i", "");
    project.file(
        "kiln.yaml",
        "servers:\n  sketch: { kind: embedded, simulate: true }\n",
    );
    assert!(!rests(&project));
    let sketch = ["--server", "sketch"];
    assert!(!rests_with(&project, &sketch, &[]));
    assert!(rests_with(&project, &sketch, &[]));
    assert!(!rests(&project));
    assert!(rests(&project));
}

#[test]
fn a_result_that_was_written_to_wakes_even_when_it_is_as_long_as_before() {
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    let path = result(&project, 2);
    let whole = std::fs::read(&path).unwrap();
    let mut edited = whole.clone();
    *edited.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &edited).unwrap();
    let run = std::fs::canonicalize(&path).unwrap();
    assert!(!rests(&project));
    assert_eq!(std::fs::read(result(&project, 2)).unwrap(), whole);
    assert_eq!(std::fs::read(run).unwrap(), edited, "an edit is left alone");
    assert!(rests(&project));
}

#[test]
fn a_blob_that_is_gone_or_cut_short_wakes() {
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    for cut in [false, true] {
        let whole = std::fs::read(result(&project, 1)).unwrap();
        let blob = blob(&project, &whole);
        std::fs::remove_file(&blob).unwrap();
        if cut {
            std::fs::write(&blob, &whole[1..]).unwrap();
        }
        assert!(!rests(&project), "{cut}");
        assert_eq!(std::fs::read(result(&project, 1)).unwrap(), whole);
        assert!(rests(&project), "{cut}");
    }
}

#[test]
fn results_that_latest_does_not_lead_to_wake() {
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    let latest = project.path().join("outputs/p/latest");
    let first = std::fs::canonicalize(&latest).unwrap();
    std::fs::remove_file(&latest).unwrap();
    assert!(!rests(&project), "there is no newest run");
    assert!(rests(&project));
    assert_ne!(std::fs::canonicalize(&latest).unwrap(), first);
    std::fs::remove_dir_all(std::fs::canonicalize(&latest).unwrap()).unwrap();
    assert!(!rests(&project), "its folder is gone");
    assert!(result(&project, 3).exists());
    assert!(rests(&project));
}

#[test]
fn names_that_results_would_have_now_count() {
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    let text = std::fs::read_to_string(project.path().join("p.yaml")).unwrap();
    project.file("p.yaml", text.replace("card-{{", "other-{{"));
    assert!(!rests(&project));
    assert!(rests(&project));
}

#[test]
fn what_gc_left_rests_and_what_it_removed_wakes() {
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    project.kiln(&["gc"]).ok();
    assert!(rests(&project), "what a run needs stays");
    let first = std::fs::read(result(&project, 1)).unwrap();
    let text = std::fs::read_to_string(project.path().join("p.yaml")).unwrap();
    project.file(
        "p.yaml",
        text.replace("matrix.i }}\" } }", "matrix.i + 7 }}\" } }"),
    );
    assert!(!rests(&project));
    project.kiln(&["gc", "--keep", "1"]).ok();
    assert!(rests(&project));
    project.file("p.yaml", text);
    assert!(!rests(&project), "the first run is gone, and what it made");
    assert_eq!(std::fs::read(result(&project, 1)).unwrap(), first);
    assert!(rests(&project));
}

#[test]
fn a_strict_step_runs_again_on_another_version_of_its_server_and_others_do_not() {
    let versions = ["0.36.0", "0.38.1"];
    let servers = versions.map(|version| Server::start(&["--emulate", version]));
    for (more, wakes) in [("", false), ("    cache: strict\n", true)] {
        let project = cards("matrix.i", more);
        let run = |server: &Server| {
            project
                .kiln(&["run", "p.yaml", "--server", &server.url])
                .ok()
        };
        run(&servers[0]).says("3 done");
        run(&servers[0]).says("nothing to do");
        let other = run(&servers[1]);
        if wakes {
            other.says("3 done");
            run(&servers[1]).says("nothing to do");
        } else {
            other.says("3 cached");
            other.says("version 0.36.0 → 0.38.1");
        }
    }
}

/// As after a power cut: what was not written out is other bytes, and nothing else tells.
#[test]
fn a_blob_that_the_system_lost_is_noticed_once_it_is_needed() {
    let project = cards("matrix.i", "");
    assert!(!rests(&project));
    let whole = std::fs::read(result(&project, 1)).unwrap();
    let blob = blob(&project, &whole);
    let modified = std::fs::metadata(&blob).unwrap().modified().unwrap();
    let access = std::fs::metadata(&blob).unwrap().permissions();
    let mut open = access.clone();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "for a moment, in a folder of the test's own"
    )]
    open.set_readonly(false);
    std::fs::set_permissions(&blob, open).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&blob).unwrap();
    file.write_all_at(&vec![0; whole.len()], 0).unwrap();
    file.set_modified(modified).unwrap();
    std::fs::set_permissions(&blob, access).unwrap();
    let database = rusqlite::Connection::open(project.path().join(".kiln/kiln.db")).unwrap();
    database
        .execute("UPDATE blobs SET boot = 'an earlier one'", [])
        .unwrap();
    drop(database);
    assert!(rests(&project), "the results are where they belong");
    std::fs::remove_file(result(&project, 1)).unwrap();
    let again = project.kiln(&["run", "p.yaml"]).ok();
    again.says("K0704");
    again.says_not("nothing to do");
    assert_eq!(std::fs::read(result(&project, 1)).unwrap(), whole);
    assert_eq!(std::fs::read(&blob).unwrap(), whole);
    assert!(rests(&project));
}
