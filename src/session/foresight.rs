//! A plan laid over what its project remembers: what would become of each task, found out without writing anything.
//!
//! Steps are looked at in the order of their needs. A step whose tasks would all be cached is taken for done, so that the steps after it
//! can be judged by the results that it has; one that would run leaves those after it open. Where no server was asked, its models are
//! taken for what they were when the task ran last, and values for the types that they had then.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;

use super::made_work::MadeWork;
use super::why::{Fate, Would};
use crate::artifact::Artifact;
use crate::base::{ContentHash, Input, Nearby, RunId, ServerName, StepId, parallel};
use crate::catalog::Catalog;
use crate::plan::key::{Memo, Realm, ServerFacts, StaleReason};
use crate::plan::{
    self, Grow, Item, Plan, Reads, Results, ServerKind, StepOutcome, StepPlan, TaskIx, TaskOutcome,
    TaskPlan, Work,
};
use crate::run::{self, Lying, Resting};
use crate::store::{self, Place, Reader, Shelf, Unread};

mod judged;
mod skipped;

/// What the servers of a plan told of themselves.
pub(super) type Told = HashMap<ServerName, ServerFacts>;

/// What would become of a plan's tasks, in file order. A state that cannot be read is one in which nothing ever ran.
pub fn fates(plan: &Plan) -> Vec<Fate> {
    foresee(plan).0
}

/// The same, and what was read for it that no plan reads: files that templates name which wait for results.
pub fn foresee(plan: &Plan) -> (Vec<Fate>, Vec<Input>) {
    let memory = remembered(&plan.project_dir);
    let memory = memory.as_ref().map(|(reader, place)| (reader, place));
    let foresight = Foresight::new(plan, memory, None, None);
    let reads = foresight.reads.clone();
    (foresight.fates(), reads.recorded())
}

pub(super) fn remembered(project: &Path) -> Option<(Reader, Place)> {
    let reader = store::read(project).ok().flatten()?;
    Some((reader, Place::of(project)))
}

/// Tasks that are looked at together: enough for all threads, and few enough to keep their graphs at hand.
const TOGETHER: usize = 4096;
/// Tasks of which mostly one has work to do, when any has.
const FIRST: usize = 128;

/// A plan while it is looked through.
pub(super) struct Foresight<'a> {
    plan: &'a Plan,
    memory: Option<(&'a Reader, Shelf)>,
    told: Option<&'a Told>,
    /// The run behind `latest`, when it matters whether results lie there, and nothing but that does.
    newest: Option<RunId>,
    /// What steps made that would be cached, or skipped; as far as others wait for them.
    results: IndexMap<StepId, Arc<StepOutcome>>,
    /// Tasks that follow from cached results: their numbers come after those of the plan's tasks.
    grown: Vec<TaskPlan>,
    of_steps: HashMap<&'a StepId, Vec<TaskIx>>,
    /// Steps that others wait for: what their tasks made is kept.
    needed: HashSet<&'a StepId>,
    /// The nodes of kiln's own server, which need not be asked for them.
    own: Catalog,
    /// Plans of earlier runs.
    plans: Mutex<HashMap<RunId, Option<Plan>>>,
    /// What tasks that would be cached made.
    ended: HashMap<TaskIx, Arc<TaskOutcome>>,
    fates: HashMap<&'a StepId, Vec<Fate>>,
    /// Steps of which only the run tells whether any task of theirs is run.
    doubtful: HashSet<&'a StepId>,
    lying: HashMap<&'a StepId, Vec<Lying>>,
    /// Something was taken for granted.
    provided: bool,
    /// What templates read that waited for results.
    reads: Reads,
    /// A task was found that does not lie where the newest run put it.
    work: bool,
}

/// A step while its tasks are looked at.
#[derive(Clone, Copy)]
struct Look<'a> {
    step: &'a StepPlan,
    /// What the steps made that it waits for.
    results: &'a Results,
    memo: Option<&'a Memo>,
    /// Where the newest run put what it made, when that matters.
    folder: Option<&'a Nearby>,
}

/// What was found of a task at first.
enum Seen<'a> {
    Judged(Judged),
    Made(Box<Made<'a>>),
}

impl Seen<'_> {
    fn key(&self) -> Option<ContentHash> {
        match self {
            Self::Made(made) => made.key,
            Self::Judged(_) => None,
        }
    }
}

/// The places of tasks in the order of their keys.
fn by_key(seen: &[Option<Seen<'_>>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..seen.len()).collect();
    places.sort_by_cached_key(|at| seen[*at].as_ref().and_then(Seen::key));
    places
}

/// A task's work with every value in it.
struct Made<'a> {
    /// `None` when it was not kept: it can be made again.
    work: Option<MadeWork<'a>>,
    key: Option<ContentHash>,
}

/// What was found of a task in the end.
struct Judged {
    would: Would,
    why: Vec<StaleReason>,
    from: Option<RunId>,
    provided: Option<&'static str>,
    since: Option<String>,
    key: Option<ContentHash>,
    /// What it made, when it would be cached and others wait for that.
    outcome: Option<Arc<TaskOutcome>>,
    /// What it made, when that lies where the newest run put it.
    lying: Option<Vec<Arc<Artifact>>>,
}

impl Judged {
    fn new(would: Would, why: Vec<StaleReason>) -> Self {
        Self {
            would,
            why,
            from: None,
            provided: None,
            since: None,
            key: None,
            outcome: None,
            lying: None,
        }
    }

    /// With what its result depends on, hashed.
    fn known_by(self, key: Option<ContentHash>) -> Self {
        Self { key, ..self }
    }

    fn skipped(since: &str) -> Self {
        Self {
            since: Some(since.to_owned()),
            ..Self::new(Would::Skipped, Vec::new())
        }
    }
}

impl<'a> Foresight<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        memory: Option<(&'a Reader, &'a Place)>,
        told: Option<&'a Told>,
        newest: Option<RunId>,
    ) -> Self {
        let mut of_steps: HashMap<&StepId, Vec<TaskIx>> = HashMap::new();
        for (task, ix) in plan.tasks.iter().zip(0..) {
            of_steps.entry(&task.step).or_default().push(TaskIx(ix));
        }
        let needs = plan.steps.values().flat_map(|step| &step.needs);
        Self {
            plan,
            memory: memory.map(|(reader, place)| (reader, place.shelf())),
            told,
            newest,
            results: IndexMap::new(),
            grown: Vec::new(),
            of_steps,
            needed: needs.map(|need| &need.step).collect(),
            own: crate::embedded::catalog(),
            plans: Mutex::default(),
            ended: HashMap::new(),
            fates: HashMap::new(),
            doubtful: HashSet::new(),
            lying: HashMap::new(),
            provided: false,
            reads: Reads::noted(),
            work: false,
        }
    }

    /// What would become of all tasks, in file order.
    fn fates(mut self) -> Vec<Fate> {
        self.look();
        let mut fates = self.fates;
        let steps = self.plan.steps.keys();
        steps
            .filter_map(|step| fates.remove(step))
            .flatten()
            .collect()
    }

    /// All tasks, when every result lies where the newest run put it, and whether something was taken for granted for that.
    pub(super) fn rest(mut self) -> Option<(Resting, bool)> {
        self.look();
        let mut of_steps = self.lying;
        let steps = self.plan.steps.keys();
        let lying: Vec<Lying> = steps
            .filter_map(|step| of_steps.remove(step))
            .flatten()
            .collect();
        if self.work || lying.iter().all(|lying| lying.artifacts.is_none()) {
            return None;
        }
        let grown = self.grown;
        Some((Resting { grown, lying }, self.provided))
    }

    /// Looks at the steps, each after those that it waits for.
    fn look(&mut self) {
        let steps = &self.plan.steps;
        let mut waiting: HashMap<&StepId, usize> = HashMap::new();
        let mut dependants: HashMap<&StepId, Vec<&'a StepPlan>> = HashMap::new();
        let mut ready: VecDeque<&'a StepPlan> = VecDeque::new();
        for step in steps.values() {
            let needs = step.needs.iter().map(|need| &need.step);
            let needs: HashSet<&StepId> = needs.filter(|id| steps.contains_key(*id)).collect();
            if needs.is_empty() {
                ready.push_back(step);
            }
            waiting.insert(&step.id, needs.len());
            for need in needs {
                dependants.entry(need).or_default().push(step);
            }
        }
        while let Some(step) = ready.pop_front() {
            let fates = self.step(step);
            if self.work {
                return;
            }
            if self.is_doubtful(step, &fates) {
                self.doubtful.insert(&step.id);
            }
            self.fates.insert(&step.id, fates);
            for dependant in dependants.remove(&step.id).unwrap_or_default() {
                if let Some(left) = waiting.get_mut(&dependant.id) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push_back(dependant);
                    }
                }
            }
        }
    }

    fn step(&mut self, step: &'a StepPlan) -> Vec<Fate> {
        if let Some(since) = self.skipped_since(step) {
            return self.skip(step, &since);
        }
        let needs = step.needs.iter().map(|need| &need.step);
        let waits: Vec<String> = needs
            .filter(|id| self.plan.steps.contains_key(*id) && !self.results.contains_key(*id))
            .map(|id| id.0.clone())
            .collect();
        if !waits.is_empty() {
            self.work = self.newest.is_some();
            return self.open(step, waits);
        }
        if let Err(fate) = self.grow(step) {
            self.work = self.newest.is_some();
            return vec![*fate];
        }
        let known = self.of_steps.get(&step.id).cloned().unwrap_or_default();
        if known.is_empty() {
            return self.skip(step, skipped::NOTHING);
        }
        let results = self.seen_by(step);
        let memo = step.workflow().map(|work| Memo::of(&work.graph));
        let newest = self.newest.as_ref();
        let folder =
            newest.map(|newest| Nearby::new(run::step_folder(self.plan, newest, &step.id)));
        let look = Look {
            step,
            results: &results,
            memo: memo.as_ref(),
            folder: folder.as_ref(),
        };
        let mut fates = Vec::new();
        let mut complete = true;
        for some in self.portions(&known) {
            for (ix, judged) in some.iter().zip(self.together(look, some)) {
                complete &= matches!(judged.would, Would::Cached | Would::Skipped);
                fates.extend(self.note(step, *ix, judged));
            }
            if self.work {
                return Vec::new();
            }
        }
        if complete {
            self.end(step, &known);
        }
        fates
    }

    /// What a step's tasks may see, as in a run: the steps that it waits for, but for one that it follows task by task.
    fn seen_by(&self, step: &StepPlan) -> Results {
        let followed = match &step.grow {
            Grow::Stream { from, .. } => Some(from),
            _ => None,
        };
        let needs = step.needs.iter().map(|need| &need.step);
        let ended = needs.filter(|id| Some(*id) != followed);
        let mut results = Results::new(RunId::from("not yet"));
        results.reads = self.reads.clone();
        results.steps = ended
            .filter_map(|id| Some((id.clone(), Arc::clone(self.results.get(id)?))))
            .collect();
        results
    }

    /// Notes what was found of a task; its fate, when that is asked for.
    fn note(&mut self, step: &'a StepPlan, ix: TaskIx, judged: Judged) -> Option<Fate> {
        if let Some(outcome) = judged.outcome {
            self.ended.insert(ix, outcome);
        }
        if self.newest.is_none() {
            return Some(Fate {
                from: judged.from,
                provided: judged.provided,
                since: judged.since,
                key: judged.key,
                ..Fate::of(self.at(ix), judged.would, judged.why)
            });
        }
        self.provided |= judged.provided.is_some();
        self.work |= judged.would != Would::Skipped && judged.lying.is_none();
        let lying = self.lying.entry(&step.id).or_default();
        lying.push(Lying {
            task: ix,
            artifacts: judged.lying,
        });
        None
    }

    /// A step of which every task would be cached or skipped is taken for done.
    fn end(&mut self, step: &StepPlan, tasks: &[TaskIx]) {
        if self.needed.contains(&step.id) {
            let made = tasks.iter().filter_map(|ix| self.ended.get(ix).cloned());
            let tasks: Vec<_> = made.collect();
            let status = if tasks.is_empty() { "skipped" } else { "done" };
            self.ended_as(step, status, tasks);
        }
    }

    fn ended_as(&mut self, step: &StepPlan, status: &str, tasks: Vec<Arc<TaskOutcome>>) {
        let status = status.to_owned();
        let outcome = Arc::new(StepOutcome { status, tasks });
        self.results.insert(step.id.clone(), outcome);
    }

    fn at(&self, ix: TaskIx) -> &TaskPlan {
        let at = ix.0 as usize;
        match self.plan.tasks.get(at) {
            Some(task) => task,
            None => &self.grown[at - self.plan.tasks.len()],
        }
    }

    /// The fates of tasks that wait for steps which would run.
    fn open(&self, step: &StepPlan, waits: Vec<String>) -> Vec<Fate> {
        let surely = step.when.is_none() && !self.needs_doubtful(step);
        let reason = run::always(step).filter(|_| surely);
        let would = if reason.is_some() {
            Would::Run
        } else {
            Would::Open
        };
        let why = vec![reason.unwrap_or(StaleReason::WaitsFor { steps: waits })];
        let of = |task: Option<&TaskPlan>| match task {
            Some(task) if task.skip => Fate::of(task, Would::Skipped, Vec::new()),
            Some(task) => Fate::of(task, would, why.clone()),
            None => Fate::of_step(&step.id, would, why.clone()),
        };
        match self.of_steps.get(&step.id) {
            Some(known) => known.iter().map(|ix| of(Some(self.at(*ix)))).collect(),
            None if step.grow == Grow::Known => Vec::new(),
            None => vec![of(None)],
        }
    }

    /// Adds the tasks that follow from the results of cached steps.
    fn grow(&mut self, step: &'a StepPlan) -> Result<(), Box<Fate>> {
        let sources: Vec<Option<(TaskIx, Arc<TaskOutcome>)>> = match &step.grow {
            Grow::Known => return Ok(()),
            Grow::Later { .. } => vec![None],
            Grow::Stream { from, .. } => {
                let tasks = self.of_steps.get(from).into_iter().flatten();
                let ended = tasks.filter_map(|ix| Some((*ix, Arc::clone(self.ended.get(ix)?))));
                ended.map(Some).collect()
            }
        };
        let results = self.seen_by(step);
        for source in sources {
            let ended = source.as_ref().map(|(ix, outcome)| (*ix, outcome.as_ref()));
            let Ok(grown) = plan::expand(self.plan, &step.id, ended, &results) else {
                let what = "`for_each`".to_owned();
                let why = vec![StaleReason::NotYetKnown { what }];
                return Err(Box::new(Fate::of_step(&step.id, Would::Open, why)));
            };
            for task in grown {
                let Ok(ix) = u32::try_from(self.plan.tasks.len() + self.grown.len()) else {
                    break;
                };
                let tasks = self.of_steps.entry(&step.id).or_default();
                tasks.push(TaskIx(ix));
                self.grown.push(task);
            }
        }
        Ok(())
    }

    /// A step's tasks in portions that are looked at together. Where the first task that has work to do ends the look, the first portion
    /// mostly finds it; the others need not keep their graphs, and pages of the database are read once when they are one portion.
    fn portions<'t>(&self, known: &'t [TaskIx]) -> Vec<&'t [TaskIx]> {
        if self.newest.is_none() {
            return known.chunks(TOGETHER).collect();
        }
        let (first, rest) = known.split_at(known.len().min(FIRST));
        [first, rest]
            .into_iter()
            .filter(|p| !p.is_empty())
            .collect()
    }

    /// What would become of some tasks of a step.
    fn together(&self, look: Look<'_>, some: &[TaskIx]) -> Vec<Judged> {
        let mut seen = parallel(some.to_vec(), |ix| Some(self.task(look, self.at(ix))));
        let mut judged: Vec<Option<Judged>> = Vec::new();
        judged.resize_with(seen.len(), || None);
        for part in by_key(&seen).chunks(TOGETHER) {
            let taken = part.iter().map(|at| (*at, seen[*at].take()));
            let taken: Vec<_> = taken.filter_map(|(at, seen)| Some((at, seen?))).collect();
            let records = self.records(taken.iter().map(|(_, seen)| seen));
            let both: Vec<_> = taken.into_iter().zip(records).collect();
            let ends = parallel(both, |((at, seen), record)| match seen {
                Seen::Judged(judged) => (at, judged),
                Seen::Made(made) => {
                    let task = self.at(some[at]);
                    (at, self.judge(look, task, *made, record.as_ref()))
                }
            });
            for (at, end) in ends {
                judged[at] = Some(end);
            }
        }
        judged.into_iter().flatten().collect()
    }

    /// The task's work, unless its fate is clear without it.
    fn task(&self, look: Look<'_>, task: &TaskPlan) -> Seen<'a> {
        let results = &*self.results_for(look, task);
        let runs = |reason| Seen::Judged(Judged::new(Would::Run, vec![reason]));
        match plan::condition(self.plan, task, results, 1) {
            Ok(true) => {}
            Ok(false) => return Seen::Judged(Judged::skipped(skipped::UNWANTED)),
            Err(_) => {
                let what = "`when`".to_owned();
                return runs(StaleReason::NotYetKnown { what });
            }
        }
        if let Some(reason) = run::always(look.step) {
            return runs(reason);
        }
        if self.memory.is_none() {
            return runs(StaleReason::NeverRan);
        }
        let Some(work) = self.render(look.step, task, results) else {
            let what = "one of its values".to_owned();
            return runs(StaleReason::NotYetKnown { what });
        };
        let key = work.key(look.step, look.memo);
        // Most are never looked at again, and many of them take much room.
        let work = self.newest.is_none().then_some(work);
        Seen::Made(Box::new(Made { work, key }))
    }

    fn results_for<'r>(&self, look: Look<'r>, task: &TaskPlan) -> Cow<'r, Results> {
        let item = match &task.item {
            Some(Item::Task(ix)) => self.ended.get(ix).cloned(),
            _ => None,
        };
        match item {
            None => Cow::Borrowed(look.results),
            item => Cow::Owned(Results {
                item,
                ..look.results.clone()
            }),
        }
    }

    /// What is known of a step's server.
    fn facts(&self, step: &StepPlan) -> Option<Cow<'a, ServerFacts>> {
        if let Some(told) = self.told.and_then(|told| told.get(&step.server)) {
            return Some(Cow::Borrowed(told));
        }
        let server = self.plan.servers.get(&step.server)?;
        Some(Cow::Owned(ServerFacts::new(Realm::of(&server.kind))))
    }

    fn render(&self, step: &StepPlan, task: &TaskPlan, results: &Results) -> Option<MadeWork<'a>> {
        match &step.work {
            Work::Workflow(work) => {
                let server = self.plan.servers.get(&step.server)?;
                let own = matches!(server.kind, ServerKind::Embedded { simulate: false });
                let catalog = own.then_some(&self.own);
                // Which input stands for a bypassed node's output, only its server can tell.
                if catalog.is_none() && !work.bypassed.is_empty() {
                    return None;
                }
                let rendered = plan::render(self.plan, task, work, results, catalog, 1).ok()?;
                Some(MadeWork::Graph(rendered, self.facts(step)?))
            }
            Work::Command(command) => {
                let rendered = plan::render_command(self.plan, task, results, 1).ok()?;
                Some(MadeWork::Command(rendered, command.collect.clone()))
            }
            Work::Plugin(_) => {
                let rendered = plan::render_plugin(self.plan, task, results, 1).ok()?;
                Some(MadeWork::Plugin(rendered))
            }
        }
    }

    /// What is kept under the keys of many tasks, in their order.
    fn records<'s>(&self, seen: impl Iterator<Item = &'s Seen<'a>> + Clone) -> Vec<Option<Unread>>
    where
        'a: 's,
    {
        let keys: Vec<ContentHash> = seen.clone().filter_map(Seen::key).collect();
        let kept = self
            .memory
            .as_ref()
            .and_then(|(reader, _)| reader.cached_many(&keys).ok());
        let mut kept = kept.unwrap_or_default().into_iter();
        seen.map(|seen| seen.key().and_then(|_| kept.next().flatten()))
            .collect()
    }
}
