//! A graph checked: the verdict in plain words, and what lies beyond it.

use super::beyond;
use super::refusals;
use super::words::Scene;
use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, SourceMap, Span};
use crate::plan::Origins;
use crate::protocol::UploadRules;
use crate::workflow::Graph;
use crate::workflow::verdict::Verdict;
use std::path::PathBuf;

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
    /// Outputs that the server refuses are left out, as long as one runs.
    pub partial: bool,
    /// What the server takes for files, where that is known.
    pub uploads: Option<UploadRules>,
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
