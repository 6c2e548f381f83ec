//! Groups of nodes as editors kept them before subgraphs: read as a sheet whose inputs and outputs are counted.

use serde_json::{Map, Value};

use super::document::{Link, Port, Sheet, count, list, node};

/// The id that stands for the group's inputs.
const INPUTS: &str = "-10";
/// The id that stands for its outputs.
const OUTPUTS: &str = "-20";

/// The sheet of a group. Every input that has no link inside is one of the group's, in the order of its nodes; and so is every output
/// that leads nowhere inside, or outside too.
pub(super) fn sheet<'a>(
    name: &'a str,
    group: &'a Value,
    pointer: &str,
    broken: &mut Vec<(String, &'static str)>,
) -> Sheet<'a> {
    static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let mut sheet = Sheet {
        name,
        group: Some(
            group
                .get("config")
                .and_then(Value::as_object)
                .unwrap_or(&NOTHING),
        ),
        input_node: INPUTS.to_owned(),
        output_node: OUTPUTS.to_owned(),
        pointer: pointer.to_owned(),
        ..Sheet::default()
    };
    for (at, value) in list(group.get("nodes")).iter().enumerate() {
        let place = format!("{pointer}/nodes/{at}");
        match node(value, Some(at), &place) {
            Ok(mut node) => {
                for input in &mut node.inputs {
                    input.link = None;
                }
                sheet.nodes.insert(node.id.clone(), node);
            }
            Err(reason) => broken.push((place, reason)),
        }
    }
    let mut used = Vec::new();
    for (at, value) in list(group.get("links")).iter().enumerate() {
        let Value::Array(parts) = value else { continue };
        let part = |place: usize| parts.get(place).and_then(count);
        let (Some(from), Some(from_slot), Some(to), Some(to_slot)) =
            (part(0), part(1), part(2), part(3))
        else {
            continue;
        };
        used.push((from, from_slot));
        let id = format!("inside {at}");
        connect(&mut sheet, &id, &from.to_string(), from_slot, to, to_slot);
    }
    inputs(&mut sheet);
    outputs(&mut sheet, group, &used);
    sheet
}

fn connect(
    sheet: &mut Sheet<'_>,
    id: &str,
    origin: &str,
    origin_slot: usize,
    to: usize,
    to_slot: usize,
) {
    let target = to.to_string();
    let Some(input) = sheet
        .nodes
        .get_mut(&target)
        .and_then(|node| node.inputs.get_mut(to_slot))
    else {
        return;
    };
    input.link = Some(id.to_owned());
    sheet.links.insert(
        id.to_owned(),
        Link {
            origin: origin.to_owned(),
            origin_slot,
            target,
            target_slot: to_slot,
        },
    );
}

fn inputs(sheet: &mut Sheet<'_>) {
    let mut open = Vec::new();
    for (node, value) in sheet.nodes.values().enumerate() {
        for (slot, input) in value.inputs.iter().enumerate() {
            if input.link.is_none() {
                let place: usize = value.id.parse().unwrap_or(node);
                open.push((place, slot, input.name));
            }
        }
    }
    for (place, slot, name) in open {
        let id = format!("into {}", sheet.inputs.len());
        let port = sheet.inputs.len();
        connect(sheet, &id, INPUTS, port, place, slot);
        sheet.inputs.push(Port {
            name,
            links: vec![id],
        });
    }
}

fn outputs(sheet: &mut Sheet<'_>, group: &Value, used: &[(usize, usize)]) {
    let outside: Vec<(usize, usize)> = list(group.get("external"))
        .iter()
        .filter_map(|entry| {
            let part = |place: usize| entry.get(place).and_then(count);
            Some((part(0)?, part(1)?))
        })
        .collect();
    let mut open = Vec::new();
    for node in sheet.nodes.values() {
        let Ok(place) = node.id.parse::<usize>() else {
            continue;
        };
        for slot in 0..node.outputs.len() {
            if !used.contains(&(place, slot)) || outside.contains(&(place, slot)) {
                open.push((node.id.clone(), slot));
            }
        }
    }
    for (origin, origin_slot) in open {
        let id = format!("out of {}", sheet.outputs.len());
        sheet.links.insert(
            id.clone(),
            Link {
                origin,
                origin_slot,
                target: OUTPUTS.to_owned(),
                target_slot: sheet.outputs.len(),
            },
        );
        sheet.outputs.push(Port {
            name: "",
            links: vec![id],
        });
    }
}
