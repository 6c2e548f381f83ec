//! What will run: a sealed plan, and the graph of each of its tasks.
//!
//! A [`Plan`] is self-contained and serialisable: every source text, every input by hash, every drawn seed is in it, so that it can
//! be stored, shown, and carried out later without the files it came from. It knows nothing of servers' answers. Templates that only
//! need params are evaluated when it is built; those that need results are kept with their place and evaluated by [`render`].

mod build;
mod eval;
pub mod key;
mod order;
mod params;
mod render;
mod scope;
mod sealed;
mod servers;
mod settings;
mod show;
mod steps;
mod world;

pub use build::{Materials, build};
pub use render::{Origins, Rendered, Upload, Uploadable, preview, render, save_as};
pub use scope::{Results, StepOutcome, TaskOutcome};
pub use sealed::{
    CacheMode, CommandStep, Edit, EditValue, Grow, HERE, InFile, Item, LOST_AFTER_MS, NeedPlan,
    PIPELINE_FORMAT, ParamValue, Plan, RetryClass, RetryPlan, ServerKind, ServerPlan, StepPlan,
    TaskIx, TaskPlan, TemplateText, Work, WorkflowStep,
};
pub use settings::{MissingParams, ParamFlag, SetFlag, Settings};
pub use show::{to_json, to_text};
pub use steps::neighbour;
