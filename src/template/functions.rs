//! Functions of templates; whatever lies outside is asked of the [`World`].

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, State};

use super::error::{TemplateErrorKind, failed, raise};
use super::objects::{ArtifactObject, FileObject};
use super::text::text;
use super::value::{Files, from_datum, from_outside, to_datum, to_plain_json};
use super::world::World;
use crate::artifact::Datum;
use crate::base::{Hasher, secret};

/// Every function that a template may call, for did-you-mean.
pub(super) const FUNCTIONS: &[&str] = &[
    "env",
    "exists",
    "file",
    "glob",
    "now",
    "random",
    "range",
    "read_csv",
    "read_json",
    "read_text",
    "read_yaml",
    "secret",
    "mask",
    "seed",
    "dict",
    "namespace",
];

/// The context's entry that tells places apart for `random()`; no template can name it.
pub(super) const SALT: &str = " salt";

type Outside = Arc<dyn World>;

/// Adds all functions.
pub(super) fn add(env: &mut Environment<'static>, world: &Outside) {
    let outside = || Arc::clone(world);
    // minijinja's `debug()` prints everything in scope.
    env.remove_global("debug");
    let w = outside();
    env.add_function("env", move |name: &str, default: Option<&Value>| {
        open("env", name)?;
        variable(&w, name, default)
    });
    let w = outside();
    env.add_function("file", move |path: &Value| -> Result<Value, Error> {
        let path = path_of(path)?;
        let file = w
            .file(&path)
            .map_err(|reason| cannot("file", &path, &reason))?;
        Ok(Value::from_object(FileObject(file)))
    });
    let w = outside();
    env.add_function("exists", move |path: &Value| -> Result<bool, Error> {
        Ok(w.exists(&path_of(path)?))
    });
    let w = outside();
    env.add_function("glob", move |pattern: &str| -> Result<Value, Error> {
        open("glob", pattern)?;
        let files = w
            .glob(pattern)
            .map_err(|reason| cannot("glob", pattern, &reason))?;
        Ok(files
            .into_iter()
            .map(|file| Value::from_object(FileObject(file)))
            .collect())
    });
    let w = outside();
    env.add_function("read_text", move |source: &Value| {
        content(&w, "read_text", source)
    });
    let w = outside();
    env.add_function("read_json", move |source: &Value| read_json(&w, source));
    let w = outside();
    env.add_function("read_yaml", move |source: &Value| read_yaml(&w, source));
    let w = outside();
    env.add_function("read_csv", move |source: &Value| read_csv(&w, source));
    let w = outside();
    env.add_function("seed", move |salts: Rest<Value>| -> Result<u32, Error> {
        let salts = salts
            .iter()
            .map(|salt| to_plain_json(salt).map(|json| json.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(draw("seed", w.run_seed(), salts.iter().map(String::as_str)))
    });
    let w = outside();
    env.add_function("random", move |state: &mut State| random(&w, state));
    let w = outside();
    env.add_function("now", move |format: Option<&str>| now(&w, format));
    let w = outside();
    env.add_function("mask", move |image: &Value, named: Kwargs| {
        mask(&w, image, &named)
    });
    super::secrets::add_function(env, world);
}

fn mask(world: &Outside, image: &Value, named: &Kwargs) -> Result<Value, Error> {
    let of: Option<Value> = named.get("of")?;
    named.assert_all_used()?;
    let Some(of) = of else {
        return Err(raise(
            TemplateErrorKind::Failed,
            "`mask` does not know which picture the mask is for".to_owned(),
            Some("write `mask(image, of=picture)`".to_owned()),
        ));
    };
    let picture = |value: &Value| match to_datum(value, Files::Refused)? {
        datum @ (Datum::File(_) | Datum::Artifact(_)) => Ok(datum),
        other => Err(raise(
            TemplateErrorKind::Failed,
            format!("`mask` takes two pictures, not {}", other.describe()),
            Some("a path becomes a file with `file('…')`".to_owned()),
        )),
    };
    let file = world
        .mask(&picture(image)?, &picture(&of)?)
        .map_err(|reason| failed(format!("`mask`: {reason}")))?;
    Ok(Value::from_object(FileObject(file)))
}

fn cannot(function: &str, what: &str, reason: &str) -> Error {
    failed(format!("`{function}` of `{what}`: {reason}"))
}

/// A path as text, or that of a file.
fn path_of(value: &Value) -> Result<String, Error> {
    if let Some(file) = value.downcast_object_ref::<FileObject>() {
        return Ok(file.0.path.display().to_string());
    }
    if let Some(artifact) = value.downcast_object_ref::<ArtifactObject>()
        && let Some(path) = &artifact.0.path
    {
        return Ok(path.display().to_string());
    }
    let path = text(value)?;
    open("a path", &path)?;
    Ok(path)
}

/// An argument that a function looks into: no secret may be in it.
fn open(what: &str, argument: &str) -> Result<(), Error> {
    if secret::is_in(argument) {
        return Err(super::secrets::untouchable(what));
    }
    Ok(())
}

fn content(world: &Outside, function: &str, source: &Value) -> Result<String, Error> {
    let path = path_of(source)?;
    world
        .read_text(&path)
        .map(|text| secret::without(&text).into_owned())
        .map_err(|reason| cannot(function, &path, &reason))
}

fn read_json(world: &Outside, source: &Value) -> Result<Value, Error> {
    let text = content(world, "read_json", source)?;
    let json: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| failed(format!("`read_json`: the file is no JSON: {error}")))?;
    Ok(from_outside(json))
}

fn read_yaml(world: &Outside, source: &Value) -> Result<Value, Error> {
    let text = content(world, "read_yaml", source)?;
    let bad = |error| failed(format!("`read_yaml`: the file is no plain YAML: {error}"));
    let mut yaml: serde_yaml::Value = serde_yaml::from_str(&text).map_err(bad)?;
    yaml.apply_merge().map_err(bad)?;
    let json: serde_json::Value = serde_yaml::from_value(yaml).map_err(bad)?;
    Ok(from_outside(json))
}

/// Rows as maps from the header's names to texts.
fn read_csv(world: &Outside, source: &Value) -> Result<Value, Error> {
    let text = content(world, "read_csv", source)?;
    let bad = |error: csv::Error| failed(format!("`read_csv`: {error}"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(bad)?.clone();
    let rows = reader
        .records()
        .map(|row| {
            let row = row.map_err(bad)?;
            let cells = header
                .iter()
                .zip(&row)
                .map(|(name, cell)| (name.to_owned(), Datum::String(cell.to_owned())));
            Ok(Datum::Map(cells.collect::<IndexMap<_, _>>()))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(from_datum(&Datum::List(rows)))
}

fn variable(world: &Outside, name: &str, default: Option<&Value>) -> Result<Value, Error> {
    match (world.env(name), default) {
        (Some(value), _) => Ok(Value::from(secret::without(&value).as_ref())),
        (None, Some(default)) => Ok(default.clone()),
        (None, None) => Err(raise(
            TemplateErrorKind::Failed,
            format!("the environment variable `{name}` is not set"),
            Some(format!("set it, or give a default: `env('{name}', '…')`")),
        )),
    }
}

fn random(world: &Outside, state: &mut State) -> u32 {
    const COUNTER: &str = "kiln random";
    let index = state
        .get_temp(COUNTER)
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0);
    state.set_temp(COUNTER, Value::from(index + 1));
    let salt = state.lookup(SALT);
    let salt = salt.as_ref().and_then(Value::as_str).unwrap_or_default();
    draw("random", world.run_seed(), [salt, &index.to_string()])
}

/// A number below 2^32 that only depends on what it is drawn from.
pub(super) fn draw<'a>(what: &str, run_seed: u64, salts: impl IntoIterator<Item = &'a str>) -> u32 {
    let mut hasher = Hasher::default();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"kiln draw 1");
    part(what.as_bytes());
    part(&run_seed.to_le_bytes());
    for salt in salts {
        part(salt.as_bytes());
    }
    let hex = hasher.finish().0.to_hex();
    u32::from_str_radix(&hex[..8], 16).unwrap_or_default()
}

fn now(world: &Outside, format: Option<&str>) -> Result<String, Error> {
    let now = world.now();
    match format {
        None => Ok(now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
        Some(format) => jiff::fmt::strtime::format(format, &now)
            .map_err(|error| failed(format!("`now` with the format `{format}`: {error}"))),
    }
}
