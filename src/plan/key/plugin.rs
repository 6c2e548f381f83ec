//! The key of a task that a plugin carries out, and what plugins add to the keys of jobs that they shape.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::canonical;
use super::facts::Realm;
use super::manifest::{HashSink, KeepSink, Manifest, Sink, Tag};
use super::workflow::params;
use crate::artifact::Datum;
use crate::base::ContentHash;
use crate::plan::{Plan, RenderedPlugin};
use crate::plugin::Shape;

/// Rises when kiln asks plugins in another way, so that earlier results no longer stand for new ones.
const KIND: &[u8] = b"plugin 1";

/// The key of a task that a plugin carries out.
pub fn of_plugin(rendered: &RenderedPlugin) -> ContentHash {
    let mut sink = HashSink::new(None);
    write(&mut sink, rendered);
    sink.finish()
}

/// Everything that is in its key.
pub fn plugin_manifest(plan: &Plan, rendered: &RenderedPlugin) -> Manifest {
    manifest(rendered, params(plan))
}

fn manifest(rendered: &RenderedPlugin, params: BTreeMap<String, String>) -> Manifest {
    let mut sink = KeepSink::new(of_plugin(rendered), params);
    write(&mut sink, rendered);
    sink.finish()
}

fn write(sink: &mut impl Sink, rendered: &RenderedPlugin) {
    sink.entry(Tag::Kind, &[], KIND);
    sink.entry(Tag::Realm, &[], Realm::Here.name().as_bytes());
    write_shape(sink, &rendered.shape);
    let mut with: Vec<(&String, &Datum)> = rendered.with.iter().collect();
    with.sort_unstable_by_key(|(key, _)| *key);
    let mut scratch = Vec::new();
    for (key, value) in with {
        scratch.clear();
        canonical::write(&by_content(value, sink), &mut scratch);
        sink.entry(Tag::With, &[key], &scratch);
    }
}

/// A plugin by the content of its library and its config.
pub(super) fn write_shape(sink: &mut impl Sink, shape: &Shape) {
    sink.entry(Tag::Plugin, &[&shape.name], shape.hash.as_bytes());
    let mut config = Vec::new();
    canonical::write(&shape.config, &mut config);
    sink.entry(Tag::PluginConfig, &[&shape.name], &config);
}

/// A value with the content of files in the place of where they lie, and all else that a plugin is told of them: it may draw a name, or go
/// by an extension.
fn by_content(value: &Datum, sink: &mut impl Sink) -> Value {
    match value {
        Datum::File(one) => {
            let name = one.path.file_name().unwrap_or_default().to_string_lossy();
            sink.file(&one.hash, &name);
            json!({ "file": one.hash.to_hex(), "name": name })
        }
        Datum::Artifact(one) => {
            if let Some(text) = one.as_text() {
                return Value::String(text.to_owned());
            }
            sink.file(&one.hash, &one.name);
            json!({
                "file": one.hash.to_hex(), "name": one.name, "node": one.node, "output": one.output,
                "step": one.step, "task": one.task, "meta": one.meta,
            })
        }
        Datum::List(items) => items.iter().map(|item| by_content(item, sink)).collect(),
        Datum::Map(entries) => entries
            .iter()
            .map(|(key, item)| (key.clone(), by_content(item, sink)))
            .collect(),
        plain => plain.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use indexmap::IndexMap;

    use super::*;
    use crate::artifact::{Artifact, FileValue};

    fn key(value: Datum) -> ContentHash {
        of_plugin(&RenderedPlugin {
            plugin: "sheet".to_owned(),
            shape: Shape {
                name: "sheet".to_owned(),
                hash: "00".to_owned(),
                config: Value::Null,
            },
            with: IndexMap::from([("image".to_owned(), value)]),
            files: Vec::new(),
        })
    }

    fn artifact(change: impl FnOnce(&mut Artifact)) -> Datum {
        let mut artifact = Artifact {
            name: "a.png".to_owned(),
            path: Some(PathBuf::from("/one/a.png")),
            ..Artifact::blank("draw".into(), "draw[i=0]".into(), "9".into())
        };
        change(&mut artifact);
        Datum::Artifact(Arc::new(artifact))
    }

    #[test]
    fn all_that_a_plugin_is_told_of_a_result_is_in_the_key_but_where_it_lies() {
        let before = key(artifact(|_| ()));
        let moved = key(artifact(|one| one.path = Some(PathBuf::from("/two/a.png"))));
        assert_eq!(before, moved);
        let changes: [fn(&mut Artifact); 7] = [
            |one| one.name = "b.png".to_owned(),
            |one| one.task = "draw[i=1]".into(),
            |one| one.step = "paint".into(),
            |one| one.node = "8".into(),
            |one| one.output = Some("main".to_owned()),
            |one| drop(one.meta.insert("seed".to_owned(), json!(1))),
            |one| one.hash = ContentHash::of(b"another"),
        ];
        for change in changes {
            assert_ne!(before, key(artifact(change)));
        }
    }

    #[test]
    fn all_that_a_plugin_is_told_of_a_file_is_in_the_key_but_where_it_lies() {
        let file = |path: &str| {
            let hash = ContentHash::of(b"mark");
            let path = PathBuf::from(path);
            key(Datum::File(FileValue {
                path,
                hash,
                size: 4,
            }))
        };
        assert_eq!(file("/one/a.png"), file("/two/a.png"));
        assert_ne!(file("/one/a.png"), file("/one/b.png"));
    }
}
