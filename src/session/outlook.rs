//! Whether there is anything to do at all.

use super::foresight::{Foresight, Told, remembered};
use crate::plan::Plan;
use crate::run::{self, Resting};

/// Whether there is anything to do.
#[derive(Debug)]
pub(super) enum Outlook {
    /// There is.
    Work,
    /// Every result lies where the newest run put it.
    Done(Resting),
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
    match foresight.rest() {
        None => Outlook::Work,
        Some((_, true)) => Outlook::DoneUnless,
        Some((resting, false)) => Outlook::Done(resting),
    }
}
