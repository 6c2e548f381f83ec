//! Entries, and the two sinks for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::Realm;
use super::workflow::Memo;
use crate::base::{ContentHash, NodeId};
use crate::workflow::Node;

/// The version of the key's encoding. A new one forgets every earlier result.
pub const FORMAT: u32 = 1;

/// Values longer than this are kept by their beginning and their hash: a manifest is for showing what changed.
const LONG: usize = 400;
/// How much of a long value is kept.
const KEPT: usize = 320;

/// What an entry is about. The numbers are part of the key's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tag {
    /// `workflow` or `command`, and the version of what kiln does with it.
    Kind = 1,
    /// What made it: a real server, kiln's own, a rehearsal, this machine.
    Realm = 2,
    /// Node → its class.
    Class = 3,
    /// Node, input → its value.
    Input = 4,
    /// Node, input, place in the value → the content of the file there.
    File = 5,
    /// An output node that runs; none: all.
    Target = 6,
    /// The program, by name or by content.
    Program = 7,
    /// Position → an argument.
    Argument = 8,
    /// Name → a variable of the environment.
    Environment = 9,
    /// What is read from stdin.
    Stdin = 10,
    /// Output name → pattern of its files.
    Collect = 11,
    /// Folder and name of a model file → its size.
    Model = 12,
    /// The server's version.
    Server = 13,
    /// A pack of nodes → its version.
    Pack = 14,
    /// Folder and name of a model file → when it was changed.
    Modified = 15,
    /// A file of the server's own, as an input names it → its content.
    ServerFile = 16,
    /// A plugin that shapes the result → the content of its library.
    Plugin = 17,
    /// Such a plugin → its config.
    PluginConfig = 18,
    /// What a plugin's step is given, by name.
    With = 19,
}

/// Marks a node's digest in the key's encoding.
const NODE: u8 = 0;

/// One thing that a result depends on: what, where, value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry(pub Tag, pub Vec<String>, pub String);

/// Everything that a result depends on, kept beside it for comparison with a later task of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The key.
    pub key: ContentHash,
    /// What is in it; long values are shortened.
    pub entries: Vec<Entry>,
    /// Node → what people call it. Not in the key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Content hash → the name of a file that has it. Not in the key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The pipeline's params, shortened. Not in the key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl Manifest {
    /// The realm that made it, where the key tells.
    pub fn realm(&self) -> Option<Realm> {
        let entry = self.entries.iter().find(|entry| entry.0 == Tag::Realm)?;
        Realm::of_name(&entry.2)
    }
}

/// Where entries go.
pub(super) trait Sink {
    fn entry(&mut self, tag: Tag, path: &[&str], value: &[u8]);

    /// Begins a node; `false` when its entries are not wanted, and the node is not ended then.
    fn begin_node(&mut self, id: &NodeId, node: &Node, plain: bool) -> bool;

    fn end_node(&mut self) {}

    /// The name of a file, for people.
    fn file(&mut self, _hash: &ContentHash, _name: &str) {}
}

/// Hashes entries; a node's are hashed by themselves first, so that nodes which all tasks of a step share are hashed once.
pub(super) struct HashSink<'a> {
    whole: Vec<u8>,
    node: Option<(NodeId, Vec<u8>)>,
    memo: Option<&'a Memo>,
}

impl<'a> HashSink<'a> {
    pub(super) fn new(memo: Option<&'a Memo>) -> Self {
        let mut whole = b"kiln task key\0".to_vec();
        whole.extend_from_slice(&FORMAT.to_le_bytes());
        Self {
            whole,
            node: None,
            memo,
        }
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash::of(&self.whole)
    }

    fn digest(&mut self, id: &NodeId, digest: &str) {
        self.whole.push(NODE);
        part(&mut self.whole, id.as_str().as_bytes());
        part(&mut self.whole, digest.as_bytes());
    }
}

impl Sink for HashSink<'_> {
    fn entry(&mut self, tag: Tag, path: &[&str], value: &[u8]) {
        let bytes = match &mut self.node {
            Some((_, bytes)) => bytes,
            None => &mut self.whole,
        };
        bytes.push(tag as u8);
        length(bytes, path.len());
        for step in path {
            part(bytes, step.as_bytes());
        }
        part(bytes, value);
    }

    fn begin_node(&mut self, id: &NodeId, node: &Node, plain: bool) -> bool {
        if plain && let Some(digest) = self.memo.and_then(|memo| memo.digest(id, node)) {
            self.digest(id, digest);
            return false;
        }
        self.node = Some((id.clone(), Vec::new()));
        true
    }

    fn end_node(&mut self) {
        if let Some((id, bytes)) = self.node.take() {
            let digest = ContentHash::of(&bytes).to_hex();
            self.digest(&id, &digest);
        }
    }
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

/// Keeps entries, and what people call things.
pub(super) struct KeepSink {
    manifest: Manifest,
}

impl KeepSink {
    pub(super) fn new(key: ContentHash, params: BTreeMap<String, String>) -> Self {
        Self {
            manifest: Manifest {
                format: FORMAT,
                key,
                entries: Vec::new(),
                labels: BTreeMap::new(),
                files: BTreeMap::new(),
                params,
            },
        }
    }

    pub(super) fn finish(self) -> Manifest {
        self.manifest
    }
}

impl Sink for KeepSink {
    fn entry(&mut self, tag: Tag, path: &[&str], value: &[u8]) {
        let path = path.iter().map(|&step| step.to_owned()).collect();
        let value = shortened(&String::from_utf8_lossy(value));
        self.manifest.entries.push(Entry(tag, path, value));
    }

    fn begin_node(&mut self, id: &NodeId, node: &Node, _: bool) -> bool {
        if let Some(title) = node.title() {
            self.manifest.labels.insert(id.0.clone(), title.to_owned());
        }
        true
    }

    fn file(&mut self, hash: &ContentHash, name: &str) {
        self.manifest.files.insert(hash.to_hex(), name.to_owned());
    }
}

/// A long value by its beginning and its hash.
pub(super) fn shortened(value: &str) -> String {
    if value.len() <= LONG {
        return value.to_owned();
    }
    let mut end = KEPT;
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let hash = ContentHash::of(value.as_bytes()).to_hex();
    format!("{}… #{}", &value[..end], &hash[..16])
}

/// The digest of one node by itself, as [`HashSink`] makes it.
pub(super) fn digest_of(write: impl FnOnce(&mut HashSink<'_>)) -> Option<String> {
    let mut sink = HashSink::new(None);
    sink.node = Some((NodeId(String::new()), Vec::new()));
    write(&mut sink);
    let (_, bytes) = sink.node.take()?;
    Some(ContentHash::of(&bytes).to_hex())
}
