//! What hooks are given and what they answer. The JSON behind it is in `schema/messages.schema.json`.

use std::cell::OnceCell;
use std::ops::Index;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// A file that a template or an earlier task handed over. It is the user's: read it, and leave it as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Where it lies, absolute.
    pub path: PathBuf,
    /// What it is called: the server's name for it, which need not be the last part of `path`.
    pub name: String,
    /// `image`, `video`, `audio`, `model3d`, `text` or `other`.
    pub kind: String,
    /// BLAKE3 of its content, hex.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// The task that made it; empty for a file of the user's.
    pub task: String,
    /// Everything that was told of it.
    pub all: Map<String, Value>,
}

impl File {
    /// The file that a value is; `None` for any other value.
    pub fn of(value: &Value) -> Option<Self> {
        let all = value.as_object()?;
        let text = |name: &str| all.get(name).and_then(Value::as_str).unwrap_or_default();
        let path = all.get("path").and_then(Value::as_str)?;
        Some(Self {
            path: PathBuf::from(path),
            name: text("name").to_owned(),
            kind: text("kind").to_owned(),
            hash: text("hash").to_owned(),
            size: all.get("size").and_then(Value::as_u64).unwrap_or_default(),
            task: text("task").to_owned(),
            all: all.clone(),
        })
    }
}

fn text<'a>(all: &'a Value, name: &str) -> &'a str {
    all.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What a request of any hook that belongs to a task says of it.
macro_rules! of_a_task {
    ($name:ident) => {
        impl $name {
            pub(crate) fn new(all: Value) -> Self {
                Self { all }
            }

            /// The run's id.
            pub fn run(&self) -> &str {
                text(&self.all, "run")
            }

            /// The pipeline's name.
            pub fn pipeline(&self) -> &str {
                text(&self.all, "pipeline")
            }

            /// The step's id.
            pub fn step(&self) -> &str {
                text(&self.all, "step")
            }

            /// The task's name, such as `draw[i=0]`.
            pub fn task(&self) -> &str {
                text(&self.all, "task")
            }

            /// Which attempt this is, from 1.
            pub fn attempt(&self) -> u64 {
                self.all["attempt"].as_u64().unwrap_or(1)
            }

            /// The whole request.
            pub fn json(&self) -> &Value {
                &self.all
            }
        }
    };
}

/// Something that happened. It is read when it is asked for: to look at its name costs next to nothing, also a thousand times a second.
///
/// `event["task"]` is a member of it, and null when there is none.
#[derive(Debug)]
pub struct Event<'a> {
    bytes: &'a [u8],
    all: OnceCell<Value>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            all: OnceCell::new(),
        }
    }

    /// Its kind and its name, when they come first and are plain: so kiln writes them.
    fn head(&self) -> Option<(&'a str, &'a str)> {
        let rest = self.bytes.strip_prefix(b"{\"kind\":\"")?;
        let (kind, rest) = word(rest)?;
        let named = [&b",\"event\":\""[..], b",\"type\":\""];
        let rest = named.iter().find_map(|name| rest.strip_prefix(*name))?;
        Some((kind, word(rest)?.0))
    }

    /// `run` or `server`.
    pub(crate) fn kind(&self) -> &str {
        match self.head() {
            Some((kind, _)) => kind,
            None => text(self.json(), "kind"),
        }
    }

    /// What happened: the `event` of a run event, the `type` of a server's message.
    pub fn name(&self) -> &str {
        match self.head() {
            Some((_, name)) => name,
            None if self.kind() == "run" => text(self.json(), "event"),
            None => text(self.json(), "type"),
        }
    }

    /// The task that it is about; empty when it is about none.
    pub fn task(&self) -> &str {
        text(self.json(), "task")
    }

    /// All of it. Null when it is no JSON, which kiln never sends.
    pub fn json(&self) -> &Value {
        self.all
            .get_or_init(|| serde_json::from_slice(self.bytes).unwrap_or_default())
    }

    /// All of it as it came, JSON.
    pub fn as_text(&self) -> &'a str {
        std::str::from_utf8(self.bytes).unwrap_or_default()
    }
}

impl Index<&str> for Event<'_> {
    type Output = Value;

    fn index(&self, member: &str) -> &Value {
        &self.json()[member]
    }
}

/// A word up to the end of its string, and what follows that; `None` when it is not plain.
fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (word, rest) = bytes.split_at(end);
    let rest = rest.strip_prefix(b"\"")?;
    Some((std::str::from_utf8(word).ok()?, rest))
}

/// A graph that is about to be submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    all: Value,
}

of_a_task!(Submission);

impl Submission {
    /// The server's name.
    pub fn server(&self) -> &str {
        text(&self.all, "server")
    }

    /// The graph in API format. Secrets in it are opaque marks: leave them where they are.
    pub fn graph(&self) -> &Value {
        &self.all["graph"]
    }
}

/// What a job left behind.
#[derive(Clone, Debug)]
pub struct Results {
    all: Value,
}

of_a_task!(Results);

impl Results {
    /// A folder of the call's own: files that are added or replace others are written here. It is gone when the call has ended.
    pub fn folder(&self) -> &Path {
        Path::new(text(&self.all, "folder"))
    }

    /// How many artifacts there are.
    pub fn len(&self) -> usize {
        self.all["artifacts"].as_array().map_or(0, Vec::len)
    }

    /// Whether the job left nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An artifact: a file, or (without `path`) a text.
    pub fn artifact(&self, at: usize) -> &Value {
        &self.all["artifacts"][at]
    }

    /// The artifacts that are files, each with its position.
    pub fn files(&self) -> impl Iterator<Item = (usize, File)> + '_ {
        let all = self.all["artifacts"].as_array();
        let all = all.into_iter().flatten().enumerate();
        all.filter_map(|(at, artifact)| Some((at, File::of(artifact)?)))
    }

    /// All artifacts as they are.
    pub fn keep_all(&self) -> Vec<Change> {
        (0..self.len()).map(Change::Keep).collect()
    }
}

/// What becomes of a job's results. An artifact that no change names is dropped; the order of changes is the new order.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The artifact at this position stays as it is.
    Keep(usize),
    /// The artifact at this position becomes this one, at its place and with its names.
    Replace(usize, Artifact),
    /// One more.
    Add(Artifact),
}

impl Change {
    /// The change as it crosses the edge.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Keep(at) => json!({ "keep": at }),
            Self::Replace(at, artifact) => {
                let mut all = artifact.to_json();
                all["replace"] = json!(at);
                all
            }
            Self::Add(artifact) => artifact.to_json(),
        }
    }
}

/// A file or a text that a plugin made.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    members: Map<String, Value>,
}

impl Artifact {
    /// A file in the call's folder. Its name is that of the file, unless [`Artifact::named`] says otherwise.
    pub fn file(path: &Path) -> Self {
        let mut members = Map::new();
        members.insert("path".to_owned(), json!(path.to_string_lossy()));
        Self { members }
    }

    /// A text.
    pub fn text(text: &str) -> Self {
        let mut members = Map::new();
        members.insert("text".to_owned(), json!(text));
        Self { members }
    }

    /// What the file is called. Its extension tells its kind.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.members.insert("name".to_owned(), json!(name));
        self
    }

    /// The output that it belongs to, for `steps.X.outputs.NAME`.
    #[must_use]
    pub fn output(mut self, name: &str) -> Self {
        self.members.insert("output".to_owned(), json!(name));
        self
    }

    /// What else is to be known of it, for `.meta`.
    #[must_use]
    pub fn meta(mut self, meta: Value) -> Self {
        self.members.insert("meta".to_owned(), meta);
        self
    }

    /// The artifact as it crosses the edge.
    pub fn to_json(&self) -> Value {
        Value::Object(self.members.clone())
    }
}

/// A task of a step `plugin: NAME`.
#[derive(Clone, Debug)]
pub struct Task {
    all: Value,
}

of_a_task!(Task);

impl Task {
    /// A folder of the call's own, empty: files that the task makes are written here. It is gone when the call has ended.
    pub fn folder(&self) -> &Path {
        Path::new(text(&self.all, "folder"))
    }

    /// `with:`, every template evaluated; files are objects that [`File::of`] reads.
    pub fn with(&self) -> &Value {
        &self.all["with"]
    }

    /// The files under a key of `with:`: one, or a list.
    pub fn files(&self, key: &str) -> Vec<File> {
        match &self.with()[key] {
            Value::Array(items) => items.iter().filter_map(File::of).collect(),
            one => File::of(one).into_iter().collect(),
        }
    }
}

/// What a function or a filter of a template is given.
#[derive(Clone, Debug)]
pub struct Arguments {
    all: Value,
}

impl Arguments {
    pub(crate) fn new(all: Value) -> Self {
        Self { all }
    }

    /// The function's or filter's name.
    pub fn name(&self) -> &str {
        text(&self.all, "name")
    }

    /// The arguments by position; of a filter, the first is what it is applied to.
    pub fn list(&self) -> &[Value] {
        self.all["args"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The argument at a position; null when there is none.
    pub fn get(&self, at: usize) -> &Value {
        &self.all["args"][at]
    }

    /// An argument by name; null when there is none.
    pub fn named(&self, name: &str) -> &Value {
        &self.all["named"][name]
    }

    /// The file at a position.
    pub fn file(&self, at: usize) -> Result<File> {
        File::of(self.get(at)).ok_or_else(|| {
            let name = self.name();
            Error::new(format!("argument {} of `{name}` is no file", at + 1))
        })
    }

    /// The number at a position, or under a name; `default` when there is neither.
    pub fn number(&self, at: usize, name: &str, default: f64) -> Result<f64> {
        let value = match self.named(name) {
            Value::Null => self.get(at),
            named => named,
        };
        match value {
            Value::Null => Ok(default),
            value => value
                .as_f64()
                .ok_or_else(|| Error::new(format!("`{name}` of `{}` is no number", self.name()))),
        }
    }
}

/// A preview frame.
#[derive(Clone, Debug)]
pub struct Preview<'a> {
    /// What is known of it: `task`, `server`, `prompt_id`, `node`, `media_type`, `frame` (the number of its kind) and `metadata`.
    pub about: Value,
    /// The encoded picture, as the server sent it.
    pub picture: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str) -> (String, String, bool) {
        let event = Event::new(json.as_bytes());
        let (kind, name) = (event.kind().to_owned(), event.name().to_owned());
        (kind, name, event.all.get().is_some())
    }

    #[test]
    fn the_name_of_an_event_is_known_without_reading_all_of_it() {
        let run = r#"{"kind":"run","event":"task_started","task":"draw"}"#;
        let server = r#"{"kind":"server","type":"executing","message":{}}"#;
        let of = |kind: &str, name: &str, read| (kind.to_owned(), name.to_owned(), read);
        assert_eq!(names(run), of("run", "task_started", false));
        assert_eq!(names(server), of("server", "executing", false));
    }

    #[test]
    fn an_event_that_another_hand_wrote_has_the_same_name() {
        for (json, kind, name) in [
            (
                r#"{ "kind": "run", "event": "run_finished" }"#,
                "run",
                "run_finished",
            ),
            (
                r#"{"event":"run_finished","kind":"run"}"#,
                "run",
                "run_finished",
            ),
            (r#"{"kind":"server","type":"a\"b"}"#, "server", "a\"b"),
            (r#"{"kind":"server","task":null,"type":"x"}"#, "server", "x"),
            (r#"{"kind":"later"}"#, "later", ""),
            ("no json", "", ""),
        ] {
            assert_eq!(
                names(json),
                (kind.to_owned(), name.to_owned(), true),
                "{json}"
            );
        }
    }

    #[test]
    fn members_of_an_event_are_there_when_they_are_asked_for() {
        let json = br#"{"kind":"run","event":"task_started","task":"draw","attempt":2}"#;
        let event = Event::new(json);
        assert_eq!((event.task(), &event["attempt"]), ("draw", &json!(2)));
        assert_eq!(event["none"], Value::Null);
        assert_eq!(event.json()["event"], "task_started");
        assert_eq!(event.as_text().as_bytes(), json);
        assert_eq!(Event::new(b"[").task(), "");
    }
}
