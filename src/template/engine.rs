//! Evaluation.

use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, State, UndefinedBehavior};

use super::error::{TemplateError, TemplateErrorKind, failed, raise, too_long};
use super::explain::Explain;
use super::filters::{self, Answer, PATHS, RESULT};
use super::functions::{self, SALT};
use super::guard::{PART, PLAIN, TEXT};
use super::more::More;
use super::parse::{Body, Template};
use super::results::{ResultsObject, StepsObject};
use super::scope::Scope;
use super::secrets;
use super::text::marked_text;
use super::value::{Files, from_datum, from_map, undefined};
use super::world::World;
use crate::artifact::Datum;

/// How many instructions one template may execute.
pub const FUEL: u64 = 1_000_000;
/// How much text one template may write, in bytes.
pub(super) const LONGEST: usize = 16 << 20;
/// How much text a template may build on its way, in bytes.
const MOST: u64 = 256 << 20;
/// How many items a list may have that operators build.
const LARGEST_LIST: usize = 1_000_000;

/// Evaluates templates. One per run; cheap to share.
pub struct Engine {
    with_comments: Environment<'static>,
    without_comments: Environment<'static>,
    more: More,
    world: Arc<dyn World>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What the names of templates begin with that stay compiled; no text contains it.
pub(super) const KEPT: &str = "\u{f8fe}kept ";
/// The name of an expression's result in what it is compiled to.
pub(super) const ANSWER: &str = "__kiln_answer";

/// The environment without anything from outside, enough to parse. Making one takes longer than most templates run.
pub(super) static WITH_COMMENTS: LazyLock<Environment<'static>> =
    LazyLock::new(|| environment(true));
/// The same for workflow files, where `{#` is no comment.
pub(super) static WITHOUT_COMMENTS: LazyLock<Environment<'static>> =
    LazyLock::new(|| environment(false));

fn environment(comments: bool) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    // Ranges and the names of undefined expressions come with it. Its dumps of values are never printed.
    env.set_debug(true);
    env.set_fuel(Some(FUEL));
    let mut syntax = minijinja::syntax::SyntaxConfig::builder();
    syntax.keep_trailing_newline(true);
    if !comments {
        // Delimiters that no text contains; there is no other way to turn comments off.
        syntax.comment_delimiters("\u{f8fe}{#", "#}\u{f8fe}");
    }
    if let Ok(syntax) = syntax.build() {
        env.set_syntax(syntax);
    }
    env.set_formatter(|out, state, value| {
        let written = marked_text(value)?;
        // Also what is caught by `{% set %}` or a macro counts, so that it cannot double itself without end.
        if spent(state, "kiln written", written.len()) > LONGEST as u64 {
            return Err(too_long());
        }
        out.write_str(&written)
            .map_err(|_| Error::from(minijinja::ErrorKind::WriteFailure))
    });
    secrets::guard(&mut env);
    filters::add(&mut env);
    operands(&mut env);
    env
}

/// The hidden filters that operands pass through.
fn operands(env: &mut Environment<'static>) {
    env.add_filter(TEXT, |state: &mut State, value: &Value| {
        let text = marked_text(value)?;
        fits(state, text.len()).map(|()| text)
    });
    env.add_filter(PART, |state: &mut State, value: &Value| {
        if let Some(text) = value.as_str() {
            fits(state, text.len())?;
        } else if value.len().is_some_and(|length| length > LARGEST_LIST) {
            return Err(raise(
                TemplateErrorKind::Fuel,
                "the template built a list of more than 1,000,000 items".to_owned(),
                None,
            ));
        }
        defined(value)
    });
    env.add_filter(PLAIN, |value: &Value| {
        if secrets::is_in(value) {
            return Err(secrets::untouchable("a comparison"));
        }
        defined(value)
    });
}

fn defined(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(undefined(value));
    }
    Ok(value.clone())
}

fn fits(state: &mut State, length: usize) -> Result<(), Error> {
    if length > LONGEST || spent(state, "kiln built", length) > MOST {
        return Err(too_long());
    }
    Ok(())
}

/// Adds to what was spent of something in this evaluation, and tells the sum.
fn spent(state: &mut State, what: &str, amount: usize) -> u64 {
    let before = state.get_temp(what).and_then(|n| u64::try_from(n).ok());
    let sum = before.unwrap_or(0).saturating_add(amount as u64);
    state.set_temp(what, Value::from(sum));
    sum
}

impl Engine {
    /// An engine whose functions reach `world`.
    pub fn new(world: Arc<dyn World>) -> Self {
        let more = More::of(&*world);
        let make = |env: &Environment<'static>| {
            let mut env = env.clone();
            more.add(&mut env, &world);
            functions::add(&mut env, &world);
            // What a kept template is compiled from is in its name.
            env.set_loader(|name| Ok(name.strip_prefix(KEPT).map(str::to_owned)));
            env
        };
        Self {
            with_comments: make(&WITH_COMMENTS),
            without_comments: make(&WITHOUT_COMMENTS),
            more,
            world,
        }
    }

    /// Evaluates a template.
    ///
    /// # Errors
    /// When anything in it or in its result is undefined, a function fails, or it runs or writes for too long.
    pub fn eval(&self, template: &Template, scope: &Scope) -> Result<Datum, TemplateError> {
        let context = self.context(scope, template);
        let explain = Explain {
            template,
            context: &context,
            more: &self.more,
        };
        if let Some(error) = explain.unknown_callables().into_iter().next() {
            return Err(error);
        }
        let files = files(scope);
        match &template.body {
            Body::Expression(inside) => {
                let code = format!("({})|{RESULT}", template.guarded.code);
                self.expression(code, &context, files).map_err(|error| {
                    explain.error(&error, |at| {
                        template.guarded.original(at.saturating_sub(1)) + inside.start
                    })
                })
            }
            Body::Text => self
                .text(template, &context)
                .and_then(|text| files.finish(&text))
                .map(Datum::String)
                .map_err(|error| explain.error(&error, |at| template.guarded.original(at))),
        }
    }

    /// Evaluates a template once more that was evaluated well before, as it is or with other values: what it was compiled to is kept, and
    /// `scope` need hold only the names that it uses. `None` when it fails: [`Engine::eval`] with all names says why.
    pub fn eval_again(&self, template: &Template, scope: &Scope) -> Option<Datum> {
        let context = self.small_context(scope, template);
        let env = self.environment(template);
        let compiled = env.get_template(&template.kept).ok()?;
        match &template.body {
            Body::Expression(_) => {
                let captured = compiled.render_captured(context).ok()?;
                let value = captured.state().lookup(ANSWER)?;
                answer(&value, files(scope)).ok()
            }
            Body::Text => {
                let text = text(&compiled, &context).ok()?;
                files(scope).finish(&text).ok().map(Datum::String)
            }
        }
    }

    /// What can be said against a template before its names have values: unknown functions, filters and tests, names that are not in
    /// `scope` (whose values do not matter; `steps` counts as known), params that are not declared, and unknown accessors of a step.
    pub fn check(&self, template: &Template, scope: &Scope) -> Vec<TemplateError> {
        let context = self.context(scope, template);
        let explain = Explain {
            template,
            context: &context,
            more: &self.more,
        };
        let mut errors = explain.unknown_callables();
        errors.extend(explain.unknown_names());
        errors.sort_by_key(|error| error.range.start);
        errors
    }

    /// What a template can see that is known to be sound, without what it does not use.
    fn small_context(&self, scope: &Scope, template: &Template) -> Value {
        let uses = |name: &str| template.uses().names.contains(name);
        let steps = self.steps(scope).filter(|_| uses("steps"));
        let salt = uses("random").then(|| (SALT, salt(scope, template)));
        let paths = scope.paths.then(|| (PATHS, Value::from(true)));
        let more = self.tasks(scope).chain(steps).chain(salt).chain(paths);
        Value::from_pairs(
            values(scope)
                .chain(more)
                .map(|(name, value)| (Value::from(name), value)),
        )
    }

    fn steps(&self, scope: &Scope) -> Option<(&'static str, Value)> {
        let steps = scope.steps.as_ref()?;
        let object = StepsObject {
            steps: steps.clone(),
            world: Arc::clone(&self.world),
        };
        Some(("steps", Value::from_object(object)))
    }

    fn tasks<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (&'a str, Value)> {
        scope.tasks.iter().map(|(name, task)| {
            let label = (*name).to_owned();
            let object = ResultsObject::of_task(label, Arc::clone(task), &[], &self.world);
            (*name, Value::from_object(object))
        })
    }

    fn context(&self, scope: &Scope, template: &Template) -> Value {
        let fixed = [
            (SALT, salt(scope, template)),
            (PATHS, Value::from(scope.paths)),
        ];
        Value::from_pairs(
            values(scope)
                .chain(self.steps(scope))
                .chain(self.tasks(scope))
                .chain(fixed)
                .map(|(name, value)| (Value::from(name), value)),
        )
    }

    fn expression(&self, code: String, context: &Value, files: Files) -> Result<Datum, Error> {
        let value = self
            .with_comments
            .compile_expression_owned(code)?
            .eval(context.clone())?;
        answer(&value, files)
    }

    fn text(&self, template: &Template, context: &Value) -> Result<String, Error> {
        let env = self.environment(template);
        text(&env.template_from_str(&template.guarded.code)?, context)
    }

    fn environment(&self, template: &Template) -> &Environment<'static> {
        if template.comments {
            &self.with_comments
        } else {
            &self.without_comments
        }
    }
}

fn values(scope: &Scope) -> impl Iterator<Item = (&str, Value)> {
    let maps = scope.maps.iter();
    let values = scope.values.iter();
    values
        .map(|(name, datum)| (name.as_str(), from_datum(datum)))
        .chain(maps.map(|(name, map)| (*name, from_map(map))))
}

fn salt(scope: &Scope, template: &Template) -> Value {
    if scope.salt.is_empty() {
        Value::from(template.text.as_str())
    } else {
        Value::from(format!("{}\n{}", scope.salt, template.text))
    }
}

fn files(scope: &Scope) -> Files {
    if scope.paths {
        Files::Paths
    } else {
        Files::Refused
    }
}

fn answer(value: &Value, files: Files) -> Result<Datum, Error> {
    match value.downcast_object::<Answer>() {
        Some(answer) => Ok(answer.0.clone()),
        None => super::value::to_datum(value, files),
    }
}

fn text(compiled: &minijinja::Template<'_, '_>, context: &Value) -> Result<String, Error> {
    let mut out = Limited::default();
    let outcome = compiled
        .render_captured_to(context.clone(), &mut out)
        .map(|_| ());
    if out.full {
        return Err(too_long());
    }
    outcome?;
    String::from_utf8(out.bytes).map_err(|_| failed("the result is no valid text"))
}

/// Text that may not grow without end.
#[derive(Default)]
struct Limited {
    bytes: Vec<u8>,
    full: bool,
}

impl std::io::Write for Limited {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + piece.len() > LONGEST {
            self.full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
