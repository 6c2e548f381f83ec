//! What users write: pipeline and project files, read into typed elements with spans.
//!
//! One reader (`yaml`) turns a file into a tree of [`Node`]s; every element of the language has a file of its own that reads itself
//! from a node and describes itself in the schema, from the same table of keys. All errors of a file are reported at once; what could
//! not be read is left out and named in `broken_*`, so that the planner can go on without complaining about its absence.
//!
//! This room never evaluates a template, opens a workflow or knows what a plan is.

mod command;
mod duration;
mod expression;
mod limits;
mod load;
mod matrix;
mod needs;
mod node;
mod param;
mod param_value;
mod pipeline;
mod plugin;
mod profile;
mod project;
mod quoting;
mod reading;
mod retry;
mod schema;
mod server;
mod set;
mod step;
mod template;
mod within;
#[cfg(test)]
mod within_tests;
mod yaml;
mod yaml_error;

pub use command::{Command, as_file, names_a_file};
pub use duration::parse_duration;
pub use load::{load_project, pipeline_from_text, values_from_text};
pub use matrix::Matrix;
pub use node::{Node, NodeKind, Spanned};
pub use param::{Param, ParamKind, bad_param, missing_param};
pub use pipeline::Pipeline;
pub use plugin::{Isolation, OnError, PLUGIN_TIMEOUT_MS, PluginSpec};
pub use profile::Profile;
pub use project::{Project, api_key_of, header_of, partner_key, token_of};
pub use retry::{Retry, RetryClass};
pub use schema::{
    PluginStepSchema, StepFragment, pipeline_schema, pipeline_schema_for, project_schema,
    with_plugins,
};
pub use server::{ServerKind, ServerSpec, is_address, no_address};
pub use set::{SetEntry, SetNode};
pub use step::{CacheMode, Need, PluginWork, Step, StepWork, Transfer};
pub use template::{template_code, template_diagnostic, template_diagnostic_at};

#[cfg(test)]
mod language_tests;
#[cfg(test)]
mod tests;
