//! Errors for people: which name, where, and what was probably meant.

use std::ops::Range;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::engine::FUEL;
use super::error::{TemplateError, TemplateErrorKind, clamp, detail, raised};
use super::filters::{FILTERS, TESTS};
use super::functions::FUNCTIONS;
use super::more::More;
use super::names::Mention;
use super::objects::{ARTIFACT_ATTRIBUTES, ArtifactObject, FILE_ATTRIBUTES, FileObject};
use super::parse::Template;
use super::results::{ACCESSORS, OutputsObject, ResultsObject, STEP_ACCESSORS, StepsObject};
use crate::diagnostic::{did_you_mean, list_of, thousands};

/// Names whose members are all known, whenever they have members at all.
const CLOSED: &[&str] = &["pipeline", "task", "run", "file", "matrix", "item"];

/// A template and the values it was evaluated with.
pub(super) struct Explain<'a> {
    pub(super) template: &'a Template,
    pub(super) context: &'a Value,
    /// What is handed in beside kiln's own functions and filters.
    pub(super) more: &'a More,
}

impl Explain<'_> {
    /// kiln's words for an error of minijinja's; `place` turns its offsets into those of the template's text.
    pub(super) fn error(&self, error: &Error, place: impl Fn(usize) -> usize) -> TemplateError {
        let text = self.template.text.as_str();
        let range = error
            .range()
            .map_or(0..text.len(), |r| place(r.start)..place(r.end));
        let range = clamp(text, range);
        if let Some(raised) = raised(error) {
            let range = match raised.kind {
                TemplateErrorKind::Count => self.whole_chain(range),
                _ => self.narrow(&range, &raised.message),
            };
            return TemplateError {
                range,
                kind: raised.kind,
                message: raised.message.clone(),
                help: raised.help.clone(),
            };
        }
        let message = detail(error);
        let (kind, message, help) = match error.kind() {
            ErrorKind::OutOfFuel => (
                TemplateErrorKind::Fuel,
                format!(
                    "the template was stopped after {} instructions",
                    thousands(FUEL)
                ),
                Some("let it loop less, or prepare its data in a file".to_owned()),
            ),
            ErrorKind::SyntaxError => (TemplateErrorKind::Syntax, message, None),
            _ => match undefined_path(&message) {
                Some(path) => return self.undefined(&path, &range),
                None if error.kind() == ErrorKind::UndefinedError => (
                    TemplateErrorKind::Undefined,
                    "the result, or a part of it, is not defined".to_owned(),
                    Some("give it a value with `| default(…)`, or an `if` its `else`".to_owned()),
                ),
                None => (TemplateErrorKind::Failed, message, None),
            },
        };
        TemplateError {
            range,
            kind,
            message,
            help,
        }
    }

    /// Functions, filters and tests that do not exist.
    pub(super) fn unknown_callables(&self) -> Vec<TemplateError> {
        let found = &self.template.mentions;
        let mut errors = Vec::new();
        for (what, known, more, list) in [
            ("filter", FILTERS, &self.more.filters, &found.filters),
            ("test", TESTS, &Vec::new(), &found.tests),
        ] {
            let known = || known.iter().copied().chain(more.iter().map(String::as_str));
            for mention in list {
                if !known().any(|name| name == mention.name) {
                    errors.push(unknown(what, mention, known()));
                }
            }
        }
        let functions = || {
            let more = self.more.functions.iter().map(String::as_str);
            FUNCTIONS.iter().copied().chain(more)
        };
        for chain in found.chains.iter().filter(|c| c.called) {
            if let [function] = chain.parts.as_slice()
                && self.template.uses().names.contains(&function.name)
                && !functions().any(|name| name == function.name)
                && !self.has(&function.name)
            {
                errors.push(unknown("function", function, functions()));
            }
        }
        errors
    }

    /// Names, params and accessors that do not exist. A template that asks whether something is defined is left in peace.
    pub(super) fn unknown_names(&self) -> Vec<TemplateError> {
        let found = &self.template.mentions;
        let asks = |list: &[Mention], names: &[&str]| {
            list.iter().any(|m| names.contains(&m.name.as_str()))
        };
        if asks(&found.tests, &["defined", "undefined"]) {
            return Vec::new();
        }
        // Results may or may not be there; which params there are is known, so that one which is not is misspelt.
        let lenient = asks(&found.filters, &["default", "d"]);
        let mut errors = Vec::new();
        for chain in &found.chains {
            let Some(root) = chain.parts.first() else {
                continue;
            };
            if lenient && (root.name != "params" || !self.has("params"))
                || !self.template.uses().names.contains(&root.name)
                || chain.parts.len() == 1
                    && (chain.called || FUNCTIONS.contains(&root.name.as_str()))
            {
                continue;
            }
            if root.name == "steps" {
                let accessor = unknown_accessor(&chain.parts);
                errors.extend(accessor.or_else(|| self.unknown_output(&chain.parts)));
            } else if !self.has(&root.name) {
                errors.push(self.undefined(&root.name, &root.range));
            } else if let Some(member) = chain.parts.get(1) {
                let known = self.keys_of(&root.name);
                let closed = root.name == "params"
                    || self.is_task(&root.name)
                    || CLOSED.contains(&root.name.as_str()) && !known.is_empty();
                if closed && !known.contains(&member.name) {
                    let path = format!("{}.{}", root.name, member.name);
                    errors.push(self.undefined(&path, &(root.range.start..member.range.end)));
                }
            }
        }
        errors
    }

    /// `steps.base.outputs.fnal`, when it is known what the step's outputs are called.
    fn unknown_output(&self, parts: &[Mention]) -> Option<TemplateError> {
        let [root, step, accessor, output, ..] = parts else {
            return None;
        };
        let known = || self.keys_of(&format!("steps.{}.outputs", step.name));
        if accessor.name != "outputs"
            || !self.keys_of("steps").contains(&step.name)
            || known().contains(&output.name)
        {
            return None;
        }
        let path = format!("steps.{}.outputs.{}", step.name, output.name);
        Some(self.undefined(&path, &(root.range.start..output.range.end)))
    }

    /// Whether a name is that of a task (`item`, `result`), whose members are all known.
    fn is_task(&self, name: &str) -> bool {
        self.context
            .get_attr(name)
            .is_ok_and(|value| value.downcast_object_ref::<ResultsObject>().is_some())
    }

    fn has(&self, name: &str) -> bool {
        self.context
            .get_attr(name)
            .is_ok_and(|value| !value.is_undefined())
    }

    /// The error for an expression such as `params.subjct`.
    fn undefined(&self, path: &str, near: &Range<usize>) -> TemplateError {
        let range = self.narrow(near, &format!("`{path}`"));
        let (parent, last) = match path.rsplit_once('.') {
            Some((parent, last)) => (Some(parent), last),
            None => (None, path),
        };
        let plain = last.chars().all(|c| c.is_alphanumeric() || c == '_');
        let known = match parent {
            _ if !plain => Vec::new(),
            Some(parent) => self.keys_of(parent),
            None => self.top_level(),
        };
        let names = || known.iter().map(String::as_str);
        let help = match (did_you_mean(last, names()), parent) {
            (Some(near), Some(parent)) => Some(format!("did you mean `{parent}.{near}`?")),
            (Some(near), None) => Some(format!("did you mean `{near}`?")),
            (None, Some(parent)) if !known.is_empty() => {
                Some(format!("`{parent}` has {}", list_of(names(), 20)))
            }
            (None, None) if !known.is_empty() => {
                Some(format!("known names are {}", list_of(names(), 20)))
            }
            (None, Some(parent)) if parent.ends_with(".outputs") => Some(format!(
                "`{}` has no `outputs:`, which is where they get their names",
                parent.trim_end_matches(".outputs")
            )),
            _ => None,
        };
        TemplateError {
            range,
            kind: TemplateErrorKind::Undefined,
            message: format!("`{path}` is not defined"),
            help,
        }
    }

    fn top_level(&self) -> Vec<String> {
        keys(self.context)
            .into_iter()
            .filter(|name| !name.starts_with(' '))
            .collect()
    }

    /// What may follow the value of a path such as `params` or `steps.base.outputs`.
    fn keys_of(&self, path: &str) -> Vec<String> {
        let mut value = self.context.clone();
        for part in path.split('.') {
            match value.get_attr(part) {
                Ok(next) => value = next,
                Err(_) => return Vec::new(),
            }
        }
        keys(&value)
    }

    /// minijinja points at the attributes of a chain; people look for its beginning, too.
    fn whole_chain(&self, range: Range<usize>) -> Range<usize> {
        let chains = &self.template.mentions.chains;
        let start = chains
            .iter()
            .filter_map(|chain| Some((chain.parts.first()?, chain.parts.last()?)))
            .find(|(first, last)| first.range.start <= range.start && range.start <= last.range.end)
            .map_or(range.start, |(first, _)| first.range.start);
        start..range.end
    }

    /// The place of the first name in backticks that `message` mentions, if it stands inside `range`.
    fn narrow(&self, range: &Range<usize>, message: &str) -> Range<usize> {
        let text = &self.template.text;
        let Some(name) = message.split('`').nth(1).filter(|n| !n.is_empty()) else {
            return range.clone();
        };
        let word = |c: char| c.is_alphanumeric() || c == '_';
        for part in [range.clone(), 0..text.len()] {
            let inside = &text[part.clone()];
            let whole = inside.match_indices(name).find(|(at, _)| {
                let before = inside[..*at].chars().next_back();
                let after = inside[at + name.len()..].chars().next();
                !before.is_some_and(|c| word(c) || c == '.') && !after.is_some_and(word)
            });
            if let Some((at, _)) = whole {
                let start = part.start + at;
                return start..start + name.len();
            }
        }
        range.clone()
    }
}

fn keys(value: &Value) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    if let Some(steps) = value.downcast_object_ref::<StepsObject>() {
        return steps.steps.keys().cloned().collect();
    }
    if let Some(results) = value.downcast_object_ref::<ResultsObject>() {
        return results.attributes();
    }
    if let Some(outputs) = value.downcast_object_ref::<OutputsObject>() {
        return outputs.names.clone();
    }
    if value.downcast_object_ref::<FileObject>().is_some() {
        return owned(FILE_ATTRIBUTES);
    }
    if value.downcast_object_ref::<ArtifactObject>().is_some() {
        return owned(ARTIFACT_ATTRIBUTES);
    }
    if value.kind() != ValueKind::Map {
        return Vec::new();
    }
    value
        .try_iter()
        .map(|keys| {
            keys.filter_map(|key| key.as_str().map(str::to_owned))
                .collect()
        })
        .unwrap_or_default()
}

fn unknown<'a>(
    what: &str,
    mention: &Mention,
    known: impl Iterator<Item = &'a str> + Clone,
) -> TemplateError {
    let help = match did_you_mean(&mention.name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if what == "function" => format!("functions are {}", list_of(known, 60)),
        None if what == "filter" => {
            "there are minijinja's filters, and `basename`, `fromjson`, `slug`, `stem` and `wildcard`"
                .to_owned()
        }
        None => "there are minijinja's tests, such as `defined`, `none` and `string`".to_owned(),
    };
    TemplateError {
        range: mention.range.clone(),
        kind: TemplateErrorKind::Undefined,
        message: format!("there is no {what} `{}`", mention.name),
        help: Some(help),
    }
}

/// `steps.base.imag`: the accessor, when it can be told, must be one.
fn unknown_accessor(parts: &[Mention]) -> Option<TemplateError> {
    let known = || ACCESSORS.iter().chain(STEP_ACCESSORS).copied();
    let accessor = parts.get(2)?;
    if known().any(|name| name == accessor.name) {
        return None;
    }
    let path = format!("steps.{}", parts[1].name);
    let help = match did_you_mean(&accessor.name, known()) {
        Some(near) => format!("did you mean `{path}.{near}`?"),
        None => format!("a step has {}", list_of(known(), 20)),
    };
    Some(TemplateError {
        range: parts[0].range.start..accessor.range.end,
        kind: TemplateErrorKind::Undefined,
        message: format!("`{path}.{}` is not defined", accessor.name),
        help: Some(help),
    })
}

/// The expression that minijinja says is undefined.
fn undefined_path(message: &str) -> Option<String> {
    let (before, _) = message.split_once("` is undefined")?;
    let path = before.rsplit('`').next()?;
    (!path.is_empty()).then(|| path.to_owned())
}
