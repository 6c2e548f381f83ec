//! The pipeline file.

use indexmap::IndexMap;

use super::{Node, Param, Spanned, Step};
use crate::base::StepId;
use crate::diagnostic::FileId;

/// A pipeline as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The file.
    pub file: FileId,
    /// Its name; the file's stem when none is written.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its params in written order.
    pub params: IndexMap<String, Param>,
    /// Params that are declared, but not well enough to be used (an error says so).
    pub broken_params: Vec<String>,
    /// The server for steps that name none; a string, maybe a template.
    pub server: Option<Node>,
    /// The most tasks in flight at a time.
    pub max_parallel: Option<Spanned<u32>>,
    /// Its steps in written order.
    pub steps: IndexMap<StepId, Step>,
    /// Steps that are declared, but not well enough to be planned (an error says so).
    pub broken_steps: Vec<String>,
}
