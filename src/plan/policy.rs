//! How a step is run beside what it does: retries, time limits, claims, cache; what the pipeline says stands in for what it does not.

use super::eval::{Evaluator, Extra};
use super::sealed::{CacheMode, EditValue, RetryClass, RetryPlan, StepPlan, Work};
use crate::artifact::Datum;
use crate::diagnostic::{Diagnostic, SourceMap, codes};
use crate::spec::{self, Node, Pipeline, Retry, Step, Transfer};

/// Fills in a planned step.
pub(super) fn apply(
    planned: &mut StepPlan,
    step: &Step,
    pipeline: &Pipeline,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) {
    if let Some(written) = step.retry.as_ref().or(pipeline.retry.as_ref()) {
        planned.retry = retry(written, evaluator, sources);
    }
    // Nothing is between kiln and a program that could pass by itself: whoever wants it tried again means its errors.
    let own = step.retry.as_ref().filter(|own| own.names_no_class());
    if own.is_some() && matches!(planned.work, Work::Command(_)) {
        planned.retry.classes.push(RetryClass::NodeError);
    }
    let mut limit = |own: &Option<Node>, common: &Option<Node>, key: &str| {
        let node = own.as_ref().or(common.as_ref())?;
        duration(node, key, evaluator, sources)
    };
    planned.timeout_ms = limit(&step.timeout, &pipeline.timeout, "timeout");
    planned.stall_timeout_ms = limit(
        &step.stall_timeout,
        &pipeline.stall_timeout,
        "stall_timeout",
    );
    planned.claims = step
        .claims
        .iter()
        .map(|(name, count)| (name.clone(), count.value))
        .collect();
    let cache = step.cache.as_ref().or(pipeline.cache.as_ref());
    planned.cache = match cache.map(|cache| cache.value) {
        None | Some(spec::CacheMode::On) => CacheMode::On,
        Some(spec::CacheMode::Off) => CacheMode::Off,
        Some(spec::CacheMode::Strict) => CacheMode::Strict,
    };
    let transfer = step.transfer.as_ref().map(|transfer| transfer.value);
    planned.transfer_upload = transfer == Some(Transfer::Upload);
    planned.allow_partial = step.allow_partial;
}

fn duration(
    node: &Node,
    key: &str,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<u64> {
    let text = match evaluator.value(node, &Extra::default(), sources)? {
        // Only a check goes on without a param's value.
        EditValue::Later(later)
            if later.steps.is_empty() && waits_for_param(&later.text, evaluator) =>
        {
            return None;
        }
        EditValue::Ready(Datum::Null) => return None,
        EditValue::Ready(_) => evaluator.text_now(node, &format!("`{key}`"), sources)?,
        _ => {
            let _ = evaluator.text_now(node, &format!("`{key}`"), sources);
            return None;
        }
    };
    match spec::parse_duration(&text) {
        Ok(milliseconds) => Some(milliseconds),
        Err(why) => {
            let diagnostic = Diagnostic::error(&codes::BAD_DURATION, format!("`{key}` {why}"));
            evaluator.report.push(diagnostic.at(node.span));
            None
        }
    }
}

fn waits_for_param(text: &str, evaluator: &Evaluator<'_>) -> bool {
    matches!(crate::template::Template::parse(text), Ok(Some(template))
        if template.uses().params.iter().any(|p| evaluator.names.undecided.contains(p)))
}

fn retry(written: &Retry, evaluator: &mut Evaluator<'_>, sources: &SourceMap) -> RetryPlan {
    let usual = RetryPlan::default();
    let delay_ms = written.delay.as_ref().map_or(usual.delay_ms, |d| d.value);
    let most = written.max_delay.as_ref().map(|d| d.value);
    let until = written.until.as_ref().and_then(|node| {
        let extra = Extra {
            result: true,
            ..Extra::default()
        };
        match evaluator.expression(node, &extra, sources)? {
            EditValue::Later(template) => Some(template),
            EditValue::Ready(Datum::Bool(true)) => None,
            EditValue::Ready(Datum::Bool(false)) => {
                let message =
                    "`until` is false whatever the result is, so no attempt could ever be good";
                let diagnostic = Diagnostic::error(&codes::BAD_EXPRESSION, message).at(node.span);
                let help = "`result` is what the attempt made: `until: result.data.score > 0.8`";
                evaluator.report.push(diagnostic.help(help));
                None
            }
            EditValue::Ready(other) => {
                let diagnostic = super::condition::no_truth("until", &other);
                evaluator.report.push(diagnostic.at(node.span));
                None
            }
            _ => None,
        }
    });
    RetryPlan {
        attempts: written.attempts.value.max(1),
        delay_ms,
        max_delay_ms: most.unwrap_or_else(|| usual.max_delay_ms.max(delay_ms)),
        classes: written.classes.iter().map(|c| class(c.value)).collect(),
        until,
    }
}

fn class(class: spec::RetryClass) -> RetryClass {
    match class {
        spec::RetryClass::Transient => RetryClass::Transient,
        spec::RetryClass::Oom => RetryClass::Oom,
        spec::RetryClass::Timeout => RetryClass::Timeout,
        spec::RetryClass::Stall => RetryClass::Stall,
        spec::RetryClass::Rejected => RetryClass::Rejected,
        spec::RetryClass::NodeError => RetryClass::NodeError,
        spec::RetryClass::Any => RetryClass::Any,
    }
}
