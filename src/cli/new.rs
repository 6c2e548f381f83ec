//! `kiln new`: a pipeline to start from, by itself or around a workflow that people have.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Exit, complain, tell};
use super::import::DefinitionFlags;
use crate::base::display_path;
use crate::report::plural;
use crate::session;

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What the pipeline is called: `NAME.yaml` and `workflows/NAME.json` are made in the current folder
    #[arg(value_name = "NAME")]
    name: String,

    /// A workflow, or a picture or the like that carries one; without it, a small pipeline that runs at once
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    #[command(flatten)]
    knows: DefinitionFlags,
}

/// The pipeline that is made without a workflow, and what it draws.
const PLAIN: (&str, &str) = (
    include_str!("new/pipeline.yaml"),
    include_str!("init/card.json"),
);

pub(super) fn new(args: &NewArgs) -> Exit {
    let name = args.name.strip_suffix(".yaml").unwrap_or(&args.name);
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    if !name.starts_with(char::is_alphanumeric) || !name.chars().all(plain) {
        complain(&format!(
            "`{}` cannot be the name of a pipeline: letters, digits, `-` and `_` can",
            args.name
        ));
        return Exit::Usage;
    }
    let files = [
        PathBuf::from(format!("{name}.yaml")),
        Path::new("workflows").join(format!("{name}.json")),
    ];
    if let Some(there) = files.iter().find(|file| file.exists()) {
        complain(&format!(
            "`{}` is there already, and nothing is overwritten; choose another name",
            display_path(there)
        ));
        return Exit::Usage;
    }
    let (pipeline, workflow, what, given) = match &args.from {
        None => (
            PLAIN.0.replace("NAME", name),
            PLAIN.1.to_owned(),
            String::new(),
            String::new(),
        ),
        Some(from) => match around(name, from, args) {
            Ok(made) => made,
            Err(exit) => return exit,
        },
    };
    for (file, text) in files.iter().zip([&pipeline, &workflow]) {
        if let Err(error) = put_new(file, text) {
            complain(&format!(
                "could not write `{}`: {error}",
                display_path(file)
            ));
            return Exit::Report(3);
        }
        let _ = writeln!(anstream::stderr(), "  made  {}", display_path(file));
    }
    let _ = writeln!(
        anstream::stderr(),
        "\n{what}See what it does: kiln plan {name}.yaml{given}"
    );
    Exit::Done
}

/// The texts of a pipeline, of its workflow, what to say of it, and the flags without which it does not run.
type Made = (String, String, String, String);

/// A pipeline around a workflow.
fn around(name: &str, from: &Path, args: &NewArgs) -> Result<Made, Exit> {
    let import = args.knows.importer(0)?.import(from);
    let failed = import.report.has_errors();
    if !import.report.items.is_empty() {
        tell(&import.report, &import.sources);
    }
    let (Some(graph), false) = (import.graph, failed) else {
        return Err(Exit::of_report(&import.report, &import.sources));
    };
    let shown = match from.file_name() {
        Some(file) => file.to_string_lossy().replace(['\n', '\r'], " "),
        None => "stdin".to_owned(),
    };
    let server = args.knows.server.as_deref();
    let created = session::create(name, &shown, graph, import.catalog.as_deref(), server);
    let what = match created.params {
        0 => "No input of it is a param yet. ".to_owned(),
        count => format!("{} to set with -p. ", plural(count, "param")),
    };
    let workflow = format!("{:#}\n", created.workflow);
    let given = session::given(&created.required);
    Ok((created.pipeline, workflow, what, given))
}

/// Writes a file that is not there yet.
fn put_new(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut open = std::fs::OpenOptions::new();
    let mut new = open.write(true).create_new(true).open(file)?;
    new.write_all(text.as_bytes())
}
