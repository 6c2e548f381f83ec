//! The names that an expression sees.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::artifact::{Artifact, Datum};

/// Names and their values for one evaluation.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub(super) values: IndexMap<String, Datum>,
    /// Maps that others hold, too.
    pub(super) maps: Vec<(&'static str, Arc<IndexMap<String, Datum>>)>,
    pub(super) steps: Option<IndexMap<String, Arc<StepResult>>>,
    /// `item` and `result`, where they are tasks.
    pub(super) tasks: IndexMap<&'static str, Arc<TaskResult>>,
    pub(super) salt: String,
    pub(super) paths: bool,
}

/// How a step ended and what it made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepResult {
    /// `done`, `skipped`, …
    pub status: String,
    /// Its tasks that ran, in order.
    pub tasks: Vec<TaskResult>,
    /// The names that `outputs:` declares.
    pub outputs: Vec<String>,
}

/// How a task ended and what it made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskResult {
    /// Its name, e.g. `base[i=0]`.
    pub name: String,
    /// Its place among its step's tasks.
    pub index: u32,
    /// Its combination of the matrix; empty without one.
    pub matrix: Arc<IndexMap<String, Datum>>,
    /// The item of its `for_each`, where that is a plain value.
    pub item: Option<Datum>,
    /// The task that its `for_each` gave it, instead.
    pub source: Option<Arc<TaskResult>>,
    /// `done`, `cached`, …
    pub status: String,
    /// What it made: by node id, then the server's order.
    pub artifacts: Vec<Arc<Artifact>>,
}

impl Scope {
    /// Adds a name.
    #[must_use]
    pub fn with(mut self, name: &str, value: Datum) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    /// Adds a name whose value is a map that others hold, too; it is not copied.
    #[must_use]
    pub fn with_map(mut self, name: &'static str, map: Arc<IndexMap<String, Datum>>) -> Self {
        self.maps.push((name, map));
        self
    }

    /// Adds a step under `steps`; one that many scopes share is best handed over as an [`Arc`].
    #[must_use]
    pub fn with_step(mut self, id: &str, result: impl Into<Arc<StepResult>>) -> Self {
        self.steps
            .get_or_insert_default()
            .insert(id.to_owned(), result.into());
        self
    }

    /// Adds `item`, where it is a task. A plain item is added with [`Scope::with`].
    #[must_use]
    pub fn with_item(mut self, task: impl Into<Arc<TaskResult>>) -> Self {
        self.tasks.insert("item", task.into());
        self
    }

    /// Adds `result`: what the task made whose `until` is asked.
    #[must_use]
    pub fn with_result(mut self, task: impl Into<Arc<TaskResult>>) -> Self {
        self.tasks.insert("result", task.into());
        self
    }

    /// Lets a file inside longer text stand for its path, as in the arguments of a command; without this it is an error.
    #[must_use]
    pub fn with_paths(mut self) -> Self {
        self.paths = true;
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
