//! The project file.

use super::finding::{Area, Checkup};
use crate::base::display_path;
use crate::report::plural;
use crate::session::care::Found;
use crate::session::load::PROJECT_FILE;

pub(super) fn examine(found: &Found, checkup: &mut Checkup) {
    let folder = display_path(&found.project_dir);
    for diagnostic in found.report.items.clone() {
        checkup.wrong(Area::Project, "", diagnostic, &found.sources);
    }
    let Some(project) = &found.project else {
        if !found.report.has_errors() {
            checkup.note(
                Area::Project,
                "",
                format!("there is no {PROJECT_FILE} in `{folder}` or above"),
                "kiln works without one; `kiln init` makes one, and servers are declared in it",
            );
        }
        return;
    };
    let declared = plural(project.servers.len(), "server");
    let default = project
        .default_server
        .as_ref()
        .and_then(|node| node.as_str());
    let default = default.map_or_else(String::new, |name| format!(", `{name}` by default"));
    checkup.ok(
        Area::Project,
        "",
        format!("{PROJECT_FILE} in `{folder}` declares {declared}{default}"),
    );
}
