//! From files and flags to a sealed plan. Every error is reported; a plan comes only when there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::eval::{Evaluator, Here, Names, Typed};
use super::hidden::hidden;
use super::params::{self, Context, Params};
use super::plugins::PlanPlugins;
use super::sealed::{PIPELINE_FORMAT, Plan, ServerPlan};
use super::select::{Earlier, select};
use super::servers::{Asked, Chosen};
use super::settings::{SetFlag, Settings};
use super::steps::{self, Built, Definitions, StepContext};
use super::world::PlanWorld;
use super::{order, scope, tasks};
use crate::base::{Inputs, Secrets, ServerName, StepId};
use crate::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span, codes, list_of};
use crate::plugin::Plugins;
use crate::spec::{self, Pipeline, Project, StepWork};
use crate::template::{Engine, Scope};

/// What a plan is made from.
#[derive(Debug)]
pub struct Materials<'a> {
    /// The pipeline, or a bare workflow in a pipeline of one step.
    pub pipeline: &'a Pipeline,
    /// The folder of the pipeline file, absolute.
    pub pipeline_dir: &'a Path,
    /// A bare workflow's file.
    pub bare: Option<FileId>,
    /// The project file.
    pub project: Option<&'a Project>,
    /// The project's folder, absolute.
    pub project_dir: &'a Path,
    /// Flags.
    pub settings: &'a Settings,
    /// The door to files and the environment.
    pub inputs: &'a Arc<Inputs>,
    /// Where the values of secrets are.
    pub secrets: &'a Secrets,
    /// Results of earlier runs, for `--only`.
    pub earlier: Option<Earlier<'a>>,
    /// Plugins, loaded, and as they are declared.
    pub plugins: &'a PlanPlugins,
    /// What servers declare, for workflows in the editor's format.
    pub declared: Option<Declared<'a>>,
}

/// Asks a server what it declares of some classes.
#[derive(Clone, Copy)]
pub struct Declared<'a>(pub &'a dyn Fn(&ServerName, &ServerPlan, &[String]) -> Definitions);

impl std::fmt::Debug for Declared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Declared").finish_non_exhaustive()
    }
}

/// Builds the plan. While `report` holds errors it has only the steps that are sound, which is enough to look for more of them.
pub fn build(
    materials: &Materials<'_>,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Option<Plan> {
    let started_at = jiff::Zoned::now();
    let typed_seed = materials.settings.seed;
    let seed = typed_seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let engine_at = |folder: &Path| engine(materials, folder, seed, &started_at);
    let of_pipeline = engine_at(materials.pipeline_dir);
    let typed = engine_at(&materials.settings.current_dir);
    let context = Context {
        settings: materials.settings,
        engine: &of_pipeline,
        of_project: &engine_at(materials.project_dir),
        inputs: materials.inputs,
        folder: materials.pipeline_dir,
        project_dir: materials.project_dir,
        run_seed: seed,
        sources,
    };
    let params = params::resolve(materials.pipeline, &context, report);
    let (step_names, outputs) = names(materials.pipeline, &materials.plugins.loaded);
    let ids = materials.pipeline.steps.keys();
    let declared: Vec<String> = ids.map(|id| id.0.clone()).collect();
    let mut evaluator = Evaluator {
        engine: &of_pipeline,
        typed: Typed {
            engine: &typed,
            folder: &materials.settings.current_dir,
        },
        names: Names {
            params: &params.values,
            undecided: &params.undecided,
            steps: &step_names,
            order: &declared,
            outputs: &outputs,
        },
        scope: plan_scope(materials, &params),
        report,
        used: BTreeMap::new(),
        here: Here::default(),
    };
    let output_dir = output_dir(materials, &mut evaluator, sources);
    let (partner_key, no_partner_key) = partner_key(materials, &mut evaluator, sources);
    let (steps, chosen) = plan_steps(materials, &mut evaluator, sources);
    let report = evaluator.report;
    let plan = Plan {
        params: params.values.clone(),
        partner_key,
        no_partner_key,
        sources: sources.clone(),
        ..empty(materials, seed, started_at.clone())
    };
    fill(
        plan, steps, chosen, output_dir, materials, &declared, report,
    )
}

/// Puts the steps that are run, their servers and their tasks into the plan.
fn fill(
    mut plan: Plan,
    mut steps: IndexMap<StepId, Built>,
    chosen: Chosen,
    output_dir: Option<PathBuf>,
    materials: &Materials<'_>,
    declared: &[String],
    report: &mut Report,
) -> Option<Plan> {
    let cycles = order::cycles(&steps);
    let tangled = !cycles.is_empty();
    report.extend(cycles);
    let settings = materials.settings;
    plan.given = select(&mut steps, declared, settings, materials.earlier, report);
    plan.output_dir = output_dir?;
    plan.servers = used_servers(chosen, &steps);
    let each = steps.iter();
    plan.steps = each
        .map(|(id, built)| (id.clone(), built.step.clone()))
        .collect();
    if !tangled {
        tasks::fill(&mut plan, &steps, report);
    }
    plan.inputs = materials.inputs.recorded();
    Some(plan)
}

/// An engine whose relative paths start from `folder`.
pub(super) fn engine(
    materials: &Materials<'_>,
    folder: &Path,
    seed: u64,
    started_at: &jiff::Zoned,
) -> Engine {
    let inputs = Arc::clone(materials.inputs);
    let world = PlanWorld::new(inputs, folder, seed, started_at.clone())
        .with_secrets(materials.secrets.clone())
        .in_project(materials.project_dir)
        .with_plugins(materials.plugins.loaded.callables());
    Engine::new(Arc::new(world))
}

/// A plan with nothing in it but what is known without evaluating anything.
fn empty(materials: &Materials<'_>, seed: u64, started_at: jiff::Zoned) -> Plan {
    let limits = materials.pipeline.limits.iter();
    Plan {
        format: PIPELINE_FORMAT,
        pipeline: materials.pipeline.name.clone(),
        description: materials.pipeline.description.clone(),
        pipeline_dir: materials.pipeline_dir.to_path_buf(),
        project_dir: materials.project_dir.to_path_buf(),
        output_dir: PathBuf::new(),
        seed,
        started_at,
        params: IndexMap::new(),
        max_parallel: max_parallel(materials),
        limits: limits.map(|(name, n)| (name.clone(), n.value)).collect(),
        partner_key: None,
        no_partner_key: Vec::new(),
        servers: IndexMap::new(),
        sources: SourceMap::default(),
        inputs: Vec::new(),
        dotenv: materials.project.is_some_and(|project| project.dotenv),
        steps: IndexMap::new(),
        tasks: Vec::new(),
        given: IndexMap::new(),
        plugins: materials.plugins.declared.clone(),
        loaded: materials.plugins.loaded.clone(),
    }
}

/// The servers of steps that are run, in the order in which steps asked for them.
fn used_servers(
    chosen: Chosen,
    steps: &IndexMap<StepId, Built>,
) -> IndexMap<ServerName, ServerPlan> {
    let mut servers = chosen.servers;
    servers.retain(|name, _| steps.values().any(|built| built.step.server == *name));
    servers
}

/// The most tasks at a time: as typed, as the profile says, as the pipeline does.
fn max_parallel(materials: &Materials<'_>) -> Option<u32> {
    let profile = materials.settings.profile.as_ref();
    let of_profile = profile.and_then(|p| p.max_parallel.as_ref());
    let written = of_profile.or(materials.pipeline.max_parallel.as_ref());
    materials.settings.max_parallel.or(written.map(|m| m.value))
}

/// The key for partner nodes, or what is wrong with it: an unset variable harms nothing while no workflow needs it.
fn partner_key(
    materials: &Materials<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> (Option<String>, Vec<Diagnostic>) {
    let project = materials.project;
    let Some(node) = project.and_then(|project| project.partner_api_key.as_ref()) else {
        return (None, Vec::new());
    };
    let before = evaluator.report.items.len();
    let key = evaluator.text_now(node, "`partner_api_key`", sources);
    // Values are evaluated when first needed, and nothing here needs it yet.
    let wrong = evaluator.report.items.split_off(before);
    let key = key.filter(|key| !key.is_empty());
    let key = key.map(|key| hidden(&spec::partner_key(), key, materials.inputs));
    (key, wrong)
}

/// All declared steps, and the names that usable ones give to their outputs.
fn names(
    pipeline: &Pipeline,
    plugins: &Plugins,
) -> (BTreeSet<String>, BTreeMap<String, Vec<String>>) {
    let outputs: BTreeMap<String, Vec<String>> = pipeline
        .steps
        .iter()
        .map(|(id, step)| (id.0.clone(), outputs_of(step, plugins)))
        .collect();
    let broken = pipeline.broken_steps.iter();
    let steps = outputs.keys().chain(broken).cloned().collect();
    (steps, outputs)
}

/// The names of a step's outputs: as declared, or those that its plugin gives.
fn outputs_of(step: &spec::Step, plugins: &Plugins) -> Vec<String> {
    let StepWork::Plugin(work) = &step.work else {
        return step.outputs.keys().cloned().collect();
    };
    let about = plugins.about(&work.plugin.value);
    let kind = about.and_then(|about| about.step.as_ref());
    kind.map(|kind| kind.outputs.clone()).unwrap_or_default()
}

fn plan_scope(materials: &Materials<'_>, params: &Params) -> Scope {
    scope::fixed(
        &materials.pipeline.name,
        materials.pipeline_dir,
        &params.values,
    )
}

fn plan_steps(
    materials: &Materials<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> (IndexMap<StepId, Built>, Chosen) {
    let mut chosen = Chosen::default();
    let mut steps = IndexMap::new();
    let mut flags = flags_by_step(materials, evaluator);
    let default = materials.project.and_then(|p| p.default_server.as_ref());
    let profile = materials.settings.profile.as_ref();
    let profile = profile.and_then(|profile| profile.server.as_ref());
    for (id, step) in &materials.pipeline.steps {
        let server = if matches!(step.work, StepWork::Command(_) | StepWork::Plugin(_)) {
            Some(chosen.here())
        } else {
            let asked = Asked {
                flag: materials.settings.server.as_deref(),
                profile,
                written: [
                    step.server.as_ref(),
                    materials.pipeline.server.as_ref(),
                    default,
                ],
            };
            chosen.choose(&asked, materials, evaluator, sources)
        };
        let planned = server.as_ref().and_then(|name| {
            let plan = chosen.servers.get(name)?;
            Some((name, plan))
        });
        let definitions = |classes: &[String]| match planned {
            Some((name, plan)) => match materials.declared {
                Some(declared) => (declared.0)(name, plan, classes),
                None => Err(Vec::new()),
            },
            // Its refusal is told already.
            None => Err(Vec::new()),
        };
        let context = StepContext {
            definitions: &definitions,
            seed: materials.settings.seed.unwrap_or(0),
            pipeline: materials.pipeline,
            inputs: materials.inputs,
            folder: materials.pipeline_dir,
            flags: flags.swap_remove(id).unwrap_or_default(),
            bare: materials.bare,
            plugins: materials.plugins,
            no_plugins: materials.settings.no_plugins,
        };
        // A step is planned even when its server is refused, so that all its errors show at once.
        let name = server.clone().unwrap_or_else(|| "embedded".into());
        if let Some(planned) = steps::build(step, name, &context, evaluator, sources)
            && server.is_some()
        {
            steps.insert(id.clone(), planned);
        }
    }
    (steps, chosen)
}

/// `--set step.Node.input=value` for a pipeline; a bare workflow has one step and takes them all.
fn flags_by_step(
    materials: &Materials<'_>,
    evaluator: &mut Evaluator<'_>,
) -> IndexMap<StepId, Vec<SetFlag>> {
    let mut flags: IndexMap<StepId, Vec<SetFlag>> = IndexMap::new();
    for flag in &materials.settings.sets {
        if materials.bare.is_some() {
            if let Some(id) = materials.pipeline.steps.keys().next() {
                flags.entry(id.clone()).or_default().push(flag.clone());
            }
            continue;
        }
        let step = flag.target.split_once('.');
        match step {
            Some((step, rest)) if materials.pipeline.steps.contains_key(step) => {
                let mut flag = flag.clone();
                flag.target_span.start += step.len() + 1;
                rest.clone_into(&mut flag.target);
                flags.entry(StepId::from(step)).or_default().push(flag);
            }
            _ => {
                let name = step.map_or(flag.target.as_str(), |(name, _)| name);
                let span = Span::new(
                    flag.target_span.file,
                    flag.target_span.start,
                    flag.target_span.start + name.len(),
                );
                let known = || materials.pipeline.steps.keys().map(StepId::as_str);
                evaluator.report.push(
                    Diagnostic::error(
                        &codes::BAD_ARGUMENT,
                        format!("the pipeline has no step `{name}`"),
                    )
                    .at(span)
                    .suggest(name, known())
                    .help(format!(
                        "for a pipeline write --set STEP.NODE.INPUT=VALUE; steps: {}",
                        list_of(known(), 8)
                    )),
                );
            }
        }
    }
    flags
}

fn output_dir(
    materials: &Materials<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &SourceMap,
) -> Option<PathBuf> {
    if let Some(dir) = &materials.settings.output_dir {
        return Some(dir.clone());
    }
    let profile = materials.settings.profile.as_ref();
    let of_profile = profile.and_then(|profile| profile.output_dir.as_ref());
    match of_profile.or(materials.project.and_then(|p| p.output_dir.as_ref())) {
        None => Some(materials.project_dir.join("outputs")),
        Some(node) => {
            let text = evaluator.text_now(node, "`output_dir`", sources)?;
            Some(materials.project_dir.join(text))
        }
    }
}
