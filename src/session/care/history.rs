//! The jobs that a server remembers.

use futures_util::future::join_all;
use serde::Serialize;

use super::reach::{Complaint, Open};
use crate::protocol::{HistoryItem, Verdict};
use crate::report::plural;

/// A job that has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryRow {
    /// Its id.
    pub id: String,
    /// `succeeded`, `failed` or `interrupted`.
    pub status: &'static str,
    /// When it was queued, milliseconds since 1970.
    pub created: Option<u64>,
    /// When it ended, milliseconds since 1970.
    pub ended: Option<u64>,
    /// How long it ran, milliseconds.
    pub took: Option<u64>,
    /// How many files and texts it made.
    pub results: usize,
    /// The node that failed.
    pub node: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The titles of its nodes, those that it was run for first.
    pub titles: Vec<String>,
    /// The address of its server.
    pub url: String,
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forgotten {
    /// The ids of jobs whose records are gone; the files that they made stay.
    pub forgotten: Vec<String>,
}

/// The newest jobs that have ended, newest first.
///
/// # Errors
/// When the server cannot be asked.
pub async fn history(open: &Open, most: u32) -> Result<Vec<HistoryRow>, Box<Complaint>> {
    let asked = open.endpoints().map(|endpoint| async move {
        let items = endpoint.client().history(most).await;
        items.map(|items| {
            let rows = items.into_iter().map(|item| row(item, &endpoint.url));
            rows.collect::<Vec<_>>()
        })
    });
    let mut all = Vec::new();
    for rows in join_all(asked).await {
        all.extend(rows.map_err(|error| open.wrong(&error))?);
    }
    all.sort_by_key(|row| std::cmp::Reverse(row.ended.or(row.created)));
    all.truncate(most as usize);
    Ok(all)
}

fn row(item: HistoryItem, url: &str) -> HistoryRow {
    let (status, failure) = match item.verdict {
        Verdict::Succeeded => ("succeeded", None),
        Verdict::Failed(failure) => ("failed", Some(failure)),
        Verdict::Interrupted => ("interrupted", None),
    };
    let took = item.ended.zip(item.started);
    let text = |text: String| (!text.is_empty()).then_some(text);
    let (node, error) = match failure {
        Some(failure) => (
            text(failure.node_type).or(text(failure.node_id)),
            text(failure.message),
        ),
        None => (None, None),
    };
    HistoryRow {
        id: item.job.id,
        status,
        created: item.job.created,
        ended: item.ended,
        took: took.map(|(ended, started)| ended.saturating_sub(started)),
        results: item.results,
        node,
        error,
        titles: item.job.titles,
        url: url.to_owned(),
    }
}

/// Makes the server forget jobs that are named by their ids or beginnings of them; all of them when `typed` is `None`.
///
/// # Errors
/// When a name means no job or several, and then nothing is forgotten; or the server cannot be asked.
pub async fn forget(open: &Open, typed: Option<&[String]>) -> Result<Forgotten, Box<Complaint>> {
    let rows = history(open, crate::client::MOST_JOBS).await?;
    let Some(typed) = typed else {
        for endpoint in open.endpoints() {
            let done = endpoint.client().clear_history().await;
            done.map_err(|error| open.wrong(&error))?;
        }
        return Ok(Forgotten {
            forgotten: rows.into_iter().map(|row| row.id).collect(),
        });
    };
    let mut named: Vec<&HistoryRow> = Vec::new();
    for typed in typed {
        named.push(pick(open, &rows, typed)?);
    }
    for endpoint in open.endpoints() {
        let here = named.iter().filter(|row| row.url == endpoint.url);
        let ids: Vec<String> = here.map(|row| row.id.clone()).collect();
        let done = endpoint.client().delete_history(&ids).await;
        done.map_err(|error| open.wrong(&error))?;
    }
    Ok(Forgotten {
        forgotten: named.iter().map(|row| row.id.clone()).collect(),
    })
}

fn pick<'a>(
    open: &Open,
    rows: &'a [HistoryRow],
    typed: &str,
) -> Result<&'a HistoryRow, Box<Complaint>> {
    let begins = |row: &&HistoryRow| !typed.is_empty() && row.id.starts_with(typed);
    let found: Vec<&HistoryRow> = rows.iter().filter(begins).collect();
    match found[..] {
        [row] => Ok(row),
        [] => Err(Complaint::typed(
            format!("`{}` remembers no job `{typed}`", open.name),
            "`kiln server history` lists what it remembers; nothing was forgotten",
        )),
        _ => Err(Complaint::typed(
            format!("{} begin with `{typed}`", plural(found.len(), "job")),
            "give more of the id; nothing was forgotten",
        )),
    }
}
