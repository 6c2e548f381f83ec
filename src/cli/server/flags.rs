//! What all these commands share: which server, how to answer, and saying what is waited for.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    cancel, catalog, clear, free, history, install, interrupt, models, nodes, queue, status,
};
use crate::cli::args::TextOrJson;
use crate::cli::exit::{Exit, runtime, tell};
use crate::cli::runs::json;
use crate::diagnostic::{Report, SourceMap};
use crate::session::care::{self, Complaint, Open, Place};

/// How long an answer may take before it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// Show what servers are and how they are
    Status(status::StatusArgs),
    /// List the node classes of a server, or show what one takes and gives
    Nodes(nodes::NodesArgs),
    /// List the folders of models of a server, or the files of one
    Models(models::ModelsArgs),
    /// List the jobs that run and wait
    Queue(queue::QueueArgs),
    /// Stop jobs, running or waiting, by their ids
    Cancel(cancel::CancelArgs),
    /// Stop the job that runs
    Interrupt(interrupt::InterruptArgs),
    /// Take all waiting jobs out of the queue; what runs goes on
    Clear(clear::ClearArgs),
    /// List the jobs that have ended, or make the server forget them
    History(history::HistoryArgs),
    /// Empty the memory of a server
    Free(free::FreeArgs),
    /// Install a node pack or a model through the server's ComfyUI-Manager
    Install(install::InstallArgs),
    /// Save what a server has, for `kiln check --catalog`
    Catalog(catalog::CatalogArgs),
}

/// Which server, and how to tell of it.
#[derive(Debug, Args)]
pub(super) struct ServerFlags {
    /// The server: a name from kiln.yaml, `local`, `cloud`, `embedded`, or a URL; else the project's default, else `local`
    #[arg(long, value_name = "NAME|URL", env = "KILN_SERVER", value_parser = NonEmptyStringValueParser::new())]
    server: Option<String>,

    /// The project's folder, instead of the one around the current folder
    #[arg(long, value_name = "DIR", env = "KILN_PROJECT")]
    project: Option<PathBuf>,

    /// Format of stdout
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(super) output: TextOrJson,
}

pub(in crate::cli) fn server(args: &ServerArgs) -> Exit {
    match &args.command {
        ServerCommand::Status(args) => status::status(args),
        ServerCommand::Nodes(args) => nodes::nodes(args),
        ServerCommand::Models(args) => models::models(args),
        ServerCommand::Queue(args) => queue::queue(args),
        ServerCommand::Cancel(args) => cancel::cancel(args),
        ServerCommand::Interrupt(args) => interrupt::interrupt(args),
        ServerCommand::Clear(args) => clear::clear(args),
        ServerCommand::History(args) => history::history(args),
        ServerCommand::Free(args) => free::free(args),
        ServerCommand::Install(args) => install::install(args),
        ServerCommand::Catalog(args) => catalog::catalog(args),
    }
}

impl ServerFlags {
    pub(super) fn place(&self) -> Place {
        Place {
            server: self.server.clone(),
            project: self.project.clone(),
        }
    }

    /// What is waited for, in words.
    fn called(&self) -> String {
        match &self.server {
            Some(name) => format!("server `{name}`"),
            None => "the server".to_owned(),
        }
    }

    /// Connects, works, and ends what was started.
    pub(super) fn ask<T>(
        &self,
        work: impl AsyncFnOnce(&Open) -> Result<T, Box<Complaint>>,
    ) -> Result<T, Exit> {
        self.ask_patiently(PATIENCE, work)
    }

    /// [`Self::ask`] for work that tells itself how far it is.
    pub(super) fn ask_patiently<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&Open) -> Result<T, Box<Complaint>>,
    ) -> Result<T, Exit> {
        let runtime = runtime()?;
        let done = runtime.block_on(async {
            let place = self.place();
            let open = waited(&self.called(), PATIENCE, care::open(&place)).await?;
            if !open.away.items.is_empty() {
                tell(&open.away, open.sources());
            }
            let what = format!("server `{}` ({})", open.name, open.url);
            let done = waited(what.trim_end_matches(" ()"), patience, work(&open)).await;
            open.close().await;
            done
        });
        runtime.shutdown_timeout(Duration::from_millis(200));
        done.map_err(|complaint| complain(&complaint))
    }
}

/// Tells what is wrong, and which exit code that is.
pub(super) fn complain(complaint: &Complaint) -> Exit {
    told(&complaint.report, &complaint.sources)
}

pub(super) fn told(report: &Report, sources: &SourceMap) -> Exit {
    tell(report, sources);
    Exit::of_report(report, sources)
}

/// Waits, and says on a terminal what for when it takes long.
pub(in crate::cli) async fn waited<T>(
    what: &str,
    patience: Duration,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(patience) => {}
    }
    if io::stderr().is_terminal() {
        let _ = writeln!(anstream::stderr(), "waiting for {what}");
    }
    work.await
}

/// Writes rows as lines of JSON, or as `text` does. A broken pipe is success: the reader has seen enough.
pub(super) fn show_rows<T: Serialize>(
    flags: &ServerFlags,
    rows: &[T],
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Exit {
    let mut out = anstream::stdout().lock();
    let _ = match flags.output {
        TextOrJson::Text => text(&mut out),
        TextOrJson::Json => rows
            .iter()
            .try_for_each(|row| writeln!(out, "{}", json(row))),
    };
    Exit::Done
}

/// Writes one thing as JSON, or as `text` does.
pub(super) fn show_one<T: Serialize>(
    flags: &ServerFlags,
    one: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Exit {
    show_rows(flags, std::slice::from_ref(one), text)
}
