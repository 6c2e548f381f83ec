//! Steps of which nothing will be run, and those of which that may yet turn out.

use super::{Fate, Foresight, Judged};
use crate::base::StepId;
use crate::plan::{Grow, StepPlan};
use crate::session::why::Would;

/// Why a step without tasks is skipped.
pub(super) const NOTHING: &str = "there is nothing to do it for";
/// Why a task is skipped by its own wish.
pub(super) const UNWANTED: &str = "its `when` is false";

impl<'a> Foresight<'a> {
    /// Why nothing of a step will be run, whatever becomes of the rest: it has no tasks, none of them is to run, or a step that it needs is
    /// skipped.
    pub(super) fn skipped_since(&self, step: &StepPlan) -> Option<String> {
        let tasks = self.of_steps.get(&step.id).into_iter().flatten();
        let mut own = tasks.map(|ix| self.at(*ix)).peekable();
        if step.grow == Grow::Known {
            if own.peek().is_none() {
                let why = step.when.as_ref().map_or(NOTHING, |_| UNWANTED);
                return Some(why.to_owned());
            }
            if own.all(|task| task.skip) {
                return Some(UNWANTED.to_owned());
            }
        }
        let skipped = |id: &StepId| {
            let outcome = self.results.get(id);
            outcome.is_some_and(|outcome| outcome.status == "skipped")
        };
        let mut needs = step.needs.iter().filter(|need| !need.optional);
        let gone = needs.find(|need| skipped(&need.step))?;
        Some(format!("{} is skipped", gone.step))
    }

    pub(super) fn skip(&mut self, step: &'a StepPlan, since: &str) -> Vec<Fate> {
        let known = self.of_steps.get(&step.id).cloned().unwrap_or_default();
        let empty = known.is_empty();
        let fate = |ix| self.note(step, ix, Judged::skipped(since));
        let mut fates: Vec<Fate> = known.into_iter().filter_map(fate).collect();
        if empty {
            fates.push(Fate {
                since: Some(since.to_owned()),
                ..Fate::of_step(&step.id, Would::Skipped, Vec::new())
            });
        }
        self.ended_as(step, "skipped", Vec::new());
        fates
    }

    /// Whether a step that was looked at may yet be skipped: by its own `when`, for an empty list, or with a step that it needs.
    pub(super) fn is_doubtful(&self, step: &StepPlan, fates: &[Fate]) -> bool {
        if self.results.contains_key(&step.id) {
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

    pub(super) fn needs_doubtful(&self, step: &StepPlan) -> bool {
        let mut needs = step.needs.iter();
        needs.any(|need| !need.optional && self.doubtful.contains(&need.step))
    }
}
