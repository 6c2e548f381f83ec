//! The schema of one pipeline file for editors: what its workflows' nodes take on the servers that the steps run on.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::checking::Catalogs;
use super::load::{Loaded, Request, Target, load};
use super::prepare::{self, Fetched};
use crate::base::Secrets;
use crate::catalog::Catalog;
use crate::check::editor;
use crate::diagnostic::{Diagnostic, Report, Severity, SourceMap, codes};
use crate::plan::{Plan, WorkflowStep};
use crate::spec;
use crate::workflow::{self, Graph};

/// A schema in the making.
#[derive(Debug)]
pub struct EditorSchema {
    /// The schema; `None` when the file cannot be read at all.
    pub schema: Option<Value>,
    /// What was found on the way.
    pub report: Report,
    /// All texts that the report points into.
    pub sources: SourceMap,
}

/// The schema for a pipeline file. Steps whose workflow cannot be read are described as in every pipeline; where a server does not
/// answer, its nodes and inputs are named without what they take.
///
/// # Errors
/// When the system refuses what asynchronous work needs.
pub fn editor_schema(
    request: &Request,
    offline: Option<&Arc<Catalog>>,
) -> std::io::Result<EditorSchema> {
    let Loaded {
        plan,
        sound,
        target,
        sources,
        mut report,
        secrets,
        ..
    } = load(request);
    let nothing = |report, sources| EditorSchema {
        schema: None,
        report,
        sources,
    };
    let Some(plan) = plan.or(sound) else {
        return Ok(nothing(report, sources));
    };
    if let Target::Workflow(_) = target {
        let message = format!(
            "`{}` is a workflow, and no pipeline",
            request.file.display()
        );
        let help = "give the pipeline in whose steps nodes are to be completed";
        report.push(Diagnostic::error(&codes::BAD_ARGUMENT, message).help(help));
        return Ok(nothing(report, sources));
    }
    let fetched = if offline.is_none() {
        Some(fetch(&plan, &secrets, &mut report)?)
    } else {
        None
    };
    let steps = plan.steps.values().filter_map(|step| {
        let work = step.workflow()?;
        let catalog = match (offline, &fetched) {
            (Some(catalog), _) => Some(Arc::clone(catalog)),
            (None, Some(fetched)) => fetched.of(&step.server),
            (None, None) => None,
        };
        let graph = as_written(&plan, work);
        let fragment = editor::fragment(step.id.as_str(), &graph, catalog.as_deref());
        Some((step.id.to_string(), fragment))
    });
    let schema = spec::pipeline_schema_for(steps.collect::<Vec<_>>());
    let mut seen = BTreeSet::new();
    report
        .items
        .retain(|d| seen.insert((d.code.id, d.message.clone())));
    Ok(EditorSchema {
        schema: Some(schema),
        report,
        sources: plan.sources,
    })
}

/// What the plan's servers have; one that does not answer is warned of.
fn fetch(plan: &Plan, secrets: &Secrets, report: &mut Report) -> std::io::Result<Fetched> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (fetched, unreachable) = runtime.block_on(prepare::catalogs(plan, secrets));
    let wrong = unreachable.into_iter().chain(fetched.unequal());
    report.extend(wrong.map(|diagnostic| Diagnostic {
        severity: Severity::Warning,
        ..diagnostic
    }));
    Ok(fetched)
}

/// The graph as its file has it, templates and all.
fn as_written(plan: &Plan, work: &WorkflowStep) -> Graph {
    let text = &plan.sources.file(work.file).text;
    workflow::parse(text).unwrap_or_else(|_| work.graph.clone())
}
