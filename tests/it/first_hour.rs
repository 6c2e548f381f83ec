//! What newcomers stumbled over: each says at once what is wrong, and only that.

use serde_json::json;

use crate::support::{Project, finish, names};

const CARD: &str = r#"{
  "1": {
    "class_type": "EmptyImage",
    "inputs": { "width": 8, "height": 8, "batch_size": 1, "color": 255 },
    "_meta": { "title": "Card" }
  },
  "9": {
    "class_type": "SaveImage",
    "inputs": { "images": ["1", 0], "filename_prefix": "card", "stale": 1 },
    "_meta": { "title": "Save" }
  }
}
"#;

fn project(pipeline: &str) -> Project {
    Project::of(&[("p.yaml", pipeline), ("card.json", CARD)])
}

#[test]
fn an_input_that_somebody_typed_for_nothing_stops_the_run() {
    let project = project("steps:\n  a: { workflow: card.json, set: { Card: { heigth: 16 } } }\n");
    let done = project.kiln(&["run", "p.yaml"]).code(3);
    done.says("error[K0301]: `EmptyImage` has no input `heigth`");
    done.says("did you mean `height`?");
    assert!(!project.path().join("outputs").exists(), "nothing ran");
    let typed = ["run", "card.json", "--set", "Card.heigth=3"];
    project.kiln(&typed).code(2).says("error[K0301]");
}

#[test]
fn an_input_that_the_file_has_for_nothing_stops_a_run_only_where_warnings_are_denied() {
    let project = project("steps:\n  a: { workflow: card.json, set: { Save: { stale: 2 } } }\n");
    let denied = ["run", "p.yaml", "--deny", "warnings"];
    let done = project.kiln(&denied).code(3);
    done.says("error[K0301]: `SaveImage` has no input `stale`");
    assert!(!project.path().join("outputs").exists(), "nothing ran");
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says("warning[K0301]");
}

#[test]
fn advice_on_equal_names_tells_tasks_from_files() {
    let two = CARD.replace("\"batch_size\": 1", "\"batch_size\": 2");
    let project = project(
        "steps:\n  a: { workflow: two.json, save_as: same }\n  b: { workflow: card.json, for_each: steps.a.images, set: { Card: { width: \"{{ 8 + 8 * task.index }}\" } }, save_as: \"{{ item.kind }}\" }\n",
    );
    project.file("two.json", two);
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says("is taken by another result of this task, so this one is `same-2.png`");
    done.says("with `{{ file.index }}`");
    done.says("is taken by a result of another task, so this one is `image-2.png`");
    done.says("with `{{ task.index }}`");
    // What the advice says helps.
    project.file(
        "p.yaml",
        "steps:\n  a: { workflow: two.json, save_as: \"same-{{ file.index }}\" }\n  b: { workflow: card.json, for_each: steps.a.images, save_as: \"{{ item.kind }}-{{ task.index }}\" }\n",
    );
    project.kiln(&["run", "p.yaml"]).ok().says_not("K0509");
    let latest = project.path().join("outputs/p/latest");
    assert_eq!(names(&latest.join("a")), ["same-0.png", "same-1.png"]);
    assert_eq!(names(&latest.join("b")), ["image-0.png", "image-1.png"]);
}

#[test]
fn names_that_nobody_chose_are_not_warned_of() {
    let project = project(
        "params:\n  ws: { type: list, items: integer, default: [8] }\nsteps:\n  a: { workflow: card.json, matrix: { w: \"{{ params.ws }}\" }, set: { Card: { width: \"{{ matrix.w }}\" } } }\n",
    );
    project.kiln(&["run", "p.yaml"]).ok();
    // The embedded server counts from 1 again, beside the result that is there already.
    let both = ["run", "p.yaml", "-p", "ws=8", "-p", "ws=16"];
    project.kiln(&both).ok().says_not("K0509");
    let made = names(&project.path().join("outputs/p/latest/a"));
    assert_eq!(made, ["card_00001_-2.png", "card_00001_.png"]);
}

#[test]
fn a_new_project_is_sound_and_keeps_secrets_out_of_git() {
    let project = Project::new();
    project.kiln(&["init", "."]).ok();
    project.kiln(&["doctor"]).ok();
    let ignored = std::fs::read_to_string(project.path().join(".gitignore")).unwrap();
    assert_eq!(ignored, "outputs/\n.kiln/\n.env\n");
}

#[test]
fn a_broken_project_file_is_the_only_complaint() {
    let project = project("server: farm\nsteps:\n  a: { workflow: card.json }\n");
    project.file(
        "kiln.yaml",
        "servers:\n  farm: { url: http://h:1\nprofiles: {}\n",
    );
    let done = project.kiln(&["check", "p.yaml", "--server", "farm"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert_eq!(done.stderr.matches("error[").count(), 1, "{}", done.stderr);
    done.says("error[K0002]");
    let with_profile = project
        .kiln(&["run", "p.yaml", "--profile", "draft"])
        .code(3);
    with_profile.says_not("there is none");
    assert_eq!(with_profile.stderr.matches("error[").count(), 1);
}

#[test]
fn an_address_without_its_scheme_is_refused_where_it_is_declared() {
    let project = project("steps:\n  a: { workflow: card.json }\n");
    project.file("kiln.yaml", "servers:\n  farm: { url: 127.0.0.1:8199 }\n");
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    done.says("`127.0.0.1:8199` is no server address");
    done.says("kiln.yaml:2:16");
    done.says("an address begins with its scheme: `http://127.0.0.1:8199`");
    project.file(
        "kiln.yaml",
        "servers:\n  farm: { urls: [\"http://h:1\", nowhere] }\n",
    );
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    done.says("`nowhere` is no server address");
    // What a variable says is not looked at before it is needed.
    project.file(
        "kiln.yaml",
        "servers:\n  farm: { url: \"{{ env('FARM') }}\" }\n",
    );
    project.kiln(&["check", "p.yaml"]).ok();
}

#[test]
fn a_tab_is_pointed_at_on_its_own_line() {
    let project = project("steps:\n  a:\n    workflow: card.json\n\tmatrix: { i: [1] }\n");
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    done.says("p.yaml:4:1");
    done.says("indent with spaces, not with tabs");
}

#[test]
fn a_script_beside_the_pipeline_is_named_as_a_file() {
    let project = project(
        "steps:\n  a: { command: [sh, tools/say.sh, copy.txt], outputs: { copy: copy.txt } }\n",
    );
    project.file("tools/say.sh", "echo said > \"$1\"\n");
    project.file("copy.txt", "what the step writes has this name");
    let advice = "write `\"{{ file('tools/say.sh') }}\"`";
    let done = project.kiln(&["check", "p.yaml"]).ok();
    done.says("warning[K0130]: `tools/say.sh` is a file beside the pipeline");
    done.says(advice);
    assert_eq!(
        done.stderr.matches("warning[").count(),
        1,
        "{}",
        done.stderr
    );
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    let failure = done.stderr.split("error[K0510]").nth(1).unwrap();
    assert!(failure.contains(advice), "{failure}");
    project.file(
        "p.yaml",
        "steps:\n  a: { command: [sh, \"{{ file('tools/say.sh') }}\", copy.txt], outputs: { copy: copy.txt }, save_as: copy }\n",
    );
    project.kiln(&["run", "p.yaml"]).ok().says_not("K0130");
    assert_eq!(project.result("a/copy.txt"), "said\n");
    project.file("p.yaml", "steps:\n  a: { command: sh tools/say.sh x }\n");
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    done.says("write `command: [sh, \"{{ file('tools/say.sh') }}\", x]`");
}

#[test]
fn what_a_program_says_keeps_its_shape_and_is_said_once() {
    let failing = "steps:\n  a:\n    command: [sh, -c, \"printf 'one\\\\n    two\\\\n\\\\tthree\\\\n' >&2; exit 3\"]\n";
    let project = project(failing);
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    done.says("a │ one\n    a │     two\n    a │     three\n");
    assert_eq!(done.stderr.matches("two").count(), 1, "{}", done.stderr);
    // Where the lines were told long before, or folded away, they are told with the failure.
    let mut command = project.command(&["run", "p.yaml"]);
    let done = finish(command.env("CI", "1")).code(4);
    done.says("help: stderr:\n");
    assert_eq!(
        done.stderr.matches("    two\n").count(),
        2,
        "{}",
        done.stderr
    );
}

#[test]
fn a_run_that_has_nothing_to_do_names_one_that_there_is() {
    let project = project("steps:\n  a: { workflow: card.json }\n");
    project.kiln(&["run", "p.yaml"]).ok();
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says("nothing to do");
    let (_, rest) = done.stderr.split_once("· run ").unwrap();
    let run = rest.split_whitespace().next().unwrap();
    project.kiln(&["show", run]).ok();
}

#[test]
fn a_picture_that_names_files_of_an_earlier_run_asks_for_other_files() {
    let project = Project::new();
    let graph = |image: &str| {
        json!({
            "1": { "class_type": "LoadImage", "inputs": { "image": image }, "_meta": { "title": "Photo" } },
            "9": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "x" } },
        })
        .to_string()
    };
    for image in ["kiln/0123456789abcdef.png", "kiln/x_00001_.png [output]"] {
        project.file("w.json", graph(image));
        let done = project.kiln(&["run", "w.json"]).code(3);
        done.says("the server has no input file");
        done.says("to give a file of your own write `--set 'Photo.image={{ file(\"…\") }}'`");
        done.says_not("K0502");
    }
}

#[test]
fn the_name_of_a_step_lists_its_tasks_and_a_changed_matrix_its_values() {
    let steps = |values: &str| {
        format!(
            "steps:\n  a: {{ command: [echo, \"{{{{ matrix.i }}}}\"], matrix: {{ i: {values} }} }}\n"
        )
    };
    let project = project(&steps("[1, 2]"));
    project.kiln(&["run", "p.yaml"]).ok();
    let listed = project.kiln(&["show", "last", "a"]).ok();
    assert!(
        listed.stdout.starts_with("a: 2 tasks, 2 done\n"),
        "{}",
        listed.stdout
    );
    assert!(listed.stdout.contains("a[i=2]"), "{}", listed.stdout);
    let listed = project
        .kiln(&["show", "last", "a", "--output", "json"])
        .ok();
    assert_eq!(listed.json_lines()[0]["tasks"].as_array().unwrap().len(), 2);
    let first = project
        .kiln(&["runs", "--output", "json"])
        .ok()
        .json_lines();
    let first = first[0]["run"].as_str().unwrap().to_owned();
    project.file("p.yaml", steps("[1, 3]"));
    project.kiln(&["run", "p.yaml"]).ok();
    let differs = project.kiln(&["diff", &first, "last"]).ok().stdout;
    let values = differs
        .lines()
        .find(|line| line.contains("a.matrix.i"))
        .unwrap();
    assert!(
        values.contains("1, 2") && values.contains("1, 3"),
        "{differs}"
    );
    assert!(!differs.contains("{\"number\""), "{differs}");
}

#[test]
fn a_pipeline_made_around_a_picture_says_what_it_needs() {
    let project = Project::new();
    project.file(
        "w.json",
        r#"{ "1": { "class_type": "LoadImage", "inputs": { "image": "cat.png" } },
             "9": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "x" } } }"#,
    );
    let done = project.kiln(&["new", "shot", "--from", "w.json"]).ok();
    done.says("kiln plan shot.yaml -p image=…");
}
