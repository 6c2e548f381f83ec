//! A graph checked: the verdict in plain words, and what lies beyond it.

use super::beyond;
use super::refusals;
use super::relics;
use super::words::Scene;
use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, SourceMap, Span};
use crate::plan::Origins;
use crate::protocol::UploadRules;
use crate::workflow::Graph;
use crate::workflow::verdict::{self, Verdict};
use std::collections::HashMap;
use std::path::PathBuf;

/// How many complaints of one kind are told of what lies beyond the server.
pub(super) const MOST: usize = 100;

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
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub struct Setting<'a> {
    /// The server is kiln's own.
    pub embedded: bool,
    /// The workflow runs by itself, without a pipeline around it.
    pub bare: bool,
    /// The folders in which the user's own files are looked for; none where nothing is to be set any more.
    pub folders: &'a [PathBuf],
    /// There is a key for partner nodes, or it is said elsewhere that there is none.
    pub partner_key: bool,
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
    // What the server puts in the place of a node is what runs.
    let (graph, _) = verdict::replaced(graph, catalog);
    let places = Renamed::new(places, verdict);
    let scene = Scene::new(&graph, catalog, &places, sources, setting);
    let mut out = refusals::refusals(&scene, verdict);
    out.extend(in_bounds(beyond::beyond(&scene, verdict)));
    relics::advise(&mut out, &scene);
    out
}

/// Places of inputs that have another name now, where a server put another class in the place of the written one.
struct Renamed<'a> {
    places: &'a dyn Places,
    old: HashMap<&'a NodeId, &'a [(String, String)]>,
}

impl<'a> Renamed<'a> {
    fn new(places: &'a dyn Places, verdict: &'a Verdict) -> Self {
        let renamed = verdict.replaced.iter();
        let renamed = renamed.filter(|replaced| !replaced.renamed.is_empty());
        Self {
            places,
            old: renamed.map(|one| (&one.node, &*one.renamed)).collect(),
        }
    }

    fn written<'n>(&'n self, node: &NodeId, input: &'n str) -> &'n str {
        let renamed = self.old.get(node).copied().unwrap_or_default();
        let old = renamed.iter().find(|(new, _)| new == input);
        old.map_or(input, |(_, old)| old)
    }
}

impl Places for Renamed<'_> {
    fn of(&self, node: &NodeId, input: Option<&str>) -> Option<Origin> {
        self.places
            .of(node, input.map(|input| self.written(node, input)))
    }

    fn key(&self, node: &NodeId, input: &str) -> Option<Span> {
        self.places.key(node, self.written(node, input))
    }
}

/// Of each kind the first complaints, and how many more there are: a workflow of ten thousand nodes may have one mistake as often.
fn in_bounds(found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut kept: Vec<Diagnostic> = Vec::new();
    for diagnostic in found {
        let count = counts.entry(diagnostic.code.id).or_insert(0);
        *count += 1;
        if *count <= MOST {
            kept.push(diagnostic);
        }
    }
    for (code, count) in counts {
        let last = kept.iter_mut().rfind(|d| d.code.id == code);
        if let Some(last) = last.filter(|_| count > MOST) {
            last.help
                .push(format!("{} more are like this", count - MOST));
        }
    }
    kept
}
