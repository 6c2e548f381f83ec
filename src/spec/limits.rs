//! `limits:` of a pipeline and `claims:` of its steps.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::reading::Reading;
use super::schema::ID;
use super::{Node, NodeKind, Pipeline, Spanned, schema};
use crate::diagnostic::{Diagnostic, codes, did_you_mean, list_of};

/// Reads `limits:`: names with how much there is of each.
pub(super) fn read_limits(
    node: &Node,
    reading: &mut Reading<'_>,
) -> IndexMap<String, Spanned<u32>> {
    let mut limits = IndexMap::new();
    for (name, value) in reading.map(node, "`limits`").unwrap_or_default() {
        reading.id(name, "the name of a limit");
        // One that cannot be read is as large as can be: claiming it is no second mistake.
        let count = reading.count(value, &format!("the limit `{}`", name.value));
        let count = count.unwrap_or(Spanned::new(u32::MAX, value.span));
        limits.insert(name.value.clone(), count);
    }
    limits
}

/// Reads `claims:`: names of limits with how much each task takes.
pub(super) fn read_claims(
    node: &Node,
    reading: &mut Reading<'_>,
) -> IndexMap<String, (Spanned<String>, Spanned<u32>)> {
    if let NodeKind::String(name) = &node.kind {
        reading.push(
            Diagnostic::error(
                &codes::WRONG_TYPE,
                "`claims` must be a map, and this is a string",
            )
            .at(node.span)
            .help(format!("say how much: `claims: {{ {name}: 1 }}`")),
        );
        return IndexMap::new();
    }
    let mut claims = IndexMap::new();
    for (name, value) in reading.map(node, "`claims`").unwrap_or_default() {
        let what = format!("the claim of `{}`", name.value);
        if let Some(count) = reading.count(value, &what) {
            claims.insert(name.value.clone(), (name.clone(), count));
        }
    }
    claims
}

/// Complains about claims that can never be met; gives those that can.
pub(super) fn check(
    step: &str,
    claims: IndexMap<String, (Spanned<String>, Spanned<u32>)>,
    pipeline: &Pipeline,
    reading: &mut Reading<'_>,
) -> IndexMap<String, Spanned<u32>> {
    let limits = || pipeline.limits.keys().map(String::as_str);
    let mut good = IndexMap::new();
    for (name, (key, claim)) in claims {
        match pipeline.limits.get(&name) {
            None => {
                let diagnostic = Diagnostic::error(
                    &codes::BAD_CLAIM,
                    format!("the step `{step}` claims `{name}`, and there is no such limit"),
                )
                .at(key.span);
                reading.push(match did_you_mean(&name, limits()) {
                    Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                    None if pipeline.limits.is_empty() => diagnostic.help(format!(
                        "declare it at the top of the pipeline: `limits: {{ {name}: {} }}`",
                        claim.value
                    )),
                    None => diagnostic.help(format!("the limits are {}", list_of(limits(), 12))),
                });
            }
            Some(limit) if claim.value > limit.value => reading.push(
                Diagnostic::error(
                    &codes::BAD_CLAIM,
                    format!(
                        "the step `{step}` claims {} of `{name}`, and there is only {}",
                        claim.value, limit.value
                    ),
                )
                .label(claim.span, "its tasks could never start")
                .also(limit.span, "all there is")
                .help("claim less, or raise the limit"),
            ),
            Some(_) => {
                good.insert(name, claim);
            }
        }
    }
    good
}

pub(super) fn limits_schema() -> Value {
    counts("How much there is of it.")
}

pub(super) fn claims_schema() -> Value {
    counts("How much of this limit each task takes while it is at work.")
}

fn counts(about: &str) -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": ID },
        "additionalProperties": schema::described(json!({ "type": "integer", "minimum": 1 }), about),
    })
}
