//! `kiln server nodes [PATTERN]`: the node classes of a server, or all about one.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::flags::{ServerFlags, show_one, show_rows};
use super::jobs::called;
use crate::cli::exit::Exit;
use crate::cli::sheet::{Cell, Column, Fit, Sheet, faint, odd, strong, width};
use crate::session::care::{self, InputRow, NodeDetail, NodeRow};

/// Options that are shown before the rest is counted.
const SHOWN: usize = 6;

#[derive(Debug, Args)]
pub(super) struct NodesArgs {
    /// The exact name of a class shows what it takes and gives; anything else is looked for in names, titles and menus (`*`: anything)
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,

    #[command(flatten)]
    flags: ServerFlags,
}

enum Answer {
    One(Box<NodeDetail>),
    Many(Vec<NodeRow>),
}

pub(super) fn nodes(args: &NodesArgs) -> Exit {
    let asked = args.flags.ask(async |open| {
        if let Some(class) = &args.pattern
            && let Some(node) = care::node(open, class).await?
        {
            return Ok((Answer::One(Box::new(node)), called(open)));
        }
        let rows = care::nodes(open, args.pattern.as_deref()).await?;
        match &args.pattern {
            Some(pattern) if rows.is_empty() => Err(open.no_node(pattern).await),
            _ => Ok((Answer::Many(rows), called(open))),
        }
    });
    match asked {
        Ok((Answer::One(node), _)) => {
            show_one(&args.flags, &*node, |out| detail(out, &node, width()))
        }
        Ok((Answer::Many(rows), server)) => show_rows(&args.flags, &rows, |out| {
            if rows.is_empty() {
                return writeln!(out, "{server} has no node classes");
            }
            list(&rows).write(out, width())
        }),
        Err(exit) => exit,
    }
}

fn list(rows: &[NodeRow]) -> Sheet {
    let mut sheet = Sheet::new([
        Column::new("CLASS", Fit::Cut(16)),
        Column::new("GIVES", Fit::Cut(8)),
        Column::new("MENU", Fit::Spare(1)),
        Column::new("FROM", Fit::Spare(2)),
    ]);
    for row in rows {
        let class = if row.deprecated {
            Cell::styled(row.class.as_str(), faint())
        } else {
            row.class.as_str().into()
        };
        sheet.row([
            class,
            row.outputs.join(", ").into(),
            row.category.as_deref().unwrap_or_default().into(),
            row.module.as_deref().unwrap_or_default().into(),
        ]);
    }
    sheet
}

fn detail(out: &mut dyn Write, node: &NodeDetail, width: Option<usize>) -> io::Result<()> {
    let mut head =
        Sheet::new([Column::new("", Fit::Cut(8)), Column::new("", Fit::Spare(1))]).bare(0);
    let title = node.title.as_deref().filter(|title| *title != node.class);
    head.row([
        Cell::styled(node.class.as_str(), strong()),
        title.unwrap_or_default().into(),
    ]);
    head.write(out, width)?;
    let about: Vec<&str> = [
        node.category.as_deref(),
        node.module.as_deref(),
        node.output_node.then_some("jobs are run for its sake"),
        node.partner.then_some("costs credits"),
        node.deprecated.then_some("another class is to be used"),
        node.experimental.then_some("experimental"),
    ]
    .into_iter()
    .flatten()
    .filter(|text| !text.is_empty())
    .collect();
    let mut lines = Sheet::new([Column::new("", Fit::Cut(8))]).bare(2);
    lines.row([Cell::styled(about.join(", "), faint())]);
    lines.write(out, width)?;
    if !node.inputs.is_empty() {
        writeln!(out, "inputs")?;
        inputs(&node.inputs).write(out, width)?;
    }
    if !node.outputs.is_empty() {
        writeln!(out, "outputs")?;
        let mut sheet = Sheet::new([
            Column::new("", Fit::Cut(8)),
            Column::new("", Fit::Cut(8)),
            Column::new("", Fit::Whole),
        ])
        .bare(2);
        for output in &node.outputs {
            sheet.row([
                output.name.as_str().into(),
                output.kind.as_str().into(),
                (if output.list { "a list" } else { "" }).into(),
            ]);
        }
        sheet.write(out, width)?;
    }
    Ok(())
}

fn inputs(rows: &[InputRow]) -> Sheet {
    let mut sheet = Sheet::new([
        Column::new("", Fit::Cut(10)),
        Column::new("", Fit::Cut(6)),
        Column::new("", Fit::Whole),
        Column::new("", Fit::Cut(8)),
    ])
    .bare(2);
    for row in rows {
        let needed = if row.required {
            Cell::styled("needed", odd())
        } else {
            Cell::from("may be")
        };
        sheet.row([
            row.name.as_str().into(),
            row.kind.as_str().into(),
            needed,
            about(row).into(),
        ]);
    }
    sheet
}

/// Bounds, default and options of an input.
fn about(row: &InputRow) -> String {
    let mut parts = Vec::new();
    if let Some(key) = &row.only_with {
        parts.push(format!("with {}", literal(key)));
    }
    if let Some((least, most)) = row.count {
        parts.push(format!("{least} to {most} of them"));
    }
    match (&row.min, &row.max) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max}")),
        (Some(min), None) => parts.push(format!("at least {min}")),
        (None, Some(max)) => parts.push(format!("at most {max}")),
        (None, None) => {}
    }
    if let Some(default) = &row.default {
        parts.push(format!("default {}", literal(default)));
    }
    if let Some(options) = &row.options {
        let shown: Vec<String> = options.iter().take(SHOWN).map(literal).collect();
        let more = options.len().saturating_sub(SHOWN);
        parts.push(match (options.is_empty(), more) {
            (true, _) => "nothing to choose from".to_owned(),
            (false, 0) => format!("one of {}", shown.join(" ")),
            _ => format!("one of {} … ({})", shown.join(" "), options.len()),
        });
    }
    parts.join(", ")
}

/// A value in few words.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => crate::cli::table::short(text, 40),
        other => crate::cli::table::short(&other.to_string(), 40),
    }
}
