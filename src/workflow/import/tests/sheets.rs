//! Sheets behind nodes: subgraphs, nested, shown fields, and the groups of older files.

use serde_json::{Value, json};

use super::{field, imported, inputs, node, socket};
use crate::workflow::import::What;

/// An input or output of a sheet.
fn port(name: &str, links: Value) -> Value {
    json!({"id": name, "name": name, "type": "*", "linkIds": links})
}

fn part(id: &str, inputs: Value, outputs: Value, nodes: Value, links: Value) -> Value {
    json!({"id": id, "name": format!("Sheet {id}"), "inputNode": {"id": -10}, "outputNode": {"id": -20},
        "inputs": inputs, "outputs": outputs, "nodes": nodes, "links": links})
}

fn link(id: u64, from: i64, from_slot: u64, to: i64, to_slot: u64) -> Value {
    json!({"id": id, "origin_id": from, "origin_slot": from_slot, "target_id": to, "target_slot": to_slot, "type": "*"})
}

/// A sheet with a picture and a text coming in, and a picture going out.
fn blend() -> Value {
    part(
        "blend",
        json!([port("picture", json!([1, 2])), port("factor", json!([3]))]),
        json!([port("out", json!([4]))]),
        json!([node(
            7,
            "Blend",
            json!([0.1]),
            json!([
                socket("one", "IMAGE", json!(1)),
                socket("two", "IMAGE", json!(2)),
                field("factor", "FLOAT", json!(3))
            ])
        )]),
        json!([
            link(1, -10, 0, 7, 0),
            link(2, -10, 0, 7, 1),
            link(3, -10, 1, 7, 2),
            link(4, 7, 0, -20, 0)
        ]),
    )
}

fn around(host: Value) -> Value {
    json!({"last_node_id": 50, "nodes": [
        node(1, "Load", json!(["a.png", "image"]), json!([])),
        host,
        node(3, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(12))])),
    ], "links": [[11, 1, 0, 2, 0, "IMAGE"], [12, 2, 0, 3, 0, "IMAGE"]], "definitions": {"subgraphs": [blend()]}})
}

#[test]
fn row_12_and_13_one_input_of_a_sheet_reaches_all_it_is_connected_to() {
    let host = node(
        2,
        "blend",
        json!([]),
        json!([socket("picture", "IMAGE", json!(11))]),
    );
    let done = imported(around(host));
    assert_eq!(
        inputs(&done, "2:7"),
        json!({"factor": 0.1, "one": ["1", 0], "two": ["1", 0]})
    );
    assert_eq!(inputs(&done, "3")["images"], json!(["2:7", 0]));
    assert_eq!(
        done.places.of("2:7", None),
        Some("/definitions/subgraphs/0/nodes/0/type")
    );
}

#[test]
fn row_14_what_the_node_outside_holds_wins_over_what_the_one_inside_does() {
    let host = node(
        2,
        "blend",
        json!([0.9]),
        json!([socket("picture", "IMAGE", json!(11))]),
    );
    let done = imported(around(host));
    assert_eq!(inputs(&done, "2:7")["factor"], 0.9);
    assert_eq!(
        done.places.of("2:7", Some("factor")),
        Some("/nodes/1/widgets_values/0")
    );
    // A connection from outside wins over both.
    let mut file = around(node(
        2,
        "blend",
        json!([0.9]),
        json!([
            socket("picture", "IMAGE", json!(11)),
            field("factor", "FLOAT", json!(13))
        ]),
    ));
    file["nodes"].as_array_mut().unwrap().push(
        json!({"id": 4, "type": "PrimitiveNode", "outputs": [{"type": "FLOAT"}], "widgets_values": [0.4, "fixed"]}),
    );
    file["links"]
        .as_array_mut()
        .unwrap()
        .push(json!([13, 4, 0, 2, 1, "FLOAT"]));
    assert_eq!(inputs(&imported(file), "2:7")["factor"], 0.4);
}

#[test]
fn older_files_name_the_shown_fields_by_node_and_may_have_set_values_aside() {
    let mut host = node(
        2,
        "blend",
        json!(["preview?", 0.8]),
        json!([socket("picture", "IMAGE", json!(11))]),
    );
    host["properties"] =
        json!({"proxyWidgets": [["9", "gone"], ["7", "factor"], ["7", "$$canvas-image-preview"]]});
    assert_eq!(
        inputs(&imported(around(host.clone())), "2:7")["factor"],
        0.8
    );
    host["properties"]["proxyWidgetErrorQuarantine"] =
        json!([{"originalEntry": ["-1", "factor"], "hostValue": 0.7}]);
    assert_eq!(inputs(&imported(around(host)), "2:7")["factor"], 0.7);
}

#[test]
fn sheets_inside_of_sheets_are_opened_and_fields_show_through_both() {
    let outer = part(
        "outer",
        json!([port("pic", json!([1])), port("strength", json!([2]))]),
        json!([port("result", json!([3]))]),
        json!([node(
            5,
            "blend",
            json!([0.2]),
            json!([
                socket("picture", "IMAGE", json!(1)),
                field("factor", "FLOAT", json!(2))
            ])
        )]),
        json!([
            link(1, -10, 0, 5, 0),
            link(2, -10, 1, 5, 1),
            link(3, 5, 0, -20, 0)
        ]),
    );
    let mut file = around(node(
        2,
        "outer",
        json!([]),
        json!([socket("pic", "IMAGE", json!(11))]),
    ));
    file["definitions"]["subgraphs"]
        .as_array_mut()
        .unwrap()
        .push(outer);
    let done = imported(file.clone());
    assert_eq!(
        inputs(&done, "2:5:7"),
        json!({"factor": 0.2, "one": ["1", 0], "two": ["1", 0]})
    );
    assert_eq!(inputs(&done, "3")["images"], json!(["2:5:7", 0]));
    file["nodes"][1]["widgets_values"] = json!([0.6]);
    assert_eq!(inputs(&imported(file.clone()), "2:5:7")["factor"], 0.6);
    // Bypassed inside, its nodes are sent all the same, and what is connected goes past them.
    file["definitions"]["subgraphs"][1]["nodes"][0]["mode"] = json!(4);
    let done = imported(file.clone());
    assert_eq!(inputs(&done, "3")["images"], json!(["1", 0]));
    assert!(done.graph.nodes.contains_key("2:5:7"));
    // Bypassed on the first sheet, they are not.
    file["nodes"][1]["mode"] = json!(4);
    let done = imported(file);
    assert_eq!(inputs(&done, "3")["images"], json!(["1", 0]));
    assert_eq!(done.graph.nodes.len(), 2);
}

#[test]
fn nodes_of_several_sheets_with_one_number_get_new_ones() {
    let mut file = around(node(
        2,
        "blend",
        json!([]),
        json!([socket("picture", "IMAGE", json!(11))]),
    ));
    file["definitions"]["subgraphs"][0]["nodes"][0]["id"] = json!(3);
    for link in file["definitions"]["subgraphs"][0]["links"]
        .as_array_mut()
        .unwrap()
    {
        for end in ["origin_id", "target_id"] {
            if link[end] == 7 {
                link[end] = json!(3);
            }
        }
    }
    let done = imported(file);
    assert_eq!(inputs(&done, "3")["images"], json!(["2:51", 0]));
    assert_eq!(inputs(&done, "2:51")["one"], json!(["1", 0]));
}

#[test]
fn a_sheet_inside_itself_is_refused_and_so_is_one_that_grows_without_end() {
    let mut file = around(node(2, "blend", json!([]), json!([])));
    let inside = json!({"id": 8, "type": "blend", "inputs": [], "outputs": []});
    file["definitions"]["subgraphs"][0]["nodes"]
        .as_array_mut()
        .unwrap()
        .push(inside);
    let done = imported(file);
    assert_eq!(
        done.notices[0].what,
        What::InsideItself("Sheet blend".into())
    );
    assert!(done.graph.nodes.is_empty());
    // Each sheet stands twice in the next one.
    let sheets: Vec<Value> = (0..30)
        .map(|at| {
            let class = if at == 0 {
                "Invert".to_owned()
            } else {
                format!("s{}", at - 1)
            };
            let twice = json!([{"id": 1, "type": class}, {"id": 2, "type": class}]);
            part(&format!("s{at}"), json!([]), json!([]), twice, json!([]))
        })
        .collect();
    let done = imported(
        json!({"nodes": [{"id": 1, "type": "s29"}], "links": [], "definitions": {"subgraphs": sheets}}),
    );
    assert_eq!(done.notices[0].what, What::TooMuch);
}

#[test]
fn groups_of_older_files_are_opened() {
    let group = json!({
        "nodes": [
            {"type": "Texts", "inputs": [], "outputs": [{"type": "STRING"}], "widgets_values": ["x", "y", 1]},
            {"type": "Blend", "inputs": [socket("one", "IMAGE", json!(null)), socket("two", "IMAGE", json!(null)), socket("mask", "MASK", json!(null))], "outputs": [{"type": "IMAGE"}], "widgets_values": [0.3]},
            {"type": "Invert", "inputs": [socket("image", "IMAGE", json!(null))], "outputs": [{"type": "IMAGE"}], "widgets_values": []}
        ],
        "links": [[1, 0, 2, 0, 1, "IMAGE"]],
        "external": []
    });
    let file = json!({"nodes": [
        node(1, "Load", json!(["a.png", "image"]), json!([])),
        node(2, "workflow>Mix", json!(["A", "B", 6, 0.75]), json!([socket("one", "IMAGE", json!(11)), socket("two", "IMAGE", json!(null)), socket("mask", "MASK", json!(13))])),
        node(3, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(12))])),
    ], "links": [[11, 1, 0, 2, 0, "IMAGE"], [12, 2, 1, 3, 0, "IMAGE"], [13, 1, 1, 2, 2, "MASK"]], "extra": {"groupNodes": {"Mix": group}}});
    let done = imported(file);
    assert_eq!(inputs(&done, "2:0"), json!({"a": "A", "b": "B", "d": 6}));
    assert_eq!(
        inputs(&done, "2:1"),
        json!({"factor": 0.75, "one": ["1", 0], "mask": ["1", 1]})
    );
    assert_eq!(inputs(&done, "2:2"), json!({"image": ["2:1", 0]}));
    assert_eq!(inputs(&done, "3")["images"], json!(["2:2", 0]));
    let lone = imported(json!({"nodes": [{"id": 1, "type": "workflow/Gone"}], "links": []}));
    assert_eq!(lone.notices[0].what, What::NoGroup);
}
