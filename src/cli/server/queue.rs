//! `kiln server queue`: the jobs that run and wait.

use std::io::{self, Write};

use clap::Args;

use super::flags::{ServerFlags, show_rows};
use super::jobs::{called, sheet};
use crate::cli::exit::Exit;
use crate::cli::sheet::width;
use crate::session::care::{self, QueueRow};

#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    flags: ServerFlags,
}

pub(super) fn queue(args: &QueueArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        let rows = care::queue(open).await?;
        Ok((rows, called(open), open.is_pool()))
    });
    match asked {
        Ok((rows, server, pool)) => show_rows(&args.flags, &rows, |out| {
            to_text(out, &rows, &server, pool, width())
        }),
        Err(exit) => exit,
    }
}

fn to_text(
    out: &mut dyn Write,
    rows: &[QueueRow],
    server: &str,
    pool: bool,
    width: Option<usize>,
) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "nothing runs or waits on {server}");
    }
    sheet(rows, pool).write(out, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{RunId, TaskName};
    use crate::session::care::{OwnJob, Where};

    fn row(id: &str, state: Where, before: usize, own: Option<&str>) -> QueueRow {
        QueueRow {
            id: id.to_owned(),
            state,
            before,
            number: Some(7.0),
            created: Some(1),
            age: Some(75),
            own: own.map(|task| OwnJob {
                run: RunId::from("20260101-120000-abcd"),
                task: TaskName::from(task),
            }),
            nodes: 12,
            titles: vec!["Final picture".to_owned(), "KSampler".to_owned()],
            url: "http://gpu-1:8188".to_owned(),
        }
    }

    #[test]
    fn a_queue_at_three_widths() {
        let rows = [
            row(
                "0871e03a-3132-47d5-9fc5-d1f4b4a550fe",
                Where::Running,
                0,
                None,
            ),
            row(
                "0871e03a-5132-47d5-9fc5-d1f4b4a550fe",
                Where::Waiting,
                1,
                Some("draw[7]"),
            ),
        ];
        let mut all = String::new();
        for (width, pool) in [(40, true), (80, false), (160, true)] {
            let mut out = Vec::new();
            to_text(&mut out, &rows, "`farm`", pool, Some(width)).unwrap();
            let text = anstream::adapter::strip_bytes(&out).into_vec();
            let text = String::from_utf8(text).unwrap();
            let fits = |line: &str| unicode_width::UnicodeWidthStr::width(line) <= width;
            assert!(text.lines().all(fits), "{text}");
            all.push_str(&format!("-- {width}\n{text}"));
        }
        insta::assert_snapshot!(all);
    }
}
