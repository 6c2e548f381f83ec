//! Graphs that nobody drew: each is so large in one respect that a check which looks at it twice, or at all of it for each mistake, would
//! never end.

use serde_json::{Map, Value, json};

use super::words::Scene;
use super::{Setting, links, refusals, standing, verdict_diagnostics};
use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, Report, SourceMap, render_human, to_json};
use crate::workflow::verdict::{JudgeOptions, judge};
use crate::workflow::{self, Graph};

fn catalog() -> Catalog {
    let matched =
        json!(["COMFY_MATCHTYPE_V3", {"template": {"template_id": "t", "allowed_types": "*"}}]);
    let mut info = json!({
        "Switch": {"input": {"required": {"on": ["BOOLEAN", {}]}, "optional": {"yes": matched, "no": matched}}, "output": ["COMFY_MATCHTYPE_V3"], "output_matchtypes": ["t"]},
        "Latent": {"input": {"required": {}}, "output": ["LATENT"]},
        "Invert": {"input": {"required": {"image": ["IMAGE", {}]}}, "output": ["IMAGE"]},
        "Make": {"input": {"required": {"width": ["INT", {}]}}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"images": ["IMAGE", {}]}}, "output": [], "output_node": true},
    });
    // As many classes as a server has.
    for n in 0..900 {
        info[format!("Class Number {n}")] = json!({"input": {"required": {"file": [[format!("model {n}.safetensors")], {}]}}, "output": ["IMAGE"]});
    }
    Catalog::from_object_info(&info).0
}

fn node(class: &str, inputs: &Value) -> Value {
    json!({"class_type": class, "inputs": inputs})
}

/// What is said of a workflow, and its text.
fn told(nodes: Map<String, Value>) -> (Vec<Diagnostic>, SourceMap) {
    let text = Value::Object(nodes).to_string();
    let mut sources = SourceMap::default();
    let file = sources.add_text("w.json", &text);
    let mut report = Report::default();
    let graph = workflow::read_for_verdict(file, &sources, &mut report).unwrap();
    let catalog = catalog();
    let verdict = judge(&graph, &catalog, &JudgeOptions::default());
    let places = places(file);
    let found = verdict_diagnostics(
        &verdict,
        &graph,
        &catalog,
        &places,
        &sources,
        Setting::default(),
    );
    (found, sources)
}

fn places(file: crate::diagnostic::FileId) -> impl Fn(&NodeId, Option<&str>) -> Option<Origin> {
    move |node, input| {
        let pointer = match input {
            Some(input) => workflow::pointer([node.as_str(), "inputs", input]),
            None => workflow::pointer([node.as_str()]),
        };
        Some(Origin::Json { file, pointer })
    }
}

#[test]
fn a_chain_of_switches_has_one_way_through_it() {
    let mut nodes = Map::new();
    nodes.insert("0".into(), node("Latent", &json!({})));
    for n in 1..900 {
        let before = (n - 1).to_string();
        let inputs = json!({"on": true, "yes": [before, 0], "no": [before, 0]});
        nodes.insert(n.to_string(), node("Switch", &inputs));
    }
    nodes.insert("out".into(), node("Save", &json!({"images": ["899", 0]})));
    let (found, _) = told(nodes);
    let messages: Vec<&str> = found.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(
        messages,
        ["`Save.images` gets LATENT, but takes IMAGE"],
        "the type is known through all of them"
    );
}

#[test]
fn a_class_that_nobody_has_is_compared_once_however_many_nodes_have_it() {
    let mut nodes = Map::new();
    for n in 0..50_000 {
        nodes.insert(n.to_string(), node("Clas Number 7", &json!({})));
    }
    let (graph, catalog) = (workflow::from_request(Value::Object(nodes)), catalog());
    let (graph, sources): (Graph, _) = (graph.unwrap(), SourceMap::default());
    let verdict = judge(&graph, &catalog, &JudgeOptions::default());
    let nowhere = |_: &NodeId, _: Option<&str>| None;
    let scene = Scene::new(&graph, &catalog, &nowhere, &sources, Setting::default());
    let found = refusals::refusals(&scene, &verdict);
    assert_eq!(found.len(), 50_000, "nothing is lost");
    assert!(found[0].help[0].contains("Class Number 7"), "{found:?}");
    assert_eq!(found[49_999].help, found[0].help);
    assert!(scene.compared() <= 905, "{} comparisons", scene.compared());
}

#[test]
fn names_are_compared_until_it_is_no_help_to_anybody() {
    let mut nodes = Map::new();
    for n in 0..20_000 {
        let class = format!("Unknown {n}");
        nodes.insert(n.to_string(), node(&class, &json!({})));
    }
    let graph = workflow::from_request(Value::Object(nodes)).unwrap();
    let (catalog, sources) = (catalog(), SourceMap::default());
    let verdict = judge(&graph, &catalog, &JudgeOptions::default());
    let nowhere = |_: &NodeId, _: Option<&str>| None;
    let scene = Scene::new(&graph, &catalog, &nowhere, &sources, Setting::default());
    assert_eq!(refusals::refusals(&scene, &verdict).len(), 20_000);
    assert!(
        scene.compared() < 1_001_000,
        "{} comparisons",
        scene.compared()
    );
}

#[test]
fn dead_ends_that_share_all_that_feeds_them_are_counted_for_those_that_are_told() {
    let mut nodes = Map::new();
    for n in 0..40_000 {
        let inputs = match n {
            0 => json!({"image": "x"}),
            n => json!({"image": [(n - 1).to_string(), 0]}),
        };
        nodes.insert(n.to_string(), node("Invert", &inputs));
    }
    for n in 0..40_000 {
        let inputs = json!({"image": ["39999", 0]});
        nodes.insert(format!("end {n}"), node("Invert", &inputs));
    }
    nodes.insert("1st".into(), node("Make", &json!({"width": 1})));
    nodes.insert("out".into(), node("Save", &json!({"images": ["1st", 0]})));
    let graph = workflow::from_request(Value::Object(nodes)).unwrap();
    let (catalog, sources) = (catalog(), SourceMap::default());
    let nowhere = |_: &NodeId, _: Option<&str>| None;
    let scene = Scene::new(&graph, &catalog, &nowhere, &sources, Setting::default());
    let found = standing::standing(&scene);
    assert_eq!(found.len(), 40_000);
    assert!(
        found[99].message.contains("the 40000 nodes"),
        "{:?}",
        found[99]
    );
    assert_eq!(links::links(&scene, &std::collections::HashSet::new()), []);
}

#[test]
fn a_file_of_one_line_with_a_mistake_in_every_node_is_looked_through_once() {
    let mut nodes = Map::new();
    for n in 0..20_000 {
        nodes.insert(n.to_string(), node("Make", &json!({"width": "wide"})));
        nodes.insert(
            format!("out {n}"),
            node("Save", &json!({"images": [n.to_string(), 0]})),
        );
    }
    let (found, sources) = told(nodes);
    assert_eq!(found.len(), 20_000);
    let last = to_json(&found[19_999], &sources);
    let text = &sources.files().next().unwrap().1.text;
    let column = text.rfind("\"wide\"").unwrap() + 1;
    assert_eq!((last.line, last.column), (Some(1), Some(column)));
    let told: Vec<_> = found.iter().map(|d| to_json(d, &sources).column).collect();
    assert!(told.is_sorted());
    let items = found.into_iter().take(1).collect();
    assert!(!render_human(&Report { items }, &sources).is_empty());
}
