//! What kiln tells people about a graph before it runs: a server's verdict in plain words at the user's own line, and what kiln
//! knows beyond the server.
//!
//! A server says nothing about a misspelt optional input, and dies of a link that leads nowhere where it does not look; those are
//! found here. This room never decides what a server accepts (that is `workflow::verdict`) and never prints.

mod beyond;
mod refusals;
mod words;

use std::path::PathBuf;

use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, SourceMap, Span};
use crate::plan::Origins;
use crate::workflow::Graph;
use crate::workflow::verdict::Verdict;
use words::Scene;

/// Where a graph's parts are written.
pub trait Places {
    /// Where a node stands, or the value of one of its inputs.
    fn of(&self, node: &NodeId, input: Option<&str>) -> Option<Origin>;

    /// Where the name of an input stands, when that is not in the workflow file.
    fn key(&self, _node: &NodeId, _input: &str) -> Option<Span> {
        None
    }
}

impl<F: Fn(&NodeId, Option<&str>) -> Option<Origin>> Places for F {
    fn of(&self, node: &NodeId, input: Option<&str>) -> Option<Origin> {
        self(node, input)
    }
}

impl Places for Origins {
    fn of(&self, node: &NodeId, input: Option<&str>) -> Option<Origin> {
        self.of(node, input)
    }

    fn key(&self, node: &NodeId, input: &str) -> Option<Span> {
        self.key(node, input)
    }
}

/// What shapes the advice, and not what is wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting<'a> {
    /// The server is kiln's own.
    pub embedded: bool,
    /// The workflow runs by itself, without a pipeline around it.
    pub bare: bool,
    /// The folders in which the user's own files are looked for; none where nothing is to be set any more.
    pub folders: &'a [PathBuf],
}

/// Everything to be said about a graph, each at the place that `places` names for a node or one of its inputs. `graph` is the
/// graph that was judged.
pub fn verdict_diagnostics(
    verdict: &Verdict,
    graph: &Graph,
    catalog: &Catalog,
    places: &dyn Places,
    sources: &SourceMap,
    setting: Setting<'_>,
) -> Vec<Diagnostic> {
    let scene = Scene {
        graph,
        catalog,
        places,
        sources,
        setting,
    };
    let mut out = refusals::refusals(&scene, verdict);
    out.extend(beyond::beyond(&scene, verdict));
    out
}

#[cfg(test)]
mod tests;
