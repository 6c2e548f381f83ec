//! Where a node class comes from that a server lacks: another server of the project may have it, and tells its pack.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::kept;
use crate::catalog::{Catalog, NodeDef};
use crate::diagnostic::{Report, codes};

/// Adds to each complaint about a missing class where it is to be had, as far as `others` or the catalogs kept in the project know.
pub(super) fn advise(report: &mut Report, project: &Path, others: &[(String, Arc<Catalog>)]) {
    let lacking = |d: &crate::diagnostic::Diagnostic| {
        d.code == &codes::MISSING_NODE_TYPE && d.class_type.is_some()
    };
    if !report.items.iter().any(lacking) {
        return;
    }
    let kept = kept::all(project);
    let known = || {
        let others = others.iter().map(|(name, catalog)| (name, &**catalog));
        others.chain(kept.iter().map(|(name, catalog)| (name, catalog)))
    };
    let mut said: BTreeSet<String> = BTreeSet::new();
    for diagnostic in report.items.iter_mut().filter(|d| lacking(d)) {
        let class = diagnostic.class_type.as_deref().unwrap_or_default();
        let found = known().find_map(|(name, catalog)| {
            let def = catalog.node(class)?;
            Some(where_from(name, def))
        });
        if let Some(help) = found
            && said.insert(format!("{class}\0{help}"))
        {
            diagnostic.help.push(help);
        }
    }
}

fn where_from(server: &str, def: &NodeDef) -> String {
    let module = def.python_module.as_deref().unwrap_or_default();
    let class = &def.name;
    match module.strip_prefix("custom_nodes.") {
        Some(pack) => {
            let pack = pack.split('.').next().unwrap_or(pack);
            format!(
                "the server `{server}` has `{class}` from the node pack `{pack}`: install that pack"
            )
        }
        None if module.starts_with("nodes") || module.starts_with("comfy_") => format!(
            "the server `{server}` has `{class}`, which comes with ComfyUI itself: update this one, or run the step there"
        ),
        None => format!("the server `{server}` has `{class}`: run the step there"),
    }
}
