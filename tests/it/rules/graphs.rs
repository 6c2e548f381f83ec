//! What reaches the server: nodes addressed, values fitted, links, removals, bypasses, and templates inside workflow files.

use serde_json::{Value, json};

use super::{card, latest, names, picture, png, project, record, run, text};

/// Two pictures laid over each other where a mask allows.
fn composite() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}, "_meta": {"title": "Black"}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0x00ff_ffff}, "_meta": {"title": "White"}},
        "3": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 8, "height": 8}, "_meta": {"title": "Mask"}},
        "4": {"class_type": "ImageCompositeMasked", "inputs": {"destination": ["1", 0], "source": ["2", 0], "x": 0, "y": 0, "resize_source": false, "mask": ["3", 0]}, "_meta": {"title": "Lay Over"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "x"}, "_meta": {"title": "Save"}}
    })
}

fn colour(project: &crate::support::Project, step: &str) -> [u8; 3] {
    let folder = latest(project).join(step);
    picture(&folder.join(&names(&folder)[0])).get_pixel(0, 0).0
}

#[test]
fn null_removes_an_input_also_from_a_template() {
    let project = project(
        r#"params: { mask: { type: number, default: null } }
steps:
  masked: { workflow: composite.json }
  open: { workflow: composite.json, set: { Lay Over: { mask: null } } }
  template: { workflow: composite.json, set: { Lay Over: { mask: "{{ params.mask }}" } } }
  filled: { workflow: composite.json, set: { Lay Over: { mask: [Mask, 0] }, Mask: { value: 1 } } }
"#,
    );
    project.file("composite.json", composite().to_string());
    run(&project, &[], 0);
    assert_eq!(
        colour(&project, "masked"),
        [0; 3],
        "the mask lets nothing through"
    );
    assert_eq!(colour(&project, "open"), [255; 3]);
    assert_eq!(colour(&project, "template"), [255; 3]);
    assert_eq!(colour(&project, "filled"), [255; 3]);
    let sent = &record(&project, "open")["graph"]["4"]["inputs"];
    assert!(sent.get("mask").is_none(), "{sent}");
    // `null` typed on the command line is the same.
    run(&project, &["--set", "masked.Lay Over.mask=null"], 0);
    assert_eq!(colour(&project, "masked"), [255; 3]);
}

#[test]
fn an_id_wins_over_a_title_and_a_title_over_a_class() {
    let words = |title: &str| json!({"class_type": "StringConcatenate", "inputs": {"string_a": "a", "string_b": "b", "delimiter": "-"}, "_meta": {"title": title}});
    let workflow = json!({
        "1": words("StringConcatenate"),
        "2": words("1"),
        "7": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}, "_meta": {"title": "First"}},
        "8": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}, "_meta": {"title": "Second"}}
    });
    let project = project(
        r#"steps:
  id: { workflow: two.json, set: { "1": { string_a: ID } } }
  title: { workflow: two.json, set: { StringConcatenate: { string_a: TITLE } } }
  class: { workflow: words.json, set: { StringConcatenate: { string_a: CLASS } } }
  link: { workflow: two.json, set: { First: { source: ["2", 0] }, "2": { string_b: linked } }, outputs: { it: First } }
  told: { command: [echo, "{{ steps.id.texts | join('|') }} {{ steps.title.texts | join('|') }} {{ steps.class.text }} {{ steps.link.outputs.it.text }}"] }
"#,
    );
    project.file("two.json", workflow.to_string());
    let events = run(&project, &[], 0);
    assert_eq!(
        text(&events, "told"),
        "ID-b|a-b TITLE-b|a-b CLASS-b a-linked"
    );
    project.file(
        "p.yaml",
        "steps:\n  many: { workflow: two.json, set: { PreviewAny: { source: x } } }\n",
    );
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    for part in ["error[K0115]", "7", "8"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
}

#[test]
fn values_are_fitted_to_the_declared_type_and_those_of_the_file_left_alone() {
    let mut workflow = composite();
    workflow["1"]["inputs"]["width"] = json!("8");
    let project = project(
        r#"steps:
  a:
    workflow: w.json
    set:
      White: { width: "8", color: "{{ '255' }}" }
      Mask: { value: "1.0" }
      Lay Over: { resize_source: "true", x: 0.0 }
      Save: { filename_prefix: 12 }
"#,
    );
    project.file("w.json", workflow.to_string());
    run(&project, &[], 0);
    let sent = &record(&project, "a")["graph"];
    assert_eq!(sent["1"]["inputs"]["width"], "8", "as the file says");
    assert_eq!(sent["2"]["inputs"]["width"], 8);
    assert_eq!(sent["2"]["inputs"]["color"], 255);
    assert_eq!(sent["3"]["inputs"]["value"], 1.0);
    assert_eq!(sent["4"]["inputs"]["resize_source"], true);
    assert_eq!(sent["9"]["inputs"]["filename_prefix"], "12");
    assert_eq!(colour(&project, "a"), [0, 0, 255]);
    for (input, value) in [("resize_source", "maybe"), ("x", "1.5"), ("x", "many")] {
        let flag = format!("a.Lay Over.{input}={value}");
        let refused = project.kiln(&["run", "p.yaml", "--set", &flag]).code(2);
        assert!(refused.stderr.contains(value), "{}", refused.stderr);
    }
}

#[test]
fn two_members_written_in_yaml_are_a_link_and_every_other_list_is_a_value() {
    let workflow = json!({
        "1": {"class_type": "SomeNode", "inputs": {"list": 0, "made": 0, "pair": 0, "link": 0}, "_meta": {"title": "Node"}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}, "_meta": {"title": "Blank"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    });
    let project = project(
        r#"server: sketch
steps:
  a:
    workflow: w.json
    set:
      Node: { list: [1, 2, 3], made: "{{ [1, 2] }}", pair: "{{ ['2', 0] }}", link: [Blank, 0] }
"#,
    );
    project.file("w.json", workflow.to_string());
    project.file(
        "kiln.yaml",
        "servers: { sketch: { kind: embedded, simulate: true } }\n",
    );
    run(&project, &[], 0);
    let sent = &record(&project, "a")["graph"]["1"]["inputs"];
    assert_eq!(sent["list"], json!({"__value__": [1, 2, 3]}));
    assert_eq!(sent["made"], json!({"__value__": [1, 2]}));
    assert_eq!(sent["pair"], json!({"__value__": ["2", 0]}));
    assert_eq!(sent["link"], json!(["2", 0]));
}

#[test]
fn nodes_are_bypassed_removed_and_extended() {
    let workflow = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}, "_meta": {"title": "Card"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}, "_meta": {"title": "Invert"}},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}, "_meta": {"title": "Again"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}, "_meta": {"title": "Save"}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "y"}, "_meta": {"title": "Other"}}
    });
    let project = project(
        r#"steps:
  once: { workflow: w.json, set: { Again: bypass, Other: null } }
  never: { workflow: w.json, set: { Again: bypass, Invert: bypass, Other: null } }
  both: { workflow: w.json, save_as: "{{ file.name }}" }
  one: { workflow: w.json, outputs: { other: Other } }
  value: { workflow: w.json, outputs: { a: Save }, set: { Card: { color: "{{ value * 256 }}" }, Again: bypass, Invert: bypass } }
"#,
    );
    project.file("w.json", workflow.to_string());
    run(&project, &[], 0);
    assert_eq!(colour(&project, "once"), [255, 255, 0]);
    assert_eq!(colour(&project, "never"), [0, 0, 255]);
    assert_eq!(
        colour(&project, "value"),
        [0, 255, 0],
        "`value` is what the file says"
    );
    assert_eq!(names(&latest(&project).join("both")).len(), 2);
    let one = record(&project, "one");
    assert_eq!(
        (&one["node"], &one["output"]),
        (&json!("10"), &json!("other"))
    );
}

#[test]
fn texts_of_a_workflow_file_are_templates_one_by_one() {
    let workflow = json!({
        "1": {"class_type": "StringConcatenate", "inputs": {"string_a": "{{ params.subject }}, {# kept #} {a|b}", "string_b": "{{ matrix.i }}{% if matrix.i > 1 %}!{% else %}?{% endif %}", "delimiter": "{{ params.none }}"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}, "_meta": {"title": "{{ not a template }}"}}
    });
    let project = project(
        r#"params: { subject: { type: string, default: a fox }, none: { type: string, default: " " } }
steps:
  say: { workflow: w.json, matrix: { i: [1, 2] } }
  plain: { workflow: w.json, template: false }
"#,
    );
    project.file("w.json", workflow.to_string());
    let events = run(&project, &[], 0);
    assert_eq!(text(&events, "say[i=1]"), "a fox, {# kept #} {a|b} 1?");
    assert_eq!(text(&events, "say[i=2]"), "a fox, {# kept #} {a|b} 2!");
    let plain = "{{ params.subject }}, {# kept #} {a|b}{{ params.none }}{{ matrix.i }}{% if matrix.i > 1 %}!{% else %}?{% endif %}";
    assert_eq!(text(&events, "plain"), plain);
    // By itself, a workflow is what it is.
    let bare = project.kiln(&["run", "w.json", "--output", "json"]).ok();
    assert_eq!(text(&super::events(&bare), "w"), plain);
}

#[test]
fn braces_of_a_prompt_are_told_of_the_way_out() {
    let mut workflow = super::words();
    workflow["1"]["inputs"]["string_a"] = json!("a {{red|green} hat|cap}");
    let project = project("steps:\n  a: { workflow: w.json }\n");
    project.file("w.json", workflow.to_string());
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    assert!(refused.stderr.contains("w.json:1:"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("`template: false`"),
        "{}",
        refused.stderr
    );
    project.file(
        "p.yaml",
        "steps:\n  a: { workflow: w.json, template: false }\n",
    );
    let events = run(&project, &[], 0);
    assert_eq!(text(&events, "a"), "a {{red|green} hat|cap}-b");
}

#[test]
fn a_text_that_is_rendered_first_may_make_any_number_of_nodes() {
    let project = project(
        r#"params: { colours: { type: list, items: integer, default: [255, 65280] } }
steps:
  draw: { workflow: cards.json.j2, save_as: "{{ file.index }}" }
"#,
    );
    project.file(
        "cards.json.j2",
        r#"{ {% for colour in params.colours %}
  "{{ loop.index }}": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": {{ colour }}}},
  "save{{ loop.index }}": {"class_type": "SaveImage", "inputs": {"images": ["{{ loop.index }}", 0], "filename_prefix": "{{ '{{ as it is }}' }}"}}{{ "," if not loop.last else "" }}
{% endfor %} }"#,
    );
    run(&project, &[], 0);
    let colours = |count: usize| -> Vec<[u8; 3]> {
        let folder = latest(&project).join("draw");
        let all = names(&folder);
        assert_eq!(all.len(), count, "{all:?}");
        let first = |name: &String| picture(&folder.join(name)).get_pixel(0, 0).0;
        all.iter().map(first).collect()
    };
    assert_eq!(colours(2), [[0, 0, 255], [0, 255, 0]]);
    run(&project, &["-p", "colours=[16711680,0,16777215]"], 0);
    assert_eq!(colours(3), [[255, 0, 0], [0; 3], [255; 3]]);
    let first = latest(&project).join("draw/0.png.kiln.json");
    let record: Value = serde_json::from_slice(&std::fs::read(first).unwrap()).unwrap();
    let prefix = &record["graph"]["save1"]["inputs"]["filename_prefix"];
    assert_eq!(prefix, "{{ as it is }}", "it is rendered once");

    // What is wrong with the text that came out is shown in it.
    let refused = project.kiln(&["run", "p.yaml", "-p", "colours=[]"]);
    assert_ne!(refused.code, 0, "{}", refused.stderr);
    project.file("cards.json.j2", "{ \"1\": {{ params.colours }} \"2\" }");
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    for part in [
        "cards.json.j2 (rendered):1:",
        "[255,65280] \"2\"",
        "the text that the template",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
}

#[test]
fn a_text_is_a_servers_file_and_a_file_is_uploaded_once() {
    let mut load = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Photo"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Same"}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "b"}}
    });
    let project = project(
        r#"params: { photo: { type: file, default: red.png } }
steps:
  both: { workflow: load.json, set: { Photo: { image: "{{ params.photo }}" }, Same: { image: "{{ file('copy.png') }}" } }, save_as: "{{ file.name }}" }
  made: { workflow: one.json, set: { Photo: { image: "{{ steps.both.images[0] }}" } } }
  sent: { workflow: one.json, transfer: upload, set: { Photo: { image: "{{ steps.both.images[0] }}" }, "8": { filename_prefix: sent } } }
"#,
    );
    project.file("load.json", load.to_string());
    load.as_object_mut().unwrap().remove("2");
    load.as_object_mut().unwrap().remove("9");
    project.file("one.json", load.to_string());
    project.file("red.png", png(8, 8, [255, 0, 0]));
    project.file("copy.png", png(8, 8, [255, 0, 0]));
    let events = run(&project, &[], 0);
    let uploads = |task: &str| {
        let all = events.iter().filter(|e| e["event"] == "task_uploaded");
        all.filter(|e| e["task"] == task).count()
    };
    assert_eq!(uploads("both"), 1, "equal files are one");
    assert_eq!(uploads("made"), 0, "a result stays where it is");
    assert_eq!(uploads("sent"), 1, "unless it must not");
    for step in ["both", "made", "sent"] {
        assert_eq!(colour(&project, step), [255, 0, 0], "{step}");
    }
    let sent = |step: &str| {
        let folder = latest(&project).join(step);
        let name = format!("{}.kiln.json", names(&folder)[0]);
        let record: Value =
            serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        record["graph"]["1"]["inputs"]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(sent("made").ends_with(" [output]"), "{}", sent("made"));
    assert!(sent("sent").starts_with("kiln/"), "{}", sent("sent"));
    assert!(sent("both").starts_with("kiln/"), "{}", sent("both"));
}

#[test]
fn the_longest_name_of_a_node_is_the_one_that_set_means() {
    let mut workflow = card();
    workflow["1"]["_meta"]["title"] = json!("Card");
    workflow["2"] = workflow["1"].clone();
    workflow["2"]["_meta"]["title"] = json!("Card.big");
    workflow["8"] = json!({"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "big"}});
    let project = project("");
    project.file("w.json", workflow.to_string());
    project
        .kiln(&[
            "run",
            "w.json",
            "--set",
            "Card.width=16",
            "--set",
            "Card.big.width=32",
        ])
        .ok();
    let folder = project.path().join("outputs/w/latest/w");
    let width = |name: &str| picture(&folder.join(name)).width();
    assert_eq!(
        (width("card_00001_.png"), width("big_00001_.png")),
        (16, 32)
    );
}
