//! Templates of a sealed plan, evaluated for one task: while it runs, when every name has a value, or before, when some have none yet.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::eval::{complaint, parse_at};
use super::scope::{self, Reads, Results, StepOutcome, TaskOutcome};
use super::sealed::{Grow, Item, Plan, TaskPlan, TemplateText};
use super::world::PlanWorld;
use crate::artifact::Datum;
use crate::base::StepId;
use crate::diagnostic::{Diagnostic, Origin};
use crate::template::{Engine, Scope, StepResult, TaskResult, Template, TemplateError};

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
/// How many steps' results it remembers.
const STEPS: usize = 8;

/// What makes an engine what it is.
#[derive(Clone, Debug)]
struct Ground {
    folder: PathBuf,
    project: PathBuf,
    seed: u64,
    started_at: jiff::Zoned,
    /// Which plugins' functions it has.
    plugins: usize,
    reads: Reads,
}

/// A template understood.
#[derive(Clone)]
struct Known {
    template: Result<Option<Rc<Template>>, TemplateError>,
    /// It was evaluated well before: another time takes the short way.
    proven: Rc<Cell<bool>>,
}

/// What a thread keeps between tasks: making an engine or reading a template costs more than evaluating one.
#[derive(Default)]
struct Kept {
    engines: Vec<(Ground, Rc<Engine>)>,
    /// By text; those of workflow files, and bare expressions, apart.
    templates: HashMap<(bool, Reading), HashMap<String, Known>>,
    /// What large steps made, as expressions see it: for their dependants, of which there may be as many.
    steps: VecDeque<(Arc<StepOutcome>, Vec<String>, Arc<StepResult>)>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// An engine whose relative paths start from `folder`.
fn engine_at(plan: &Plan, folder: &Path, reads: &Reads) -> Rc<Engine> {
    let same = |known: &Ground| {
        known.folder.as_os_str() == folder.as_os_str()
            && known.project.as_os_str() == plan.project_dir.as_os_str()
            && known.seed == plan.seed
            && known.started_at == plan.started_at
            && known.plugins == plan.loaded.id()
            && known.reads.is(reads)
    };
    KEPT.with_borrow_mut(|kept| {
        if let Some((_, engine)) = kept.engines.iter().find(|(known, _)| same(known)) {
            return Rc::clone(engine);
        }
        let ground = Ground {
            folder: folder.to_path_buf(),
            project: plan.project_dir.clone(),
            seed: plan.seed,
            started_at: plan.started_at.clone(),
            plugins: plan.loaded.id(),
            reads: reads.clone(),
        };
        let world = PlanWorld::new(reads.inputs(), folder, plan.seed, plan.started_at.clone())
            .in_project(&plan.project_dir)
            .with_dotenv(plan.dotenv.then(|| plan.project_dir.join(".env")))
            .with_plugins(plan.loaded.callables());
        let engine = Rc::new(Engine::new(Arc::new(world)));
        // A thread works for one plan at a time, with one or two folders.
        kept.engines.truncate(3);
        kept.engines.insert(0, (ground, Rc::clone(&engine)));
        engine
    })
}

/// A template understood, or remembered.
fn parsed(template: &TemplateText, reading: Reading) -> Known {
    let json = matches!(template.origin, Origin::Json { .. });
    KEPT.with_borrow_mut(|kept| {
        let templates = kept.templates.entry((json, reading)).or_default();
        if let Some(known) = templates.get(&template.text) {
            return known.clone();
        }
        let parsed = match reading {
            Reading::Scalar => parse_at(&template.origin, &template.text),
            Reading::Expression => Template::parse_expression(&template.text).map(Some),
        };
        let known = Known {
            template: parsed.map(|template| template.map(Rc::new)),
            proven: Rc::default(),
        };
        if templates.len() >= REMEMBERED {
            templates.clear();
            // They keep what they compiled.
            kept.engines.clear();
        }
        templates.insert(template.text.clone(), known.clone());
        known
    })
}

/// What a step made, as expressions see it, or remembered.
fn seen(plan: &Plan, id: &StepId, outcome: &Arc<StepOutcome>) -> Arc<StepResult> {
    let declared = plan.steps.get(id).map(|step| step.outputs.keys());
    KEPT.with_borrow_mut(|kept| {
        let same = |names: &[String]| match declared.clone() {
            Some(declared) => declared.eq(names.iter()),
            None => names.is_empty(),
        };
        let known = kept
            .steps
            .iter()
            .find(|(known, names, _)| Arc::ptr_eq(known, outcome) && same(names));
        if let Some((_, _, result)) = known {
            return Arc::clone(result);
        }
        let result = Arc::new(scope::step_result(plan, id, outcome));
        kept.steps.truncate(STEPS - 1);
        let names = declared.map(|names| names.cloned().collect());
        kept.steps.push_front((
            Arc::clone(outcome),
            names.unwrap_or_default(),
            Arc::clone(&result),
        ));
        result
    })
}

/// What the templates are those of.
#[derive(Clone, Copy)]
enum Of<'a> {
    /// No task.
    Run,
    /// An attempt of a task.
    Task(&'a TaskPlan, u32),
    /// A task before anything ran; whether its `task` is known.
    Before(&'a TaskPlan, bool),
}

/// The names that one task's templates see.
pub(super) struct Evaluation<'a> {
    plan: &'a Plan,
    /// `None` before a run.
    results: Option<&'a Results>,
    of: Of<'a>,
    /// Names beside those of the task.
    more: Vec<(String, Datum)>,
    result: Option<Arc<TaskResult>>,
    paths: bool,
    /// Names that have no value yet.
    unknown: Vec<&'static str>,
    /// The task's name, so that `random()` differs between tasks.
    salt: &'a str,
    /// All names with their values, once something asked for more than those which a template uses.
    whole: OnceCell<Scope>,
    item: OnceCell<Arc<TaskResult>>,
    engine: OnceCell<Rc<Engine>>,
    steps: RefCell<HashMap<StepId, Arc<StepResult>>>,
}

impl<'a> Evaluation<'a> {
    /// What every expression of a run sees, outside of any task.
    pub(super) fn of_run(plan: &'a Plan, results: &'a Results) -> Self {
        Self::new(plan, Some(results), Of::Run)
    }

    /// What an attempt of a task sees.
    pub(super) fn of_task(
        plan: &'a Plan,
        task: &'a TaskPlan,
        results: &'a Results,
        attempt: u32,
    ) -> Self {
        Self::new(plan, Some(results), Of::Task(task, attempt))
    }

    /// What is known of a task's names before anything ran.
    pub(super) fn before(plan: &'a Plan, task: &'a TaskPlan) -> Self {
        let grows = plan.steps.get(&task.step).map(|step| &step.grow);
        let stands_for_others =
            task.item.is_none() && grows.is_some_and(|grow| *grow != Grow::Known);
        let mut all = Self::new(plan, None, Of::Before(task, !stands_for_others));
        all.unknown.push("run");
        if task.matrix.is_empty() {
            all.unknown.push("matrix");
        }
        if !matches!(task.item, Some(Item::Value(_) | Item::Given(_))) {
            all.unknown.push("item");
        }
        if stands_for_others {
            // It stands for tasks that are not known yet.
            all.unknown.extend(["task", "random"]);
        }
        all
    }

    fn new(plan: &'a Plan, results: Option<&'a Results>, of: Of<'a>) -> Self {
        Self {
            plan,
            results,
            of,
            more: Vec::new(),
            result: None,
            paths: false,
            unknown: Vec::new(),
            salt: match of {
                Of::Run => "",
                Of::Task(task, _) | Of::Before(task, _) => task.name.as_str(),
            },
            whole: OnceCell::new(),
            item: OnceCell::new(),
            engine: OnceCell::new(),
            steps: RefCell::default(),
        }
    }

    /// The names that are wanted, with their values, but for steps.
    fn scope(&self, wanted: impl Fn(&str) -> bool) -> Scope {
        let mut scope = Scope::default().with_steps();
        if self.paths {
            scope = scope.with_paths();
        }
        let plan = self.plan;
        if wanted("params") {
            scope = scope.with("params", scope::params(&plan.params));
        }
        if wanted("pipeline") {
            scope = scope.with(
                "pipeline",
                scope::about_pipeline(&plan.pipeline, &plan.pipeline_dir),
            );
        }
        if let Some(results) = self.results.filter(|_| wanted("run")) {
            scope = scope.with("run", scope::about_run(plan, &results.run));
        }
        if let Of::Task(task, _) | Of::Before(task, _) = self.of {
            let attempt = match self.of {
                Of::Task(_, attempt) => Some(attempt),
                Of::Before(_, known) => known.then_some(1),
                Of::Run => None,
            };
            if let Some(attempt) = attempt.filter(|_| wanted("task")) {
                scope = scope.with("task", scope::about_task(plan.seed, task, attempt));
            }
            if !task.matrix.is_empty() && wanted("matrix") {
                scope = scope.with_map("matrix", Arc::clone(&task.matrix));
            }
            if wanted("item") {
                scope = self.with_item(scope, task);
            }
        }
        for (name, value) in self.more.iter().filter(|(name, _)| wanted(name)) {
            scope = scope.with(name, value.clone());
        }
        match &self.result {
            Some(result) if wanted("result") => scope.with_result(Arc::clone(result)),
            _ => scope,
        }
    }

    fn with_item(&self, scope: Scope, task: &TaskPlan) -> Scope {
        let of_run = self.results.and_then(|results| results.item.as_ref());
        let outcome = match (&task.item, of_run) {
            (Some(Item::Value(value)), _) => return scope.with("item", value.clone()),
            (Some(Item::Given(outcome)), _) | (_, Some(outcome)) => outcome,
            _ => return scope,
        };
        let item = self
            .item
            .get_or_init(|| Arc::new(scope::task_result(outcome)));
        scope.with_item(Arc::clone(item))
    }

    /// Adds a name.
    pub(super) fn put(&mut self, name: &str, value: Datum) {
        self.more.push((name.to_owned(), value));
        self.whole = OnceCell::new();
    }

    /// Adds `result`: what the task made.
    pub(super) fn put_result(&mut self, outcome: &TaskOutcome) {
        self.result = Some(Arc::new(scope::task_result(outcome)));
        self.whole = OnceCell::new();
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
        self.paths = true;
        self.whole = OnceCell::new();
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
        let Known {
            template: parsed,
            proven,
        } = parsed(template, reading);
        let Some(parsed) = parsed.map_err(complain)? else {
            return Ok(Some(Datum::String(template.text.clone())));
        };
        if !self.knows(&parsed) {
            return Ok(None);
        }
        let here = |scope: Scope| {
            let mut scope = scope.with_salt(&format!("{}/{place}", self.salt));
            if let Some(value) = value {
                scope = scope.with("value", value.clone());
            }
            for step in &template.steps {
                if let Some(result) = self.step(step) {
                    scope = scope.with_step(step.as_str(), result);
                }
            }
            scope
        };
        let elsewhere = template.folder.as_deref();
        let elsewhere = elsewhere.map(|folder| self.engine_in(folder));
        let engine = elsewhere.as_ref().unwrap_or_else(|| self.engine());
        if proven.get() {
            let used = here(self.scope(|name| parsed.uses().names.contains(name)));
            if let Some(datum) = engine.eval_again(&parsed, &used) {
                return Ok(Some(datum));
            }
        }
        let whole = self.whole.get_or_init(|| self.scope(|_| true)).clone();
        let evaluated = engine.eval(&parsed, &here(whole)).map_err(complain)?;
        proven.set(true);
        Ok(Some(evaluated))
    }

    fn engine(&self) -> &Rc<Engine> {
        self.engine
            .get_or_init(|| self.engine_in(&self.plan.pipeline_dir))
    }

    fn engine_in(&self, folder: &Path) -> Rc<Engine> {
        engine_at(self.plan, folder, &self.reads())
    }

    /// Where it is noted what is read.
    pub(super) fn reads(&self) -> Reads {
        let results = self.results;
        results
            .map(|results| results.reads.clone())
            .unwrap_or_default()
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
        let result = seen(self.plan, id, outcome);
        self.steps
            .borrow_mut()
            .insert(id.clone(), Arc::clone(&result));
        Some(result)
    }
}
