//! Logs of continuous integration: what is said of a step stands together, though steps run beside each other.

use std::fmt::Write as _;

use indexmap::IndexMap;

use crate::base::StepId;

/// How a log folds lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// It does not; lines of a step stand below its name.
    Plain,
    /// As GitHub does: a step can be unfolded.
    GitHub,
}

/// What was said of steps that have not ended.
#[derive(Debug)]
pub(super) struct Groups {
    folding: Folding,
    open: IndexMap<StepId, String>,
}

impl Groups {
    pub(super) fn new(folding: Folding) -> Self {
        Self {
            folding,
            open: IndexMap::new(),
        }
    }

    /// Keeps a line.
    pub(super) fn add(&mut self, step: &StepId, line: &str) {
        let said = self.open.entry(step.clone()).or_default();
        // Text of a task must not command the log.
        let start = line.trim_start();
        if self.folding == Folding::GitHub && (start.starts_with("::") || start.starts_with("##["))
        {
            said.push_str("│ ");
        }
        said.push_str(line);
        said.push('\n');
    }

    /// All that was said of a step, which has ended or will say no more for now.
    pub(super) fn take(&mut self, step: &StepId, title: &str) -> String {
        let Some(said) = self.open.shift_remove(step) else {
            return String::new();
        };
        let mut text = String::new();
        let alone = said.lines().count() == 1;
        let _ = match self.folding {
            _ if alone => write!(text, "{said}"),
            Folding::Plain => write!(text, "{title}\n{said}"),
            Folding::GitHub => {
                let title = title.replace('%', "%25");
                write!(text, "::group::{title}\n{said}::endgroup::\n")
            }
        };
        text
    }

    /// The steps of which something is kept.
    pub(super) fn open(&self) -> Vec<StepId> {
        self.open.keys().cloned().collect()
    }
}
