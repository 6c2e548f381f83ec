//! A task's command, ready to be started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::evaluate::{Evaluation, Reading};
use super::pattern::Pattern;
use super::scope::{Results, TaskOutcome};
use super::sealed::{CommandStep, EditValue, Item, Plan, TaskPlan, TemplateText, Work};
use crate::artifact::Datum;
use crate::base::{ContentHash, Input, programs};
use crate::diagnostic::{Diagnostic, Report, Span, codes, did_you_mean};
use crate::spec;

/// A program with everything that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedCommand {
    /// The program: a bare name, looked up in `PATH`, or an absolute path.
    pub program: PathBuf,
    /// Its arguments, with placeholders for secrets.
    pub args: Vec<String>,
    /// Its environment beside `PATH`, `HOME` and `TMPDIR`, with placeholders for secrets.
    pub env: IndexMap<String, String>,
    /// What it reads, with placeholders for secrets.
    pub stdin: Option<String>,
    /// The files whose absolute paths stand in all of these, and the program itself where it is a file of the user's, each with the
    /// hash of its content; sorted by path.
    pub files: Vec<(PathBuf, ContentHash)>,
}

/// The command of a task whose needs have ended.
///
/// # Errors
/// Everything that is wrong with its values, each at the user's own line.
pub fn render_command(
    plan: &Plan,
    task: &TaskPlan,
    results: &Results,
    attempt: u32,
) -> Result<RenderedCommand, Report> {
    let step = &plan.steps[&task.step];
    let places = || known_files(plan, task, results);
    let names = Evaluation::of_task(plan, task, results, attempt);
    let mut rendering = Rendering::new(plan, names, &places);
    let Work::Command(command) = &step.work else {
        let message = format!("the step `{}` runs no command", step.id);
        rendering
            .report
            .push(Diagnostic::error(&codes::WRONG_STEP_KIND, message));
        return Err(rendering.report);
    };
    let rendered = rendering.command(command);
    match rendered {
        Some(rendered) if !rendering.report.has_errors() => Ok(rendered),
        _ => Err(rendering.report),
    }
}

/// What can be said against a task's command before anything ran.
pub fn preview_command(plan: &Plan, task: &TaskPlan, command: &CommandStep) -> Report {
    let names = Evaluation::before(plan, task);
    let mut rendering = Rendering::new(plan, names, &BTreeMap::new);
    let _ = rendering.command(command);
    rendering.report.extend(not_in_path(command));
    rendering.report.extend(beside(plan, command));
    rendering.report
}

/// Warnings about arguments that name a file beside the pipeline: the program runs elsewhere, and does not find it.
fn beside(plan: &Plan, command: &CommandStep) -> Vec<Diagnostic> {
    let args = command.args.iter().zip(&command.spans).skip(1);
    let found = args.filter_map(|(value, span)| {
        let EditValue::Ready(Datum::String(arg)) = value else {
            return None;
        };
        let help = file_beside(plan, command, arg)?;
        let message = format!(
            "`{arg}` is a file beside the pipeline, and the program runs in a folder of its own"
        );
        let warning = Diagnostic::warning(&codes::BAD_COMMAND, message);
        Some(warning.at(*span).help(help))
    });
    found.collect()
}

/// How to give a program the file beside the pipeline that an argument names by a relative path. What the program is to write may have
/// the name of such a file.
pub fn file_beside(plan: &Plan, command: &CommandStep, arg: &str) -> Option<String> {
    let there = spec::names_a_file(&plan.pipeline_dir, arg);
    let written = || {
        let patterns = command.collect.values();
        let mut patterns = patterns.filter_map(|text| Pattern::new(Path::new(""), text).ok());
        patterns.any(|pattern| pattern.matches(Path::new(arg)))
    };
    (there && !written()).then(|| format!("write `{}`", spec::as_file(arg)))
}

/// A warning about a program that is not to be found on this machine now.
fn not_in_path(command: &CommandStep) -> Option<Diagnostic> {
    let Some(EditValue::Ready(Datum::String(name))) = command.args.first() else {
        return None;
    };
    let with_folder = name.contains(['/', std::path::MAIN_SEPARATOR]);
    if with_folder || name.is_empty() || programs::find(name, Path::new("")).is_some() {
        return None;
    }
    let message = format!("there is no program `{name}` in PATH");
    let mut warning = Diagnostic::warning(&codes::PROGRAM_NOT_FOUND, message);
    if let Some(span) = command.spans.first() {
        warning = warning.at(*span);
    }
    let all = programs::all();
    Some(match did_you_mean(name, all.iter().map(String::as_str)) {
        Some(near) => warning.help(format!("did you mean `{near}`?")),
        None => warning.help("install it, or write where it is, before the pipeline runs"),
    })
}

/// Every file that could stand in a command by its path: the user's own, and results.
fn known_files(plan: &Plan, task: &TaskPlan, results: &Results) -> BTreeMap<PathBuf, ContentHash> {
    let mut places = BTreeMap::new();
    for input in &plan.inputs {
        if let Input::File {
            path,
            hash: Some(hash),
            ..
        } = input
        {
            places.insert(path.clone(), *hash);
        }
    }
    for param in plan.params.values() {
        note_files(&param.value, &mut places);
    }
    for value in task.matrix.values() {
        note_files(value, &mut places);
    }
    let of_tasks = |tasks: &[Arc<TaskOutcome>], places: &mut BTreeMap<PathBuf, ContentHash>| {
        for artifact in tasks.iter().flat_map(|task| &task.artifacts) {
            note_files(&Datum::Artifact(Arc::clone(artifact)), places);
        }
    };
    for outcome in results.steps.values().chain(plan.given.values()) {
        of_tasks(&outcome.tasks, &mut places);
    }
    if let Some(outcome) = &results.item {
        of_tasks(std::slice::from_ref(outcome), &mut places);
    }
    match &task.item {
        Some(Item::Value(value)) => note_files(value, &mut places),
        Some(Item::Given(outcome)) => of_tasks(std::slice::from_ref(outcome), &mut places),
        _ => {}
    }
    places
}

fn note_files(value: &Datum, places: &mut BTreeMap<PathBuf, ContentHash>) {
    match value {
        Datum::File(file) => {
            places.insert(file.path.clone(), file.hash);
        }
        Datum::Artifact(artifact) => {
            if let Some(path) = &artifact.path {
                places.insert(path.clone(), artifact.hash);
            }
        }
        Datum::List(items) => items.iter().for_each(|item| note_files(item, places)),
        Datum::Map(entries) => entries.values().for_each(|item| note_files(item, places)),
        _ => {}
    }
}

type KnownFiles<'a> = dyn Fn() -> BTreeMap<PathBuf, ContentHash> + 'a;

struct Rendering<'a> {
    plan: &'a Plan,
    names: Evaluation<'a>,
    report: Report,
    used: BTreeMap<PathBuf, ContentHash>,
    /// What [`known_files`] tells, for commands that need it: a run's files are as many as its tasks.
    places: &'a KnownFiles<'a>,
}

impl<'a> Rendering<'a> {
    fn new(plan: &'a Plan, mut names: Evaluation<'a>, places: &'a KnownFiles<'a>) -> Self {
        names.print_paths();
        Self {
            plan,
            names,
            report: Report::default(),
            used: BTreeMap::new(),
            places,
        }
    }

    /// `None` when an error was reported, or a value cannot be known yet.
    fn command(&mut self, command: &CommandStep) -> Option<RenderedCommand> {
        let mut args = Vec::new();
        let mut complete = true;
        for (at, (value, span)) in command.args.iter().zip(&command.spans).enumerate() {
            match self.value(value, &format!("command/{at}")) {
                Some(value) => self.splice(&value, *span, &mut args),
                None => complete = false,
            }
        }
        let mut env = IndexMap::new();
        for (name, value) in &command.env {
            match self.value(value, &format!("env/{name}")) {
                // As elsewhere, `null` leaves it out.
                Some(Datum::Null) => {}
                Some(value) => {
                    env.insert(name.clone(), self.text(&value));
                }
                None => complete = false,
            }
        }
        let mut stdin = None;
        if let Some(value) = &command.stdin {
            match self.value(value, "stdin") {
                Some(Datum::Null) => {}
                Some(value) => stdin = Some(self.text(&value)),
                None => complete = false,
            }
        }
        if !complete {
            return None;
        }
        self.mentioned(args.iter().chain(env.values()).chain(&stdin));
        let mut args = args.into_iter();
        let Some(program) = args.next().filter(|program| !program.is_empty()) else {
            let diagnostic = Diagnostic::error(&codes::BAD_COMMAND, "the command names no program");
            self.report.push(match command.spans.first() {
                Some(span) => diagnostic.at(*span),
                None => diagnostic,
            });
            return None;
        };
        let program = self.program(&program, command.spans.first().copied())?;
        Some(RenderedCommand {
            program,
            args: args.collect(),
            env,
            stdin,
            files: std::mem::take(&mut self.used).into_iter().collect(),
        })
    }

    /// A program with a `/` lies relative to the pipeline file, and its content counts.
    fn program(&mut self, program: &str, span: Option<Span>) -> Option<PathBuf> {
        if !program.contains(['/', std::path::MAIN_SEPARATOR]) {
            return Some(PathBuf::from(program));
        }
        let path = self.plan.pipeline_dir.join(program);
        match self.names.reads().inputs().hash(&path) {
            Ok((hash, _)) => {
                self.used.insert(path.clone(), hash);
                Some(path)
            }
            Err(error) => {
                let mut diagnostic =
                    Diagnostic::error(&codes::FILE_NOT_READABLE, error.to_string());
                if let Some(span) = span {
                    diagnostic = diagnostic.at(span);
                }
                if let Some(near) = super::steps::neighbour(&path) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.report.push(diagnostic.help(
                    "a program with a `/` is relative to the pipeline file; one without is looked up in PATH",
                ));
                None
            }
        }
    }

    fn splice(&mut self, value: &Datum, span: Span, args: &mut Vec<String>) {
        match value {
            Datum::List(items) => {
                for item in items {
                    self.splice(item, span, args);
                }
            }
            Datum::Null => self.report.push(
                Diagnostic::error(&codes::BAD_COMMAND, "`null` is no argument")
                    .at(span)
                    .help("a list takes any number of arguments, `[]` none: `{{ ['-x', y] if y else [] }}`"),
            ),
            other => {
                let text = self.text(other);
                args.push(text);
            }
        }
    }

    /// A value as text; a file is its absolute path.
    fn text(&mut self, value: &Datum) -> String {
        note_files(value, &mut self.used);
        match value {
            Datum::String(text) => text.clone(),
            other => match other.to_json() {
                serde_json::Value::String(text) => text,
                json => json.to_string(),
            },
        }
    }

    /// Files whose paths stand inside longer texts. A text that is nothing but the path of a file is known for that already.
    fn mentioned<'t>(&mut self, texts: impl Iterator<Item = &'t String>) {
        let long = |text: &&String| {
            text.contains(['/', '\\']) && !self.used.contains_key(Path::new(text.as_str()))
        };
        let long: Vec<&String> = texts.filter(long).collect();
        if long.is_empty() {
            return;
        }
        for (path, hash) in &(self.places)() {
            let shown = path.display().to_string();
            if long.iter().any(|text| text.contains(&shown)) {
                self.used.insert(path.clone(), *hash);
            }
        }
    }

    fn value(&mut self, value: &EditValue, place: &str) -> Option<Datum> {
        match value {
            EditValue::Ready(datum) => Some(datum.clone()),
            EditValue::Later(template) => self.template(template, place),
            EditValue::List(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| self.value(item, &format!("{place}/{at}")))
                .collect::<Option<Vec<_>>>()
                .map(Datum::List),
            EditValue::Map(entries) => entries
                .iter()
                .map(|(key, item)| {
                    Some((key.clone(), self.value(item, &format!("{place}/{key}"))?))
                })
                .collect::<Option<IndexMap<_, _>>>()
                .map(Datum::Map),
            EditValue::Link { node, slot } => Some(Datum::List(vec![
                Datum::String(node.0.clone()),
                Datum::Number((*slot).into()),
            ])),
        }
    }

    fn template(&mut self, template: &TemplateText, place: &str) -> Option<Datum> {
        match self.names.eval(template, Reading::Scalar, place, None) {
            Ok(value) => value,
            Err(diagnostic) => {
                self.report.push(*diagnostic);
                None
            }
        }
    }
}
