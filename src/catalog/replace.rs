//! Classes that have taken the place of others: a server puts them in before it looks at a graph, where it does not have the old class.

use std::sync::LazyLock;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What takes the place of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replacement {
    /// The class.
    pub new_node_id: String,
    /// What becomes of the inputs; without it they stay as they are.
    #[serde(default)]
    pub input_mapping: Option<Vec<InputMapping>>,
    /// What becomes of the outputs; without it they stay as they are.
    #[serde(default)]
    pub output_mapping: Option<Vec<OutputMapping>>,
}

/// Where an input of the new class comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputMapping {
    /// The input.
    pub new_id: String,
    /// The input of the old class that it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_id: Option<String>,
    /// The value that it gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_value: Option<Value>,
}

/// Which output of the new class stands for one of the old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputMapping {
    /// The new one.
    pub new_idx: i64,
    /// The old one.
    pub old_idx: i64,
}

/// Replacements by the old class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Replacements {
    by_class: IndexMap<String, Replacement>,
}

/// What `ComfyUI` itself registers, of the classes that it has no longer (0.33.0, `GET /node_replacements`).
static USUAL: LazyLock<Replacements> = LazyLock::new(|| {
    let new = |old: &str, new: &str, mapping: Option<Vec<InputMapping>>| {
        let replacement = Replacement {
            new_node_id: new.to_owned(),
            input_mapping: mapping,
            output_mapping: None,
        };
        (old.to_owned(), replacement)
    };
    let control_net = InputMapping {
        new_id: "control_net_name".to_owned(),
        old_id: Some("t2i_adapter_name".to_owned()),
        set_value: None,
    };
    let by_class = [
        new(
            "T2IAdapterLoader",
            "ControlNetLoader",
            Some(vec![control_net]),
        ),
        new("Load3DAnimation", "Load3D", None),
        new("Preview3DAnimation", "Preview3D", None),
        new("SDV_img2vid_Conditioning", "SVD_img2vid_Conditioning", None),
        new("ConditioningAverage ", "ConditioningAverage", None),
    ];
    Replacements {
        by_class: by_class.into_iter().collect(),
    }
});

impl Replacements {
    /// The replacements of an answer to `GET /node_replacements`: of several for a class a server takes the first. What makes no sense
    /// is left out.
    pub fn read(told: &Value) -> Self {
        let all = told.as_object().into_iter().flatten();
        let first = all.filter_map(|(old, new)| {
            let new = match new {
                Value::Array(list) => list.first()?,
                one => one,
            };
            Some((old.clone(), Replacement::deserialize(new).ok()?))
        });
        Self {
            by_class: first.collect(),
        }
    }

    /// What takes the place of a class.
    pub fn of(&self, class: &str) -> Option<&Replacement> {
        self.by_class.get(class)
    }

    /// What `ComfyUI` itself registers, where a server was not asked.
    pub fn usual() -> &'static Self {
        &USUAL
    }

    /// Adds those of another list.
    pub(super) fn extend(&mut self, other: Self) {
        self.by_class.extend(other.by_class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_read_as_far_as_it_makes_sense() {
        let told = json!({
            "Old": [{"new_node_id": "New", "old_node_id": "Old", "input_mapping": [{"new_id": "a", "old_id": "b"}, {"new_id": "c", "set_value": 3}], "output_mapping": [{"new_idx": 1, "old_idx": 0}]}, {"new_node_id": "Later"}],
            "Bare": [{"new_node_id": "New", "input_mapping": null, "output_mapping": null}],
            "None": [], "Odd": [7], "Text": "x", "Nothing": null, "Wrong": [{"new_node_id": "N", "input_mapping": {"a": 1}}],
        });
        let read = Replacements::read(&told);
        assert_eq!(read.of("Old").unwrap().new_node_id, "New");
        let inputs = read.of("Old").unwrap().input_mapping.as_ref().unwrap();
        assert_eq!(inputs[0].old_id.as_deref(), Some("b"));
        assert_eq!(inputs[1].set_value, Some(json!(3)));
        assert_eq!(read.of("Bare").unwrap().input_mapping, None);
        for odd in ["None", "Odd", "Text", "Nothing", "Wrong", "New"] {
            assert_eq!(read.of(odd), None, "{odd}");
        }
        let kept = serde_json::to_value(&read).unwrap();
        assert_eq!(Replacements::read(&kept), read);
    }
}
