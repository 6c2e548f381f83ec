//! From a path to a pipeline or a project.

use std::path::Path;

use super::reading::Reading;
use super::{Node, Pipeline, Project, pipeline, project, yaml};
use crate::base::Inputs;
use crate::diagnostic::{Diagnostic, FileId, Report, SourceMap, codes};

/// Reads `kiln.yaml`. Everything wrong with it goes to `report`; a project is given whenever the file is a map at all.
pub fn load_project(
    path: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Option<Project> {
    let found = report.items.len();
    let (file, root) = load(path, inputs, sources, report)?;
    let project = project::read(file, &root, &mut Reading { sources, report });
    in_order(&mut report.items[found..]);
    project
}

/// Reads a pipeline. Everything wrong with it goes to `report`; a pipeline is given whenever the file is a map at all, so that
/// planning can find what else is wrong.
pub fn load_pipeline(
    path: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Option<Pipeline> {
    let found = report.items.len();
    let (file, root) = load(path, inputs, sources, report)?;
    let pipeline = pipeline::read(file, path, &root, &mut Reading { sources, report });
    in_order(&mut report.items[found..]);
    pipeline
}

/// Reads a pipeline from text that is no file, such as stdin; `path` says where its relative paths begin and what it is called.
pub fn pipeline_from_text(
    path: &Path,
    name: &str,
    text: &str,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Option<Pipeline> {
    let found = report.items.len();
    let file = sources.add_text(name, text);
    let root = yaml::read(file, sources, report)?;
    let pipeline = pipeline::read(file, path, &root, &mut Reading { sources, report });
    in_order(&mut report.items[found..]);
    pipeline
}

fn load(
    path: &Path,
    inputs: &Inputs,
    sources: &mut SourceMap,
    report: &mut Report,
) -> Option<(FileId, Node)> {
    match inputs.read_text(path) {
        Ok(text) => {
            let file = sources.add_file(path, &text);
            yaml::read(file, sources, report).map(|root| (file, root))
        }
        Err(error) => {
            report.push(Diagnostic::error(
                &codes::FILE_NOT_READABLE,
                error.to_string(),
            ));
            None
        }
    }
}

/// A file's mistakes from its top to its bottom.
fn in_order(found: &mut [Diagnostic]) {
    found.sort_by_key(|d| d.primary.as_ref().map(|label| label.span));
}
