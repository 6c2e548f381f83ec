//! Lists of jobs: those that run and wait, those that have ended, and all of them.

use std::cmp::Reverse;

use url::Url;

use super::error::ClientError;
use super::http::{Call, Client, JSON_LIMIT};
use crate::protocol::{
    HistoryItem, HistoryList, JobList, JobPage, JobStatus, JobSummary, QueueItem, QueueListing,
    Verdict, history_items,
};

/// The most jobs in one answer: a server holds everybody up while it writes a long one.
pub const MOST_JOBS: u32 = 1000;

/// Which jobs to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobQuery {
    /// Only those that stand so; all when empty.
    pub statuses: Vec<JobStatus>,
    /// Only those of this workflow, by the editor's id.
    pub workflow_id: Option<String>,
    /// What to sort by.
    pub sort: JobSort,
    /// Smallest first.
    pub ascending: bool,
    /// How many; at most [`MOST_JOBS`].
    pub limit: u32,
    /// How many to leave out before. Where pages are found by cursors it is `after` that counts.
    pub offset: u32,
    /// The page to go on with, as [`JobPage::next`] told.
    pub after: Option<String>,
}

/// What jobs are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobSort {
    /// When they were queued.
    #[default]
    Created,
    /// How long they took.
    Duration,
}

impl Default for JobQuery {
    /// The newest hundred.
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            workflow_id: None,
            sort: JobSort::Created,
            ascending: false,
            limit: 100,
            offset: 0,
            after: None,
        }
    }
}

impl Client {
    /// The jobs that run and wait, with what they are.
    ///
    /// # Errors
    /// When the server does not answer with a queue.
    pub async fn queue_listing(&self) -> Result<QueueListing, ClientError> {
        let url = self.at(&["queue"]);
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        QueueListing::from_value(&value).ok_or_else(|| ClientError::odd(&url, "it holds no queue"))
    }

    /// The newest jobs that have ended, at most `most`, newest first.
    ///
    /// # Errors
    /// When the server does not answer with a history.
    pub async fn history(&self, most: u32) -> Result<Vec<HistoryItem>, ClientError> {
        let most = most.clamp(1, MOST_JOBS);
        let mut url = match self.dialect().history {
            HistoryList::Keyed => self.at(&["history"]),
            HistoryList::V2 => self.at(&["history_v2"]),
        };
        url.query_pairs_mut()
            .append_pair("max_items", &most.to_string());
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        let items = history_items(&value);
        let mut items = items.ok_or_else(|| ClientError::odd(&url, "it holds no history"))?;
        let by_age = |item: &HistoryItem| item.ended.or(item.started).or(item.job.created);
        // As they ended: an object has them so, a list maybe the other way round.
        if self.dialect().history == HistoryList::Keyed {
            items.reverse();
        }
        items.sort_by_key(|item| Reverse(by_age(item)));
        items.truncate(most as usize);
        Ok(items)
    }

    /// A page of all jobs. Where there is no `/api/jobs`, it is put together from the queue and the history.
    ///
    /// # Errors
    /// When the server does not answer with a list.
    pub async fn jobs(&self, query: &JobQuery) -> Result<JobPage, ClientError> {
        if !self.dialect().jobs {
            return self.jobs_put_together(query).await;
        }
        let url = self.jobs_url(query);
        let value = self.json(Call::get(url.clone()), JSON_LIMIT).await?;
        JobPage::from_value(&value)
            .ok_or_else(|| ClientError::odd(&url, "it holds no list of jobs"))
    }

    fn jobs_url(&self, query: &JobQuery) -> Url {
        let mut url = self.at(&["jobs"]);
        let list = self.dialect().job_list;
        let sort = match (list, query.sort) {
            (JobList::Offsets, JobSort::Created) => "created_at",
            (JobList::Offsets, JobSort::Duration) => "execution_duration",
            (JobList::Cursors, JobSort::Created) => "create_time",
            (JobList::Cursors, JobSort::Duration) => "execution_time",
        };
        let mut pairs = url.query_pairs_mut();
        if !query.statuses.is_empty() {
            let words: Vec<&str> = query.statuses.iter().map(|status| word(*status)).collect();
            pairs.append_pair("status", &words.join(","));
        }
        if let Some(workflow) = &query.workflow_id {
            pairs.append_pair("workflow_id", workflow);
        }
        let order = if query.ascending { "asc" } else { "desc" };
        pairs
            .append_pair("sort_by", sort)
            .append_pair("sort_order", order)
            .append_pair("limit", &query.limit.clamp(1, MOST_JOBS).to_string());
        match (list, &query.after) {
            (JobList::Cursors, Some(after)) => {
                pairs.append_pair("after", after);
            }
            _ if query.offset > 0 => {
                pairs.append_pair("offset", &query.offset.to_string());
            }
            _ => {}
        }
        drop(pairs);
        url
    }

    async fn jobs_put_together(&self, query: &JobQuery) -> Result<JobPage, ClientError> {
        let queue = self.queue_listing().await?;
        let ended = self.history(MOST_JOBS).await?;
        let queued = |status: JobStatus| move |item: QueueItem| queued(item, status);
        let mut jobs: Vec<JobSummary> = queue
            .pending
            .into_iter()
            .map(queued(JobStatus::Pending))
            .chain(queue.running.into_iter().map(queued(JobStatus::Running)))
            .chain(ended.into_iter().map(ended_job))
            .filter(|job| query.statuses.is_empty() || query.statuses.contains(&job.status))
            .filter(|job| query.workflow_id.is_none() || job.workflow_id == query.workflow_id)
            .collect();
        jobs.sort_by_key(|job| match query.sort {
            JobSort::Created => job.created.or(job.started).unwrap_or(0),
            JobSort::Duration => job.ended.unwrap_or(0) - job.started.or(job.ended).unwrap_or(0),
        });
        if !query.ascending {
            jobs.reverse();
        }
        let total = jobs.len();
        let from = (query.offset as usize).min(total);
        let to = (from + query.limit.clamp(1, MOST_JOBS) as usize).min(total);
        Ok(JobPage {
            jobs: jobs.drain(from..to).collect(),
            total: Some(total as u64),
            more: to < total,
            next: None,
        })
    }
}

/// The word of both dialects' `/api/jobs` for a status.
fn word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Pending => "pending",
        JobStatus::Running => "in_progress",
        JobStatus::Completed => "completed",
        JobStatus::Failed | JobStatus::Lost => "failed",
        JobStatus::Cancelled => "cancelled",
    }
}

fn queued(item: QueueItem, status: JobStatus) -> JobSummary {
    JobSummary {
        id: item.id,
        status,
        word: word(status).to_owned(),
        number: item.number,
        created: item.created,
        started: None,
        ended: None,
        results: None,
        workflow_id: None,
        failure: None,
    }
}

fn ended_job(item: HistoryItem) -> JobSummary {
    let status = match &item.verdict {
        Verdict::Succeeded => JobStatus::Completed,
        Verdict::Failed(_) => JobStatus::Failed,
        Verdict::Interrupted => JobStatus::Cancelled,
    };
    JobSummary {
        started: item.started,
        // A clock that was set back must not make a negative duration.
        ended: item.ended.max(item.started),
        results: Some(item.results as u64),
        failure: match item.verdict {
            Verdict::Failed(failure) => Some(failure),
            _ => None,
        },
        ..queued(item.job, status)
    }
}
