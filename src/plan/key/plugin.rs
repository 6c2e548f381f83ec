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

/// A value with the content of files in the place of where they lie. The extension stays, since plugins go by it.
fn by_content(value: &Datum, sink: &mut impl Sink) -> Value {
    let mut file = |hash: &ContentHash, name: &str| {
        sink.file(hash, name);
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        json!({ "file": format!("{hash}.{}", extension.to_ascii_lowercase()) })
    };
    match value {
        Datum::File(one) => {
            let name = one.path.file_name().unwrap_or_default().to_string_lossy();
            file(&one.hash, &name)
        }
        Datum::Artifact(one) => match one.as_text() {
            Some(text) => Value::String(text.to_owned()),
            None => file(&one.hash, &one.name),
        },
        Datum::List(items) => items.iter().map(|item| by_content(item, sink)).collect(),
        Datum::Map(entries) => entries
            .iter()
            .map(|(key, item)| (key.clone(), by_content(item, sink)))
            .collect(),
        plain => plain.to_json(),
    }
}
