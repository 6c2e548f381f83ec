//! Newtypes for the names that travel through the program, so that a step's name is never taken for a task's.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// One entry under `steps:`, e.g. `upscale`. Matches [`valid_id`].
    StepId
);
name!(
    /// One scheduled instance of a step, e.g. `base[i=0]`; a step without fan-out has exactly one, named like the step.
    TaskName
);
name!(
    /// The key of a node in a workflow. Any non-empty string, `"3"` as well as `"10:3"`.
    NodeId
);
name!(
    /// A server as the project file or the command line names it.
    ServerName
);
name!(
    /// One execution of a pipeline, e.g. `20261122-141530-k3f9`: sorts by start, safe as a folder name.
    RunId
);

impl RunId {
    /// A new id from the local start time and four random characters (about 1.6 million values within one second).
    pub fn new(started: &jiff::Zoned) -> Self {
        const ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let tail: String = (0..4)
            .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
            .collect();
        Self(format!("{}-{tail}", started.strftime("%Y%m%d-%H%M%S")))
    }
}

/// Whether `text` may name a step, param, output or limit: `[a-z][a-z0-9_]*`.
pub fn valid_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_words() {
        for good in ["a", "base", "step_2", "x9"] {
            assert!(valid_id(good), "{good}");
        }
        for bad in ["", "2x", "Base", "my-step", "_a", "a b", "é"] {
            assert!(!valid_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_run_id_sorts_by_its_start() {
        let id = RunId::new(&"2026-11-22T14:15:30[UTC]".parse().unwrap());
        assert!(id.as_str().starts_with("20261122-141530-"), "{id}");
        assert_eq!(id.as_str().len(), 20);
    }
}
