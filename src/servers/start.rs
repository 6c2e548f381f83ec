//! From names and addresses to servers that answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, EndpointKind};
use crate::base::ServerName;
use crate::client::{self, Access, Client, ClientError};
use crate::diagnostic::{Diagnostic, Severity, Span, codes};
use crate::embedded;

/// Jobs kept on a `ComfyUI` at a time: one runs, one waits, so that its GPU never does.
const COMFY_JOBS: usize = 2;

/// Jobs kept on Comfy Cloud at a time.
const CLOUD_JOBS: usize = 3;

/// A server to use.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Its name.
    pub name: ServerName,
    /// What it is.
    pub kind: ServerKind,
    /// Jobs kept queued or running on each of its endpoints at a time; `None` for the kind's default.
    pub max_jobs: Option<usize>,
    /// How to get in.
    pub access: Access,
    /// How long an endpoint that does not answer keeps its jobs; `None` for the default.
    pub lost_after: Option<Duration>,
    /// Where it is written, for complaints.
    pub span: Option<Span>,
    /// Nothing that is left to do needs it: it may be away.
    pub spare: bool,
}

/// What a server is and where; plans keep it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    /// `ComfyUI` at one address, or at several equal ones.
    Comfy {
        /// Base URLs without a trailing slash, at least one.
        urls: Vec<String>,
    },
    /// Comfy Cloud.
    Cloud {
        /// Its base URL without a trailing slash.
        url: String,
    },
    /// kiln's own server, inside this process.
    Embedded {
        /// Classes that it does not have are painted as marked stand-ins.
        #[serde(default)]
        simulate: bool,
    },
    /// No server: this machine, where commands run; nothing is started.
    Here,
}

impl ServerKind {
    /// The addresses of its endpoints, where they have any before they are started.
    fn urls(&self) -> &[String] {
        match self {
            Self::Comfy { urls } => urls,
            Self::Cloud { url } => std::slice::from_ref(url),
            Self::Embedded { .. } | Self::Here => &[],
        }
    }
}

/// A server, or an endpoint of one, that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server `{name}`: {cause}")]
pub struct StartFailure {
    /// Its name.
    pub name: ServerName,
    /// The address that does not answer; empty for one without.
    pub url: String,
    /// Where it is written.
    pub span: Option<Span>,
    /// Why.
    pub cause: StartCause,
    /// Nothing that is left to do needs it.
    pub spare: bool,
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StartCause {
    /// It does not answer, or not as `ComfyUI`.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The embedded one did not start.
    #[error(transparent)]
    Embedded(#[from] embedded::StartError),
}

impl StartFailure {
    /// What to tell the user.
    pub fn diagnostic(&self) -> Diagnostic {
        match &self.cause {
            StartCause::Client(error) => client::diagnostic(&self.name, error, self.span),
            StartCause::Embedded(error) => Diagnostic::error(
                &codes::SERVER_UNREACHABLE,
                format!("the embedded server did not start: {error}"),
            ),
        }
    }

    /// What to tell the user when other endpoints of the same server do answer, or nothing needs it.
    pub fn warning(&self) -> Diagnostic {
        let mut diagnostic = self.diagnostic();
        diagnostic.severity = Severity::Warning;
        diagnostic.help.clear();
        diagnostic.help(if self.spare {
            "what ran on it is done and kept here; it is not needed any more"
        } else {
            "the other addresses of this server do its work until it answers"
        })
    }
}

/// The servers of a run, in the order they were given, each with its endpoints.
#[derive(Debug, Default)]
pub struct Servers {
    endpoints: Vec<Arc<Endpoint>>,
    /// Where each server's endpoints lie.
    places: IndexMap<ServerName, std::ops::Range<usize>>,
    away: Vec<StartFailure>,
}

impl Servers {
    /// Starts and probes all servers at once. A server with several endpoints starts when one of them answers, one that nothing needs in
    /// any case. `embedded_dir` is where
    /// embedded ones keep their files; without one they use a temporary folder each.
    ///
    /// # Errors
    /// Every endpoint of each server that cannot be used.
    pub async fn start(
        specs: &[ServerSpec],
        embedded_dir: Option<&Path>,
    ) -> Result<Self, Vec<StartFailure>> {
        let started = join_all(specs.iter().map(|spec| start(spec, embedded_dir))).await;
        let mut servers = Self::default();
        let mut failures = Vec::new();
        for (spec, started) in specs.iter().zip(started) {
            let first = servers.endpoints.len();
            let failed = |url: &str, cause| StartFailure {
                name: spec.name.clone(),
                url: url.to_owned(),
                span: spec.span,
                cause,
                spare: false,
            };
            let mut away = Vec::new();
            let mut broken = false;
            for (place, endpoint) in started.into_iter().enumerate() {
                let url = spec.kind.urls().get(place).map_or("", String::as_str);
                match endpoint {
                    Ok((endpoint, None)) => servers.endpoints.push(Arc::new(endpoint)),
                    Ok((endpoint, Some(cause))) => {
                        away.push(failed(url, StartCause::Client(cause)));
                        servers.endpoints.push(Arc::new(endpoint));
                    }
                    Err(cause) => {
                        broken = true;
                        away.push(failed(url, cause));
                    }
                }
            }
            let places = first..servers.endpoints.len();
            let none_answers = servers.endpoints[places.clone()]
                .iter()
                .all(|e| !e.answered());
            if broken || (none_answers && !spec.spare) {
                failures.extend(away);
            } else {
                for failure in &mut away {
                    failure.spare = none_answers;
                }
                servers.away.extend(away);
            }
            servers.places.insert(spec.name.clone(), places);
        }
        if failures.is_empty() {
            Ok(servers)
        } else {
            servers.shutdown().await;
            Err(failures)
        }
    }

    /// The endpoints of all servers, in a fixed order: that of the servers, then that of their addresses.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoints of a server; none when it is no server of the run.
    pub fn of(&self, name: &ServerName) -> &[Arc<Endpoint>] {
        let places = self.places.get(name).cloned().unwrap_or(0..0);
        &self.endpoints[places]
    }

    /// The first endpoint of a server that has answered.
    ///
    /// # Panics
    /// When it is none of those that were started: a sealed plan names no other, and one endpoint of each answered.
    pub fn get(&self, name: &ServerName) -> &Arc<Endpoint> {
        let Some(endpoint) = self.find(name) else {
            unreachable!("`{name}` is a server of the plan, and was started");
        };
        endpoint
    }

    /// The first endpoint of a server that has answered, if it is a server of the run.
    pub fn find(&self, name: &ServerName) -> Option<&Arc<Endpoint>> {
        self.of(name).iter().find(|endpoint| endpoint.answered())
    }

    /// Endpoints that did not answer, although their servers can be used.
    pub fn away(&self) -> &[StartFailure] {
        &self.away
    }

    /// Stops the embedded servers and waits for their work to end; the others go on without us.
    pub async fn shutdown(self) {
        for endpoint in &self.endpoints {
            endpoint.shutdown().await;
        }
    }
}

/// An endpoint, with the reason why it does not answer.
type Started = Result<(Endpoint, Option<ClientError>), StartCause>;

/// The endpoints of one server. One whose address makes no sense is an error, one that does not answer is down.
async fn start(spec: &ServerSpec, embedded_dir: Option<&Path>) -> Vec<Started> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match &spec.kind {
        ServerKind::Comfy { urls } => {
            let jobs = spec.max_jobs.unwrap_or(COMFY_JOBS);
            let opened = urls
                .iter()
                .map(|url| remote(spec, EndpointKind::Comfy, url, jobs));
            join_all(opened).await
        }
        ServerKind::Cloud { url } => {
            let jobs = spec.max_jobs.unwrap_or(CLOUD_JOBS);
            vec![remote(spec, EndpointKind::Cloud, url, jobs).await]
        }
        ServerKind::Embedded { simulate } => {
            let jobs = spec.max_jobs.unwrap_or_else(cores);
            vec![start_embedded(spec, *simulate, jobs, embedded_dir).await]
        }
        ServerKind::Here => {
            let jobs = spec.max_jobs.unwrap_or_else(cores);
            vec![Ok((Endpoint::here(spec.name.clone(), jobs), None))]
        }
    }
}

/// An endpoint that somebody else runs.
async fn remote(spec: &ServerSpec, kind: EndpointKind, url: &str, jobs: usize) -> Started {
    let client = Client::with_access(spec.name.clone(), url, spec.access.clone())?;
    let endpoint = Endpoint::new(kind, client, jobs, None).patient(spec.lost_after);
    let failure = endpoint.probe().await.err();
    Ok((endpoint, failure))
}

async fn start_embedded(
    spec: &ServerSpec,
    simulate: bool,
    jobs: usize,
    dir: Option<&Path>,
) -> Started {
    let options = embedded::Options {
        port: 0,
        jobs,
        dir: dir.map(Path::to_path_buf),
        simulate: simulate.then(embedded::Simulate::default),
        ..embedded::Options::default()
    };
    let own = embedded::start(options).await?;
    let client = Client::new(spec.name.clone(), &own.url())?;
    let kind = EndpointKind::Embedded { simulate };
    let endpoint = Endpoint::new(kind, client, jobs, Some(own));
    endpoint.probe().await?;
    Ok((endpoint, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::Router;

    fn spec(name: &str, kind: ServerKind) -> ServerSpec {
        ServerSpec {
            name: ServerName::from(name),
            kind,
            max_jobs: None,
            access: Access::default(),
            lost_after: None,
            span: None,
            spare: false,
        }
    }

    fn comfy(name: &str, url: &str) -> ServerSpec {
        let urls = vec![url.to_owned()];
        spec(name, ServerKind::Comfy { urls })
    }

    async fn page() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(|| async { axum::response::Html("<html>") });
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn every_server_that_cannot_be_used_is_reported() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        let specs = [
            comfy("gone", &gone),
            spec("own", ServerKind::Embedded { simulate: false }),
            comfy("page", &page().await),
            comfy("typo", "127.0.0.1:8188"),
        ];
        let failures = Servers::start(&specs, None).await.unwrap_err();
        let told: Vec<_> = failures
            .iter()
            .map(|f| (f.name.as_str(), f.diagnostic().code.id))
            .collect();
        assert_eq!(
            told,
            [("gone", "K0401"), ("page", "K0402"), ("typo", "K0401")]
        );
    }

    #[tokio::test]
    async fn an_embedded_server_is_one_like_any_other() {
        let specs = [spec("own", ServerKind::Embedded { simulate: false })];
        let servers = Servers::start(&specs, None).await.unwrap();
        let server = servers.get(&ServerName::from("own"));
        assert!(server.is_embedded() && server.max_jobs >= 1);
        let catalog = server.catalog(&["LoadImage", "KSampler"]).await.unwrap();
        assert!(catalog.node("LoadImage").is_some() && catalog.node("KSampler").is_none());
        let (first, second) = tokio::join!(server.connection(), server.connection());
        assert!(std::sync::Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        let url = server.url.clone();
        servers.shutdown().await;
        let client = Client::new(ServerName::from("own"), &url).unwrap();
        assert!(client.probe().await.is_err());
    }

    #[tokio::test]
    async fn a_pool_starts_when_one_of_its_endpoints_answers() {
        let own = embedded::start(embedded::Options::default()).await.unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        let urls = vec![gone, own.url()];
        let specs = [
            spec("farm", ServerKind::Comfy { urls }),
            spec("this machine", ServerKind::Here),
        ];
        let servers = Servers::start(&specs, None).await.unwrap();
        let farm = ServerName::from("farm");
        let up: Vec<_> = servers.endpoints().iter().map(|e| e.answered()).collect();
        assert_eq!(up, [false, true, true], "this machine needs nothing");
        assert_eq!(servers.of(&farm).len(), 2);
        assert_eq!(servers.get(&farm).url, own.url());
        let [away] = servers.away() else {
            panic!("one is away")
        };
        let told = away.warning();
        assert_eq!((told.code.id, told.severity), ("K0401", Severity::Warning));
        own.shutdown().await;
    }
}
