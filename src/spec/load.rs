//! From a path to a pipeline or a project.

use std::path::Path;

use super::reading::Reading;
use super::{Node, Pipeline, Project, Spanned, pipeline, project, yaml};
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
    let text = match inputs.read_text(path) {
        Ok(text) => text,
        Err(error) => {
            let diagnostic = Diagnostic::error(&codes::FILE_NOT_READABLE, error.to_string());
            report.push(diagnostic);
            return None;
        }
    };
    let file = sources.add_file(path, &text);
    let root = yaml::read(file, sources, report)?;
    // Before anything is said of the file, and however wrong the rest of it is.
    for node in project::secrets_in(&root) {
        if let Some(value) = node.as_str().filter(|text| says_itself(text)) {
            sources.hide(node.span, value);
        }
    }
    let reader = report.items.len();
    let project = project::read(file, &root, &mut Reading { sources, report });
    settle(report, found, reader);
    project
}

/// Whether a value that is a secret stands in the file itself, or a part of it.
fn says_itself(text: &str) -> bool {
    let text = text.trim();
    let expression = text.starts_with("{{") && text.ends_with("}}");
    !expression && !text.contains("secret(")
}

/// Reads a pipeline from the text of `file`; `path` says what it is called. Everything wrong with it goes to `report`; a pipeline is
/// given whenever the file is a map at all, so that planning can find what else is wrong.
pub fn pipeline_from_text(
    file: FileId,
    path: &Path,
    sources: &SourceMap,
    report: &mut Report,
) -> Option<Pipeline> {
    let found = report.items.len();
    let root = yaml::read(file, sources, report)?;
    let reader = report.items.len();
    let pipeline = pipeline::read(file, path, &root, &mut Reading { sources, report });
    settle(report, found, reader);
    pipeline
}

/// Reads a file of values for params: a map, its entries with their places. An empty file has none.
pub fn values_from_text(
    file: FileId,
    sources: &SourceMap,
    report: &mut Report,
) -> Option<Vec<(Spanned<String>, Node)>> {
    let root = yaml::read(file, sources, report)?;
    if root.is_null() {
        return Some(Vec::new());
    }
    let mut reading = Reading { sources, report };
    reading.map(&root, "a file of params").map(<[_]>::to_vec)
}

/// A file's mistakes from its top to its bottom. A value that the YAML reader refused (up to `reader`) has had its complaint: that
/// what stands in for it has the wrong type, too, is no news.
fn settle(report: &mut Report, found: usize, reader: usize) {
    let place = |d: &Diagnostic| d.primary.as_ref().map(|label| label.span);
    let elements = report.items.split_off(reader);
    let news = |d: &Diagnostic| {
        let mut refused = report.items[found..].iter();
        place(d).is_none() || refused.all(|r| place(r) != place(d))
    };
    let elements: Vec<Diagnostic> = elements.into_iter().filter(news).collect();
    report.extend(elements);
    report.items[found..].sort_by_key(place);
}
