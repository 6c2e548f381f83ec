//! From names and addresses to servers that answer.

use std::path::Path;

use futures_util::future::join_all;
use indexmap::IndexMap;

use super::server::Server;
use crate::base::ServerName;
use crate::client::{self, Client, ClientError};
use crate::diagnostic::{Diagnostic, Span, codes};
use crate::embedded;

/// Jobs kept on a `ComfyUI` at a time: one runs, one waits, so that its GPU never does.
const COMFY_JOBS: usize = 2;

/// A server to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name.
    pub name: ServerName,
    /// What it is.
    pub kind: ServerKind,
    /// Jobs kept queued or running at a time; `None` for the kind's default.
    pub max_jobs: Option<usize>,
    /// Where it is written, for complaints.
    pub span: Option<Span>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// `ComfyUI` at an address.
    Comfy {
        /// The address.
        url: String,
    },
    /// kiln's own, in this process.
    Embedded,
}

/// A server that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("server `{name}`: {cause}")]
pub struct StartFailure {
    /// Its name.
    pub name: ServerName,
    /// Where it is written.
    pub span: Option<Span>,
    /// Why.
    pub cause: StartCause,
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
}

/// The servers of a run, in the order they were given.
#[derive(Debug, Default)]
pub struct Servers {
    servers: IndexMap<ServerName, Server>,
}

impl Servers {
    /// Starts and probes all servers at once. `embedded_dir` is where embedded ones keep their files; without one they use a temporary
    /// folder each.
    ///
    /// # Errors
    /// Every server that cannot be used.
    pub async fn start(
        specs: &[ServerSpec],
        embedded_dir: Option<&Path>,
    ) -> Result<Self, Vec<StartFailure>> {
        let started = join_all(specs.iter().map(async |spec| {
            let server = start(spec, embedded_dir).await;
            server.map_err(|cause| StartFailure {
                name: spec.name.clone(),
                span: spec.span,
                cause,
            })
        }))
        .await;
        let mut servers = IndexMap::new();
        let mut failures = Vec::new();
        for server in started {
            match server {
                Ok(server) => drop(servers.insert(server.name.clone(), server)),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            Ok(Self { servers })
        } else {
            Err(failures)
        }
    }

    /// A server of the run.
    ///
    /// # Panics
    /// When it is none of those that were started: a sealed plan names no other.
    pub fn get(&self, name: &ServerName) -> &Server {
        &self.servers[name]
    }

    /// A server, if it is one of the run.
    pub fn find(&self, name: &ServerName) -> Option<&Server> {
        self.servers.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Server> {
        self.servers.values()
    }

    /// Stops the embedded servers and waits for their work to end; the others go on without us.
    pub async fn shutdown(self) {
        for server in self.servers.into_values() {
            server.shutdown().await;
        }
    }
}

async fn start(spec: &ServerSpec, embedded_dir: Option<&Path>) -> Result<Server, StartCause> {
    let (url, max_jobs, own) = match &spec.kind {
        ServerKind::Comfy { url } => (url.clone(), spec.max_jobs.unwrap_or(COMFY_JOBS), None),
        ServerKind::Embedded => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let jobs = spec.max_jobs.unwrap_or(cores);
            let options = embedded::Options {
                port: 0,
                jobs,
                dir: embedded_dir.map(Path::to_path_buf),
            };
            let own = embedded::start(options).await?;
            (own.url(), jobs, Some(own))
        }
    };
    let client = Client::new(spec.name.clone(), &url)?;
    let info = client.probe().await?;
    Ok(Server::new(client, info, max_jobs.max(1), own))
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
            span: None,
        }
    }

    fn comfy(name: &str, url: &str) -> ServerSpec {
        let url = url.to_owned();
        spec(name, ServerKind::Comfy { url })
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
            spec("own", ServerKind::Embedded),
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
        let specs = [spec("own", ServerKind::Embedded)];
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
}
