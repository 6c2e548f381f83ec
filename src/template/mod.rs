//! Templates: minijinja on parsed scalars, strict, with typed results and files as objects.
//!
//! A [`Template`] is text that was understood; an [`Engine`] evaluates it against a [`Scope`] and gives a [`crate::artifact::Datum`].
//! Nothing undefined ever leaves the room, bounded fuel and a bounded result stop a runaway template, and errors name bytes of the
//! decoded text, never values. This room knows no YAML, no files and no servers: what functions may reach comes in as a [`World`].

mod depth;
mod engine;
mod error;
mod explain;
mod filters;
mod functions;
mod guard;
mod mask;
mod more;
mod names;
mod objects;
mod parse;
mod results;
mod scan;
mod scope;
mod secrets;
mod text;
mod value;
mod wildcard;
mod world;

pub use engine::{Engine, FUEL};
pub use error::{TemplateError, TemplateErrorKind};
pub use mask::{MaskError, Picture, compose_mask};
pub use objects::ARTIFACT_ATTRIBUTES as FILE_MEMBERS;
pub use parse::{Template, Uses};
pub use scope::{Scope, StepResult, TaskResult};
pub use world::World;

#[cfg(test)]
mod tests;
