//! Nodes that make or show text.

use serde_json::{Value as Json, json};

use super::class::{Class, Style, Value};
use crate::embedded::cache::Made;

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "StringConcatenate",
        display_name: "Concatenate Text",
        category: "text",
        module: "comfy_extras.nodes_string",
        style: Style::Third,
        output_node: false,
        inputs: || {
            json!({"required": {
                "string_a": ["STRING", {"multiline": true}],
                "string_b": ["STRING", {"multiline": true}],
                "delimiter": ["STRING", {"default": "", "multiline": false}],
            }})
        },
        outputs: &[("STRING", "STRING")],
        reads: None,
        run: |call| {
            let joined = [
                call.text("string_a")?,
                call.text("delimiter")?,
                call.text("string_b")?,
            ]
            .concat();
            Ok(Made::of([Value::Plain(Json::String(joined))]))
        },
    },
    Class {
        name: "PreviewAny",
        display_name: "Preview as Text",
        category: "utilities",
        module: "comfy_extras.nodes_preview_any",
        style: Style::First,
        output_node: true,
        inputs: || json!({"required": {"source": ["*", {}]}}),
        outputs: &[("STRING", "STRING")],
        reads: None,
        run: |call| {
            let text = shown(call.value("source")?);
            Ok(Made {
                ui: Some(json!({ "text": [text] }).into()),
                outputs: [Value::Plain(Json::String(text))].into(),
            })
        },
    },
];

/// A value in words: text as it is, numbers and truth in Python's spelling, structures as indented JSON, pixels by their shape.
fn shown(value: &Value) -> String {
    match value {
        Value::Plain(Json::String(text)) => text.clone(),
        Value::Plain(Json::Bool(true)) => "True".into(),
        Value::Plain(Json::Bool(false)) => "False".into(),
        Value::Plain(Json::Null) => "None".into(),
        Value::Plain(Json::Number(number)) => number.to_string(),
        Value::Plain(structure) => {
            serde_json::to_string_pretty(structure).unwrap_or_else(|_| structure.to_string())
        }
        pixels => tensor(pixels),
    }
}

/// Pixels by their shape, and a value by itself.
pub(super) fn tensor(value: &Value) -> String {
    match value {
        Value::Image(image) => format!(
            "tensor of shape ({}, {}, {}, {})",
            image.batch(),
            image.height(),
            image.width(),
            image.channels()
        ),
        Value::Mask(mask) => format!(
            "tensor of shape ({}, {}, {})",
            mask.batch(),
            mask.height(),
            mask.width()
        ),
        Value::Plain(value) => value.to_string(),
        Value::Stand(_) => "a stand-in".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_python_spells_them() {
        for (value, text) in [
            (json!("just a literal"), "just a literal"),
            (json!(9_007_199_254_740_993_i64), "9007199254740993"),
            (json!(0.1), "0.1"),
            (json!(false), "False"),
            (json!(null), "None"),
        ] {
            assert_eq!(shown(&Value::Plain(value)), text);
        }
        let mask = kiln_pixels::solid_mask(1.0, 4, 2).unwrap();
        assert_eq!(shown(&mask.into()), "tensor of shape (1, 2, 4)");
    }
}
