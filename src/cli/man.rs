//! `kiln man`: the manual pages.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use clap_mangen::{Man, generate_to};

use super::args;
use super::exit::{Exit, complain};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The page of one command, instead of kiln's own
    #[arg(value_name = "COMMAND", conflicts_with = "out_dir")]
    command: Option<String>,

    /// Write all pages into this folder
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

pub(super) fn man(args: &ManArgs) -> Exit {
    let mut command = args::command();
    if let Some(folder) = &args.out_dir {
        let written = std::fs::create_dir_all(folder).and_then(|()| generate_to(command, folder));
        return match written {
            Ok(()) => Exit::Done,
            Err(error) => {
                let folder = folder.display();
                complain(&format!("could not write the pages to `{folder}`: {error}"));
                Exit::Internal
            }
        };
    }
    let page = match &args.command {
        None => Man::new(command),
        Some(name) => {
            // Building names each subcommand after both.
            command.build();
            let Some(found) = command.find_subcommand(name) else {
                complain(&format!(
                    "there is no command `{name}`; `kiln --help` lists them"
                ));
                return Exit::Usage;
            };
            Man::new(found.clone())
        }
    };
    let mut text = Vec::new();
    if let Err(error) = page.render(&mut text) {
        complain(&error.to_string());
        return Exit::Internal;
    }
    // A broken pipe is success: the reader has seen enough.
    let _ = io::stdout().write_all(&text);
    Exit::Done
}
