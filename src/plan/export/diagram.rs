//! What every picture of a plan shows: a box for each step, and an arrow for each need.

use super::super::sealed::{Grow, Plan};
use super::super::show::{fan_text, work_name};

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Box {
    /// Its id.
    pub(super) id: String,
    /// Lines of text, the first is its title.
    pub(super) lines: Vec<String>,
    /// It only shows results of an earlier run.
    pub(super) given: bool,
}

/// What one step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrow {
    /// The box that is waited for.
    pub(super) from: usize,
    /// The box that waits.
    pub(super) to: usize,
    /// It is waited for however it ends.
    pub(super) optional: bool,
    /// Task by task.
    pub(super) streams: bool,
}

/// Boxes in file order and arrows in the order of the steps that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagram {
    pub(super) title: String,
    pub(super) boxes: Vec<Box>,
    pub(super) arrows: Vec<Arrow>,
}

/// The diagram of a plan.
pub(super) fn diagram(plan: &Plan) -> Diagram {
    let mut boxes: Vec<Box> = Vec::new();
    for id in plan.given.keys() {
        boxes.push(Box {
            id: id.0.clone(),
            lines: vec![id.0.clone(), "earlier results".to_owned()],
            given: true,
        });
    }
    for step in plan.steps.values() {
        let title = match fan_text(plan, step) {
            Some(fan) => format!("{} {fan}", step.id),
            None => step.id.0.clone(),
        };
        let mut lines = vec![title];
        lines.push(work_name(plan, step));
        if plan.servers.len() > 1 {
            lines.push(format!("on {}", step.server));
        }
        boxes.push(Box {
            id: step.id.0.clone(),
            lines,
            given: false,
        });
    }
    let place = |id: &str| boxes.iter().position(|b| b.id == id);
    let mut arrows = Vec::new();
    for step in plan.steps.values() {
        let Some(to) = place(step.id.as_str()) else {
            continue;
        };
        let streams =
            |from: &str| matches!(&step.grow, Grow::Stream { from: f, .. } if f.0 == from);
        for need in &step.needs {
            if let Some(from) = place(need.step.as_str()) {
                arrows.push(Arrow {
                    from,
                    to,
                    optional: need.optional,
                    streams: streams(need.step.as_str()),
                });
            }
        }
        for id in super::super::select::used(step) {
            if let Some(from) = place(id.as_str()).filter(|at| boxes[*at].given) {
                arrows.push(Arrow {
                    from,
                    to,
                    optional: false,
                    streams: false,
                });
            }
        }
    }
    Diagram {
        title: plan.pipeline.clone(),
        boxes,
        arrows,
    }
}
