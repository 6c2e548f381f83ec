//! What servers declare, for workflows that only make sense with it: asked once for each server, and only when one is met.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::prepare;
use crate::base::{Secrets, ServerName};
use crate::catalog::Catalog;
use crate::client;
use crate::diagnostic::Diagnostic;
use crate::embedded;
use crate::plan::{self, ServerKind, ServerPlan};
use crate::servers::{Servers, StartFailure};

/// Node definitions by server.
#[derive(Debug)]
pub(super) struct Definitions {
    /// Stands for every server.
    known: Option<Arc<Catalog>>,
    secrets: Secrets,
    asked: RefCell<HashMap<ServerName, plan::Definitions>>,
}

impl Definitions {
    /// Definitions of every server, where somebody has them at hand.
    pub(super) fn new(known: Option<Arc<Catalog>>, secrets: Secrets) -> Self {
        Self {
            known,
            secrets,
            asked: RefCell::default(),
        }
    }

    /// What a server declares, these classes at least.
    pub(super) fn of(
        &self,
        name: &ServerName,
        server: &ServerPlan,
        classes: &[String],
    ) -> plan::Definitions {
        if let Some(known) = &self.known {
            return Ok(Arc::clone(known));
        }
        match server.kind {
            ServerKind::Embedded { simulate: false } => Ok(Arc::new(embedded::catalog())),
            ServerKind::Embedded { simulate: true } => {
                let classes = classes.iter().map(String::as_str);
                Ok(Arc::new(embedded::simulated_catalog(classes)))
            }
            _ => {
                let mut asked = self.asked.borrow_mut();
                let answer = asked.entry(name.clone());
                answer
                    .or_insert_with(|| ask(name, server, &self.secrets))
                    .clone()
            }
        }
    }
}

/// Asks a server for everything that it declares. On a thread of its own, since whoever wants it may be within asynchronous work.
fn ask(name: &ServerName, server: &ServerPlan, secrets: &Secrets) -> plan::Definitions {
    let spec = prepare::spec(name, server, secrets);
    let work = || {
        let built = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = built else {
            return Err(Vec::new());
        };
        runtime.block_on(async {
            let servers = Servers::start(&[spec], None).await;
            let servers = servers.map_err(|failures: Vec<StartFailure>| {
                let told = failures.iter().map(StartFailure::diagnostic);
                told.collect::<Vec<Diagnostic>>()
            })?;
            let answer = servers.get(name).whole_catalog().await;
            servers.shutdown().await;
            answer.map_err(|error| vec![client::diagnostic(name, &error, server.span)])
        })
    };
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(answer) => answer,
        Err(panicked) => std::panic::resume_unwind(panicked),
    })
}
