//! The walk and the answer's shape, over a small catalog of our own.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values made by `json!` are handed over"
)]

use serde_json::{Value, json};

use super::{FileOracle, JudgeOptions, Verdict, judge};
use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::workflow::from_request;

fn catalog() -> Catalog {
    let long: Vec<String> = (0..21).map(|n| format!("s{n}")).collect();
    let info = json!({
        "Make": {"input": {"required": {"width": ["INT", {"min": 1, "max": u64::MAX}]}, "optional": {"f": ["FLOAT", {"max": 8.0}], "b": ["BOOLEAN"], "s": ["STRING"]}}, "output": ["IMAGE", "MASK"]},
        "MakeNew": {"input": {"required": {}}, "output": ["LATENT"], "output_matchtypes": null},
        "Invert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"]},
        "Pick": {"input": {"required": {"mode": [["a", 1], {}], "sampler": [long], "any": ["COMBO", {"options": ["x", "y"], "multiselect": true}]}}, "output": ["IMAGE", ["a", 1]]},
        "Either": {"input": {"required": {"v": ["FLOAT,INT", {"min": 0}]}}, "output": ["IMAGE"]},
        "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": true}]}}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"images": ["IMAGE", {}]}}, "output": [], "output_node": true},
        "Show": {"input": {"required": {"source": ["*", {}]}}, "output": [], "output_node": true},
    });
    Catalog::from_object_info(&info).0
}

fn judged(nodes: &Value) -> Verdict {
    judge(
        &from_request(nodes.clone()).unwrap(),
        &catalog(),
        &JudgeOptions::default(),
    )
}

/// `node: kind input` for each error.
fn errors(verdict: &Verdict) -> Vec<String> {
    verdict
        .node_errors
        .iter()
        .flat_map(|(id, node)| {
            node.errors.iter().map(move |e| {
                let input = e.input.as_deref().unwrap_or("-");
                format!("{id}: {} {input}", e.kind)
            })
        })
        .collect()
}

fn node(class: &str, inputs: Value) -> Value {
    json!({"class_type": class, "inputs": inputs})
}

fn pick(inputs: Value) -> Verdict {
    let mut all = json!({"mode": "a", "sampler": "s1", "any": "x"});
    for (name, value) in inputs.as_object().unwrap() {
        all[name] = value.clone();
    }
    judged(&json!({"1": node("Pick", all), "2": node("Save", json!({"images": ["1", 0]}))}))
}

#[test]
fn values_are_coerced_as_the_server_does() {
    let verdict = judged(&json!({
        "1": node("Make", json!({"width": "16", "f": "1.5", "b": "false", "s": {"__value__": [1, null]}})),
        "2": node("Save", json!({"images": ["1", -2]})),
    }));
    assert_eq!(verdict.accepted, Some(true));
    assert_eq!(verdict.runs, [NodeId::from("2")]);
    assert_eq!(
        serde_json::to_value(&verdict.coerced.nodes["1"].inputs).unwrap(),
        json!({"width": 16, "f": 1.5, "b": true, "s": "[1, None]"})
    );
}

#[test]
fn only_outputs_and_what_they_need_are_looked_at() {
    let verdict = judged(&json!({
        "1": node("Make", json!({"width": 5})),
        "2": node("Save", json!({"images": ["1", 0]})),
        "3": node("Make", json!({"width": "abc"})),
        "4": node("Invert", json!({"image": ["4", 0]})),
    }));
    assert_eq!((verdict.accepted, errors(&verdict)), (Some(true), vec![]));
}

#[test]
fn one_good_output_is_enough_and_bad_ones_are_told() {
    let verdict = judged(&json!({
        "1": node("Make", json!({"width": 0})),
        "2": node("Save", json!({"images": ["1", 0]})),
        "3": node("MakeNew", json!({})),
        "4": node("Show", json!({"source": ["3", 0]})),
    }));
    assert_eq!(verdict.accepted, Some(true));
    assert_eq!(verdict.runs, [NodeId::from("4")]);
    insta::assert_snapshot!(format!("{:#}", verdict.to_response()));
}

#[test]
fn chosen_targets_alone_are_looked_at() {
    let graph = from_request(json!({
        "1": node("Make", json!({"width": 0})),
        "2": node("Save", json!({"images": ["1", 0]})),
        "3": node("MakeNew", json!({})),
        "4": node("Show", json!({"source": ["3", 0]})),
    }))
    .unwrap();
    let judge_targets = |ids: &[&str]| {
        let targets: Vec<NodeId> = ids.iter().map(|id| NodeId::from(*id)).collect();
        let options = JudgeOptions {
            targets: Some(&targets),
            ..JudgeOptions::default()
        };
        judge(&graph, &catalog(), &options)
    };
    assert_eq!(errors(&judge_targets(&["4"])), Vec::<String>::new());
    for none in [&["1"][..], &["nobody"], &[]] {
        let error = judge_targets(none).error.unwrap();
        assert_eq!(error.kind, "prompt_no_outputs");
    }
}

#[test]
fn refusals_have_the_servers_shape() {
    let cases = [
        json!({"2": node("Save", json!({}))}),
        json!({"1": node("MakeNew", json!({})), "2": node("Save", json!({"images": ["1", 0]}))}),
        json!({"2": node("Save", json!({"images": ["77", 0]}))}),
        json!({"1": node("Invert", json!({"image": ["77", 0]})), "2": node("Save", json!({"images": ["1", 0]}))}),
        json!({"1": node("Invert", json!({"image": ["3", 0]})), "3": node("Invert", json!({"image": ["1", 0]})), "2": node("Save", json!({"images": ["1", 0]}))}),
        json!({"1": node("LoadImage", json!({"image": "b.png"})), "2": node("Save", json!({"images": ["1", 0]}))}),
        json!({"1": {"class_type": "Nope", "inputs": {}, "_meta": {"title": "Mine"}}}),
        json!({"1": {"inputs": {}}}),
        json!({}),
    ];
    let answers: Vec<Value> = cases.iter().map(|c| judged(c).to_response()).collect();
    insta::assert_snapshot!(format!("{:#}", Value::Array(answers)));
}

#[test]
fn slots_are_taken_and_refused_as_by_the_server() {
    let slot = |class: &str, slot: Value| {
        let verdict = judged(&json!({
            "1": node(class, json!({"width": 5})),
            "2": node("Show", json!({"source": ["1", slot]})),
        }));
        verdict
            .node_errors
            .values()
            .flat_map(|n| &n.errors)
            .map(|e| e.details.to_string())
            .next()
    };
    assert_eq!(slot("Make", json!(-1)), None);
    assert_eq!(slot("Make", json!(true)), None);
    assert_eq!(slot("Make", json!(2)).unwrap(), "tuple index out of range");
    assert_eq!(
        slot("MakeNew", json!(-2)).unwrap(),
        "list index out of range"
    );
    assert_eq!(
        slot("Make", json!("0")).unwrap(),
        "tuple indices must be integers or slices, not str"
    );
}

#[test]
fn bounds_are_exact_up_to_the_biggest_seed() {
    let width = |value: Value| {
        errors(&judged(&json!({
            "1": node("Make", json!({"width": value})),
            "2": node("Save", json!({"images": ["1", 0]})),
        })))
    };
    assert_eq!(width(json!(u64::MAX)), Vec::<String>::new());
    let above: Value = serde_json::from_str("18446744073709551616").unwrap();
    assert_eq!(width(above), ["1: value_bigger_than_max width"]);
}

#[test]
fn choices_are_compared_by_value() {
    assert_eq!(
        errors(&pick(
            json!({"mode": 1.0, "any": {"__value__": ["x", "y"]}})
        )),
        Vec::<String>::new()
    );
    let wrong = pick(json!({"mode": "1", "sampler": "zz", "any": {"__value__": ["x", "z"]}}));
    let details: Vec<&str> = wrong.node_errors["1"]
        .errors
        .iter()
        .map(|e| &*e.details)
        .collect();
    assert_eq!(
        details,
        [
            "mode: '1' not in ['a', 1]",
            "sampler: 'zz' not in (list of length 21)",
            "any: 'z' not in ['x', 'y']",
        ]
    );
    assert_eq!(
        wrong.node_errors["1"].errors[1].extra_info["input_config"],
        Value::Null
    );
}

#[test]
fn a_choice_takes_a_link_only_from_the_same_list() {
    let linked = |input: &str| {
        let mut nodes = json!({
            "0": node("Pick", json!({"mode": "a", "sampler": "s1", "any": "x"})),
            "1": node("Pick", json!({"mode": "a", "sampler": "s1", "any": "x"})),
            "2": node("Save", json!({"images": ["1", 0]})),
        });
        nodes["1"]["inputs"][input] = json!(["0", 1]);
        errors(&judged(&nodes))
    };
    assert_eq!(linked("mode"), Vec::<String>::new());
    assert_eq!(linked("any"), Vec::<String>::new());
    assert_eq!(linked("sampler"), ["1: return_type_mismatch sampler"]);
}

#[test]
fn a_text_where_bounds_are_declared_stops_the_check_of_the_node() {
    let verdict = judged(&json!({
        "1": node("Either", json!({"v": "abc"})),
        "2": node("Save", json!({"images": ["1", 0]})),
    }));
    assert_eq!(
        errors(&verdict),
        ["1: exception_during_inner_validation images"]
    );
    assert_eq!(
        &*verdict.node_errors["1"].errors[0].details,
        "'<' not supported between instances of 'str' and 'int'"
    );
}

struct Folder;

impl FileOracle for Folder {
    fn exists(&self, class_type: &str, input: &str, name: &str) -> Option<bool> {
        assert_eq!((class_type, input), ("LoadImage", "image"));
        Some(name == "sub/new.png [output]")
    }
}

#[test]
fn files_are_the_oracles_to_tell_and_else_the_lists() {
    let load = |name: Value, options: &JudgeOptions<'_>| {
        let graph = from_request(json!({
            "1": node("LoadImage", json!({"image": name})),
            "2": node("Save", json!({"images": ["1", 0]})),
        }))
        .unwrap();
        let verdict = judge(&graph, &catalog(), options);
        (verdict.accepted, verdict.assumed.len())
    };
    let (yes, no) = (Some(true), Some(false));
    let listed = JudgeOptions::default();
    assert_eq!(load(json!("a.png"), &listed), (yes, 0));
    assert_eq!(load(json!("a.png [input]"), &listed), (yes, 0));
    assert_eq!(load(json!("a.png [output]"), &listed), (no, 0));
    assert_eq!(load(json!("../a.png"), &listed), (no, 0));
    assert_eq!(load(json!("sub/other.png"), &listed), (None, 1));
    assert_eq!(load(json!(null), &listed), (no, 0));
    let asked = JudgeOptions {
        files: &Folder,
        ..JudgeOptions::default()
    };
    assert_eq!(load(json!("sub/new.png [output]"), &asked), (yes, 0));
    assert_eq!(load(json!("a.png"), &asked), (no, 0));
}

#[test]
fn very_long_chains_end_in_an_answer() {
    let mut nodes = json!({
        "0": node("Make", json!({"width": 5})),
        "out": node("Save", json!({"images": ["5000", 0]})),
    });
    for n in 1..=5000 {
        nodes[n.to_string()] = node("Invert", json!({"image": [(n - 1).to_string(), 0]}));
    }
    let verdict = judged(&nodes);
    assert_eq!(verdict.accepted, Some(false));
    assert_eq!(verdict.node_errors.len(), 1);
}

#[test]
fn outputs_that_are_refused_by_the_thousand_share_one_list() {
    let nodes = (0..20_000).map(|n| (n.to_string(), node("Save", json!({}))));
    let verdict = judged(&Value::Object(nodes.collect()));
    assert_eq!(verdict.node_errors.len(), 20_000);
    let first = verdict.node_errors["0"].dependent_outputs.shared();
    for (nth, node) in verdict.node_errors.values().enumerate() {
        assert!(std::sync::Arc::ptr_eq(
            first,
            node.dependent_outputs.shared()
        ));
        let mut told = node.dependent_outputs.iter();
        assert_eq!(told.next().unwrap().as_str(), nth.to_string());
    }
}

#[test]
fn the_nodes_of_a_long_cycle_share_its_description() {
    let mut nodes = json!({});
    for ring in 0..50 {
        for n in 0..900 {
            let next = (n + 1) % 900;
            nodes[format!("{ring}.{n}")] =
                node("Invert", json!({"image": [format!("{ring}.{next}"), 0]}));
        }
        nodes[format!("out {ring}")] = node("Save", json!({"images": [format!("{ring}.0"), 0]}));
    }
    let verdict = judged(&nodes);
    assert_eq!(verdict.node_errors.len(), 50 * 900);
    let error = |id: &str| &verdict.node_errors[id].errors[0];
    let (one, other) = (error("7.0"), error("7.899"));
    assert!(std::sync::Arc::ptr_eq(&one.details, &other.details));
    let cycle = |error: &super::NodeError| std::sync::Arc::clone(error.cycle.as_ref().unwrap());
    assert!(std::sync::Arc::ptr_eq(&cycle(one), &cycle(other)));
    assert_eq!(cycle(one).len(), 900);
}

/// A catalog in which some classes took the place of others: as far as the server tells, or nobody asked it.
fn replacing(told: Option<Value>) -> Catalog {
    match told {
        Some(told) => catalog().replacing(crate::catalog::Replacements::read(&told)),
        None => catalog(),
    }
}

fn judged_by(catalog: &Catalog, nodes: &Value) -> Verdict {
    let graph = from_request(nodes.clone()).unwrap();
    judge(&graph, catalog, &JudgeOptions::default())
}

#[test]
fn a_class_that_the_server_puts_another_in_the_place_of_is_judged_as_that() {
    let told = json!({"Old": [{
        "new_node_id": "Make",
        "input_mapping": [{"new_id": "width", "old_id": "size"}, {"new_id": "s", "set_value": "x"}],
        "output_mapping": [{"new_idx": 1, "old_idx": 0}],
    }], "Make": [{"new_node_id": "Invert"}], "Lost": [{"new_node_id": "Nowhere"}]});
    let catalog = replacing(Some(told));
    let graph = |size: Value, class: &str| {
        json!({
            "1": {"class_type": class, "inputs": {"size": size}, "_meta": {"title": "x"}},
            "2": node("Show", json!({"source": ["1", 0]})),
        })
    };
    let verdict = judged_by(&catalog, &graph(json!("16"), "Old"));
    assert_eq!(verdict.accepted, Some(true));
    let sent = serde_json::to_value(&verdict.coerced).unwrap();
    assert_eq!(sent["1"]["class_type"], "Make");
    assert_eq!(sent["1"]["inputs"], json!({"width": 16, "s": "x"}));
    assert_eq!(sent["2"]["inputs"]["source"], json!(["1", 1]));
    let replaced = &verdict.replaced[0];
    assert!(replaced.certain && !replaced.bare);
    assert_eq!(replaced.renamed, [("width".to_owned(), "size".to_owned())]);
    let wrong = judged_by(&catalog, &graph(json!(0), "Old"));
    assert_eq!(wrong.accepted, Some(false));
    assert_eq!(errors(&wrong), ["1: value_smaller_than_min width"]);
    let lost = judged_by(&catalog, &graph(json!(1), "Lost"));
    assert_eq!(lost.error.unwrap().kind, "missing_node_type");
    // A class that the server has stays what it is.
    let kept = json!({"1": node("Make", json!({"width": 1})), "2": node("Save", json!({"images": ["1", 0]}))});
    assert_eq!(judged_by(&catalog, &kept).replaced, []);
}

#[test]
fn what_comfyui_usually_replaces_is_left_open_where_nobody_asked_the_server() {
    let mut info = json!({
        "ControlNetLoader": {"input": {"required": {"control_net_name": [["a"], {}]}}, "output": ["CONTROL_NET"]},
        "Show": {"input": {"required": {"source": ["*", {}]}}, "output": [], "output_node": true},
    });
    let nodes = |name: &str| {
        json!({
            "1": node("T2IAdapterLoader", json!({"t2i_adapter_name": name})),
            "2": node("Show", json!({"source": ["1", 0]})),
        })
    };
    let catalog = Catalog::from_object_info(&info).0;
    let open = judged_by(&catalog, &nodes("a"));
    assert_eq!((open.accepted, open.runs.len()), (None, 1));
    assert!(open.replaced[0].bare, "it has no _meta");
    let wrong = judged_by(&catalog, &nodes("b"));
    assert_eq!(wrong.accepted, Some(false));
    assert_eq!(errors(&wrong), ["1: value_not_in_list control_net_name"]);
    let told = catalog.replacing(crate::catalog::Replacements::default());
    assert_eq!(judged_by(&told, &nodes("a")).accepted, Some(false));
    info.as_object_mut()
        .unwrap()
        .shift_remove("ControlNetLoader");
    let without = Catalog::from_object_info(&info).0;
    assert_eq!(judged_by(&without, &nodes("a")).accepted, Some(false));
}

#[test]
fn what_a_pack_may_check_by_itself_is_left_open() {
    let info = json!({
        "Pack": {"input": {"required": {"mode": [["a"], {}], "n": ["INT", {"max": 10}], "v": ["FLOAT,INT", {"min": 0}]}}, "output": ["IMAGE"], "python_module": "custom_nodes.pack"},
        "Show": {"input": {"required": {"source": ["*", {}]}}, "output": [], "output_node": true},
    });
    let catalog = Catalog::from_object_info(&info).0;
    let verdict = |inputs: Value| {
        let mut all = json!({"mode": "a", "n": 1, "v": 1});
        for (name, value) in inputs.as_object().unwrap() {
            all[name] = value.clone();
        }
        judged_by(
            &catalog,
            &json!({"1": node("Pack", all), "2": node("Show", json!({"source": ["1", 0]}))}),
        )
    };
    assert_eq!(verdict(json!({})).accepted, Some(true));
    for (open, kind) in [
        (json!({"mode": "b"}), "value_not_in_list"),
        (json!({"n": 11}), "value_bigger_than_max"),
        (json!({"v": "x"}), "exception_during_validation"),
    ] {
        let verdict = verdict(open);
        assert_eq!((verdict.accepted, verdict.runs.len()), (None, 1), "{kind}");
        let super::Unsure::OwnCheck(error) = &verdict.assumed[0].unsure else {
            panic!("{:?}", verdict.assumed);
        };
        assert_eq!(error.kind, kind);
    }
    // What cannot be read as its type no check of a pack's own puts right.
    assert_eq!(verdict(json!({"n": "x"})).accepted, Some(false));
    assert_eq!(
        verdict(json!({"n": null, "mode": "b"})).accepted,
        Some(false)
    );
}
