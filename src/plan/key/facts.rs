//! What a server adds to a key, and what is only remembered of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, Tag};
use super::stale::StaleReason;
use crate::base::NodeId;
use crate::plan::{ServerKind, Upload};
use crate::workflow::Graph;

/// What made a result. Results of one realm never stand for those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Realm {
    /// `ComfyUI`.
    Comfy,
    /// kiln's own server.
    Embedded,
    /// kiln's own server with stand-ins for what it does not have.
    Simulated,
    /// A command on this machine.
    Here,
}

impl Realm {
    /// The realm of a server.
    pub fn of(kind: &ServerKind) -> Self {
        match kind {
            ServerKind::Comfy { .. } | ServerKind::Cloud { .. } => Self::Comfy,
            ServerKind::Embedded { simulate: false } => Self::Embedded,
            ServerKind::Embedded { simulate: true } => Self::Simulated,
            ServerKind::Here => Self::Here,
        }
    }

    /// The realm of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Comfy, Self::Embedded, Self::Simulated, Self::Here]
            .into_iter()
            .find(|realm| realm.name() == name)
    }

    /// Its name in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comfy => "comfy",
            Self::Embedded => "embedded",
            Self::Simulated => "simulated",
            Self::Here => "here",
        }
    }
}

/// A model file as a server tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFact {
    /// The folder it is in, e.g. `checkpoints`.
    pub folder: String,
    /// Bytes.
    pub size: Option<u64>,
    /// When it was changed, milliseconds since 1970.
    pub modified: Option<u64>,
}

/// What is known of the server that a task would run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// What it is.
    pub realm: Realm,
    /// Its version.
    pub version: Option<String>,
    /// Packs that the graph's nodes come from, each with its version; empty where the server does not tell.
    pub packs: BTreeMap<String, String>,
    /// Its model files by the name that inputs take, with `/` between folders. An input that holds such a name uses that model.
    pub models: BTreeMap<String, Vec<ModelFact>>,
    /// Files of its own that a graph has it load, by the value that names them: the hash of the content, or of one that is too large to
    /// be read, what the server calls this version of it.
    pub files: BTreeMap<String, String>,
}

/// Inputs that name a picture, a sound, … on the server itself: an upload, or a result.
pub const LOADERS: &[(&str, &str)] = &[
    ("LoadImage", "image"),
    ("LoadImageMask", "image"),
    ("LoadAudio", "audio"),
    ("LoadVideo", "file"),
    ("LoadLatent", "latent"),
];

/// The values by which a graph names files that nobody sends: the server has them already. Sorted, each once.
pub fn server_files<'a>(graph: &'a Graph, uploads: &[Upload]) -> Vec<&'a str> {
    let is_sent = |id: &NodeId, input: &str| {
        let mut sent = uploads.iter();
        sent.any(|upload| upload.node == *id && upload.input == input)
    };
    let mut found: Vec<&str> = Vec::new();
    for (id, node) in &graph.nodes {
        let of_class = LOADERS
            .iter()
            .filter(|(class, _)| *class == node.class_type);
        for (_, input) in of_class {
            if let Some(serde_json::Value::String(name)) = node.inputs.get(*input)
                && !is_sent(id, input)
            {
                found.push(name);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl ServerFacts {
    /// Nothing is known but what it is.
    pub fn new(realm: Realm) -> Self {
        Self {
            realm,
            version: None,
            packs: BTreeMap::new(),
            models: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// What an earlier task of the same name was told, taken for granted: for a preview that asks no server. Only what was in the key
    /// is known then.
    pub fn assumed(realm: Realm, earlier: &Manifest) -> Self {
        let mut facts = Self::new(realm);
        let mut models: BTreeMap<(String, String), ModelFact> = BTreeMap::new();
        for entry in &earlier.entries {
            let (tag, path, value) = (entry.0, &entry.1, &entry.2);
            match (tag, path.as_slice()) {
                (Tag::Server, _) => facts.version = Some(value.clone()),
                (Tag::Pack, [name]) => {
                    facts.packs.insert(name.clone(), value.clone());
                }
                (Tag::ServerFile, [name]) => {
                    facts.files.insert(name.clone(), value.clone());
                }
                (Tag::Model | Tag::Modified, [folder, name]) => {
                    let model = models
                        .entry((name.clone(), folder.clone()))
                        .or_insert_with(|| ModelFact {
                            folder: folder.clone(),
                            size: None,
                            modified: None,
                        });
                    if tag == Tag::Model {
                        model.size = value.parse().ok();
                    } else {
                        model.modified = value.parse().ok();
                    }
                }
                _ => {}
            }
        }
        for ((name, _), model) in models {
            facts.models.entry(name).or_default().push(model);
        }
        facts
    }

    /// The model files that a graph uses, sorted by folder and name, each once.
    pub(super) fn models_of<'a>(&'a self, graph: &'a Graph) -> Vec<(&'a str, &'a ModelFact)> {
        if self.models.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<(&str, &ModelFact)> = Vec::new();
        for text in graph
            .nodes
            .values()
            .flat_map(|node| node.inputs.values())
            .filter_map(serde_json::Value::as_str)
        {
            let known = match self.models.get_key_value(text) {
                None if text.contains('\\') => {
                    self.models.get_key_value(text.replace('\\', "/").as_str())
                }
                known => known,
            };
            if let Some((name, models)) = known {
                found.extend(models.iter().map(|model| (name.as_str(), model)));
            }
        }
        found.sort_unstable_by_key(|(name, model)| (model.folder.as_str(), *name));
        found.dedup_by_key(|(name, model)| (model.folder.as_str(), *name));
        found
    }

    /// What is to be remembered beside a result of this graph without being in its key.
    pub fn recorded(&self, graph: &Graph) -> Recorded {
        Recorded {
            version: self.version.clone(),
            packs: self.packs.clone(),
            models: self
                .models_of(graph)
                .into_iter()
                .map(|(name, model)| (format!("{}/{name}", model.folder), model.clone()))
                .collect(),
        }
    }
}

/// What a server was when it made a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Packs whose nodes took part, each with its version where that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub packs: BTreeMap<String, String>,
    /// Models that took part, by folder and name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelFact>,
}

impl Recorded {
    /// What is different about the server now. What either side does not know is not compared.
    pub fn differences(&self, now: &Self) -> Vec<StaleReason> {
        let mut out = Vec::new();
        if let (Some(old), Some(new)) = (&self.version, &now.version)
            && old != new
        {
            out.push(StaleReason::Server {
                fact: "version".to_owned(),
                old: Some(old.clone()),
                new: Some(new.clone()),
            });
        }
        for (pack, new) in &now.packs {
            if let Some(old) = self.packs.get(pack)
                && !old.is_empty()
                && !new.is_empty()
                && old != new
            {
                out.push(StaleReason::Server {
                    fact: format!("pack {pack}"),
                    old: Some(old.clone()),
                    new: Some(new.clone()),
                });
            }
        }
        for (name, new) in &now.models {
            let Some(old) = self.models.get(name) else {
                continue;
            };
            if let (Some(old), Some(new)) = (old.modified, new.modified)
                && old != new
            {
                out.push(StaleReason::Server {
                    fact: format!("date of model {name}"),
                    old: Some(super::show::time(old)),
                    new: Some(super::show::time(new)),
                });
            }
        }
        out
    }
}
