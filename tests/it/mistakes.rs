//! The mistakes that people make, and the exact text they read.

use crate::support::{Project, Server, settled};

const WORKFLOW: &str = r#"{
  "1": {
    "class_type": "LoadImage",
    "inputs": { "image": "photo.png" },
    "_meta": { "title": "Photo" }
  },
  "2": {
    "class_type": "ImageBlur",
    "inputs": { "image": ["1", 0], "blur_radius": 8, "sigma": 2.0 },
    "_meta": { "title": "Soft Focus" }
  },
  "9": {
    "class_type": "SaveImage",
    "inputs": { "images": ["2", 0], "filename_prefix": "soft" },
    "_meta": { "title": "Save" }
  }
}
"#;

const PIPELINE: &str = r#"params:
  photo: { type: file, default: photo.png }

steps:
  soft:
    workflow: soft.json
    set:
      Photo: { image: "{{ params.photo }}" }
"#;

/// A project that runs well, until someone changes it.
fn project() -> Project {
    let project = Project::new();
    project.file("soft.json", WORKFLOW);
    project.file("pipeline.yaml", PIPELINE);
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(32, 24, |x, y| image::Rgb([x as u8 * 8, y as u8 * 10, 128]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    project.file("photo.png", png.into_inner());
    project
}

/// The same project with another file.
fn with(name: &str, text: impl AsRef<[u8]>) -> Project {
    let project = project();
    project.file(name, text);
    project
}

/// What a run of the changed pipeline says.
fn says(project: &Project, from: &str, to: &str, code: i32) -> String {
    assert!(PIPELINE.contains(from), "{from}");
    project.file("pipeline.yaml", PIPELINE.replacen(from, to, 1));
    said(project, &["run", "pipeline.yaml"], code)
}

fn said(project: &Project, args: &[&str], code: i32) -> String {
    let done = project.kiln(args).code(code);
    assert_eq!(done.stdout, "");
    settled(&done.stderr, project.path())
}

#[test]
fn nothing_is_wrong_with_the_project_itself() {
    let project = project();
    project.kiln(&["run", "pipeline.yaml"]).ok();
    let done = project.kiln(&["check", "pipeline.yaml", "soft.json"]);
    // The bare workflow names a file that only the pipeline uploads.
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(
        done.stderr.starts_with("ok pipeline.yaml\n"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_misspelt_key() {
    insta::assert_snapshot!(says(&project(), "workflow:", "workfow:", 3));
}

#[test]
fn a_misspelt_node() {
    insta::assert_snapshot!(says(&project(), "Photo:", "Foto:", 3));
}

#[test]
fn a_misspelt_input() {
    insta::assert_snapshot!(says(&project(), "{ image:", "{ imgae:", 3));
}

#[test]
fn a_missing_workflow_file() {
    insta::assert_snapshot!(says(&project(), "soft.json", "sotf.json", 3));
}

#[test]
fn a_missing_pipeline_file() {
    insta::assert_snapshot!(said(&project(), &["run", "pipelin.yaml"], 3));
}

#[test]
fn a_missing_picture() {
    insta::assert_snapshot!(says(
        &project(),
        "default: photo.png",
        "default: foto.png",
        3
    ));
}

#[test]
fn no_server_is_running() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    insta::assert_snapshot!(said(
        &project(),
        &["run", "pipeline.yaml", "--server", &url],
        5
    ));
}

#[test]
fn a_workflow_in_the_editors_format() {
    let project = with(
        "soft.json",
        r#"{"id": "x", "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [{"id": 1, "type": "LoadImage"}], "links": [], "version": 0.4}"#,
    );
    insta::assert_snapshot!(said(&project, &["run", "pipeline.yaml"], 3));
}

#[test]
fn values_of_the_wrong_type() {
    let project = with(
        "pipeline.yaml",
        "max_parallel: many\nparams:\n  width: { type: integer, default: wide }\n  size: { type: int }\nsteps:\n  soft:\n    workflow: soft.json\n    needs: soft\n    set:\n      Soft Focus: { blur_radius: big, sigma: true }\n",
    );
    insta::assert_snapshot!(said(&project, &["run", "pipeline.yaml"], 3));
}

#[test]
fn a_value_that_does_not_fit_the_node() {
    insta::assert_snapshot!(says(
        &project(),
        "      Photo:",
        "      Soft Focus: { blur_radius: big, sigma: 999 }\n      Photo:",
        3
    ));
}

#[test]
fn undefined_names() {
    insta::assert_snapshot!(says(
        &project(),
        "\"{{ params.photo }}\"",
        "\"{{ parms.photo }}\" }\n      Soft Focus: { sigma: \"{{ params.sgima }}\", blur_radius: \"{{ steps.sof.image }}\"",
        3
    ));
}

#[test]
fn an_unquoted_template() {
    insta::assert_snapshot!(says(
        &project(),
        "\"{{ params.photo }}\"",
        "{{ params.photo }}",
        3
    ));
}

#[test]
fn invalid_json() {
    let project = with(
        "soft.json",
        WORKFLOW.replace("\"sigma\": 2.0 }", "\"sigma\": 2.0, }"),
    );
    insta::assert_snapshot!(said(&project, &["run", "pipeline.yaml"], 3));
}

#[test]
fn a_server_that_answers_html() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let page = "<!DOCTYPE html>\n<html><head><title>Router login</title></head><body></body></html>";
            let mut buffer = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut buffer);
            let _ = std::io::Write::write_all(
                &mut stream,
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                )
                .as_bytes(),
            );
        }
    });
    insta::assert_snapshot!(said(
        &project(),
        &["run", "pipeline.yaml", "--server", &url],
        5
    ));
}

#[test]
fn an_output_path_outside_the_folder() {
    insta::assert_snapshot!(says(
        &project(),
        "    set:",
        "    save_as: ../../escape\n    set:",
        3
    ));
}

#[test]
fn an_output_path_that_a_param_leads_outside() {
    let project = with(
        "pipeline.yaml",
        PIPELINE
            .replace("params:", "params:\n  where: { type: string, default: x }")
            .replace(
                "    set:",
                "    save_as: \"{{ params.where }}/{{ file.index }}\"\n    set:",
            ),
    );
    insta::assert_snapshot!(said(
        &project,
        &["run", "pipeline.yaml", "-p", "where=../.."],
        4
    ));
    assert!(!project.path().join("outputs/0.png").exists());
}

#[test]
fn a_folder_that_cannot_be_written() {
    let project = with("taken", "a file, not a folder");
    insta::assert_snapshot!(said(
        &project,
        &["run", "pipeline.yaml", "--output-dir", "taken/here"],
        3
    ));
}

#[cfg(unix)]
#[test]
fn a_full_disk() {
    let project = project();
    // Files of this process may not grow past one block; the server is another process and may.
    let server = Server::start(&[]);
    let mut shell = std::process::Command::new("bash");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 240; exec \"$0\" run pipeline.yaml --server \"$1\" -p photo=big.png"])
        .arg(env!("CARGO_BIN_EXE_kiln"))
        .arg(&server.url)
        .env("NO_COLOR", "1")
        .current_dir(project.path());
    let mut png = std::io::Cursor::new(Vec::new());
    let noise = image::RgbImage::from_fn(1000, 800, |x, y| {
        let n = (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761) >> 8;
        image::Rgb([n as u8, (n >> 8) as u8, (n >> 16) as u8])
    });
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    project.file("big.png", png.into_inner());
    let done = crate::support::finish(&mut shell).code(4);
    assert_eq!(done.stdout, "");
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    let left: Vec<_> = walkdir::WalkDir::new(project.path().join("outputs"))
        .into_iter()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    assert_eq!(
        left,
        Vec::<std::path::PathBuf>::new(),
        "half a file was left behind"
    );
}

#[test]
fn a_param_that_does_not_exist_and_one_out_of_bounds() {
    let project = with(
        "pipeline.yaml",
        PIPELINE.replace(
            "params:",
            "params:\n  width: { type: integer, default: 64, minimum: 8, maximum: 512 }",
        ),
    );
    insta::assert_snapshot!(said(
        &project,
        &[
            "run",
            "pipeline.yaml",
            "-p",
            "with=3",
            "-p",
            "width=4096",
            "-p",
            "photo",
            "--set",
            "soft.Blur.sigma=2"
        ],
        2
    ));
}

#[test]
fn a_server_that_is_not_declared() {
    let project = project();
    project.file(
        "kiln.yaml",
        "servers:\n  workstation: { url: http://127.0.0.1:1 }\n",
    );
    insta::assert_snapshot!(says(
        &project,
        "    workflow:",
        "    server: worksation\n    workflow:",
        3
    ));
}

#[test]
fn steps_that_wait_for_each_other() {
    let project = with(
        "pipeline.yaml",
        "steps:\n  a:\n    workflow: soft.json\n    needs: [c]\n  b:\n    workflow: soft.json\n    set: { Photo: { image: \"{{ steps.a.image }}\" } }\n  c:\n    workflow: soft.json\n    needs: [b]\n",
    );
    insta::assert_snapshot!(said(&project, &["run", "pipeline.yaml"], 3));
}

#[test]
fn a_list_that_is_empty() {
    let project = with(
        "pipeline.yaml",
        "steps:\n  a:\n    workflow: soft.json\n    for_each: glob('photoz/*.png')\n    set: { Photo: { image: \"{{ item }}\" } }\n",
    );
    insta::assert_snapshot!(said(&project, &["check", "pipeline.yaml"], 0));
}

#[test]
fn a_workflow_and_a_plugin_in_one_step() {
    insta::assert_snapshot!(says(
        &project(),
        "    set:",
        "    plugin: contact_sheet\n    with: { columns: 4 }\n    set:",
        3
    ));
}

#[test]
fn mistakes_of_all_kinds_are_told_at_once() {
    let project = with(
        "pipeline.yaml",
        "steps:\n  a:\n    workflow: soft.json\n    set: { Foto: { image: x.png } }\n  b:\n    workflow: soft.json\n    set: { Soft Focus: { sigma: 999 }, Photo: { image: \"{{ steps.c.image }}\" } }\n  c:\n    workflow: soft.json\n    nedes: [a]\n",
    );
    insta::assert_snapshot!(said(&project, &["run", "pipeline.yaml"], 3));
}

#[test]
fn the_only_node_that_saves_is_taken_out() {
    let taken = |how: &str| {
        let entry = format!("      Save: {how}\n      Photo:");
        says(&project(), "      Photo:", &entry, 3)
    };
    insta::assert_snapshot!(format!("{}\n{}", taken("null"), taken("bypass")));
}

#[test]
fn a_removed_node_that_another_one_needs() {
    insta::assert_snapshot!(says(
        &project(),
        "      Photo:",
        "      Soft Focus: null\n      Photo:",
        3
    ));
}
