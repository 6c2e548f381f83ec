//! `kiln check`: everything that can be known without running.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use serde_json::json;

use super::args::{CheckArgs, CheckFormat};
use super::exit::{Exit, complain, tell};
use crate::catalog::Catalog;
use crate::diagnostic::{Report, SarifLog, SourceMap, to_github, to_json};
use crate::plan::MissingParams;
use crate::session::{self, FileReport, Request};

pub(super) fn check(args: &CheckArgs) -> Exit {
    let catalog = match args.catalog.as_deref().map(load_catalog).transpose() {
        Ok(catalog) => catalog,
        Err(exit) => return exit,
    };
    let checker = match session::Checker::new(catalog.clone()) {
        Ok(checker) => checker,
        Err(error) => {
            complain(&format!("could not start: {error}"));
            return Exit::Internal;
        }
    };
    let mut worst = Exit::Done;
    let mut good = 0;
    let mut log = SarifLog::default();
    for file in &args.files {
        let mut found = checker.check(&request(args, file));
        if args.deny.is_some() {
            found.report.deny_warnings();
        }
        if found.report.has_errors() {
            worst = worse(worst, Exit::of_report(&found.report, &found.sources));
        } else {
            good += 1;
        }
        let name = file.display().to_string();
        let told = match args.output {
            CheckFormat::Json => print_json(file, &found),
            CheckFormat::Text => {
                tell_file(file, &found);
                Ok(())
            }
            CheckFormat::Github => write!(
                std::io::stdout(),
                "{}",
                to_github(&found.report, &found.sources, &name)
            ),
            CheckFormat::Sarif => {
                log.add(&name, &found.report, &found.sources);
                Ok(())
            }
        };
        if told.is_err() {
            // The reader has seen enough.
            return worst;
        }
    }
    if let Some(catalog) = &catalog {
        warn(&catalog.broken());
    }
    if args.output == CheckFormat::Sarif {
        // A broken pipe is success: the reader has seen enough.
        let _ = writeln!(std::io::stdout(), "{:#}", log.finish(worst == Exit::Done));
    }
    if args.output == CheckFormat::Text && args.files.len() > 1 {
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

/// Definitions that were needed and could not be read.
pub(super) fn warn(broken: &[String]) {
    for warning in broken {
        let style: Style = AnsiColor::Yellow.on_default();
        let _ = writeln!(anstream::stderr(), "{style}warning{style:#}: {warning}");
    }
}

pub(super) fn load_catalog(path: &Path) -> Result<Arc<Catalog>, Exit> {
    match session::catalog_file(path) {
        Ok(catalog) => Ok(Arc::new(catalog)),
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
