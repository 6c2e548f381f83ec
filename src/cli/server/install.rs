//! `kiln server install`: node packs and models, through the server's ComfyUI-Manager.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::flags::{ServerFlags, show_rows, told};
use super::jobs::called;
use crate::cli::exit::Exit;
use crate::client::ModelWish;
use crate::diagnostic::{Diagnostic, Report, SourceMap, codes};
use crate::session::care::{self, Wish};

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A node pack, from its git repository
    Node(NodeArgs),
    /// A model file
    Model(ModelArgs),
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// The address of the git repository
    #[arg(value_name = "URL")]
    url: String,

    #[command(flatten)]
    flags: ServerFlags,
}

#[derive(Debug, Args)]
struct ModelArgs {
    /// Where the file is
    #[arg(value_name = "URL")]
    url: String,

    /// The folder of models to put it in, e.g. checkpoints
    #[arg(long, value_name = "FOLDER")]
    folder: String,

    /// Its name there, instead of the last part of the URL
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn install(args: &InstallArgs) -> Exit {
    match wish(&args.what) {
        Ok((wish, flags)) => carry_out(&wish, flags),
        Err(exit) => exit,
    }
}

fn wish(what: &What) -> Result<(Wish, &ServerFlags), Exit> {
    match what {
        What::Node(args) => {
            address(&args.url)?;
            let url = args.url.clone();
            Ok((Wish::Nodes { url }, &args.flags))
        }
        What::Model(args) => {
            let url = address(&args.url)?;
            let last = url.path_segments().and_then(|mut parts| parts.next_back());
            let name = args.name.as_deref().or(last).unwrap_or_default();
            if name.is_empty() || name.contains(['/', '\\']) || name == ".." {
                return Err(wrong(
                    format!("`{}` does not end in the name of a file", args.url),
                    "say how the file is to be called with `--name`",
                ));
            }
            let wish = ModelWish {
                url: args.url.clone(),
                folder: args.folder.clone(),
                filename: name.to_owned(),
            };
            Ok((Wish::Model(wish), &args.flags))
        }
    }
}

fn address(text: &str) -> Result<url::Url, Exit> {
    let url = url::Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        wrong(
            format!("`{text}` is no address that a server could fetch from"),
            "an address begins with `https://`",
        )
    })
}

fn wrong(message: String, help: &str) -> Exit {
    let report = Report {
        items: vec![Diagnostic::error(&codes::BAD_ARGUMENT, message).help(help)],
    };
    told(&report, &SourceMap::default())
}

fn carry_out(wish: &Wish, flags: &ServerFlags) -> Exit {
    let asked = flags.ask_patiently(Duration::MAX, async |open| {
        let rows = care::install(open, wish, |url, state| {
            let _ = writeln!(
                anstream::stderr(),
                "{url}: {} of {} done{}",
                state.done,
                state.total,
                if state.busy { ", installing" } else { "" }
            );
        });
        Ok((rows.await?, called(open)))
    });
    let (rows, server) = match asked {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    let missing = rows.iter().any(|row| row.listed == Some(false));
    let shown = show_rows(flags, &rows, |out| {
        for row in &rows {
            let (url, from) = (&row.url, &row.from);
            match (row.what, row.listed) {
                ("nodes", _) => writeln!(
                    out,
                    "installed {from} on {server} ({url}); restart that ComfyUI to load it"
                )?,
                (_, Some(false)) => writeln!(
                    out,
                    "the Manager of {server} ({url}) is done, but the server does not list the model"
                )?,
                _ => writeln!(out, "installed {from} on {server} ({url})")?,
            }
        }
        Ok(())
    });
    if !missing {
        return shown;
    }
    let message = format!("the model is not on {server}: its download failed");
    let report = Report {
        items: vec![
            Diagnostic::error(&codes::SERVER_REFUSED, message)
                .help("the server's own log tells why"),
        ],
    };
    told(&report, &SourceMap::default())
}
