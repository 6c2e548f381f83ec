//! One endpoint of a server: the only one, or one of a pool.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};

use super::catalogs::Catalogs;
use crate::base::ServerName;
use crate::catalog::Catalog;
use crate::client::{Client, ClientError, Connection, ServerInfo, Tap};
use crate::embedded::{self, Embedded};

/// How long an endpoint that does not answer keeps its jobs, unless its server says otherwise.
const LOST_AFTER: Duration = Duration::from_mins(2);

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// A `ComfyUI` somewhere.
    Comfy,
    /// Comfy Cloud.
    Cloud,
    /// kiln's own server, in this process.
    Embedded {
        /// It paints stand-ins for what it cannot compute.
        simulate: bool,
    },
    /// This machine, where commands run. Nothing is connected to.
    Here,
}

/// One place where jobs run. An endpoint of a pool may be down from the start; whoever finds that it answers again probes it.
#[derive(Debug)]
pub struct Endpoint {
    /// The name of the server it belongs to.
    pub name: ServerName,
    /// Its address, for people; empty for this machine.
    pub url: String,
    /// What it is.
    pub kind: EndpointKind,
    /// Tasks to keep on it at a time; at least 1.
    pub max_jobs: usize,
    /// How long it keeps its jobs when it does not answer.
    pub lost_after: Duration,
    client: Option<Client>,
    info: OnceLock<ServerInfo>,
    connection: OnceCell<Arc<Connection>>,
    tap: OnceLock<Arc<dyn Tap>>,
    catalogs: Catalogs,
    own: Mutex<Option<Embedded>>,
}

impl Endpoint {
    pub(super) fn new(
        kind: EndpointKind,
        client: Client,
        max_jobs: usize,
        own: Option<Embedded>,
    ) -> Self {
        Self {
            name: client.name().clone(),
            url: client.url(),
            kind,
            max_jobs: max_jobs.max(1),
            lost_after: LOST_AFTER,
            client: Some(client),
            info: OnceLock::new(),
            connection: OnceCell::new(),
            tap: OnceLock::new(),
            catalogs: Catalogs::default(),
            own: Mutex::new(own),
        }
    }

    pub(super) fn here(server: ServerName, max_jobs: usize) -> Self {
        Self {
            name: server,
            url: String::new(),
            kind: EndpointKind::Here,
            max_jobs: max_jobs.max(1),
            lost_after: LOST_AFTER,
            client: None,
            info: OnceLock::new(),
            connection: OnceCell::new(),
            tap: OnceLock::new(),
            catalogs: Catalogs::default(),
            own: Mutex::new(None),
        }
    }

    pub(super) fn patient(self, lost_after: Option<Duration>) -> Self {
        Self {
            lost_after: lost_after.unwrap_or(LOST_AFTER),
            ..self
        }
    }

    /// Whether it is kiln's own server, in this process.
    pub fn is_embedded(&self) -> bool {
        matches!(self.kind, EndpointKind::Embedded { .. })
    }

    /// Whether it is Comfy Cloud.
    pub fn is_cloud(&self) -> bool {
        self.kind == EndpointKind::Cloud
    }

    /// Whether it is this machine.
    pub fn is_here(&self) -> bool {
        self.kind == EndpointKind::Here
    }

    /// How to speak to it.
    ///
    /// # Panics
    /// When it is this machine.
    pub fn client(&self) -> &Client {
        let Some(client) = &self.client else {
            unreachable!("nothing speaks to this machine over a network");
        };
        client
    }

    /// What it told of itself; `None` while it has not answered yet, and for this machine.
    pub fn info(&self) -> Option<&ServerInfo> {
        self.info.get()
    }

    /// Whether it has answered at least once in this process. This machine always has.
    pub fn answered(&self) -> bool {
        self.client.is_none() || self.info.get().is_some()
    }

    /// Asks it what it is.
    ///
    /// # Errors
    /// When it does not answer, or not as `ComfyUI`.
    pub async fn probe(&self) -> Result<(), ClientError> {
        if let Some(client) = &self.client {
            let info = client.probe().await?;
            let _ = self.info.set(info);
        }
        Ok(())
    }

    /// Lets somebody look on at what its socket brings, once that is opened.
    pub fn set_tap(&self, tap: Arc<dyn Tap>) {
        let _ = self.tap.set(tap);
    }

    /// Its socket and jobs; the socket is opened by the first call and kept. A call that fails may be repeated.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        let open = || {
            let tap = self.tap.get().cloned();
            Connection::open_patiently(self.client().clone(), self.lost_after, tap)
        };
        self.connection.get_or_try_init(open).await.cloned()
    }

    /// The definitions of at least these node classes, as far as the endpoint has them. What was fetched before is not fetched again.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn catalog(&self, classes: &[&str]) -> Result<Arc<Catalog>, ClientError> {
        let catalog = self.catalogs.with(self.client(), classes).await?;
        let simulates = self.kind == EndpointKind::Embedded { simulate: true };
        if !simulates || classes.iter().all(|class| catalog.node(class).is_some()) {
            return Ok(catalog);
        }
        // A rehearsal takes classes that nobody declared.
        let mut all = embedded::simulated_catalog(classes.iter().copied());
        all.merge(Catalog::clone(&catalog));
        Ok(Arc::new(all))
    }

    /// The definitions of all node classes.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn whole_catalog(&self) -> Result<Arc<Catalog>, ClientError> {
        self.catalogs.whole(self.client()).await
    }

    /// Definitions that could not be read, a sentence each; their nodes count as missing.
    pub fn catalog_warnings(&self) -> Vec<String> {
        self.catalogs.warnings()
    }

    /// Forgets all definitions: lists of files and models in them change with uploads and installations.
    pub fn forget_catalog(&self) {
        self.catalogs.forget();
    }

    pub(super) async fn shutdown(&self) {
        let own = self.own.lock().await.take();
        if let Some(own) = own {
            own.shutdown().await;
        }
    }
}
