//! From a file and flags to a plan.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::definitions::Definitions;
use super::plugins::load_plugins;
use super::settings::{profile, settings};
use crate::base::{Input, Inputs, Secrets, StepId};
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span, codes, list_of};
use crate::plan::{self, MissingParams, ParamValue, Plan};
use crate::spec::{self, Node, NodeKind, Pipeline, Project, Spanned, Step, StepWork};
use crate::workflow::{self, LoadError};

/// The name of the project file.
pub(super) const PROJECT_FILE: &str = "kiln.yaml";

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The file; `-` is stdin.
    pub file: PathBuf,
    /// `-p`, as typed.
    pub params: Vec<String>,
    /// `--params`.
    pub params_file: Option<PathBuf>,
    /// `--set`, as typed.
    pub sets: Vec<String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--server`.
    pub server: Option<String>,
    /// `--output-dir`, as typed.
    pub output_dir: Option<PathBuf>,
    /// `--max-parallel`.
    pub max_parallel: Option<u32>,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--to`.
    pub to: Vec<String>,
    /// `--from`.
    pub from: Vec<String>,
    /// `--only`.
    pub only: Vec<String>,
    /// `--force`.
    pub force: bool,
    /// Params of the run that is gone on with.
    pub recalled: IndexMap<String, ParamValue>,
    /// Only which nodes the steps have matters: everything else that steps say is left out, and so are its mistakes.
    pub nodes_only: bool,
    /// What to do about required params without a value.
    pub missing_params: MissingParams,
    /// `--no-plugins`.
    pub no_plugins: bool,
    /// What every server declares, when that is known without asking.
    pub catalog: Option<Arc<Catalog>>,
}

impl Request {
    /// What of a pipeline matters.
    fn of_interest(&self, pipeline: Pipeline) -> Pipeline {
        if self.nodes_only {
            without_details(pipeline)
        } else {
            pipeline
        }
    }

    /// Whether a file was typed at all.
    pub(super) fn names_a_file(&self) -> bool {
        !self.file.as_os_str().is_empty()
    }
}

/// What the file turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// A pipeline.
    #[default]
    Pipeline,
    /// A workflow by itself.
    Workflow(FileId),
}

impl Target {
    /// The file of a workflow by itself.
    fn workflow(self) -> Option<FileId> {
        match self {
            Self::Workflow(file) => Some(file),
            Self::Pipeline => None,
        }
    }
}

/// What loading found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The plan, when there is no error.
    pub plan: Option<Plan>,
    /// When there are errors: a plan of the steps that are sound, to be checked but never run.
    pub sound: Option<Plan>,
    /// What the file is.
    pub target: Target,
    /// All texts that diagnostics point into.
    pub sources: SourceMap,
    /// Everything that is wrong.
    pub report: Report,
    /// Where the values of secrets are.
    pub secrets: Secrets,
    /// The flag with which the project rehearses without a server.
    pub rehearsal: Option<String>,
    /// The project's folder, when the file could be read.
    pub project_dir: Option<PathBuf>,
    /// Everything that was read, whether it led to a plan or not.
    pub inputs: Vec<Input>,
}

impl Loaded {
    /// With the plan that was made: one that may be run, unless there are errors.
    fn with(mut self, plan: Option<Plan>) -> Self {
        if self.report.has_errors() {
            self.sound = plan;
        } else {
            self.plan = plan;
        }
        self
    }
}

/// Reads the file, its project and the flags, and plans.
pub fn load(request: &Request) -> Loaded {
    let inputs = Arc::new(Inputs::default());
    let loaded = load_through(request, &inputs);
    Loaded {
        inputs: inputs.recorded(),
        ..loaded
    }
}

fn load_through(request: &Request, inputs: &Arc<Inputs>) -> Loaded {
    let mut loaded = Loaded::default();
    let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let path = current_dir.join(&request.file);
    let stdin = request.file.as_os_str() == "-";
    let folder = match path.parent() {
        Some(parent) if !stdin => parent.to_path_buf(),
        _ => current_dir.clone(),
    };
    let pipeline = match opened(&path, stdin, request, inputs) {
        Ok(taken) => target(&path, stdin, &taken, &mut loaded),
        Err(diagnostic) => {
            loaded.report.push(*diagnostic);
            return loaded;
        }
    };
    let pipeline = pipeline.map(|pipeline| request.of_interest(pipeline));
    loaded.secrets = Secrets::of(Arc::clone(inputs));
    let Loaded {
        target,
        sources,
        report,
        secrets,
        rehearsal,
        ..
    } = &mut loaded;
    let (project_dir, project) = project(&folder, inputs, sources, report);
    if project.as_ref().is_some_and(|project| project.dotenv) {
        dotenv(&project_dir, inputs, report);
    }
    if project.is_none() && project_dir.join(PROJECT_FILE).is_file() {
        // Nothing that it declares is known, so nothing can be said against what uses it.
        loaded.project_dir = Some(project_dir);
        return loaded;
    }
    *rehearsal = project.as_ref().and_then(super::way_out::rehearsal);
    let mut settings = settings(request, &current_dir, inputs, sources, report);
    settings.profile = profile(request, project.as_ref(), report);
    let definitions = Definitions::new(request.catalog.clone(), secrets.clone());
    let plan = pipeline.and_then(|pipeline| {
        let declaring = project.as_ref().filter(|_| !request.no_plugins);
        let place = (declaring, project_dir.as_path());
        let (reach, told) = ((inputs, &*secrets), (&*sources, &mut *report));
        let plugins = load_plugins(place, &pipeline, reach, told);
        let earlier = |step: &StepId| super::earlier::earlier(&project_dir, &pipeline.name, step);
        let materials = plan::Materials {
            pipeline: &pipeline,
            pipeline_dir: &folder,
            bare: target.workflow(),
            project: project.as_ref(),
            project_dir: &project_dir,
            settings: &settings,
            inputs,
            secrets,
            earlier: Some(plan::Earlier(&earlier)),
            plugins: &plugins,
            declared: Some(plan::Declared(&|n, s, c| definitions.of(n, s, c))),
        };
        plan::build(&materials, sources, report)
    });
    loaded.project_dir = Some(project_dir);
    loaded.with(plan)
}

/// Whether a path is that of a project file.
pub(super) fn is_project_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == PROJECT_FILE)
}

/// Reads a project file alone; everything that is wrong with it is in the report.
pub(super) fn load_project(path: &Path) -> Loaded {
    let inputs = Arc::new(Inputs::default());
    let mut loaded = Loaded::default();
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let path = here.join(path);
    match read(&path, false, &inputs) {
        Ok(_) => {
            spec::load_project(&path, &inputs, &mut loaded.sources, &mut loaded.report);
        }
        Err(diagnostic) => loaded.report.push(*diagnostic),
    }
    loaded
}

/// What a file turns out to be: a pipeline as written, or one made around a bare workflow.
fn target(
    path: &Path,
    stdin: bool,
    taken: &workflow::Loaded,
    loaded: &mut Loaded,
) -> Option<Pipeline> {
    let text = &taken.text;
    let file = if stdin {
        loaded.sources.add_text("<stdin>", text)
    } else if taken.kind.is_media() {
        loaded.sources.add_text(&plan::carried_in(path), text)
    } else {
        loaded.sources.add_file(path, text)
    };
    if is_project_file(path) {
        let message = format!("`{PROJECT_FILE}` is the project file, and no pipeline");
        let help = "give a pipeline: the project file around it is read, and checked, with it";
        let diagnostic = Diagnostic::error(&codes::BAD_ARGUMENT, message).help(help);
        loaded.report.push(diagnostic);
        return None;
    }
    if taken.kind.is_media() || is_workflow(path, text) {
        loaded.target = Target::Workflow(file);
        return Some(bare(file, path, stdin));
    }
    let path = if stdin {
        path.with_file_name("stdin.yaml")
    } else {
        path.to_path_buf()
    };
    spec::pipeline_from_text(file, &path, &loaded.sources, &mut loaded.report)
}

/// The text of the file that was typed.
fn opened(
    path: &Path,
    stdin: bool,
    request: &Request,
    inputs: &Inputs,
) -> Result<workflow::Loaded, Box<Diagnostic>> {
    match no_file(path, request).filter(|_| !stdin) {
        Some(diagnostic) => Err(Box::new(diagnostic)),
        None => taken(path, stdin, inputs),
    }
}

/// What is to be said of a folder.
fn no_file(path: &Path, request: &Request) -> Option<Diagnostic> {
    let typed = request.file.display();
    let wanted = "kiln takes a pipeline (.yaml), or a workflow (.json) or what carries one";
    let unreadable = |message: String| Diagnostic::error(&codes::FILE_NOT_READABLE, message);
    if path.is_dir() {
        let diagnostic = unreadable(format!("`{typed}` is a folder; {wanted}"));
        let names = pipelines_in(path);
        let names = || names.iter().map(String::as_str);
        return Some(match names().next() {
            Some(_) => diagnostic.help(format!("pipelines in it: {}", list_of(names(), 12))),
            None => diagnostic.help("there is no .yaml file in it"),
        });
    }
    None
}

/// The names of the YAML files in a folder, sorted, without the project file.
fn pipelines_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let extension = Path::new(name).extension();
            extension.is_some_and(|e| e == "yaml" || e == "yml")
        })
        .filter(|name| name != PROJECT_FILE)
        .collect();
    names.sort();
    names
}

/// The text of a file, or of the workflow that it carries.
pub(super) fn taken(
    path: &Path,
    stdin: bool,
    inputs: &Inputs,
) -> Result<workflow::Loaded, Box<Diagnostic>> {
    let loaded = if stdin {
        workflow::load_stdin(inputs)
    } else {
        workflow::load(path, inputs)
    };
    loaded.map_err(|error| {
        let near = matches!(error, LoadError::Read(_)).then(|| plan::neighbour(path));
        let diagnostic = error.diagnostic();
        Box::new(match near.flatten() {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic,
        })
    })
}

pub(super) fn read(path: &Path, stdin: bool, inputs: &Inputs) -> Result<String, Box<Diagnostic>> {
    taken(path, stdin, inputs).map(|taken| taken.text)
}

/// JSON is a workflow, everything else is a pipeline.
fn is_workflow(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|e| e.to_str()) {
        Some("json") => true,
        Some("yaml" | "yml") => false,
        _ => text.trim_start().starts_with('{'),
    }
}

/// A pipeline of one step around a bare workflow.
fn bare(file: FileId, path: &Path, stdin: bool) -> Pipeline {
    let stem = if stdin {
        "stdin".to_owned()
    } else {
        path.file_stem().map_or_else(
            || "workflow".to_owned(),
            |s| s.to_string_lossy().into_owned(),
        )
    };
    let name = match slug::slugify(&stem) {
        empty if empty.is_empty() => "workflow".to_owned(),
        name => name,
    };
    let mut id = name.replace('-', "_");
    if !crate::base::valid_id(&id) {
        id = format!("w_{id}");
    }
    let span = Span::new(file, 0, 0);
    let workflow = Node {
        span,
        kind: NodeKind::String(path.display().to_string()),
    };
    let only = Step {
        template: Some(false),
        ..Step::new(Spanned::new(id.clone(), span), StepWork::Workflow(workflow))
    };
    Pipeline {
        steps: IndexMap::from([(StepId(id), only)]),
        ..Pipeline::new(file, name)
    }
}

/// The pipeline with nothing in its steps but what they run, and where.
fn without_details(pipeline: Pipeline) -> Pipeline {
    let rendered = |work: &StepWork| match work {
        StepWork::Workflow(file) => file
            .as_str()
            .is_some_and(|name| Path::new(name).extension().is_some_and(|e| e == "j2")),
        StepWork::Command(_) | StepWork::Plugin(_) => false,
    };
    let steps = pipeline.steps.into_iter();
    let steps = steps.filter(|(_, step)| matches!(step.work, StepWork::Workflow(_)));
    let steps = steps.map(|(id, step)| {
        let bare = Step {
            server: step.server,
            // A file that is a template as a whole is no workflow before.
            template: Some(rendered(&step.work)),
            ..Step::new(step.id, step.work)
        };
        (id, bare)
    });
    Pipeline {
        steps: steps.collect(),
        ..pipeline
    }
}

/// The name of the pipeline in a file, as far as it can be read.
pub(super) fn name_of(path: &Path) -> Option<String> {
    let taken = taken(path, false, &Inputs::default()).ok()?;
    let mut loaded = Loaded::default();
    target(path, false, &taken, &mut loaded).map(|pipeline| pipeline.name)
}

/// The folder of the project that a folder belongs to.
pub(super) fn project_of(folder: &Path) -> PathBuf {
    let mut folders = folder.ancestors();
    let found = folders.find(|dir| dir.join(PROJECT_FILE).is_file());
    found.unwrap_or(folder).to_path_buf()
}

/// The project file found by walking up, and the project's folder.
pub(super) fn project(
    folder: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> (PathBuf, Option<Project>) {
    // Each place where it could be is asked for by name: one that appears there later changes the plan.
    let is_there = |dir: &&Path| {
        let file = dir.join(PROJECT_FILE);
        inputs.exists(&file) && file.is_file()
    };
    let dir = folder.ancestors().find(is_there).unwrap_or(folder);
    let dir = dir.to_path_buf();
    let file = dir.join(PROJECT_FILE);
    let project = file
        .is_file()
        .then(|| spec::load_project(&file, inputs, sources, report));
    (dir, project.flatten())
}

/// Reads the `.env` beside the project file.
pub(super) fn dotenv(project_dir: &Path, inputs: &Inputs, report: &mut Report) {
    if let Err(error) = inputs.read_dotenv(&project_dir.join(".env")) {
        report.push(Diagnostic::error(
            &codes::FILE_NOT_READABLE,
            error.to_string(),
        ));
    }
}
