//! How one server speaks, as data: what its version and its kind change about routes, shapes and rules.
//!
//! The one table of differences between `ComfyUI`'s versions, and between it and Comfy Cloud. Whoever speaks to a server, or stands in for
//! one, matches on a field that says what differs; nobody asks which server it is. Sources: `ComfyUI` 0.3.64 and 0.33.0 as they answered,
//! 0.7, 0.12, 0.24, 0.26 and 0.38.1 as their code reads, and the Cloud's published contract of August 2026.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of `ComfyUI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The oldest one that kiln was tried with.
    pub const OLDEST: Self = Self(0, 3, 64);
    /// The one that kiln's knowledge of the protocol was taken from.
    pub const REFERENCE: Self = Self(0, 33, 0);
    /// The youngest one whose code was read.
    pub const NEWEST: Self = Self(0, 38, 1);

    /// Reads `0.33.0`, `v0.3.64`, `0.33` or `0.33.0-dev`; `None` when there are no two numbers in front.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let (major, minor) = (parts.next()?.parse().ok()?, leading(parts.next()?)?);
        Some(Self(
            major,
            minor,
            parts.next().and_then(leading).unwrap_or(0),
        ))
    }
}

fn leading(part: &str) -> Option<u32> {
    let end = part
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(part.len());
    part[..end].parse().ok()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Whose server it is; for words shown to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// `ComfyUI`, somewhere.
    #[default]
    Comfy,
    /// Comfy Cloud.
    Cloud,
}

/// A server that is kiln's own, and no `ComfyUI`: it says so in its `deploy_environment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandIn {
    /// It computes what its nodes say.
    Embedded,
    /// It paints marked stand-ins for what it cannot compute.
    Simulated,
}

impl StandIn {
    /// What its `deploy_environment` begins with.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Embedded => "kiln-embedded-",
            Self::Simulated => "kiln-simulated-",
        }
    }

    /// Which one says so of itself.
    pub fn of_environment(text: &str) -> Option<Self> {
        [Self::Embedded, Self::Simulated]
            .into_iter()
            .find(|own| text.starts_with(own.mark()))
    }
}

/// How sure kiln is of what it knows about a server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It was run.
    Verified,
    /// It lies between versions that were run or read.
    Described,
    /// It is older than any that was run.
    Older,
    /// It is younger than any that was read, or does not tell.
    Newer,
}

/// Who names jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// The client: it knows the id before it asks.
    Ours,
    /// The server: only its answer tells the id.
    Theirs,
}

/// Where a server tells how a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// `/history/{id}` for ended jobs, `/api/jobs/{id}` for others.
    HistoryAndJobs,
    /// `/history/{id}` for ended jobs, `/queue` for others.
    HistoryAndQueue,
    /// `/api/jobs/{id}` alone.
    Jobs,
}

/// How one job is stopped and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// `/api/jobs/{id}/cancel`.
    Job,
    /// It is deleted from `/queue`, and interrupted when it runs. Where `/interrupt` ignores the id, it stops whatever runs.
    DeleteThenInterrupt {
        /// Whether `/interrupt` looks at the id.
        by_id: bool,
    },
}

/// How all ended jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryList {
    /// `/history`: an object by id, its prompts five-tuples.
    Keyed,
    /// `/api/history_v2`: a list, its prompts objects.
    V2,
}

/// What the fourth and fifth member of a queue's item are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueTuple {
    /// `[number, id, graph, extra data, output nodes]`.
    OutputsFifth,
    /// `[number, id, graph, output nodes, extra data]`.
    OutputsFourth,
}

/// How `/api/jobs` is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobList {
    /// Sorted by `created_at` or `execution_duration`, paged by offsets.
    Offsets,
    /// Sorted by `create_time` or `execution_time`, paged by cursors.
    Cursors,
}

/// Where models are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelLists {
    /// `/models` and `/models/{folder}`: names. `/experiment/models/{folder}` tells sizes, where it exists.
    Names,
    /// `/api/experiment/models` and below: objects. An unknown folder is an empty one.
    Experiment,
}

/// What uploads are allowed to be, and what becomes of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadRules {
    /// Whether `subfolder` counts.
    pub subfolder: bool,
    /// Whether a file is found by the hash of its content.
    pub named_by_hash: bool,
    /// The largest request, bytes.
    pub max_bytes: Option<u64>,
    /// The longest edge of a picture, pixels.
    pub max_edge: Option<u32>,
    /// The most pixels of a picture.
    pub max_pixels: Option<u64>,
}

impl UploadRules {
    /// Beside the file, a request holds its boundaries and a few short fields: at most so many bytes.
    pub const ENVELOPE: u64 = 4096;

    /// Whether a file of so many bytes fits into a request.
    pub fn takes(&self, bytes: u64) -> bool {
        self.max_bytes
            .is_none_or(|most| bytes.saturating_add(Self::ENVELOPE) <= most)
    }

    /// What both take.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        fn least<T: Ord>(one: Option<T>, two: Option<T>) -> Option<T> {
            one.into_iter().chain(two).min()
        }
        Self {
            max_bytes: least(self.max_bytes, other.max_bytes),
            max_edge: least(self.max_edge, other.max_edge),
            max_pixels: least(self.max_pixels, other.max_pixels),
            ..self
        }
    }
}

/// How the socket is opened, and what comes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRules {
    /// Its path, segment by segment.
    pub path: &'static [&'static str],
    /// Whether the key is part of the address.
    pub key_in_query: bool,
    /// Whether all jobs of the user are told to each of their sockets, whatever the client id.
    pub broadcast: bool,
}

/// How a server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a table of differences that have nothing to do with each other"
)]
pub struct Dialect {
    /// Whose server it is.
    pub flavour: Flavour,
    /// Its version; `None` when it does not tell.
    pub version: Option<Version>,
    /// How sure kiln is of the rest.
    pub support: Support,
    /// Who names jobs.
    pub ids: Ids,
    /// Whether a job's id must be a UUID.
    pub uuids: bool,
    /// Where a job's state is told.
    pub records: Records,
    /// How a job is stopped.
    pub cancel: Cancel,
    /// Whether `/api/jobs` exists.
    pub jobs: bool,
    /// How `/api/jobs` is asked.
    pub job_list: JobList,
    /// How ended jobs are listed.
    pub history: HistoryList,
    /// The order in a queue's item.
    pub queue: QueueTuple,
    /// Where models are listed.
    pub models: ModelLists,
    /// What uploads may be.
    pub uploads: UploadRules,
    /// How the socket is opened.
    pub socket: SocketRules,
    /// The `type` of the error for an unknown node class.
    pub unknown_class: &'static str,
    /// Whether cycles are found before a job is taken; else they fail while it runs.
    pub cycles_refused: bool,
    /// Whether a wrong selector of a dynamic combo is refused; else the job fails while it runs.
    pub dynamic_refused: bool,
    /// Whether file objects carry asset ids.
    pub assets: bool,
    /// Whether `/free` empties the memory that our jobs use.
    pub free: bool,
    /// Whether `/internal/logs/raw` tells what the server's own log says.
    pub logs: bool,
}

impl Dialect {
    /// A `ComfyUI` of this version; one that does not tell is taken for the youngest known.
    pub fn comfy(version: Option<Version>) -> Self {
        let told = version.unwrap_or(Version::NEWEST);
        let since = |major, minor, patch| told >= Version(major, minor, patch);
        let jobs = since(0, 7, 0);
        Self {
            flavour: Flavour::Comfy,
            version,
            support: support(version),
            ids: Ids::Ours,
            uuids: since(0, 24, 0),
            records: if jobs {
                Records::HistoryAndJobs
            } else {
                Records::HistoryAndQueue
            },
            cancel: if since(0, 26, 0) {
                Cancel::Job
            } else {
                Cancel::DeleteThenInterrupt {
                    by_id: since(0, 3, 64),
                }
            },
            jobs,
            job_list: JobList::Offsets,
            history: HistoryList::Keyed,
            queue: QueueTuple::OutputsFifth,
            models: ModelLists::Names,
            uploads: UploadRules {
                subfolder: true,
                named_by_hash: false,
                max_bytes: None,
                max_edge: None,
                max_pixels: None,
            },
            socket: SocketRules {
                path: &["api", "ws"],
                key_in_query: false,
                broadcast: false,
            },
            unknown_class: if since(0, 12, 1) {
                "missing_node_type"
            } else {
                "invalid_prompt"
            },
            cycles_refused: since(0, 24, 0),
            dynamic_refused: since(0, 38, 0),
            assets: since(0, 38, 0),
            free: true,
            logs: true,
        }
    }

    /// Comfy Cloud.
    pub fn cloud() -> Self {
        Self {
            flavour: Flavour::Cloud,
            ids: Ids::Theirs,
            records: Records::Jobs,
            cancel: Cancel::Job,
            job_list: JobList::Cursors,
            history: HistoryList::V2,
            free: false,
            logs: false,
            queue: QueueTuple::OutputsFourth,
            models: ModelLists::Experiment,
            uploads: UploadRules {
                subfolder: false,
                named_by_hash: true,
                max_bytes: Some(50 << 20),
                max_edge: Some(16_384),
                max_pixels: Some(64_000_000),
            },
            socket: SocketRules {
                path: &["ws"],
                key_in_query: true,
                broadcast: true,
            },
            ..Self::comfy(None)
        }
    }

    /// What a probe found of `/api/jobs` counts more than the version says.
    #[must_use]
    pub fn with_jobs(self, jobs: bool) -> Self {
        if jobs == self.jobs {
            return self;
        }
        let older = Self::comfy(Some(Version::OLDEST));
        Self {
            jobs,
            records: if jobs {
                Records::HistoryAndJobs
            } else {
                Records::HistoryAndQueue
            },
            cancel: if jobs { self.cancel } else { older.cancel },
            ..self
        }
    }
}

fn support(version: Option<Version>) -> Support {
    match version {
        Some(Version::OLDEST | Version::REFERENCE) => Support::Verified,
        Some(version) if version < Version::OLDEST => Support::Older,
        Some(version) if version <= Version::NEWEST => Support::Described,
        _ => Support::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_whatever_surrounds_them() {
        assert_eq!(Version::parse("v0.3.64"), Some(Version(0, 3, 64)));
        assert_eq!(Version::parse(" 0.33"), Some(Version(0, 33, 0)));
        assert_eq!(Version::parse("0.26.1-dev4"), Some(Version(0, 26, 1)));
        assert_eq!(Version::parse("0.38rc1.2"), Some(Version(0, 38, 2)));
        for none in ["unknown", "", "7", "v.1"] {
            assert_eq!(Version::parse(none), None, "{none}");
        }
        assert!(Version(0, 7, 0) > Version::OLDEST);
    }

    #[test]
    fn routes_appear_with_their_versions() {
        let at = |text| Dialect::comfy(Version::parse(text));
        let by_id = Cancel::DeleteThenInterrupt { by_id: true };
        assert_eq!(
            (at("0.3.64").jobs, at("0.3.64").cancel),
            (false, by_id),
            "no jobs yet"
        );
        assert_eq!(
            at("0.3.50").cancel,
            Cancel::DeleteThenInterrupt { by_id: false }
        );
        assert_eq!((at("0.7.0").jobs, at("0.25.9").cancel), (true, by_id));
        assert_eq!(at("0.26.0").cancel, Cancel::Job);
        assert_eq!(at("0.12.0").unknown_class, "invalid_prompt");
        assert!(!at("0.23.0").uuids && at("0.24.0").uuids);
    }

    #[test]
    fn a_version_that_nobody_ran_says_so() {
        let support = |text| Dialect::comfy(Version::parse(text)).support;
        assert_eq!(support("0.33.0"), Support::Verified);
        assert_eq!(support("0.20.0"), Support::Described);
        assert_eq!(support("0.3.10"), Support::Older);
        assert_eq!(support("0.39.0"), Support::Newer);
        assert_eq!(support("unknown"), Support::Newer);
    }

    #[test]
    fn a_missing_route_counts_more_than_the_version() {
        let hidden = Dialect::comfy(Some(Version::REFERENCE)).with_jobs(false);
        assert_eq!(hidden.records, Records::HistoryAndQueue);
        assert_eq!(hidden.cancel, Cancel::DeleteThenInterrupt { by_id: true });
        assert_eq!(hidden.version, Some(Version::REFERENCE));
    }
}
