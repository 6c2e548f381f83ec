//! A plan's servers made real, and their catalogs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::checking::{Catalogs, classes};
use crate::base::{Secrets, ServerName};
use crate::catalog::Catalog;
use crate::client::{self, Access};
use crate::diagnostic::{Diagnostic, Span, codes, list_of};
use crate::embedded;
use crate::plan::{self, Plan};
use crate::protocol::{Flavour, UploadRules};
use crate::servers::{ServerKind, ServerSpec, Servers, StartFailure};

/// Catalogs that were fetched before a check.
#[derive(Debug, Default)]
pub(super) struct Fetched(
    HashMap<ServerName, Arc<Catalog>>,
    HashMap<ServerName, UploadRules>,
);

impl Catalogs for Fetched {
    fn of(&self, server: &ServerName) -> Option<Arc<Catalog>> {
        self.0.get(server).cloned()
    }

    fn uploads(&self, server: &ServerName) -> Option<UploadRules> {
        self.1.get(server).copied()
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
        kind: match &server.kind {
            plan::ServerKind::Comfy { urls } => ServerKind::Comfy { urls: urls.clone() },
            plan::ServerKind::Cloud { url } => ServerKind::Cloud { url: url.clone() },
            plan::ServerKind::Embedded { simulate } => ServerKind::Embedded {
                simulate: *simulate,
            },
            plan::ServerKind::Here => ServerKind::Here,
        },
        max_jobs: usize::try_from(server.max_jobs).ok(),
        access: Access {
            flavour: match &server.kind {
                plan::ServerKind::Cloud { .. } => Flavour::Cloud,
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
            fetched.1.insert(name.clone(), rules);
        }
        complaints.extend(uneven(name, planned.span, &catalogs, &wanted));
        if let Some(catalog) = union(catalogs.into_iter().map(|(_, catalog)| catalog)) {
            fetched.0.insert(name.clone(), catalog);
        }
    }
    (fetched, complaints)
}

/// What at least one endpoint has; where two differ, as the first has it.
fn union(catalogs: impl DoubleEndedIterator<Item = Arc<Catalog>>) -> Option<Arc<Catalog>> {
    catalogs.rev().reduce(|later, earlier| {
        if later.classes().all(|class| earlier.node(class).is_some()) {
            return earlier;
        }
        let mut both = Catalog::clone(&later);
        both.merge(Catalog::clone(&earlier));
        Arc::new(both)
    })
}

/// Endpoints of a pool that lack a class which others have: jobs that come to them will be refused.
fn uneven(
    server: &ServerName,
    span: Option<Span>,
    catalogs: &[(&str, Arc<Catalog>)],
    wanted: &[&str],
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (url, catalog) in catalogs {
        let lacks = |class: &&&str| {
            let mut all = catalogs.iter();
            catalog.node(class).is_none() && all.any(|(_, other)| other.node(class).is_some())
        };
        let missing: Vec<&str> = wanted.iter().filter(lacks).copied().collect();
        if missing.is_empty() {
            continue;
        }
        let message = format!(
            "server `{server}`: {url} does not have {}, which others of the pool have",
            list_of(missing.iter().copied(), 8)
        );
        let diagnostic = Diagnostic::warning(&codes::MISSING_NODE_TYPE, message)
            .help("install the same node packs on every server of a pool, or take it out");
        found.push(match span {
            Some(span) => diagnostic.at(span),
            None => diagnostic,
        });
    }
    found
}

/// The catalogs that are known without a connection: those of embedded servers.
pub(super) fn at_hand(plan: &Plan) -> Fetched {
    let embedded = plan.servers.iter().filter_map(|(name, server)| {
        let catalog = match server.kind {
            plan::ServerKind::Embedded { simulate: false } => embedded::catalog(),
            plan::ServerKind::Embedded { simulate: true } => {
                let classes = classes(plan, name);
                embedded::simulated_catalog(classes.iter().map(String::as_str))
            }
            _ => return None,
        };
        Some((name.clone(), Arc::new(catalog)))
    });
    Fetched(embedded.collect(), HashMap::new())
}

/// Catalogs for a check: the embedded server need not be started for it, others are asked.
pub(super) async fn catalogs(plan: &Plan, secrets: &Secrets) -> (Fetched, Vec<Diagnostic>) {
    let mut fetched = at_hand(plan);
    let mut remote = plan.clone();
    remote
        .servers
        .retain(|name, _| !fetched.0.contains_key(name));
    if remote.servers.is_empty() {
        return (fetched, Vec::new());
    }
    match connect(&remote, secrets).await {
        Ok(servers) => {
            let (more, complaints) = catalogs_of(&remote, &servers).await;
            fetched.0.extend(more.0);
            fetched.1.extend(more.1);
            servers.shutdown().await;
            (fetched, complaints)
        }
        Err(complaints) => (fetched, complaints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn catalog(classes: &[&str]) -> Arc<Catalog> {
        let info: serde_json::Map<_, _> = classes
            .iter()
            .map(|class| {
                let one = json!({"input": {"required": {}}, "output": [], "output_name": [], "name": class, "output_node": false});
                ((*class).to_owned(), one)
            })
            .collect();
        Arc::new(Catalog::from_object_info(&info.into()).0)
    }

    #[test]
    fn a_pool_is_checked_against_what_any_of_it_has_and_the_poorer_ones_are_named() {
        let pool = [
            ("http://a", catalog(&["A"])),
            ("http://b", catalog(&["A", "B"])),
        ];
        let warnings = uneven(&"farm".into(), None, &pool, &["A", "B", "C"]);
        let [warning] = &warnings[..] else {
            panic!("one of them lacks something: {warnings:?}")
        };
        assert_eq!(
            warning.message,
            "server `farm`: http://a does not have `B`, which others of the pool have"
        );
        let both = union(pool.into_iter().map(|(_, catalog)| catalog)).unwrap();
        assert!(both.node("A").is_some() && both.node("B").is_some());
    }
}
