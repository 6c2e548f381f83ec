//! A plan's servers made real, and their catalogs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::checking::{Catalogs, classes};
use super::kept;
use super::pools::{self, Lacks};
use crate::base::{Secrets, ServerName};
use crate::catalog::Catalog;
use crate::client::{self, Access};
use crate::diagnostic::Diagnostic;
use crate::embedded;
use crate::plan::{self, Plan};
use crate::protocol::{Flavour, UploadRules};
use crate::servers::{ServerKind, ServerSpec, Servers, StartFailure};

/// Catalogs that were fetched before a check.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    catalogs: HashMap<ServerName, Arc<Catalog>>,
    uploads: HashMap<ServerName, UploadRules>,
    /// What servers of pools lack, and others of them have.
    pub(super) lacks: HashMap<ServerName, Lacks>,
    /// What is to be said of that.
    unequal: Vec<Diagnostic>,
}

impl Catalogs for Fetched {
    fn of(&self, server: &ServerName) -> Option<Arc<Catalog>> {
        self.catalogs.get(server).cloned()
    }

    fn uploads(&self, server: &ServerName) -> Option<UploadRules> {
        self.uploads.get(server).copied()
    }

    fn unequal(&self) -> Vec<Diagnostic> {
        self.unequal.clone()
    }
}

/// Starts or connects to every server of a plan.
///
/// # Errors
/// One diagnostic for each server that is not to be had.
pub(super) async fn connect(plan: &Plan, secrets: &Secrets) -> Result<Servers, Vec<Diagnostic>> {
    connect_but(plan, secrets, &HashSet::new()).await
}

/// As [`connect`], but those of `spare` may be away.
///
/// # Errors
/// One diagnostic for each other server that is not to be had.
pub(super) async fn connect_but(
    plan: &Plan,
    secrets: &Secrets,
    spare: &HashSet<ServerName>,
) -> Result<Servers, Vec<Diagnostic>> {
    let servers = plan.servers.iter();
    let specs: Vec<ServerSpec> = servers
        .map(|(name, server)| ServerSpec {
            spare: spare.contains(name),
            ..spec(name, server, secrets)
        })
        .collect();
    Servers::start(&specs, None)
        .await
        .map_err(|failures| failures.iter().map(StartFailure::diagnostic).collect())
}

/// A planned server as it is started.
pub(super) fn spec(name: &ServerName, server: &plan::ServerPlan, secrets: &Secrets) -> ServerSpec {
    ServerSpec {
        name: name.clone(),
        kind: server.kind.clone(),
        max_jobs: usize::try_from(server.max_jobs).ok(),
        access: Access {
            flavour: match &server.kind {
                ServerKind::Cloud { .. } => Flavour::Cloud,
                _ => Flavour::Comfy,
            },
            api_key: server.api_key.clone(),
            token: server.token.clone(),
            headers: server.headers.clone(),
            ca_cert: server.ca_cert.clone(),
            secrets: secrets.clone(),
        },
        lost_after: Some(Duration::from_millis(server.lost_after_ms)),
        span: server.span,
        spare: false,
    }
}

/// Stops what was started. A wait that is broken off leaves the rest to the runtime's end.
pub(super) async fn shutdown(servers: Arc<Servers>) {
    // Whoever still holds them is a task that ends with the runtime.
    if let Ok(servers) = Arc::try_unwrap(servers) {
        // In a task of its own: dropping an embedded server waits for the node that it computes.
        let _ = tokio::spawn(servers.shutdown()).await;
    }
}

/// The catalogs of connected servers, with the classes that the plan uses.
pub(super) async fn catalogs_of(plan: &Plan, servers: &Servers) -> (Fetched, Vec<Diagnostic>) {
    let mut fetched = Fetched::default();
    let mut complaints = Vec::new();
    for (name, planned) in &plan.servers {
        let endpoints = servers.of(name).iter();
        let endpoints: Vec<_> = endpoints.filter(|e| e.answered() && !e.is_here()).collect();
        let wanted = classes(plan, name);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let asked = endpoints.iter().map(|endpoint| endpoint.catalog(&wanted));
        let mut catalogs = Vec::new();
        for (endpoint, answer) in endpoints.iter().zip(join_all(asked).await) {
            match answer {
                Ok(catalog) => catalogs.push((endpoint.url.as_str(), catalog)),
                Err(error) => complaints.push(client::diagnostic(name, &error, planned.span)),
            }
        }
        // Whichever of a pool a file goes to, it is to be taken.
        let rules = endpoints.iter().map(|e| e.client().dialect().uploads);
        if let Some(rules) = rules.reduce(UploadRules::and) {
            fetched.uploads.insert(name.clone(), rules);
        }
        let lacks = pools::lacks(plan, name, &catalogs);
        let unequal = lacks.complaints(plan, name, planned.span);
        fetched.unequal.extend(unequal);
        fetched.lacks.insert(name.clone(), lacks);
        if let Some(catalog) = pools::union(catalogs.into_iter().map(|(_, catalog)| catalog)) {
            fetched.catalogs.insert(name.clone(), catalog);
        }
    }
    (fetched, complaints)
}

/// The catalogs that are known without a connection: those of embedded servers.
pub(super) fn at_hand(plan: &Plan) -> Fetched {
    let embedded = plan.servers.iter().filter_map(|(name, server)| {
        let catalog = match server.kind {
            ServerKind::Embedded { simulate: false } => embedded::catalog(),
            ServerKind::Embedded { simulate: true } => {
                let classes = classes(plan, name);
                embedded::simulated_catalog(classes.iter().map(String::as_str))
            }
            _ => return None,
        };
        Some((name.clone(), Arc::new(catalog)))
    });
    Fetched {
        catalogs: embedded.collect(),
        ..Fetched::default()
    }
}

/// Catalogs for a check: the embedded server need not be started for it, others are asked.
pub(super) async fn catalogs(plan: &Plan, secrets: &Secrets) -> (Fetched, Vec<Diagnostic>) {
    let mut fetched = at_hand(plan);
    let mut remote = plan.servers.clone();
    remote.retain(|name, _| !fetched.catalogs.contains_key(name));
    // Each by itself: one that is away must not stand in the way of the others.
    let asked = remote.into_iter().map(|(name, server)| {
        let alone = Plan {
            servers: std::iter::once((name, server)).collect(),
            ..plan.clone()
        };
        async move {
            match connect(&alone, secrets).await {
                Ok(servers) => {
                    let found = catalogs_of(&alone, &servers).await;
                    keep(&alone, &servers, &found.0);
                    servers.shutdown().await;
                    found
                }
                Err(complaints) => recalled(&alone, complaints),
            }
        }
    });
    let mut complaints = Vec::new();
    for (more, wrong) in join_all(asked).await {
        fetched.catalogs.extend(more.catalogs);
        fetched.uploads.extend(more.uploads);
        fetched.lacks.extend(more.lacks);
        fetched.unequal.extend(more.unequal);
        complaints.extend(wrong);
    }
    (fetched, complaints)
}

/// Keeps what servers told for the time when they are away.
fn keep(plan: &Plan, servers: &Servers, fetched: &Fetched) {
    for (name, catalog) in &fetched.catalogs {
        let endpoints = servers.of(name).iter();
        for endpoint in endpoints.filter(|e| !e.is_here() && !e.is_embedded()) {
            if let Some(info) = endpoint.info() {
                let place = (name, endpoint.url.as_str());
                kept::keep(&plan.project_dir, place, &info.version, catalog);
            }
        }
    }
}

/// What servers that are away offered when they were last asked.
fn recalled(plan: &Plan, complaints: Vec<Diagnostic>) -> (Fetched, Vec<Diagnostic>) {
    let mut fetched = Fetched::default();
    let mut told = Vec::new();
    for (name, server) in &plan.servers {
        let urls = match &server.kind {
            plan::ServerKind::Comfy { urls } => urls.as_slice(),
            plan::ServerKind::Cloud { url } => std::slice::from_ref(url),
            _ => &[],
        };
        let found = urls
            .iter()
            .find_map(|url| kept::recall(&plan.project_dir, name, url));
        // Of a class that was never asked for it is not known whether the server has it.
        let wanted = classes(plan, name);
        let found = found.filter(|kept| {
            let mut wanted = wanted.iter();
            wanted.all(|class| kept.catalog.node_or_stand_in(class).is_some())
        });
        if let Some(kept) = found {
            told.push(format!(
                "checked against what it offered on {} (version {})",
                kept.day, kept.version
            ));
            fetched
                .catalogs
                .insert(name.clone(), Arc::new(kept.catalog));
        }
    }
    let complaints = complaints.into_iter().map(|diagnostic| {
        let mut told = told.iter().cloned();
        told.by_ref().fold(diagnostic, Diagnostic::help)
    });
    (fetched, complaints.collect())
}
