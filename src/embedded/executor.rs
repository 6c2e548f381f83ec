//! Runs one job after another on a thread of its own.
//!
//! What a client sees is in the order that `ComfyUI` keeps: start, cached nodes, then for each node its progress and its result, then the end;
//! the record is in the history before the client hears that nothing executes any more. A node that fails or panics ends its job, never the
//! thread.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value as Json, json};

use super::cache::{self, Made};
use super::emulate;
use super::history::Ended;
use super::nodes::{self, Call, Context, NodeError, Value};
use super::queue::{Job, Next};
use super::simulate::{Halt, Role, Step, act, pixels};
use super::sockets::To;
use super::state::lock;
use super::state::{Server, now_ms};
use super::walk::{self, Agenda};
use crate::base::{ContentHash, NodeId};
use crate::workflow::{self, Node};

/// Works until the board stops.
pub(super) fn work(server: &Server) {
    loop {
        match server.board.next() {
            Next::Stop => return,
            Next::Free => lock(&server.cache).clear(),
            Next::Run(job) => {
                server.board.done(run(server, &job));
                // Nobody wrote down that the Cloud says it, too; a client has to do without.
                if server.dialect.socket.broadcast {
                    continue;
                }
                let data = json!({ "node": null, "prompt_id": job.id });
                server
                    .sockets
                    .send(To::Owner(job.client()), "executing", &data);
            }
        }
    }
}

/// Runs one job to its end.
fn run(server: &Server, job: &Arc<Job>) -> Ended {
    let mut run = Run::new(server, job);
    let end = catch_unwind(AssertUnwindSafe(|| run.nodes()));
    let success = match end {
        Ok(Ok(())) => {
            run.note("execution_success", json!({}));
            true
        }
        Ok(Err(stop)) => {
            run.stopped(stop);
            false
        }
        Err(panic) => {
            let node = lock(&job.node).clone().unwrap_or_else(|| "".into());
            run.stopped(Stop::Failed(node, panicked(&*panic)));
            false
        }
    };
    *lock(&job.node) = None;
    Ended {
        job: Arc::clone(job),
        outputs: run.outputs,
        messages: run.messages,
        success,
    }
}

/// Why a job ended early.
enum Stop {
    Interrupted(NodeId),
    Failed(NodeId, NodeError),
}

struct Run<'a> {
    server: &'a Server,
    job: &'a Job,
    messages: Vec<(&'static str, Json)>,
    outputs: IndexMap<NodeId, Json>,
    executed: IndexSet<NodeId>,
    made: HashMap<NodeId, Made>,
    /// The data of `progress_state`, which grows with every node.
    progress: Json,
    current_inputs: Map<String, Json>,
}

impl<'a> Run<'a> {
    fn new(server: &'a Server, job: &'a Job) -> Self {
        Self {
            server,
            job,
            messages: Vec::new(),
            outputs: IndexMap::new(),
            executed: IndexSet::new(),
            made: HashMap::new(),
            progress: json!({ "prompt_id": job.id, "nodes": {} }),
            current_inputs: Map::new(),
        }
    }

    fn nodes(&mut self) -> Result<(), Stop> {
        self.note("execution_start", json!({}));
        let keys = match self.job.fault {
            // What is to fail is not remembered.
            Some(_) => HashMap::new(),
            None => cache::keys(&self.job.graph, &|name| self.server.file_hash(name)),
        };
        let cached = self.look_up(&keys);
        self.note("execution_cached", json!({ "nodes": cached }));
        let mut agenda = Agenda::new(
            &self.job.graph,
            &self.job.targets,
            &|id| self.made.contains_key(id),
            &|id| self.is_output(id),
        )
        .map_err(|dangling| {
            let error = NodeError::new("NodeNotFoundError", dangling.to_string());
            Stop::Failed(dangling.node, error)
        })?;
        self.repeat_cached();
        let chunks = text_chunks(self.job);
        let context = Context {
            folders: &self.server.folders,
            counters: &self.server.counters,
            chunks: &chunks,
            preview_tag: &self.server.preview_tag,
        };
        while let Some(id) = agenda.next() {
            self.node(&id, &context, keys.get(&id).copied())?;
            agenda.finished(&id);
        }
        match self
            .job
            .targets
            .iter()
            .find(|id| !self.made.contains_key(*id))
        {
            Some(id) => Err(Stop::Failed(
                id.clone(),
                NodeError::new("DependencyCycleError", "the node depends on itself"),
            )),
            None => Ok(()),
        }
    }

    /// Takes what is cached for this prompt. The nodes, in its order.
    fn look_up(&mut self, keys: &HashMap<NodeId, ContentHash>) -> Vec<NodeId> {
        let mut cache = lock(&self.server.cache);
        let mut cached = Vec::new();
        for id in self.job.graph.nodes.keys() {
            if let Some(made) = keys.get(id).and_then(|key| cache.get(*key)) {
                self.made.insert(id.clone(), made);
                cached.push(id.clone());
            }
        }
        cached
    }

    /// Shows again what cached targets showed.
    fn repeat_cached(&mut self) {
        let targets = self.job.targets.clone();
        for id in targets {
            let Some(ui) = self.made.get(&id).map(|made| made.ui.clone()) else {
                continue;
            };
            self.show(&id, ui.as_deref().unwrap_or(&Json::Null));
            self.progress(&id, "finished", &json!(1), &json!(1));
        }
    }

    fn node(
        &mut self,
        id: &NodeId,
        context: &Context<'_>,
        key: Option<ContentHash>,
    ) -> Result<(), Stop> {
        let job = self.job;
        // Looked at before anybody hears of the node: who interrupts because it heard of this one stops the next.
        let interrupted = job.interrupt.load(Ordering::Relaxed);
        *lock(&job.node) = Some(id.clone());
        self.progress(id, "running", &json!(0.0), &json!(1.0));
        self.send(
            To::Owner(job.client()),
            "executing",
            json!({ "node": id, "display_node": id }),
        );
        if interrupted {
            return Err(Stop::Interrupted(id.clone()));
        }
        if let Some(fault) = job.fault {
            let error = NodeError::new(fault, "it was asked for by the key");
            return Err(Stop::Failed(id.clone(), error));
        }
        let made = self.call(id, context).map_err(|halt| match halt {
            Halt::Interrupted => Stop::Interrupted(id.clone()),
            Halt::Failed(error) => Stop::Failed(id.clone(), error),
        })?;
        if let Some(key) = key {
            lock(&self.server.cache).put(key, made.clone());
        }
        if let Some(ui) = &made.ui {
            self.show(id, ui);
        }
        self.made.insert(id.clone(), made);
        self.executed.insert(id.clone());
        self.progress(id, "finished", &json!(1.0), &json!(1.0));
        Ok(())
    }

    fn call(&mut self, id: &NodeId, context: &Context<'_>) -> Result<Made, Halt> {
        self.current_inputs.clear();
        let node =
            self.job.graph.nodes.get(id).ok_or_else(|| {
                NodeError::new("NodeNotFoundError", format!("node {id} not found"))
            })?;
        let inputs = self.resolve(node)?;
        let Some(class) = nodes::class(&node.class_type) else {
            return self.act(id, node, &inputs, context);
        };
        let inputs = self.materialise(class, inputs)?;
        let call = Call {
            inputs: &inputs,
            context,
        };
        let result = catch_unwind(AssertUnwindSafe(|| (class.run)(&call)))
            .unwrap_or_else(|panic| Err(panicked(&*panic)));
        if result.is_err() {
            self.current_inputs = inputs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!([value.describe()])))
                .collect();
        }
        Ok(result?)
    }

    /// In a rehearsal, a computed node gets pixels where it declares pixels.
    fn materialise<'n>(
        &self,
        class: &nodes::Class,
        mut inputs: Vec<(&'n str, Value)>,
    ) -> Result<Vec<(&'n str, Value)>, NodeError> {
        if self.server.simulation.is_none() {
            return Ok(inputs);
        }
        let declared = (class.inputs)();
        for (name, value) in &mut inputs {
            if let Value::Stand(stand) = value {
                let of = |section: &str| declared[section][&**name][0].as_str();
                let ty = of("required").or_else(|| of("optional")).unwrap_or("*");
                *value = pixels(stand, ty)?;
            }
        }
        Ok(inputs)
    }

    /// A node of a rehearsal.
    fn act(
        &mut self,
        id: &NodeId,
        node: &Node,
        inputs: &[(&str, Value)],
        context: &Context<'_>,
    ) -> Result<Made, Halt> {
        let Some(simulation) = &self.server.simulation else {
            let text = format!("node class `{}` is not known", node.class_type);
            return Err(NodeError::new("KeyError", text).into());
        };
        let mut others = self.job.graph.nodes.values();
        let role = Role {
            class: &node.class_type,
            definition: simulation.definition(&node.class_type),
            inputs,
            read: others.any(|other| walk::sources(other).any(|source| source == id.as_str())),
        };
        act(&role, context, &mut |step| self.step(id, step))
    }

    /// An acted sampler moved on; whether it is to go on.
    fn step(&mut self, id: &NodeId, step: Step) -> bool {
        let to = To::Owner(self.job.client());
        let (value, max) = (json!(step.value), json!(step.max));
        let data = json!({ "value": value, "max": max, "node": id });
        self.send(to, "progress", data);
        self.progress(id, "running", &value, &max);
        if let Some(preview) = step.preview {
            let about = json!({
                "node_id": id,
                "display_node_id": id,
                "parent_node_id": null,
                "real_node_id": id,
                "prompt_id": self.job.id,
                "image_type": "image/png",
            });
            self.server.sockets.preview(to, &about, &preview);
        }
        !self.job.interrupt.load(Ordering::Relaxed)
    }

    /// A node's inputs, with what its links lead to.
    fn resolve<'n>(&self, node: &'n Node) -> Result<Vec<(&'n str, Value)>, NodeError> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (name, value) in &node.inputs {
            let value = match workflow::is_link(value) {
                None => Value::Plain(value.clone()),
                Some((from, slot)) => {
                    let outputs = self.made.get(from).map(|made| &*made.outputs);
                    outputs
                        .and_then(|outputs| outputs.get(index(slot, outputs.len())?))
                        .cloned()
                        .ok_or_else(|| {
                            let text = format!("node {from} has no output {slot}");
                            NodeError::new("IndexError", text)
                        })?
                }
            };
            inputs.push((name.as_str(), value));
        }
        Ok(inputs)
    }

    /// A node's result for people: into the record and to the owner.
    fn show(&mut self, id: &NodeId, ui: &Json) {
        let ui = if self.server.dialect.assets {
            Cow::Owned(emulate::with_asset_ids(ui))
        } else {
            Cow::Borrowed(ui)
        };
        self.send(
            To::Owner(self.job.client()),
            "executed",
            json!({ "node": id, "display_node": id, "output": ui }),
        );
        if !ui.is_null() {
            self.outputs.insert(id.clone(), ui.into_owned());
        }
    }

    fn progress(&mut self, id: &NodeId, state: &str, value: &Json, max: &Json) {
        self.progress["nodes"][id.as_str()] = json!({
            "value": value,
            "max": max,
            "state": state,
            "node_id": id,
            "prompt_id": self.job.id,
            "display_node_id": id,
            "parent_node_id": null,
            "real_node_id": id,
        });
        self.server.sockets.send(
            To::OwnerOrEveryone(self.job.client()),
            "progress_state",
            &self.progress,
        );
    }

    fn stopped(&mut self, stop: Stop) {
        let class_of = |id: &NodeId| self.job.graph.nodes.get(id).map(|node| &node.class_type);
        match stop {
            Stop::Interrupted(id) => {
                let data = json!({
                    "node_id": id,
                    "node_type": class_of(&id),
                    "executed": self.executed,
                });
                self.note("execution_interrupted", data);
            }
            Stop::Failed(id, error) => {
                let class = class_of(&id);
                let data = json!({
                    "node_id": id,
                    "node_type": class,
                    "executed": self.executed,
                    "exception_message": format!("{}\n", error.message),
                    "exception_type": error.exception,
                    "traceback": [format!("  node {id} of the embedded server\n")],
                    "current_inputs": self.current_inputs,
                    "current_outputs": self.job.graph.nodes.keys().collect::<Vec<_>>(),
                });
                self.note("execution_error", data);
            }
        }
    }

    /// A message that the record keeps: with the job's id and the time.
    fn note(&mut self, kind: &'static str, mut data: Json) {
        data["prompt_id"] = json!(self.job.id);
        data["timestamp"] = json!(now_ms());
        let client = self.job.client();
        let to = if kind == "execution_interrupted" {
            To::OwnerOrEveryone(client)
        } else {
            To::Owner(client)
        };
        self.server.sockets.send(to, kind, &data);
        self.messages.push((kind, data));
    }

    /// A message that only the client sees.
    fn send(&self, to: To<'_>, kind: &str, mut data: Json) {
        data["prompt_id"] = json!(self.job.id);
        self.server.sockets.send(to, kind, &data);
    }

    fn is_output(&self, id: &str) -> bool {
        self.job
            .graph
            .nodes
            .get(id)
            .is_some_and(|node| self.server.ends_a_graph(&node.class_type))
    }
}

/// A slot as an index; -1 is the last.
fn index(slot: i64, length: usize) -> Option<usize> {
    match usize::try_from(slot) {
        Ok(slot) => Some(slot),
        Err(_) => length.checked_sub(usize::try_from(slot.unsigned_abs()).ok()?),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> NodeError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    NodeError::new("RuntimeError", format!("the node panicked: {text}"))
}

/// `prompt` and the members of `extra_pnginfo`, as saved pictures carry them.
fn text_chunks(job: &Job) -> Vec<(String, String)> {
    let mut chunks = vec![("prompt".to_owned(), ascii_json(&json!(job.graph)))];
    let extra = job
        .extra_data
        .get("extra_pnginfo")
        .and_then(Json::as_object);
    for (name, value) in extra.into_iter().flatten() {
        chunks.push((name.clone(), ascii_json(value)));
    }
    chunks
}

/// JSON in ASCII alone: PNG's plain text chunks are Latin-1.
fn ascii_json(value: &Json) -> String {
    let json = value.to_string();
    if json.is_ascii() {
        return json;
    }
    let mut ascii = String::with_capacity(json.len() * 2);
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use super::super::files::Folders;
    use super::*;

    fn ended(graph: Json, targets: &[&str]) -> Ended {
        let dialect = crate::protocol::Dialect::comfy(None);
        let server = Server::speaking(dialect, Folders::open(None).unwrap());
        let job = Job {
            number: 0.into(),
            id: "id".into(),
            graph: serde_json::from_value(graph).unwrap(),
            extra_data: Map::new(),
            targets: targets.iter().map(|id| NodeId::from(*id)).collect(),
            created: 0,
            interrupt: AtomicBool::new(false),
            node: Mutex::new(None),
            fault: None,
        };
        run(&server, &Arc::new(job))
    }

    #[test]
    fn a_panic_in_a_node_is_an_error_of_that_node() {
        let ended = ended(json!({"7": {"class_type": "Panics", "inputs": {}}}), &["7"]);
        let error = ended.message("execution_error").unwrap();
        assert!(!ended.success);
        assert_eq!(error["node_id"], "7");
        assert_eq!(error["node_type"], "Panics");
        assert_eq!(
            error["exception_message"],
            "the node panicked: on purpose\n"
        );
    }

    #[test]
    fn a_cycle_through_inputs_that_nobody_declares_ends_the_job() {
        let graph = json!({
            "1": {"class_type": "PreviewAny", "inputs": {"source": "a", "x": ["2", 0]}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": "b", "x": ["1", 0]}},
        });
        let ended = ended(graph, &["1", "2"]);
        let error = ended.message("execution_error").unwrap();
        assert_eq!(error["exception_type"], "DependencyCycleError");
    }

    #[test]
    fn an_output_that_a_node_does_not_have_is_an_error_of_the_reader() {
        let graph = json!({
            "1": {"class_type": "PreviewAny", "inputs": {"source": "a"}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 5]}},
        });
        let ended = ended(graph, &["2"]);
        let error = ended.message("execution_error").unwrap();
        assert_eq!(error["node_id"], "2");
        assert_eq!(error["exception_message"], "node 1 has no output 5\n");
    }

    #[test]
    fn negative_slots_count_from_the_end() {
        assert_eq!(index(-1, 2), Some(1));
        assert_eq!(index(-3, 2), None);
        assert_eq!(index(5, 2), Some(5));
    }

    #[test]
    fn text_in_pictures_is_ascii_and_still_the_same_json() {
        let value = json!({"prompt": "größe 🜂", "n": 1});
        let ascii = ascii_json(&value);
        assert!(ascii.is_ascii());
        assert_eq!(serde_json::from_str::<Json>(&ascii).unwrap(), value);
    }
}
