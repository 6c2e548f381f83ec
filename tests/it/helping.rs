//! A message says what to type next, where that can be known; and the exit code says whose mistake it was.

use crate::support::{Project, settled};

const PHOTO: &str = r#"{
  "1": { "class_type": "LoadImage", "inputs": { "image": "photo.png" }, "_meta": { "title": "Photo" } },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "p" } }
}
"#;

const DRAW: &str = r#"{
  "1": { "class_type": "EmptyImage", "inputs": { "width": 8, "height": 8, "batch_size": 1, "color": 0 } },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "d" } }
}
"#;

const MODELS: &str = r#"{
  "1": { "class_type": "CheckpointLoaderSimple", "inputs": { "ckpt_name": "sd.safetensors" } },
  "2": { "class_type": "EmptyImagee", "inputs": {} },
  "3": { "class_type": "KSampler", "inputs": { "model": ["1", 0] } },
  "4": { "class_type": "KSampler", "inputs": { "model": ["1", 0] } },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["3", 0], "filename_prefix": "x" } }
}
"#;

const SIZES: &str = "params:\n  sizes: { type: list, items: integer, default: [8] }\n  wide: { type: integer }\nsteps:\n  draw:\n    workflow: draw.json\n    matrix: { size: \"{{ params.sizes }}\" }\n    set: { EmptyImage: { width: \"{{ matrix.size + params.wide }}\" } }\n";

fn project() -> Project {
    let project = Project::new();
    project.file("photo.json", PHOTO);
    project.file("draw.json", DRAW);
    project.file("models.json", MODELS);
    project.file("sizes.yaml", SIZES);
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(8, 8)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    project.file("shots/IMG 01.png", png.into_inner());
    project
}

fn said(project: &Project, args: &[&str], code: i32) -> String {
    let done = project.kiln(args).code(code);
    assert_eq!(done.stdout, "");
    settled(&done.stderr, project.path())
}

/// A port that was free a moment ago.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_path_given_to_an_input_is_answered_with_the_words_that_upload_it() {
    let project = project();
    let set = |value: &str| {
        format!(
            "steps:\n  one:\n    workflow: photo.json\n    set:\n      Photo: {{ image: {value} }}\n"
        )
    };
    project.file("p.yaml", set("shots/IMG 01.png"));
    insta::assert_snapshot!(said(&project, &["check", "p.yaml"], 0));
    project.file("p.yaml", set("\"{{ file('shots/IMG 01.png') }}\""));
    project.kiln(&["run", "p.yaml"]).ok();
}

#[test]
fn a_dotted_key_of_set_is_taken_apart() {
    let project = project();
    project.file(
        "p.yaml",
        "steps:\n  one:\n    workflow: draw.json\n    set:\n      EmptyImage.width: 16\n      \"EmptyImage.height:\": \"{{ 8 }}\"\n",
    );
    insta::assert_snapshot!(said(&project, &["check", "p.yaml"], 3));
}

#[test]
fn a_list_typed_with_commas_is_answered_with_its_two_forms() {
    let project = project();
    let typed = "sizes=96,192,384";
    insta::assert_snapshot!(said(
        &project,
        &["plan", "sizes.yaml", "-p", "wide=1", "-p", typed],
        2
    ));
    for right in [
        &["-p", "sizes=[96, 192]"][..],
        &["-p", "sizes=96", "-p", "sizes=192"],
    ] {
        let done = project
            .kiln(&[&["plan", "sizes.yaml", "-p", "wide=1"], right].concat())
            .ok();
        assert!(done.stdout.contains("[96,192]"), "{}", done.stdout);
    }
}

#[test]
fn unknown_classes_of_one_workflow_are_one_complaint_but_for_slips() {
    let project = project();
    insta::assert_snapshot!(said(&project, &["check", "models.json"], 3));
    let done = project
        .kiln(&["check", "models.json", "--output", "json"])
        .code(3);
    assert_eq!(
        done.stdout.matches("missing_node_type").count(),
        4,
        "tools get every node"
    );
}

#[test]
fn without_a_server_the_way_out_is_one_that_the_project_has() {
    let project = project();
    let url = nobody();
    let unreachable = ["run", "models.json", "--server", &url];
    insta::assert_snapshot!(said(&project, &unreachable, 5));
    project.file(
        "kiln.yaml",
        "servers:\n  sketch: { kind: embedded, simulate: true }\n",
    );
    let told = said(&project, &unreachable, 5);
    assert!(
        told.contains("to rehearse without ComfyUI, use `--server sketch`"),
        "{told}"
    );
    project.file(
        "kiln.yaml",
        "servers:\n  sketch: { kind: embedded, simulate: true }\nprofiles:\n  draft: { server: sketch }\n",
    );
    let told = said(&project, &unreachable, 5);
    assert!(
        told.contains("to rehearse without ComfyUI, use `--profile draft`"),
        "{told}"
    );
    project
        .kiln(&["run", "models.json", "--profile", "draft"])
        .code(3);
    project
        .kiln(&["run", "draw.json", "--profile", "draft"])
        .ok();
}

#[test]
fn a_pipeline_that_never_ran_and_a_place_where_nothing_did_are_told() {
    let project = project();
    project.file("art/draw.json", DRAW);
    project.kiln(&["run", "art/draw.json"]).ok();
    insta::assert_snapshot!(said(&project, &["show", "last"], 2));
    project.kiln(&["show", "last", "--project", "art"]).ok();
    insta::assert_snapshot!(said(&project, &["runs", "drew", "--project", "art"], 2));
}

#[test]
fn flags_and_commands_of_other_programs_lead_to_ours() {
    let project = project();
    for (typed, ours) in [
        (&["run", "draw.json", "--dry-run"][..], "`kiln plan FILE`"),
        (&["validate", "draw.json"], "`kiln check FILE…`"),
        (&["help"], "`kiln --help`"),
    ] {
        let told = said(&project, typed, 2);
        assert!(told.lines().last().unwrap().starts_with(ours), "{told}");
    }
}

#[test]
fn what_would_be_skipped_is_not_promised() {
    let project = project();
    project.file(
        "p.yaml",
        "params: { on: { type: boolean, default: false } }
steps:
  none: { workflow: draw.json, for_each: \"glob('nothing/*.png')\" }
  each: { workflow: photo.json, for_each: steps.none, set: { Photo: { image: \"{{ item.image }}\" } } }
  list: { command: [echo, \"{{ steps.each.images }}\"] }
  off: { workflow: draw.json, when: params.on }
  after: { command: [echo, hello], needs: [off] }
  some: { command: [echo, '[]'] }
  later: { workflow: draw.json, for_each: steps.some.data }
  last: { command: [echo, hello], needs: [later] }
",
    );
    let done = project.kiln(&["plan", "p.yaml"]).ok();
    let would = done.stdout.split_once("\n\n1 would").unwrap().1;
    insta::assert_snapshot!(format!("1 would{would}"));
    let done = project.kiln(&["run", "p.yaml"]).ok();
    assert!(done.stderr.contains("1 done, 4 skipped"), "{}", done.stderr);
}

#[test]
fn paths_are_told_as_they_are_written_from_here() {
    let project = project();
    project.file(
        "flows/bad.yaml",
        "steps:\n  one:\n    workflow: ../photo.json\n",
    );
    let mut command = project.command(&["check", "../flows/bad.yaml"]);
    command.current_dir(project.path().join("shots"));
    let done = crate::support::finish(&mut command).code(3);
    assert!(
        done.stderr.contains(" --> ../photo.json:2:"),
        "{}",
        done.stderr
    );
}

/// A project with a pipeline for each sort of mistake.
fn mistaken() -> Project {
    let project = project();
    project.file("typo.yaml", "steps:\n  one:\n    workfow: draw.json\n");
    project.file("bad.yaml", "steps: [\n");
    project.file(
        "server.yaml",
        "server: lokal\nsteps:\n  one: { workflow: draw.json }\n",
    );
    project.file(
        "default.yaml",
        "params:\n  wide: { type: integer, default: wide }\nsteps:\n  one: { workflow: draw.json }\n",
    );
    project.file(
        "value.yaml",
        "steps:\n  one: { workflow: draw.json, set: { EmptyImage: { width: wide } } }\n",
    );
    project.file(
        "node.yaml",
        "steps:\n  one: { workflow: draw.json, set: { Emty: { width: 8 } } }\n",
    );
    project.file("fails.yaml", "steps:\n  one: { command: [\"false\"] }\n");
    project.file("good.yaml", "steps:\n  one: { workflow: draw.json }\n");
    project
}

/// The table of exit codes in the guide, with mistakes of each sort.
#[test]
fn exit_codes_say_whose_mistake_it_was() {
    let project = mistaken();
    let url = nobody();
    let table: &[(i32, &[&str])] = &[
        (0, &["run", "good.yaml"]),
        (0, &["check", "good.yaml"]),
        // What was typed is wrong.
        (2, &["run"]),
        (2, &["run", "good.yaml", "--flag"]),
        (2, &["run", "good.yaml", "-p", "wide=8"]),
        (2, &["run", "good.yaml", "-p", "wide"]),
        (2, &["run", "sizes.yaml"]),
        (2, &["run", "sizes.yaml", "-p", "wide=wide"]),
        (2, &["run", "sizes.yaml", "-p", "wide=8", "-p", "sizes=8,9"]),
        (2, &["run", "good.yaml", "--server", "lokal"]),
        (2, &["check", "good.yaml", "--server", "lokal"]),
        (2, &["run", "good.yaml", "--profile", "draft"]),
        (2, &["run", "good.yaml", "--to", "two"]),
        (2, &["run", "good.yaml", "--set", "one.Emty.width=8"]),
        (
            2,
            &["run", "good.yaml", "--set", "one.EmptyImage.width=wide"],
        ),
        (2, &["run", "good.yaml", "--set", "width=8"]),
        (2, &["run", "good.yaml", "--resume", "never"]),
        (2, &["show", "never"]),
        (2, &["runs", "never"]),
        (2, &["explain", "K9999"]),
        // A file is.
        (3, &["run", "nothing.yaml"]),
        (3, &["check", "nothing.json"]),
        (3, &["run", "good.yaml", "--params", "nothing.yaml"]),
        (3, &["check", "good.yaml", "--catalog", "nothing.json"]),
        (3, &["run", "bad.yaml"]),
        (3, &["run", "typo.yaml"]),
        (3, &["plan", "server.yaml"]),
        (3, &["run", "default.yaml"]),
        (3, &["run", "value.yaml"]),
        (3, &["run", "node.yaml"]),
        (3, &["run", "models.json"]),
        // What is wrong in a file outweighs what was typed.
        (3, &["run", "node.yaml", "-p", "wide=8"]),
        (4, &["run", "fails.yaml"]),
        (5, &["run", "good.yaml", "--server", &url, "--force"]),
    ];
    let uneven: Vec<String> = table
        .iter()
        .filter_map(|(code, args)| {
            let done = project.kiln(args);
            (done.code != *code)
                .then(|| format!("{args:?}: {} and not {code}\n{}", done.code, done.stderr))
        })
        .collect();
    assert!(uneven.is_empty(), "{}", uneven.join("\n"));
    let guide = include_str!("../../docs/guide/running.md");
    for code in ["0", "2", "3", "4", "5", "7"] {
        assert!(guide.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn members_of_a_written_list_are_checked_while_a_param_has_no_value() {
    let project = project();
    project.file(
        "p.yaml",
        "params:\n  y: { type: string }\nsteps:\n  a:\n    for_each: [x, \"{{ params.y }}\"]\n    command: [echo, \"{{ item }}\"]\n",
    );
    assert_eq!(said(&project, &["check", "p.yaml"], 0), "ok p.yaml\n");
    let planned = project.kiln(&["plan", "p.yaml", "-p", "y=2"]).ok().stdout;
    assert!(planned.contains("a[x], a[2]"), "{planned}");
}

#[test]
fn an_address_with_a_password_is_refused_and_not_repeated() {
    let project = project();
    let command = [
        "plan",
        "sizes.yaml",
        "-p",
        "wide=1",
        "--server",
        "http://me:hunter2@host:8188",
    ];
    let done = project.kiln(&command).code(2);
    assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
}
