//! The queue of a server, and the orders that concern jobs in it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;

use super::ours::{OwnJob, our_jobs};
use super::reach::{Complaint, Open};
use crate::protocol::QueueItem;
use crate::report::plural;
use crate::servers::Endpoint;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// It runs.
    Running,
    /// It waits.
    Waiting,
}

/// A job in a queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueRow {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: Where,
    /// How many jobs come before it, on its server.
    pub before: usize,
    /// The server's own number for its place.
    pub number: Option<f64>,
    /// When it was queued, milliseconds since 1970.
    pub created: Option<u64>,
    /// How long ago that was, seconds, by this machine's clock.
    pub age: Option<u64>,
    /// The run and task of this project that it belongs to; null for a job of somebody else.
    pub own: Option<OwnJob>,
    /// How many nodes its graph has.
    pub nodes: usize,
    /// The titles of its nodes, those that it is run for first.
    pub titles: Vec<String>,
    /// The address of its server.
    pub url: String,
}

/// What became of jobs that were to be stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stopped {
    /// Those that were stopped or taken out.
    pub stopped: Vec<QueueRow>,
    /// Those that ended or vanished before.
    pub gone: Vec<QueueRow>,
}

/// The jobs that run and wait, each server's in its order.
///
/// # Errors
/// When the server cannot be asked.
pub async fn queue(open: &Open) -> Result<Vec<QueueRow>, Box<Complaint>> {
    let ours = our_jobs(&open.project_dir);
    let asked = open.endpoints().map(|endpoint| rows(open, endpoint, &ours));
    let mut all = Vec::new();
    for rows in join_all(asked).await {
        all.extend(rows?);
    }
    Ok(all)
}

async fn rows(
    open: &Open,
    endpoint: &Arc<Endpoint>,
    ours: &HashMap<String, OwnJob>,
) -> Result<Vec<QueueRow>, Box<Complaint>> {
    let listing = endpoint.client().queue_listing().await;
    let listing = listing.map_err(|error| open.wrong(&error))?;
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let row = |item: QueueItem, state, before| QueueRow {
        state,
        before,
        number: item.number,
        created: item.created,
        age: item.created.map(|at| now.saturating_sub(at) / 1000),
        own: ours.get(&item.id).cloned(),
        nodes: item.nodes,
        titles: item.titles,
        url: endpoint.url.clone(),
        id: item.id,
    };
    let running = listing.running.len();
    let runs = listing.running.into_iter();
    let runs = runs.map(|item| row(item, Where::Running, 0));
    let waits = listing.pending.into_iter().enumerate();
    let waits = waits.map(|(place, item)| row(item, Where::Waiting, running + place));
    Ok(runs.chain(waits).collect())
}

/// Stops jobs, waiting or running, that are named by their ids or beginnings of them.
///
/// # Errors
/// When a name means no job or several, and then nothing is stopped; or the server cannot be asked.
pub async fn cancel(open: &Open, typed: &[String]) -> Result<Stopped, Box<Complaint>> {
    let rows = queue(open).await?;
    let mut named: Vec<QueueRow> = Vec::new();
    for typed in typed {
        let row = pick(open, &rows, typed)?;
        if !named.contains(row) {
            named.push(row.clone());
        }
    }
    let mut done = Stopped {
        stopped: Vec::new(),
        gone: Vec::new(),
    };
    for row in named {
        let answer = endpoint_of(open, &row).client().cancel(&row.id).await;
        if answer.map_err(|error| open.wrong(&error))? {
            done.stopped.push(row);
        } else {
            done.gone.push(row);
        }
    }
    Ok(done)
}

/// Stops running jobs: the one that is named, else whatever runs. Somebody else's only when it is named or `yes` is said.
///
/// # Errors
/// When a job of somebody else would be stopped without having been named, the named one does not run, or the server cannot be asked.
pub async fn interrupt(
    open: &Open,
    typed: Option<&str>,
    yes: bool,
) -> Result<Stopped, Box<Complaint>> {
    let rows = queue(open).await?;
    let running = |row: &&QueueRow| row.state == Where::Running;
    let named: Vec<QueueRow> = match typed {
        Some(typed) => {
            let row = pick(open, &rows, typed)?;
            if row.state == Where::Waiting {
                return Err(Complaint::typed(
                    format!("job {} does not run: it waits", row.id),
                    format!("`kiln server cancel {}` takes it out of the queue", row.id),
                ));
            }
            vec![row.clone()]
        }
        None => rows.iter().filter(running).cloned().collect(),
    };
    let foreign: Vec<&str> = named
        .iter()
        .filter(|row| row.own.is_none())
        .map(|row| row.id.as_str())
        .collect();
    if typed.is_none() && !yes && !foreign.is_empty() {
        return Err(Complaint::typed(
            format!(
                "the job that runs on `{}` belongs to no run of this project: {}",
                open.name,
                foreign.join(", ")
            ),
            "somebody may wait for it: name it to stop it, or say `--yes`",
        ));
    }
    let mut done = Stopped {
        stopped: Vec::new(),
        gone: Vec::new(),
    };
    for row in named {
        let client = endpoint_of(open, &row).client();
        let answer = client.interrupt(Some(&row.id)).await;
        if answer.map_err(|error| open.wrong(&error))? {
            done.stopped.push(row);
        } else {
            done.gone.push(row);
        }
    }
    Ok(done)
}

/// Takes all waiting jobs out of the queue; what runs goes on. Jobs of somebody else only when `yes` is said.
///
/// # Errors
/// When there are some of somebody else and `yes` is not said, or the server cannot be asked.
pub async fn clear(open: &Open, yes: bool) -> Result<Stopped, Box<Complaint>> {
    let mut rows = queue(open).await?;
    rows.retain(|row| row.state == Where::Waiting);
    let foreign = rows.iter().filter(|row| row.own.is_none()).count();
    if foreign > 0 && !yes {
        return Err(Complaint::typed(
            format!(
                "jobs of no run of this project wait on `{}`: {foreign} of {}",
                open.name,
                rows.len()
            ),
            "somebody may wait for them: `--yes` clears them all, `kiln server cancel ID…` single ones",
        ));
    }
    let mut done = Stopped {
        stopped: Vec::new(),
        gone: Vec::new(),
    };
    for endpoint in open.endpoints() {
        let here = |row: &&QueueRow| row.url == endpoint.url;
        let ids: Vec<String> = rows.iter().filter(here).map(|row| row.id.clone()).collect();
        let removed = endpoint.client().remove_waiting(&ids).await;
        let removed = removed.map_err(|error| open.wrong(&error))?;
        for row in rows.iter().filter(here).cloned() {
            if removed.contains(&row.id) {
                done.stopped.push(row);
            } else {
                done.gone.push(row);
            }
        }
    }
    Ok(done)
}

/// The one job whose id begins so.
fn pick<'a>(
    open: &Open,
    rows: &'a [QueueRow],
    typed: &str,
) -> Result<&'a QueueRow, Box<Complaint>> {
    if let Some(row) = rows.iter().find(|row| row.id == typed) {
        return Ok(row);
    }
    let begins = |row: &&QueueRow| !typed.is_empty() && row.id.starts_with(typed);
    let found: Vec<&QueueRow> = rows.iter().filter(begins).collect();
    match found[..] {
        [row] => Ok(row),
        [] => Err(Complaint::typed(
            format!("`{}` has no job `{typed}` that runs or waits", open.name),
            "`kiln server queue` lists them, `kiln server history` those that have ended; nothing was stopped",
        )),
        _ => {
            let ids: Vec<&str> = found.iter().map(|row| row.id.as_str()).collect();
            Err(Complaint::typed(
                format!("{} begin with `{typed}`", plural(ids.len(), "job")),
                format!("nothing was stopped; they are {}", ids.join(", ")),
            ))
        }
    }
}

fn endpoint_of<'a>(open: &'a Open, row: &QueueRow) -> &'a Arc<Endpoint> {
    let mut endpoints = open.endpoints();
    let found = endpoints.find(|endpoint| endpoint.url == row.url);
    found.unwrap_or_else(|| open.first())
}
