//! Files that nobody drew: each is so large or so entangled in one respect that a conversion which walks one way twice, or looks at all of a
//! sheet for each of its nodes, would never end.

use serde_json::{Value, json};

use super::{field, file, imported, inputs, node, socket};
use crate::workflow::import::What;

fn link(id: usize, from: usize, to: usize, slot: usize) -> Value {
    json!([id, from, 0, to, slot, "IMAGE"])
}

/// Sheets inside of sheets, each of whose inputs leads into the next one by so many links.
#[test]
fn inputs_that_lead_through_many_sheets_by_many_links_are_followed_once() {
    let (depth, fan) = (30, 6);
    let sheets: Vec<Value> = (0..depth)
        .map(|at| {
            let class = match at + 1 {
                last if last == depth => "Save".to_owned(),
                next => format!("sheet {next}"),
            };
            let links: Vec<Value> = (1..=fan)
                .map(|id| json!({"id": id, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "IMAGE"}))
                .collect();
            let ids: Vec<usize> = (1..=fan).collect();
            json!({
                "id": format!("sheet {at}"), "name": "s",
                "inputs": [{"name": "images", "type": "IMAGE", "linkIds": ids}], "outputs": [],
                "nodes": [{"id": 1, "type": class, "inputs": [{"name": "images", "type": "IMAGE", "link": 1}], "outputs": []}],
                "links": links, "inputNode": {"id": -10}, "outputNode": {"id": -20},
            })
        })
        .collect();
    let done = imported(json!({
        "nodes": [{"id": 1, "type": "sheet 0", "inputs": [{"name": "images", "type": "IMAGE", "link": null}]}],
        "links": [], "definitions": {"subgraphs": sheets},
    }));
    assert_eq!(done.graph.nodes.len(), 1);
}

#[test]
fn a_chain_of_reroutes_is_walked_once_however_many_nodes_hang_on_it() {
    let long = 30_000;
    let mut nodes = vec![node(0, "Load", json!(["a.png"]), json!([]))];
    let mut links = Vec::new();
    for at in 1..=long {
        nodes.push(json!({"id": at, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": at}], "outputs": [{"type": "IMAGE"}]}));
        links.push(link(at, at - 1, at, 0));
    }
    for at in 1..=long {
        let id = u64::try_from(long + at).unwrap();
        let end = json!([socket("images", "IMAGE", json!(long + at))]);
        nodes.push(node(id, "Save", json!(["p"]), end));
        links.push(link(long + at, long, long + at, 0));
    }
    let done = imported(file(json!(nodes), json!(links)));
    assert_eq!(done.graph.nodes.len(), long + 1);
    let last = (2 * long).to_string();
    assert_eq!(inputs(&done, &last)["images"], json!(["0", 0]));
}

#[test]
fn a_bypassed_node_with_thousands_of_sockets_is_looked_through_once() {
    let many = 6_000;
    let mut nodes = vec![node(0, "Load", json!(["a.png"]), json!([]))];
    let mut sockets: Vec<Value> = (0..many)
        .map(|at| socket(&format!("s{at}"), "LATENT", Value::Null))
        .collect();
    sockets.push(socket("last", "IMAGE", json!(1)));
    nodes.push(json!({"id": 1, "type": "Mixed", "mode": 4, "inputs": sockets, "outputs": [{"type": "IMAGE"}]}));
    let mut links = vec![link(1, 0, 1, many)];
    for at in 0..many {
        let id = 2 + at;
        let end = json!([socket("images", "IMAGE", json!(id))]);
        nodes.push(node(u64::try_from(id).unwrap(), "Save", json!(["p"]), end));
        links.push(link(id, 1, id, 0));
    }
    let done = imported(file(json!(nodes), json!(links)));
    assert_eq!(inputs(&done, "2")["images"], json!(["0", 0]));
    assert_eq!(
        inputs(&done, &(many + 1).to_string())["images"],
        json!(["0", 0])
    );
}

#[test]
fn named_connections_are_found_by_their_name() {
    let many = 20_000;
    let mut nodes = vec![node(0, "Load", json!(["a.png"]), json!([]))];
    let mut links = Vec::new();
    for at in 0..many {
        let (set, get, end) = (3 * at + 1, 3 * at + 2, 3 * at + 3);
        nodes.push(json!({"id": set, "type": "SetNode", "inputs": [{"name": "IMAGE", "type": "IMAGE", "link": set}], "widgets_values": [format!("n{at}")]}));
        nodes.push(json!({"id": get, "type": "GetNode", "outputs": [{"type": "IMAGE"}], "widgets_values": [format!("n{}", many - 1 - at)]}));
        let input = json!([socket("images", "IMAGE", json!(end))]);
        nodes.push(node(
            u64::try_from(end).unwrap(),
            "Save",
            json!(["p"]),
            input,
        ));
        links.push(link(set, 0, set, 0));
        links.push(link(end, get, end, 0));
    }
    let done = imported(file(json!(nodes), json!(links)));
    assert_eq!(done.graph.nodes.len(), many + 1);
    assert_eq!(
        inputs(&done, &(3 * many).to_string())["images"],
        json!(["0", 0])
    );
}

#[test]
fn nodes_with_open_inputs_classes_that_nobody_has_and_lost_sources_are_each_looked_at_once() {
    let many = 20_000_u64;
    let mut nodes = Vec::new();
    let mut links = Vec::new();
    for at in 0..many {
        // An input that a pack might connect, and a class that nobody has.
        nodes.push(node(
            3 * at,
            "Invert",
            json!([]),
            json!([socket("image", "IMAGE", Value::Null)]),
        ));
        nodes.push(json!({"id": 3 * at + 1, "type": "Nobody", "outputs": [{"type": "IMAGE"}]}));
        // A source that is left out.
        nodes.push(json!({"id": 3 * at + 2, "type": "Invert", "inputs": [socket("image", "IMAGE", json!(at))]}));
        links.push(json!([at, "muted", 0, 3 * at + 2, 0, "IMAGE"]));
    }
    nodes.push(json!({"id": "muted", "type": "Load", "mode": 2, "title": "Gone"}));
    let done = imported(file(json!(nodes), json!(links)));
    let lost = done.notices.iter().filter(
        |notice| matches!(&notice.what, What::InputLost { source, .. } if source == "Gone"),
    );
    assert_eq!(lost.count(), usize::try_from(many).unwrap());
    let unconnected = done.notices.iter();
    let unconnected = unconnected.filter(|notice| notice.what == What::NotConnected);
    assert_eq!(unconnected.count(), usize::try_from(many).unwrap());
}

#[test]
fn a_sheet_with_thousands_of_inputs_is_looked_through_once() {
    let many = 5_000;
    let fields: Vec<Value> = (0..many)
        .map(|at| field(&format!("f{at}"), "STRING", json!(at)))
        .collect();
    let ports: Vec<Value> = (0..many)
        .map(|at| json!({"name": format!("f{at}"), "type": "STRING"}))
        .collect();
    let links: Vec<Value> = (0..many)
        .map(|at| json!({"id": at, "origin_id": -10, "origin_slot": at, "target_id": 7, "target_slot": at, "type": "STRING"}))
        .collect();
    let values: Vec<String> = (0..many).map(|at| format!("v{at}")).collect();
    let sockets: Vec<Value> = (0..many)
        .map(|at| field(&format!("f{at}"), "STRING", Value::Null))
        .collect();
    let done = imported(json!({
        "nodes": [{"id": 1, "type": "sheet", "inputs": sockets, "widgets_values": values}],
        "links": [],
        "definitions": {"subgraphs": [{
            "id": "sheet", "name": "s", "inputs": ports, "outputs": [], "links": links,
            "nodes": [{"id": 7, "type": "Texts", "inputs": fields, "widgets_values": ["a", "b", 1]}],
            "inputNode": {"id": -10}, "outputNode": {"id": -20},
        }]},
    }));
    let given = inputs(&done, "1:7");
    assert_eq!(given["f0"], "v0");
    assert_eq!(given[format!("f{}", many - 1)], format!("v{}", many - 1));
}

#[test]
fn sheets_whose_connections_grow_without_end_are_refused() {
    let ports: Vec<Value> = (0..5_000)
        .map(|at| json!({"name": format!("{at}")}))
        .collect();
    let uses: Vec<Value> = (0..50_000)
        .map(|id| json!({"id": id, "type": "sheet"}))
        .collect();
    let done = imported(json!({
        "nodes": uses, "links": [],
        "definitions": {"subgraphs": [{"id": "sheet", "name": "s", "inputs": ports, "nodes": [{"id": 1, "type": "Invert"}], "links": []}]},
    }));
    assert_eq!(done.notices[0].what, What::TooMuch);
}
