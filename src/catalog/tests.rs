//! Reading definitions of every shape.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values made by `json!` are handed over"
)]

use serde_json::{Map, Value, json};

use super::{AutogrowNames, Catalog, InputType, OutputType, Section};

fn read(info: &Value) -> (Catalog, Vec<String>) {
    let (catalog, warnings) = Catalog::from_object_info(info);
    let (again, same) = Catalog::from_json(&info.to_string()).unwrap();
    assert_eq!((&catalog, &warnings), (&again, &same));
    (catalog, warnings)
}

fn one(inputs: Value) -> Catalog {
    let (catalog, warnings) = read(&json!({"N": {"input": inputs, "output": []}}));
    assert_eq!(warnings, Vec::<String>::new());
    catalog
}

#[test]
fn every_way_to_write_a_type_becomes_one_form() {
    let catalog = one(json!({
        "required": {
            "seed": ["INT", {"min": 0, "max": u64::MAX}],
            "old": [["a", 1, true]],
            "new": ["COMBO", {"options": ["x"], "multiselect": true}],
            "remote": ["COMBO", {"remote": {"route": "/x"}, "image_upload": true}],
            "both": ["FLOAT, INT", {}],
            "any": ["*"],
            "model": ["MODEL"],
            "bare": "LATENT",
        },
        "optional": {"text": ["STRING", {"multiline": true, "default": "hi"}]},
        "hidden": {"prompt": "PROMPT"},
    }));
    let node = catalog.node("N").unwrap();
    let input = |name: &str| node.input(name).unwrap();
    assert_eq!(
        input("seed").bounds.max.as_ref().unwrap().as_u64(),
        Some(u64::MAX)
    );
    let combo = |name: &str| match &input(name).ty {
        InputType::Combo(combo) => combo.clone(),
        other => panic!("{other:?}"),
    };
    assert!(combo("old").old_style && combo("old").options == [json!("a"), json!(1), json!(true)]);
    assert!(combo("new").multiselect && !combo("new").old_style);
    assert!(combo("remote").remote && combo("remote").options.is_empty());
    assert!(input("remote").upload);
    assert!(
        matches!(&input("both").ty, InputType::Union { types, .. } if types == &["FLOAT", "INT"])
    );
    assert_eq!(input("any").ty, InputType::Any);
    assert_eq!(input("model").type_name(), "MODEL");
    assert_eq!(&*input("bare").config, r#"["LATENT",{}]"#);
    assert_eq!(input("text").section, Section::Optional);
    assert_eq!(input("text").default, Some(json!("hi")));
    assert_eq!(node.hidden, ["prompt"]);
}

#[test]
fn outputs_keep_their_types_and_names() {
    let (catalog, _) = read(&json!({"N": {
        "input": {},
        "output": ["IMAGE", ["a", "b"], "COMFY_MATCHTYPE_V3"],
        "output_name": ["picture"],
        "output_is_list": [false, true],
        "output_matchtypes": [null, null, "switch"],
        "output_node": true,
        "python_module": "custom_nodes.Pack",
        "display_name": "",
    }}));
    let node = catalog.node("N").unwrap();
    assert_eq!(node.outputs[0].name, "picture");
    assert_eq!(
        node.outputs[1].ty,
        OutputType::List(vec![json!("a"), json!("b")])
    );
    assert!(node.outputs[1].is_list);
    assert_eq!(node.outputs[2].match_type.as_deref(), Some("switch"));
    assert!(node.output_node && node.v3 && node.display_name.is_none());
    assert_eq!(node.python_module.as_deref(), Some("custom_nodes.Pack"));
}

#[test]
fn one_bad_node_is_a_warning_and_the_others_stay() {
    let (catalog, warnings) = read(&json!({
        "Good": {"input": {"required": {}}, "output": ["IMAGE"], "output_name": "text", "display_name": null},
        "List": [],
        "Input": {"input": []},
        "Type": {"input": {"required": {"x": [5]}}},
        "Empty": {"input": {"required": {"x": []}}},
        "Output": {"input": {}, "output": "IMAGE"},
        "Grow": {"input": {"required": {"x": ["COMFY_AUTOGROW_V3", {}]}}},
    }));
    assert_eq!(catalog.classes().collect::<Vec<_>>(), ["Good"]);
    assert_eq!(
        warnings,
        [
            "node `List` is left out: its definition is not an object",
            "node `Input` is left out: its `input` is not an object",
            "node `Type` is left out: input `x`: its type is neither a name nor a list",
            "node `Empty` is left out: input `x`: its type is missing",
            "node `Output` is left out: its `output` is not a list",
            "node `Grow` is left out: input `x`: its `template` is missing",
        ]
    );
    assert!(Catalog::from_json("{\"N\": 1}").is_err());
    assert!(Catalog::from_json("<html>").is_err());
}

#[test]
fn definitions_that_nest_without_end_are_refused() {
    let mut spec = json!(["INT", {}]);
    for _ in 0..40 {
        spec = json!(["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "k", "inputs": {"required": {"x": spec}}}]}]);
    }
    let (catalog, warnings) =
        Catalog::from_object_info(&json!({"N": {"input": {"required": {"x": spec}}}}));
    assert!(catalog.is_empty());
    assert!(
        warnings[0].ends_with("its dynamic inputs nest too deep"),
        "{warnings:?}"
    );
}

fn opened(catalog: &Catalog, values: &Value) -> Vec<(String, Section)> {
    let empty = Map::new();
    let values = values.as_object().unwrap_or(&empty);
    let open = catalog.node("N").unwrap().open_inputs(values);
    open.into_iter().map(|o| (o.name, o.section)).collect()
}

#[test]
fn a_choice_opens_the_inputs_of_its_option() {
    use Section::{Optional, Required};
    let inner = json!(["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "h264", "inputs": {"optional": {"crf": ["FLOAT", {}]}}}]}]);
    let catalog = one(
        json!({"required": {"format": ["COMFY_DYNAMICCOMBO_V3", {"options": [
            {"key": "auto", "inputs": {}},
            {"key": "mp4", "inputs": {"required": {"codec": inner}}},
        ]}]}}),
    );
    let name = |name: &str, section| (name.to_owned(), section);
    assert_eq!(opened(&catalog, &json!({})), []);
    assert_eq!(opened(&catalog, &json!({"format": "gif"})), []);
    assert_eq!(
        opened(&catalog, &json!({"format": "auto"})),
        [name("format", Required)]
    );
    assert_eq!(
        opened(&catalog, &json!({"format": "mp4", "format.codec": "h264"})),
        [
            name("format.codec.crf", Optional),
            name("format.codec", Required),
            name("format", Required),
        ]
    );
}

#[test]
fn a_growing_group_requires_its_first_inputs() {
    use Section::{Optional, Required};
    let group = |template: Value| {
        one(json!({"required": {"images": ["COMFY_AUTOGROW_V3", {"template": template}]}}))
    };
    let by_number = group(
        json!({"input": {"required": {"image": ["IMAGE"]}}, "prefix": "image", "min": 1, "max": 2}),
    );
    assert_eq!(
        opened(&by_number, &json!({})),
        [
            ("images.image0".to_owned(), Required),
            ("images.image1".to_owned(), Optional),
        ]
    );
    let by_name =
        group(json!({"input": {"optional": {"v": ["INT"]}}, "names": ["a", "b"], "min": 1}));
    assert_eq!(
        opened(&by_name, &json!({})),
        [
            ("images.a".to_owned(), Optional),
            ("images.b".to_owned(), Optional),
        ]
    );
    assert!(
        by_name
            .node("N")
            .unwrap()
            .open_input("images.b", &Map::new())
            .is_some()
    );
    assert_eq!(
        AutogrowNames::List(vec!["a".into()])
            .all()
            .collect::<Vec<_>>(),
        ["a"]
    );
}

#[test]
fn merging_keeps_the_newer_definition() {
    let mut catalog = one(json!({"required": {"x": ["INT"]}}));
    catalog.merge(one(json!({"required": {"y": ["INT"]}})));
    assert_eq!(catalog.len(), 1);
    assert!(catalog.node("N").unwrap().input("y").is_some());
}
