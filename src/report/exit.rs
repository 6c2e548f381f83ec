//! Exit codes of complaints.

use crate::diagnostic::{Report, Severity};

/// The exit code that a report calls for: 0 without errors, 2 when only the command line is wrong, 5 when only servers could not be
/// reached, 7 when only state is unusable, 3 for everything else.
pub fn exit_code(report: &Report) -> u8 {
    let ids: Vec<&str> = report
        .items
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.code.id)
        .collect();
    let all = |prefix: &str| ids.iter().all(|id| id.starts_with(prefix));
    if ids.is_empty() {
        0
    } else if all("K04") {
        5
    } else if all("K07") {
        7
    } else if ids.iter().all(|id| matches!(*id, "K0005" | "K0006")) {
        2
    } else {
        3
    }
}
