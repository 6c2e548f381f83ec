//! The names that an expression sees.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::artifact::{Artifact, Datum};

/// Names and their values for one evaluation.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub(super) values: IndexMap<String, Datum>,
    pub(super) steps: Option<IndexMap<String, Arc<StepResult>>>,
    pub(super) salt: String,
}

/// How a step ended and what it made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepResult {
    /// `done`, `skipped`, …
    pub status: String,
    /// Its tasks' names, in order.
    pub tasks: Vec<String>,
    /// What its tasks made: by task, then node id, then the server's order.
    pub artifacts: Vec<Arc<Artifact>>,
    /// The names that `outputs:` declares.
    pub outputs: Vec<String>,
}

impl Scope {
    /// Adds a name.
    #[must_use]
    pub fn with(mut self, name: &str, value: Datum) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// Adds a step under `steps`.
    #[must_use]
    pub fn with_step(mut self, id: &str, result: StepResult) -> Self {
        self.steps
            .get_or_insert_default()
            .insert(id.to_owned(), Arc::new(result));
        self
    }

    /// Makes `steps` known even when it is empty.
    #[must_use]
    pub fn with_steps(mut self) -> Self {
        self.steps.get_or_insert_default();
        self
    }

    /// What makes `random()` differ between places: the address of the value that is evaluated, such as `base/3/seed`. The same run
    /// seed, salt and text draw the same numbers, so that a resumed run draws what the first one drew.
    #[must_use]
    pub fn with_salt(mut self, salt: &str) -> Self {
        salt.clone_into(&mut self.salt);
        self
    }
}
