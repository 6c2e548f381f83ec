//! A plan laid over what its project remembers: what would become of each task, found out without writing anything.
//!
//! Steps are looked at in the order of their needs. A step whose tasks would all be cached is taken for done, so that the steps after it
//! can be judged by the results that it has; one that would run leaves those after it open. Where no server was asked, its models are
//! taken for what they were when the task ran last, and values for the types that they had then.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

use super::made_work::MadeWork;
use super::why::{Fate, Would};
use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId, ServerName, StepId, parallel};
use crate::catalog::Catalog;
use crate::plan::key::{Memo, Realm, ServerFacts, StaleReason};
use crate::plan::{
    self, Grow, Item, Plan, Results, ServerKind, StepOutcome, StepPlan, TaskIx, TaskOutcome,
    TaskPlan, Work,
};
use crate::run::{self, Found, Lying, Miss, Resting};
use crate::store::{self, Place, Reader, Unread};

mod skipped;

/// What the servers of a plan told of themselves.
pub(super) type Told = HashMap<ServerName, ServerFacts>;

/// What would become of a plan's tasks, in file order. A state that cannot be read is one in which nothing ever ran.
pub fn fates(plan: &Plan) -> Vec<Fate> {
    let memory = remembered(&plan.project_dir);
    let memory = memory.as_ref().map(|(reader, place)| (reader, place));
    Foresight::new(plan, memory, None, None).fates()
}

pub(super) fn remembered(project: &Path) -> Option<(Reader, Place)> {
    let reader = store::read(project).ok().flatten()?;
    Some((reader, Place::of(project)))
}

/// Tasks that are looked at together: enough for all threads, and few enough to keep their graphs at hand.
const TOGETHER: usize = 4096;

/// A plan while it is looked through.
pub(super) struct Foresight<'a> {
    plan: &'a Plan,
    memory: Option<(&'a Reader, &'a Place)>,
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
    folder: Option<&'a Path>,
}

/// What was found of a task at first.
enum Seen {
    Judged(Judged),
    Made(Box<Made>),
}

/// A task's work with every value in it.
struct Made {
    work: MadeWork,
    key: Option<ContentHash>,
}

/// What was found of a task in the end.
struct Judged {
    would: Would,
    why: Vec<StaleReason>,
    from: Option<RunId>,
    provided: Option<&'static str>,
    since: Option<String>,
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
            outcome: None,
            lying: None,
        }
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
            memory,
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
        let folder = newest.map(|newest| run::step_folder(self.plan, newest, &step.id));
        let look = Look {
            step,
            results: &results,
            memo: memo.as_ref(),
            folder: folder.as_deref(),
        };
        let mut fates = Vec::new();
        let mut complete = true;
        for some in known.chunks(TOGETHER) {
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

    /// What would become of some tasks of a step.
    fn together(&self, look: Look<'_>, some: &[TaskIx]) -> Vec<Judged> {
        let seen = parallel(some.to_vec(), |ix| (ix, self.task(look, self.at(ix))));
        let records = self.records(&seen);
        let both: Vec<_> = seen.into_iter().zip(records).collect();
        parallel(both, |((ix, seen), record)| match seen {
            Seen::Judged(judged) => judged,
            Seen::Made(made) => self.judge(look, self.at(ix), *made, record.as_ref()),
        })
    }

    /// The task's work, unless its fate is clear without it.
    fn task(&self, look: Look<'_>, task: &TaskPlan) -> Seen {
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

    fn render(&self, step: &StepPlan, task: &TaskPlan, results: &Results) -> Option<MadeWork> {
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
                let told = self.told.and_then(|told| told.get(&step.server).cloned());
                let facts = told.unwrap_or_else(|| ServerFacts::new(Realm::of(&server.kind)));
                Some(MadeWork::Graph(rendered, facts))
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
    fn records(&self, seen: &[(TaskIx, Seen)]) -> Vec<Option<Unread>> {
        let key = |seen: &Seen| match seen {
            Seen::Made(made) => made.key,
            Seen::Judged(_) => None,
        };
        let keys: Vec<ContentHash> = seen.iter().filter_map(|(_, seen)| key(seen)).collect();
        let kept = self
            .memory
            .and_then(|(reader, _)| reader.cached_many(&keys).ok());
        let mut kept = kept.unwrap_or_default().into_iter();
        seen.iter()
            .map(|(_, seen)| key(seen).and_then(|_| kept.next().flatten()))
            .collect()
    }

    fn judge(
        &self,
        look: Look<'_>,
        task: &TaskPlan,
        mut made: Made,
        record: Option<&Unread>,
    ) -> Judged {
        let Some((reader, place)) = self.memory else {
            unreachable!("without a memory no task gets as far as this");
        };
        let mut found = record.map_or(Err(Miss::Unknown), |record| run::glance(record, place));
        if found.is_ok() {
            return self.hit(look, task, &made, found);
        }
        let earlier = run::earlier(reader, &self.plan.pipeline, &task.name);
        let told = self.told.is_some();
        if !told
            && let (MadeWork::Graph(_, facts), Some((run, noted))) = (&mut made.work, &earlier)
            && let Some(realm) = noted.manifest.realm()
            && realm != facts.realm
            && self.is_where(look.step, reader, run)
        {
            facts.realm = realm;
        }
        let earlier = earlier.map(|(_, noted)| noted);
        if let Some(key) = made.work.assume(look.step, earlier.as_ref(), told) {
            made.key = Some(key);
            let kept = reader.cached_many(&[key]).unwrap_or_default();
            if let [Some(record)] = kept.as_slice() {
                found = run::glance(record, place);
            }
        }
        match found {
            Ok(_) => self.hit(look, task, &made, found),
            Err(miss) => {
                let manifest = made.work.manifest(self.plan, look.step);
                let why = run::why(look.step, Some(&miss), earlier.as_ref(), &manifest);
                Judged::new(Would::Run, why)
            }
        }
    }

    /// Whether a step has the address that it had in an earlier run: what is behind it is taken for what was behind it then.
    fn is_where(&self, step: &StepPlan, reader: &Reader, run: &RunId) -> bool {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if !plans.contains_key(run) {
            plans.insert(run.clone(), reader.plan(run).ok().flatten());
        }
        let of = |plan: &Plan| {
            let step = plan.steps.get(&step.id)?;
            plan.servers.get(&step.server).map(|s| s.kind.clone())
        };
        let (now, then) = (of(self.plan), plans[run].as_ref().and_then(of));
        matches!(
            now,
            Some(ServerKind::Comfy { .. } | ServerKind::Cloud { .. })
        ) && now == then
    }

    fn hit(
        &self,
        look: Look<'_>,
        task: &TaskPlan,
        made: &Made,
        found: Result<Found, Miss>,
    ) -> Judged {
        let Ok(found) = found else {
            return Judged::new(Would::Run, vec![StaleReason::Removed]);
        };
        let mut judged = Judged::new(Would::Cached, Vec::new());
        let step = look.step;
        let needed = self.needed.contains(&step.id);
        if needed || step.retry.until.is_some() {
            let artifacts = found.artifacts_of(step, &task.name);
            let results = self.results_for(look, task);
            let outcome = TaskOutcome::of(task, "cached", artifacts);
            let outcome = outcome.following(results.item.as_ref());
            let fits = plan::until(self.plan, task, &results, &outcome, 1);
            if !matches!(fits, Ok(true)) {
                return Judged::new(Would::Run, vec![StaleReason::Unfit]);
            }
            judged.outcome = needed.then(|| Arc::new(outcome));
        }
        judged.lying = look
            .folder
            .and_then(|folder| self.lying(look, task, folder, &found));
        judged.from = Some(found.made.run).filter(|_| self.newest.is_none());
        judged.provided = made.work.provided(step, self.told.is_some());
        judged
    }

    /// A result that lies where the newest run put it, under the names that it would have now.
    fn lying(
        &self,
        look: Look<'_>,
        task: &TaskPlan,
        folder: &Path,
        found: &Found,
    ) -> Option<Vec<Arc<Artifact>>> {
        let artifacts = found.in_place(self.newest.as_ref()?, &task.name)?;
        let results = self.results_for(look, task);
        let named = |artifact: &Arc<Artifact>| {
            let Some(path) = &artifact.path else {
                return true;
            };
            plan::save_as(self.plan, task, artifact, &results, found.made.attempt)
                .is_ok_and(|wanted| run::would_be(folder, &wanted, path))
        };
        artifacts.iter().all(named).then_some(artifacts)
    }
}
