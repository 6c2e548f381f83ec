//! What a task of a plugin's step is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::evaluate::{Evaluation, Reading};
use super::scope::Results;
use super::sealed::{EditValue, Plan, PluginStep, TaskPlan, Work};
use crate::artifact::{Artifact, Datum};
use crate::base::ContentHash;
use crate::diagnostic::{Diagnostic, Report, Span, codes};
use crate::plugin::{self, Shape};

/// A plugin's task with everything that it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedPlugin {
    /// The plugin.
    pub plugin: String,
    /// What it adds to the task's key.
    pub shape: Shape,
    /// `with:`, every template evaluated, with placeholders for secrets.
    pub with: IndexMap<String, Datum>,
    /// The files in `with`, each with the hash of its content; sorted by path.
    pub files: Vec<(PathBuf, ContentHash)>,
}

impl RenderedPlugin {
    /// The value with other files in the place of some.
    #[must_use]
    pub fn moved(&self, moved: &std::collections::HashMap<PathBuf, PathBuf>) -> Datum {
        let with = self.with.iter();
        Datum::Map(
            with.map(|(key, value)| (key.clone(), swapped(value, moved)))
                .collect(),
        )
    }
}

fn swapped(value: &Datum, moved: &std::collections::HashMap<PathBuf, PathBuf>) -> Datum {
    match value {
        Datum::List(items) => Datum::List(items.iter().map(|item| swapped(item, moved)).collect()),
        Datum::Map(entries) => Datum::Map(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), swapped(value, moved)))
                .collect(),
        ),
        Datum::File(file) => match moved.get(&file.path) {
            Some(new) => Datum::File(crate::artifact::FileValue {
                path: new.clone(),
                ..file.clone()
            }),
            None => value.clone(),
        },
        Datum::Artifact(artifact) => {
            match artifact.path.as_ref().and_then(|path| moved.get(path)) {
                Some(new) => Datum::Artifact(Arc::new(Artifact {
                    path: Some(new.clone()),
                    ..Artifact::clone(artifact)
                })),
                None => value.clone(),
            }
        }
        _ => value.clone(),
    }
}

/// The task of a plugin's step whose needs have ended.
///
/// # Errors
/// Everything that is wrong with its values, each at the user's own line.
pub fn render_plugin(
    plan: &Plan,
    task: &TaskPlan,
    results: &Results,
    attempt: u32,
) -> Result<RenderedPlugin, Report> {
    let step = &plan.steps[&task.step];
    let Work::Plugin(work) = &step.work else {
        unreachable!("only a plugin's step is rendered as one")
    };
    let mut rendering = Rendering::new(
        plan,
        work,
        Evaluation::of_task(plan, task, results, attempt),
    );
    let with = rendering.with();
    let shape = plan.plugins.get(&work.plugin).map(plugin::Declared::shape);
    match (with, shape) {
        (Some(with), Some(shape)) if !rendering.report.has_errors() => {
            let mut files = BTreeMap::new();
            with.values()
                .for_each(|value| note_files(value, &mut files));
            Ok(RenderedPlugin {
                plugin: work.plugin.clone(),
                shape,
                with,
                files: files.into_iter().collect(),
            })
        }
        _ => Err(rendering.report),
    }
}

/// What can be said against a task of a plugin's step before anything ran.
pub fn preview_plugin(plan: &Plan, task: &TaskPlan, work: &PluginStep) -> Report {
    let mut rendering = Rendering::new(plan, work, Evaluation::before(plan, task));
    let _ = rendering.with();
    rendering.report
}

fn note_files(value: &Datum, files: &mut BTreeMap<PathBuf, ContentHash>) {
    match value {
        Datum::File(file) => {
            files.insert(file.path.clone(), file.hash);
        }
        Datum::Artifact(artifact) => {
            if let Some(path) = artifact
                .path
                .as_ref()
                .filter(|_| artifact.as_text().is_none())
            {
                files.insert(path.clone(), artifact.hash);
            }
        }
        Datum::List(items) => items.iter().for_each(|item| note_files(item, files)),
        Datum::Map(entries) => entries.values().for_each(|item| note_files(item, files)),
        _ => {}
    }
}

struct Rendering<'a> {
    plan: &'a Plan,
    work: &'a PluginStep,
    names: Evaluation<'a>,
    report: Report,
    /// Places whose values are not known yet.
    unknown: Vec<String>,
}

impl<'a> Rendering<'a> {
    fn new(plan: &'a Plan, work: &'a PluginStep, names: Evaluation<'a>) -> Self {
        Self {
            plan,
            work,
            names,
            report: Report::default(),
            unknown: Vec::new(),
        }
    }

    /// The values, held against the plugin's schema as far as they are known; `None` when an error was reported.
    fn with(&mut self) -> Option<IndexMap<String, Datum>> {
        let before = self.report.items.len();
        let value = self.value(&self.work.with, "");
        if self.report.items.len() > before {
            return None;
        }
        let about = self.plan.loaded.about(&self.work.plugin);
        let kind = about.and_then(|about| about.step.as_ref())?;
        let given = plugin::handed(&value);
        self.unknown.extend(plugin::secrets_in(&given));
        let wrong = plugin::mismatches(&kind.with, &given, &self.unknown);
        let failed = !wrong.is_empty();
        for mismatch in wrong {
            let place = mismatch.pointer.trim_start_matches('/').replace('/', ".");
            let place = match place.as_str() {
                "" => "`with`".to_owned(),
                place => format!("`with.{place}`"),
            };
            let message = format!(
                "the plugin `{}` does not take this {place}: {}",
                self.work.plugin, mismatch.message
            );
            let mut built = Diagnostic::error(&codes::BAD_PLUGIN_INPUT, message)
                .at(self.span(&mismatch.pointer));
            if let Some(near) = mismatch.near {
                built = built.help(format!("did you mean `{near}`?"));
            }
            if let Some(declared) = self.plan.loaded.declared(&self.work.plugin) {
                built = built.help(plugin::what_it_takes(declared));
            }
            self.report.push(built);
        }
        match value {
            Datum::Map(entries) if !failed => Some(entries),
            _ => None,
        }
    }

    /// The place of a value, or of what it is in.
    fn span(&self, pointer: &str) -> Span {
        let mut pointer = pointer;
        loop {
            let found = self.work.spans.iter().find(|(place, _)| place == pointer);
            if let Some((_, span)) = found.filter(|(place, _)| !place.is_empty()) {
                return *span;
            }
            match pointer.rfind('/') {
                Some(at) => pointer = &pointer[..at],
                // All of `with` would be too much to show.
                None => return self.work.span,
            }
        }
    }

    /// A value; what is not known yet is null and noted.
    fn value(&mut self, value: &EditValue, pointer: &str) -> Datum {
        let below = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        match value {
            EditValue::Ready(datum) => datum.clone(),
            EditValue::List(items) => Datum::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.value(item, &below(&at.to_string())))
                    .collect(),
            ),
            EditValue::Map(entries) => Datum::Map(
                entries
                    .iter()
                    .map(|(key, item)| (key.clone(), self.value(item, &below(key))))
                    .collect(),
            ),
            EditValue::Link { node, slot } => Datum::List(vec![
                Datum::String(node.0.clone()),
                Datum::Number((*slot).into()),
            ]),
            EditValue::Later(template) => {
                let place = format!("with{pointer}");
                match self.names.eval(template, Reading::Scalar, &place, None) {
                    Ok(Some(datum)) => datum,
                    Ok(None) => {
                        self.unknown.push(pointer.to_owned());
                        Datum::Null
                    }
                    Err(diagnostic) => {
                        self.report.push(*diagnostic);
                        Datum::Null
                    }
                }
            }
        }
    }
}
