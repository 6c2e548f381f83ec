//! What will run: a sealed plan, and the graph of each of its tasks.
//!
//! A [`Plan`] is self-contained and serialisable: every source text, every input by hash, every drawn seed is in it, so that it can
//! be stored, shown, and carried out later without the files it came from. It knows nothing of servers' answers. Templates that only
//! need params are evaluated when it is built; those that need results are kept with their place and evaluated by [`render`].

mod apart;
mod build;
mod command;
mod condition;
mod edits;
mod eval;
mod evaluate;
mod expand;
mod export;
mod fan;
mod graphs;
mod hidden;
mod join;
pub mod key;
mod naming;
mod order;
mod params;
mod pattern;
mod plugin_step;
mod plugins;
mod policy;
mod render;
mod same;
mod save_as;
mod scope;
mod sealed;
mod select;
mod servers;
mod settings;
mod show;
mod steps;
mod tasks;
mod world;

pub use apart::{Apart, Which, servers as servers_apart};
pub use build::{Declared, Materials, build};
pub use command::{RenderedCommand, file_beside, preview_command, render_command};
pub use condition::{condition, until};
pub use expand::{expand, room_for, samples};
pub use export::{to_dot, to_mermaid, to_svg};
pub use graphs::{carried_in, no_definitions};
pub use hidden::recall_secrets;
pub use pattern::Pattern;
pub use plugin_step::{RenderedPlugin, preview_plugin, render_plugin};
pub use plugins::{PlanPlugins, declared_plugins};
pub use render::{Origins, Rendered, Upload, Uploadable, preview, render};
pub use save_as::save_as;
pub use scope::{Reads, Results, StepOutcome, TaskOutcome, task_seed};
pub use sealed::{
    CacheMode, CommandStep, Edit, EditValue, Grow, HERE, InFile, Item, LOST_AFTER_MS, MAX_TASKS,
    NeedPlan, PIPELINE_FORMAT, ParamValue, Plan, PluginStep, RetryClass, RetryPlan, ServerKind,
    ServerPlan, StepPlan, TaskIx, TaskPlan, TemplateText, Work, WorkflowStep,
};
pub use select::Earlier;
pub use settings::{MissingParams, ParamFlag, SetFlag, Settings, StepFlag};
pub use show::{to_json, to_text};
pub use steps::{Definitions, neighbour};
pub use world::MASKS;

#[cfg(test)]
mod tests;
