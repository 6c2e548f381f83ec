//! What to do when no `ComfyUI` answers: how this project, or this pipeline, runs without one.

use crate::diagnostic::{Diagnostic, codes};
use crate::embedded;
use crate::plan::{Plan, StepPlan};
use crate::spec::{Project, ServerKind};

/// The flag with which a project rehearses, e.g. `--profile draft`: its first profile that moves to a server of kiln's own, else such
/// a server.
pub(super) fn rehearsal(project: &Project) -> Option<String> {
    let own = |name: &str| {
        let declared = project.servers.get(name).map(|server| &server.value.kind);
        matches!(declared, Some(ServerKind::Embedded { .. }))
    };
    let mut profiles = project.profiles.iter();
    let profile = profiles.find(|(_, profile)| {
        let server = profile.server.as_ref().and_then(|node| node.as_str());
        server.is_some_and(own)
    });
    if let Some((name, _)) = profile {
        return Some(format!("--profile {name}"));
    }
    let server = project.servers.keys().find(|name| own(name));
    server.map(|name| format!("--server {name}"))
}

/// Whether waiting for a server may help.
pub(super) fn may_come_back(complaint: &Diagnostic) -> bool {
    complaint.code == &codes::SERVER_UNREACHABLE || complaint.code == &codes::NOT_COMFYUI
}

/// Adds the way out to the complaint about a server that is not there.
pub(super) fn advise(complaint: Diagnostic, plan: &Plan, rehearsal: Option<&str>) -> Diagnostic {
    if !may_come_back(&complaint) {
        return complaint;
    }
    if let Some(flag) = rehearsal {
        return complaint.help(format!("to rehearse without ComfyUI, use `{flag}`"));
    }
    let catalog = embedded::catalog();
    let workflows = plan.steps.values().filter_map(StepPlan::workflow);
    let mut nodes = workflows.flat_map(|work| work.graph.nodes.values());
    if nodes.all(|node| catalog.node(&node.class_type).is_some()) {
        return complaint.help("to run without ComfyUI, use `--server embedded`");
    }
    complaint.help(
        "to rehearse without ComfyUI, write `servers: { sketch: { kind: embedded, simulate: true } }` into kiln.yaml, and use `--server sketch`",
    )
}
