//! What plugins answer, taken apart. Nothing of it is believed: files lie in the call's folder or do not count, and names are made safe.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fault::Fault;
use super::order::Answer;
use crate::artifact::Datum;
use crate::base::{safe_name, secret, valid_id};

/// Artifacts that one answer may hold.
const MANY: usize = 100_000;

/// What an artifact is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A file in the call's folder.
    File(PathBuf),
    /// A text.
    Text(String),
}

/// An artifact that a plugin made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What it is made of.
    pub content: Content,
    /// What it is called; empty for a text.
    pub name: String,
    /// The output it belongs to.
    pub output: Option<String>,
    /// What else is to be known of it.
    pub meta: Map<String, Value>,
}

/// What becomes of a job's results.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The artifact at this position stays.
    Keep(usize),
    /// The artifact at this position becomes another one.
    Replace(usize, Made),
    /// One more.
    Add(Made),
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Wrong(why.into()))
}

fn list(answer: &Answer) -> Result<Option<Vec<&Value>>, Fault> {
    let named = match &answer.reply {
        Value::Null => None,
        Value::Object(members) => match members.get("artifacts") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(items),
            Some(_) => return wrong("has `artifacts` that are no list"),
        },
        _ => return wrong("is no JSON object"),
    };
    if named.is_none() && answer.added.is_empty() {
        return Ok(None);
    }
    let all: Vec<&Value> = named.into_iter().flatten().collect();
    if all.len() + answer.added.len() > MANY {
        return wrong(format!("has more than {MANY} artifacts"));
    }
    Ok(Some(all))
}

/// The artifacts that a task of a step made.
///
/// # Errors
/// When the answer is no such list, or a file of it does not lie in the folder.
pub fn artifacts(answer: &Answer, folder: &Path) -> Result<Vec<Made>, Fault> {
    let listed = list(answer)?.unwrap_or_default();
    let all = answer.added.iter().chain(listed);
    all.map(|item| made(item, folder)).collect()
}

/// What becomes of `count` results; `None`: they stay as they are.
///
/// # Errors
/// When the answer is no such list, names a result that is not there, or a file of it does not lie in the folder.
pub fn changes(answer: &Answer, count: usize, folder: &Path) -> Result<Option<Vec<Change>>, Fault> {
    let said_nothing = answer.reply.get("artifacts").is_none_or(Value::is_null);
    let Some(listed) = list(answer)? else {
        return Ok(None);
    };
    let mut seen = vec![false; count];
    let mut position = |value: &Value| match value.as_u64().and_then(|at| usize::try_from(at).ok())
    {
        Some(at) if at < count && !std::mem::replace(&mut seen[at], true) => Ok(at),
        Some(at) if at < count => wrong(format!("names the artifact {at} twice")),
        _ => wrong(format!("names the artifact {value}, and there are {count}")),
    };
    let mut all = Vec::new();
    if said_nothing {
        // Only added to: everything else stays.
        all.extend((0..count).map(Change::Keep));
    }
    for item in listed {
        all.push(match (item.get("keep"), item.get("replace")) {
            (Some(at), _) => Change::Keep(position(at)?),
            (None, Some(at)) => Change::Replace(position(at)?, made(item, folder)?),
            (None, None) => Change::Add(made(item, folder)?),
        });
    }
    for item in &answer.added {
        all.push(Change::Add(made(item, folder)?));
    }
    Ok(Some(all))
}

fn made(item: &Value, folder: &Path) -> Result<Made, Fault> {
    let Some(members) = item.as_object() else {
        return wrong("has an artifact that is no JSON object");
    };
    let text = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => wrong(format!("has an artifact whose `{name}` is no string")),
    };
    let output = text("output")?.map(str::to_owned);
    if let Some(bad) = output.as_ref().filter(|name| !valid_id(name)) {
        return wrong(format!(
            "has an artifact of the output `{bad}`, which cannot be a name"
        ));
    }
    let meta = match members.get("meta") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(meta)) => meta.clone(),
        Some(_) => return wrong("has an artifact whose `meta` is no JSON object"),
    };
    let (content, name) = match (text("path")?, text("text")?) {
        (Some(path), None) => {
            let path = inside(path, folder)?;
            let name = match text("name")? {
                Some(name) => safe_name(name),
                None => safe_name(&path.file_name().unwrap_or_default().to_string_lossy()),
            };
            (Content::File(path), name)
        }
        (None, Some(said)) => (
            Content::Text(secret::without(said).into_owned()),
            String::new(),
        ),
        (Some(_), Some(_)) => return wrong("has an artifact with both a `path` and a `text`"),
        (None, None) => return wrong("has an artifact with neither a `path` nor a `text`"),
    };
    Ok(Made {
        content,
        name,
        output,
        meta,
    })
}

/// The file that a path means, when it lies in the folder and is one.
fn inside(path: &str, folder: &Path) -> Result<PathBuf, Fault> {
    let joined = folder.join(path);
    let Ok(real) = joined.canonicalize() else {
        return wrong(format!("names the file `{path}`, which is not there"));
    };
    let folder = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    if !real.starts_with(&folder) {
        return wrong(format!(
            "names the file `{path}`, which does not lie in the call's folder"
        ));
    }
    if !real.is_file() {
        return wrong(format!("names `{path}`, which is no file"));
    }
    Ok(real)
}

/// The graph to submit instead; `None`: it stays as it is.
///
/// # Errors
/// When the answer is neither.
pub fn graph(answer: Answer) -> Result<Option<Value>, Fault> {
    match answer.reply {
        Value::Null => Ok(None),
        Value::Object(mut members) => match members.remove("graph") {
            None | Some(Value::Null) => Ok(None),
            Some(graph @ Value::Object(_)) => Ok(Some(graph)),
            Some(_) => wrong("has a `graph` that is no JSON object"),
        },
        _ => wrong("is no JSON object"),
    }
}

/// The value of a function or a filter.
///
/// # Errors
/// When the answer has none.
pub fn value(answer: Answer) -> Result<Datum, Fault> {
    match answer.reply {
        Value::Object(mut members) => match members.remove("value") {
            Some(value) => Ok(Datum::from(value)),
            None => wrong("has no `value`"),
        },
        _ => wrong("is no JSON object"),
    }
}
