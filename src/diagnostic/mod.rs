//! What kiln says about a user's files: codes, spans, labels, help; and the renderers that print them.
//!
//! Rooms below build [`Diagnostic`]s and collect them in a [`Report`]; nobody but this room prints one. A diagnostic that concerns a
//! user's file always carries a [`Span`] in it; places inside workflow JSON are resolved to spans (by `workflow::locate`) when the
//! diagnostic is made, never while a graph is merely parsed.

pub mod codes;
mod diagnostics;
mod github;
mod human;
mod json;
mod page;
mod sarif;
mod source;
mod suggest;

pub use codes::Code;
pub use diagnostics::{Diagnostic, LAST_WORDS, Label, Report, Severity};
pub use github::to_github;
pub use human::{render_human, render_styled};
pub use json::{JsonDiagnostic, to_json};
pub use page::render_page;
pub use sarif::SarifLog;
pub use source::{FileId, LineColumn, Origin, SourceFile, SourceMap, Span};
pub use suggest::{did_you_mean, list_of, thousands};
