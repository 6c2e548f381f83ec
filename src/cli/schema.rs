//! `kiln schema`: what editors and tools need to know of kiln's files.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::args::{SchemaArgs, SchemaKind};
use super::check::{load_catalog, warn};
use super::exit::{Exit, complain, tell};
use crate::base::AtomicFile;
use crate::diagnostic::{Diagnostic, Report, Severity, SourceMap, codes};
use crate::plan::MissingParams;
use crate::session::{self, Request};
use crate::{event, spec};

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
    let schema = match (args.which, &args.pipeline) {
        (SchemaKind::Pipeline, Some(file)) => match of_file(args, file) {
            Ok(schema) => spec::with_plugins(schema, &plugins()),
            Err(exit) => return exit,
        },
        (_, Some(_)) => {
            complain(
                "`--pipeline` goes with `kiln schema pipeline`: the other schemas are the same for all files",
            );
            return Exit::Usage;
        }
        (SchemaKind::Pipeline, None) => spec::with_plugins(spec::pipeline_schema(), &plugins()),
        (SchemaKind::Project, None) => spec::project_schema(),
        (SchemaKind::Event, None) => event::schema(),
    };
    write(args, &schema)
}

/// The schema of one pipeline: what its workflows' nodes take on its servers.
fn of_file(args: &SchemaArgs, file: &Path) -> Result<Value, Exit> {
    let catalog = args.catalog.as_deref().map(load_catalog).transpose()?;
    let from_environment = || {
        let set = std::env::var("KILN_SERVER").ok();
        set.filter(|server| !server.is_empty() && catalog.is_none())
    };
    let request = Request {
        file: file.to_path_buf(),
        server: args.server.clone().or_else(from_environment),
        profile: args.profile.clone(),
        missing_params: MissingParams::Undecided,
        nodes_only: true,
        ..Request::default()
    };
    let made = match session::editor_schema(&request, catalog.as_ref()) {
        Ok(made) => made,
        Err(error) => {
            complain(&format!("could not start: {error}"));
            return Err(Exit::Internal);
        }
    };
    let mut report = made.report;
    if made.schema.is_some() {
        // What is wrong elsewhere in the file keeps nobody from writing on.
        for diagnostic in &mut report.items {
            diagnostic.severity = diagnostic.severity.min(Severity::Warning);
        }
    }
    tell(&report, &made.sources);
    if let Some(catalog) = &catalog {
        warn(&catalog.broken());
    }
    made.schema
        .ok_or_else(|| Exit::of_report(&report, &made.sources))
}

fn write(args: &SchemaArgs, schema: &Value) -> Exit {
    let Some(path) = args.out.as_ref().filter(|path| path.as_os_str() != "-") else {
        // A broken pipe is success: the reader has seen enough.
        let _ = writeln!(std::io::stdout(), "{schema:#}");
        return Exit::Done;
    };
    let Err(error) = AtomicFile::put(path, format!("{schema:#}\n").as_bytes()) else {
        return Exit::Done;
    };
    let report = Report {
        items: vec![Diagnostic::error(&codes::CANNOT_WRITE, error.to_string())],
    };
    tell(&report, &SourceMap::default());
    Exit::of_report(&report, &SourceMap::default())
}
