//! `kiln server models [FOLDER]`: the model files of a server.

use std::io::{self, Write};

use clap::Args;
use serde::Serialize;

use super::flags::{ServerFlags, show_rows};
use super::jobs::called;
use crate::cli::exit::Exit;
use crate::cli::sheet::{Column, Fit, Sheet, width};
use crate::cli::table::{bytes, time};
use crate::session::care::{self, Complaint, Open};

#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    /// The folder, e.g. checkpoints; without one, all folders are listed
    #[arg(value_name = "FOLDER")]
    folder: Option<String>,

    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn models(args: &ModelsArgs) -> Exit {
    match &args.folder {
        Some(folder) => files(args, folder),
        None => folders(args),
    }
}

/// Asks for rows and shows them, with what the server is called.
fn shown<T: Serialize>(
    args: &ModelsArgs,
    rows: impl AsyncFnOnce(&Open) -> Result<Vec<T>, Box<Complaint>>,
    table: impl FnOnce(&[T], &str, &mut dyn Write) -> io::Result<()>,
) -> Exit {
    let asked = args.flags.ask(async |open| {
        let rows = rows(open).await?;
        Ok((rows, called(open)))
    });
    match asked {
        Ok((rows, server)) => show_rows(&args.flags, &rows, |out| table(&rows, &server, out)),
        Err(exit) => exit,
    }
}

fn folders(args: &ModelsArgs) -> Exit {
    let rows = async |open: &Open| care::folders(open).await;
    shown(args, rows, |rows, server, out| {
        if rows.is_empty() {
            return writeln!(out, "{server} has no folders of models");
        }
        let mut sheet = Sheet::new([
            Column::new("FOLDER", Fit::Cut(8)),
            Column::new("FILES", Fit::Whole).right(),
        ]);
        for row in rows {
            let files = row.files.map_or_else(|| "?".to_owned(), |n| n.to_string());
            sheet.row([row.folder.as_str().into(), files.into()]);
        }
        sheet.write(out, width())
    })
}

fn files(args: &ModelsArgs, folder: &str) -> Exit {
    let rows = async |open: &Open| care::models_in(open, folder).await;
    shown(args, rows, |rows, server, out| {
        if rows.is_empty() {
            return writeln!(out, "{server} has nothing in `{folder}`");
        }
        let mut sheet = Sheet::new([
            Column::new("MODEL", Fit::Cut(16)),
            Column::new("SIZE", Fit::Whole).right(),
            Column::new("CHANGED", Fit::Spare(1)),
        ]);
        for row in rows {
            sheet.row([
                row.name.as_str().into(),
                row.size.map(bytes).unwrap_or_default().into(),
                row.modified.map(time).unwrap_or_default().into(),
            ]);
        }
        sheet.write(out, width())
    })
}
