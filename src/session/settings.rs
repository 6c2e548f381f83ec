//! From what was typed to a plan's settings: each flag becomes a source that complaints can point into.

use std::path::Path;

use super::load::{Request, read};
use crate::base::Inputs;
use crate::diagnostic::{Diagnostic, Report, SourceMap, Span, codes, list_of};
use crate::plan::{ParamFlag, SetFlag, Settings, StepFlag};
use crate::spec::{self, Node, Profile, Project, Spanned};

/// The profile that `--profile` names.
pub(super) fn profile(
    request: &Request,
    project: Option<&Project>,
    report: &mut Report,
) -> Option<Profile> {
    let wanted = request.profile.as_ref()?;
    let profiles = project.map(|project| &project.profiles);
    let found = profiles.and_then(|profiles| profiles.get(wanted));
    if found.is_none() {
        let known = || {
            profiles
                .into_iter()
                .flat_map(|p| p.keys().map(String::as_str))
        };
        let message = format!("there is no profile `{wanted}`");
        let complaint = Diagnostic::error(&codes::BAD_ARGUMENT, message).suggest(wanted, known());
        report.push(match (project, known().next()) {
            (_, Some(_)) => complaint.help(format!("declared profiles: {}", list_of(known(), 12))),
            (Some(_), None) => complaint.help("declare it under `profiles:` in kiln.yaml"),
            (None, None) => complaint.help(
                "profiles are declared in kiln.yaml, and there is none beside or above the pipeline",
            ),
        });
    }
    found.cloned()
}

fn steps(flag: &str, typed: &[String], sources: &mut SourceMap) -> Vec<StepFlag> {
    let one = |step: &String| {
        let file = sources.add_text(flag, step);
        let span = Span::new(file, 0, step.len());
        StepFlag {
            step: step.clone(),
            span,
        }
    };
    typed.iter().map(one).collect()
}

/// The command line as a plan's settings, every flag a source of its own.
pub(super) fn settings(
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
        recalled: request.recalled.clone(),
        force: request.force,
        no_plugins: request.no_plugins,
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
    settings.to = steps("--to", &request.to, sources);
    settings.from = steps("--from", &request.from, sources);
    settings.only = steps("--only", &request.only, sources);
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
