//! What will run: a sealed plan.
//!
//! A [`Plan`] is self-contained and serialisable: every source text, every input by hash, every drawn seed is in it, so that it can
//! be stored, shown, and carried out later without the files it came from. It knows nothing of servers' answers.

mod sealed;

pub use sealed::{
    Edit, EditValue, InFile, PIPELINE_FORMAT, ParamValue, Plan, ServerKind, ServerPlan, StepPlan,
    TaskIx, TaskPlan, TemplateText, WorkflowStep,
};
