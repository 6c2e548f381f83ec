//! Exit codes of complaints.

use crate::diagnostic::{Diagnostic, Report, Severity, SourceMap};

/// The exit code that a report calls for: 0 without errors; 6 as soon as a plugin could not be loaded; else 3 when something is wrong in
/// a file; else 2 when something is wrong with what was typed; else 7 when state is unusable; and 5 when only servers could not be reached.
pub fn exit_code(report: &Report, sources: &SourceMap) -> u8 {
    let errors = report.items.iter();
    let errors = errors.filter(|d| d.severity == Severity::Error);
    let codes: Vec<u8> = errors.map(|error| code_of(error, sources)).collect();
    // What lacks a plugin may be wrong for that reason alone.
    let mut weight = [6, 3, 2, 7, 5].into_iter();
    weight.find(|code| codes.contains(code)).unwrap_or(0)
}

/// What one error calls for. Where it stands decides, not what is wrong: the same mistake is a matter of the command line when it was
/// typed there, and of the file when it is written there.
fn code_of(error: &Diagnostic, sources: &SourceMap) -> u8 {
    if error.code.id.starts_with("K04") {
        return 5;
    }
    if matches!(error.code.id, "K0601" | "K0602") {
        return 6;
    }
    if error.code.id.starts_with("K07") {
        return 7;
    }
    let typed = match &error.primary {
        // `--only` is shown, and is right: the results that it needs are not there.
        Some(_) if error.code.id == "K0134" => false,
        Some(label) => sources.file(label.span.file).is_typed(),
        None => matches!(error.code.id, "K0005" | "K0006"),
    };
    // The line shown is where the param is declared, but what is missing is a `-p`.
    if typed || error.code.id == "K0111" {
        2
    } else {
        3
    }
}
