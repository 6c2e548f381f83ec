//! From a name or an address to a server that answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::base::{Inputs, Secrets, ServerName};
use crate::client::{self, ClientError};
use crate::diagnostic::{Diagnostic, Report, SourceMap, codes};
use crate::plan::{self, Apart, ServerKind, ServerPlan, Which};
use crate::servers::{Endpoint, Servers, StartFailure};
use crate::session::{load, prepare};
use crate::spec::Project;

/// Which server of which project is meant.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its name or address; the project's default when nobody says.
    pub server: Option<String>,
    /// A folder of the project; the current one when nobody says.
    pub project: Option<PathBuf>,
}

/// What is wrong, with the texts that it points into.
#[derive(Debug, Default)]
pub struct Complaint {
    /// What is wrong.
    pub report: Report,
    /// The texts.
    pub sources: SourceMap,
}

impl Complaint {
    /// One thing that concerns no text.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "it is the error of a result, where it is boxed"
    )]
    pub(super) fn of(diagnostic: Diagnostic) -> Box<Self> {
        let report = Report {
            items: vec![diagnostic],
        };
        Box::new(Self {
            report,
            ..Self::default()
        })
    }

    /// Something typed makes no sense.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "it is the error of a result, where it is boxed"
    )]
    pub(super) fn typed(message: impl Into<String>, help: impl Into<String>) -> Box<Self> {
        Self::of(Diagnostic::error(&codes::BAD_ARGUMENT, message).help(help))
    }
}

/// A project and the servers that are meant, nothing connected yet.
#[derive(Debug, Default)]
pub(in crate::session) struct Found {
    pub(in crate::session) project_dir: PathBuf,
    pub(in crate::session) project: Option<Project>,
    pub(in crate::session) servers: IndexMap<ServerName, ServerPlan>,
    pub(in crate::session) secrets: Secrets,
    pub(in crate::session) report: Report,
    pub(in crate::session) sources: SourceMap,
}

/// Reads the project around a folder and looks for servers in it.
pub(in crate::session) fn find(folder: &Path, which: Which<'_>) -> Found {
    let inputs = Arc::new(Inputs::default());
    let (mut sources, mut report) = (SourceMap::default(), Report::default());
    let (project_dir, project) = load::project(folder, &inputs, &mut sources, &mut report);
    if project.as_ref().is_some_and(|project| project.dotenv) {
        load::dotenv(&project_dir, &inputs, &mut report);
    }
    let secrets = Secrets::of(Arc::clone(&inputs));
    let place = Apart {
        project: project.as_ref(),
        project_dir: &project_dir,
        inputs: &inputs,
        secrets: &secrets,
    };
    let servers = if project.is_none() && report.has_errors() {
        // What it declares is not known.
        IndexMap::new()
    } else {
        plan::servers_apart(which, &place, &mut sources, &mut report)
    };
    Found {
        project_dir,
        project,
        servers,
        secrets,
        report,
        sources,
    }
}

impl Found {
    /// Starts or connects to one of the servers.
    pub(in crate::session) async fn start(
        &self,
        name: &ServerName,
    ) -> Result<Servers, Vec<StartFailure>> {
        let spec = prepare::spec(name, &self.servers[name], &self.secrets);
        Servers::start(&[spec], None).await
    }
}

impl Place {
    /// The project's folder, or one below it.
    pub(in crate::session) fn folder(&self) -> PathBuf {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        match &self.project {
            Some(folder) => here.join(folder),
            None => here,
        }
    }

    pub(super) fn find(&self) -> Result<Found, Box<Complaint>> {
        let which = match &self.server {
            Some(name) => Which::Named(name),
            None => Which::Default,
        };
        let found = find(&self.folder(), which);
        if found.report.has_errors() {
            return Err(Box::new(Complaint {
                report: found.report,
                sources: found.sources,
            }));
        }
        Ok(found)
    }
}

/// A server that answers.
#[derive(Debug)]
pub struct Open {
    /// Its name.
    pub name: ServerName,
    /// Its address, or the first one's of a pool.
    pub url: String,
    /// What of it does not answer, for people.
    pub away: Report,
    pub(super) servers: Servers,
    pub(super) project_dir: PathBuf,
    sources: SourceMap,
}

/// Connects to the server that is meant.
///
/// # Errors
/// When there is no such server, or it does not answer.
pub async fn open(place: &Place) -> Result<Open, Box<Complaint>> {
    let found = place.find()?;
    let Some((name, plan)) = found.servers.first() else {
        return Err(Box::new(Complaint {
            report: found.report,
            sources: found.sources,
        }));
    };
    let url = match &plan.kind {
        ServerKind::Comfy { urls } => urls.first().cloned().unwrap_or_default(),
        ServerKind::Cloud { url } => url.clone(),
        ServerKind::Embedded { .. } | ServerKind::Here => String::new(),
    };
    match found.start(name).await {
        Ok(servers) => {
            let away = servers.away().iter().map(StartFailure::warning);
            Ok(Open {
                name: name.clone(),
                url,
                away: Report {
                    items: away.collect(),
                },
                servers,
                project_dir: found.project_dir,
                sources: found.sources,
            })
        }
        Err(failures) => Err(Box::new(Complaint {
            report: Report {
                items: failures.iter().map(StartFailure::diagnostic).collect(),
            },
            sources: found.sources,
        })),
    }
}

impl Open {
    /// The parts of it that answer: one, or several of a pool.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let all = self.servers.endpoints().iter();
        all.filter(|endpoint| endpoint.answered() && !endpoint.is_here())
    }

    /// The first part of it that answers.
    pub(super) fn first(&self) -> &Arc<Endpoint> {
        self.servers.get(&self.name)
    }

    /// Whether it is several servers under one name.
    pub fn is_pool(&self) -> bool {
        self.servers.endpoints().len() > 1
    }

    /// What went wrong with it.
    #[expect(
        clippy::unnecessary_box_returns,
        reason = "it is the error of a result, where it is boxed"
    )]
    pub(super) fn wrong(&self, error: &ClientError) -> Box<Complaint> {
        let diagnostic = client::diagnostic(&self.name, error, None);
        Complaint::of(diagnostic)
    }

    /// The texts that complaints about it point into.
    pub fn sources(&self) -> &SourceMap {
        &self.sources
    }

    /// Ends what was started for it.
    pub async fn close(self) {
        self.servers.shutdown().await;
    }
}
