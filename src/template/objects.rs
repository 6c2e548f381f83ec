//! Files in expressions: the user's own, and those that tasks made.

use std::cmp::Ordering;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use minijinja::Error;
use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, Value};

use super::error::{TemplateErrorKind, raise};
use super::value::from_outside;
use crate::artifact::{Artifact, FileValue, Kind};
use crate::base::secret::without;

/// What a file prints when something joins it to text behind the formatter's back (`~`, `join`): no text of a user's contains it,
/// so that it is found, and refused, in the result.
pub(super) const FILE_MARK: &str = "\u{f8fe}\u{e01d}";
const FILE_MARK_MIDDLE: char = '\u{f8fd}';
const FILE_MARK_END: char = '\u{f8ff}';

pub(super) const FILE_HELP: &str = "let the value be the file alone, as in `image: \"{{ … }}\"`, or take a part of it: `.name`, `.path`";

/// The attributes of a user's file.
pub(super) const FILE_ATTRIBUTES: &[&str] = &["path", "name", "kind", "size"];
/// The attributes of a task's file.
pub const ARTIFACT_ATTRIBUTES: &[&str] = &[
    "path", "name", "kind", "node", "meta", "task", "output", "size",
];

/// A file of the user's.
#[derive(Debug)]
pub(super) struct FileObject(pub(super) FileValue);

/// A file that a task made.
#[derive(Debug)]
pub(super) struct ArtifactObject(pub(super) Arc<Artifact>);

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The error for a file inside text, by the file's name.
pub(super) fn file_named_in_text(name: &str) -> Error {
    raise(
        TemplateErrorKind::FileInText,
        format!("the file `{name}` stands inside longer text"),
        Some(FILE_HELP.to_owned()),
    )
}

/// The error for text that a file was joined to.
pub(super) fn file_in_text(text: &str) -> Error {
    let name = text
        .split_once(FILE_MARK)
        .and_then(|(_, rest)| rest.split_once(FILE_MARK_MIDDLE))
        .map_or("", |(name, _)| name);
    file_named_in_text(name)
}

/// What a file is inside text until the text is done: its name, and its path.
pub(super) fn mark(name: &str, path: &Path) -> String {
    format!(
        "{FILE_MARK}{name}{FILE_MARK_MIDDLE}{}{FILE_MARK_END}",
        path.display()
    )
}

/// Text with paths in the place of files.
pub(super) fn paths_in_text(text: &str) -> String {
    let mut parts = text.split(FILE_MARK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (file, rest) = part.split_once(FILE_MARK_END).unwrap_or((part, ""));
        out.push_str(
            file.split_once(FILE_MARK_MIDDLE)
                .map_or(file, |(_, path)| path),
        );
        out.push_str(rest);
    }
    out
}

/// The mark of a value that is a file.
pub(super) fn mark_of(value: &Value) -> Option<String> {
    if let Some(file) = value.downcast_object_ref::<FileObject>() {
        return Some(mark(&file_name(&file.0.path), &file.0.path));
    }
    let artifact = &value.downcast_object_ref::<ArtifactObject>()?.0;
    Some(mark(
        &without(&artifact.name),
        artifact.path.as_deref().unwrap_or(Path::new("")),
    ))
}

impl Object for FileObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = file_name(&self.0.path);
        Some(match key.as_str()? {
            "path" => Value::from(self.0.path.display().to_string()),
            "kind" => Value::from(Kind::of_name(&name).name()),
            "name" => Value::from(name),
            "size" => Value::from(self.0.size),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        Some(self.0.path.cmp(&other.0.path))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mark(&file_name(&self.0.path), &self.0.path))
    }
}

impl Object for ArtifactObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let artifact = &self.0;
        Some(match key.as_str()? {
            "path" => Value::from(
                artifact
                    .path
                    .as_ref()
                    .map(|p| p.display().to_string())
                    .unwrap_or_default(),
            ),
            "name" => Value::from(without(&artifact.name).into_owned()),
            "kind" => Value::from(artifact.kind.name()),
            "node" => Value::from(artifact.node.as_str()),
            "task" => Value::from(artifact.task.as_str()),
            "output" => Value::from(artifact.output.as_deref()),
            "size" => Value::from(artifact.size),
            "meta" => from_outside(serde_json::Value::Object(artifact.meta.clone())),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        let key = |a: &Artifact| (a.task.clone(), a.index, a.path.clone());
        Some(key(&self.0).cmp(&key(&other.0)))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.path.as_deref().unwrap_or(Path::new(""));
        f.write_str(&mark(&without(&self.0.name), path))
    }
}
