//! `mask(image, of=picture)`: what it is given, and whether the mask arrives anywhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CatalogOf, Given, of_text, singular};
use crate::artifact::{Datum, Kind};
use crate::base::NodeId;
use crate::diagnostic::codes;
use crate::plan::{EditValue, Plan, StepPlan, TemplateText, WorkflowStep};
use crate::template::Template;
use crate::workflow::{self, Node};

/// What a value that is one call of `mask` gives.
pub(super) fn given<'a>(
    plan: &Plan,
    step: &StepPlan,
    value: &'a EditValue,
    catalog_of: CatalogOf<'_>,
) -> Option<(&'a TemplateText, Given)> {
    let EditValue::Later(text) = value else {
        return None;
    };
    let parsed = Template::parse_expression(&text.text).ok()?;
    let arguments = parsed.call_of("mask")?;
    let mut made = Given {
        what: "`mask(…)`".to_owned(),
        kinds: Some(BTreeSet::from([Kind::Image])),
        is_file: true,
        masked: true,
        span: Some(workflow::span_of(&text.origin, &plan.sources)),
        ..Given::default()
    };
    for (_, argument) in arguments {
        let Some(picture) = of_text(plan, step, &argument, catalog_of) else {
            continue;
        };
        made.wrong.extend(picture.wrong.iter().cloned());
        if !picture.wrong.is_empty() {
            continue;
        }
        let what = &picture.what;
        if picture.many {
            made.wrong.push((
                &codes::WRONG_COUNT,
                format!("`mask` takes two pictures, and {what} is a list"),
                "make a task for each with `for_each`, or take one of them with `[0]`".to_owned(),
            ));
            continue;
        }
        let kinds = picture.kinds.unwrap_or_default();
        if let Some(first) = kinds
            .iter()
            .next()
            .filter(|_| !kinds.contains(&Kind::Image))
        {
            made.wrong.push((
                &codes::WRONG_KIND,
                format!(
                    "`mask` takes two pictures, and {what} is {}",
                    singular(*first)
                ),
                "give it `image` of a step, or `file(…)`".to_owned(),
            ));
        }
    }
    Some((text, made))
}

/// Why the mask of a picture is of no use to the node that loads it, and what to do.
pub(super) fn lost(work: &WorkflowStep, id: &NodeId, node: &Node) -> Option<(String, String)> {
    match node.class_type.as_str() {
        "LoadImage" if !is_taken(work, id, 1) => Some((
            "gets `mask(…)`, but nothing takes the mask that the node gives at output 1".to_owned(),
            "link that output to what paints with the mask, such as `mask` of VAEEncodeForInpaint or SetLatentNoiseMask"
                .to_owned(),
        )),
        "LoadImageMask" => {
            let channel = final_value(work, id, node, "channel")?;
            (channel != "alpha").then(|| {
                (
                    format!("gets `mask(…)`, whose mask is its alpha channel, but `channel` is `{channel}`"),
                    "set `channel` to `alpha`".to_owned(),
                )
            })
        }
        _ => None,
    }
}

/// Whether some node takes an output, as far as the file and `set` tell.
fn is_taken(work: &WorkflowStep, id: &NodeId, output: i64) -> bool {
    let nodes = work.graph.nodes.values();
    let mut in_file = nodes.flat_map(|node| node.inputs.values());
    let count = 2;
    let same = |slot: i64| slot == output || slot == output - count;
    let by_file = in_file.any(|value| {
        workflow::is_link(value).is_some_and(|(from, slot)| from == id.as_str() && same(slot))
    });
    let mut edits = work.edits.iter();
    let by_set = edits.any(|edit| {
        matches!(&edit.value, EditValue::Link { node, slot } if node == id && same(i64::from(*slot)))
    });
    by_file || by_set
}

/// The text that an input has after `set`, where it is known.
fn final_value(work: &WorkflowStep, id: &NodeId, node: &Node, input: &str) -> Option<String> {
    let mut edits = work.edits.iter().rev();
    match edits.find(|edit| edit.node == *id && edit.input == input) {
        Some(edit) => match &edit.value {
            EditValue::Ready(Datum::String(text)) => Some(text.clone()),
            _ => None,
        },
        None => node
            .inputs
            .get(input)
            .and_then(Value::as_str)
            .map(str::to_owned),
    }
}
