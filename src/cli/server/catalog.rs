//! `kiln server catalog -o FILE`: saves what a server has.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::flags::{ServerFlags, show_one, told};
use super::jobs::called;
use crate::base::AtomicFile;
use crate::cli::exit::Exit;
use crate::cli::runs::from_here;
use crate::diagnostic::{Diagnostic, Report, SourceMap, codes};
use crate::report::plural;
use crate::session::care;

#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    /// The file to write, replaced when it is there; `-` for stdout
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn catalog(args: &CatalogArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        let saved = care::saved_catalog(open).await?;
        Ok((saved, called(open)))
    });
    let (saved, server) = match asked {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    let text = format!("{saved}\n");
    if args.file.as_os_str() == "-" {
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        return Exit::Done;
    }
    if let Err(error) = AtomicFile::put(&args.file, text.as_bytes()) {
        let diagnostic = Diagnostic::error(&codes::CANNOT_WRITE, error.to_string());
        let report = Report {
            items: vec![diagnostic],
        };
        return told(&report, &SourceMap::default());
    }
    let count = |name: &str| saved[name].as_object().map_or(0, serde_json::Map::len);
    let models = saved["models"].as_object().into_iter().flatten();
    let files: usize = models
        .map(|(_, files)| files.as_array().map_or(0, Vec::len))
        .sum();
    let did: Value = json!({
        "file": args.file.display().to_string(),
        "classes": count("object_info"),
        "folders": count("models"),
        "models": files,
        "bytes": text.len(),
    });
    show_one(&args.flags, &did, |out| {
        let file = from_here(&args.file);
        let classes = plural(count("object_info"), "definition");
        writeln!(
            out,
            "saved {classes} of nodes and the names of {} of {server} in {file}",
            plural(files, "model")
        )
    })
}
