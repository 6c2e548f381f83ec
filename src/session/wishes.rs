//! What the user wants of a run beside its plan.

use indexmap::IndexMap;

use crate::diagnostic::{Diagnostic, codes};
use crate::plan::Plan;
use crate::report::plural;
use crate::run::RunOptions;

/// A run with more tasks than this is asked about.
const MANY: usize = 1000;
/// Steps that the question names.
const NAMED: usize = 5;

/// Asks a person; whether the answer is yes.
pub type Ask = fn(&str) -> bool;

/// What `kiln run` was told beside what shapes the plan.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Wishes {
    /// How failures and time are treated.
    pub options: RunOptions,
    /// `--wait`: for another kiln that writes to the same outputs.
    pub wait: bool,
    /// `--deny warnings`: nothing starts while there is one.
    pub deny_warnings: bool,
    /// `--yes`.
    pub yes: bool,
    /// How to ask a person; `None` when nobody is there.
    pub ask: Option<Ask>,
    /// `--resume`.
    pub resume: Option<Resume>,
    /// Live lines stand on the terminal while the run is under way: what is typed is not to get between.
    pub hide_typing: bool,
    /// Pictures of what tasks are at are wanted while they run.
    pub previews: bool,
    /// Somebody watches: that a server is away, or that there is nothing to do, is left for them to tell.
    pub watched: bool,
}

/// `--resume RUN`.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The run, or `last`.
    pub run: String,
    /// Flags that were typed and that a stored plan cannot follow.
    pub fixed: Vec<String>,
}

/// What to ask before a run with very many tasks; `None` when it has not.
pub(super) fn question(plan: &Plan) -> Option<String> {
    let known = plan.tasks.len();
    if known <= MANY {
        return None;
    }
    let mut steps: IndexMap<&str, usize> = IndexMap::new();
    for task in &plan.tasks {
        *steps.entry(task.step.as_str()).or_default() += 1;
    }
    let mut steps: Vec<(&str, usize)> = steps.into_iter().collect();
    steps.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut named: Vec<String> = steps
        .iter()
        .take(NAMED)
        .map(|(id, count)| format!("{} of `{id}`", plural(*count, "task")))
        .collect();
    if steps.len() > NAMED {
        named.push(format!("{} more", plural(steps.len() - NAMED, "step")));
    }
    let tasks = plural(known, "task");
    Some(match named.as_slice() {
        [_] => format!("this run has {tasks}"),
        _ => format!("this run has {tasks}: {}", named.join(", ")),
    })
}

/// What to say when nobody is there to be asked, or the answer was no.
pub(super) fn unconfirmed(question: &str, asked: bool) -> Diagnostic {
    if asked {
        return Diagnostic::error(&codes::BAD_ARGUMENT, "the run was not confirmed");
    }
    Diagnostic::error(&codes::BAD_ARGUMENT, question)
        .help("add `--yes` to start it without a question")
}
