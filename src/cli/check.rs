//! `kiln check`: everything that can be known without running.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::args::{CheckArgs, TextOrJson};
use super::exit::{Exit, complain, tell};
use crate::catalog::Catalog;
use crate::diagnostic::{Report, SourceMap, to_json};
use crate::plan::MissingParams;
use crate::session::{self, FileReport, Request};

pub(super) fn check(args: &CheckArgs) -> Exit {
    let catalog = match args.catalog.as_deref().map(load_catalog).transpose() {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    let checker = match session::Checker::new(catalog) {
        Ok(checker) => checker,
        Err(error) => {
            complain(&format!("could not start: {error}"));
            return Exit::Internal;
        }
    };
    let mut worst = Exit::Done;
    let mut good = 0;
    for file in &args.files {
        let mut found = checker.check(&request(args, file));
        if args.deny.is_some() {
            session::deny_warnings(&mut found);
        }
        if found.report.has_errors() {
            worst = worse(worst, Exit::of_report(&found.report, &found.sources));
        } else {
            good += 1;
        }
        let told = match args.output {
            TextOrJson::Json => print_json(file, &found),
            TextOrJson::Text => {
                tell_file(file, &found);
                Ok(())
            }
        };
        if told.is_err() {
            // The reader has seen enough.
            return worst;
        }
    }
    if args.output == TextOrJson::Text && args.files.len() > 1 {
        let _ = writeln!(
            anstream::stderr(),
            "{good} of {} files are fine",
            args.files.len()
        );
    }
    worst
}

fn request(args: &CheckArgs, file: &Path) -> Request {
    Request {
        server: args.server.clone().or_else(|| from_environment(args)),
        missing_params: MissingParams::Undecided,
        ..args.values.request(file)
    }
}

/// `KILN_SERVER` is for every command, so it must not stand in the way of a catalog that was typed.
fn from_environment(args: &CheckArgs) -> Option<String> {
    let set = std::env::var("KILN_SERVER").ok()?;
    (args.catalog.is_none() && !set.is_empty()).then_some(set)
}

/// Something wrong with a file outweighs a server that is down.
fn worse(a: Exit, b: Exit) -> Exit {
    match (a, b) {
        (Exit::Report(3), _) | (_, Exit::Done) => a,
        _ => b,
    }
}

pub(super) fn load_catalog(path: &Path) -> Result<Arc<Catalog>, Exit> {
    match session::catalog_file(path) {
        Ok((catalog, warnings)) => {
            for warning in warnings {
                let style: Style = AnsiColor::Yellow.on_default();
                let _ = writeln!(anstream::stderr(), "{style}warning{style:#}: {warning}");
            }
            Ok(Arc::new(catalog))
        }
        Err(diagnostic) => {
            let report = Report {
                items: vec![*diagnostic],
            };
            tell(&report, &SourceMap::default());
            Err(Exit::of_report(&report, &SourceMap::default()))
        }
    }
}

fn tell_file(file: &Path, found: &FileReport) {
    tell(&found.report, &found.sources);
    if found.report.items.is_empty() {
        let good: Style = AnsiColor::Green.on_default();
        let _ = writeln!(anstream::stderr(), "{good}ok{good:#} {}", file.display());
    }
}

fn print_json(file: &Path, found: &FileReport) -> std::io::Result<()> {
    let diagnostics: Vec<_> = found
        .report
        .in_order()
        .into_iter()
        .map(|d| to_json(d, &found.sources))
        .collect();
    let line = json!({
        "file": file.display().to_string(),
        "accepted": found.accepted,
        "runs": found.runs,
        "diagnostics": diagnostics,
    });
    writeln!(std::io::stdout(), "{line}")
}
