//! One server of a run.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::catalogs::Catalogs;
use crate::base::ServerName;
use crate::catalog::Catalog;
use crate::client::{Client, ClientError, Connection, ServerInfo};
use crate::embedded::Embedded;

/// A server that answered.
#[derive(Debug)]
pub struct Server {
    /// Its name in the project.
    pub name: ServerName,
    /// Its address, for people.
    pub url: String,
    /// What it told of itself.
    pub info: ServerInfo,
    /// Jobs to keep queued or running on it at a time; at least 1.
    pub max_jobs: usize,
    /// How to speak to it.
    pub client: Client,
    connection: OnceCell<Arc<Connection>>,
    catalogs: Catalogs,
    own: Option<Embedded>,
}

impl Server {
    pub(super) fn new(
        client: Client,
        info: ServerInfo,
        max_jobs: usize,
        own: Option<Embedded>,
    ) -> Self {
        Self {
            name: client.name().clone(),
            url: client.url(),
            info,
            max_jobs,
            client,
            connection: OnceCell::new(),
            catalogs: Catalogs::default(),
            own,
        }
    }

    /// Whether it is kiln's own, in this process.
    pub fn is_embedded(&self) -> bool {
        self.own.is_some()
    }

    /// Its socket and jobs; the socket is opened by the first call and kept. A call that fails may be repeated.
    ///
    /// # Errors
    /// When no connection can be made.
    pub async fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        let open = || Connection::open(self.client.clone());
        self.connection.get_or_try_init(open).await.cloned()
    }

    /// The definitions of at least these node classes, as far as the server has them. What was fetched before is not fetched again.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn catalog(&self, classes: &[&str]) -> Result<Arc<Catalog>, ClientError> {
        self.catalogs.with(&self.client, classes).await
    }

    /// The definitions of all node classes.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn whole_catalog(&self) -> Result<Arc<Catalog>, ClientError> {
        self.catalogs.whole(&self.client).await
    }

    /// Definitions that could not be read, a sentence each; their nodes count as missing.
    pub fn catalog_warnings(&self) -> Vec<String> {
        self.catalogs.warnings()
    }

    /// Forgets all definitions: lists of files and models in them change with uploads and installations.
    pub fn forget_catalog(&self) {
        self.catalogs.forget();
    }

    pub(super) async fn shutdown(self) {
        drop(self.connection);
        if let Some(own) = self.own {
            own.shutdown().await;
        }
    }
}
