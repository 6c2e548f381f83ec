//! A plan laid over what its project remembers: what would become of each task, found out without writing anything.
//!
//! Steps are looked at in the order of their needs. A step whose tasks would all be cached is taken for done, so that the steps after it
//! can be judged by the results that it has; one that would run leaves those after it open. Where no server was asked, its models are
//! taken for what they were when the task ran last, and values for the types that they had then.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::why::{Fate, Would};
use crate::artifact::Artifact;
use crate::base::{ContentHash, RunId, ServerName, StepId};
use crate::catalog::Catalog;
use crate::plan::key::{
    self, CommandInputs, Manifest, Memo, Realm, ServerFacts, StaleReason, command_manifest,
    of_command, of_workflow, workflow_manifest,
};
use crate::plan::{
    self, CacheMode, Grow, Item, Plan, Rendered, RenderedCommand, Results, ServerKind, StepOutcome,
    StepPlan, TaskIx, TaskOutcome, TaskPlan, Work,
};
use crate::run::{self, Found, Lying, Miss, Noted};
use crate::store::{self, CacheRecord, Place, Reader};

/// What the servers of a plan told of themselves.
pub(super) type Told = HashMap<ServerName, ServerFacts>;

/// What would become of a plan's tasks, in file order. A state that cannot be read is one in which nothing ever ran.
pub fn fates(plan: &Plan) -> Vec<Fate> {
    let memory = remembered(&plan.project_dir);
    let memory = memory.as_ref().map(|(reader, place)| (reader, place));
    Foresight::new(plan, memory, None, None).look().0
}

/// Whether there is anything to do.
#[derive(Debug)]
pub(super) enum Outlook {
    /// There is.
    Work,
    /// Every result lies where the newest run put it.
    Done(Vec<Lying>),
    /// The same, unless a server has other models by now.
    DoneUnless,
}

/// Whether there is anything to do in a new run of a plan; `told` is what its servers told, once they were asked.
pub(super) fn outlook(plan: &Plan, told: Option<&Told>) -> Outlook {
    let Some(newest) = run::newest(plan) else {
        return Outlook::Work;
    };
    let Some((reader, place)) = remembered(&plan.project_dir) else {
        return Outlook::Work;
    };
    let foresight = Foresight::new(plan, Some((&reader, &place)), told, Some(newest));
    let (fates, lying) = foresight.look();
    let done = |fate: &Fate| matches!(fate.would, Would::Cached | Would::Skipped);
    if !fates.iter().all(done) || lying.iter().all(|lying| lying.artifacts.is_none()) {
        return Outlook::Work;
    }
    if lying.len() != fates.iter().filter(|fate| fate.task.is_some()).count() {
        return Outlook::Work;
    }
    if fates.iter().any(|fate| fate.provided.is_some()) {
        return Outlook::DoneUnless;
    }
    Outlook::Done(lying)
}

fn remembered(project: &Path) -> Option<(Reader, Place)> {
    let reader = store::read(project).ok().flatten()?;
    Some((reader, Place::of(project)))
}

/// A plan while it is looked through.
struct Foresight<'a> {
    plan: &'a Plan,
    memory: Option<(&'a Reader, &'a Place)>,
    told: Option<&'a Told>,
    /// The run behind `latest`, when it matters whether results lie there.
    newest: Option<RunId>,
    /// What steps that would be cached made.
    results: Results,
    /// The plan's tasks and those that follow from cached results.
    tasks: Vec<TaskPlan>,
    of_steps: HashMap<StepId, Vec<TaskIx>>,
    /// The nodes of kiln's own server, which need not be asked for them.
    own: Catalog,
    /// What tasks that would be cached made.
    ended: HashMap<TaskIx, Arc<TaskOutcome>>,
    fates: IndexMap<StepId, Vec<Fate>>,
    lying: IndexMap<StepId, Vec<Lying>>,
    /// Steps of which only the run tells whether any task of theirs is run.
    doubtful: HashSet<StepId>,
}

/// Why a step without tasks is skipped.
const NOTHING: &str = "there is nothing to do it for";
/// Why a task is skipped by its own wish.
const UNWANTED: &str = "its `when` is false";

/// What was found of a task at first.
enum Seen {
    Fate(Fate),
    Made(Box<Made>),
}

/// A task's work with every value in it.
struct Made {
    work: MadeWork,
    results: Results,
    key: Option<ContentHash>,
}

enum MadeWork {
    Graph(Rendered, ServerFacts),
    Command(RenderedCommand, IndexMap<String, String>),
}

impl<'a> Foresight<'a> {
    fn new(
        plan: &'a Plan,
        memory: Option<(&'a Reader, &'a Place)>,
        told: Option<&'a Told>,
        newest: Option<RunId>,
    ) -> Self {
        let mut of_steps: HashMap<StepId, Vec<TaskIx>> = HashMap::new();
        for (task, ix) in plan.tasks.iter().zip(0..) {
            of_steps
                .entry(task.step.clone())
                .or_default()
                .push(TaskIx(ix));
        }
        Self {
            plan,
            memory,
            told,
            newest,
            results: Results::new(RunId::from("not yet")),
            tasks: plan.tasks.clone(),
            of_steps,
            own: crate::embedded::catalog(),
            ended: HashMap::new(),
            fates: IndexMap::new(),
            lying: IndexMap::new(),
            doubtful: HashSet::new(),
        }
    }

    fn look(mut self) -> (Vec<Fate>, Vec<Lying>) {
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
                if self.is_doubtful(step, &fates) {
                    self.doubtful.insert(step.id.clone());
                }
                self.fates.insert(step.id.clone(), fates);
            }
            left = rest;
        }
        let (mut fates, mut lying) = (self.fates, self.lying);
        let steps = || plan.steps.keys();
        (
            steps()
                .filter_map(|step| fates.swap_remove(step))
                .flatten()
                .collect(),
            steps()
                .filter_map(|step| lying.swap_remove(step))
                .flatten()
                .collect(),
        )
    }

    fn step(&mut self, step: &StepPlan) -> Vec<Fate> {
        if let Some(since) = self.skipped_since(step) {
            return self.skip(step, &since);
        }
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
        if known.is_empty() {
            return self.skip(step, NOTHING);
        }
        let memo = step.workflow().map(|work| Memo::of(&work.graph));
        let seen: Vec<Seen> = known
            .iter()
            .map(|ix| self.task(step, &self.tasks[ix.0 as usize], memo.as_ref()))
            .collect();
        let records = self.records(&seen);
        let mut fates = Vec::with_capacity(known.len());
        let mut complete = true;
        for ((ix, seen), record) in known.into_iter().zip(seen).zip(records) {
            let fate = match seen {
                Seen::Fate(fate) => fate,
                Seen::Made(made) => self.judge(step, ix, *made, record),
            };
            if fate.would == Would::Skipped {
                let task = self.tasks[ix.0 as usize].clone();
                let lying = self.lying.entry(step.id.clone()).or_default();
                lying.push(Lying {
                    task,
                    artifacts: None,
                });
            }
            complete &= matches!(fate.would, Would::Cached | Would::Skipped);
            fates.push(fate);
        }
        if complete {
            let tasks = self.of_steps.get(&step.id).into_iter().flatten();
            let tasks: Vec<_> = tasks.filter_map(|ix| self.ended.get(ix).cloned()).collect();
            let status = if tasks.is_empty() { "skipped" } else { "done" };
            self.ended_as(step, status, tasks);
        }
        fates
    }

    /// Why nothing of a step will be run, whatever becomes of the rest: it has no tasks, none of them is to run, or a step that it needs is
    /// skipped.
    fn skipped_since(&self, step: &StepPlan) -> Option<String> {
        let tasks = self.of_steps.get(&step.id).into_iter().flatten();
        let mut own = tasks.map(|ix| &self.tasks[ix.0 as usize]).peekable();
        if step.grow == Grow::Known {
            if own.peek().is_none() {
                return Some(NOTHING.to_owned());
            }
            if own.all(|task| task.skip) {
                return Some(UNWANTED.to_owned());
            }
        }
        let skipped = |id: &StepId| {
            let outcome = self.results.steps.get(id);
            outcome.is_some_and(|outcome| outcome.status == "skipped")
        };
        let mut needs = step.needs.iter().filter(|need| !need.optional);
        let gone = needs.find(|need| skipped(&need.step))?;
        Some(format!("{} is skipped", gone.step))
    }

    fn skip(&mut self, step: &StepPlan, since: &str) -> Vec<Fate> {
        let known = self.of_steps.get(&step.id).into_iter().flatten();
        let known: Vec<TaskPlan> = known.map(|ix| self.tasks[ix.0 as usize].clone()).collect();
        let mut fates: Vec<Fate> = known
            .iter()
            .map(|task| Fate::of(task, Would::Skipped, Vec::new()))
            .collect();
        if fates.is_empty() {
            fates.push(Fate::of_step(&step.id, Would::Skipped, Vec::new()));
        }
        for fate in &mut fates {
            fate.since = Some(since.to_owned());
        }
        let lying = |task| Lying {
            task,
            artifacts: None,
        };
        let lying = known.into_iter().map(lying).collect();
        self.lying.insert(step.id.clone(), lying);
        self.ended_as(step, "skipped", Vec::new());
        fates
    }

    fn ended_as(&mut self, step: &StepPlan, status: &str, tasks: Vec<Arc<TaskOutcome>>) {
        let outcome = StepOutcome {
            status: status.to_owned(),
            tasks,
        };
        let ended = &mut self.results.steps;
        ended.insert(step.id.clone(), Arc::new(outcome));
    }

    /// Whether a step that was looked at may yet be skipped: by its own `when`, for an empty list, or with a step that it needs.
    fn is_doubtful(&self, step: &StepPlan, fates: &[Fate]) -> bool {
        if self.results.steps.contains_key(&step.id) {
            return false;
        }
        let unlisted = match &step.grow {
            Grow::Known | Grow::Stream { list: None, .. } => false,
            Grow::Later { .. } | Grow::Stream { list: Some(_), .. } => true,
        };
        let settled = |fate: &Fate| {
            matches!(fate.would, Would::Run | Would::Cached) && !(unlisted && fate.task.is_none())
        };
        if fates.iter().any(settled) {
            return false;
        }
        step.when.is_some() || unlisted || self.needs_doubtful(step)
    }

    fn needs_doubtful(&self, step: &StepPlan) -> bool {
        let mut needs = step.needs.iter();
        needs.any(|need| !need.optional && self.doubtful.contains(&need.step))
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
        let sources: Vec<Option<(TaskIx, Arc<TaskOutcome>)>> = match &step.grow {
            Grow::Known => return Ok(()),
            Grow::Later { .. } => vec![None],
            Grow::Stream { from, .. } => {
                let tasks = self.of_steps.get(from).into_iter().flatten();
                let ended = tasks.filter_map(|ix| Some((*ix, Arc::clone(self.ended.get(ix)?))));
                ended.map(Some).collect()
            }
        };
        for source in sources {
            let ended = source.as_ref().map(|(ix, outcome)| (*ix, outcome.as_ref()));
            let Ok(grown) = plan::expand(self.plan, &step.id, ended, &self.results) else {
                let what = "`for_each`".to_owned();
                let why = vec![StaleReason::NotYetKnown { what }];
                return Err(Fate::of_step(&step.id, Would::Open, why));
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

    /// The task's work, unless its fate is clear without it.
    fn task(&self, step: &StepPlan, task: &TaskPlan, memo: Option<&Memo>) -> Seen {
        let results = self.results_for(step, task);
        let runs = |reason| Seen::Fate(Fate::of(task, Would::Run, vec![reason]));
        match plan::condition(self.plan, task, &results, 1) {
            Ok(true) => {}
            Ok(false) => {
                return Seen::Fate(Fate {
                    since: Some(UNWANTED.to_owned()),
                    ..Fate::of(task, Would::Skipped, Vec::new())
                });
            }
            Err(_) => {
                let what = "`when`".to_owned();
                return runs(StaleReason::NotYetKnown { what });
            }
        }
        if let Some(reason) = run::always(step) {
            return runs(reason);
        }
        if self.memory.is_none() {
            return runs(StaleReason::NeverRan);
        }
        let Some(work) = self.render(step, task, &results) else {
            let what = "one of its values".to_owned();
            return runs(StaleReason::NotYetKnown { what });
        };
        let key = work.key(step, memo);
        Seen::Made(Box::new(Made { work, results, key }))
    }

    /// What a task's templates can see: what the steps made that its step needs.
    fn results_for(&self, step: &StepPlan, task: &TaskPlan) -> Results {
        let ended = |id: &StepId| self.results.steps.get(id).map(Arc::clone);
        let needs = step.needs.iter();
        Results {
            run: self.results.run.clone(),
            steps: needs
                .filter_map(|need| Some((need.step.clone(), ended(&need.step)?)))
                .collect(),
            item: match &task.item {
                Some(Item::Task(ix)) => self.ended.get(ix).cloned(),
                _ => None,
            },
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
        }
    }

    /// What is kept under the keys of many tasks, in their order.
    fn records(&self, seen: &[Seen]) -> Vec<Option<CacheRecord>> {
        let key = |seen: &Seen| match seen {
            Seen::Made(made) => made.key,
            Seen::Fate(_) => None,
        };
        let keys: Vec<ContentHash> = seen.iter().filter_map(key).collect();
        let kept = self
            .memory
            .and_then(|(reader, _)| reader.cached_many(&keys).ok());
        let mut kept = kept.unwrap_or_default().into_iter();
        seen.iter()
            .map(|seen| key(seen).and_then(|_| kept.next().flatten()))
            .collect()
    }

    fn judge(
        &mut self,
        step: &StepPlan,
        ix: TaskIx,
        mut made: Made,
        record: Option<CacheRecord>,
    ) -> Fate {
        let Some((reader, place)) = self.memory else {
            unreachable!("without a memory no task gets as far as this");
        };
        let task = self.tasks[ix.0 as usize].clone();
        let mut found = record.map_or(Err(Miss::Unknown), |record| run::glance(record, place));
        if found.is_ok() {
            return self.hit(step, ix, &made, found);
        }
        let earlier = run::earlier(reader, &self.plan.pipeline, &task.name);
        if self.told.is_none()
            && let (MadeWork::Graph(_, facts), Some((run, noted))) = (&mut made.work, &earlier)
            && let Some(realm) = noted.manifest.realm()
            && realm != facts.realm
            && self.is_where(step, reader, run)
        {
            facts.realm = realm;
        }
        let earlier = earlier.map(|(_, noted)| noted);
        if let Some(key) = made
            .work
            .assume(step, earlier.as_ref(), self.told.is_some())
        {
            made.key = Some(key);
            if let Ok(Some(record)) = reader.cached(&key) {
                found = run::glance(record, place);
            }
        }
        match found {
            Ok(_) => self.hit(step, ix, &made, found),
            Err(miss) => {
                let manifest = made.work.manifest(self.plan, step);
                let why = run::why(step, Some(&miss), earlier.as_ref(), &manifest);
                Fate::of(&task, Would::Run, why)
            }
        }
    }

    /// Whether a step has the address that it had in an earlier run: what is behind it is taken for what was behind it then.
    fn is_where(&self, step: &StepPlan, reader: &Reader, run: &RunId) -> bool {
        let Ok(Some(earlier)) = reader.plan(run) else {
            return false;
        };
        let of = |plan: &Plan| {
            let step = plan.steps.get(&step.id)?;
            plan.servers.get(&step.server).map(|s| s.kind.clone())
        };
        matches!(
            of(self.plan),
            Some(ServerKind::Comfy { .. } | ServerKind::Cloud { .. })
        ) && of(self.plan) == of(&earlier)
    }

    fn hit(
        &mut self,
        step: &StepPlan,
        ix: TaskIx,
        made: &Made,
        found: Result<Found, Miss>,
    ) -> Fate {
        let task = self.tasks[ix.0 as usize].clone();
        let Ok(found) = found else {
            return Fate::of(&task, Would::Run, vec![StaleReason::Removed]);
        };
        let artifacts = found.artifacts_of(step, &task.name);
        let outcome = TaskOutcome::of(&task, "cached", artifacts);
        let outcome = outcome.following(made.results.item.as_ref());
        let fits = plan::until(self.plan, &task, &made.results, &outcome, 1);
        if !matches!(fits, Ok(true)) {
            return Fate::of(&task, Would::Run, vec![StaleReason::Unfit]);
        }
        self.note_lying(&task, made, &found);
        let outcome = Arc::new(outcome);
        self.ended.insert(ix, outcome);
        Fate {
            from: Some(found.made.run.clone()),
            provided: made.work.provided(step, self.told.is_some()),
            ..Fate::of(&task, Would::Cached, Vec::new())
        }
    }

    /// Notes a result that lies where the newest run put it, under the names that it would have now.
    fn note_lying(&mut self, task: &TaskPlan, made: &Made, found: &Found) {
        let Some(newest) = &self.newest else {
            return;
        };
        let Some(artifacts) = found.in_place(newest, &task.name) else {
            return;
        };
        let named = |artifact: &Arc<Artifact>| {
            let Some(path) = &artifact.path else {
                return true;
            };
            plan::save_as(self.plan, task, artifact, &made.results, found.made.attempt)
                .is_ok_and(|wanted| run::would_be(self.plan, newest, &task.step, &wanted, path))
        };
        if artifacts.iter().all(named) {
            let lying = self.lying.entry(task.step.clone()).or_default();
            lying.push(Lying {
                task: task.clone(),
                artifacts: Some(artifacts),
            });
        }
    }
}

impl MadeWork {
    fn key(&self, step: &StepPlan, memo: Option<&Memo>) -> Option<ContentHash> {
        match self {
            Self::Graph(rendered, facts) => Some(of_workflow(rendered, step.cache, facts, memo)),
            Self::Command(command, collect) => of_command(&CommandInputs::of(command, collect)),
        }
    }

    /// Takes what is not known for what it was in an earlier task of the same name; the key by that.
    fn assume(
        &mut self,
        step: &StepPlan,
        earlier: Option<&Noted>,
        told: bool,
    ) -> Option<ContentHash> {
        let earlier = &earlier?.manifest;
        let Self::Graph(rendered, facts) = self else {
            return None;
        };
        key::settle(&mut rendered.graph, earlier);
        if !told {
            *facts = ServerFacts::assumed(facts.realm, earlier);
        }
        self.key(step, None)
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
    fn provided(&self, step: &StepPlan, told: bool) -> Option<&'static str> {
        match self {
            // Packs are not asked for ahead of a run.
            Self::Graph(_, facts)
                if step.cache == CacheMode::Strict && facts.realm == Realm::Comfy =>
            {
                Some("the server is the same")
            }
            Self::Graph(_, facts) if !told && !facts.models.is_empty() => {
                Some("the server's models are the same")
            }
            Self::Graph(_, facts) if !told && !facts.files.is_empty() => {
                Some("the server's files are the same")
            }
            _ => None,
        }
    }
}
