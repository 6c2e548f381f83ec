//! How result files are named: `save_as`.

use indexmap::IndexMap;

use super::evaluate::{Evaluation, Reading};
use super::scope::Results;
use super::sealed::{Plan, TaskPlan, TemplateText};
use crate::artifact::{Artifact, Datum};
use crate::diagnostic::{Diagnostic, codes};
use crate::workflow;

/// The file name of a result, relative to its step's folder: what `save_as` says, else the server's own name.
///
/// # Errors
/// When the template fails, or its path would leave the folder.
pub fn save_as(
    plan: &Plan,
    task: &TaskPlan,
    artifact: &Artifact,
    results: &Results,
    attempt: u32,
) -> Result<String, Box<Diagnostic>> {
    let step = &plan.steps[&task.step];
    let Some(template) = &step.save_as else {
        return Ok(artifact.name.clone());
    };
    let about = IndexMap::from([
        ("index".to_owned(), Datum::Number(artifact.index.into())),
        (
            "output".to_owned(),
            artifact.output.clone().map_or(Datum::Null, Datum::String),
        ),
        (
            "kind".to_owned(),
            Datum::String(artifact.kind.name().to_owned()),
        ),
        ("name".to_owned(), Datum::String(artifact.name.clone())),
    ]);
    let mut names = Evaluation::of_task(plan, task, results, attempt);
    names.put("file", Datum::Map(about));
    let path = path(plan, &names, template)?.unwrap_or_default();
    Ok(with_extension(&path, &artifact.name))
}

/// The path that `save_as` gives, without an extension of kiln's; `None` when it cannot be known yet.
pub(super) fn path(
    plan: &Plan,
    names: &Evaluation<'_>,
    template: &TemplateText,
) -> Result<Option<String>, Box<Diagnostic>> {
    let span = || workflow::span_of(&template.origin, &plan.sources);
    let text = match names.eval(template, Reading::Scalar, "save_as", None)? {
        None => return Ok(None),
        Some(Datum::String(text)) => text,
        Some(Datum::Number(number)) => number.to_string(),
        Some(other) => {
            let message = format!("`save_as` must give a string, not {}", other.describe());
            return Err(Box::new(
                Diagnostic::error(&codes::WRONG_TYPE, message).at(span()),
            ));
        }
    };
    match crate::base::safe_join(std::path::Path::new(""), &text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(Box::new(super::steps::unsafe_path(&error).at(span()))),
    }
}

/// The path with the artifact's extension, when it has none that a person would call one.
fn with_extension(path: &str, name: &str) -> String {
    let last = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let has_one = last.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && (1..=5).contains(&extension.len())
            && extension.chars().all(|c| c.is_ascii_alphanumeric())
            && extension.chars().any(|c| c.is_ascii_alphabetic())
    });
    match name.rsplit_once('.') {
        Some((_, extension)) if !has_one => format!("{path}.{extension}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_gets_the_artifacts_extension_when_it_has_none() {
        assert_eq!(with_extension("a", "x_00001_.png"), "a.png");
        assert_eq!(with_extension("a.jpg", "x.png"), "a.jpg");
        assert_eq!(with_extension("v1.5", "x.png"), "v1.5.png");
        assert_eq!(with_extension("deep.dir/a", "x.webp"), "deep.dir/a.webp");
        assert_eq!(with_extension(".hidden", "x.png"), ".hidden.png");
        assert_eq!(with_extension("a", "noext"), "a");
    }
}
