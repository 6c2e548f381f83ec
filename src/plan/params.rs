//! Params: defaults, `--params`, `-p`, checked against their declarations, seeds drawn.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;

use super::sealed::ParamValue;
use super::settings::{MissingParams, Settings};
use super::steps::neighbour;
use super::world::file_value;
use crate::artifact::Datum;
use crate::base::Inputs;
use crate::diagnostic::{Diagnostic, Report, SourceMap, Span, codes, list_of};
use crate::spec::{self, Param, ParamKind, Pipeline};
use crate::template::{Engine, Scope, Template};

/// Params with their values, and those that have none.
#[derive(Debug, Default)]
pub(super) struct Params {
    pub(super) values: IndexMap<String, ParamValue>,
    /// Declared, but without a usable value.
    pub(super) undecided: BTreeSet<String>,
}

/// What resolving params needs beside the pipeline.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) engine: &'a Engine,
    pub(super) inputs: &'a Inputs,
    pub(super) folder: &'a Path,
    pub(super) run_seed: u64,
    pub(super) sources: &'a SourceMap,
}

/// Resolves all params of a pipeline; every complaint goes to `report`.
pub(super) fn resolve(pipeline: &Pipeline, context: &Context<'_>, report: &mut Report) -> Params {
    refuse_strangers(pipeline, context.settings, report);
    let mut params = Params::default();
    params
        .undecided
        .extend(pipeline.broken_params.iter().cloned());
    for (name, param) in &pipeline.params {
        match value_of(param, context) {
            Ok(Some(value)) => {
                params.values.insert(name.clone(), value);
            }
            Ok(None) => {
                params.undecided.insert(name.clone());
                if context.settings.missing_params == MissingParams::Refuse {
                    report.push(spec::missing_param(param));
                }
            }
            Err(complaint) => {
                params.undecided.insert(name.clone());
                report.extend(complaint.map(|diagnostic| *diagnostic));
            }
        }
    }
    params
}

fn refuse_strangers(pipeline: &Pipeline, settings: &Settings, report: &mut Report) {
    let known = || {
        pipeline
            .params
            .keys()
            .chain(&pipeline.broken_params)
            .map(String::as_str)
    };
    let refuse = |name: &str, span: Span| {
        Diagnostic::error(
            &codes::BAD_ARGUMENT,
            format!("the pipeline has no param `{name}`"),
        )
        .at(span)
        .suggest(name, known())
        .help(format!("declared params: {}", list_of(known(), 8)))
    };
    for flag in &settings.params {
        if known().all(|k| k != flag.name) {
            let end = flag.span.start + flag.name.len();
            let span = Span::new(flag.span.file, flag.span.start, end);
            report.push(refuse(&flag.name, span));
        }
    }
    for (name, _) in &settings.params_file {
        if known().all(|k| k != name.value) {
            report.push(refuse(&name.value, name.span));
        }
    }
}

/// `Err(None)`: what is wrong was reported when the file was read.
type Resolved = Result<Option<ParamValue>, Option<Box<Diagnostic>>>;

/// The value of one param: the last `-p`, else the params file, else the default.
fn value_of(param: &Param, context: &Context<'_>) -> Resolved {
    let name = &param.name.value;
    if let Some(flag) = context
        .settings
        .params
        .iter()
        .rev()
        .find(|flag| flag.name == *name)
    {
        let start = (flag.span.start + flag.name.len() + 1).min(flag.span.end);
        let span = Span::new(flag.span.file, start, flag.span.end);
        let bad = |why: String| Some(bad_param(param, &why, Some(span)));
        let datum = param.parse(&flag.value).map_err(bad)?;
        return finish(param, datum, &context.settings.current_dir, context).map_err(bad);
    }
    let mut values = context.settings.params_file.iter();
    if let Some((_, node)) = values.find(|(key, _)| key.value == *name) {
        let bad = |why: String| Some(bad_param(param, &why, Some(node.span)));
        let datum = param.check(&node.to_datum()).map_err(bad)?;
        return finish(param, datum, &context.settings.current_dir, context).map_err(bad);
    }
    let Some(default) = &param.default else {
        return Ok(None);
    };
    let bad = |why: String| Some(bad_param(param, &why, Some(default.span)));
    let written = match default.as_str().map(Template::parse) {
        Some(Ok(Some(template))) => {
            let scope = Scope::default();
            context.engine.eval(&template, &scope).map_err(|e| {
                Some(Box::new(spec::template_diagnostic(
                    &e,
                    default,
                    context.sources,
                )))
            })?
        }
        Some(Err(e)) => {
            return Err(Some(Box::new(spec::template_diagnostic(
                &e,
                default,
                context.sources,
            ))));
        }
        _ => default.to_datum(),
    };
    let datum = match param.check(&written) {
        Ok(datum) => datum,
        Err(_) if written == default.to_datum() => return Err(None),
        Err(why) => return Err(bad(why)),
    };
    finish(param, datum, context.folder, context).map_err(bad)
}

/// Reads a file param's file and draws a random seed.
fn finish(
    param: &Param,
    datum: Datum,
    folder: &Path,
    context: &Context<'_>,
) -> Result<Option<ParamValue>, String> {
    let plain = |value| {
        Ok(Some(ParamValue {
            value,
            drawn: false,
        }))
    };
    match (param.kind, datum) {
        (ParamKind::File, Datum::String(path)) => {
            let path = folder.join(path);
            let file = file_value(context.inputs, path.clone()).map_err(|why| {
                let why = why.strip_prefix("could not read ").unwrap_or(&why);
                match neighbour(&path) {
                    Some(near) => {
                        format!("names a file that cannot be read: {why}; did you mean `{near}`?")
                    }
                    None => format!("names a file that cannot be read: {why}"),
                }
            })?;
            plain(Datum::File(file))
        }
        (ParamKind::Seed, Datum::String(_)) => {
            let value = drawn_seed(context.run_seed, &param.name.value);
            Ok(Some(ParamValue {
                value: Datum::Number(value.into()),
                drawn: true,
            }))
        }
        (_, datum) => plain(datum),
    }
}

/// A seed below 2^32 from the run's seed and the param's name: `--seed` repeats a run, and two params differ.
fn drawn_seed(run_seed: u64, name: &str) -> u64 {
    let hash = blake3::Hasher::new()
        .update(b"kiln param seed\0")
        .update(&run_seed.to_le_bytes())
        .update(name.as_bytes())
        .finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    u64::from(u32::from_le_bytes([a, b, c, d]))
}

fn bad_param(param: &Param, why: &str, span: Option<Span>) -> Box<Diagnostic> {
    let declared = param.name.span;
    let diagnostic = spec::bad_param(param, span.unwrap_or(declared), why);
    Box::new(match span {
        Some(span) if span.file != declared.file => diagnostic.also(declared, "declared here"),
        _ => diagnostic,
    })
}
