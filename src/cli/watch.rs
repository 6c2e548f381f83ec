//! `kiln watch`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use super::args::{ValueFlags, yes_or_no};
use super::exit::{Exit, columns, complain};
use super::screen::{self, Preview};
use crate::report::{Stage, TerminalReporter};
use crate::run::RunOptions;
use crate::session::{Request, Wishes};
use crate::watch::{self, Options};

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Pipelines (.yaml) or workflows in API format (.json)
    #[arg(value_name = "PIPELINE", required = true)]
    files: Vec<PathBuf>,

    /// What a change does to a run that is under way
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value = "restart",
        env = "KILN_ON_BUSY"
    )]
    on_busy: OnBusy,

    /// Look at the files twice a second instead of being told by the system: for network file systems
    #[arg(long, env = "KILN_POLL", value_parser = yes_or_no())]
    poll: bool,

    /// Show pictures among the results and of what samplers are at, in terminals that can: kitty, iTerm2, sixel
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto", env = "KILN_PREVIEW")]
    preview: Option<Preview>,

    #[command(flatten)]
    values: ValueFlags,

    /// Move every step to this server: a name from kiln.yaml, `local`, `embedded`, or a URL
    #[arg(long, value_name = "NAME|URL", env = "KILN_SERVER", value_parser = NonEmptyStringValueParser::new())]
    server: Option<String>,

    /// Where results go, instead of the project's `output_dir`
    #[arg(long, value_name = "DIR", env = "KILN_OUTPUT_DIR")]
    output_dir: Option<PathBuf>,

    /// The most tasks in flight at a time
    #[arg(long, value_name = "N", env = "KILN_MAX_PARALLEL", value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: Option<u32>,

    /// Run only these steps and what they need
    #[arg(
        long,
        value_name = "STEP,…",
        env = "KILN_TO",
        value_delimiter = ',',
        conflicts_with = "only"
    )]
    to: Vec<String>,

    /// Run exactly these steps, with earlier results as their inputs
    #[arg(long, value_name = "STEP,…", env = "KILN_ONLY", value_delimiter = ',')]
    only: Vec<String>,

    /// After a failure, go on with everything that does not depend on it
    #[arg(short = 'k', long, env = "KILN_KEEP_GOING", value_parser = yes_or_no())]
    keep_going: bool,

    /// Start runs of more than 1000 tasks, too
    #[arg(short = 'y', long, env = "KILN_YES", value_parser = yes_or_no())]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnBusy {
    /// Its stale jobs are cancelled, and what is affected runs again
    Restart,
    /// It is let finish; then one run follows for all changes
    Queue,
}

impl WatchArgs {
    fn request(&self, file: &Path) -> Request {
        Request {
            server: self.server.clone(),
            output_dir: self.output_dir.clone(),
            max_parallel: self.max_parallel,
            to: self.to.clone(),
            only: self.only.clone(),
            ..self.values.request(file)
        }
    }

    /// The files, each once.
    fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = Vec::new();
        let mut real = Vec::new();
        for file in &self.files {
            let lies = file.canonicalize().unwrap_or_else(|_| file.clone());
            if !real.contains(&lies) {
                real.push(lies);
                files.push(file);
            }
        }
        files
    }
}

/// What the lines of each pipeline begin with, all of one width; nothing when there is only one.
fn labels(files: &[&Path]) -> Vec<Option<String>> {
    if files.len() < 2 {
        return vec![None; files.len()];
    }
    let stem = |file: &Path| {
        file.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let short: Vec<String> = files.iter().map(|file| stem(file)).collect();
    let name = |(at, file): (usize, &&Path)| {
        let shared = short.iter().filter(|other| **other == short[at]).count() > 1;
        if shared {
            file.display().to_string()
        } else {
            short[at].clone()
        }
    };
    let names: Vec<String> = files.iter().enumerate().map(name).collect();
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0);
    names
        .iter()
        .map(|name| Some(format!("{name:<width$}")))
        .collect()
}

pub(super) fn watch(args: &WatchArgs) -> ExitCode {
    let stdin = |file: &PathBuf| file.as_os_str() == "-";
    let mut typed = args.files.iter().chain(&args.values.params_file);
    if typed.any(stdin) {
        complain("what comes through stdin does not change: give a file to watch");
        return Exit::Usage.into();
    }
    let files = args.files();
    let labels = labels(&files);
    let requests = files.iter().map(|file| args.request(file));
    let (_, mut terminal) = screen::notes(args.preview);
    terminal.only_new = true;
    screen::say_if_no_pictures(args.preview, terminal);
    let stage = Stage::default();
    let ended = watch::watch(Options {
        pipelines: requests.zip(labels).collect(),
        wishes: Wishes {
            options: RunOptions {
                keep_going: args.keep_going,
                ..RunOptions::default()
            },
            wait: true,
            yes: args.yes,
            previews: terminal.pictures.is_some(),
            watched: true,
            ..Wishes::default()
        },
        on_busy: match args.on_busy {
            OnBusy::Restart => watch::OnBusy::Restart,
            OnBusy::Queue => watch::OnBusy::Queue,
        },
        poll: args.poll,
        voices: Arc::new(move |label| {
            let (notes, _) = screen::notes(None);
            let reporter = TerminalReporter::new(notes, std::io::stdout(), terminal);
            Box::new(reporter.on(&stage, label))
        }),
        columns: columns(),
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            Exit::Internal.into()
        }
    }
}
