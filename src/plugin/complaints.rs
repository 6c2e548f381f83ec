//! What plugins say of themselves, and how they fail where nobody waits for an answer, in words: each failure once, then how often.

use std::collections::HashMap;

use kiln_plugin::abi::level;

use super::declared::{Declared, OnError};
use super::diagnostic::{failed, given_up};
use super::host::{Notice, Plugins};
use crate::diagnostic::{Diagnostic, codes};

/// What is to be told of a notice.
#[derive(Debug)]
pub enum Said {
    /// A line of a plugin's own.
    Line {
        /// Its name.
        plugin: String,
        /// How important it is.
        level: &'static str,
        /// What it says.
        line: String,
    },
    /// A plugin failed.
    Complaint(Box<Diagnostic>),
}

/// How often plugins failed, each in its own way.
#[derive(Debug, Default)]
pub struct Complaints {
    failures: HashMap<(String, String), u64>,
}

impl Complaints {
    /// What is to be told of a notice; `None`: nothing new. A plugin that must not fail and did is marked.
    pub fn heed(&mut self, plugins: &Plugins, notice: Notice) -> Option<Said> {
        let (plugin, built) = match notice {
            Notice::Log {
                plugin,
                level,
                text,
            } => {
                return Some(Said::Line {
                    plugin,
                    level: level_name(level),
                    line: text,
                });
            }
            Notice::Failed {
                plugin,
                hook,
                fault,
            } => {
                let times = self.failures.entry((plugin.clone(), fault.to_string()));
                let times = times.or_default();
                *times += 1;
                let first = *times == 1;
                let built = move |declared: &Declared, warn: bool| {
                    first.then(|| failed(declared, hook, &fault, warn))
                };
                (plugin, Box::new(built) as Box<Build>)
            }
            Notice::GivenUp { plugin, fault } => {
                let built =
                    move |declared: &Declared, warn: bool| Some(given_up(declared, &fault, warn));
                (plugin, Box::new(built) as Box<Build>)
            }
        };
        let declared = plugins.declared(&plugin)?;
        let warn = declared.on_error == OnError::Warn;
        if !warn {
            plugins.mark_failed();
        }
        built(declared, warn).map(|built| Said::Complaint(Box::new(built)))
    }

    /// How often plugins failed in a way that was told once. It is forgotten then.
    pub fn often(&mut self) -> Vec<Diagnostic> {
        let failures = std::mem::take(&mut self.failures);
        let mut often: Vec<_> = failures.into_iter().filter(|(_, n)| *n > 1).collect();
        often.sort();
        let told = often.into_iter().map(|((plugin, words), count)| {
            let more = match count - 1 {
                1 => "once more".to_owned(),
                more => format!("{more} more times"),
            };
            let message = format!("plugin `{plugin}` failed {more} in the same way: {words}");
            Diagnostic::warning(&codes::PLUGIN_FAILED, message)
        });
        told.collect()
    }
}

/// Makes the complaint, if there is one.
type Build = dyn FnOnce(&Declared, bool) -> Option<Diagnostic>;

fn level_name(number: u32) -> &'static str {
    match number {
        level::ERROR => "error",
        level::WARN => "warn",
        level::INFO => "info",
        _ => "debug",
    }
}
