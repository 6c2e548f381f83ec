//! Conversions, case by case: what other converters get wrong, and what the editor itself sends.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values made by `json!` are handed over"
)]

use serde_json::{Value, json};

use super::{Imported, Lost, What, drawn};
use crate::catalog::Catalog;

mod bypassed;
mod hostile;
mod mutations;
mod sheets;

fn catalog() -> Catalog {
    let info = json!({
        "Load": {"input": {"required": {"image": [["a.png", "sub/B.png"], {"image_upload": true}]}}, "output": ["IMAGE", "MASK"], "display_name": "Load a Picture"},
        "LoadImageOutput": {"input": {"required": {"image": ["COMBO", {"remote": {"route": "/x"}, "image_upload": true}]}}, "output": ["IMAGE", "MASK"]},
        "Save": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "kiln"}]}, "optional": {"mask": ["MASK"]}}, "output": [], "output_node": true},
        "Sampler": {"input": {
            "required": {"model": ["MODEL"], "seed": ["INT", {"default": 0, "control_after_generate": true}], "steps": ["INT", {"default": 20}], "name": [["euler", "dpm"]]},
            "optional": {"denoise": ["FLOAT", {"default": 1.0}]}}, "output": ["LATENT"]},
        "Texts": {"input": {"required": {"a": ["STRING", {"multiline": true}], "b": ["STRING", {}]}, "optional": {"c": ["STRING", {"forceInput": true}], "d": ["INT", {"socketless": true, "default": 4}]}}, "output": ["STRING"]},
        "Prompt": {"input": {"required": {"text": ["STRING", {"multiline": true, "dynamicPrompts": true}]}}, "output": ["CONDITIONING"]},
        "Invert": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["IMAGE"]},
        "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "kiln"}]}}, "output": [], "output_node": true},
        "ToMask": {"input": {"required": {"image": ["IMAGE"], "channel": [["red", "green"]]}}, "output": ["MASK"]},
        "Blend": {"input": {"required": {"one": ["IMAGE"], "two": ["IMAGE"], "factor": ["FLOAT", {"default": 0.5}]}, "optional": {"mask": ["MASK"]}}, "output": ["IMAGE"]},
        "Curves": {"input": {"required": {"curve": ["CURVE", {}], "amount": ["FLOAT", {}], "list": ["COMBO", {"options": ["x", "y"], "multiselect": true}]}}, "output": ["IMAGE"]},
        "Format": {"input": {"required": {
            "format": ["COMFY_DYNAMICCOMBO_V3", {"options": [
                {"key": "png", "inputs": {"required": {"bits": ["INT", {"default": 8}]}}},
                {"key": "jpg", "inputs": {"required": {"quality": ["INT", {"default": 90}], "seed": ["INT", {"control_after_generate": true}]}}}]}],
            "after": ["STRING", {}],
            "images": ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 5}}]}}, "output": ["IMAGE"]},
    });
    let (catalog, warnings) = Catalog::from_object_info(&info);
    assert_eq!(warnings, Vec::<String>::new());
    catalog
}

fn imported(file: Value) -> Imported {
    drawn(&file.to_string())
        .expect("it has nodes")
        .convert(&catalog(), 0)
}

/// The inputs of a node in the result.
fn inputs(imported: &Imported, id: &str) -> Value {
    Value::Object(imported.graph.nodes[id].inputs.clone())
}

fn node(id: u64, class: &str, values: Value, inputs: Value) -> Value {
    json!({"id": id, "type": class, "mode": 0, "inputs": inputs, "outputs": [{"name": "o", "type": "IMAGE"}], "widgets_values": values})
}

fn socket(name: &str, ty: &str, link: Value) -> Value {
    json!({"name": name, "type": ty, "link": link})
}

fn field(name: &str, ty: &str, link: Value) -> Value {
    json!({"name": name, "type": ty, "link": link, "widget": {"name": name}})
}

fn file(nodes: Value, links: Value) -> Value {
    json!({"last_node_id": 90, "last_link_id": 90, "nodes": nodes, "links": links, "version": 0.4})
}

#[test]
fn row_1_a_primitive_wins_over_the_stale_value_of_its_target() {
    let done = imported(file(
        json!([
            {"id": 1, "type": "PrimitiveNode", "outputs": [{"type": "INT", "links": [1]}], "widgets_values": [999, "fixed"]},
            node(2, "Sampler", json!([5, "randomize", 20, "euler"]), json!([field("seed", "INT", json!(1))])),
        ]),
        json!([[1, 1, 0, 2, 0, "INT"]]),
    ));
    assert_eq!(inputs(&done, "2")["seed"], 999);
    assert_eq!(inputs(&done, "2")["steps"], 20);
    assert_eq!(done.graph.nodes.len(), 1);
    assert_eq!(
        done.places.of("2", Some("seed")),
        Some("/nodes/0/widgets_values/0")
    );
}

#[test]
fn row_2_a_loader_of_outputs_is_a_node_of_the_servers() {
    let done = imported(file(
        json!([
            node(
                1,
                "LoadImageOutput",
                json!(["x.png [output]", "refresh", "image"]),
                json!([])
            ),
            node(
                2,
                "Save",
                json!(["p"]),
                json!([socket("images", "IMAGE", json!(1))])
            ),
        ]),
        json!([[1, 1, 0, 2, 0, "IMAGE"]]),
    ));
    assert_eq!(inputs(&done, "1"), json!({"image": "x.png [output]"}));
    assert_eq!(
        inputs(&done, "2"),
        json!({"filename_prefix": "p", "images": ["1", 0]})
    );
}

#[test]
fn row_3_one_object_among_plain_values_leaves_them_as_they_are() {
    let curve = json!({"points": [[0, 1]]});
    let done = imported(file(
        json!([node(1, "Curves", json!([curve, 0.25, ["y"]]), json!([]))]),
        json!([]),
    ));
    assert_eq!(
        inputs(&done, "1"),
        json!({"curve": curve, "amount": 0.25, "list": {"__value__": ["y"]}})
    );
}

#[test]
fn row_4_a_bypassed_node_never_gives_a_picture_for_a_mask() {
    let done = imported(file(
        json!([
            node(1, "Load", json!(["a.png", "image"]), json!([])),
            {"id": 2, "type": "ToMask", "mode": 4, "inputs": [socket("image", "IMAGE", json!(1))], "outputs": [{"type": "MASK"}], "widgets_values": ["red"]},
            node(3, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(2)), socket("mask", "MASK", json!(3))])),
        ]),
        json!([
            [1, 1, 0, 2, 0, "IMAGE"],
            [2, 1, 0, 3, 0, "IMAGE"],
            [3, 2, 0, 3, 1, "MASK"]
        ]),
    ));
    assert_eq!(
        inputs(&done, "3"),
        json!({"filename_prefix": "p", "images": ["1", 0]})
    );
    let lost = What::InputLost {
        input: "mask".into(),
        source: "ToMask".into(),
        why: Lost::Bypassed,
    };
    assert!(done.notices.iter().any(|notice| notice.what == lost));
}

#[test]
fn row_5_values_by_name_win_over_a_list_with_holes() {
    let mut one = node(1, "Texts", json!([null, "AA", "BB"]), json!([]));
    one["widgets_values_named"] = json!({"a": "AA", "b": "BB"});
    let done = imported(file(json!([one]), json!([])));
    assert_eq!(inputs(&done, "1")["a"], "AA");
    assert_eq!(inputs(&done, "1")["b"], "BB");
    assert_eq!(
        done.places.of("1", Some("b")),
        Some("/nodes/0/widgets_values_named/b")
    );
}

#[test]
fn row_6_links_that_are_objects_connect_too() {
    let done = imported(json!({"version": 1, "state": {"lastNodeId": 2}, "nodes": [
            node(1, "Load", json!(["a.png", "image"]), json!([])),
            node(2, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(7))])),
        ], "links": [{"id": 7, "origin_id": 1, "origin_slot": 0, "target_id": 2, "target_slot": 0, "type": "IMAGE", "parentId": 3}]}));
    assert_eq!(inputs(&done, "2")["images"], json!(["1", 0]));
}

#[test]
fn row_7_nodes_of_the_editors_alone_are_not_sent() {
    let done = imported(file(
        json!([
            node(1, "Bookmark (rgthree)", json!(["1"]), json!([])),
            node(
                2,
                "Fast Groups Muter (rgthree)",
                json!([true]),
                json!([socket("x", "*", json!(1))])
            ),
            node(3, "Note", json!(["text"]), json!([])),
            node(4, "Load", json!(["a.png", "image"]), json!([])),
            node(5, "Nobody Knows", json!([]), json!([])),
        ]),
        json!([[1, 4, 0, 2, 0, "*"]]),
    ));
    let ids: Vec<&str> = done
        .graph
        .nodes
        .keys()
        .map(crate::base::NodeId::as_str)
        .collect();
    assert_eq!(ids, ["4"]);
    assert_eq!(done.notices.len(), 1);
    assert_eq!(done.notices[0].what, What::NotConnected);
}

#[test]
fn row_8_a_class_that_the_server_lacks_is_an_error_that_names_the_node() {
    let mut stranger = node(1, "Foreign", json!(["x", 3]), json!([]));
    stranger["title"] = json!("My Model");
    let done = imported(file(
        json!([
            stranger,
            node(
                2,
                "Save",
                json!(["p"]),
                json!([socket("images", "IMAGE", json!(1))])
            )
        ]),
        json!([[1, 1, 0, 2, 0, "IMAGE"]]),
    ));
    let notice = &done.notices[0];
    assert_eq!(notice.what, What::UnknownClass);
    assert!(notice.what.is_error());
    assert_eq!(
        (notice.name(), notice.node.as_deref()),
        ("My Model", Some("1"))
    );
    assert_eq!(notice.pointer, "/nodes/0");
    assert!(done.unknown.contains("1"));
    assert_eq!(inputs(&done, "1"), json!({"UNKNOWN": "x", "UNKNOWN_1": 3}));
}

#[test]
fn row_9_an_input_from_a_muted_node_goes_and_its_own_value_does_not_come_back() {
    let done = imported(file(
        json!([
            {"id": 1, "type": "Texts", "mode": 2, "outputs": [{"type": "STRING"}], "widgets_values": ["", ""]},
            node(2, "Texts", json!(["own", "b"]), json!([field("a", "STRING", json!(1))])),
        ]),
        json!([[1, 1, 0, 2, 0, "STRING"]]),
    ));
    assert_eq!(inputs(&done, "2"), json!({"b": "b", "d": 4}));
    let lost = What::InputLost {
        input: "a".into(),
        source: "Texts".into(),
        why: Lost::Muted,
    };
    assert!(done.notices.iter().any(|notice| notice.what == lost));
}

#[test]
fn row_10_a_text_that_is_a_word_of_the_editors_stays_a_text() {
    for word in ["fixed", "randomize", "increment"] {
        let done = imported(file(
            json!([node(1, "Texts", json!([word, "B"]), json!([]))]),
            json!([]),
        ));
        assert_eq!(inputs(&done, "1"), json!({"a": word, "b": "B", "d": 4}));
    }
    let without = node(1, "Sampler", json!([7, 30, "dpm", 0.5]), json!([]));
    let done = imported(file(json!([without]), json!([])));
    assert_eq!(
        inputs(&done, "1"),
        json!({"seed": 7, "steps": 30, "name": "dpm", "denoise": 0.5})
    );
}

#[test]
fn row_11_nodes_that_nothing_is_connected_to_are_sent() {
    let done = imported(file(
        json!([node(1, "Invert", json!([]), json!([]))]),
        json!([]),
    ));
    assert_eq!(inputs(&done, "1"), json!({}));
}

#[test]
fn row_15_connected_inputs_have_no_value_and_fields_without_a_socket_have_one() {
    let done = imported(file(
        json!([node(1, "Texts", json!(["A", "B", 9]), json!([]))]),
        json!([]),
    ));
    assert_eq!(inputs(&done, "1"), json!({"a": "A", "b": "B", "d": 9}));
    // Older editors kept a value for the connected one, too.
    let old = node(1, "Texts", json!(["A", "B", "stale", 9]), json!([]));
    let done = imported(file(json!([old]), json!([])));
    assert_eq!(inputs(&done, "1"), json!({"a": "A", "b": "B", "d": 9}));
}

#[test]
fn row_16_choices_are_found_in_any_case_and_with_any_slashes() {
    let done = imported(file(
        json!([node(1, "Load", json!(["SUB\\b.PNG", "image"]), json!([]))]),
        json!([]),
    ));
    assert_eq!(inputs(&done, "1")["image"], "sub/B.png");
    let done = imported(file(
        json!([node(
            1,
            "Load",
            json!(["elsewhere.png", "image"]),
            json!([])
        )]),
        json!([]),
    ));
    assert_eq!(
        inputs(&done, "1")["image"],
        "elsewhere.png",
        "a file that is not listed may be there all the same"
    );
}

#[test]
fn a_choice_brings_its_own_fields_and_their_controls() {
    let values = json!(["jpg", 80, 5, "fixed", "end"]);
    let done = imported(file(
        json!([
            node(1, "Load", json!(["a.png", "image"]), json!([])),
            node(
                2,
                "Format",
                values,
                json!([
                    socket("images.image0", "IMAGE", json!(1)),
                    socket("images.image1", "IMAGE", json!(null))
                ])
            ),
        ]),
        json!([[1, 1, 0, 2, 0, "IMAGE"]]),
    ));
    assert_eq!(
        inputs(&done, "2"),
        json!({"format": "jpg", "format.quality": 80, "format.seed": 5, "after": "end", "images.image0": ["1", 0]})
    );
}

#[test]
fn reroutes_and_named_connections_lead_to_where_they_come_from() {
    let done = imported(file(
        json!([
            node(1, "Load", json!(["a.png", "image"]), json!([])),
            node(2, "Reroute", json!(null), json!([socket("", "*", json!(1))])),
            {"id": 3, "type": "SetNode", "inputs": [socket("IMAGE", "IMAGE", json!(2))], "widgets_values": ["pic"]},
            {"id": 4, "type": "GetNode", "outputs": [{"type": "IMAGE"}], "widgets_values": ["pic"]},
            node(5, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(3))])),
        ]),
        json!([
            [1, 1, 0, 2, 0, "IMAGE"],
            [2, 2, 0, 3, 0, "IMAGE"],
            [3, 4, 0, 5, 0, "IMAGE"]
        ]),
    ));
    assert_eq!(inputs(&done, "5")["images"], json!(["1", 0]));
    assert_eq!(done.graph.nodes.len(), 2);
}

#[test]
fn connections_that_go_round_in_a_circle_end() {
    let done = imported(file(
        json!([
            node(
                1,
                "Reroute",
                json!(null),
                json!([socket("", "*", json!(2))])
            ),
            node(
                2,
                "Reroute",
                json!(null),
                json!([socket("", "*", json!(1))])
            ),
            node(
                3,
                "Save",
                json!(["p"]),
                json!([socket("images", "IMAGE", json!(3))])
            ),
        ]),
        json!([
            [1, 1, 0, 2, 0, "*"],
            [2, 2, 0, 1, 0, "*"],
            [3, 1, 0, 3, 0, "IMAGE"]
        ]),
    ));
    assert_eq!(inputs(&done, "3"), json!({"filename_prefix": "p"}));
    assert!(matches!(
        &done.notices[0].what,
        What::InputLost {
            why: Lost::Circle,
            ..
        }
    ));
}

#[test]
fn choices_in_texts_are_drawn_by_the_seed_and_told() {
    let text = "a {red|green|blue|black|white} car // not this";
    let one = json!({"nodes": [node(1, "Prompt", json!([text]), json!([]))], "links": []});
    let draw = |seed| {
        let done = drawn(&one.to_string()).unwrap().convert(&catalog(), seed);
        assert!(matches!(&done.notices[0].what, What::Drawn(_)));
        inputs(&done, "1")["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(draw(3), draw(3));
    let all: std::collections::BTreeSet<String> = (0..40).map(draw).collect();
    assert_eq!(all.len(), 5);
    assert!(all.contains("a red car "));
}

#[test]
fn names_of_files_are_filled_in_as_the_editor_does() {
    let prefix = |text: &str, class: &str| {
        let done = imported(file(
            json!([
                {"id": 1, "type": "PrimitiveNode", "outputs": [{"type": "INT"}], "widgets_values": [999, "fixed"]},
                {"id": 2, "type": "Sampler", "widgets_values": [5, "fixed", 20, "euler"], "inputs": [field("seed", "INT", json!(1))], "properties": {"Node name for S&R": "Sampler"}},
                {"id": 3, "type": "Texts", "title": "My: title", "widgets_values": ["a/b:c", "x"]},
                node(4, class, json!([text]), json!([])),
            ]),
            json!([[1, 1, 0, 2, 0, "INT"]]),
        ));
        let left = done
            .notices
            .iter()
            .filter(|n| matches!(n.what, What::NotFilled(_)));
        let left = left.count();
        (
            inputs(&done, "4")["filename_prefix"]
                .as_str()
                .unwrap()
                .to_owned(),
            left,
        )
    };
    let filled = |text: &str| prefix(text, "SaveImage");
    assert_eq!(
        filled("%Sampler.steps%_%Sampler.name%"),
        ("20_euler".to_owned(), 0)
    );
    assert_eq!(
        filled("%Sampler.seed%"),
        ("999".to_owned(), 0),
        "what the primitive says"
    );
    assert_eq!(filled("x/%My: title.a%"), ("x/a_b_c".to_owned(), 0));
    assert_eq!(
        filled("%date:yyyy-MM-dd%/%width%x%height%"),
        ("%year%-%month%-%day%/%width%x%height%".to_owned(), 0)
    );
    assert_eq!(
        filled("%Sampler.none%_%Nobody.seed%_%date:yy%_100%"),
        ("%Sampler.none%_%Nobody.seed%_%date:yy%_100%".to_owned(), 3)
    );
    assert_eq!(
        prefix("%Sampler.steps%", "Save"),
        ("%Sampler.steps%".to_owned(), 0)
    );
}

#[test]
fn values_by_name_keep_what_a_pack_declares_only_while_it_runs() {
    let values = json!({"a": "A", "crf": 19, "videopreview": {"hidden": false}});
    let done = imported(file(
        json!([node(1, "Texts", values, json!([]))]),
        json!([]),
    ));
    assert_eq!(
        inputs(&done, "1"),
        json!({"a": "A", "b": "", "d": 4, "crf": 19})
    );
}

#[test]
fn titles_are_kept_or_are_what_the_editor_shows() {
    let mut one = node(1, "Load", json!(["a.png", "image"]), json!([]));
    one["title"] = json!("Photo");
    let done = imported(file(
        json!([one, node(2, "Load", json!(["a.png", "image"]), json!([]))]),
        json!([]),
    ));
    assert_eq!(done.graph.nodes["1"].title(), Some("Photo"));
    assert_eq!(done.graph.nodes["2"].title(), Some("Load a Picture"));
}

#[test]
fn connections_that_a_pack_adds_everywhere_are_made() {
    let mut one = file(
        json!([
            node(1, "Load", json!(["a.png", "image"]), json!([])),
            node(
                2,
                "Anything Everywhere",
                json!([]),
                json!([socket("IMAGE", "IMAGE", json!(1))])
            ),
            node(
                3,
                "Save",
                json!(["p"]),
                json!([socket("images", "IMAGE", json!(null))])
            ),
        ]),
        json!([[1, 1, 0, 2, 0, "IMAGE"]]),
    );
    one["extra"] = json!({"ue_links": [{"downstream": 3, "downstream_slot": 0, "upstream": "1", "upstream_slot": 0, "controller": 2, "type": "IMAGE"}]});
    let done = imported(one);
    assert_eq!(inputs(&done, "3")["images"], json!(["1", 0]));
    assert_eq!(done.graph.nodes.len(), 2);
}

#[test]
fn a_workflow_under_its_name_keeps_the_places_of_the_whole_file() {
    let inner = file(
        json!([node(1, "Load", json!(["a.png", "image"]), json!([]))]),
        json!([]),
    );
    let done = imported(json!({"workflow": inner}));
    assert_eq!(
        done.places.of("1", Some("image")),
        Some("/workflow/nodes/0/widgets_values/0")
    );
}

#[test]
fn what_became_of_a_drawing_is_told_at_its_places() {
    let mut stranger = node(1, "Foreign", json!(["x"]), json!([]));
    stranger["title"] = json!("My Model");
    let file = file(
        json!([
            stranger,
            {"id": 2, "type": "Invert", "title": "Negative", "mode": 2, "inputs": [socket("image", "IMAGE", json!(1))], "outputs": [{"type": "IMAGE"}]},
            {"id": 3, "type": "Load", "mode": 4, "inputs": [], "outputs": [{"type": "IMAGE"}], "widgets_values": ["a.png"]},
            node(4, "Blend", json!([0.5]), json!([socket("one", "IMAGE", json!(2)), socket("two", "IMAGE", json!(3)), socket("mask", "MASK", json!(4))])),
            node(5, "Prompt", json!(["a {red|green} car"]), json!([])),
            node(6, "Nobody", json!([]), json!([])),
            {"id": 7},
            node(8, "workflow>Gone", json!([]), json!([])),
        ]),
        json!([
            [1, 1, 0, 2, 0, "IMAGE"],
            [2, 2, 0, 4, 0, "IMAGE"],
            [3, 3, 0, 4, 1, "IMAGE"],
            [4, 77, 0, 4, 2, "MASK"]
        ]),
    );
    let text = format!("{file:#}");
    let imported = drawn(&text).unwrap().convert(&catalog(), 0);
    let mut sources = crate::diagnostic::SourceMap::default();
    let id = sources.add_text("w.json", &text);
    let report = imported.report(id, &sources);
    insta::assert_snapshot!(crate::diagnostic::render_human(&report, &sources));
    assert_eq!(imported.refusals(id, &sources).items.len(), 2);
}

#[test]
fn a_file_in_which_nothing_runs_says_so() {
    let done = imported(file(
        json!([node(1, "Note", json!(["x"]), json!([]))]),
        json!([]),
    ));
    assert_eq!(done.notices[0].what, What::Empty);
    let done = imported(file(json!([5, {"id": 1}, {"type": "Save"}]), json!([])));
    let broken = done
        .notices
        .iter()
        .filter(|n| matches!(n.what, What::NoNode(_)));
    assert_eq!(broken.count(), 3);
}
