//! What a server is, as far as keys and records want to know.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::catalog::Catalog;
use crate::client::{Client, ClientError};
use crate::plan::Rendered;
use crate::plan::key::{ModelFact, Realm, ServerFacts, server_files};
use crate::protocol::{FileRef, StandIn};
use crate::servers::{Endpoint, EndpointKind};
use crate::workflow::Graph;

/// Model folders that are asked for at a time.
const AT_ONCE: usize = 8;

/// Files of a server's own up to this size are read, so that their content decides; of larger ones, what the server calls them.
const READ: u64 = 32 << 20;

/// What model files are called.
const MODELS: &[&str] = &[
    "safetensors",
    "sft",
    "ckpt",
    "pt",
    "pt2",
    "pth",
    "bin",
    "pkl",
    "gguf",
    "onnx",
    "engine",
];

/// What is in a file of a server's own, once it was asked for.
type Content = Arc<OnceCell<Option<String>>>;

pub(super) type Models = BTreeMap<String, Vec<ModelFact>>;

/// What an address leads to: a rehearsal on one of kiln's own servers never satisfies a real run.
pub(super) fn realm_of(endpoint: &Endpoint) -> Realm {
    match endpoint.info().and_then(|info| info.stand_in) {
        None => Realm::Comfy,
        Some(StandIn::Embedded) => Realm::Embedded,
        Some(StandIn::Simulated) => Realm::Simulated,
    }
}

/// What the servers of a run told of themselves; each is asked for its models once, and only when a graph uses one.
#[derive(Debug, Default)]
pub(super) struct Facts {
    models: Mutex<HashMap<String, Arc<OnceCell<Arc<Models>>>>>,
    /// What is in files of the servers' own, by address and name.
    files: Mutex<HashMap<(String, String), Content>>,
}

impl Facts {
    /// What is to be known of the server of a graph. A server that does not tell is one of which nothing is known.
    pub(super) async fn of(
        &self,
        endpoint: &Endpoint,
        catalog: &Catalog,
        rendered: &Rendered,
    ) -> ServerFacts {
        if let Some(facts) = self.at_hand(endpoint, catalog, rendered) {
            return facts;
        }
        let graph = &rendered.graph;
        let mut facts = told(endpoint, catalog, graph);
        if uses_models(graph) {
            let cell = self.models(endpoint);
            let listed = cell.get_or_try_init(async || list(endpoint.client()).await.map(Arc::new));
            let models = listed.await.cloned().unwrap_or_default();
            facts = with_models(facts, &models, graph);
        }
        for name in server_files(graph, &rendered.uploads) {
            if let Some(content) = self.file(endpoint, name).await {
                facts.files.insert(name.to_owned(), content);
            }
        }
        facts
    }

    /// As [`Facts::of`], unless the server would have to be asked.
    pub(super) fn at_hand(
        &self,
        endpoint: &Endpoint,
        catalog: &Catalog,
        rendered: &Rendered,
    ) -> Option<ServerFacts> {
        let graph = &rendered.graph;
        let facts = told(endpoint, catalog, graph);
        if !is_away(endpoint) {
            return Some(facts);
        }
        if server_files(graph, &rendered.uploads)
            .into_iter()
            .next()
            .is_some()
        {
            return None;
        }
        if !uses_models(graph) {
            return Some(facts);
        }
        let cell = self.models(endpoint);
        Some(with_models(facts, cell.get()?, graph))
    }

    async fn file(&self, endpoint: &Endpoint, name: &str) -> Option<String> {
        let cell = {
            let mut known = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (endpoint.url.clone(), name.to_owned());
            Arc::clone(known.entry(key).or_default())
        };
        let read = cell.get_or_try_init(async || file_of(endpoint.client(), name).await);
        read.await.ok().cloned().flatten()
    }

    fn models(&self, endpoint: &Endpoint) -> Arc<OnceCell<Arc<Models>>> {
        let mut known = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(endpoint.url.clone()).or_default())
    }
}

/// Whether somebody else may change its files and models.
fn is_away(endpoint: &Endpoint) -> bool {
    matches!(endpoint.kind, EndpointKind::Comfy | EndpointKind::Cloud)
}

/// Whether it paints stand-ins for what it cannot compute.
pub(super) fn is_simulated(endpoint: &Endpoint) -> bool {
    realm(endpoint) == Realm::Simulated
}

fn realm(endpoint: &Endpoint) -> Realm {
    match endpoint.kind {
        EndpointKind::Here => Realm::Here,
        EndpointKind::Embedded { simulate: false } => Realm::Embedded,
        EndpointKind::Embedded { simulate: true } => Realm::Simulated,
        EndpointKind::Comfy | EndpointKind::Cloud => realm_of(endpoint),
    }
}

/// What the server told when it was connected.
fn told(endpoint: &Endpoint, catalog: &Catalog, graph: &Graph) -> ServerFacts {
    let mut facts = ServerFacts::new(realm(endpoint));
    facts.version = endpoint.info().map(|info| info.version.clone());
    facts.packs = packs(catalog, graph);
    facts
}

/// Only the models that the graph names: a server may have thousands.
fn with_models(mut facts: ServerFacts, models: &Models, graph: &Graph) -> ServerFacts {
    let named = texts(graph).map(|text| text.replace('\\', "/"));
    let named: std::collections::HashSet<String> = named.collect();
    let used = models.iter().filter(|(name, _)| named.contains(*name));
    facts.models = used
        .map(|(name, model)| (name.clone(), model.clone()))
        .collect();
    facts
}

/// What is in a file of a server's own, as loaders name it; `None` when it has none.
pub(super) async fn file_of(client: &Client, name: &str) -> Result<Option<String>, ClientError> {
    client.content_of(&FileRef::named(name), READ).await
}

/// The models of a server; `None` when it does not answer.
pub(super) async fn models_of(client: &Client) -> Option<Models> {
    list(client).await.ok()
}

async fn list(client: &Client) -> Result<Models, ClientError> {
    let folders = client.models().await?;
    let listed: Vec<(String, Vec<crate::client::ModelFile>)> = stream::iter(folders)
        .map(async |folder| {
            let files = client.model_files(&folder).await?;
            Ok::<_, ClientError>((folder, files))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut models = Models::new();
    for (folder, files) in listed {
        for file in files {
            let fact = ModelFact {
                folder: folder.clone(),
                size: file.size,
                modified: file.modified,
            };
            let name = file.name.replace('\\', "/");
            models.entry(name).or_default().push(fact);
        }
    }
    Ok(models)
}

fn texts(graph: &Graph) -> impl Iterator<Item = &str> {
    graph
        .nodes
        .values()
        .flat_map(|node| node.inputs.values())
        .filter_map(serde_json::Value::as_str)
}

fn uses_models(graph: &Graph) -> bool {
    texts(graph).any(|text| {
        text.rsplit_once('.')
            .is_some_and(|(_, extension)| MODELS.contains(&extension.to_ascii_lowercase().as_str()))
    })
}

/// The packs that the graph's nodes come from. Servers do not tell their versions.
fn packs(catalog: &Catalog, graph: &Graph) -> BTreeMap<String, String> {
    graph
        .nodes
        .values()
        .filter_map(|node| catalog.node(&node.class_type)?.python_module.as_deref())
        .filter_map(|module| module.strip_prefix("custom_nodes."))
        .map(|module| module.split('.').next().unwrap_or(module))
        .map(|pack| (pack.to_owned(), String::new()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;
    use serde_json::json;

    fn graph(inputs: &serde_json::Value) -> Graph {
        serde_json::from_value(json!({"4": {"class_type": "X", "inputs": inputs}})).unwrap()
    }

    #[test]
    fn a_graph_uses_models_when_an_input_names_such_a_file() {
        assert!(uses_models(&graph(
            &json!({"ckpt_name": "sub\\SD15.Safetensors"})
        )));
        assert!(!uses_models(&graph(
            &json!({"image": "a.png", "n": 3, "text": "no. pt"})
        )));
    }

    #[test]
    fn packs_are_told_by_the_nodes_of_the_graph() {
        let info = json!({
            "X": {"input": {}, "output": [], "python_module": "custom_nodes.Pack-A.nodes"},
            "Y": {"input": {}, "output": [], "python_module": "custom_nodes.Other"}
        });
        let (catalog, _) = Catalog::from_object_info(&info);
        let found = packs(&catalog, &graph(&json!({})));
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["Pack-A"]);
    }

    #[tokio::test]
    async fn a_server_that_lists_no_models_is_one_of_which_none_is_known() {
        let own = embedded::start(embedded::Options::default()).await.unwrap();
        let client = Client::new("own".into(), &own.url()).unwrap();
        assert!(
            list(&client)
                .await
                .unwrap()
                .values()
                .flatten()
                .all(|m| m.size.is_none())
        );
        own.shutdown().await;
    }
}
