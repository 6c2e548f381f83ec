//! What nodes pass on that take no part in the run.

use serde_json::{Value, json};

use super::{field, file, imported, inputs, node, socket};

/// Two bypassed nodes, one behind the other: what is wanted of the second is what the first one's input takes, whatever the node behind
/// both wants.
#[test]
fn behind_a_bypassed_node_its_own_input_says_what_is_wanted() {
    let done = imported(file(
        json!([
            {"id": 5, "type": "Checkpoint", "outputs": [{"type": "MODEL"}]},
            node(1, "Load", json!(["a.png"]), json!([])),
            {"id": 2, "type": "Upscale", "mode": 4, "outputs": [{"type": "IMAGE"}],
             "inputs": [socket("model", "MODEL", json!(1)), socket("image", "IMAGE", json!(2))]},
            {"id": 3, "type": "Invert", "mode": 4, "outputs": [{"type": "IMAGE"}], "inputs": [socket("image", "IMAGE", json!(3))]},
            {"id": 4, "type": "Show", "inputs": [socket("source", "*", json!(4))]},
        ]),
        json!([
            [1, 5, 0, 2, 0, "MODEL"],
            [2, 1, 0, 2, 1, "IMAGE"],
            [3, 2, 0, 3, 0, "IMAGE"],
            [4, 3, 0, 4, 0, "*"]
        ]),
    ));
    assert_eq!(inputs(&done, "4")["source"], json!(["1", 0]));
}

/// An input of several types may take what is wanted, and still be nothing that the bypassed output gives.
#[test]
fn an_input_that_does_not_fit_the_bypassed_output_is_not_passed_on() {
    let done = imported(file(
        json!([
            node(1, "Load", json!(["a.png"]), json!([])),
            {"id": 2, "type": "Mixed", "mode": 4, "outputs": [{"type": "LATENT,MASK"}],
             "inputs": [socket("other", "MODEL", Value::Null), socket("image", "IMAGE", json!(1)), socket("mask", "MASK,IMAGE", json!(2))]},
            {"id": 3, "type": "Show", "inputs": [socket("source", "IMAGE,LATENT", json!(3))]},
        ]),
        json!([
            [1, 1, 0, 2, 1, "IMAGE"],
            [2, 1, 1, 2, 2, "MASK"],
            [3, 2, 0, 3, 0, "IMAGE"]
        ]),
    ));
    // `IMAGE` fits what is wanted and not what the output gives; `MASK,IMAGE` fits both.
    assert_eq!(inputs(&done, "3")["source"], json!(["1", 1]));
}

/// Nodes that never run are not kept from passing on by being muted; a value is copied out of one that is bypassed, too.
#[test]
fn muted_and_bypassed_nodes_of_the_editors_own_still_give_what_they_stand_for() {
    for mode in [2, 4] {
        let done = imported(file(
            json!([
                {"id": 1, "type": "PrimitiveNode", "mode": mode, "outputs": [{"type": "INT"}], "widgets_values": [999, "fixed"]},
                node(2, "Sampler", json!([5, "randomize", 20, "euler"]), json!([field("seed", "INT", json!(1))])),
                node(3, "Load", json!(["a.png"]), json!([])),
                {"id": 4, "type": "Reroute", "mode": mode, "inputs": [socket("", "*", json!(2))], "outputs": [{"type": "IMAGE"}]},
                node(5, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(3))])),
            ]),
            json!([
                [1, 1, 0, 2, 0, "INT"],
                [2, 3, 0, 4, 0, "IMAGE"],
                [3, 4, 0, 5, 0, "IMAGE"]
            ]),
        ));
        assert_eq!(inputs(&done, "2")["seed"], 999, "mode {mode}");
        assert_eq!(inputs(&done, "5")["images"], json!(["3", 0]), "mode {mode}");
    }
    let done = imported(file(
        json!([
            node(1, "Load", json!(["a.png"]), json!([])),
            {"id": 2, "type": "SetNode", "mode": 2, "inputs": [socket("IMAGE", "IMAGE", json!(1))], "widgets_values": ["a"]},
            {"id": 4, "type": "GetNode", "mode": 2, "outputs": [{"type": "IMAGE"}], "widgets_values": ["a"]},
            node(3, "Save", json!(["p"]), json!([socket("images", "IMAGE", json!(2))])),
        ]),
        json!([[1, 1, 0, 2, 0, "IMAGE"], [2, 4, 0, 3, 0, "IMAGE"]]),
    ));
    assert_eq!(inputs(&done, "3")["images"], json!(["1", 0]));
}
