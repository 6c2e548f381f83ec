//! `kiln schema`: what editors and tools need to know of kiln's files.

use std::io::Write;

use super::args::{SchemaArgs, SchemaKind};
use super::exit::Exit;
use crate::{event, session, spec};

/// What the steps of the project's plugins take, so that editors know it.
fn plugins() -> Vec<spec::PluginStepSchema> {
    let off = std::env::var("KILN_NO_PLUGINS")
        .is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no" | "off"));
    match std::env::current_dir() {
        Ok(here) if !off => session::plugin_schemas(&here),
        _ => Vec::new(),
    }
}

pub(super) fn schema(args: &SchemaArgs) -> Exit {
    let schema = match args.which {
        SchemaKind::Pipeline => spec::pipeline_schema_with(&plugins()),
        SchemaKind::Project => spec::project_schema(),
        SchemaKind::Event => event::schema(),
    };
    // A broken pipe is success: the reader has seen enough.
    let _ = writeln!(std::io::stdout(), "{schema:#}");
    Exit::Done
}
