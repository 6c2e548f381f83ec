//! `kiln plugin` and `kiln schema` with plugins.

use std::fmt::Write as _;
use std::process::Command;

use super::{DRAW, project, trial};
use crate::support::{Project, finish, repository, settled};

fn tame(text: &str, project: &Project) -> String {
    let text = settled(text, project.path());
    let hash = regex_lite::Regex::new("[0-9a-f]{64}").unwrap();
    let path = regex_lite::Regex::new(r"\S+/libkiln_trial_plugin\.so").unwrap();
    let text = hash.replace_all(&text, "[hash]");
    path.replace_all(&text, "[library]").into_owned()
}

#[test]
fn the_plugins_of_a_project_are_listed_with_what_they_can_do() {
    let project = project("steps: [draw]", DRAW);
    let done = project.kiln(&["plugin", "list"]).ok();
    insta::assert_snapshot!(tame(&done.stdout, &project));
    let json = project.kiln(&["plugin", "list", "--output", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json[0]["loaded"]["functions"][0]["name"], "score");
    // The hash that it shows is the one that pins it.
    let hash = json[0]["hash"].as_str().unwrap();
    super::declare(&project, &trial(), &format!("hash: {hash}"));
    project.kiln(&["run", "p.yaml"]).ok();
}

#[test]
fn a_plugin_that_cannot_be_loaded_is_listed_with_the_others() {
    let project = project("", DRAW);
    project.file(
        "kiln.yaml",
        format!(
            "plugins:\n  lost: {{ path: nowhere }}\n  trial: {{ path: {} }}\n",
            trial().display()
        ),
    );
    let done = project.kiln(&["plugin", "list"]).code(6);
    done.says("error[K0601]");
    assert!(
        done.stdout
            .starts_with("lost  not loaded\n\ntrial  trial 0.1.0\n"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_plugin_by_itself_tells_what_it_takes() {
    let project = Project::new();
    let path = trial();
    let done = project
        .kiln(&["plugin", "check", path.to_str().unwrap()])
        .ok();
    insta::assert_snapshot!(tame(&done.stdout, &project));
}

#[test]
fn what_is_no_plugin_is_said_to_be_none_with_what_to_do_here() {
    let project = Project::of(&[
        ("text.yaml", "a: b\n"),
        ("made/Cargo.toml", "[package]\nname = \"made\"\n"),
        ("kiln.yaml", "plugins: { lost: { path: nowhere } }\n"),
    ]);
    let mut all = String::new();
    for args in [
        &["plugin", "check", "nowhere"][..],
        &["plugin", "check", "made"],
        &["plugin", "check", "text.yaml"],
        &["plugin", "list"],
    ] {
        let done = project.kiln(args).code(6);
        // Nothing runs here, so nothing goes on without plugins.
        done.says_not("--no-plugins");
        let told = settled(&done.stderr, project.path());
        writeln!(all, "$ kiln {}\n{told}", args.join(" ")).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn editors_know_what_the_steps_of_plugins_take() {
    let project = project("", DRAW);
    let printed = project.kiln(&["schema", "pipeline"]).ok().stdout;
    let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = |text: &str| {
        let value: serde_json::Value = serde_yaml::from_str(text).unwrap();
        validator.is_valid(&value)
    };
    assert!(valid(
        "steps: { a: { plugin: trial, with: { images: '{{ steps.b.images }}', columns: 2 } } }"
    ));
    assert!(valid("steps: { a: { plugin: trial } }"));
    assert!(valid("steps: { a: { workflow: a.json } }"));
    assert!(!valid("steps: { a: { plugin: trail } }"));
    assert!(!valid(
        "steps: { a: { plugin: trial, with: { columns: 0 } } }"
    ));
    assert!(!valid(
        "steps: { a: { plugin: trial, with: { colums: 2 } } }"
    ));
}

/// Cargo, without what the surrounding test run tells it.
fn cargo(project: &Project, folder: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(args)
        .current_dir(project.path().join(folder))
        .env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"))
        .env("CARGO_TERM_COLOR", "never");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG")
            || name.starts_with("CARGO_MANIFEST")
            || name == "RUSTFLAGS"
        {
            command.env_remove(name);
        }
    }
    command
}

#[test]
fn a_new_plugin_builds_passes_its_test_and_runs_at_once() {
    let project = Project::new();
    let done = project.kiln(&["plugin", "new", "first-light"]).ok();
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    // The same crates as kiln's own, which are at hand.
    let lock = repository().join("Cargo.lock");
    let folder = project.path().join("plugins/first-light");
    std::fs::copy(lock, folder.join("Cargo.lock")).unwrap();
    let tested = finish(&mut cargo(
        &project,
        "plugins/first-light",
        &["test", "--offline"],
    ));
    assert_eq!(tested.code, 0, "{}\n{}", tested.stdout, tested.stderr);
    assert!(
        tested.stdout.contains("it_greets_and_shouts ... ok"),
        "{}",
        tested.stdout
    );
    finish(&mut cargo(
        &project,
        "plugins/first-light",
        &["build", "--offline"],
    ))
    .ok();

    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = target.join("debug").join(format!(
        "{}first_light{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    let placed = folder.join("target/debug");
    std::fs::create_dir_all(&placed).unwrap();
    std::fs::copy(&library, placed.join(library.file_name().unwrap())).unwrap();
    project.file(
        "kiln.yaml",
        "plugins:\n  first_light: { path: plugins/first-light }\n",
    );
    project.file(
        "p.yaml",
        "steps:\n  greet: { plugin: first_light, with: { name: \"{{ shout('world') }}\" } }\n",
    );
    project
        .kiln(&["run", "p.yaml"])
        .ok()
        .says("the run ended: done");
    assert_eq!(project.result("greet/card.txt"), "Hello, WORLD!\n");
    project
        .kiln(&["plugin", "new", "first-light"])
        .code(2)
        .says("is there already");
    project.kiln(&["plugin", "new", "First"]).code(2);
}
