//! Stopping a run of another process, or what one that died left on its servers.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use super::find::{Alive, History, complain};
use super::standing::Standing;
use crate::base::{RunId, Secrets, ServerName, TaskName};
use crate::client::Client;
use crate::diagnostic::Diagnostic;
use crate::event::RunStatus;
use crate::machine::{CancelReason, Fact};
use crate::plan::{Plan, ServerKind};
use crate::run::{end_programs, prompt_id};
use crate::session::prepare;
use crate::session::resume::secrets;
use crate::store::{Holder, Store, StoredRun};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "did")]
pub enum Cancelled {
    /// It had ended already.
    Nothing {
        /// How.
        status: Alive,
    },
    /// Its process was asked to stop it.
    Asked {
        /// The process.
        process: Holder,
    },
    /// Its process is dead. The jobs that it left were dealt with here, and the run is marked as cancelled.
    Cleaned {
        /// What became of its jobs.
        jobs: Vec<LeftJob>,
    },
}

/// A job that a dead process left on a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftJob {
    /// Its task.
    pub task: TaskName,
    /// The server.
    pub server: ServerName,
    /// Its id there.
    pub prompt_id: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The server was told to stop it.
    Stopped,
    /// The server had nothing to stop: it ended, or never came.
    NotThere,
    /// The server died with the process.
    Gone,
    /// The server does not answer. It is told when a run uses it the next time.
    Unreachable,
}

/// Stops a run.
///
/// # Errors
/// When the state cannot be read or written.
pub async fn cancel(history: &History, run: &StoredRun) -> Result<Cancelled, Box<Diagnostic>> {
    let status = history.alive(run);
    match status {
        Alive::Running => ask(history, run).await,
        Alive::Interrupted => clean(history.project(), &run.run).await,
        Alive::Done | Alive::Failed | Alive::Cancelled => Ok(Cancelled::Nothing { status }),
    }
}

async fn ask(history: &History, run: &StoredRun) -> Result<Cancelled, Box<Diagnostic>> {
    let store = Store::open(history.project()).map_err(complain)?;
    let asked = store.request_cancel(&run.run, now());
    asked.durable().await.map_err(complain)?;
    Ok(match store.process_of(&run.run) {
        Some(process) => Cancelled::Asked { process },
        // It ended just now, and nobody was there to hear.
        None => Cancelled::Nothing {
            status: history.alive(run),
        },
    })
}

async fn clean(project: &Path, run: &RunId) -> Result<Cancelled, Box<Diagnostic>> {
    let store = Store::open(project).map_err(complain)?;
    // From here on nobody else goes on with it.
    let Some((journal, replay)) = store.resume(run).map_err(complain)? else {
        return Ok(Cancelled::Cleaned { jobs: Vec::new() });
    };
    let mut standing = Standing::new(&replay.plan);
    for (at, fact) in &replay.facts {
        standing.apply(*at, fact);
    }
    end_programs(&store, run);
    let secrets = secrets(&replay.plan)?;
    let jobs = stop_jobs(&store, &replay.plan, &standing, run, &secrets).await;
    let at = now();
    let stop = Fact::Stop {
        reason: CancelReason::Requested,
    };
    let stopped = journal.append(at, vec![stop]);
    let finished = journal.finish(at, RunStatus::Cancelled, 130, standing.counts());
    stopped.durable().await.map_err(complain)?;
    finished.durable().await.map_err(complain)?;
    Ok(Cancelled::Cleaned { jobs })
}

/// A job and the address of the server that may have it; `None` for one that died with its process.
struct Open {
    job: LeftJob,
    url: Option<String>,
    /// The server said that it has it.
    accepted: bool,
}

async fn stop_jobs(
    store: &Store,
    plan: &Plan,
    standing: &Standing,
    run: &RunId,
    secrets: &Secrets,
) -> Vec<LeftJob> {
    let open = open_jobs(plan, standing, run);
    let servers = connect(plan, &open, secrets).await;
    let mut jobs = Vec::with_capacity(open.len());
    for open in open {
        let Open {
            mut job,
            url,
            accepted,
        } = open;
        if let Some(url) = url {
            let endpoints = servers
                .get(&job.server)
                .map(crate::servers::Servers::endpoints);
            let endpoint = endpoints.and_then(|endpoints| {
                endpoints
                    .iter()
                    .find(|endpoint| endpoint.client().url() == url)
            });
            let answer = match endpoint {
                Some(endpoint) => endpoint.client().cancel(&job.prompt_id).await.ok(),
                None => None,
            };
            job.fate = match answer {
                Some(true) => Fate::Stopped,
                Some(false) => {
                    if !accepted {
                        store.expect_stray(&url, &job.prompt_id, now());
                    }
                    Fate::NotThere
                }
                None => {
                    store.add_stray(&url, &job.prompt_id);
                    Fate::Unreachable
                }
            };
        }
        jobs.push(job);
    }
    for (_, servers) in servers {
        servers.shutdown().await;
    }
    jobs
}

/// An address as runs know it.
fn shown(server: &ServerName, url: &str) -> String {
    Client::new(server.clone(), url).map_or_else(|_| url.to_owned(), |client| client.url())
}

/// One set of connections for each server that may have jobs, so that one that does not answer keeps nobody from the others.
async fn connect(
    plan: &Plan,
    open: &[Open],
    secrets: &Secrets,
) -> HashMap<ServerName, crate::servers::Servers> {
    let mut connected = HashMap::new();
    for (name, server) in &plan.servers {
        let wanted = open
            .iter()
            .any(|open| open.url.is_some() && open.job.server == *name);
        if wanted {
            let mut alone = plan.clone();
            alone.servers = indexmap::IndexMap::from([(name.clone(), server.clone())]);
            if let Ok(servers) = prepare::connect(&alone, secrets).await {
                connected.insert(name.clone(), servers);
            }
        }
    }
    connected
}

/// The jobs that were given to servers and whose end is not known.
fn open_jobs(plan: &Plan, standing: &Standing, run: &RunId) -> Vec<Open> {
    let places = places(plan);
    let mut open = Vec::new();
    for task in &standing.tasks {
        let Some((ticket, endpoint)) = task.last.filter(|_| !task.status.has_ended()) else {
            continue;
        };
        let Some((server, url)) = places.get(endpoint.0 as usize) else {
            continue;
        };
        if matches!(plan.servers[server].kind, ServerKind::Here) {
            continue;
        }
        let id = prompt_id(run, &task.task, ticket).to_string();
        open.push(Open {
            job: LeftJob {
                task: task.task.clone(),
                server: server.clone(),
                prompt_id: task.prompt_id.clone().unwrap_or(id),
                fate: Fate::Gone,
            },
            url: url.clone(),
            accepted: task.prompt_id.is_some(),
        });
    }
    open
}

/// The servers of all endpoints in the machine's order, each with its address if it outlives its process.
fn places(plan: &Plan) -> Vec<(ServerName, Option<String>)> {
    let mut places: Vec<(ServerName, Option<String>)> = Vec::new();
    for (name, server) in &plan.servers {
        match &server.kind {
            ServerKind::Comfy { urls } => {
                places.extend(
                    urls.iter()
                        .map(|url| (name.clone(), Some(shown(name, url)))),
                );
            }
            ServerKind::Cloud { url } => places.push((name.clone(), Some(url.clone()))),
            ServerKind::Embedded { .. } | ServerKind::Here => places.push((name.clone(), None)),
        }
    }
    places
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
