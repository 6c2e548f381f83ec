//! The key of a workflow task.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::canonical;
use super::facts::{ServerFacts, server_files};
use super::manifest::{HashSink, KeepSink, Manifest, Sink, Tag, digest_of};
use super::plugin::write_shape;
use crate::artifact::Datum;
use crate::base::{ContentHash, NodeId};
use crate::plan::{CacheMode, Plan, Rendered, Upload, Uploadable};
use crate::plugin::Shape;
use crate::workflow::{Graph, Node, SharedNode};

/// Rises when kiln does something else with a workflow, so that earlier results no longer stand for new ones.
const KIND: &[u8] = b"workflow 1";

/// Digests of the nodes that a step's tasks share.
#[derive(Debug, Default)]
pub struct Memo {
    nodes: HashMap<NodeId, (SharedNode, String)>,
}

impl Memo {
    /// The digests of a step's nodes as they are before a task's values are filled in.
    pub fn of(graph: &Graph) -> Self {
        let nodes = graph.nodes.iter().filter_map(|(id, node)| {
            let digest = digest_of(|sink| write_node(sink, id, node, &[], &mut Vec::new()))?;
            Some((id.clone(), (node.clone(), digest)))
        });
        Self {
            nodes: nodes.collect(),
        }
    }

    /// The digest of a node, when it is still what it was.
    pub(super) fn digest(&self, id: &NodeId, node: &Node) -> Option<&str> {
        let (known, digest) = self.nodes.get(id)?;
        let same = std::ptr::eq(&raw const **known, node)
            || known.class_type == node.class_type && known.inputs == node.inputs;
        same.then_some(digest.as_str())
    }
}

/// The key of a workflow task. To be taken before [`Rendered::fill`].
pub fn of_workflow(
    rendered: &Rendered,
    mode: CacheMode,
    facts: &ServerFacts,
    memo: Option<&Memo>,
) -> ContentHash {
    hash(&Inputs::of(rendered), mode, facts, memo)
}

/// The key of a workflow task with everything that is in it.
pub fn workflow_manifest(
    plan: &Plan,
    rendered: &Rendered,
    mode: CacheMode,
    facts: &ServerFacts,
) -> Manifest {
    manifest(&Inputs::of(rendered), mode, facts, params(plan))
}

/// What of a rendered graph counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs<'a> {
    pub(super) graph: &'a Graph,
    pub(super) uploads: &'a [Upload],
    pub(super) targets: &'a [NodeId],
    pub(super) plugins: &'a [Shape],
}

impl<'a> Inputs<'a> {
    fn of(rendered: &'a Rendered) -> Self {
        Self {
            graph: &rendered.graph,
            uploads: &rendered.uploads,
            targets: &rendered.targets,
            plugins: &rendered.shaped_by,
        }
    }
}

pub(super) fn hash(
    inputs: &Inputs<'_>,
    mode: CacheMode,
    facts: &ServerFacts,
    memo: Option<&Memo>,
) -> ContentHash {
    let mut sink = HashSink::new(memo);
    write(&mut sink, inputs, mode, facts);
    sink.finish()
}

pub(super) fn manifest(
    inputs: &Inputs<'_>,
    mode: CacheMode,
    facts: &ServerFacts,
    params: BTreeMap<String, String>,
) -> Manifest {
    let mut sink = KeepSink::new(hash(inputs, mode, facts, None), params);
    write(&mut sink, inputs, mode, facts);
    sink.finish()
}

/// The plan's params, for telling which of them changed.
pub(super) fn params(plan: &Plan) -> BTreeMap<String, String> {
    plan.params
        .iter()
        .map(|(name, param)| (name.clone(), shown(&param.value)))
        .collect()
}

/// A param's value; a file by its name and content.
fn shown(datum: &Datum) -> String {
    match datum {
        Datum::File(file) => {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            format!("{name} ({})", &file.hash.to_hex()[..8])
        }
        other => {
            let mut out = Vec::new();
            canonical::write(&other.to_json(), &mut out);
            super::manifest::shortened(&String::from_utf8_lossy(&out))
        }
    }
}

fn write(sink: &mut impl Sink, inputs: &Inputs<'_>, mode: CacheMode, facts: &ServerFacts) {
    sink.entry(Tag::Kind, &[], KIND);
    sink.entry(Tag::Realm, &[], facts.realm.name().as_bytes());
    let mut nodes: Vec<(&NodeId, &SharedNode)> = inputs.graph.nodes.iter().collect();
    nodes.sort_unstable_by_key(|(id, _)| *id);
    let mut scratch = Vec::new();
    for (id, node) in nodes {
        let uploads: Vec<&Upload> = inputs.uploads.iter().filter(|u| u.node == *id).collect();
        if sink.begin_node(id, node, uploads.is_empty()) {
            write_node(sink, id, node, &uploads, &mut scratch);
            sink.end_node();
        }
    }
    let mut targets: Vec<&str> = inputs.targets.iter().map(NodeId::as_str).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        sink.entry(Tag::Target, &[target], b"");
    }
    for shape in inputs.plugins {
        write_shape(sink, shape);
    }
    write_facts(sink, inputs, mode, facts);
}

fn write_node(
    sink: &mut impl Sink,
    id: &NodeId,
    node: &Node,
    uploads: &[&Upload],
    scratch: &mut Vec<u8>,
) {
    sink.entry(Tag::Class, &[id.as_str()], node.class_type.as_bytes());
    let mut inputs: Vec<(&String, &Value)> = node.inputs.iter().collect();
    inputs.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in inputs {
        let mut files: Vec<&Upload> = uploads
            .iter()
            .filter(|u| u.input == *name)
            .copied()
            .collect();
        scratch.clear();
        if files.is_empty() {
            canonical::write(value, scratch);
        } else {
            // Each file's place is empty in the value, and stands in an entry of its own.
            let mut value = value.clone();
            for file in &files {
                if let Some(place) = value.pointer_mut(&file.pointer) {
                    *place = Value::Null;
                }
            }
            canonical::write(&value, scratch);
        }
        sink.entry(Tag::Input, &[id.as_str(), name], scratch);
        files.sort_unstable_by_key(|file| &file.pointer);
        for file in files {
            let (hash, label) = content(&file.file);
            let path = [id.as_str(), name, &file.pointer];
            sink.entry(Tag::File, &path, hash.to_hex().as_bytes());
            sink.file(&hash, &label);
        }
    }
}

fn content(file: &Uploadable) -> (ContentHash, String) {
    match file {
        Uploadable::File(file) => {
            let name = file.path.file_name().unwrap_or_default();
            (file.hash, name.to_string_lossy().into_owned())
        }
        Uploadable::Artifact(artifact) => (artifact.hash, artifact.name.clone()),
    }
}

fn write_facts(sink: &mut impl Sink, inputs: &Inputs<'_>, mode: CacheMode, facts: &ServerFacts) {
    let strict = mode == CacheMode::Strict;
    if !facts.files.is_empty() {
        for name in server_files(inputs.graph, inputs.uploads) {
            if let Some(content) = facts.files.get(name) {
                sink.entry(Tag::ServerFile, &[name], content.as_bytes());
            }
        }
    }
    for (name, model) in facts.models_of(inputs.graph) {
        let path = [model.folder.as_str(), name];
        if let Some(size) = model.size {
            sink.entry(Tag::Model, &path, size.to_string().as_bytes());
        }
        if let Some(modified) = model.modified.filter(|_| strict) {
            sink.entry(Tag::Modified, &path, modified.to_string().as_bytes());
        }
    }
    if strict {
        let version = facts.version.as_deref().unwrap_or_default();
        sink.entry(Tag::Server, &[], version.as_bytes());
        for (pack, version) in &facts.packs {
            sink.entry(Tag::Pack, &[pack], version.as_bytes());
        }
    }
}
