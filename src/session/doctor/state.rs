//! What kiln remembers of the project.

use std::path::Path;

use super::finding::{Area, Checkup};
use crate::base::display_path;
use crate::diagnostic::{Diagnostic, SourceMap, codes, thousands};
use crate::report::plural;
use crate::session::history::{Alive, History};
use crate::store::{Health, health};

/// Less free space than this is little, bytes.
const LITTLE: u64 = 2_000_000_000;
/// With less free space than this nothing works, bytes.
const NOTHING: u64 = 50_000_000;

pub(super) fn examine(project: &Path, checkup: &mut Checkup) {
    let health = health(project);
    let area = Area::State;
    let place = display_path(&health.place.state);
    if let Some(error) = &health.unwritable {
        let diagnostic = error.diagnostic();
        checkup.wrong(area, "", diagnostic, &SourceMap::default());
    }
    match &health.format {
        None => checkup.ok(area, "", format!("nothing ran here yet; it will be kept in `{place}`")),
        Some(Ok(format)) if *format == health.known => checkup.ok(
            area,
            "",
            format!("`{place}` is readable, its database in this kiln's format ({format})"),
        ),
        Some(Ok(format)) => checkup.ok(
            area,
            "",
            format!(
                "the database in `{place}` has the older format {format}; the next run brings it to {}",
                health.known
            ),
        ),
        Some(Err(error)) => checkup.wrong(area, "", error.diagnostic(), &SourceMap::default()),
    }
    space(&health, checkup);
    file_system(&health, checkup);
    runs(project, &health, checkup);
}

fn space(health: &Health, checkup: &mut Checkup) {
    let Some(free) = health.free else { return };
    let told = format!(
        "{} MB free for results and state",
        thousands(free / 1_000_000)
    );
    let help = "`kiln gc --older-than 30d` removes old runs and what nothing needs any more";
    if free < NOTHING {
        let diagnostic =
            Diagnostic::error(&codes::STATE_UNUSABLE, format!("only {told}")).help(help);
        checkup.wrong(Area::State, "", diagnostic, &SourceMap::default());
    } else if free < LITTLE {
        checkup.note(Area::State, "", format!("only {told}"), help);
    } else {
        checkup.ok(Area::State, "", told);
    }
}

fn file_system(health: &Health, checkup: &mut Checkup) {
    let kind = health.file_system.as_deref().unwrap_or("a network");
    let state = display_path(&health.place.state);
    match (health.network, health.place.is_elsewhere()) {
        (true, true) => checkup.note(
            Area::State,
            "",
            format!("the project lies on a network file system ({kind}): its database is kept in `{state}`"),
            "runs are seen from this machine only; results lie in the project",
        ),
        (true, false) => checkup.note(
            Area::State,
            "",
            format!("the state lies on a network file system ({kind}), where locks and databases do not work well"),
            "set KILN_STATE_DIR to a folder on a disk of this machine",
        ),
        (false, true) => checkup.ok(
            Area::State,
            "",
            format!("the database is kept in `{state}`, as KILN_STATE_DIR says"),
        ),
        (false, false) => {
            if let Some(kind) = &health.file_system {
                checkup.ok(Area::State, "", format!("on a file system of this machine ({kind})"));
            }
        }
    }
}

fn runs(project: &Path, health: &Health, checkup: &mut Checkup) {
    if !health.live.is_empty() {
        let count = plural(health.live.len(), "run");
        checkup.ok(
            Area::State,
            "",
            format!("{count} under way: `kiln runs` lists them"),
        );
    }
    if !health.stale.is_empty() {
        let count = plural(health.stale.len(), "lock");
        checkup.note(
            Area::State,
            "",
            format!("{count} of dead processes: they hold nobody up"),
            "each goes when its run is gone on with or cancelled",
        );
    }
    if !matches!(health.format, Some(Ok(_))) {
        return;
    }
    let Ok(history) = History::open(project) else {
        return;
    };
    let runs = history.reader().runs().unwrap_or_default();
    let dead = runs
        .iter()
        .filter(|run| history.alive(run) == Alive::Interrupted);
    let dead: Vec<&str> = dead.map(|run| run.run.as_str()).collect();
    if let [newest, ..] = dead[..] {
        checkup.note(
            Area::State,
            "",
            format!("{} ended before the end, their processes killed", plural(dead.len(), "run")),
            format!("`kiln run --resume {newest}` goes on with the newest, `kiln cancel {newest}` gives it up"),
        );
    }
}
