//! What kiln tells people about a graph before it runs: a server's verdict in plain words at the user's own line, and what kiln
//! knows beyond the server.
//!
//! A server says nothing about a misspelt optional input, and dies of a link that leads nowhere where it does not look; those are
//! found here. This room never decides what a server accepts (that is `workflow::verdict`) and never prints.

mod beyond;
mod refusals;
mod words;

use crate::base::NodeId;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Origin, SourceMap};
use crate::workflow::Graph;
use crate::workflow::verdict::Verdict;
use words::Scene;

/// Everything to be said about a graph, each at the place that `origin_of` names for a node or one of its inputs. `graph` is the
/// graph that was judged.
pub fn verdict_diagnostics(
    verdict: &Verdict,
    graph: &Graph,
    catalog: &Catalog,
    origin_of: &dyn Fn(&NodeId, Option<&str>) -> Option<Origin>,
    sources: &SourceMap,
) -> Vec<Diagnostic> {
    let scene = Scene {
        graph,
        catalog,
        origin_of,
        sources,
    };
    let mut out = refusals::refusals(&scene, verdict);
    out.extend(beyond::beyond(&scene, verdict));
    out
}

#[cfg(test)]
mod tests;
