//! Lists of jobs: the queue, the history and `/api/jobs`, in the shapes of every dialect.
//!
//! The parts of a queue's item are told apart by what they are, since `ComfyUI` and Comfy Cloud order them differently.

use serde_json::{Map, Value};

use super::record::{HistoryEntry, JobStatus, NodeFailure, Verdict};

/// A job in `/queue`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueItem {
    /// Its place; the smallest is next.
    pub number: Option<f64>,
    /// Its id.
    pub id: String,
    /// When it was queued, milliseconds since 1970, where the server tells.
    pub created: Option<u64>,
    /// The session that queued it, where the server tells.
    pub client: Option<String>,
    /// How many nodes its graph has.
    pub nodes: usize,
    /// The titles of its nodes, or their classes: first those of the nodes that it is run for.
    pub titles: Vec<String>,
}

impl QueueItem {
    /// Reads `[number, id, graph, …]`, whatever the order of the rest, or an object with the same members.
    pub fn from_value(item: &Value) -> Option<Self> {
        let (number, id, graph, rest) = match item {
            Value::Array(parts) => (
                parts.first(),
                parts.get(1)?.as_str()?,
                parts.get(2),
                parts.get(3..).unwrap_or_default(),
            ),
            Value::Object(members) => {
                let id = ["prompt_id", "id"].iter().find_map(|n| members.get(*n));
                let number = ["priority", "number", "job_number"];
                (
                    number.iter().find_map(|name| members.get(*name)),
                    id?.as_str()?,
                    ["prompt", "workflow"].iter().find_map(|n| members.get(*n)),
                    std::slice::from_ref(item),
                )
            }
            _ => return None,
        };
        let outputs = rest.iter().find_map(Value::as_array);
        let extra = rest.iter().filter_map(Value::as_object).find_map(|object| {
            let inner = object.get("extra_data").and_then(Value::as_object);
            inner.or(Some(object))
        });
        let text = |name: &str| Some(extra?.get(name)?.as_str()?.to_owned());
        let graph = graph.and_then(Value::as_object);
        Some(Self {
            number: number.and_then(Value::as_f64),
            id: id.to_owned(),
            created: extra.and_then(|e| e.get("create_time")).and_then(ms),
            client: text("client_id"),
            nodes: graph.map_or(0, Map::len),
            titles: titles(graph, outputs),
        })
    }
}

/// The titles of a graph's nodes, without repetitions.
fn titles(graph: Option<&Map<String, Value>>, outputs: Option<&Vec<Value>>) -> Vec<String> {
    let Some(graph) = graph else {
        return Vec::new();
    };
    let first = outputs.into_iter().flatten().filter_map(Value::as_str);
    let mut found: Vec<String> = Vec::new();
    for node in first
        .filter_map(|id| graph.get(id))
        .chain(graph.values())
        .filter_map(Value::as_object)
    {
        let title = node.get("_meta").and_then(|meta| meta.get("title"));
        let title = title
            .and_then(Value::as_str)
            .filter(|title| !title.is_empty());
        let class = node.get("class_type").and_then(Value::as_str);
        if let Some(title) = title.or(class)
            && !found.iter().any(|known| known == title)
        {
            found.push(title.to_owned());
        }
    }
    found
}

/// The jobs that run and wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueListing {
    /// Running jobs.
    pub running: Vec<QueueItem>,
    /// Waiting jobs, in the order they will run.
    pub pending: Vec<QueueItem>,
}

impl QueueListing {
    /// Reads the answer of `/queue`; `None` when it has neither list.
    pub fn from_value(value: &Value) -> Option<Self> {
        let (running, pending) = queue_lists(value)?;
        Some(Self {
            running: in_order(running),
            pending: in_order(pending),
        })
    }
}

/// What runs and what waits in the answer of `/queue`; `None` when it has neither list.
pub(super) fn queue_lists(value: &Value) -> Option<(&[Value], &[Value])> {
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    let (running, pending) = (list("queue_running"), list("queue_pending"));
    (running.is_some() || pending.is_some()).then(|| {
        (
            running.map(Vec::as_slice).unwrap_or_default(),
            pending.map(Vec::as_slice).unwrap_or_default(),
        )
    })
}

fn in_order(items: &[Value]) -> Vec<QueueItem> {
    let mut items: Vec<QueueItem> = items.iter().filter_map(QueueItem::from_value).collect();
    let number = |item: &QueueItem| item.number.unwrap_or(f64::MAX);
    items.sort_by(|a, b| {
        number(a)
            .total_cmp(&number(b))
            .then_with(|| a.id.cmp(&b.id))
    });
    items
}

/// An ended job in `/history` or `/api/history_v2`.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryItem {
    /// What was queued.
    pub job: QueueItem,
    /// How it ended.
    pub verdict: Verdict,
    /// When it started, milliseconds since 1970, where the server tells.
    pub started: Option<u64>,
    /// When it ended, milliseconds since 1970, where the server tells.
    pub ended: Option<u64>,
    /// How many files and texts it made.
    pub results: usize,
}

impl HistoryItem {
    fn from_value(id: Option<&str>, value: &Value) -> Option<Self> {
        let entry: HistoryEntry = match value.get("status") {
            // A word instead of a record.
            Some(Value::String(_)) => HistoryEntry::of_job(value),
            _ => serde_json::from_value(value.clone()).ok()?,
        };
        let prompt = value.get("prompt");
        let own = ["prompt_id", "id"]
            .iter()
            .find_map(|n| value.get(*n)?.as_str());
        let mut job = prompt.and_then(QueueItem::from_value).unwrap_or_default();
        if let Some(id) = id.or(own) {
            id.clone_into(&mut job.id);
        }
        if job.id.is_empty() {
            return None;
        }
        job.created = job.created.or(value.get("create_time").and_then(ms));
        let messages = value.pointer("/status/messages").and_then(Value::as_array);
        let times = |kinds: &[&str]| {
            let mut messages = messages.into_iter().flatten();
            messages.find_map(|message| {
                let kind = message.get(0)?.as_str()?;
                let stamp = message.get(1)?.get("timestamp")?;
                kinds.contains(&kind).then(|| ms(stamp)).flatten()
            })
        };
        Some(Self {
            verdict: entry.verdict(),
            started: times(&["execution_start"]),
            ended: times(&[
                "execution_success",
                "execution_error",
                "execution_interrupted",
            ]),
            results: entry.results().len(),
            job,
        })
    }
}

/// Reads a list of ended jobs, keyed by id or as a list, in the order of the answer; `None` when it is neither.
pub fn history_items(value: &Value) -> Option<Vec<HistoryItem>> {
    let list = match value {
        Value::Array(list) => Some(list),
        Value::Object(members) => match members.get("history") {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        },
        _ => return None,
    };
    Some(match (list, value) {
        (Some(list), _) => list
            .iter()
            .filter_map(|entry| HistoryItem::from_value(None, entry))
            .collect(),
        (None, Value::Object(members)) => members
            .iter()
            .filter_map(|(id, entry)| HistoryItem::from_value(Some(id), entry))
            .collect(),
        _ => Vec::new(),
    })
}

/// A job in `/api/jobs`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSummary {
    /// Its id.
    pub id: String,
    /// How it stands.
    pub status: JobStatus,
    /// The server's own word for that.
    pub word: String,
    /// Its place in the queue.
    pub number: Option<f64>,
    /// When it was queued, milliseconds since 1970.
    pub created: Option<u64>,
    /// When it started.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// How many results it has.
    pub results: Option<u64>,
    /// The editor's id of its workflow.
    pub workflow_id: Option<String>,
    /// How it failed, where the server tells.
    pub failure: Option<NodeFailure>,
}

impl JobSummary {
    fn from_value(value: &Value) -> Option<Self> {
        let word = value.get("status").and_then(Value::as_str).unwrap_or("");
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let time = |names: [&str; 2]| names.iter().find_map(|name| ms(value.get(*name)?));
        let error = value
            .get("execution_error")
            .filter(|error| error.is_object());
        Some(Self {
            id: text("id").or_else(|| text("prompt_id"))?,
            status: JobStatus::of_word(word),
            word: word.to_owned(),
            number: value.get("priority").and_then(Value::as_f64),
            created: time(["create_time", "created_at"]),
            started: time(["execution_start_time", "started_at"]),
            ended: time(["execution_end_time", "ended_at"]),
            results: value.get("outputs_count").and_then(Value::as_u64),
            workflow_id: text("workflow_id"),
            failure: error.map(NodeFailure::from_value),
        })
    }
}

/// A page of `/api/jobs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// How many there are on all pages, where the server tells.
    pub total: Option<u64>,
    /// Whether there are more.
    pub more: bool,
    /// Where the next page starts, where pages are found by cursors.
    pub next: Option<String>,
}

impl JobPage {
    /// Reads the answer of `/api/jobs`; `None` when it holds no list.
    pub fn from_value(value: &Value) -> Option<Self> {
        let jobs = value.get("jobs")?.as_array()?;
        let paging = value.get("pagination").unwrap_or(value);
        let next = ["next_cursor", "next"];
        let next = next.iter().find_map(|name| paging.get(*name)?.as_str());
        let more = paging.get("has_more").and_then(Value::as_bool);
        Some(Self {
            jobs: jobs.iter().filter_map(JobSummary::from_value).collect(),
            total: paging.get("total").and_then(Value::as_u64),
            more: more.unwrap_or(next.is_some()),
            next: next.map(str::to_owned),
        })
    }
}

/// Milliseconds since 1970, as a whole number, a float, or a text by RFC 3339.
fn ms(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64().filter(|n| n.is_finite() && *n >= 0.0)?;
            format!("{number:.0}").parse().ok()
        }),
        Value::String(text) => {
            let stamp: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(stamp.as_millisecond()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn graph() -> Value {
        json!({
            "1": {"class_type": "EmptyImage", "inputs": {}},
            "9": {"class_type": "SaveImage", "inputs": {}, "_meta": {"title": "Final"}},
            "odd": 7
        })
    }

    #[test]
    fn both_orders_of_a_queues_item_mean_the_same() {
        let extra = json!({"client_id": "c", "create_time": 1_795_311_958_319_u64});
        let local = QueueItem::from_value(&json!([7, "a", graph(), extra, ["9"]])).unwrap();
        let cloud = QueueItem::from_value(&json!([7, "a", graph(), ["9"], extra])).unwrap();
        assert_eq!(local, cloud);
        assert_eq!(local.titles, ["Final", "EmptyImage"]);
        assert_eq!(local.created, Some(1_795_311_958_319));
        assert_eq!((local.client.as_deref(), local.nodes), (Some("c"), 3));
        let poor = QueueItem::from_value(&json!([-3.0, "a"])).unwrap();
        assert_eq!((poor.number, poor.created), (Some(-3.0), None));
        assert_eq!(QueueItem::from_value(&json!(["no id"])), None);
    }

    #[test]
    fn waiting_jobs_are_listed_in_the_order_they_will_run() {
        let queue = QueueListing::from_value(&json!({
            "queue_running": [],
            "queue_pending": [[2, "b", {}], [-1, "a", {}], [2, "a2", {}], null]
        }));
        let ids: Vec<_> = queue.unwrap().pending.into_iter().map(|i| i.id).collect();
        assert_eq!(ids, ["a", "a2", "b"]);
        assert_eq!(QueueListing::from_value(&json!({"error": "x"})), None);
    }

    #[test]
    fn both_shapes_of_the_history_are_read() {
        let status = json!({"status_str": "error", "completed": false, "messages": [
            ["execution_start", {"timestamp": 100}],
            ["execution_error", {"node_id": "9", "exception_message": "no", "timestamp": 250}]]});
        let outputs = json!({"9": {"images": [{"filename": "a.png"}]}});
        let keyed = json!({"a": {"prompt": [3, "a", graph(), {"create_time": 5}, ["9"]], "outputs": outputs, "status": status}});
        let listed = json!({"history": [{"prompt_id": "a", "create_time": 5, "outputs": outputs, "status": status,
            "prompt": {"prompt_id": "a", "priority": 3, "prompt": graph(), "extra_data": {}}}]});
        let keyed = history_items(&keyed).unwrap();
        let listed = history_items(&listed).unwrap();
        for items in [&keyed, &listed] {
            let [item] = &items[..] else {
                panic!("{items:?}")
            };
            assert_eq!((item.started, item.ended), (Some(100), Some(250)));
            assert!(matches!(&item.verdict, Verdict::Failed(f) if f.node_id == "9"));
            assert_eq!((&*item.job.id, item.job.created), ("a", Some(5)));
            assert_eq!((item.job.number, item.results), (Some(3.0), 1));
        }
        assert_eq!(history_items(&json!({})), Some(Vec::new()));
        assert_eq!(history_items(&json!("no")), None);
    }

    #[test]
    fn pages_of_jobs_are_read_with_offsets_and_with_cursors() {
        let local = json!({"jobs": [{"id": "a", "status": "in_progress", "priority": 7, "create_time": 1.5, "outputs_count": 0}, {"status": "no id"}],
            "pagination": {"offset": 0, "limit": 1, "total": 9, "has_more": true}});
        let page = JobPage::from_value(&local).unwrap();
        assert_eq!((page.jobs.len(), page.total, page.more), (1, Some(9), true));
        assert_eq!(page.jobs[0].created, Some(2));
        let cloud = json!({"jobs": [{"id": "b", "status": "non_retryable_error", "create_time": "1970-01-01T00:00:01Z",
            "execution_error": {"exception_type": "OOMError"}}], "next_cursor": "xyz"});
        let page = JobPage::from_value(&cloud).unwrap();
        assert_eq!((page.more, page.next.as_deref()), (true, Some("xyz")));
        assert_eq!(page.jobs[0].status, JobStatus::Failed);
        assert_eq!(page.jobs[0].created, Some(1000));
        assert_eq!(JobPage::from_value(&json!({"error": "x"})), None);
    }
}
