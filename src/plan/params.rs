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
use crate::spec::{self, Node, NodeKind, Param, ParamKind, Pipeline};
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
    /// For what the project file says: its paths start from its own folder.
    pub(super) of_project: &'a Engine,
    pub(super) project_dir: &'a Path,
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

/// The value of one param: the last `-p` (all of them for a list), else the params file, else that of the run that
/// is gone on with, else the profile, else the default.
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
        let datum = if param.kind == ParamKind::List {
            typed_list(param, context)?
        } else {
            param.parse(&flag.value).map_err(bad)?
        };
        return finish(param, datum, &context.settings.current_dir, context).map_err(bad);
    }
    let mut values = context.settings.params_file.iter();
    if let Some((_, node)) = values.find(|(key, _)| key.value == *name) {
        let bad = |why: String| Some(bad_param(param, &why, Some(node.span)));
        let datum = param.check(&node.to_datum()).map_err(bad)?;
        return finish(param, datum, &context.settings.current_dir, context).map_err(bad);
    }
    if let Some(recalled) = context.settings.recalled.get(name) {
        let bad = |why: String| Some(bad_param(param, &why, None));
        let datum = param.check(&as_typed(&recalled.value)).map_err(bad)?;
        let value = finish(param, datum, context.folder, context).map_err(bad)?;
        let drawn = recalled.drawn;
        return Ok(value.map(|value| ParamValue { drawn, ..value }));
    }
    let profile = context.settings.profile.as_ref();
    let mut values = profile.into_iter().flat_map(|profile| &profile.params);
    if let Some((_, node)) = values.find(|(key, _)| key.value == *name) {
        return written(
            param,
            node,
            (context.of_project, context.project_dir),
            context,
        );
    }
    match &param.default {
        Some(default) => written(param, default, (context.engine, context.folder), context),
        None => Ok(None),
    }
}

/// The value of an earlier run as somebody would have typed it: a file is read again.
fn as_typed(datum: &Datum) -> Datum {
    match datum {
        Datum::File(file) => Datum::String(file.path.display().to_string()),
        Datum::List(items) => Datum::List(items.iter().map(as_typed).collect()),
        other => other.clone(),
    }
}

/// A value that a file gives, with its templates evaluated; its paths start from a folder.
fn written(
    param: &Param,
    default: &Node,
    (engine, folder): (&Engine, &Path),
    context: &Context<'_>,
) -> Resolved {
    let bad = |why: String| Some(bad_param(param, &why, Some(default.span)));
    let written = match &default.kind {
        NodeKind::List(items) if param.kind == ParamKind::List => {
            let items = items.iter().map(|item| evaluated(item, engine, context));
            Datum::List(items.collect::<Result<_, _>>()?)
        }
        _ => evaluated(default, engine, context)?,
    };
    let declared = param.default.as_ref() == Some(default);
    let datum = match param.check(&written) {
        Ok(datum) => datum,
        // What is wrong with a default was said when it was read.
        Err(_) if declared && written == default.to_datum() => {
            return Err(None);
        }
        Err(why) => return Err(bad(why)),
    };
    finish(param, datum, folder, context).map_err(bad)
}

/// A list from all its `-p`, one after the other.
fn typed_list(param: &Param, context: &Context<'_>) -> Result<Datum, Option<Box<Diagnostic>>> {
    let flags = context.settings.params.iter();
    let mut all = Vec::new();
    for flag in flags.filter(|flag| flag.name == param.name.value) {
        let start = (flag.span.start + flag.name.len() + 1).min(flag.span.end);
        let span = Span::new(flag.span.file, start, flag.span.end);
        match param.parse(&flag.value) {
            Ok(Datum::List(items)) => all.extend(items),
            Ok(item) => all.push(item),
            Err(why) => {
                let mut diagnostic = bad_param(param, &why, Some(span));
                diagnostic.help.extend(how_to_type(&flag.name, &flag.value));
                return Err(Some(diagnostic));
            }
        }
    }
    Ok(Datum::List(all))
}

/// How a list is typed, when its items were typed with commas alone.
fn how_to_type(name: &str, typed: &str) -> Option<String> {
    let items: Vec<&str> = typed.split(',').map(str::trim).collect();
    let [first, second, ..] = items[..] else {
        return None;
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = items
        .iter()
        .all(|item| !item.is_empty() && item.chars().all(plain));
    plain.then(|| {
        format!(
            "a list is written `-p '{name}=[{}]'`, or item by item: `-p {name}={first} -p {name}={second}`{}",
            items.join(", "),
            if items.len() > 2 { " and so on" } else { "" }
        )
    })
}

/// A part of a default, its template evaluated.
fn evaluated(
    node: &Node,
    engine: &Engine,
    context: &Context<'_>,
) -> Result<Datum, Option<Box<Diagnostic>>> {
    let bad = |e| {
        let diagnostic = spec::template_diagnostic(&e, node, context.sources);
        Some(Box::new(diagnostic))
    };
    match node.as_str().map(Template::parse) {
        Some(Ok(Some(template))) => {
            let scope = Scope::default();
            engine.eval(&template, &scope).map_err(bad)
        }
        Some(Err(e)) => Err(bad(e)),
        _ => Ok(node.to_datum()),
    }
}

/// Reads a file param's file and draws a random seed, in a list for each item.
fn finish(
    param: &Param,
    datum: Datum,
    folder: &Path,
    context: &Context<'_>,
) -> Result<Option<ParamValue>, String> {
    let Datum::List(items) = datum else {
        return finish_each(param, param.kind, "", datum, folder, context).map(Some);
    };
    let mut list = Vec::with_capacity(items.len());
    let mut drawn = false;
    for (at, item) in items.into_iter().enumerate() {
        let kind = param.items.unwrap_or(ParamKind::String);
        let place = format!("[{at}]");
        let value = finish_each(param, kind, &place, item, folder, context)
            .map_err(|why| format!("(item {}) {why}", at + 1))?;
        drawn |= value.drawn;
        list.push(value.value);
    }
    let value = Datum::List(list);
    Ok(Some(ParamValue { value, drawn }))
}

/// One value; `place` tells the items of a list apart.
fn finish_each(
    param: &Param,
    kind: ParamKind,
    place: &str,
    datum: Datum,
    folder: &Path,
    context: &Context<'_>,
) -> Result<ParamValue, String> {
    let plain = |value| {
        Ok(ParamValue {
            value,
            drawn: false,
        })
    };
    match (kind, datum) {
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
            let name = format!("{}{place}", param.name.value);
            let value = drawn_seed(context.run_seed, &name);
            Ok(ParamValue {
                value: Datum::Number(value.into()),
                drawn: true,
            })
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
