//! Workflows out of the editor's files and out of pictures: converted, run as they are, and made into pipelines.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Project, Server, finish, settled};

/// A drawing: a photograph, two effects of which one is bypassed, a note, and a saved picture.
fn drawing() -> Value {
    json!({
        "last_node_id": 9, "last_link_id": 4, "version": 0.4,
        "nodes": [
            {"id": 1, "type": "EmptyImage", "title": "Card", "mode": 0, "inputs": [], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}], "widgets_values": [64, 48, 1, 65_280]},
            {"id": 2, "type": "ImageInvert", "title": "Negative", "mode": 4, "inputs": [{"name": "image", "type": "IMAGE", "link": 1}], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [2]}], "widgets_values": []},
            {"id": 3, "type": "ImageBlur", "mode": 0, "inputs": [{"name": "image", "type": "IMAGE", "link": 2}], "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [3]}], "widgets_values": [3, 1.5]},
            {"id": 4, "type": "SaveImage", "title": "Save", "mode": 0, "inputs": [{"name": "images", "type": "IMAGE", "link": 3}], "outputs": [], "widgets_values": ["drawn/card"]},
            {"id": 5, "type": "Note", "mode": 0, "inputs": [], "outputs": [], "widgets_values": ["hello"]}
        ],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]]
    })
}

/// What the editor sends for it.
fn sent() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 65_280}, "_meta": {"title": "Card"}},
        "3": {"class_type": "ImageBlur", "inputs": {"blur_radius": 3, "sigma": 1.5, "image": ["1", 0]}, "_meta": {"title": "Blur Image"}},
        "4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "drawn/card", "images": ["3", 0]}, "_meta": {"title": "Save"}}
    })
}

fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A PNG with texts under names.
fn png(texts: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 1, 1);
    encoder.set_color(png::ColorType::Grayscale);
    for (name, text) in texts {
        encoder
            .add_text_chunk((*name).to_owned(), (*text).to_owned())
            .unwrap();
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0]).unwrap();
    writer.finish().unwrap();
    out
}

const EMBEDDED: [&str; 2] = ["--server", "embedded"];

fn import(project: &Project, args: &[&str], code: i32) -> crate::support::Done {
    let args = [&["import"], args, &EMBEDDED].concat();
    project.kiln(&args).code(code)
}

fn written(project: &Project, name: &str) -> Value {
    let text = std::fs::read_to_string(project.path().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_drawing_becomes_what_the_editor_sends_and_what_was_left_out_is_told() {
    let project = Project::of(&[("card.json", &text(&drawing()))]);
    let done = import(&project, &["card.json", "-o", "api.json"], 0);
    assert_eq!(written(&project, "api.json"), sent());
    assert_eq!(done.stdout, "api.json\n");
    insta::assert_snapshot!(done.stderr);
    // Without a place, the graph itself is what is printed.
    let done = import(&project, &["card.json"], 0);
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap(), sent());
}

#[test]
fn pictures_stdin_and_other_encodings_give_the_same_graph() {
    let drawn = drawing().to_string();
    let project = Project::new();
    project.file("pic.png", png(&[("workflow", &drawn)]));
    project.file(
        "ran.bin",
        png(&[("workflow", "{}"), ("prompt", &sent().to_string())]),
    );
    let wide: Vec<u8> = format!("\u{feff}{drawn}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    project.file("wide.json", wide);
    project.file(
        "request.json",
        json!({"prompt": sent(), "client_id": "x"}).to_string(),
    );
    let files = ["pic.png", "ran.bin", "wide.json", "request.json"];
    let done = import(&project, &[&files[..], &["--out-dir", "out"]].concat(), 0);
    assert_eq!(done.stdout.lines().count(), 4);
    for name in ["pic", "ran", "wide", "request"] {
        assert_eq!(
            written(&project, &format!("out/{name}.json")),
            sent(),
            "{name}"
        );
    }
    let mut child = project
        .command(&["import", "-", "-o", "-", "--server", "embedded"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let picture = png(&[("workflow", &drawn)]);
    child.stdin.take().unwrap().write_all(&picture).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&out.stdout).unwrap(),
        sent()
    );
}

/// One good file among bad ones.
fn all_kinds() -> Project {
    let mut stranger = drawing();
    stranger["nodes"][2]["type"] = json!("FancyBlur");
    stranger["nodes"][2]["title"] = json!("Soft");
    let mut looped = drawing();
    looped["nodes"][2]["type"] = json!("loop");
    looped["definitions"] = json!({"subgraphs": [{"id": "loop", "name": "Loop", "inputs": [], "outputs": [], "links": [], "nodes": [{"id": 1, "type": "loop"}]}]});
    let deep = format!("{{\"nodes\":{}", "[".repeat(100_000));
    let project = Project::of(&[
        ("cut.json", &text(&drawing())[..200]),
        ("deep.json", &deep),
        ("good.json", &text(&drawing())),
        ("looped.json", &text(&looped)),
        ("stranger.json", &text(&stranger)),
        ("words.txt", "hello"),
    ]);
    project.file("plain.png", png(&[]));
    project.file(
        "cut.png",
        &png(&[("workflow", &drawing().to_string())])[..60],
    );
    project.file("other.png", png(&[("parameters", "a cat\nSteps: 20")]));
    project.file("bytes.bin", [0, 1, 2, 3, 0, 0, 9, 9]);
    project.file("latin.json", b"{\"a\": \"\xe4\"}");
    project.file("again/good.json", text(&drawing()));
    project
}

#[test]
fn one_bad_file_never_stops_the_rest() {
    let project = all_kinds();
    let files = [
        "cut.json",
        "deep.json",
        "looped.json",
        "stranger.json",
        "words.txt",
        "plain.png",
        "cut.png",
        "other.png",
        "bytes.bin",
        "latin.json",
        "none.json",
        "good.json",
        "again/good.json",
        ".",
    ];
    let done = import(&project, &[&files[..], &["--out-dir", "out"]].concat(), 3);
    assert_eq!(written(&project, "out/good.json"), sent());
    assert!(!project.path().join("out/looped.json").exists());
    insta::assert_snapshot!(settled(&done.stderr, project.path()));
    let json = import(
        &project,
        &[&files[..], &["--out-dir", "other", "--output", "json"]].concat(),
        3,
    );
    let lines = json.json_lines();
    let ok: Vec<&str> = lines
        .iter()
        .filter(|l| l["ok"] == true)
        .map(|l| l["file"].as_str().unwrap())
        .collect();
    assert_eq!((lines.len(), ok), (files.len(), vec!["good.json"]));
    let about = lines.iter().find(|l| l["file"] == "stranger.json").unwrap();
    let missing = &about["diagnostics"][0];
    assert_eq!(
        (
            &missing["kind"],
            &missing["node"],
            &missing["class_type"],
            &missing["line"]
        ),
        (
            &json!("missing_node_type"),
            &json!("3"),
            &json!("FancyBlur"),
            &json!(53)
        )
    );
    assert_eq!(about["out"], "other/stranger.json");
}

#[test]
fn a_file_that_is_far_too_long_is_not_read() {
    let project = Project::new();
    let file = std::fs::File::create(project.path().join("long.json")).unwrap();
    (&file).write_all(b"{\"nodes\": [").unwrap();
    file.set_len(50 << 20).unwrap();
    let done = import(&project, &["long.json"], 3);
    insta::assert_snapshot!(done.stderr);
}

#[test]
fn nothing_that_is_read_or_was_just_written_is_replaced() {
    let project = Project::of(&[
        ("a.json", &text(&drawing())),
        ("b/a.json", &text(&drawing())),
    ]);
    let done = import(&project, &["a.json", "--out-dir", "."], 3);
    insta::assert_snapshot!(done.stderr);
    assert_eq!(written(&project, "a.json"), drawing());
    let done = import(&project, &["a.json", "b/a.json", "--out-dir", "out"], 3);
    insta::assert_snapshot!(done.stderr);
    import(&project, &["a.json", "b/a.json"], 2);
}

#[test]
fn drawings_and_pictures_run_as_they_are_and_in_pipelines() {
    let project = Project::of(&[("card.json", &text(&drawing()))]);
    project.file("pic.png", png(&[("workflow", &drawing().to_string())]));
    project.file(
        "p.yaml",
        "params: { size: { type: integer, default: 32 } }\nsteps:\n  a:\n    workflow: card.json\n    set: { Card: { width: \"{{ params.size }}\" } }\n    save_as: a\n  b:\n    workflow: pic.png\n    set: { Blur Image: { sigma: 2.5 } }\n    save_as: b\n",
    );
    project
        .kiln(&["check", "p.yaml", "card.json", "pic.png"])
        .ok();
    let done = project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(done.stdout.lines().count(), 2);
    let size = |name: &str| {
        image::image_dimensions(project.path().join("outputs/p/latest").join(name)).unwrap()
    };
    assert_eq!((size("a/a.png"), size("b/b.png")), ((32, 48), (64, 48)));
    // What kiln's own server saves carries what ran, and runs again.
    let first = done.stdout.lines().find(|l| l.ends_with("a.png")).unwrap();
    let again = project
        .kiln(&["run", first, "--set", "Card.height=20"])
        .ok();
    let picture = again.stdout.lines().next().unwrap();
    assert_eq!(
        image::image_dimensions(project.path().join(picture)).unwrap(),
        (32, 20)
    );
}

#[test]
fn a_mistake_in_a_drawing_is_shown_where_it_stands_in_it() {
    let mut wrong = drawing();
    wrong["nodes"][2]["widgets_values"][1] = json!(99.5);
    let project = Project::of(&[("card.json", &text(&wrong))]);
    project.file("p.yaml", "steps:\n  a:\n    workflow: card.json\n");
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    insta::assert_snapshot!(done.stderr);
}

#[test]
fn a_drawing_is_converted_by_the_definitions_of_its_own_server() {
    let server = Server::start(&["--simulate"]);
    let project = Project::of(&[("card.json", &text(&drawing()))]);
    project.file(
        "p.yaml",
        format!(
            "server: {}\nsteps:\n  a:\n    workflow: card.json\n",
            server.url
        ),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    let gone = "server: http://127.0.0.1:9\nsteps:\n  a:\n    workflow: card.json\n";
    project.file("p.yaml", gone);
    let done = project.kiln(&["check", "p.yaml"]);
    assert_eq!(done.code, 3);
    done.says("error[K0118]: a workflow in the editor's format can only be read with the node definitions of its server");
}

#[test]
fn a_new_pipeline_around_a_picture_has_params_and_runs() {
    let graph = json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a teapot, \"blue\"", "clip": ["1", 1]}, "_meta": {"title": "CLIP Text Encode (Prompt)"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["1", 1]}, "_meta": {"title": "CLIP Text Encode (Prompt)"}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"filename_prefix": "new", "images": ["6", 0]}}
    });
    let project = Project::new();
    project.file("found.png", png(&[("prompt", &graph.to_string())]));
    project.file(
        "kiln.yaml",
        "servers:\n  sketch: { kind: embedded, simulate: true }\n",
    );
    let done = project
        .kiln(&["new", "teapot", "--from", "found.png", "--server", "sketch"])
        .ok();
    insta::assert_snapshot!(done.stderr);
    let pipeline = std::fs::read_to_string(project.path().join("teapot.yaml")).unwrap();
    insta::assert_snapshot!(pipeline);
    project.kiln(&["check", "teapot.yaml"]).ok();
    let done = project
        .kiln(&["run", "teapot.yaml", "-p", "width=96", "-p", "prompt=a cup"])
        .ok();
    let picture = done.stdout.lines().next().unwrap();
    assert_eq!(
        image::image_dimensions(project.path().join(picture)).unwrap(),
        (96, 48)
    );
    let ran = workflow_of(&project, picture);
    assert_eq!(ran["2"]["inputs"]["text"], "a cup");
    assert_eq!(ran["3"]["inputs"]["text"], "text, watermark");
}

/// What a picture says it was made by.
fn workflow_of(project: &Project, picture: &str) -> Value {
    let done = project
        .kiln(&["import", picture, "--server", "embedded"])
        .ok();
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn a_new_pipeline_around_a_drawing_passes_its_check_and_runs() {
    let project = Project::of(&[("card.json", &text(&drawing()))]);
    project
        .kiln(&["new", "card", "--from", "card.json", "--server", "embedded"])
        .ok();
    project.kiln(&["check", "card.yaml"]).ok();
    let done = project.kiln(&["run", "card.yaml", "-p", "width=33"]).ok();
    let picture = done.stdout.lines().next().unwrap();
    assert_eq!(
        image::image_dimensions(project.path().join(picture)).unwrap(),
        (33, 48)
    );
}

/// A height of 0 has a meaning of its own to `ImageScale`, and is what its definition allows.
#[test]
fn a_new_pipeline_refuses_nothing_that_its_workflow_says() {
    let graph = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "bilinear", "width": 32, "height": 0, "crop": "disabled"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    });
    let project = Project::of(&[("found.json", &text(&graph))]);
    project
        .kiln(&[
            "new",
            "scaled",
            "--from",
            "found.json",
            "--server",
            "embedded",
        ])
        .ok();
    let pipeline = std::fs::read_to_string(project.path().join("scaled.yaml")).unwrap();
    assert!(pipeline.contains("default: 0, minimum: 0"), "{pipeline}");
    assert!(pipeline.contains("default: 48, minimum: 1"), "{pipeline}");
    project.kiln(&["check", "scaled.yaml"]).ok();
    let done = project.kiln(&["run", "scaled.yaml"]).ok();
    let picture = done.stdout.lines().next().unwrap();
    assert_eq!(
        image::image_dimensions(project.path().join(picture)).unwrap(),
        (32, 24)
    );
}

#[test]
fn graphs_with_more_than_nodes_in_them_are_read() {
    let project = Project::of(&[
        (
            "nan.json",
            "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 64, \"x\": NaN}}}",
        ),
        (
            "more.json",
            "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {}},\n \"extra\": {\"a\": 1}, \"version\": 0.4, \"_meta\": {}}",
        ),
        (
            "request.json",
            "{\"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {}}, \"extra\": 1}}",
        ),
        ("none.json", "{\"a\": {\"b\": 1}, \"version\": 1}"),
    ]);
    import(&project, &["nan.json", "-o", "nan.out"], 0);
    assert_eq!(written(&project, "nan.out")["1"]["inputs"]["x"], "NaN");
    let done = import(&project, &["more.json", "-o", "more.out"], 0);
    for name in ["extra", "version", "_meta"] {
        done.says(&format!("`{name}` is no node, and left out"));
    }
    let alone = json!({"1": {"class_type": "EmptyImage", "inputs": {}}});
    assert_eq!(written(&project, "more.out"), alone);
    import(&project, &["request.json", "-o", "request.out"], 0);
    assert_eq!(written(&project, "request.out"), alone);
    import(&project, &["none.json", "-o", "none.out"], 3).says("nothing in it is a node");
    // A server takes each of them for a node.
    let done = project.kiln(&["check", "--server", "embedded", "more.json"]);
    done.code(3)
        .says("if this is none, remove it; `kiln import` takes out what is no node");
}

#[test]
fn a_report_and_a_graph_never_share_stdout() {
    let project = Project::of(&[("card.json", &text(&drawing()))]);
    for args in [
        &["import", "card.json", "--output", "json"][..],
        &["import", "card.json", "--output", "json", "-o", "-"],
    ] {
        let done = finish(&mut project.command(args)).code(2);
        done.says("with --output json stdout is for the report");
        assert_eq!(done.stdout, "");
    }
    let done = import(
        &project,
        &["card.json", "--output", "json", "-o", "c.json"],
        0,
    );
    assert_eq!(done.stdout.lines().count(), 1);
}

#[test]
fn a_new_pipeline_without_a_workflow_runs_at_once() {
    let project = Project::new();
    project.kiln(&["new", "hello"]).ok();
    project.kiln(&["check", "hello.yaml"]).ok();
    project.kiln(&["run", "hello.yaml", "-p", "width=64"]).ok();
}

#[test]
fn a_new_pipeline_overwrites_nothing() {
    let project = Project::of(&[("workflows/hello.json", "mine")]);
    let done = project.kiln(&["new", "hello"]).code(2);
    done.says("`workflows/hello.json` is there already");
    assert!(!project.path().join("hello.yaml").exists());
    for name in ["../up", "a/b", "", ".hidden"] {
        finish(&mut project.command(&["new", name])).code(2);
    }
}
