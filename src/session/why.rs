//! What would run, and why: a plan laid over what its project remembers, without a server and without writing anything.
//!
//! A step whose tasks would all be cached is taken for done, so that the steps after it can be judged by the results that it has; one
//! that would run leaves those after it open. Without a server, its models are taken for what they were when the task ran last, and
//! values for the types that they had then.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Value, json};

use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId, StepId, TaskName};
use crate::plan::key::{
    self, CommandInputs, Manifest, Realm, ServerFacts, StaleReason, command_manifest, of_command,
    of_workflow, workflow_manifest,
};
use crate::plan::{
    self, CacheMode, Grow, Item, Plan, Rendered, RenderedCommand, Results, StepOutcome, StepPlan,
    TaskIx, TaskOutcome, TaskPlan, Work,
};
use crate::run::{self, Found, Miss, Noted};
use crate::store::{self, Place, Reader};

/// What would become of a task, or of all tasks of a step that are not known yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fate {
    /// Its step.
    pub step: StepId,
    /// Its name; `None`: the step's tasks are not known yet.
    pub task: Option<TaskName>,
    /// What would become of it.
    pub would: Would,
    /// Why it would run.
    pub why: Vec<StaleReason>,
    /// The run whose result would stand for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<RunId>,
    /// What was taken for granted, in words that follow `if`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provided: Option<&'static str>,
}

/// What would become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Would {
    /// It would run.
    Run,
    /// An earlier result would stand for a new one.
    Cached,
    /// Its `when` is false.
    Skipped,
    /// That depends on what runs before it.
    Open,
}

impl Would {
    fn word(self) -> &'static str {
        match self {
            Self::Run => "runs",
            Self::Cached => "cached",
            Self::Skipped => "skipped",
            Self::Open => "open",
        }
    }
}

/// What would become of a plan's tasks, in file order. A state that cannot be read is one in which nothing ever ran.
pub fn fates(plan: &Plan) -> Vec<Fate> {
    let project: &Path = &plan.project_dir;
    let memory = store::read(project)
        .ok()
        .flatten()
        .map(|reader| (reader, Place::of(project)));
    Foresight {
        plan,
        memory: memory.as_ref().map(|(reader, place)| (reader, place)),
        results: Results::new(RunId::from("not yet")),
        tasks: plan.tasks.clone(),
        of_steps: HashMap::new(),
        ended: HashMap::new(),
        fates: IndexMap::new(),
    }
    .look()
}

/// A plan while it is looked through, from what needs nothing to what needs most.
struct Foresight<'a> {
    plan: &'a Plan,
    memory: Option<(&'a Reader, &'a Place)>,
    /// What steps that would be cached made.
    results: Results,
    /// The plan's tasks and those that follow from cached results.
    tasks: Vec<TaskPlan>,
    of_steps: HashMap<StepId, Vec<TaskIx>>,
    /// What tasks that would be cached made.
    ended: HashMap<TaskIx, Arc<TaskOutcome>>,
    fates: IndexMap<StepId, Vec<Fate>>,
}

/// What was found of a task.
enum Seen {
    Fate(Fate),
    Hit(Fate, Vec<Arc<Artifact>>),
}

impl Foresight<'_> {
    fn look(mut self) -> Vec<Fate> {
        for (task, ix) in self.tasks.iter().zip(0..) {
            let tasks = self.of_steps.entry(task.step.clone()).or_default();
            tasks.push(TaskIx(ix));
        }
        let plan = self.plan;
        let mut left: Vec<&StepPlan> = plan.steps.values().collect();
        while !left.is_empty() {
            let (ready, rest): (Vec<&StepPlan>, Vec<&StepPlan>) = left.iter().partition(|step| {
                let mut needs = step.needs.iter();
                needs.all(|need| {
                    self.fates.contains_key(&need.step) || !plan.steps.contains_key(&need.step)
                })
            });
            if ready.is_empty() {
                break;
            }
            for step in ready {
                let fates = self.step(step);
                self.fates.insert(step.id.clone(), fates);
            }
            left = rest;
        }
        let mut fates = self.fates;
        plan.steps
            .keys()
            .filter_map(|step| fates.swap_remove(step))
            .flatten()
            .collect()
    }

    fn step(&mut self, step: &StepPlan) -> Vec<Fate> {
        let waits: Vec<String> = step
            .needs
            .iter()
            .filter(|need| {
                self.plan.steps.contains_key(&need.step)
                    && !self.results.steps.contains_key(&need.step)
            })
            .map(|need| need.step.0.clone())
            .collect();
        if !waits.is_empty() {
            return self.open(step, waits);
        }
        if let Err(fate) = self.grow(step) {
            return vec![fate];
        }
        let known = self.of_steps.get(&step.id).cloned().unwrap_or_default();
        let mut fates = Vec::with_capacity(known.len());
        let mut outcomes = Vec::with_capacity(known.len());
        let mut complete = true;
        for ix in known {
            let task = &self.tasks[ix.0 as usize];
            match self.task(step, task) {
                Seen::Hit(fate, artifacts) => {
                    let outcome = Arc::new(TaskOutcome::of(task, "cached", artifacts));
                    self.ended.insert(ix, Arc::clone(&outcome));
                    outcomes.push(outcome);
                    fates.push(fate);
                }
                Seen::Fate(fate) => {
                    complete &= fate.would == Would::Skipped;
                    fates.push(fate);
                }
            }
        }
        if complete {
            let status = if outcomes.is_empty() {
                "skipped"
            } else {
                "done"
            };
            let outcome = StepOutcome {
                status: status.to_owned(),
                tasks: outcomes,
            };
            self.results
                .steps
                .insert(step.id.clone(), Arc::new(outcome));
        }
        fates
    }

    /// The fates of tasks that wait for steps which would run.
    fn open(&self, step: &StepPlan, waits: Vec<String>) -> Vec<Fate> {
        let reason = run::always(step).filter(|_| step.when.is_none());
        let would = if reason.is_some() {
            Would::Run
        } else {
            Would::Open
        };
        let why = vec![reason.unwrap_or(StaleReason::WaitsFor { steps: waits })];
        let known = self.of_steps.get(&step.id);
        let of = |task: Option<&TaskPlan>| match task {
            Some(task) if task.skip => skipped(task),
            _ => Fate {
                step: step.id.clone(),
                task: task.map(|task| task.name.clone()),
                would,
                why: why.clone(),
                from: None,
                provided: None,
            },
        };
        match known {
            Some(known) => known
                .iter()
                .map(|ix| of(Some(&self.tasks[ix.0 as usize])))
                .collect(),
            None if step.grow == Grow::Known => Vec::new(),
            None => vec![of(None)],
        }
    }

    /// Adds the tasks that follow from the results of cached steps.
    fn grow(&mut self, step: &StepPlan) -> Result<(), Fate> {
        let from = match &step.grow {
            Grow::Known => return Ok(()),
            Grow::Later { .. } => None,
            Grow::Stream { from, .. } => Some(from),
        };
        let sources: Vec<Option<(TaskIx, Arc<TaskOutcome>)>> = match from {
            None => vec![None],
            Some(from) => {
                let tasks = self.of_steps.get(from).into_iter().flatten();
                let ended = tasks.filter_map(|ix| Some((*ix, Arc::clone(self.ended.get(ix)?))));
                ended.map(Some).collect()
            }
        };
        for source in sources {
            let ended = source.as_ref().map(|(ix, outcome)| (*ix, outcome.as_ref()));
            let grown = plan::expand(self.plan, &step.id, ended, &self.results);
            let Ok(grown) = grown else {
                return Err(Fate {
                    step: step.id.clone(),
                    task: None,
                    would: Would::Open,
                    why: vec![StaleReason::NotYetKnown {
                        what: "`for_each`".to_owned(),
                    }],
                    from: None,
                    provided: None,
                });
            };
            for task in grown {
                let Ok(ix) = u32::try_from(self.tasks.len()) else {
                    break;
                };
                let tasks = self.of_steps.entry(task.step.clone()).or_default();
                tasks.push(TaskIx(ix));
                self.tasks.push(task);
            }
        }
        Ok(())
    }

    fn task(&self, step: &StepPlan, task: &TaskPlan) -> Seen {
        let results = self.results_for(task);
        let runs = |why: Vec<StaleReason>| {
            Seen::Fate(Fate {
                step: step.id.clone(),
                task: Some(task.name.clone()),
                would: Would::Run,
                why,
                from: None,
                provided: None,
            })
        };
        match plan::condition(self.plan, task, &results, 1) {
            Ok(true) => {}
            Ok(false) => return Seen::Fate(skipped(task)),
            Err(_) => {
                let what = "`when`".to_owned();
                return runs(vec![StaleReason::NotYetKnown { what }]);
            }
        }
        if let Some(reason) = run::always(step) {
            return runs(vec![reason]);
        }
        let Some((reader, place)) = self.memory else {
            return runs(vec![StaleReason::NeverRan]);
        };
        let earlier = run::earlier(reader, &self.plan.pipeline, &task.name);
        let earlier = earlier.map(|(_, noted)| noted);
        let Some(made) = self.render(step, task, &results, earlier.as_ref()) else {
            let what = "one of its values".to_owned();
            return runs(vec![StaleReason::NotYetKnown { what }]);
        };
        let found = made
            .key(step)
            .and_then(|key| run::glance(reader, place, &key).ok())
            .unwrap_or(Err(Miss::Unknown));
        match found {
            Ok(found) => hit(step, task, &found, &made),
            Err(miss) => {
                let manifest = made.manifest(self.plan, step);
                runs(run::why(step, Some(&miss), earlier.as_ref(), &manifest))
            }
        }
    }

    fn results_for(&self, task: &TaskPlan) -> Results {
        let item = match &task.item {
            Some(Item::Task(ix)) => self.ended.get(ix).cloned(),
            _ => None,
        };
        Results {
            item,
            ..self.results.clone()
        }
    }

    fn render(
        &self,
        step: &StepPlan,
        task: &TaskPlan,
        results: &Results,
        earlier: Option<&Noted>,
    ) -> Option<Made> {
        match &step.work {
            Work::Workflow(work) => {
                let rendered = plan::render(self.plan, task, work, results, None, 1);
                let mut rendered = rendered.ok()?;
                let server = self.plan.servers.get(&step.server)?;
                let realm = Realm::of(&server.kind);
                let mut facts = ServerFacts::new(realm);
                if let Some(earlier) = earlier {
                    key::settle(&mut rendered.graph, &earlier.manifest);
                    facts = ServerFacts::assumed(realm, &earlier.manifest);
                }
                Some(Made::Graph(Box::new(rendered), Box::new(facts)))
            }
            Work::Command(command) => {
                let rendered = plan::render_command(self.plan, task, results, 1).ok()?;
                Some(Made::Command(Box::new(rendered), command.collect.clone()))
            }
        }
    }
}

fn hit(step: &StepPlan, task: &TaskPlan, found: &Found, made: &Made) -> Seen {
    let fate = Fate {
        step: step.id.clone(),
        task: Some(task.name.clone()),
        would: Would::Cached,
        why: Vec::new(),
        from: Some(found.made.run.clone()),
        provided: made.provided(step),
    };
    Seen::Hit(fate, found.artifacts_of(step, &task.name))
}

fn skipped(task: &TaskPlan) -> Fate {
    Fate {
        step: task.step.clone(),
        task: Some(task.name.clone()),
        would: Would::Skipped,
        why: Vec::new(),
        from: None,
        provided: None,
    }
}

/// A task's work with every value in it.
enum Made {
    Graph(Box<Rendered>, Box<ServerFacts>),
    Command(Box<RenderedCommand>, IndexMap<String, String>),
}

impl Made {
    fn key(&self, step: &StepPlan) -> Option<ContentHash> {
        match self {
            Self::Graph(rendered, facts) => Some(of_workflow(rendered, step.cache, facts, None)),
            Self::Command(command, collect) => of_command(&CommandInputs::of(command, collect)),
        }
    }

    fn manifest(&self, plan: &Plan, step: &StepPlan) -> Manifest {
        match self {
            Self::Graph(rendered, facts) => workflow_manifest(plan, rendered, step.cache, facts),
            Self::Command(command, collect) => {
                command_manifest(plan, &CommandInputs::of(command, collect))
            }
        }
    }

    /// What was taken for granted.
    fn provided(&self, step: &StepPlan) -> Option<&'static str> {
        match self {
            Self::Graph(_, facts) if facts.realm == Realm::Comfy => {
                if step.cache == CacheMode::Strict {
                    Some("the server is the same")
                } else if facts.models.is_empty() {
                    None
                } else {
                    Some("the server's models are the same")
                }
            }
            _ => None,
        }
    }
}

/// Tasks of one step with the same fate are told together beyond this number.
const APART: usize = 4;

/// What would run, for people.
pub fn fates_text(fates: &[Fate]) -> String {
    let mut lines: Vec<(String, &'static str, String)> = Vec::new();
    let mut rest = fates;
    while let Some(first) = rest.first() {
        let alike = rest
            .iter()
            .take_while(|fate| {
                let same = |fate: &Fate| (fate.would, fate.why.clone(), fate.provided);
                fate.step == first.step && same(fate) == same(first)
            })
            .count();
        let told = if alike > APART { 1 } else { alike };
        for fate in &rest[..told] {
            let name = match &fate.task {
                None => fate.step.0.clone(),
                Some(_) if alike > APART => format!("{} ({alike} tasks)", fate.step),
                Some(task) => task.0.clone(),
            };
            lines.push((name, fate.would.word(), because(fate)));
        }
        rest = &rest[alike..];
    }
    let count = |would: Would| fates.iter().filter(|fate| fate.would == would).count();
    let mut out = format!("\n{} would run", count(Would::Run));
    for (would, words) in [
        (Would::Open, "open until others ran"),
        (Would::Cached, "cached"),
        (Would::Skipped, "skipped"),
    ] {
        if count(would) > 0 {
            let _ = write!(out, ", {} {words}", count(would));
        }
    }
    out.push('\n');
    let width = lines.iter().map(|(name, ..)| name.chars().count()).max();
    let width = width.unwrap_or(0).min(48);
    for (name, word, because) in lines {
        let line = format!("  {name:<width$}  {word:<7}  {because}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// How many reasons of a task are told.
const REASONS: usize = 4;

fn because(fate: &Fate) -> String {
    if let Some(from) = &fate.from {
        let provided = fate.provided.map(|it| format!(", if {it}"));
        return format!("from run {from}{}", provided.unwrap_or_default());
    }
    told(&fate.why)
}

/// Reasons on one line.
pub fn told(why: &[StaleReason]) -> String {
    let mut texts: Vec<String> = why.iter().take(REASONS).map(ToString::to_string).collect();
    if why.len() > REASONS {
        texts.push(format!("{} more", why.len() - REASONS));
    }
    texts.join("; ")
}

/// What would run, for programs: in the order of [`fates`], with a text for each reason.
pub fn fates_json(fates: &[Fate]) -> Value {
    fates
        .iter()
        .map(|fate| {
            let mut json = json!(fate);
            json["because"] = fate.why.iter().map(ToString::to_string).collect();
            json
        })
        .collect()
}
