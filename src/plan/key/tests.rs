//! What changes a key, what does not, and what is said of a change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::facts::{ModelFact, Realm, ServerFacts};
use super::manifest::{Entry, Manifest};
use super::stale::{StaleReason, explain};
use super::workflow::{self, Inputs, Memo};
use crate::artifact::FileValue;
use crate::base::{ContentHash, NodeId};
use crate::plan::{CacheMode, Upload, Uploadable};
use crate::workflow::Graph;

/// A workflow task, owned, so that tests can change it.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) graph: Graph,
    pub(super) uploads: Vec<Upload>,
    pub(super) targets: Vec<NodeId>,
    pub(super) mode: CacheMode,
    pub(super) facts: ServerFacts,
    pub(super) params: BTreeMap<String, String>,
    pub(super) plugins: Vec<crate::plugin::Shape>,
}

impl Task {
    pub(super) fn new(graph: Value) -> Self {
        Self {
            graph: serde_json::from_value(graph).unwrap(),
            uploads: Vec::new(),
            targets: Vec::new(),
            mode: CacheMode::On,
            facts: ServerFacts::new(Realm::Comfy),
            params: BTreeMap::new(),
            plugins: Vec::new(),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            graph: &self.graph,
            uploads: &self.uploads,
            targets: &self.targets,
            plugins: &self.plugins,
        }
    }

    pub(super) fn key(&self) -> ContentHash {
        workflow::hash(&self.inputs(), self.mode, &self.facts, None)
    }

    fn key_by(&self, memo: &Memo) -> ContentHash {
        workflow::hash(&self.inputs(), self.mode, &self.facts, Some(memo))
    }

    fn manifest(&self) -> Manifest {
        workflow::manifest(&self.inputs(), self.mode, &self.facts, self.params.clone())
    }

    fn set(&mut self, node: &str, input: &str, value: Value) {
        let node = self.graph.nodes.get_mut(node).unwrap();
        node.inputs.insert(input.to_owned(), value);
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

pub(super) fn file(node: &str, input: &str, pointer: &str, name: &str, content: &str) -> Upload {
    Upload {
        node: NodeId::from(node),
        input: input.to_owned(),
        pointer: pointer.to_owned(),
        file: Uploadable::File(FileValue {
            path: PathBuf::from("/somewhere").join(name),
            hash: ContentHash::of(content.as_bytes()),
            size: content.len() as u64,
        }),
    }
}

fn task() -> Task {
    Task::new(json!({
        "3": {"class_type": "KSampler", "inputs": {
            "seed": 42, "steps": 20, "cfg": 7.5, "model": ["4", 0], "latent": ["5", 0]
        }, "_meta": {"title": "Base"}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd\\v15.safetensors"}},
        "5": {"class_type": "LoadImage", "inputs": {"image": "photo.png", "crop": {"__value__": [1, 2]}}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "a"}}
    }))
    .with(|task| {
        task.uploads = vec![file("5", "image", "", "photo.png", "pixels")];
        task.targets = vec![NodeId::from("9")];
        task.facts.version = Some("0.33.0".to_owned());
        task.facts.packs.insert("pack".to_owned(), "1".to_owned());
        let model = ModelFact {
            folder: "checkpoints".to_owned(),
            size: Some(4_265_146_304),
            modified: Some(1_700_000_000_000),
        };
        task.facts.models.insert("sd/v15.safetensors".to_owned(), vec![model]);
    })
}

fn model(task: &mut Task) -> &mut ModelFact {
    &mut task.facts.models.get_mut("sd/v15.safetensors").unwrap()[0]
}

pub(super) fn texts(reasons: &[StaleReason]) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

fn said(old: &Task, new: &Task) -> Vec<String> {
    assert_ne!(old.key(), new.key(), "the key must change");
    texts(&explain(&old.manifest(), &new.manifest()))
}

#[test]
fn names_places_and_times_are_not_in_the_key() {
    let same = [
        task().with(|t| t.graph.nodes.reverse()),
        task().with(|t| t.graph.nodes["3"].inputs.sort_keys()),
        task().with(|t| t.graph.nodes["3"].meta.clear()),
        // Uploads are named by the file; their content decides.
        task().with(|t| t.set("5", "image", json!("other.png"))),
        task().with(|t| t.uploads[0] = file("5", "image", "", "else/where.jpg", "pixels")),
        task().with(|t| t.targets.push(NodeId::from("9"))),
        task().with(|t| t.params.insert("p".into(), "1".into()).map_or((), drop)),
        task().with(|t| t.facts.version = Some("0.34.0".to_owned())),
        task().with(|t| t.facts.packs.clear()),
        task().with(|t| model(t).modified = Some(1)),
        task().with(|t| {
            let unused = t.facts.models["sd/v15.safetensors"].clone();
            t.facts
                .models
                .insert("unused.safetensors".to_owned(), unused);
        }),
    ];
    for (at, other) in same.iter().enumerate() {
        assert_eq!(other.key(), task().key(), "{at}");
        assert_eq!(explain(&task().manifest(), &other.manifest()), [], "{at}");
    }
}

/// What is told of a change, and the task that it makes.
fn changes() -> Vec<(&'static str, Task)> {
    let changes = [changes_of_inputs(), changes_of_nodes(), changes_around()];
    changes.into_iter().flatten().collect()
}

fn changes_of_inputs() -> Vec<(&'static str, Task)> {
    vec![
        (
            "Base.steps 20 → 24",
            task().with(|t| t.set("3", "steps", json!(24))),
        ),
        (
            "Base.steps 20 → 20.0",
            task().with(|t| t.set("3", "steps", json!(20.0))),
        ),
        (
            "Base.steps 20 → \"20\"",
            task().with(|t| t.set("3", "steps", json!("20"))),
        ),
        (
            "Base.denoise = 1 is new",
            task().with(|t| t.set("3", "denoise", json!(1))),
        ),
        (
            "Base.cfg (was 7.5) is gone",
            task().with(|t| {
                t.graph.nodes["3"].inputs.shift_remove("cfg");
            }),
        ),
        (
            "Base.model [\"4\",0] → [\"4\",1]",
            task().with(|t| t.set("3", "model", json!(["4", 1]))),
        ),
    ]
}

fn changes_of_nodes() -> Vec<(&'static str, Task)> {
    let node = json!({"class_type": "X", "inputs": {}});
    vec![
        (
            "class of node 9 SaveImage → PreviewImage",
            task().with(|t| {
                t.graph.nodes["9"].class_type = "PreviewImage".to_owned();
            }),
        ),
        (
            "node 10 (X) is new",
            task().with(|t| {
                t.graph
                    .nodes
                    .insert(NodeId::from("10"), serde_json::from_value(node).unwrap());
            }),
        ),
        (
            "node 9 (SaveImage) is gone",
            task().with(|t| {
                t.graph.nodes.shift_remove("9");
            }),
        ),
    ]
}

fn changes_around() -> Vec<(&'static str, Task)> {
    vec![
        (
            "LoadImage.image `photo.png` de6a7900 → 681b08f7",
            task().with(|t| {
                t.uploads[0] = file("5", "image", "", "photo.png", "new pixels");
            }),
        ),
        (
            "LoadImage.crop {\"__value__\":[1,2]} → {\"__value__\":[1,3]}",
            task().with(|t| {
                t.set("5", "crop", json!({"__value__": [1, 3]}));
            }),
        ),
        (
            "output nodes SaveImage → all",
            task().with(|t| t.targets.clear()),
        ),
        (
            "runs on the embedded server, its earlier result is from ComfyUI",
            task().with(|t| t.facts.realm = Realm::Embedded),
        ),
        (
            "server: size of model checkpoints/sd/v15.safetensors 4 265 146 304 bytes → 7 bytes",
            task().with(|t| model(t).size = Some(7)),
        ),
    ]
}

#[test]
fn each_change_changes_the_key_and_is_told() {
    let mut keys = vec![task().key()];
    for (text, changed) in changes() {
        assert_eq!(said(&task(), &changed), [text]);
        keys.push(changed.key());
    }
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), all, "and no two of them are the same");
}

#[test]
fn a_value_that_became_a_file_is_told_as_the_file() {
    let plain = task().with(|t| t.uploads.clear());
    assert_eq!(
        said(&plain, &task()),
        ["LoadImage.image `photo.png` none → de6a7900"]
    );
    assert_eq!(
        said(&task(), &plain),
        ["LoadImage.image `photo.png` de6a7900 → none"]
    );
}

#[test]
fn a_strict_key_has_the_servers_facts_in_it() {
    let strict = task().with(|t| t.mode = CacheMode::Strict);
    assert_ne!(strict.key(), task().key());
    for (text, changed) in [
        (
            "server: version 0.33.0 → 0.34.0",
            strict
                .clone()
                .with(|t| t.facts.version = Some("0.34.0".to_owned())),
        ),
        (
            "server: pack pack (was 1) is gone",
            strict.clone().with(|t| t.facts.packs.clear()),
        ),
        (
            "server: date of model checkpoints/sd/v15.safetensors 2023-11-14 22:13:20 UTC → 1970-01-01 00:00:01 UTC",
            strict.clone().with(|t| {
                model(t).modified = Some(1000);
            }),
        ),
    ] {
        assert_eq!(said(&strict, &changed), [text]);
    }
}

#[test]
fn facts_outside_the_key_are_compared_when_they_are_known() {
    let recorded = |task: &Task| task.facts.recorded(&task.graph);
    let newer = task().with(|t| {
        t.facts.version = Some("0.34.0".to_owned());
        model(t).modified = Some(1_700_000_060_000);
    });
    let differences = recorded(&task()).differences(&recorded(&newer));
    assert_eq!(
        texts(&differences),
        [
            "server: version 0.33.0 → 0.34.0",
            "server: date of model checkpoints/sd/v15.safetensors 2023-11-14 22:13:20 UTC → 2023-11-14 22:14:20 UTC"
        ]
    );
    let silent = task().with(|t| t.facts = ServerFacts::new(Realm::Comfy));
    assert_eq!(recorded(&silent).differences(&recorded(&task())), []);
    assert_eq!(recorded(&task()).differences(&recorded(&silent)), []);
}

#[test]
fn without_a_server_its_models_are_taken_for_what_they_were() {
    for mode in [CacheMode::On, CacheMode::Strict] {
        let told = task().with(|t| t.mode = mode);
        let assumed = told.clone().with(|t| {
            t.facts = ServerFacts::assumed(Realm::Comfy, &told.manifest());
        });
        assert_eq!(assumed.key(), told.key());
    }
}

#[test]
fn a_param_that_explains_a_change_is_named_first() {
    let with = |subject: &str, seed: &str| {
        task().with(|t| {
            t.set("9", "filename_prefix", json!(format!("my {subject}")));
            t.params
                .insert("subject".to_owned(), format!("\"{subject}\""));
            t.params.insert("seed".to_owned(), seed.to_owned());
        })
    };
    assert_eq!(
        said(&with("cat", "1"), &with("dog", "2")),
        [
            "param subject \"cat\" → \"dog\"",
            "SaveImage.filename_prefix \"my cat\" → \"my dog\""
        ]
    );
    // Computed from a param: nothing tells which one, so each that changed is named.
    let computed = with("cat", "2").with(|t| t.set("3", "seed", json!(77)));
    assert_eq!(
        said(&with("cat", "1"), &computed),
        ["param seed 1 → 2", "Base.seed 42 → 77"]
    );
}

#[test]
fn an_equal_output_of_a_changed_step_gives_its_dependants_the_same_key() {
    // `upscale` takes what `base` made: whatever `base` was made of, only the picture counts.
    let upscale = |picture: &str| {
        Task::new(json!({"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}))
            .with(|t| t.uploads = vec![file("1", "image", "", "x.png", picture)])
    };
    assert_eq!(upscale("same").key(), upscale("same").key());
    assert_ne!(upscale("same").key(), upscale("other").key());
}

#[test]
fn secrets_are_in_the_key_by_name_only() {
    let secret = |name: &str| {
        let held = format!("Bearer {}", crate::base::secret::placeholder(name));
        task().with(|t| t.set("9", "filename_prefix", json!(held)))
    };
    assert_eq!(secret("A").key(), secret("A").key());
    assert_ne!(secret("A").key(), secret("B").key());
}

#[test]
fn a_long_value_is_kept_by_its_beginning_and_its_hash() {
    let long =
        |end: &str| task().with(|t| t.set("9", "filename_prefix", json!("ü".repeat(600) + end)));
    let manifest = long("a").manifest();
    assert!(
        manifest
            .entries
            .iter()
            .all(|Entry(.., value)| value.len() < 400)
    );
    assert_eq!(said(&long("a"), &long("b")).len(), 1, "and still differs");
    assert_eq!(explain(&manifest, &long("a").manifest()), []);
}

#[test]
fn a_manifest_survives_being_stored() {
    let manifest = task().manifest();
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    assert!(text.contains(r#"["input",["3","steps"],"20"]"#), "{text}");
    let reason = said(&task(), &task().with(|t| t.targets.clear()));
    assert_eq!(reason.len(), 1);
    let stored = serde_json::to_value(StaleReason::NeverRan).unwrap();
    assert_eq!(stored, json!({"reason": "never_ran"}));
}

#[test]
fn another_format_explains_everything() {
    let old = Manifest {
        format: 0,
        key: ContentHash::of(b"old"),
        ..task().manifest()
    };
    assert_eq!(explain(&old, &task().manifest()), [StaleReason::Format]);
}

/// A value such as graphs hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e6..1e6).prop_map(|n: f64| Value::from(n)),
        "[a-c\"\\\\\n]{0,6}".prop_map(Value::from),
        (0..4_u8, 0..3_u8).prop_map(|(node, slot)| json!([node.to_string(), slot])),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]{1,2}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_task() -> impl Strategy<Value = Task> {
    let node = (
        "[A-C]",
        prop::collection::btree_map("[a-d]{1,2}", value(), 0..4),
    );
    let graph = prop::collection::btree_map("[0-9]", node, 1..5);
    graph.prop_map(|nodes| {
        let nodes = nodes
            .into_iter()
            .map(|(id, (class, inputs))| (id, json!({"class_type": class, "inputs": inputs})));
        Task::new(Value::Object(nodes.collect()))
    })
}

/// The value with the members of every object the other way round.
fn turned(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(turned).collect(),
        Value::Object(members) => {
            let members = members.iter().rev();
            Value::Object(members.map(|(k, v)| (k.clone(), turned(v))).collect())
        }
        plain => plain.clone(),
    }
}

proptest! {
    #[test]
    fn the_order_of_nodes_and_keys_never_matters(task in any_task()) {
        let json = serde_json::to_value(&task.graph).unwrap();
        let other = Task::new(turned(&json));
        prop_assert_eq!(other.key(), task.key());
        prop_assert_eq!(explain(&task.manifest(), &other.manifest()), vec![]);
    }

    #[test]
    fn known_nodes_do_not_change_the_key(task in any_task(), other in any_task()) {
        // Of another step, too: what is not the same node is hashed anew.
        prop_assert_eq!(task.key_by(&Memo::of(&task.graph)), task.key());
        prop_assert_eq!(task.key_by(&Memo::of(&other.graph)), task.key());
    }

    #[test]
    fn a_single_change_changes_the_key_and_has_a_reason(
        task in any_task(), at in any::<prop::sample::Index>(), input in "[a-e]{1,2}", to in value()
    ) {
        let changed = task.clone().with(|t| {
            let id = t.graph.nodes.get_index(at.index(t.graph.nodes.len())).unwrap().0.clone();
            t.set(id.as_str(), &input, to);
        });
        let same = task.graph == changed.graph;
        prop_assert_eq!(task.key() == changed.key(), same);
        let reasons = explain(&task.manifest(), &changed.manifest());
        prop_assert_eq!(reasons.len(), usize::from(!same));
    }

    #[test]
    fn unequal_graphs_have_unequal_keys(a in any_task(), b in any_task()) {
        prop_assert_eq!(a.key() == b.key(), a.graph.nodes == b.graph.nodes);
        prop_assert_eq!(explain(&a.manifest(), &b.manifest()).is_empty(), a.key() == b.key());
    }
}
