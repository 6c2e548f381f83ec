//! From a file and flags to a plan.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::base::{Inputs, StepId};
use crate::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span, codes, list_of};
use crate::plan::{self, MissingParams, ParamFlag, Plan, SetFlag, Settings};
use crate::spec::{self, Node, NodeKind, Pipeline, Project, Spanned, Step, StepWork};

/// The name of the project file.
const PROJECT_FILE: &str = "kiln.yaml";

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
    /// What to do about required params without a value.
    pub missing_params: MissingParams,
}

/// What the file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A pipeline.
    Pipeline,
    /// A workflow by itself.
    Workflow(FileId),
}

/// What loading found.
#[derive(Debug)]
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
}

/// Reads the file, its project and the flags, and plans.
pub fn load(request: &Request) -> Loaded {
    let inputs = Arc::new(Inputs::default());
    let mut loaded = Loaded {
        plan: None,
        sound: None,
        target: Target::Pipeline,
        sources: SourceMap::default(),
        report: Report::default(),
    };
    let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let path = current_dir.join(&request.file);
    let stdin = request.file.as_os_str() == "-";
    let folder = match path.parent() {
        Some(parent) if !stdin => parent.to_path_buf(),
        _ => current_dir.clone(),
    };
    if let Some(diagnostic) = no_text(&path, request).filter(|_| !stdin) {
        loaded.report.push(diagnostic);
        return loaded;
    }
    let pipeline = match read(&path, stdin, &inputs) {
        Ok(text) => target(&path, stdin, &text, &mut loaded),
        Err(diagnostic) => {
            loaded.report.push(*diagnostic);
            return loaded;
        }
    };
    let Loaded {
        target,
        sources,
        report,
        ..
    } = &mut loaded;
    let (project_dir, project) = project(&folder, &inputs, sources, report);
    let settings = settings(request, &current_dir, &inputs, sources, report);
    let plan = pipeline.and_then(|pipeline| {
        let materials = plan::Materials {
            pipeline: &pipeline,
            pipeline_dir: &folder,
            bare: match target {
                Target::Workflow(file) => Some(*file),
                Target::Pipeline => None,
            },
            project: project.as_ref(),
            project_dir: &project_dir,
            settings: &settings,
            inputs: &inputs,
        };
        plan::build(&materials, sources, report)
    });
    if loaded.report.has_errors() {
        loaded.sound = plan;
    } else {
        loaded.plan = plan;
    }
    loaded
}

/// What a file turns out to be: a pipeline as written, or one made around a bare workflow.
fn target(path: &Path, stdin: bool, text: &str, loaded: &mut Loaded) -> Option<Pipeline> {
    let file = if stdin {
        loaded.sources.add_text("<stdin>", text)
    } else {
        loaded.sources.add_file(path, text)
    };
    if path.file_name().is_some_and(|name| name == PROJECT_FILE) {
        let message = format!("`{PROJECT_FILE}` is the project file, and no pipeline");
        let help = "give a pipeline: the project file around it is read, and checked, with it";
        let diagnostic = Diagnostic::error(&codes::BAD_ARGUMENT, message).help(help);
        loaded.report.push(diagnostic);
        return None;
    }
    if is_workflow(path, text) {
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

/// What is to be said of a folder or of a file that holds no text.
fn no_text(path: &Path, request: &Request) -> Option<Diagnostic> {
    let typed = request.file.display();
    let wanted = "kiln takes a pipeline (.yaml) or a workflow in API format (.json)";
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
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let what = match extension.as_str() {
        "png" | "jpg" | "jpeg" | "webp" | "gif" | "bmp" | "tif" | "tiff" | "avif" | "exr" => {
            "a picture"
        }
        "mp4" | "webm" | "mov" | "mkv" | "avi" | "m4v" => "a video",
        "wav" | "mp3" | "flac" | "ogg" | "opus" | "m4a" => "a sound",
        "safetensors" | "ckpt" | "pt" | "pth" | "gguf" | "onnx" => "a model",
        "json" | "yaml" | "yml" => return None,
        _ => {
            let binary =
                path.is_file() && std::fs::read(path).is_ok_and(|bytes| bytes.contains(&0));
            return binary.then(|| unreadable(format!("`{typed}` holds no text; {wanted}")));
        }
    };
    path.is_file()
        .then(|| unreadable(format!("`{typed}` is {what}; {wanted}")))
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

fn read(path: &Path, stdin: bool, inputs: &Inputs) -> Result<String, Box<Diagnostic>> {
    let unreadable = |message: String| Diagnostic::error(&codes::FILE_NOT_READABLE, message);
    if stdin {
        return inputs
            .read_stdin()
            .map_err(|why| Box::new(unreadable(format!("could not read stdin: {why}"))));
    }
    inputs.read_text(path).map_err(|error| {
        let diagnostic = unreadable(error.to_string());
        Box::new(match plan::neighbour(path) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic,
        })
    })
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

/// The project file found by walking up, and the project's folder.
fn project(
    folder: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> (PathBuf, Option<Project>) {
    let found = folder
        .ancestors()
        .find(|dir| dir.join(PROJECT_FILE).is_file());
    match found {
        Some(dir) => (
            dir.to_path_buf(),
            spec::load_project(&dir.join(PROJECT_FILE), inputs, sources, report),
        ),
        None => (folder.to_path_buf(), None),
    }
}

fn settings(
    request: &Request,
    current_dir: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Settings {
    let mut settings = Settings {
        current_dir: current_dir.to_path_buf(),
        seed: request.seed,
        server: request.server.clone(),
        output_dir: request.output_dir.as_ref().map(|dir| current_dir.join(dir)),
        max_parallel: request.max_parallel,
        missing_params: request.missing_params,
        ..Settings::default()
    };
    for typed in &request.params {
        let file = sources.add_text("-p", typed);
        let span = Span::new(file, 0, typed.len());
        match typed.split_once('=') {
            Some((name, value)) if !name.is_empty() => settings.params.push(ParamFlag {
                name: name.to_owned(),
                value: value.to_owned(),
                span,
            }),
            _ => report.push(
                Diagnostic::error(&codes::BAD_ARGUMENT, "a param needs a name and a value")
                    .at(span)
                    .help("write it as -p name=value"),
            ),
        }
    }
    for typed in &request.sets {
        let file = sources.add_text("--set", typed);
        match typed.split_once('=') {
            Some((target, value)) if target.contains('.') => settings.sets.push(SetFlag {
                target: target.to_owned(),
                value: value.to_owned(),
                target_span: Span::new(file, 0, target.len()),
                value_span: Span::new(file, target.len() + 1, typed.len()),
            }),
            _ => report.push(
                Diagnostic::error(&codes::BAD_ARGUMENT, "a --set needs a node, an input and a value")
                    .at(Span::new(file, 0, typed.len()))
                    .help("write it as --set 'Node.input=value', or 'step.Node.input=value' for a pipeline"),
            ),
        }
    }
    if let Some(path) = &request.params_file {
        settings.params_file = params_file(path, current_dir, inputs, sources, report);
    }
    settings
}

fn params_file(
    path: &Path,
    current_dir: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Vec<(Spanned<String>, Node)> {
    let stdin = path.as_os_str() == "-";
    let path = current_dir.join(path);
    match read(&path, stdin, inputs) {
        Ok(text) => {
            let file = if stdin {
                sources.add_text("<stdin>", &text)
            } else {
                sources.add_file(&path, &text)
            };
            spec::values_from_text(file, sources, report).unwrap_or_default()
        }
        Err(diagnostic) => {
            report.push(*diagnostic);
            Vec::new()
        }
    }
}
