//! What a server remembers of jobs: history, queue, the jobs API.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::listing::queue_lists;
use super::results::{NodeResult, node_order, results};
use crate::base::NodeId;

/// How a node failed, in the server's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFailure {
    /// The node, as the graph names it; empty when the server names none.
    pub node_id: String,
    /// Its class.
    pub node_type: String,
    /// The exception's class, e.g. `ZeroDivisionError`.
    pub exception_type: String,
    /// The exception's text, without trailing white space.
    pub message: String,
    /// The traceback, one frame per item; holds paths of the server.
    pub traceback: Vec<String>,
}

impl NodeFailure {
    /// Reads the `data` of an `execution_error` or `execution_interrupted`.
    pub fn from_value(data: &Value) -> Self {
        let text = |name: &str| match data.get(name) {
            Some(Value::String(text)) => text.trim_end().to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        Self {
            node_id: text("node_id"),
            node_type: text("node_type"),
            exception_type: text("exception_type"),
            message: text("exception_message"),
            traceback: match data.get("traceback") {
                Some(Value::Array(lines)) => lines
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                Some(Value::String(text)) => vec![text.clone()],
                _ => Vec::new(),
            },
        }
    }

    /// Whether the message only says that a node blocked what follows it; the job goes on.
    pub fn is_block(&self) -> bool {
        self.exception_type == "ExecutionBlocked"
    }
}

/// How a job ended, judged by its record.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All its nodes ran or were cached.
    Succeeded,
    /// A node failed.
    Failed(NodeFailure),
    /// It was stopped from outside.
    Interrupted,
}

/// A finished job in `/history`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct HistoryEntry {
    /// Results by node, expanded ones too.
    #[serde(default)]
    pub outputs: Value,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    meta: Value,
    #[serde(default)]
    prompt: Value,
}

impl HistoryEntry {
    /// How the job ended. A record may say `success` although its messages hold an error: then it failed.
    pub fn verdict(&self) -> Verdict {
        if self.message("execution_interrupted").is_some() {
            return Verdict::Interrupted;
        }
        if let Some(data) = self.message("execution_error") {
            return Verdict::Failed(NodeFailure::from_value(data));
        }
        if self.status.get("status_str").and_then(Value::as_str) == Some("error") {
            return Verdict::Failed(NodeFailure {
                message: "the server recorded an error without saying which".to_owned(),
                ..NodeFailure::default()
            });
        }
        Verdict::Succeeded
    }

    /// The output nodes that the server took on: those that it found invalid are not among them. `None` where the record does not tell.
    pub fn taken(&self) -> Option<HashSet<NodeId>> {
        let nodes = self.prompt.get(4)?.as_array()?.iter();
        Some(nodes.filter_map(Value::as_str).map(NodeId::from).collect())
    }

    /// Takes the graph as it was sent, values of secrets and all. `None` where the record does not tell, or it was taken.
    pub fn take_graph(&mut self) -> Option<Value> {
        let graph = self.prompt.get_mut(2)?.take();
        graph.is_object().then_some(graph)
    }

    /// Nodes whose results were known before the job ran.
    pub fn cached(&self) -> HashSet<NodeId> {
        self.message("execution_cached")
            .and_then(|data| data.get("nodes"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(NodeId::from)
            .collect()
    }

    /// Every file and text; those of expanded nodes under the node of the graph that they stand for.
    pub fn results(&self) -> Vec<NodeResult> {
        let mut found = results(&self.outputs);
        for result in &mut found {
            let shown = self
                .meta
                .get(result.node.as_str())
                .and_then(|meta| meta.get("display_node"))
                .and_then(Value::as_str);
            if let Some(shown) = shown {
                result.node = NodeId::from(shown);
            }
        }
        found.sort_by(|a, b| node_order(a.node.as_str(), b.node.as_str()));
        found
    }

    /// The entry of an ended job that only `/api/jobs/{id}` tells of: its results, and its error in place of messages.
    pub fn of_job(job: &Value) -> Self {
        let outputs = job.get("outputs").cloned().unwrap_or_default();
        let meta = job.pointer("/execution_meta").cloned().unwrap_or_default();
        // Which of its nodes were taken on is not told there.
        let prompt = job.pointer("/workflow/prompt");
        let prompt = prompt.map_or(Value::Null, |graph| json!([null, null, graph]));
        if let Some(status) = job.get("execution_status").filter(|s| s.is_object()) {
            let status = status.clone();
            return Self {
                outputs,
                status,
                meta,
                prompt,
            };
        }
        let error = job.get("execution_error").filter(|e| e.is_object());
        let (word, messages) = match Job::from_value(job).status {
            JobStatus::Cancelled => ("error", json!([["execution_interrupted", {}]])),
            JobStatus::Failed => {
                let said = error.map(|error| json!(["execution_error", error]));
                ("error", Value::from_iter(said))
            }
            _ => ("success", json!([])),
        };
        Self {
            outputs,
            status: json!({"status_str": word, "messages": messages}),
            meta,
            prompt,
        }
    }

    fn message(&self, kind: &str) -> Option<&Value> {
        self.status
            .get("messages")?
            .as_array()?
            .iter()
            .find(|message| message.get(0).and_then(Value::as_str) == Some(kind))?
            .get(1)
    }
}

/// The entry of a job in the answer of `/history/{id}`; `None` while it waits, runs or is unknown.
///
/// # Errors
/// When the text is no JSON object of entries.
pub fn history_entry(
    text: &str,
    prompt_id: &str,
) -> Result<Option<HistoryEntry>, serde_json::Error> {
    let mut entries: std::collections::HashMap<String, HistoryEntry> = super::read(text)?;
    Ok(entries.remove(prompt_id))
}

/// A job in `/api/jobs/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where it stands.
    pub status: JobStatus,
}

impl Job {
    /// Reads the answer of `/api/jobs/{id}`.
    pub fn from_value(value: &Value) -> Self {
        let word = value.get("status").and_then(Value::as_str);
        Self {
            status: word.map_or(JobStatus::Running, JobStatus::of_word),
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Waits in the queue.
    Pending,
    /// Done.
    Completed,
    /// A node failed.
    Failed,
    /// Stopped from outside.
    Cancelled,
    /// The machine that ran it is gone.
    Lost,
    /// Runs, or a word that this code does not know.
    Running,
}

impl JobStatus {
    /// What a server's word means. Its own and Comfy Cloud's two sets of words are read alike.
    pub fn of_word(word: &str) -> Self {
        match word {
            "pending" | "waiting_to_dispatch" => Self::Pending,
            "completed" | "success" => Self::Completed,
            "failed" | "error" | "non_retryable_error" => Self::Failed,
            "cancelled" | "canceled" => Self::Cancelled,
            "lost" => Self::Lost,
            _ => Self::Running,
        }
    }
}

/// The ids in `/queue`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Running jobs.
    pub running: Vec<String>,
    /// Waiting jobs, in the order they will run.
    pub pending: Vec<String>,
}

impl Queue {
    /// Reads the answer of `/queue`; `None` when it has neither list.
    pub fn from_value(value: &Value) -> Option<Self> {
        let (running, pending) = queue_lists(value)?;
        Some(Self {
            running: ids(running),
            pending: ids(pending),
        })
    }
}

fn ids(items: &[Value]) -> Vec<String> {
    let mut items: Vec<(f64, &str)> = items
        .iter()
        .filter_map(|item| {
            let number = item.get(0).and_then(Value::as_f64).unwrap_or(f64::MAX);
            Some((number, item.get(1)?.as_str()?))
        })
        .collect();
    items.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
    items.into_iter().map(|(_, id)| id.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(value: Value) -> HistoryEntry {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_record_tells_of_the_graph_once_whichever_way_it_came() {
        let graph = json!({"1": {"class_type": "A", "inputs": {}}});
        let of_history = json!({"prompt": [3, "id", graph, {}, ["9"]], "outputs": {}});
        let mut of_history = entry(of_history);
        assert_eq!(of_history.take_graph(), Some(graph.clone()));
        assert_eq!(of_history.take_graph(), None);
        assert_eq!(of_history.taken().unwrap().len(), 1, "all else is there");
        for status in [Value::Null, json!({"status_str": "success"})] {
            let job = json!({"status": "completed", "workflow": {"prompt": graph}, "execution_status": status});
            let mut of_job = HistoryEntry::of_job(&job);
            assert_eq!(of_job.taken(), None, "that is not told there");
            assert_eq!(of_job.take_graph(), Some(graph.clone()));
        }
        let mut silent = entry(json!({"outputs": {}, "prompt": [3, "id", "none"]}));
        assert_eq!(silent.take_graph(), None);
        assert_eq!(HistoryEntry::of_job(&json!({})).take_graph(), None);
    }

    #[test]
    fn a_success_with_an_error_among_its_messages_is_a_failure() {
        let entry = entry(
            json!({"outputs": {}, "status": {"status_str": "success", "completed": true, "messages": [
            ["execution_start", {}],
            ["execution_error", {"node_id": "3", "node_type": "X", "exception_message": "cycle", "exception_type": "E", "current_inputs": []}]]}}),
        );
        let Verdict::Failed(failure) = entry.verdict() else {
            panic!("not a failure");
        };
        assert_eq!(failure.node_id, "3");
    }

    #[test]
    fn an_error_status_is_read_before_completed() {
        let failed =
            entry(json!({"status": {"status_str": "error", "completed": true, "messages": []}}));
        assert!(matches!(failed.verdict(), Verdict::Failed(_)));
        let stopped = entry(
            json!({"status": {"status_str": "error", "completed": false, "messages": [["execution_interrupted", {"node_id": "2"}]]}}),
        );
        assert_eq!(stopped.verdict(), Verdict::Interrupted);
        assert_eq!(entry(json!({"outputs": {}})).verdict(), Verdict::Succeeded);
    }

    #[test]
    fn results_of_expanded_nodes_belong_to_the_node_of_the_graph() {
        let entry = entry(json!({
            "outputs": {"7": {"text": ["t"]}, "5.0.0.2": {"images": [{"filename": "a.png"}]}},
            "meta": {"5.0.0.2": {"node_id": "5.0.0.2", "display_node": "5"}}
        }));
        let nodes: Vec<_> = entry.results().into_iter().map(|r| r.node).collect();
        assert_eq!(nodes, [NodeId::from("5"), NodeId::from("7")]);
    }

    #[test]
    fn the_record_of_a_running_job_is_absent() {
        assert!(history_entry("{}", "p").unwrap().is_none());
        let text = r#"{"p":{"outputs":{"1":{"values":[NaN]}},"status":{"status_str":"success"}}}"#;
        assert!(history_entry(text, "p").unwrap().is_some());
    }

    #[test]
    fn the_queue_is_told_in_running_order() {
        let queue = Queue::from_value(&json!({
            "queue_running": [[7, "r", {}, {}, []]],
            "queue_pending": [[11, "c"], [-3.0, "a"], [1.5, "b"], "odd"]
        }));
        assert_eq!(
            queue.unwrap(),
            Queue {
                running: vec!["r".to_owned()],
                pending: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]
            }
        );
        assert_eq!(Queue::from_value(&json!({"error": 1})), None);
    }

    #[test]
    fn both_sets_of_words_for_a_status_are_read_and_an_unknown_one_means_running() {
        for (word, means) in [
            ("pending", JobStatus::Pending),
            ("waiting_to_dispatch", JobStatus::Pending),
            ("in_progress", JobStatus::Running),
            ("dispatching", JobStatus::Running),
            ("completed", JobStatus::Completed),
            ("success", JobStatus::Completed),
            ("failed", JobStatus::Failed),
            ("error", JobStatus::Failed),
            ("non_retryable_error", JobStatus::Failed),
            ("cancelled", JobStatus::Cancelled),
            ("lost", JobStatus::Lost),
        ] {
            let job = Job::from_value(&json!({"status": word, "id": "x"}));
            assert_eq!(job.status, means, "{word}");
        }
        assert_eq!(Job::from_value(&json!({})).status, JobStatus::Running);
    }

    #[test]
    fn a_job_without_history_tells_its_own_end() {
        let failed = HistoryEntry::of_job(
            &json!({"id": "j", "status": "failed", "execution_error": {
            "node_id": "4", "node_type": "CheckpointLoaderSimple", "exception_type": "ModelDownloadError", "exception_message": "no such model\n",
            "current_inputs": {}, "current_outputs": {}}}),
        );
        let Verdict::Failed(failure) = failed.verdict() else {
            panic!("not a failure");
        };
        assert_eq!(
            (&*failure.node_id, &*failure.message),
            ("4", "no such model")
        );
        let without = HistoryEntry::of_job(&json!({"status": "non_retryable_error"}));
        assert!(matches!(without.verdict(), Verdict::Failed(_)));
        let stopped = HistoryEntry::of_job(&json!({"status": "cancelled"}));
        assert_eq!(stopped.verdict(), Verdict::Interrupted);
        let done = HistoryEntry::of_job(
            &json!({"status": "success", "outputs": {"9": {"images": [{"filename": "a.png", "type": "output"}]}}}),
        );
        assert_eq!(
            (done.verdict(), done.results().len()),
            (Verdict::Succeeded, 1)
        );
        let blocked = HistoryEntry::of_job(
            &json!({"status": "completed", "execution_status": {"status_str": "success",
            "messages": [["execution_error", {"node_id": "3", "exception_message": "cycle"}]]}}),
        );
        assert!(
            matches!(blocked.verdict(), Verdict::Failed(_)),
            "the messages count"
        );
    }
}
