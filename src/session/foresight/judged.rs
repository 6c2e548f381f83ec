//! What would become of a task whose work is known: a result stands for it and lies where it should, or it runs.

use std::sync::{Arc, PoisonError};

use super::{Foresight, Judged, Look, Made};
use crate::artifact::Artifact;
use crate::base::{Nearby, RunId};
use crate::plan::key::StaleReason;
use crate::plan::{self, Plan, ServerKind, StepPlan, TaskOutcome, TaskPlan, Work};
use crate::run::{self, Found, Miss};
use crate::session::made_work::{MadeWork, taken_for_granted};
use crate::session::why::Would;
use crate::store::{Reader, Unread};

impl<'a> Foresight<'a> {
    pub(super) fn judge(
        &self,
        look: Look<'_>,
        task: &TaskPlan,
        mut made: Made<'a>,
        record: Option<&Unread>,
    ) -> Judged {
        let Some((reader, blobs)) = &self.memory else {
            unreachable!("without a memory no task gets as far as this");
        };
        let mut found = record.map_or(Err(Miss::Unknown), |record| run::glance(record, blobs));
        let mut key = made.key;
        if found.is_ok() {
            let provided = self.provided(look.step, &made);
            return self.hit(look, task, provided, found).known_by(key);
        }
        let again = || self.render(look.step, task, &self.results_for(look, task));
        let Some(mut work) = made.work.take().or_else(again) else {
            return Judged::new(Would::Run, vec![StaleReason::Removed]).known_by(key);
        };
        let earlier = run::earlier(reader, &self.plan.pipeline, &task.name);
        let told = self.told.is_some();
        if !told
            && let (MadeWork::Graph(_, facts), Some((run, noted))) = (&mut work, &earlier)
            && let Some(realm) = noted.manifest.realm()
            && realm != facts.realm
            && self.is_where(look.step, reader, run)
        {
            facts.to_mut().realm = realm;
        }
        let earlier = earlier.map(|(_, noted)| noted);
        if let Some(assumed) = work.assume(look.step, earlier.as_ref(), told) {
            key = Some(assumed);
            let kept = reader.cached_many(&[assumed]).unwrap_or_default();
            if let [Some(record)] = kept.as_slice() {
                found = run::glance(record, blobs);
            }
        }
        let judged = match found {
            Ok(_) => self.hit(look, task, work.provided(look.step, told), found),
            Err(miss) => {
                let manifest = work.manifest(self.plan, look.step);
                let why = run::why(look.step, Some(&miss), earlier.as_ref(), &manifest);
                Judged::new(Would::Run, why)
            }
        };
        judged.known_by(key)
    }

    /// What was taken for granted for a task's key.
    fn provided(&self, step: &StepPlan, made: &Made<'_>) -> Option<&'static str> {
        let told = self.told.is_some();
        match (&made.work, &step.work) {
            (Some(work), _) => work.provided(step, told),
            (None, Work::Workflow(_)) => taken_for_granted(step, &*self.facts(step)?, told),
            (None, Work::Command(_) | Work::Plugin(_)) => None,
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
        provided: Option<&'static str>,
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
        judged.provided = provided;
        judged
    }

    /// A result that lies where the newest run put it, under the names that it would have now.
    fn lying(
        &self,
        look: Look<'_>,
        task: &TaskPlan,
        folder: &Nearby,
        found: &Found,
    ) -> Option<Vec<Arc<Artifact>>> {
        let artifacts = found.in_place(self.newest.as_ref()?, &task.name, folder)?;
        let results = self.results_for(look, task);
        let named = |artifact: &Arc<Artifact>| {
            let Some(path) = &artifact.path else {
                return true;
            };
            plan::save_as(self.plan, task, artifact, &results, found.made.attempt)
                .is_ok_and(|wanted| run::would_be(folder.folder(), &wanted, path))
        };
        artifacts.iter().all(named).then_some(artifacts)
    }
}
