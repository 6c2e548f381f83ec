//! What people meet in their first hour: each mistake is answered with the exact next step.

use crate::support::{Project, kiln, settled};

const PHOTO: &str = r#"{
  "1": {
    "class_type": "LoadImage",
    "inputs": { "image": "cat.png" },
    "_meta": { "title": "Photo" }
  },
  "9": {
    "class_type": "SaveImage",
    "inputs": { "images": ["1", 0], "filename_prefix": "cat" },
    "_meta": { "title": "Save" }
  }
}
"#;

const MODELS: &str = r#"{
  "1": { "class_type": "CheckpointLoaderSimple", "inputs": { "ckpt_name": "sd.safetensors" } },
  "2": { "class_type": "CLIPTextEncode", "inputs": { "clip": ["1", 1], "text": "a cat" } },
  "3": { "class_type": "KSampler", "inputs": { "model": ["1", 0], "seed": 1 } },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["3", 0], "filename_prefix": "x" } }
}
"#;

fn picture() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    png.into_inner()
}

/// A workflow in a folder of its own; no picture yet.
fn project() -> Project {
    let project = Project::new();
    project.file("flows/photo.json", PHOTO);
    project
}

fn pipeline(project: &Project, image: &str) {
    let text = format!(
        "steps:\n  one:\n    workflow: photo.json\n    set:\n      Photo:\n        image: {image}\n"
    );
    project.file("flows/p.yaml", text);
}

fn said(project: &Project, args: &[&str]) -> String {
    told(project, args, 3)
}

fn told(project: &Project, args: &[&str], code: i32) -> String {
    let done = project.kiln(args).code(code);
    assert_eq!(done.stdout, "");
    settled(&done.stderr, project.path())
}

#[test]
fn models_on_the_embedded_server() {
    let project = Project::new();
    project.file("w.json", MODELS);
    let said = said(&project, &["run", "w.json", "--server", "embedded"]);
    assert_eq!(said.matches("--server local").count(), 1, "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn paths_of_set_start_from_the_current_folder() {
    let project = project();
    project.file("cat.png", picture());
    let set = "Photo.image={{ file(\"cat.png\") }}";
    project
        .kiln(&["run", "flows/photo.json", "--set", set])
        .ok();
    project
        .kiln(&["check", "flows/photo.json", "--set", set])
        .ok();
    pipeline(&project, "cat.png");
    let later = "one.Photo.image={{ file(\"cat.png\") if task.index == 0 else 1 }}";
    project.kiln(&["run", "flows/p.yaml", "--set", later]).ok();
}

#[test]
fn a_missing_file_is_found_by_check() {
    let project = project();
    project.file("flows/cat.png", picture());
    pipeline(&project, "\"{{ file('cat.pgn') }}\"");
    insta::assert_snapshot!(said(&project, &["check", "flows/p.yaml"]));
    let set = "Photo.image={{ file(\"cat.png\") }}";
    insta::assert_snapshot!(told(
        &project,
        &["plan", "flows/photo.json", "--set", set],
        2
    ));
}

#[test]
fn a_picture_that_the_server_has_not() {
    let project = project();
    insta::assert_snapshot!(said(&project, &["check", "flows/photo.json"]));
    project.file("cat.png", picture());
    insta::assert_snapshot!(said(&project, &["run", "flows/photo.json"]));
    pipeline(&project, "dog.png");
    let set = "one.Photo.image=other.png";
    insta::assert_snapshot!(told(&project, &["check", "flows/p.yaml", "--set", set], 2));
    insta::assert_snapshot!(said(&project, &["check", "flows/p.yaml"]));
}

#[test]
fn templates_without_braces() {
    let project = project();
    for (written, meant) in [
        ("params.photo", "{{ params.photo }}"),
        ("steps.first.image", "{{ steps.first.image }}"),
        ("$photo", "{{ params.photo }}"),
    ] {
        pipeline(&project, written);
        let said = said(&project, &["check", "flows/p.yaml"]);
        assert!(said.contains(&format!("`\"{meant}\"`")), "{said}");
    }
}

#[test]
fn quotes_inside_the_same_quotes() {
    let project = project();
    pipeline(&project, "\"{{ file(\"cat.png\") }}\"");
    insta::assert_snapshot!(said(&project, &["check", "flows/p.yaml"]));
    pipeline(&project, "'{{ file('cat.png') }}'");
    let said = said(&project, &["check", "flows/p.yaml"]);
    assert!(
        said.contains("use double quotes inside the template: `'{{ file(\"cat.png\") }}'`"),
        "{said}"
    );
}

#[test]
fn files_that_are_neither_pipeline_nor_workflow() {
    let project = project();
    project.file("cat.png", picture());
    project.file("b.yaml", "");
    project.file("a.yml", "");
    insta::assert_snapshot!(said(&project, &["run", "cat.png"]));
    insta::assert_snapshot!(said(&project, &["run", "."]));
}

#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let project = Project::new();
    let done = project.kiln(&["serve", "--port", &port]).code(5);
    let told = format!("port {port} is in use; choose another with `--port`");
    done.says(&told);
}

#[test]
fn params_in_hexadecimal() {
    let project = project();
    project.file("cat.png", picture());
    project.file(
        "p.yaml",
        "params:\n  colour: { type: integer }\nsteps:\n  one:\n    workflow: flows/photo.json\n    set:\n      Photo: { image: \"{{ file('cat.png') }}\" }\n      Save: { filename_prefix: \"n{{ params.colour }}\" }\n",
    );
    for (typed, number) in [("0xff0000", "16711680"), ("-0x10", "-16"), ("0o17", "15")] {
        let done = project
            .kiln(&["plan", "p.yaml", "-p", &format!("colour={typed}")])
            .ok();
        assert!(
            done.stdout.contains(&format!("n{number}")),
            "{}",
            done.stdout
        );
    }
    let said = told(&project, &["check", "p.yaml", "-p", "colour=lots"], 2);
    assert!(
        said.contains("must be an integer, and `lots` is not one"),
        "{said}"
    );
}

#[test]
fn check_takes_the_values_that_plan_takes() {
    let project = project();
    project.file("cat.png", picture());
    project.file("values.yaml", "{}\n");
    let set = "Photo.image={{ file(\"cat.png\") }}";
    let args = ["check", "flows/photo.json", "--set", set, "--seed", "3"];
    project.kiln(&args).ok();
    project
        .kiln(&[&args[..], &["--params", "values.yaml"]].concat())
        .ok();
    project
        .kiln(&["check", "x", "--catalog", "x", "--server", "local"])
        .code(2);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let project = project();
    project.file("cat.png", picture());
    for command in ["plan", "check", "run"] {
        let mut command = project.command(&[
            command,
            "flows/photo.json",
            "--set",
            "Photo.image={{ file(\"cat.png\") }}",
        ]);
        for name in [
            "KILN_SERVER",
            "KILN_SEED",
            "KILN_PARAMS",
            "KILN_OUTPUT_DIR",
            "KILN_MAX_PARALLEL",
        ] {
            command.env(name, "");
        }
        crate::support::finish(&mut command).ok();
    }
    let help = crate::support::finish(kiln().args(["serve", "--help"]).env("KILN_PORT", ""));
    help.ok();
}
