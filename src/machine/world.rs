//! For tests: a driver and model servers in virtual time. Servers take jobs, lose them, say things twice or late, fall silent, forget
//! and come back; the driver may die after any fact.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::foresight::ran;
use super::oracle::Ledger;
use super::scenario::{Fate, Outage, Scenario, TaskId, mix, plan_of};
use super::tests::{diagnostic, done, failed};
use super::*;
use crate::base::{ContentHash, RunId};
use crate::event::RunStatus;
use crate::plan::TaskIx;

pub(super) type Journal = Vec<(u64, Fact)>;

/// What the world will say next, in the order in which things of the same time are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Stop(usize),
    Down(usize),
    Up(usize),
    Expanded(StepIx, Option<TaskIx>),
    /// The driver hears of a try: its preparation, its job, its files.
    Try(Ticket),
    /// The driver hears of it once more.
    Echo(Ticket, u32),
}

#[derive(Clone, Debug)]
enum News {
    Nothing,
    Prepared,
    Released,
    Ended(Outcome),
    Echo(Box<Fact>),
}

/// A job on a model server.
#[derive(Clone, Debug)]
struct Job {
    end: u64,
    outcome: Outcome,
}

pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) machine: Machine,
    pub(super) now: u64,
    pub(super) journal: Journal,
    pub(super) ledger: Ledger,
    due: BTreeMap<(u64, What), News>,
    /// When the world speaks of each try next.
    spoken: HashMap<Ticket, u64>,
    jobs: HashMap<Ticket, Job>,
    /// Submissions of each attempt.
    submitted: HashMap<(TaskIx, u32), u32>,
    prepared_at: HashMap<Ticket, u64>,
    cancelled: HashMap<Ticket, CancelReason>,
    cache: HashSet<u64>,
    /// Expansions under way.
    asked: HashSet<(StepIx, Option<TaskIx>)>,
    /// The facts that this driver lives to see.
    life: usize,
}

/// What went wrong in a schedule.
pub(super) type Verdict<T = ()> = Result<T, String>;

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            machine: Machine::new(scenario.shape.clone()),
            ledger: Ledger::new(&scenario.shape),
            scenario: scenario.clone(),
            now: 0,
            journal: Vec::new(),
            due: BTreeMap::new(),
            spoken: HashMap::new(),
            jobs: HashMap::new(),
            submitted: HashMap::new(),
            prepared_at: HashMap::new(),
            cancelled: HashMap::new(),
            cache: HashSet::new(),
            asked: HashSet::new(),
            life: usize::MAX,
        };
        for (at, (time, _)) in scenario.stops.iter().enumerate() {
            world.due.insert((time + 1, What::Stop(at)), News::Nothing);
        }
        for (at, outage) in scenario.outages.iter().enumerate() {
            world
                .due
                .insert((outage.from + 1, What::Down(at)), News::Nothing);
            world
                .due
                .insert((outage.to + 1, What::Up(at)), News::Nothing);
        }
        world
    }

    /// A driver that dies after so many facts.
    pub(super) fn living(scenario: &Scenario, life: usize) -> Self {
        let mut world = Self::new(scenario);
        world.life = life;
        world
    }

    fn is_alive(&self) -> bool {
        self.journal.len() < self.life
    }

    fn id(&self, task: TaskIx) -> TaskId {
        self.ledger.id(task)
    }

    fn say(&mut self, at: u64, ticket: Ticket, news: News) {
        self.hush(ticket);
        self.due.insert((at, What::Try(ticket)), news);
        self.spoken.insert(ticket, at);
    }

    fn hush(&mut self, ticket: Ticket) {
        if let Some(at) = self.spoken.remove(&ticket) {
            self.due.remove(&(at, What::Try(ticket)));
        }
    }

    fn prepare(&mut self, ticket: Ticket) {
        let id = self.id(ticket.task);
        let at = self.now + self.scenario.takes(0, &id, ticket.try_);
        self.prepared_at.insert(ticket, at);
        self.say(at, ticket, News::Prepared);
    }

    /// When an endpoint that is away at some time answers again.
    fn answers(&self, endpoint: EndpointIx, at: u64) -> u64 {
        let away = self.scenario.outages.iter();
        let mut away = away.filter(|o| o.endpoint == endpoint && o.from <= at && at < o.to);
        away.next().map_or(at, |outage| outage.to)
    }

    /// Submits a job, unless the endpoint has it already.
    fn launch(&mut self, ticket: Ticket) -> Verdict {
        let ready = self
            .prepared_at
            .get(&ticket)
            .map_or(self.now, |at| self.now.max(*at));
        if let Some(job) = self.jobs.get(&ticket).cloned() {
            self.follow(ticket, job);
            return Ok(());
        }
        let Some(endpoint) = self.machine.endpoint(ticket.task) else {
            return Err(format!("{ticket:?} is nowhere"));
        };
        let id = self.id(ticket.task);
        let begun = self.answers(endpoint, ready);
        let mut end = begun + self.scenario.takes(1, &id, ticket.try_);
        let nth = self
            .submitted
            .entry((ticket.task, ticket.attempt))
            .or_default();
        *nth += 1;
        let accident = self
            .scenario
            .accident(&id, ticket.attempt)
            .filter(|_| *nth == 1);
        let mut outcome = match self.scenario.fate(&id, ticket.attempt) {
            _ if accident == Some(Outcome::Lost) => Outcome::Lost,
            Fate::Lost => Outcome::Lost,
            Fate::Done => accident.unwrap_or_else(done),
            Fate::Failed(class) => failed(class),
        };
        for outage in self
            .scenario
            .outages
            .iter()
            .filter(|o| o.endpoint == endpoint)
        {
            if outage.from < end && begun < outage.to {
                if outage.forgets {
                    outcome = Outcome::Lost;
                }
                end = end.max(outage.to + 1);
            }
        }
        let job = Job { end, outcome };
        self.jobs.insert(ticket, job.clone());
        self.follow(ticket, job);
        Ok(())
    }

    fn follow(&mut self, ticket: Ticket, job: Job) {
        let at = job.end.max(self.now + 1);
        let news = match job.outcome {
            Outcome::Done { .. } | Outcome::Gone => News::Released,
            outcome => News::Ended(outcome),
        };
        self.say(at, ticket, news);
    }

    fn fetch(&mut self, ticket: Ticket) {
        let id = self.id(ticket.task);
        let at = self.now + self.scenario.takes(2, &id, ticket.try_);
        let outcome = self
            .jobs
            .get(&ticket)
            .map_or_else(done, |job| job.outcome.clone());
        self.say(at, ticket, News::Ended(outcome));
    }

    fn cancel(&mut self, task: TaskIx, reason: CancelReason) {
        let Some(ticket) = self.spoken.keys().copied().find(|t| t.task == task) else {
            return;
        };
        self.cancelled.insert(ticket, reason);
        let at = self.spoken[&ticket];
        match self.due.get(&(at, What::Try(ticket))) {
            Some(News::Prepared) => self.hush(ticket),
            // A job that is about to end does so; one whose results are being fetched is kept.
            Some(News::Ended(_) | News::Released)
                if at > self.now + 1
                    && (reason == CancelReason::Leave || !self.ledger.is_released(ticket)) =>
            {
                self.say(self.now + 1, ticket, News::Ended(Outcome::Cancelled));
            }
            _ => {}
        }
    }

    pub(super) fn take(&mut self, fact: Fact) -> Verdict {
        let now = self.now;
        let added = self.machine.tasks();
        self.ledger
            .note(now, &fact)
            .map_err(|wrong| format!("at {now}: {wrong}"))?;
        self.machine
            .apply(&fact)
            .map_err(|refused| format!("{refused}: {fact:?}"))?;
        if self.machine.tasks() != self.ledger.tasks() {
            return Err(format!(
                "{added} tasks, and then {}: {fact:?}",
                self.machine.tasks()
            ));
        }
        self.journal.push((now, fact));
        Ok(())
    }

    fn key(&self, task: TaskIx) -> Option<ContentHash> {
        let id = self.id(task);
        let content = self.scenario.content(&id).to_le_bytes();
        self.scenario
            .is_keyed(&id)
            .then(|| ContentHash::of(&content))
    }

    /// Tells the machine what is due.
    fn observe(&mut self) -> Verdict {
        while self.is_alive()
            && let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.now
        {
            let ((_, what), news) = entry.remove_entry();
            match what {
                What::Stop(at) => {
                    let reason = self.scenario.stops[at].1;
                    self.take(Fact::Stop { reason })?;
                }
                What::Down(at) => {
                    if let Some(Outage { endpoint, .. }) = self.scenario.outages.get(at).copied() {
                        self.take(Fact::ServerDown { endpoint })?;
                    }
                }
                What::Up(at) => {
                    if let Some(Outage { endpoint, .. }) = self.scenario.outages.get(at).copied() {
                        self.take(Fact::ServerUp { endpoint })?;
                    }
                }
                What::Expanded(step, source) => self.expanded(step, source)?,
                What::Try(ticket) => {
                    self.spoken.remove(&ticket);
                    self.hear(ticket, news)?;
                }
                What::Echo(..) => {
                    if let News::Echo(fact) = news {
                        self.take(*fact)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn expanded(&mut self, step: StepIx, source: Option<TaskIx>) -> Verdict {
        self.asked.remove(&(step, source));
        let id = source.map(|source| self.id(source));
        let fact = match self.scenario.expand(step, id.as_ref()) {
            Some(tasks) => Fact::Expanded {
                step,
                source,
                tasks: tasks.iter().map(|id| plan_of(id, source)).collect(),
            },
            None => Fact::ExpandFailed {
                step,
                source,
                diagnostic: diagnostic(),
            },
        };
        self.take(fact)
    }

    fn hear(&mut self, ticket: Ticket, news: News) -> Verdict {
        let id = self.id(ticket.task);
        let is_released = matches!(news, News::Released);
        let fact = match news {
            News::Prepared if !self.scenario.is_wanted(&id) => Fact::Ended {
                ticket,
                outcome: Outcome::Skipped,
            },
            News::Prepared
                if self.scenario.is_cached(&id)
                    || self.cache.contains(&self.scenario.content(&id)) =>
            {
                let artifacts = Vec::new();
                let from = RunId::from("r");
                let outcome = Outcome::Cached { artifacts, from };
                Fact::Ended { ticket, outcome }
            }
            News::Prepared => {
                let key = self.key(ticket.task);
                Fact::Prepared { ticket, key }
            }
            News::Released => Fact::Released { ticket },
            News::Ended(outcome) => Fact::Ended { ticket, outcome },
            News::Nothing | News::Echo(_) => return Ok(()),
        };
        if is_released {
            self.fetch(ticket);
        }
        if let Fact::Ended {
            outcome: Outcome::Done { .. },
            ..
        } = &fact
            && self.scenario.is_keyed(&id)
        {
            // Results may be damaged before a twin finds them.
            let content = self.scenario.content(&id);
            if !mix(&[self.scenario.seed, 40, content]).is_multiple_of(10) {
                self.cache.insert(content);
            }
        }
        let echo = mix(&[
            self.scenario.seed,
            41,
            id.hash(),
            ticket.try_.into(),
            self.now,
        ]);
        if echo.is_multiple_of(8) {
            let at = self.now + 1 + echo / 8 % 50;
            let what = What::Echo(ticket, u32::try_from(self.journal.len()).unwrap());
            self.due
                .insert((at, what), News::Echo(Box::new(fact.clone())));
        }
        self.take(fact)
    }

    fn decide(&mut self) -> Verdict {
        let most = 100 + 20 * (self.machine.tasks() + self.scenario.shape.steps.len());
        for _ in 0..most {
            if !self.is_alive() {
                return Ok(());
            }
            let facts = self.machine.decide(self.now);
            if facts.is_empty() {
                return self.ledger.check_told();
            }
            for fact in facts {
                self.take(fact)?;
            }
        }
        Err(format!(
            "deciding does not end: {:?}",
            self.machine.decide(self.now)
        ))
    }

    fn act(&mut self) -> Verdict {
        for action in self.machine.actions() {
            match action {
                Action::Expand { step, source } if self.asked.insert((step, source)) => {
                    let what = What::Expanded(step, source);
                    let from = source.map_or(
                        TaskId {
                            step,
                            order: Vec::new(),
                        },
                        |s| self.id(s),
                    );
                    let at = self.now + self.scenario.takes(3, &from, step.0);
                    self.due.insert((at, what), News::Nothing);
                }
                Action::Prepare { ticket, .. } => self.prepare(ticket),
                Action::Start { ticket } => self.launch(ticket)?,
                Action::Cancel { task, reason } => self.cancel(task, reason),
                // What is being expanded already goes on after another driver took over.
                Action::Expand { .. } | Action::Finish { .. } => {}
            }
        }
        Ok(())
    }

    /// Goes on until the run has finished, or the driver dies.
    pub(super) fn run(&mut self) -> Verdict<Option<RunStatus>> {
        for _ in 0..20_000 {
            self.observe()?;
            self.decide()?;
            if !self.is_alive() {
                return Ok(None);
            }
            self.act()?;
            if let Some(status) = self.machine.finished() {
                return Ok(Some(status));
            }
            let world = self.due.keys().next().map(|(at, _)| *at);
            let next = [world, self.machine.wakes_at(self.now)];
            let next = next.into_iter().flatten().min();
            self.now = next.ok_or("nothing is under way, and the run has not ended")?;
        }
        Err("the run does not end".to_owned())
    }

    /// A machine that knows only the journal.
    fn replayed(&self) -> Verdict<Machine> {
        let mut machine = Machine::new(self.scenario.shape.clone());
        for (_, fact) in &self.journal {
            let text = serde_json::to_string(fact).map_err(|e| e.to_string())?;
            let fact: Fact = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            machine
                .apply(&fact)
                .map_err(|refused| format!("replay: {refused}"))?;
        }
        Ok(machine)
    }

    /// Another driver takes over at once; nothing in the world has changed.
    pub(super) fn take_over(&mut self) -> Verdict {
        self.life = usize::MAX;
        self.machine = self.replayed()?;
        let owed = self.machine.owed();
        self.check_owed(&owed)?;
        // It knows what this one cannot: which jobs are on their servers.
        self.machine
            .tasks
            .iter_mut()
            .for_each(|task| task.pinned = false);
        for owed in owed {
            let ticket = owed.ticket;
            let told = self.spoken.contains_key(&ticket);
            match owed.phase {
                Phase::Preparing if !told => self.prepare(ticket),
                Phase::Started if !told => self.launch(ticket)?,
                _ => {}
            }
            if let Some(reason) = owed.cancelling
                && self.cancelled.get(&ticket) != Some(&reason)
            {
                self.cancel(ticket.task, reason);
            }
        }
        self.forget_the_dead();
        Ok(())
    }

    /// Whether a try was given up, so that its task waits: for its twin, or in a resumed run for what it needs.
    fn waits(&self, ticket: Ticket) -> bool {
        let state = self.machine.state(ticket.task);
        matches!(
            state,
            TaskState::Parked { .. } | TaskState::Waiting | TaskState::Ready
        )
    }

    /// What is owed is exactly what is live.
    fn check_owed(&self, owed: &[Owed]) -> Verdict {
        let mut owed: Vec<_> = owed.iter().map(|o| (o.ticket, o.endpoint)).collect();
        let mut live = self.ledger.live();
        live.retain(|(ticket, _)| !self.waits(*ticket));
        owed.sort_unstable();
        live.sort_unstable();
        if owed == live {
            Ok(())
        } else {
            Err(format!("owed {owed:?}, but live {live:?}"))
        }
    }

    /// Preparations whose try ended with the facts that the driver did not live to act on.
    fn forget_the_dead(&mut self) {
        let live: HashSet<Ticket> = self.ledger.live().into_iter().map(|(t, _)| t).collect();
        let dead = self
            .spoken
            .keys()
            .filter(|t| !live.contains(t) || self.waits(**t));
        for ticket in dead.copied().collect::<Vec<_>>() {
            self.hush(ticket);
        }
    }

    /// Another session resumes the run some time later: servers worked on, whatever the driver did is gone, and so are the results of
    /// those of the tasks `again` that were done.
    pub(super) fn resume(&mut self, later: u64, again: &[TaskIx]) -> Verdict {
        self.life = usize::MAX;
        self.now += later;
        self.due
            .retain(|(_, what), _| matches!(what, What::Down(_) | What::Up(_)));
        self.spoken.clear();
        self.prepared_at.clear();
        self.cancelled.clear();
        self.asked.clear();
        self.machine = self.replayed()?;
        let again = again.iter().filter(|task| ran(self.ledger.status(**task)));
        let again = again.copied().collect();
        self.take(Fact::Resumed { again })?;
        let owed = self.machine.owed();
        self.check_owed(&owed)?;
        for Owed { ticket, phase, .. } in owed {
            match (phase, self.jobs.get(&ticket).cloned()) {
                (Phase::Preparing, _) => self.prepare(ticket),
                (Phase::Prepared, _) => {
                    let id = self.id(ticket.task);
                    let at = self.now + self.scenario.takes(0, &id, ticket.try_);
                    self.prepared_at.insert(ticket, at);
                }
                (Phase::Started, Some(job)) => self.follow(ticket, job),
                (Phase::Started, None) => {
                    self.say(self.now + 1, ticket, News::Ended(Outcome::Lost));
                }
                (Phase::Released, _) => self.fetch(ticket),
            }
        }
        self.act()
    }
}
