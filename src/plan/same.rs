//! Whether two plans do the same: a comment, an indent or a new line moves the places in a file, and changes nothing else.

use std::collections::HashSet;
use std::path::Path;

use indexmap::IndexMap;

use super::sealed::{EditValue, Grow, Plan, StepPlan, TemplateText, Work};
use crate::base::Input;
use crate::diagnostic::{FileId, Origin, SourceMap, Span};

/// A place that stands for all.
const NOWHERE: Span = Span {
    file: FileId(0),
    start: 0,
    end: 0,
};

impl Plan {
    /// Whether this plan and another one do the same, whenever they were made and wherever in the files it is written. Where that is not
    /// plain, they do not.
    pub fn does_the_same(&self, other: &Self) -> bool {
        let (own, theirs) = (texts(self), texts(other));
        let is_text = |path: &Path| own.contains(path) && theirs.contains(path);
        bare(self, is_text) == bare(other, is_text)
    }
}

/// The files whose texts the plan was made of: what they say is in the plan itself.
fn texts(plan: &Plan) -> HashSet<&Path> {
    let files = plan.sources.files().map(|(_, file)| file);
    files.filter_map(|file| file.path.as_deref()).collect()
}

/// A plan without its places, its texts and the moment at which it was made.
fn bare(plan: &Plan, is_text: impl Fn(&Path) -> bool) -> Plan {
    let mut plan = plan.clone();
    plan.sources = SourceMap::default();
    plan.started_at = jiff::Zoned::default();
    plan.no_partner_key.clear();
    plan.inputs
        .retain(|input| !matches!(input, Input::File { path, .. } if is_text(path)));
    for server in plan.servers.values_mut() {
        server.span = None;
    }
    for step in plan.steps.values_mut() {
        strip(step);
    }
    for plugin in plan.plugins.values_mut() {
        (plugin.span, plugin.path_span, plugin.config_span) = (None, None, None);
    }
    plan
}

fn strip(step: &mut StepPlan) {
    step.span = None;
    step.output_spans.clear();
    match &mut step.grow {
        Grow::Known | Grow::Stream { list: None, .. } => {}
        Grow::Later { list }
        | Grow::Stream {
            list: Some(list), ..
        } => template(list),
    }
    let more = [&mut step.when, &mut step.save_as, &mut step.retry.until];
    more.into_iter().flatten().for_each(template);
    match &mut step.work {
        Work::Workflow(work) => {
            for set in &mut work.edits {
                origin(&mut set.origin);
                set.key = None;
                value(&mut set.value);
            }
            for written in &mut work.in_file {
                value(&mut written.value);
            }
            for (_, place) in &mut work.bypassed {
                *place = NOWHERE;
            }
            for (_, place) in &mut work.removed {
                *place = NOWHERE;
            }
        }
        Work::Command(command) => {
            command.spans.clear();
            command.args.iter_mut().for_each(value);
            command.stdin.iter_mut().for_each(value);
            values(&mut command.env);
        }
        Work::Plugin(work) => {
            work.span = NOWHERE;
            work.spans.clear();
            value(&mut work.with);
        }
    }
}

fn values(map: &mut IndexMap<String, EditValue>) {
    map.values_mut().for_each(value);
}

fn value(of: &mut EditValue) {
    match of {
        EditValue::Ready(_) | EditValue::Link { .. } => {}
        EditValue::Later(text) => template(text),
        EditValue::List(items) => items.iter_mut().for_each(value),
        EditValue::Map(map) => values(map),
    }
}

fn template(text: &mut TemplateText) {
    origin(&mut text.origin);
}

/// A place in a pipeline may move; one in a graph is a part of it.
fn origin(of: &mut Origin) {
    if let Origin::Written(place) = of {
        *place = NOWHERE;
    }
}
