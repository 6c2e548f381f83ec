//! Why a task runs although one of its name ran before.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, Manifest, Tag};
use super::show;

/// One reason. Its text reads well after `runs: `.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum StaleReason {
    /// No task of this name ended well before.
    NeverRan,
    /// `cache: false`.
    CacheOff,
    /// `--force` or `--from`.
    Forced,
    /// A command without declared outputs.
    AlwaysRuns,
    /// Steps that it needs will run, so that its inputs may change.
    WaitsFor {
        /// The steps.
        steps: Vec<String>,
    },
    /// A value is only known while the pipeline runs.
    NotYetKnown {
        /// What it is used for.
        what: String,
    },
    /// The same was made before, and was removed since, by `kiln gc` or by hand.
    Removed,
    /// The same was made before, and is damaged.
    Damaged {
        /// The file.
        file: String,
    },
    /// The same was made before, and is not what the step's `until` wants.
    Unfit,
    /// The earlier result was made by a kiln that described results in another way.
    Format,
    /// A param has another value.
    Param {
        /// Its name.
        name: String,
        /// Before; `None`: there was none.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// An input of a node has another value.
    Input {
        /// The node.
        node: String,
        /// Its title or class.
        label: String,
        /// The input.
        input: String,
        /// Before; `None`: there was none.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// A node is new.
    NodeAdded {
        /// The node.
        node: String,
        /// Its title or class.
        label: String,
    },
    /// A node is gone.
    NodeRemoved {
        /// The node.
        node: String,
        /// Its title or class.
        label: String,
    },
    /// A node has another class.
    Class {
        /// The node.
        node: String,
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
    /// A file that goes in has another content.
    File {
        /// What takes it: `LoadImage.image`, `argument 2`.
        what: String,
        /// Its name now; before, when it is gone.
        name: String,
        /// The hash of its content before; `None`: there was none.
        old: Option<String>,
        /// And now.
        new: Option<String>,
    },
    /// Other output nodes run.
    Outputs {
        /// Before; empty: all.
        old: Vec<String>,
        /// Now.
        new: Vec<String>,
    },
    /// A part of a command is another: its program, an argument, a variable, stdin, what it collects.
    Command {
        /// Which.
        part: String,
        /// Before; `None`: there was none.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// The server is another in a way that counts.
    Server {
        /// In which.
        fact: String,
        /// Before; `None`: there was none.
        old: Option<String>,
        /// Now.
        new: Option<String>,
    },
    /// Another kind of server, or of step.
    Realm {
        /// Before.
        old: String,
        /// Now.
        new: String,
    },
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRan => f.write_str("never ran"),
            Self::CacheOff => f.write_str("`cache: false`"),
            Self::Forced => f.write_str("forced"),
            Self::AlwaysRuns => f.write_str("a command without `outputs` always runs"),
            Self::WaitsFor { steps } => {
                write!(f, "waits for {} (its inputs may change)", steps.join(", "))
            }
            Self::NotYetKnown { what } => write!(f, "{what} is only known while it runs"),
            Self::Removed => f.write_str("its earlier result was removed"),
            Self::Damaged { file } => write!(f, "its earlier result `{file}` is damaged or gone"),
            Self::Unfit => f.write_str("its earlier result is not what `until` wants"),
            Self::Format => f.write_str("made by a kiln that kept results in another way"),
            Self::Param { name, old, new } => {
                change(f, &format!("param {name}"), old.as_deref(), new.as_deref())
            }
            Self::Input {
                label,
                input,
                old,
                new,
                ..
            } => change(
                f,
                &format!("{label}.{input}"),
                old.as_deref(),
                new.as_deref(),
            ),
            Self::NodeAdded { node, label } => write!(f, "node {node} ({label}) is new"),
            Self::NodeRemoved { node, label } => write!(f, "node {node} ({label}) is gone"),
            Self::Class { node, old, new } => write!(f, "class of node {node} {old} → {new}"),
            Self::File {
                what,
                name,
                old,
                new,
            } => {
                let (old, new) = (short(old.as_deref()), short(new.as_deref()));
                write!(f, "{what} `{name}` {old} → {new}")
            }
            Self::Outputs { old, new } => write!(f, "output nodes {} → {}", list(old), list(new)),
            Self::Command { part, old, new } => change(f, part, old.as_deref(), new.as_deref()),
            Self::Server { fact, old, new } => change(
                f,
                &format!("server: {fact}"),
                old.as_deref(),
                new.as_deref(),
            ),
            Self::Realm { old, new } => {
                write!(f, "runs on {new}, its earlier result is from {old}")
            }
        }
    }
}

/// The beginning of a file's hash, if there is a file.
fn short(hash: Option<&str>) -> &str {
    hash.map_or("none", show::hash)
}

/// Output nodes, of which none means all.
fn list(nodes: &[String]) -> String {
    match nodes {
        [] => "all".to_owned(),
        some => some.join(", "),
    }
}

fn change(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    old: Option<&str>,
    new: Option<&str>,
) -> fmt::Result {
    match (old, new) {
        (Some(old), Some(new)) => {
            let (old, new) = show::pair(old, new);
            write!(f, "{what} {old} → {new}")
        }
        (None, Some(new)) => write!(f, "{what} = {} is new", show::one(new)),
        (Some(old), None) => write!(f, "{what} (was {}) is gone", show::one(old)),
        (None, None) => f.write_str(what),
    }
}

/// What is different between the manifest of an earlier result and that of a task now, the causes first; empty when the key is the same.
pub fn explain(old: &Manifest, new: &Manifest) -> Vec<StaleReason> {
    if old.key == new.key {
        return Vec::new();
    }
    if old.format != FORMAT || old.format != new.format {
        return vec![StaleReason::Format];
    }
    let (before, now) = (sorted(old), sorted(new));
    let comparison = Comparison {
        old,
        new,
        before: &before,
        now: &now,
    };
    let mut found = comparison.single();
    found.extend(comparison.nodes());
    found.extend(comparison.outputs());
    found.extend(comparison.others());
    let mut reasons = params(old, new, &found);
    reasons.extend(found);
    reasons
}

type Sorted<'a> = BTreeMap<(Tag, Vec<&'a str>), &'a str>;

fn sorted(manifest: &Manifest) -> Sorted<'_> {
    let entries = manifest.entries.iter();
    entries
        .map(|e| {
            (
                (e.0, e.1.iter().map(String::as_str).collect()),
                e.2.as_str(),
            )
        })
        .collect()
}

struct Comparison<'a> {
    old: &'a Manifest,
    new: &'a Manifest,
    before: &'a Sorted<'a>,
    now: &'a Sorted<'a>,
}

impl Comparison<'_> {
    /// Every place with an entry on either side that differs.
    fn changed(&self, tag: Tag) -> Vec<(Vec<&str>, Option<&str>, Option<&str>)> {
        let mut places: Vec<&Vec<&str>> = self
            .before
            .keys()
            .chain(self.now.keys())
            .filter(|(t, _)| *t == tag)
            .map(|(_, path)| path)
            .collect();
        places.sort_unstable_by(|a, b| natural(a).cmp(&natural(b)));
        places.dedup();
        places
            .into_iter()
            .filter_map(|path| {
                let place = (tag, path.clone());
                let old = self.before.get(&place).copied();
                let new = self.now.get(&place).copied();
                (old != new).then(|| (path.clone(), old, new))
            })
            .collect()
    }

    fn label(&self, node: &str) -> String {
        let class = |entries: &Sorted<'_>| {
            let class = entries.get(&(Tag::Class, vec![node]));
            class.map(|class| (*class).to_owned())
        };
        let title = |manifest: &Manifest| manifest.labels.get(node).cloned();
        let label = title(self.new)
            .or_else(|| class(self.now))
            .or_else(|| title(self.old))
            .or_else(|| class(self.before));
        show::tame(label.as_deref().unwrap_or(node))
    }

    fn single(&self) -> Vec<StaleReason> {
        let word = |value: Option<&str>| {
            match value {
                Some("comfy") => "ComfyUI",
                Some("embedded") => "the embedded server",
                Some("simulated") => "a simulated server",
                Some("here") => "this machine",
                other => other.unwrap_or("nothing"),
            }
            .to_owned()
        };
        let realm = self.changed(Tag::Realm).into_iter();
        let kind = self.changed(Tag::Kind).into_iter();
        realm
            .map(|(_, old, new)| StaleReason::Realm {
                old: word(old),
                new: word(new),
            })
            .chain(kind.map(|_| StaleReason::Format))
            .collect()
    }

    fn nodes(&self) -> Vec<StaleReason> {
        let mut out = Vec::new();
        let mut whole = Vec::new();
        for (path, old, new) in self.changed(Tag::Class) {
            let node = path[0].to_owned();
            let label = self.label(&node);
            match (old, new) {
                (Some(old), Some(new)) => out.push(StaleReason::Class {
                    node,
                    old: old.to_owned(),
                    new: new.to_owned(),
                }),
                (None, _) => {
                    whole.push(path[0]);
                    out.push(StaleReason::NodeAdded { node, label });
                }
                (Some(_), None) => {
                    whole.push(path[0]);
                    out.push(StaleReason::NodeRemoved { node, label });
                }
            }
        }
        for (path, old, new) in self.changed(Tag::Input) {
            // A value that became a file, or is no longer one, is told as the file.
            if whole.contains(&path[0])
                || (self.takes_file(&path) && old.is_some() && new.is_some())
            {
                continue;
            }
            out.push(StaleReason::Input {
                node: path[0].to_owned(),
                label: self.label(path[0]),
                input: path[1].to_owned(),
                old: old.map(str::to_owned),
                new: new.map(str::to_owned),
            });
        }
        for (path, old, new) in self.changed(Tag::File) {
            if whole.contains(&path[0]) {
                continue;
            }
            out.push(StaleReason::File {
                what: format!("{}.{}{}", self.label(path[0]), path[1], path[2]),
                name: self.file_name(old, new),
                old: old.map(str::to_owned),
                new: new.map(str::to_owned),
            });
        }
        out
    }

    fn takes_file(&self, input: &[&str]) -> bool {
        let of = |entries: &Sorted<'_>| {
            let mut files = entries.keys().filter(|(tag, _)| *tag == Tag::File);
            files.any(|(_, path)| path[..2] == *input)
        };
        of(self.before) != of(self.now)
    }

    fn file_name(&self, old: Option<&str>, new: Option<&str>) -> String {
        let name = |manifest: &Manifest, hash: Option<&str>| manifest.files.get(hash?).cloned();
        let found = name(self.new, new).or_else(|| name(self.old, old));
        show::tame(found.as_deref().unwrap_or("a file"))
    }

    fn outputs(&self) -> Option<StaleReason> {
        if self.changed(Tag::Target).is_empty() {
            return None;
        }
        let targets = |entries: &Sorted<'_>| {
            let targets = entries.keys().filter(|(tag, _)| *tag == Tag::Target);
            targets.map(|(_, path)| self.label(path[0])).collect()
        };
        Some(StaleReason::Outputs {
            old: targets(self.before),
            new: targets(self.now),
        })
    }

    fn others(&self) -> Vec<StaleReason> {
        let mut out = Vec::new();
        for tag in [
            Tag::Program,
            Tag::Argument,
            Tag::Environment,
            Tag::Stdin,
            Tag::Collect,
            Tag::Server,
            Tag::Pack,
            Tag::Model,
            Tag::Modified,
            Tag::ServerFile,
            Tag::Plugin,
            Tag::PluginConfig,
            Tag::With,
        ] {
            for (path, old, new) in self.changed(tag) {
                out.push(self.other(tag, &path, old, new));
            }
        }
        out
    }

    fn other(&self, tag: Tag, path: &[&str], old: Option<&str>, new: Option<&str>) -> StaleReason {
        let named = |value: Option<&str>| value.map(|value| self.with_names(value));
        let part = |part: String| StaleReason::Command {
            part,
            old: named(old),
            new: named(new),
        };
        let server = |fact: String, show: &dyn Fn(&str) -> String| StaleReason::Server {
            fact,
            old: old.map(show),
            new: new.map(show),
        };
        let name = path.join("/");
        match tag {
            Tag::Argument => part(format!("argument {name}")),
            Tag::Environment => part(format!("variable {name}")),
            Tag::Stdin => part("stdin".to_owned()),
            Tag::Collect => part(format!("pattern of output {name}")),
            Tag::PluginConfig => part(format!("config of plugin {name}")),
            Tag::With => part(format!("with.{name}")),
            Tag::Plugin => StaleReason::Command {
                part: format!("plugin {name}"),
                old: old.map(|hash| show::hash(hash).to_owned()),
                new: new.map(|hash| show::hash(hash).to_owned()),
            },
            Tag::Server => server("version".to_owned(), &str::to_owned),
            Tag::Pack => server(format!("pack {name}"), &str::to_owned),
            Tag::Model => server(format!("size of model {name}"), &show::bytes),
            Tag::ServerFile => server(format!("file {name}"), &|content| {
                show::hash(content).to_owned()
            }),
            Tag::Modified => server(format!("date of model {name}"), &|ms| {
                ms.parse().map_or_else(|_| ms.to_owned(), show::time)
            }),
            _ => part("program".to_owned()),
        }
    }

    /// A command's text with the names of files in the place of their hashes.
    fn with_names(&self, value: &str) -> String {
        let parts: Vec<serde_json::Value> = match serde_json::from_str(value) {
            Ok(serde_json::Value::Array(parts)) => parts,
            Ok(serde_json::Value::String(text)) => return show::tame(&text),
            _ => return value.to_owned(),
        };
        let mut out = String::new();
        for part in parts {
            let file = part.get("file").and_then(serde_json::Value::as_str);
            match (part.as_str(), file) {
                (Some(text), _) => out.push_str(&show::tame(text)),
                (None, Some(file)) => {
                    let hash = file.split('.').next().unwrap_or(file);
                    let name = self.file_name(Some(hash), Some(hash));
                    let _ = write!(out, "{name} ({})", show::hash(hash));
                }
                (None, None) => {}
            }
        }
        out
    }
}

/// Paths with numbers in them in the order of the numbers.
fn natural<'a>(path: &'a [&'a str]) -> Vec<(u64, &'a str)> {
    path.iter()
        .map(|step| (step.parse().unwrap_or(u64::MAX), *step))
        .collect()
}

/// Params that explain what was found: those whose values stand in it before and now; when there are none, all that changed.
fn params(old: &Manifest, new: &Manifest, found: &[StaleReason]) -> Vec<StaleReason> {
    let values = found.iter().filter_map(|reason| match reason {
        StaleReason::Input { old, new, .. } | StaleReason::Command { old, new, .. } => {
            Some((old.clone(), new.clone()))
        }
        StaleReason::File { old, new, .. } => {
            let short = |hash: &Option<String>| hash.as_deref().map(|h| show::hash(h).to_owned());
            Some((short(old), short(new)))
        }
        _ => None,
    });
    let values: Vec<(String, String)> = values
        .map(|(old, new)| (old.unwrap_or_default(), new.unwrap_or_default()))
        .collect();
    if values.is_empty() {
        return Vec::new();
    }
    let mut named = Vec::new();
    let mut explaining = Vec::new();
    for (name, value) in &new.params {
        let Some(earlier) = old.params.get(name) else {
            continue;
        };
        if earlier == value {
            continue;
        }
        let reason = StaleReason::Param {
            name: name.clone(),
            old: Some(earlier.clone()),
            new: Some(value.clone()),
        };
        let stands_in = |(old, new): &(String, String)| {
            bare(old).contains(bare(earlier)) && bare(new).contains(bare(value))
                || (earlier.contains(old.as_str())
                    && value.contains(new.as_str())
                    && old.len() == 8)
        };
        if values.iter().any(stands_in) {
            explaining.push(reason.clone());
        }
        named.push(reason);
    }
    if explaining.is_empty() {
        named
    } else {
        explaining
    }
}

/// A value without the quotes of JSON.
fn bare(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}
