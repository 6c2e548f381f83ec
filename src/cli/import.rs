//! `kiln import`: from the editor's format, pictures and films to graphs in API format.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;

use super::args::TextOrJson;
use super::check::load_catalog;
use super::exit::{Exit, complain, tell};
use crate::base::{display_path, put_unsynced};
use crate::diagnostic::{Diagnostic, Report, Severity, codes, to_json};
use crate::report::plural;
use crate::session::{Import, Importer};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Workflows of the editor's, or pictures, films, sounds and models that carry one; `-` for stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// The file to write; `-`, or nothing, for stdout
    #[arg(
        short = 'o',
        long = "out",
        value_name = "FILE",
        conflicts_with = "out_dir"
    )]
    out: Option<PathBuf>,

    /// Write each graph into this folder, under the name of its file
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(super) knows: DefinitionFlags,

    /// What choices inside texts, such as `{red|green}`, are drawn by
    #[arg(long, value_name = "N", env = "KILN_SEED", default_value_t = 0)]
    seed: u64,

    /// Format: text on stderr, or one JSON object per file on stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: TextOrJson,
}

/// Where node definitions come from.
#[derive(Debug, Args)]
pub(super) struct DefinitionFlags {
    /// The server whose nodes these are. `KILN_SERVER` stands for it unless there is a catalog.
    #[arg(
        long,
        value_name = "NAME|URL",
        conflicts_with = "catalog",
        value_parser = NonEmptyStringValueParser::new(),
        help = "The server whose node definitions say what values mean: a name from kiln.yaml, `local`, or a URL; else the project's default, else `local` [env: KILN_SERVER=]"
    )]
    pub(super) server: Option<String>,

    /// A saved answer to `GET /object_info`.
    #[arg(
        long,
        value_name = "FILE",
        help = "Take node definitions from a saved answer to GET /object_info, offline (`-` for stdin)"
    )]
    pub(super) catalog: Option<PathBuf>,
}

impl DefinitionFlags {
    /// Who converts by these.
    pub(super) fn importer(&self, seed: u64) -> Result<Importer, Exit> {
        let catalog = self.catalog.as_deref().map(load_catalog).transpose()?;
        let server = self.server.clone().or_else(|| {
            let set = std::env::var("KILN_SERVER").ok()?;
            (self.catalog.is_none() && !set.is_empty()).then_some(set)
        });
        Ok(Importer::new(catalog, server, seed))
    }
}

pub(super) fn import(args: &ImportArgs) -> Exit {
    let several = args.files.len() > 1;
    if several && args.out_dir.is_none() {
        complain(
            "several files need --out-dir: each graph is written into that folder under its own name",
        );
        return Exit::Usage;
    }
    let to_stdout = match &args.out {
        Some(out) => out.as_os_str() == "-",
        None => args.out_dir.is_none(),
    };
    if args.output == TextOrJson::Json && to_stdout {
        complain(
            "with --output json stdout is for the report; say where the graph goes: -o FILE or --out-dir DIR",
        );
        return Exit::Usage;
    }
    let importer = match args.knows.importer(args.seed) {
        Ok(importer) => importer,
        Err(exit) => return exit,
    };
    let mut taken = HashMap::new();
    let mut worst = Exit::Done;
    let mut good = 0;
    for file in &args.files {
        let mut import = importer.import(file);
        let out = destination(args, file);
        let written = write(file, out.as_deref(), &mut import, &mut taken);
        let ok = !import.report.has_errors();
        good += usize::from(ok);
        if !ok && !matches!(worst, Exit::Report(3)) {
            worst = Exit::of_report(&import.report, &import.sources);
        }
        let told = match args.output {
            TextOrJson::Json => print_json(file, written.as_deref(), &import),
            TextOrJson::Text => tell_file(file, written.as_deref(), &import),
        };
        if told.is_err() {
            // The reader has seen enough.
            return worst;
        }
    }
    if several && args.output == TextOrJson::Text {
        let _ = writeln!(
            anstream::stderr(),
            "{good} of {} converted",
            plural(args.files.len(), "file")
        );
    }
    worst
}

/// Where a file's graph goes; `None` for stdout.
fn destination(args: &ImportArgs, file: &Path) -> Option<PathBuf> {
    if let Some(out) = &args.out {
        return (out.as_os_str() != "-").then(|| out.clone());
    }
    let dir = args.out_dir.as_ref()?;
    let stem = if file.as_os_str() == "-" {
        "stdin".into()
    } else {
        file.file_stem()
            .map_or_else(|| "workflow".into(), ToOwned::to_owned)
    };
    let mut name = stem;
    name.push(".json");
    Some(dir.join(name))
}

/// Writes the graph, if there is one and its place is free; says where.
fn write(
    file: &Path,
    out: Option<&Path>,
    import: &mut Import,
    taken: &mut HashMap<PathBuf, PathBuf>,
) -> Option<PathBuf> {
    let json = import.json()?;
    let text = format!("{json:#}\n");
    let Some(out) = out else {
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        return None;
    };
    if let Some(diagnostic) = in_the_way(file, out, taken) {
        import.report.push(diagnostic);
        import.graph = None;
        return None;
    }
    taken.insert(out.to_path_buf(), file.to_path_buf());
    match put_unsynced(out, text.as_bytes()) {
        Ok(()) => Some(out.to_path_buf()),
        Err(error) => {
            let diagnostic = Diagnostic::error(&codes::CANNOT_WRITE, error.to_string());
            import.report.push(diagnostic);
            import.graph = None;
            None
        }
    }
}

/// A file that must not be replaced: the one that is read, or what came from another one just now.
fn in_the_way(file: &Path, out: &Path, taken: &HashMap<PathBuf, PathBuf>) -> Option<Diagnostic> {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let out_name = display_path(out);
    let refused = |message: String| Diagnostic::error(&codes::SAME_OUTPUT_PATH, message);
    if same(file, out) {
        return Some(
            refused(format!(
                "`{out_name}` would take the place of the file that it is made from"
            ))
            .help("write it into another folder or under another name"),
        );
    }
    let first = taken.get(out)?;
    let first = display_path(first);
    Some(
        refused(format!("`{out_name}` was just made from `{first}`"))
            .help("import files with the same name into different folders"),
    )
}

fn tell_file(file: &Path, out: Option<&Path>, import: &Import) -> std::io::Result<()> {
    let (notes, rest): (Vec<Diagnostic>, Vec<Diagnostic>) = import
        .report
        .items
        .iter()
        .cloned()
        .partition(|d| d.severity == Severity::Note);
    if !rest.is_empty() {
        tell(&Report { items: rest }, &import.sources);
    }
    let mut err = anstream::stderr().lock();
    if let Some(graph) = &import.graph {
        let ok = !import.report.has_errors();
        let (word, colour) = if ok {
            ("ok", AnsiColor::Green)
        } else {
            ("part", AnsiColor::Yellow)
        };
        let style: Style = colour.on_default();
        let size = plural(graph.nodes.len(), "node");
        let file = display_path(file);
        let _ = match out {
            Some(out) => writeln!(
                err,
                "{style}{word}{style:#} {file} → {}  {size}",
                display_path(out)
            ),
            None => writeln!(err, "{style}{word}{style:#} {file}  {size}"),
        };
    }
    let dim = Style::new().dimmed();
    for note in notes.iter().filter(|_| import.graph.is_some()) {
        let _ = writeln!(err, "   {dim}{}{dim:#}", note.message);
    }
    drop(err);
    match out {
        Some(out) => writeln!(std::io::stdout(), "{}", display_path(out)),
        None => Ok(()),
    }
}

fn print_json(file: &Path, out: Option<&Path>, import: &Import) -> std::io::Result<()> {
    let diagnostics: Vec<_> = import
        .report
        .in_order()
        .into_iter()
        .map(|d| to_json(d, &import.sources))
        .collect();
    let line = json!({
        "file": file.display().to_string(),
        "ok": !import.report.has_errors(),
        "out": out.map(|out| out.display().to_string()),
        "diagnostics": diagnostics,
    });
    writeln!(std::io::stdout(), "{line}")
}
