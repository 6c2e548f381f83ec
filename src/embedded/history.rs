//! The jobs that ended, in memory, at most [`LIMIT`] of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::queue::Job;
use super::state::now_ms;
use crate::base::NodeId;

/// How many ended jobs are remembered.
const LIMIT: usize = 10_000;

/// A job that ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The job.
    pub(super) job: Arc<Job>,
    /// What its output nodes made, in the order in which they ran.
    pub(super) outputs: IndexMap<NodeId, Value>,
    /// `execution_start` and so on, with their data.
    pub(super) messages: Vec<(&'static str, Value)>,
    /// Whether it succeeded.
    pub(super) success: bool,
}

impl Ended {
    /// A job that was stopped before it began.
    pub(super) fn unstarted(job: Arc<Job>) -> Self {
        let data = json!({
            "prompt_id": job.id,
            "node_id": null,
            "node_type": null,
            "executed": [],
            "timestamp": now_ms(),
        });
        Self {
            job,
            outputs: IndexMap::new(),
            messages: vec![("execution_interrupted", data)],
            success: false,
        }
    }

    /// The object that `/history` shows.
    pub(super) fn to_json(&self) -> Value {
        let meta: Map<String, Value> = self
            .outputs
            .keys()
            .map(|id| {
                let about = json!({
                    "node_id": id,
                    "display_node": id,
                    "parent_node": null,
                    "real_node_id": id,
                });
                (id.0.clone(), about)
            })
            .collect();
        json!({
            "prompt": self.job.tuple(),
            "outputs": self.outputs,
            "status": self.status(),
            "meta": meta,
        })
    }

    /// `status_str`, `completed` and the messages.
    pub(super) fn status(&self) -> Value {
        json!({
            "status_str": if self.success { "success" } else { "error" },
            "completed": self.success,
            "messages": self.messages,
        })
    }

    /// The data of a message, if the job sent it.
    pub(super) fn message(&self, kind: &str) -> Option<&Value> {
        self.messages
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, data)| data)
    }
}

/// Ended jobs by order and by id.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: BTreeMap<u64, Arc<Ended>>,
    places: HashMap<String, u64>,
    next: u64,
}

impl History {
    /// Takes a job in. One with the id of an earlier job replaces it and keeps its place.
    pub(super) fn insert(&mut self, ended: Ended) {
        let place = *self.places.entry(ended.job.id.clone()).or_insert_with(|| {
            let place = self.next;
            self.next += 1;
            place
        });
        self.entries.insert(place, Arc::new(ended));
        while self.entries.len() > LIMIT {
            if let Some((_, oldest)) = self.entries.pop_first() {
                self.places.remove(&oldest.job.id);
            }
        }
    }

    /// A job.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Ended>> {
        self.entries.get(self.places.get(id)?).cloned()
    }

    /// All jobs, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Ended>> {
        self.entries.values().cloned().collect()
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(place) = self.places.remove(id) {
            self.entries.remove(&place);
        }
    }

    /// Forgets all jobs.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
    }
}

/// The part of all jobs that `max_items` and `offset` ask for: the newest without an offset, else from the offset on.
pub(super) fn page(
    mut all: Vec<Arc<Ended>>,
    max_items: Option<i64>,
    offset: i64,
) -> Vec<Arc<Ended>> {
    let count = max_items.and_then(|max| usize::try_from(max).ok());
    let start = match (usize::try_from(offset), count) {
        (Ok(offset), _) => offset,
        (Err(_), Some(count)) => all.len().saturating_sub(count),
        (Err(_), None) => 0,
    };
    all.drain(..start.min(all.len()));
    if let Some(count) = count {
        all.truncate(count);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::job;
    use super::*;

    fn ended(id: &str) -> Ended {
        Ended {
            job: job(id, 0),
            outputs: IndexMap::new(),
            messages: Vec::new(),
            success: true,
        }
    }

    fn ids(entries: &[Arc<Ended>]) -> Vec<&str> {
        entries.iter().map(|entry| entry.job.id.as_str()).collect()
    }

    #[test]
    fn the_oldest_jobs_make_room() {
        let mut history = History::default();
        for n in 0..LIMIT + 2 {
            history.insert(ended(&n.to_string()));
        }
        assert_eq!(history.all().len(), LIMIT);
        assert!(history.get("1").is_none());
        assert!(history.get("2").is_some());
    }

    #[test]
    fn an_id_that_is_used_again_replaces_the_earlier_job() {
        let mut history = History::default();
        for id in ["a", "b", "a"] {
            history.insert(ended(id));
        }
        assert_eq!(ids(&history.all()), ["a", "b"]);
        history.remove("a");
        assert_eq!(ids(&history.all()), ["b"]);
    }

    #[test]
    fn a_page_is_the_newest_without_an_offset_and_the_oldest_from_zero() {
        let all: Vec<_> = ["a", "b", "c"].map(|id| Arc::new(ended(id))).into();
        assert_eq!(ids(&page(all.clone(), Some(2), -1)), ["b", "c"]);
        assert_eq!(ids(&page(all.clone(), Some(2), 0)), ["a", "b"]);
        assert_eq!(ids(&page(all.clone(), None, 1)), ["b", "c"]);
        assert_eq!(ids(&page(all, Some(9), 9)), [""; 0]);
    }
}
