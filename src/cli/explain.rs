//! `kiln explain CODE`: the page of a diagnostic code.

use std::io::Write;

use super::args::ExplainArgs;
use super::exit::{Exit, complain};
use crate::diagnostic::{codes, did_you_mean, render_page};

/// Lines longer than this are hard to read, however wide the terminal is.
const COLUMNS: usize = 88;
/// What is narrower is not worth wrapping for.
const LEAST: usize = 30;

pub(super) fn explain(args: &ExplainArgs) -> Exit {
    let mut out = anstream::stdout().lock();
    let Some(wanted) = &args.code else {
        for code in codes::ALL {
            let title = code.page.lines().next().unwrap_or_default();
            let title = title.split_once(": ").map_or(title, |(_, words)| words);
            let _ = writeln!(out, "{}  {title}", code.id);
        }
        return Exit::Done;
    };
    if let Some(code) = codes::find(wanted) {
        let columns = super::sheet::width().unwrap_or(COLUMNS);
        let _ = write!(
            out,
            "{}",
            render_page(code.page, columns.clamp(LEAST, COLUMNS))
        );
        return Exit::Done;
    }
    let near = did_you_mean(wanted, codes::ALL.iter().map(|c| c.id));
    let hint = near.map_or_else(String::new, |code| format!(", did you mean `{code}`?"));
    complain(&format!(
        "there is no code `{wanted}`{hint}; `kiln explain` alone lists them all"
    ));
    Exit::Usage
}
