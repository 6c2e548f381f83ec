//! Plugins that are none, or none of ours, or make no sense: each is refused, or fails one task, in words that say why.

use super::{declare, in_c, placed, project};
use crate::support::{Project, settled};

const STEP: &str = "steps:\n  it: { plugin: trial }\n";

/// What kiln says of a bad plugin, and its exit code.
fn told(flag: &str) -> String {
    let project = Project::of(&[("p.yaml", STEP)]);
    let library = in_c(project.path(), "bad.c", flag);
    declare(&project, &library, "");
    let done = project.kiln(&["run", "p.yaml"]);
    format!(
        "exit code {}\n{}",
        done.code,
        placed(&settled(&done.stderr, project.path()))
    )
}

macro_rules! bad {
    ($($name:ident: $flag:literal;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(told($flag));
            }
        )*
    };
}

bad! {
    a_library_with_another_magic_number: "WRONG_MAGIC";
    a_plugin_for_a_newer_major_version: "NEWER_MAJOR";
    a_table_that_is_cut_short: "SHORT";
    a_table_that_ends_within_a_function: "ODD_SIZE";
    a_table_without_a_description: "NO_DESCRIBE";
    a_table_without_a_beginning: "NO_CREATE";
    a_step_without_a_function_for_it: "NO_CALL";
    a_plugin_that_returns_no_table: "NULL_TABLE";
    a_library_that_is_no_plugin: "NO_SYMBOL";
    a_plugin_that_cannot_describe_itself: "CANNOT_DESCRIBE";
    a_description_that_is_empty: "DESCRIBES_NOTHING";
    a_description_that_is_no_json: "DESCRIBES_NO_JSON";
    a_description_that_is_no_text: "DESCRIBES_NO_TEXT";
    a_schema_that_is_none: "DESCRIBES_NO_SCHEMA";
    a_plugin_that_cannot_be_made: "CANNOT_BE_MADE";
    a_plugin_that_makes_no_instance: "MAKES_NOTHING";
    an_answer_that_is_no_text: "ANSWERS_NO_TEXT";
    an_answer_that_is_no_json: "ANSWERS_NO_JSON";
    an_answer_of_another_shape: "ANSWERS_A_LIST";
    an_answer_of_a_gigabyte: "ANSWERS_A_GIGABYTE";
    a_status_that_means_nothing: "RETURNS_NONSENSE";
    a_failure_without_a_word: "FAILS_WITHOUT_A_WORD";
}

#[test]
fn a_younger_minor_version_is_spoken_to_as_far_as_this_one_goes() {
    let project = Project::of(&[("p.yaml", STEP)]);
    let library = in_c(project.path(), "bad.c", "NEWER_MINOR");
    declare(&project, &library, "");
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert!(done.stdout.contains("not so bad"), "{}", done.stdout);
}

#[test]
fn every_path_that_was_tried_is_listed() {
    let project = Project::of(&[
        ("p.yaml", STEP),
        ("plugins/sheet/Cargo.toml", "[package]\nname = \"sheet\"\n"),
        ("plugins/sheet/target/release/libsheet.so", "no library"),
        ("kiln.yaml", "plugins:\n  trial: { path: plugins/sheet }\n"),
    ]);
    let done = project.kiln(&["run", "p.yaml"]).code(6);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
}

#[test]
fn a_path_that_leads_nowhere_says_what_a_path_may_be() {
    let project = Project::of(&[
        ("p.yaml", STEP),
        ("kiln.yaml", "plugins:\n  trial: { path: nowhere }\n"),
    ]);
    let done = project.kiln(&["check", "p.yaml"]).code(6);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
}

#[test]
fn a_library_with_another_hash_than_the_pinned_one_is_not_loaded() {
    let pin = "0".repeat(64);
    let project = project(&format!("hash: \"{pin}\""), STEP);
    let done = project.kiln(&["run", "p.yaml"]).code(6);
    let told = settled(&done.stderr, project.path());
    let hash = regex_lite::Regex::new("[0-9a-f]{64}").unwrap();
    let path = regex_lite::Regex::new(r"(/|\.\./)\S+/libkiln_trial_plugin\.so").unwrap();
    let told = hash.replace_all(&told, "[hash]");
    let told = path.replace_all(&told, "[library]");
    let carets = regex_lite::Regex::new(r"\^{20,}").unwrap();
    insta::assert_snapshot!(carets.replace_all(&told, "^^^"));
}

#[test]
fn a_plugin_that_may_fail_and_cannot_be_loaded_is_a_warning_where_nothing_needs_it() {
    let project = Project::of(&[
        ("p.yaml", "steps:\n  say: { command: [echo, hi] }\n"),
        ("q.yaml", STEP),
        (
            "kiln.yaml",
            "plugins:\n  trial: { path: nowhere, on_error: warn }\n",
        ),
    ]);
    project.kiln(&["run", "p.yaml"]).ok().says("warning[K0601]");
    let done = project.kiln(&["run", "q.yaml"]).code(3);
    done.says("the step needs the plugin `trial`, which could not be loaded");
}

#[test]
fn mistakes_around_plugins_are_shown_where_they_stand() {
    let pipeline = "steps:
  a: { plugin: trail }
  b: { plugin: trial, with: { colums: 2, columns: 0, images: [1] } }
  c: { plugin: trial, with: { text: \"{{ steps.b.text }}\", columns: many } }
  d: { plugin: trial, workflow: card.json }
  e: { plugin: trial, set: {} }
  f: { workflow: card.json, with: {} }
";
    let project = project("config: { columns: none }\n", pipeline);
    let done = project.kiln(&["check", "p.yaml"]);
    assert_ne!(done.code, 0);
    let first = placed(&settled(&done.stderr, project.path()));
    super::declare(&project, &super::trial(), "");
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    insta::assert_snapshot!(format!(
        "{first}\n---\n{}",
        placed(&settled(&done.stderr, project.path()))
    ));
}

#[test]
fn what_a_step_is_given_is_held_against_the_plugins_schema() {
    let pipeline = "params:
  columns: { type: integer, default: 0 }
steps:
  a: { plugin: trial, with: { colums: 2, columns: \"{{ params.columns }}\", images: [1] } }
  b: { plugin: trial, needs: a, matrix: { n: [1, 0] }, with: { columns: \"{{ matrix.n }}\" } }
  c: { plugin: trial, with: { text: \"{{ steps.a.text }}\", columns: 3 } }
";
    let project = project("", pipeline);
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    insta::assert_snapshot!(placed(&settled(&done.stderr, project.path())));
    // What is known only when it is made is refused then.
    project.file(
        "p.yaml",
        "steps:\n  words: { command: [echo, many] }\n  a: { plugin: trial, with: { columns: \"{{ steps.words.text }}\" } }\n",
    );
    project.kiln(&["check", "p.yaml"]).ok();
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    done.says("error[K0605]");
}

#[test]
fn without_plugins_what_needs_one_is_refused_and_all_else_runs() {
    let project = project("", &format!("{}  it: {{ plugin: trial }}\n", super::DRAW));
    let done = project.kiln(&["run", "p.yaml", "--no-plugins"]).code(3);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    project.file("p.yaml", super::DRAW);
    let mut command = project.command(&["run", "p.yaml"]);
    let done = crate::support::finish(command.env("KILN_NO_PLUGINS", "1")).ok();
    done.says("done");
    assert!(super::noted(&project).is_empty());
}

#[test]
fn two_plugins_with_one_function_are_a_warning_and_the_first_is_used() {
    let project = project(
        "",
        "steps:\n  say: { command: [echo, \"{{ score('abc') }}\"] }\n",
    );
    let library = super::trial();
    project.file(
        "kiln.yaml",
        format!(
            "plugins:\n  one: {{ path: {0} }}\n  two: {{ path: {0} }}\n",
            library.display()
        ),
    );
    let done = project.kiln(&["check", "p.yaml"]).ok();
    insta::assert_snapshot!(placed(&settled(&done.stderr, project.path())));
}

#[test]
fn a_step_that_a_plugin_is_for_and_that_was_mistyped_is_a_warning() {
    let project = project("steps: [drwa, other]", super::DRAW);
    let done = project.kiln(&["check", "p.yaml"]).ok();
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    // Of a plugin for several pipelines, each may have steps of its own; one that is for this one alone may not.
    super::declare(
        &project,
        &super::trial(),
        "pipelines: [p]\nsteps: [draw, other]",
    );
    project
        .kiln(&["check", "p.yaml"])
        .ok()
        .says("is for the step `other`, and `p` has none of that name");
    for good in [
        "pipelines: [p, q]\nsteps: [draw, other]",
        "steps: [draw, other]",
    ] {
        super::declare(&project, &super::trial(), good);
        project.kiln(&["check", "p.yaml"]).ok().says_not("warning");
    }
}
