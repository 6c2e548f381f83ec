//! `workflow::import` against what the editor itself sends for the official templates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln::catalog::{Catalog, InputType};
use kiln::workflow::import;
use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value};

/// Files whose graph may differ: one holds a value that the editor puts into another field when it brings the file up to date.
const MAY_DIFFER: usize = 1;

pub(crate) fn trials(fixtures: Option<&Path>) -> Vec<Trial> {
    vec![crate::trial(
        fixtures,
        "drawings_become_what_the_editor_sends",
        compare,
    )]
}

fn compare(folder: &Path) -> Result<(), Failed> {
    let catalog = std::fs::read_to_string(folder.join("object_info.json"))?;
    let (catalog, _) = Catalog::from_json(&catalog)?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("workflows/ui"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut wrong = String::new();
    let (mut same, mut exact) = (0, 0);
    let mut took = std::time::Duration::ZERO;
    for file in &files {
        let name = file.file_name().unwrap_or_default();
        let text = std::fs::read_to_string(file)?;
        let wanted = std::fs::read_to_string(folder.join("workflows/api").join(name))?;
        let wanted: Value = serde_json::from_str(&wanted)?;
        let started = Instant::now();
        let Some(drawn) = import::drawn(&text) else {
            let _ = writeln!(wrong, "{}: is no drawing", file.display());
            continue;
        };
        let imported = drawn.convert(&catalog, 0);
        took += started.elapsed();
        let mut got = serde_json::to_value(&imported.graph)?;
        for id in &imported.unknown {
            if let Some(node) = got[id.as_str()].as_object_mut() {
                node.shift_remove("class_type");
            }
        }
        exact += usize::from(plain(&got, None) == plain(&wanted, None));
        let (got, wanted) = (plain(&got, Some(&catalog)), plain(&wanted, Some(&catalog)));
        if got == wanted {
            same += 1;
            continue;
        }
        let ids = wanted.keys().chain(got.keys());
        let differ = ids.filter(|id| wanted.get(*id) != got.get(*id)).take(4);
        let _ = writeln!(
            wrong,
            "{}: {:?}",
            file.display(),
            differ.collect::<Vec<_>>()
        );
    }
    eprintln!(
        "{same} of {} graphs the same over declared inputs, {exact} exactly, in {took:?}",
        files.len()
    );
    if same + MAY_DIFFER >= files.len() && !files.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

type Plain = BTreeMap<String, (Value, Map<String, Value>)>;

/// Classes and inputs by node; with a catalog, only inputs that it declares.
fn plain(graph: &Value, catalog: Option<&Catalog>) -> Plain {
    let nodes = graph.as_object().into_iter().flatten();
    nodes
        .map(|(id, node)| {
            let class = node.get("class_type").cloned().unwrap_or_default();
            let mut inputs = node["inputs"].as_object().cloned().unwrap_or_default();
            if let Some(catalog) = catalog {
                inputs.retain(|name, _| declared(catalog, class.as_str(), name));
            }
            (
                id.clone(),
                (
                    class,
                    inputs
                        .into_iter()
                        .map(|(name, value)| (name, number(value)))
                        .collect(),
                ),
            )
        })
        .collect()
}

/// A number is the same with and without a point.
fn number(value: Value) -> Value {
    match value.as_f64() {
        Some(float) if value.is_f64() => serde_json::from_str(&float.to_string()).unwrap_or(value),
        _ => value,
    }
}

fn declared(catalog: &Catalog, class: Option<&str>, name: &str) -> bool {
    // A snapshot named after the clock.
    if class == Some("Load3D") && name == "image" {
        return false;
    }
    let Some(def) = class.and_then(|class| catalog.node(class)) else {
        return true;
    };
    def.inputs.iter().any(|input| {
        let dynamic = matches!(
            input.ty,
            InputType::Autogrow(_)
                | InputType::DynamicCombo(_)
                | InputType::DynamicSlot { .. }
                | InputType::MatchType { .. }
        );
        let inside = name
            .strip_prefix(&input.name)
            .is_some_and(|rest| rest.starts_with('.'));
        input.name == name || dynamic && inside
    })
}
