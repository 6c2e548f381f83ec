//! Templates at plan time: what can be decided now is, what needs results is kept with the steps it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;

use super::join::{join_list, join_map};
use super::scope;
use super::sealed::{EditValue, ParamValue, TemplateText};
use crate::artifact::Datum;
use crate::base::StepId;
use crate::diagnostic::{
    Diagnostic, FileId, Origin, Report, SourceMap, Span, codes, did_you_mean, list_of,
};
use crate::spec::{self, Node, NodeKind};
use crate::template::{
    Engine, FILE_MEMBERS, Scope, StepResult, TaskResult, Template, TemplateError, Uses,
};
use crate::workflow;

/// Names that only a task has, or only while it runs. `file` is one in `save_as` alone, and a function everywhere.
const LATER_NAMES: &[&str] = &["steps", "task", "run", "matrix", "item", "result"];

/// Which names exist in the templates of the step that is being planned.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    /// The keys of its matrix; empty without one.
    pub(super) matrix: Vec<String>,
    /// What its `for_each` goes through, if it has one.
    pub(super) item: Option<Each>,
    /// It has, or may have, more than one task, so that each must draw its own `random()`.
    pub(super) fans_out: bool,
}

/// What a `for_each` goes through, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    /// The tasks of a step.
    Task,
    /// Files of a step.
    File,
    /// Anything else.
    Value,
}

/// Where a template stands: in a YAML node or in a string of a workflow file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// A YAML scalar.
    Yaml(&'a Node),
    /// A JSON string.
    Json {
        /// The workflow file.
        file: FileId,
        /// The pointer to the string.
        pointer: &'a str,
    },
}

impl Place<'_> {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Yaml(node) => Origin::Written(node.span),
            Self::Json { file, pointer } => Origin::Json {
                file: *file,
                pointer: (*pointer).to_owned(),
            },
        }
    }
}

/// The place in the user's file that a range of a decoded template text means.
pub(super) fn span_of_range(
    origin: &Origin,
    text: &str,
    range: Range<usize>,
    sources: &SourceMap,
) -> Span {
    match origin {
        Origin::Written(span) => string_node(*span, text).span_within(sources, range),
        Origin::Json { file, .. } => {
            let whole = workflow::span_of(origin, sources);
            let source = &sources.file(*file).text;
            let inside = workflow::span_in_string(source, whole.start..whole.end, range);
            Span::new(*file, inside.start, inside.end)
        }
    }
}

/// A template's complaint at its own place.
pub(super) fn complaint(
    error: &TemplateError,
    text: &str,
    origin: &Origin,
    sources: &SourceMap,
) -> Diagnostic {
    match origin {
        Origin::Written(span) => {
            spec::template_diagnostic(error, &string_node(*span, text), sources)
        }
        Origin::Json { .. } => {
            let span = span_of_range(origin, text, error.range.clone(), sources);
            spec::template_diagnostic_at(error, Some(span))
                .help("texts in a workflow file are templates too; where `{{` is part of a prompt, set `template: false` on the step")
        }
    }
}

fn string_node(span: Span, text: &str) -> Node {
    Node {
        span,
        kind: NodeKind::String(text.to_owned()),
    }
}

/// What planning knows of the names that expressions use.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// Params with values.
    pub(super) params: &'a IndexMap<String, ParamValue>,
    /// Params that are declared but have no usable value (an error says so, or checking goes on without).
    pub(super) undecided: &'a BTreeSet<String>,
    /// All declared steps, usable or not.
    pub(super) steps: &'a BTreeSet<String>,
    /// The usable ones in file order.
    pub(super) order: &'a [String],
    /// The names that usable steps give to their outputs.
    pub(super) outputs: &'a BTreeMap<String, Vec<String>>,
}

/// Evaluates what can be evaluated before a run.
pub(super) struct Evaluator<'a> {
    pub(super) engine: &'a Engine,
    /// For what was typed: its paths start from the current folder.
    pub(super) typed: Typed<'a>,
    pub(super) names: Names<'a>,
    pub(super) scope: Scope,
    pub(super) report: &'a mut Report,
    /// Steps used by the step being planned, and where.
    pub(super) used: BTreeMap<String, Span>,
    /// The names of the step being planned.
    pub(super) here: Here,
}

/// What evaluates the templates of the command line.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) engine: &'a Engine,
    pub(super) folder: &'a Path,
}

/// What one place adds to the names of a plan.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that a place has, whatever else it has"
)]
pub(super) struct Extra {
    /// `value` in `set`: what the workflow file says.
    pub(super) value: Option<Datum>,
    /// `file` in `save_as`.
    pub(super) file: bool,
    /// `result` in `until`.
    pub(super) result: bool,
    /// Files in longer text stand for their paths, as in commands.
    pub(super) paths: bool,
    /// The template was typed.
    pub(super) typed: bool,
    /// The place itself, so that `random()` differs between places.
    pub(super) salt: String,
}

impl Extra {
    /// The scope with what the place adds.
    pub(super) fn onto(&self, scope: Scope) -> Scope {
        let mut scope = scope.with_salt(&self.salt);
        if self.paths {
            scope = scope.with_paths();
        }
        match &self.value {
            Some(value) => scope.with("value", value.clone()),
            None => scope,
        }
    }
}

/// When a template can be evaluated.
enum Timing {
    Now,
    Later(Vec<StepId>),
    /// It has an error that is reported.
    Never,
}

impl Evaluator<'_> {
    /// The value of a YAML node, templates evaluated where they can be. `None` when an error was reported.
    pub(super) fn value(
        &mut self,
        node: &Node,
        extra: &Extra,
        sources: &SourceMap,
    ) -> Option<EditValue> {
        match &node.kind {
            NodeKind::String(text) => self.text(text, Place::Yaml(node), extra, sources),
            NodeKind::List(items) => {
                let values: Vec<Option<EditValue>> = items
                    .iter()
                    .map(|item| self.value(item, extra, sources))
                    .collect();
                Some(join_list(values.into_iter().collect::<Option<Vec<_>>>()?))
            }
            NodeKind::Map(entries) => {
                let values: Vec<Option<(String, EditValue)>> = entries
                    .iter()
                    .map(|(key, value)| {
                        Some((key.value.clone(), self.value(value, extra, sources)?))
                    })
                    .collect();
                Some(join_map(
                    values.into_iter().collect::<Option<IndexMap<_, _>>>()?,
                ))
            }
            _ => Some(EditValue::Ready(node.to_datum())),
        }
    }

    /// The value of a text that may be a template.
    pub(super) fn text(
        &mut self,
        text: &str,
        place: Place<'_>,
        extra: &Extra,
        sources: &SourceMap,
    ) -> Option<EditValue> {
        let template = match parse_at(&place.origin(), text) {
            Ok(Some(template)) => template,
            Ok(None) => return Some(EditValue::Ready(Datum::String(text.to_owned()))),
            Err(error) => {
                self.report
                    .push(complaint(&error, text, &place.origin(), sources));
                return None;
            }
        };
        self.parsed(&template, text, place, extra, sources)
    }

    /// The value of a bare expression; a boolean or a list that is written out is itself.
    pub(super) fn expression(
        &mut self,
        node: &Node,
        extra: &Extra,
        sources: &SourceMap,
    ) -> Option<EditValue> {
        let NodeKind::String(text) = &node.kind else {
            return self.value(node, extra, sources);
        };
        match Template::parse_expression(text) {
            Ok(template) => self.parsed(&template, text, Place::Yaml(node), extra, sources),
            Err(error) => {
                let place = Place::Yaml(node);
                self.report
                    .push(complaint(&error, text, &place.origin(), sources));
                None
            }
        }
    }

    fn parsed(
        &mut self,
        template: &Template,
        text: &str,
        place: Place<'_>,
        extra: &Extra,
        sources: &SourceMap,
    ) -> Option<EditValue> {
        match self.timing(template, text, place, extra, sources) {
            Timing::Never => None,
            Timing::Later(steps) => Some(EditValue::Later(TemplateText {
                text: text.to_owned(),
                origin: place.origin(),
                steps,
                folder: extra.typed.then(|| self.typed.folder.to_path_buf()),
            })),
            Timing::Now => {
                let scope = extra.onto(self.scope.clone());
                let engine = if extra.typed {
                    self.typed.engine
                } else {
                    self.engine
                };
                match engine.eval(template, &scope) {
                    Ok(datum) => Some(EditValue::Ready(datum)),
                    Err(error) => {
                        self.report
                            .push(complaint(&error, text, &place.origin(), sources));
                        None
                    }
                }
            }
        }
    }

    /// The text of a file that is a template as a whole.
    pub(super) fn file_text(&mut self, file: FileId, sources: &SourceMap) -> Option<String> {
        let text = sources.file(file).text.clone();
        let place = |range: Range<usize>| Some(Span::new(file, range.start, range.end));
        let template = match Template::parse(&text) {
            Ok(Some(template)) => template,
            Ok(None) => return Some(text.to_string()),
            Err(error) => {
                let span = place(error.range.clone());
                self.report.push(spec::template_diagnostic_at(&error, span));
                return None;
            }
        };
        let uses = template.uses();
        let known = self.known_names(&template, &Extra::default());
        let mut errors = self.engine.check(&template, &known);
        if errors.is_empty() {
            let early = |name: &&String| LATER_NAMES.contains(&name.as_str());
            if let Some(name) = uses.names.iter().find(early) {
                let from = self.first_use(&template, name);
                let message = format!(
                    "this file is rendered before anything runs, when `{name}` has no value yet"
                );
                let help =
                    "use `params` here, and `set` in the step for what each task has of its own";
                let span = Span::new(file, from, from + name.len());
                let diagnostic = Diagnostic::error(&codes::TEMPLATE_FAILED, message);
                self.report.push(diagnostic.at(span).help(help));
                return None;
            }
            if uses.params.iter().any(|p| self.names.undecided.contains(p)) {
                // An error says why, or only a check goes on without it.
                return None;
            }
            match self.engine.eval(&template, &self.scope) {
                Ok(Datum::String(text)) => return Some(text),
                Ok(other) => return Some(other.to_json().to_string()),
                Err(error) => errors.push(error),
            }
        }
        for error in errors {
            let span = place(error.range.clone());
            self.report.push(spec::template_diagnostic_at(&error, span));
        }
        None
    }

    /// Where a template first uses a name that has no value when the plan is made.
    fn first_use(&self, template: &Template, name: &str) -> usize {
        let uses = template.uses();
        let text = template.text();
        let steps = uses.step_ranges.values().chain(&uses.bare_steps);
        let steps = steps.filter(|_| name == "steps").map(|range| {
            let until = range.end.min(range.start + name.len());
            text[..until].rfind(name).unwrap_or(range.start)
        });
        let unknown = self.engine.check(template, &self.scope);
        let others = unknown.iter().map(|error| error.range.start);
        let others = others.filter(|at| text[*at..].starts_with(name));
        steps.chain(others).min().unwrap_or_default()
    }

    /// A string that must be known before the run (`workflow`, `server`).
    pub(super) fn text_now(
        &mut self,
        node: &Node,
        what: &str,
        sources: &SourceMap,
    ) -> Option<String> {
        match self.value(node, &Extra::default(), sources)? {
            EditValue::Ready(Datum::String(text)) => Some(text),
            EditValue::Ready(other) => {
                self.report.push(
                    Diagnostic::error(
                        &codes::WRONG_TYPE,
                        format!("{what} must be a string, not {}", other.describe()),
                    )
                    .at(node.span),
                );
                None
            }
            _ => {
                self.report.push(
                    Diagnostic::error(
                        &codes::TEMPLATE_FAILED,
                        format!("{what} is decided before anything runs, so it cannot use results or names of a task"),
                    )
                    .at(node.span)
                    .help("use `params` or `env()` here"),
                );
                None
            }
        }
    }

    fn timing(
        &mut self,
        template: &Template,
        text: &str,
        place: Place<'_>,
        extra: &Extra,
        sources: &SourceMap,
    ) -> Timing {
        let uses = template.uses();
        let origin = place.origin();
        let before = self.report.items.len();
        for mut error in self
            .engine
            .check(template, &self.known_names(template, extra))
        {
            let name = text.get(error.range.clone()).unwrap_or_default();
            if let Some(why) = self.absent(name, extra) {
                error.help = Some(why);
            }
            self.report.push(complaint(&error, text, &origin, sources));
        }
        for (step, range) in &uses.step_ranges {
            let span = span_of_range(&origin, text, range.clone(), sources);
            if self.names.steps.contains(step) {
                self.used.entry(step.clone()).or_insert(span);
            } else {
                self.report.push(unknown_step(step, span, self.names.steps));
            }
        }
        if let Some(range) = &uses.bare_steps {
            let span = span_of_range(&origin, text, range.clone(), sources);
            self.report.push(
                Diagnostic::error(
                    &codes::UNDEFINED_NAME,
                    "`steps` must be followed by a step's name, so that kiln knows what to wait for",
                )
                .at(span)
                .help("write `steps.NAME`"),
            );
        }
        let wrong = self.report.items.len() > before;
        if wrong {
            return Timing::Never;
        }
        if self.waits(uses, extra) {
            let steps = uses.steps.iter().map(|s| StepId::from(s.as_str()));
            return Timing::Later(steps.collect());
        }
        Timing::Now
    }

    /// Whether it uses what is known only later.
    fn waits(&self, uses: &Uses, extra: &Extra) -> bool {
        let undecided = |param: &String| self.names.undecided.contains(param);
        uses.params.iter().any(undecided)
            || uses.names.iter().any(|name| {
                LATER_NAMES.contains(&name.as_str())
                    || extra.file && name == "file"
                    || self.here.fans_out && name == "random"
            })
    }

    /// Why a name that exists elsewhere does not exist here.
    fn absent(&self, name: &str, extra: &Extra) -> Option<String> {
        let why = match name {
            "matrix" if self.here.matrix.is_empty() => {
                "`matrix` exists in the templates of a step with `matrix:`"
            }
            "item" if self.here.item.is_none() => {
                "`item` exists in the templates of a step with `for_each:`"
            }
            "result" if !extra.result => "`result` exists in `retry.until`",
            "value" if extra.value.is_none() => {
                "`value` is what the workflow file says, and exists in `set` where that is a value"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// Every name that the place may use, whatever its value will be; of steps those that the template uses.
    fn known_names(&self, template: &Template, extra: &Extra) -> Scope {
        let mut params: IndexMap<String, Datum> = self
            .names
            .params
            .iter()
            .map(|(name, param)| (name.clone(), param.value.clone()))
            .collect();
        for name in self.names.undecided {
            params.entry(name.clone()).or_insert(Datum::Null);
        }
        let mut scope = extra
            .onto(self.scope.clone())
            .with("params", Datum::Map(params))
            .with("task", undecided(scope::TASK))
            .with("run", undecided(scope::RUN))
            .with_steps();
        if extra.file {
            scope = scope.with("file", undecided(scope::FILE));
        }
        if !self.here.matrix.is_empty() {
            let keys: Vec<&str> = self.here.matrix.iter().map(String::as_str).collect();
            scope = scope.with("matrix", undecided(&keys));
        }
        scope = match self.here.item {
            None => scope,
            Some(Each::Task) => scope.with_item(TaskResult::default()),
            Some(Each::File) => scope.with("item", undecided(FILE_MEMBERS)),
            Some(Each::Value) => scope.with("item", Datum::Null),
        };
        if extra.result {
            scope = scope.with_result(TaskResult::default());
        }
        // A pipeline has as many templates as steps, and more: looking at every step for each of them would take forever.
        for step in &template.uses().steps {
            let Some(outputs) = self.names.outputs.get(step) else {
                continue;
            };
            let result = StepResult {
                outputs: outputs.clone(),
                ..StepResult::default()
            };
            scope = scope.with_step(step, result);
        }
        scope
    }
}

/// A map whose members have no values yet.
fn undecided(members: &[&str]) -> Datum {
    let members = members.iter().map(|name| ((*name).to_owned(), Datum::Null));
    Datum::Map(members.collect())
}

/// Understands a scalar where it stands: in a workflow file `{#` is no comment.
pub(super) fn parse_at(origin: &Origin, text: &str) -> Result<Option<Template>, TemplateError> {
    match origin {
        Origin::Written(_) => Template::parse(text),
        Origin::Json { .. } => Template::parse_in_workflow(text),
    }
}

/// A complaint about a step that does not exist.
pub(super) fn unknown_step(step: &str, span: Span, steps: &BTreeSet<String>) -> Diagnostic {
    let known = || steps.iter().map(String::as_str);
    let message = format!("there is no step `{step}`");
    let complaint = Diagnostic::error(&codes::UNKNOWN_STEP, message).at(span);
    complaint.help(match did_you_mean(step, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its steps are {}", list_of(known(), 12)),
    })
}
