//! Jobs as `/api/jobs` shows them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::history::Ended;
use super::queue::{Found, Job, Snapshot};

const STATES: [&str; 5] = ["pending", "in_progress", "completed", "failed", "cancelled"];

/// How much of a text is shown as a preview, in characters.
const PREVIEW_TEXT: usize = 1024;

/// Which jobs are asked for, and in what order.
#[derive(Debug)]
pub(super) struct Filter {
    states: Option<Vec<String>>,
    workflow: Option<String>,
    by_duration: bool,
    ascending: bool,
    limit: Option<usize>,
    offset: usize,
}

impl Filter {
    /// Reads the query. The error is what the client is told.
    ///
    /// # Errors
    /// For a value that is not among those that are known.
    pub(super) fn read(query: &HashMap<String, String>) -> Result<Self, String> {
        let states: Option<Vec<String>> = query
            .get("status")
            .map(|list| list.split(',').map(|s| s.trim().to_owned()).collect());
        let unknown: Vec<&str> = states
            .iter()
            .flatten()
            .map(String::as_str)
            .filter(|state| !STATES.contains(state))
            .collect();
        if !unknown.is_empty() {
            return Err(format!(
                "Invalid status value(s): {}. Valid values: {}",
                unknown.join(", "),
                STATES.join(", ")
            ));
        }
        let by_duration = match query.get("sort_by").map(String::as_str) {
            None | Some("created_at") => false,
            Some("execution_duration") => true,
            Some(_) => return Err("sort_by must be 'created_at' or 'execution_duration'".into()),
        };
        let ascending = match query.get("sort_order").map(String::as_str) {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err("sort_order must be 'asc' or 'desc'".into()),
        };
        let limit = match query.get("limit").map(|limit| limit.parse::<usize>()) {
            None => None,
            Some(Ok(limit)) if limit > 0 => Some(limit),
            Some(_) => return Err("limit must be a positive integer".into()),
        };
        let offset = match query.get("offset").map(|offset| offset.parse::<i64>()) {
            None => 0,
            Some(Ok(offset)) => usize::try_from(offset).unwrap_or(0),
            Some(Err(_)) => return Err("offset must be an integer".into()),
        };
        Ok(Self {
            states,
            workflow: query.get("workflow_id").cloned(),
            by_duration,
            ascending,
            limit,
            offset,
        })
    }

    /// The jobs of a moment that are asked for.
    pub(super) fn list(&self, snapshot: &Snapshot) -> Value {
        let mut jobs: Vec<Entry<'_>> = Vec::new();
        jobs.extend(
            snapshot
                .pending
                .iter()
                .map(|job| Entry::Waiting(job, "pending")),
        );
        jobs.extend(
            snapshot
                .running
                .iter()
                .map(|job| Entry::Waiting(job, "in_progress")),
        );
        jobs.extend(snapshot.ended.iter().map(|ended| Entry::Ended(ended)));
        jobs.retain(|entry| self.wants(entry));
        let duration = |entry: &Entry<'_>| match entry {
            Entry::Ended(ended) => span(ended).map_or(0, |(start, end)| end - start),
            Entry::Waiting(..) => 0,
        };
        jobs.sort_by_key(|entry| {
            let key = if self.by_duration {
                duration(entry)
            } else {
                entry.job().created
            };
            if self.ascending { key } else { -key }
        });
        let total = jobs.len();
        let page: Vec<Value> = jobs
            .iter()
            .skip(self.offset)
            .take(self.limit.unwrap_or(usize::MAX))
            .map(Entry::brief)
            .collect();
        let has_more = self.offset + page.len() < total;
        json!({
            "jobs": page,
            "pagination": {
                "offset": self.offset,
                "limit": self.limit,
                "total": total,
                "has_more": has_more,
            },
        })
    }

    fn wants(&self, entry: &Entry<'_>) -> bool {
        self.states
            .as_ref()
            .is_none_or(|states| states.iter().any(|state| state == entry.state()))
            && self
                .workflow
                .as_ref()
                .is_none_or(|id| workflow_id(entry.job()) == Some(id))
    }
}

/// One job in full.
pub(super) fn detail(found: &Found) -> Value {
    match found {
        Found::Pending(job) => Entry::Waiting(job, "pending").brief(),
        Found::Running(job) => Entry::Waiting(job, "in_progress").brief(),
        Found::Ended(ended) => {
            let mut job = Entry::Ended(ended).brief();
            job["outputs"] = json!(ended.outputs);
            job["execution_status"] = ended.status();
            job["workflow"] = json!({
                "prompt": ended.job.graph,
                "extra_data": ended.job.extra_data,
            });
            job
        }
    }
}

enum Entry<'a> {
    Waiting(&'a Job, &'static str),
    Ended(&'a Ended),
}

impl Entry<'_> {
    fn job(&self) -> &Job {
        match self {
            Self::Waiting(job, _) => job,
            Self::Ended(ended) => &ended.job,
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::Waiting(_, state) => state,
            Self::Ended(ended) if ended.success => "completed",
            Self::Ended(ended) if ended.message("execution_interrupted").is_some() => "cancelled",
            Self::Ended(_) => "failed",
        }
    }

    /// The job without its graph and outputs; members that say nothing are left out.
    fn brief(&self) -> Value {
        let job = self.job();
        let mut brief = Map::new();
        brief.insert("id".into(), json!(job.id));
        brief.insert("status".into(), json!(self.state()));
        brief.insert("priority".into(), json!(job.number));
        brief.insert("create_time".into(), json!(job.created));
        let mut shown = Shown::default();
        if let Self::Ended(ended) = self {
            if let Some((start, end)) = span(ended) {
                brief.insert("execution_start_time".into(), json!(start));
                brief.insert("execution_end_time".into(), json!(end));
            }
            if let Some(error) = ended.message("execution_error") {
                brief.insert("execution_error".into(), error.clone());
            }
            shown = Shown::of(ended);
        }
        brief.insert("outputs_count".into(), json!(shown.files));
        brief.insert("previewable_outputs_count".into(), json!(shown.files));
        if let Some(preview) = shown.best {
            brief.insert("preview_output".into(), preview);
        }
        if let Some(id) = workflow_id(job) {
            brief.insert("workflow_id".into(), json!(id));
        }
        Value::Object(brief)
    }
}

/// What a job shows: how many files, and the one that stands for it.
#[derive(Default)]
struct Shown {
    files: usize,
    best: Option<Value>,
}

impl Shown {
    fn of(ended: &Ended) -> Self {
        let mut shown = Self::default();
        let mut rank = 0;
        for (node, output) in &ended.outputs {
            for (media, items) in output.as_object().into_iter().flatten() {
                for item in items.as_array().into_iter().flatten() {
                    let about = json!({ "nodeId": node, "mediaType": media });
                    let (score, preview) = if let Some(file) = item.as_object() {
                        shown.files += 1;
                        let saved = file.get("type").and_then(Value::as_str) == Some("output");
                        (if saved { 3 } else { 2 }, with(file.clone(), &about))
                    } else if let Some(text) = item.as_str() {
                        (1, with(excerpt(text), &about))
                    } else {
                        continue;
                    };
                    // A saved file stands for the job before a preview does, and that before text; among equals the first.
                    if score > rank {
                        rank = score;
                        shown.best = Some(preview);
                    }
                }
            }
        }
        shown
    }
}

fn with(mut members: Map<String, Value>, about: &Value) -> Value {
    for (name, value) in about.as_object().into_iter().flatten() {
        members.insert(name.clone(), value.clone());
    }
    Value::Object(members)
}

fn excerpt(text: &str) -> Map<String, Value> {
    let mut members = Map::new();
    let cut = text.char_indices().nth(PREVIEW_TEXT).map(|(at, _)| at);
    members.insert("content".into(), json!(&text[..cut.unwrap_or(text.len())]));
    if cut.is_some() {
        members.insert("truncated".into(), json!(true));
    }
    members
}

/// When a job started and ended.
fn span(ended: &Ended) -> Option<(i64, i64)> {
    let time = |(_, data): &(&str, Value)| data.get("timestamp").and_then(Value::as_i64);
    Some((
        time(ended.messages.first()?)?,
        time(ended.messages.last()?)?,
    ))
}

fn workflow_id(job: &Job) -> Option<&str> {
    job.extra_data
        .get("extra_pnginfo")?
        .get("workflow")?
        .get("id")?
        .as_str()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indexmap::IndexMap;

    use super::super::queue::tests::job;
    use super::*;

    fn ended(id: &str, end: &'static str, outputs: Value) -> Arc<Ended> {
        let outputs: IndexMap<_, _> = serde_json::from_value(outputs).unwrap();
        Arc::new(Ended {
            job: job(id, 0),
            outputs,
            messages: vec![
                ("execution_start", json!({"timestamp": 10})),
                (end, json!({"timestamp": 25})),
            ],
            success: end == "execution_success",
        })
    }

    fn query(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn a_saved_file_stands_for_the_job_before_a_preview() {
        let file =
            |kind: &str| json!({"images": [{"filename": "a", "subfolder": "", "type": kind}]});
        let detail = detail(&Found::Ended(ended(
            "a",
            "execution_success",
            json!({"1": {"text": ["x"]}, "2": file("temp"), "3": file("output")}),
        )));
        assert_eq!(detail["preview_output"]["nodeId"], "3");
        assert_eq!(detail["preview_output"]["mediaType"], "images");
        assert_eq!(detail["outputs_count"], 2);
        assert_eq!(detail["execution_end_time"], 25);
    }

    #[test]
    fn an_interrupted_job_is_cancelled_and_a_failed_one_failed() {
        let snapshot = Snapshot {
            running: vec![job("r", 0)],
            pending: vec![job("p", 1)],
            ended: vec![
                ended("i", "execution_interrupted", json!({})),
                ended("f", "execution_error", json!({})),
            ],
        };
        let all = Filter::read(&query(&[])).unwrap().list(&snapshot);
        let state = |id: &str| {
            let jobs = all["jobs"].as_array().unwrap();
            jobs.iter().find(|job| job["id"] == id).unwrap()["status"].clone()
        };
        assert_eq!(
            ["r", "p", "i", "f"].map(state),
            ["in_progress", "pending", "cancelled", "failed"]
        );
        let some = Filter::read(&query(&[("status", "failed,pending"), ("limit", "1")]))
            .unwrap()
            .list(&snapshot);
        assert_eq!(some["pagination"]["total"], 2);
        assert_eq!(some["pagination"]["has_more"], true);
        assert_eq!(some["jobs"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_bad_query_is_told_what_is_wrong() {
        for (key, value, text) in [
            (
                "status",
                "bogus",
                "Invalid status value(s): bogus. Valid values: pending, in_progress, completed, failed, cancelled",
            ),
            (
                "sort_by",
                "bogus",
                "sort_by must be 'created_at' or 'execution_duration'",
            ),
            ("limit", "0", "limit must be a positive integer"),
        ] {
            assert_eq!(Filter::read(&query(&[(key, value)])).unwrap_err(), text);
        }
    }
}
