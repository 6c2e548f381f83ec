//! For tests: servers and a driver in virtual time.

use std::collections::BTreeMap;

use super::*;
use crate::event::RunStatus;
use crate::plan::TaskIx;

/// What the world does with the tries of a task, the last entry repeated, and how long each takes: to prepare, to execute, to fetch.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) takes: [u64; 3],
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) shape: Shape,
    pub(super) fates: Vec<Fate>,
    pub(super) stop_at: Option<(u64, CancelReason)>,
}

/// What the world will say of a try next.
#[derive(Clone, Debug)]
pub(super) enum Due {
    Prepared,
    Released,
    Ended(Outcome),
}

/// The world and the driver: virtual time, jobs that end when they are due, a journal.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) machine: Machine,
    pub(super) now: u64,
    pub(super) due: BTreeMap<(u64, TaskIx), (Ticket, Due)>,
    pub(super) journal: Vec<(u64, Fact)>,
    pub(super) starts: Vec<Ticket>,
    pub(super) stopped: bool,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            machine: Machine::new(scenario.shape.clone()),
            scenario: scenario.clone(),
            now: 0,
            due: BTreeMap::new(),
            journal: Vec::new(),
            starts: Vec::new(),
            stopped: false,
        }
    }

    /// A world that has lived through a prefix of a journal: the servers kept what they had, the driver died.
    pub(super) fn resumed(scenario: &Scenario, journal: &[(u64, Fact)], died: u64) -> Self {
        let mut world = Self::new(scenario);
        for (at, fact) in journal {
            let text = serde_json::to_string(fact).unwrap();
            let fact: Fact = serde_json::from_str(&text).unwrap();
            world.machine.apply(&fact).unwrap();
            world.stopped |= matches!(fact, Fact::Stop { .. });
            world.now = *at;
            world.journal.push((*at, fact));
        }
        for owed in world.machine.owed() {
            let ticket = owed.ticket;
            let at = |wanted: &dyn Fn(&Fact) -> bool| {
                journal.iter().find(|(_, f)| wanted(f)).map(|(at, _)| *at)
            };
            let assigned = at(&|f| matches!(f, Fact::Assigned { ticket: t, .. } if *t == ticket));
            let prepared = at(&|f| matches!(f, Fact::Prepared { ticket: t } if *t == ticket));
            let started = at(&|f| matches!(f, Fact::Started { ticket: t } if *t == ticket));
            let released = at(&|f| matches!(f, Fact::Released { ticket: t } if *t == ticket));
            let cancelled =
                at(&|f| matches!(f, Fact::Cancelling { task, .. } if *task == ticket.task));
            match (prepared, started, released) {
                (None, ..) => world.prepare(ticket, assigned.unwrap()),
                (Some(_), None, _) => {}
                (_, Some(at), None) => world.launch(ticket, at),
                (_, _, Some(at)) => world.fetch(ticket, at),
            }
            if let Some(at) = cancelled {
                world.cancel(ticket.task, at);
            }
        }
        world.now = world.now.max(died);
        world
    }

    fn fate(&self, ticket: Ticket) -> &Fate {
        &self.scenario.fates[ticket.task.0 as usize]
    }

    fn outcome(&self, ticket: Ticket) -> Outcome {
        let outcomes = &self.fate(ticket).outcomes;
        let outcome = outcomes.get(ticket.try_ as usize - 1);
        outcome.or(outcomes.last()).unwrap().clone()
    }

    fn prepare(&mut self, ticket: Ticket, at: u64) {
        let when = at + self.fate(ticket).takes[0];
        self.due
            .insert((when, ticket.task), (ticket, Due::Prepared));
    }

    fn launch(&mut self, ticket: Ticket, at: u64) {
        let when = at + self.fate(ticket).takes[1];
        let due = match self.outcome(ticket) {
            Outcome::Done { .. } => Due::Released,
            other => Due::Ended(other),
        };
        self.due.insert((when, ticket.task), (ticket, due));
    }

    fn fetch(&mut self, ticket: Ticket, at: u64) {
        let when = at + self.fate(ticket).takes[2];
        let due = Due::Ended(self.outcome(ticket));
        self.due.insert((when, ticket.task), (ticket, due));
    }

    fn cancel(&mut self, task: TaskIx, at: u64) {
        let Some(key) = self.due.keys().copied().find(|(_, t)| *t == task) else {
            return;
        };
        let (ticket, due) = self.due[&key].clone();
        // Results that are being fetched, and a job that is about to succeed, are kept; any other job dies at once.
        let kept = key.0 <= at + 1 || self.is_released(ticket);
        match due {
            Due::Prepared => drop(self.due.remove(&key)),
            Due::Ended(_) | Due::Released if !kept => {
                self.due.remove(&key);
                let cancelled = Due::Ended(Outcome::Cancelled);
                self.due.insert((at + 1, task), (ticket, cancelled));
            }
            Due::Ended(_) | Due::Released => {}
        }
    }

    fn is_released(&self, ticket: Ticket) -> bool {
        self.journal
            .iter()
            .any(|(_, f)| matches!(f, Fact::Released { ticket: t } if *t == ticket))
    }

    fn take(&mut self, fact: Fact) {
        self.machine.apply(&fact).unwrap();
        self.journal.push((self.now, fact));
        self.check_resources();
    }

    fn check_resources(&self) {
        let shape = &self.scenario.shape;
        let mut slots = vec![0; shape.max_jobs.len()];
        let mut all = 0;
        for (at, task) in shape.tasks.iter().enumerate() {
            let state = self.machine.state(TaskIx(u32::try_from(at).unwrap()));
            if let TaskState::Running { phase, .. } = state {
                slots[task.server.0 as usize] += u32::from(phase == Phase::Started);
                all += u32::from(matches!(phase, Phase::Started | Phase::Released));
            }
        }
        for (used, most) in slots.iter().zip(&shape.max_jobs) {
            assert!(used <= most, "{used} jobs on a server that takes {most}");
        }
        assert!(shape.max_parallel.is_none_or(|m| all <= m));
    }

    fn turn(&mut self) {
        loop {
            let facts = self.machine.decide(self.now);
            if facts.is_empty() {
                break;
            }
            for fact in facts {
                self.take(fact);
            }
        }
        for action in self.machine.actions() {
            match action {
                Action::Prepare { ticket, .. } => self.prepare(ticket, self.now),
                Action::Start { ticket } => {
                    self.starts.push(ticket);
                    self.launch(ticket, self.now);
                }
                Action::Cancel { task, .. } => self.cancel(task, self.now),
                Action::Finish { .. } => {}
            }
        }
    }

    fn observe(&mut self) {
        if let Some((at, reason)) = self.scenario.stop_at
            && !self.stopped
            && at <= self.now
        {
            self.stopped = true;
            self.take(Fact::Stop { reason });
        }
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.now
        {
            let (ticket, due) = entry.remove();
            match due {
                Due::Prepared => self.take(Fact::Prepared { ticket }),
                Due::Released => {
                    self.take(Fact::Released { ticket });
                    self.fetch(ticket, self.now);
                }
                Due::Ended(outcome) => self.take(Fact::Ended { ticket, outcome }),
            }
        }
    }

    pub(super) fn run(&mut self) -> RunStatus {
        let most = 100 * (self.scenario.fates.len() + 2);
        for _ in 0..most {
            self.observe();
            self.turn();
            if let Some(status) = self.machine.finished() {
                return status;
            }
            let next = [
                self.due.keys().next().map(|(at, _)| *at),
                self.machine.wakes_at(self.now),
                self.scenario
                    .stop_at
                    .filter(|_| !self.stopped)
                    .map(|(at, _)| at.max(self.now + 1)),
            ];
            self.now = next.into_iter().flatten().min().expect("no deadlock");
        }
        panic!("the run does not end");
    }
}
