//! A graph that no server was asked about, made comparable with one that a server's definitions had shaped.

use std::collections::HashMap;

use serde_json::Value;

use super::canonical;
use super::manifest::{Manifest, Tag};
use crate::workflow::Graph;

/// Gives values the type that they had in an earlier task of the same name, where they mean the same: `"20"`, written for an INT, is 20
/// once the server's definitions are known.
pub fn settle(graph: &mut Graph, earlier: &Manifest) {
    let before: HashMap<(&str, &str), &str> = earlier
        .entries
        .iter()
        .filter(|entry| entry.0 == Tag::Input)
        .filter_map(|entry| match entry.1.as_slice() {
            [node, input] => Some(((node.as_str(), input.as_str()), entry.2.as_str())),
            _ => None,
        })
        .collect();
    let mut scratch = Vec::new();
    for (id, node) in &mut graph.nodes {
        for (input, value) in &mut node.inputs {
            if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
                continue;
            }
            let Some(old) = before.get(&(id.as_str(), input.as_str())) else {
                continue;
            };
            scratch.clear();
            canonical::write(value, &mut scratch);
            if scratch == old.as_bytes() {
                continue;
            }
            if let Ok(old) = serde_json::from_str::<Value>(old)
                && means_the_same(value, &old)
            {
                *value = old;
            }
        }
    }
}

/// Whether fitting the new value to the old one's type could have given the old one.
fn means_the_same(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::String(new), Value::Number(old)) => {
            let number = serde_json::from_str::<serde_json::Number>(new.trim());
            number.is_ok_and(|new| equal(&new, old))
        }
        (Value::String(new), Value::Bool(old)) => new.trim() == if *old { "true" } else { "false" },
        (Value::Number(new), Value::Number(old)) => equal(new, old),
        (Value::Number(new), Value::String(old)) => new.to_string() == *old,
        (Value::Bool(new), Value::String(old)) => *old == if *new { "true" } else { "false" },
        _ => false,
    }
}

fn equal(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    let exact = |n: &serde_json::Number| n.as_i128();
    match (exact(a), exact(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_means_the_same_in_another_type() {
        for (new, old) in [
            (json!("20"), json!(20)),
            (json!(" 7.5"), json!(7.5)),
            (json!(7), json!(7.0)),
            (json!("true"), json!(true)),
            (json!(2), json!("2")),
        ] {
            assert!(means_the_same(&new, &old), "{new} {old}");
        }
        for (new, old) in [
            (json!("21"), json!(20)),
            (json!("x"), json!(20)),
            (json!(u64::MAX), json!(u64::MAX - 1)),
            (json!("a"), json!("b")),
            (json!("yes"), json!(true)),
        ] {
            assert!(!means_the_same(&new, &old), "{new} {old}");
        }
    }
}
