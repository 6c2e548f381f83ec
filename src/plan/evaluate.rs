//! Templates of a sealed plan, evaluated for one task: while it runs, when every name has a value, or before, when some have none yet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::eval::{complaint, parse_at};
use super::scope::{self, Results, StepOutcome, TaskOutcome};
use super::sealed::{Grow, Item, Plan, TaskPlan, TemplateText};
use super::world::PlanWorld;
use crate::artifact::Datum;
use crate::base::{Inputs, StepId};
use crate::diagnostic::{Diagnostic, Origin};
use crate::template::{Engine, Scope, StepResult, Template, TemplateError};

/// How a template's text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// A scalar with `{{ … }}` in it.
    Scalar,
    /// A bare expression, as in `when`.
    Expression,
}

/// What a template gives, or why it gives nothing: `Ok(None)` when a name in it has no value yet.
pub(super) type Evaluated = Result<Option<Datum>, Box<Diagnostic>>;

/// How many templates a thread remembers.
const REMEMBERED: usize = 4096;

/// What makes an engine what it is.
#[derive(Clone, Debug, PartialEq)]
struct Ground {
    folder: PathBuf,
    project: PathBuf,
    seed: u64,
    started_at: jiff::Zoned,
}

type Parsed = Result<Option<Rc<Template>>, TemplateError>;

/// What a thread keeps between tasks: making an engine or reading a template costs more than evaluating one.
#[derive(Default)]
struct Kept {
    engines: Vec<(Ground, Rc<Engine>)>,
    templates: HashMap<(bool, Reading, String), Parsed>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// An engine whose relative paths start from `folder`.
fn engine_at(plan: &Plan, folder: &Path) -> Rc<Engine> {
    let ground = Ground {
        folder: folder.to_path_buf(),
        project: plan.project_dir.clone(),
        seed: plan.seed,
        started_at: plan.started_at.clone(),
    };
    KEPT.with_borrow_mut(|kept| {
        if let Some((_, engine)) = kept.engines.iter().find(|(known, _)| *known == ground) {
            return Rc::clone(engine);
        }
        let inputs = Arc::new(Inputs::default());
        let world = PlanWorld::new(inputs, folder, plan.seed, plan.started_at.clone())
            .in_project(&plan.project_dir)
            .with_dotenv(plan.dotenv.then(|| plan.project_dir.join(".env")));
        let engine = Rc::new(Engine::new(Arc::new(world)));
        // A thread works for one plan at a time, with one or two folders.
        kept.engines.truncate(3);
        kept.engines.insert(0, (ground, Rc::clone(&engine)));
        engine
    })
}

/// A template understood, or remembered.
fn parsed(template: &TemplateText, reading: Reading) -> Parsed {
    let json = matches!(template.origin, Origin::Json { .. });
    let key = (json, reading, template.text.clone());
    KEPT.with_borrow_mut(|kept| {
        if let Some(known) = kept.templates.get(&key) {
            return known.clone();
        }
        let parsed = match reading {
            Reading::Scalar => parse_at(&template.origin, &template.text),
            Reading::Expression => Template::parse_expression(&template.text).map(Some),
        };
        let parsed = parsed.map(|template| template.map(Rc::new));
        if kept.templates.len() >= REMEMBERED {
            kept.templates.clear();
        }
        kept.templates.insert(key, parsed.clone());
        parsed
    })
}

/// The names that one task's templates see.
pub(super) struct Evaluation<'a> {
    plan: &'a Plan,
    /// `None` before a run.
    results: Option<&'a Results>,
    scope: Scope,
    /// Names that have no value yet.
    unknown: Vec<&'static str>,
    /// The task's name, so that `random()` differs between tasks.
    salt: String,
    engine: Rc<Engine>,
    steps: RefCell<HashMap<StepId, Arc<StepResult>>>,
}

impl<'a> Evaluation<'a> {
    /// What every expression of a run sees, outside of any task.
    pub(super) fn of_run(plan: &'a Plan, results: &'a Results) -> Self {
        let mut all = Self::new(plan, Some(results));
        all.put("run", scope::about_run(plan, &results.run));
        all
    }

    /// What an attempt of a task sees.
    pub(super) fn of_task(
        plan: &'a Plan,
        task: &TaskPlan,
        results: &'a Results,
        attempt: u32,
    ) -> Self {
        let mut all = Self::of_run(plan, results);
        all.salt.clone_from(&task.name.0);
        all.put("task", scope::about_task(plan.seed, task, attempt));
        all.put_matrix(task);
        match (&task.item, &results.item) {
            (Some(Item::Value(value)), _) => all.put("item", value.clone()),
            (Some(Item::Given(outcome)), _) | (_, Some(outcome)) => all.put_item(outcome),
            _ => {}
        }
        all
    }

    /// What is known of a task's names before anything ran.
    pub(super) fn before(plan: &'a Plan, task: &TaskPlan) -> Self {
        let mut all = Self::new(plan, None);
        all.salt.clone_from(&task.name.0);
        all.unknown.push("run");
        all.put_matrix(task);
        if task.matrix.is_empty() {
            all.unknown.push("matrix");
        }
        match &task.item {
            Some(Item::Value(value)) => all.put("item", value.clone()),
            Some(Item::Given(outcome)) => all.put_item(outcome),
            _ => all.unknown.push("item"),
        }
        let grows = plan.steps.get(&task.step).map(|step| &step.grow);
        if task.item.is_none() && grows.is_some_and(|grow| *grow != Grow::Known) {
            // It stands for tasks that are not known yet.
            all.unknown.extend(["task", "random"]);
        } else {
            all.put("task", scope::about_task(plan.seed, task, 1));
        }
        all
    }

    fn new(plan: &'a Plan, results: Option<&'a Results>) -> Self {
        Self {
            plan,
            results,
            scope: scope::fixed(&plan.pipeline, &plan.pipeline_dir, &plan.params).with_steps(),
            unknown: Vec::new(),
            salt: String::new(),
            engine: engine_at(plan, &plan.pipeline_dir),
            steps: RefCell::default(),
        }
    }

    fn put_matrix(&mut self, task: &TaskPlan) {
        if !task.matrix.is_empty() {
            self.put("matrix", Datum::Map(task.matrix.clone()));
        }
    }

    fn put_item(&mut self, outcome: &TaskOutcome) {
        self.change(|scope| scope.with_item(scope::task_result(outcome)));
    }

    /// Adds a name.
    pub(super) fn put(&mut self, name: &str, value: Datum) {
        self.change(|scope| scope.with(name, value));
    }

    /// Adds `result`: what the task made.
    pub(super) fn put_result(&mut self, outcome: &TaskOutcome) {
        self.change(|scope| scope.with_result(scope::task_result(outcome)));
    }

    /// A name that has no value yet.
    pub(super) fn forget(&mut self, name: &'static str) {
        self.unknown.push(name);
    }

    /// Makes a step known by other results than the run's.
    pub(super) fn put_step(&mut self, id: &StepId, outcome: &StepOutcome) {
        let result = Arc::new(scope::step_result(self.plan, id, outcome));
        self.steps.get_mut().insert(id.clone(), result);
    }

    /// Lets files in longer text stand for their paths.
    pub(super) fn print_paths(&mut self) {
        self.change(Scope::with_paths);
    }

    fn change(&mut self, change: impl FnOnce(Scope) -> Scope) {
        self.scope = change(std::mem::take(&mut self.scope));
    }

    /// Evaluates a template. `place` tells it from the task's others, for `random()`; `value` is what the workflow file says there.
    pub(super) fn eval(
        &self,
        template: &TemplateText,
        reading: Reading,
        place: &str,
        value: Option<&Datum>,
    ) -> Evaluated {
        let complain = |error: TemplateError| {
            let (text, origin) = (&template.text, &template.origin);
            Box::new(complaint(&error, text, origin, &self.plan.sources))
        };
        let Some(parsed) = parsed(template, reading).map_err(complain)? else {
            return Ok(Some(Datum::String(template.text.clone())));
        };
        if !self.knows(&parsed) {
            return Ok(None);
        }
        let mut scope = self
            .scope
            .clone()
            .with_salt(&format!("{}/{place}", self.salt));
        if let Some(value) = value {
            scope = scope.with("value", value.clone());
        }
        for step in &template.steps {
            if let Some(result) = self.step(step) {
                scope = scope.with_step(step.as_str(), result);
            }
        }
        let elsewhere = template.folder.as_deref().map(|f| engine_at(self.plan, f));
        let engine = elsewhere.as_ref().unwrap_or(&self.engine);
        engine.eval(&parsed, &scope).map(Some).map_err(complain)
    }

    /// Whether every name of a template has a value; in a run all have.
    fn knows(&self, template: &Template) -> bool {
        let uses = template.uses();
        self.results.is_some()
            || !self.unknown.iter().any(|name| uses.names.contains(*name))
                && uses.params.iter().all(|p| self.plan.params.contains_key(p))
                && uses.steps.iter().all(|step| {
                    self.plan.given.contains_key(step.as_str())
                        || self.steps.borrow().contains_key(step.as_str())
                })
    }

    /// What a step made. Only steps that templates name are asked for, and a task waits for all of those.
    fn step(&self, id: &StepId) -> Option<Arc<StepResult>> {
        if let Some(result) = self.steps.borrow().get(id) {
            return Some(Arc::clone(result));
        }
        let of_run = self.results.and_then(|results| results.steps.get(id));
        let outcome = of_run.or_else(|| self.plan.given.get(id))?;
        let result = Arc::new(scope::step_result(self.plan, id, outcome));
        self.steps
            .borrow_mut()
            .insert(id.clone(), Arc::clone(&result));
        Some(result)
    }
}
