//! For Mermaid, as GitHub and many editors show it.

use std::fmt::Write as _;

use super::super::sealed::Plan;
use super::diagram::diagram;

/// The plan as a Mermaid flow chart.
pub fn to_mermaid(plan: &Plan) -> String {
    let diagram = diagram(plan);
    let mut out = String::from("flowchart LR\n");
    for (at, step) in diagram.boxes.iter().enumerate() {
        let lines: Vec<String> = step.lines.iter().map(|line| escaped(line)).collect();
        let _ = writeln!(out, "  s{at}[\"{}\"]", lines.join("<br/>"));
    }
    for arrow in &diagram.arrows {
        let line = if arrow.optional { "-.->" } else { "-->" };
        let label = if arrow.streams { "|each|" } else { "" };
        let _ = writeln!(out, "  s{} {line}{label} s{}", arrow.from, arrow.to);
    }
    for (at, _) in diagram.boxes.iter().enumerate().filter(|(_, b)| b.given) {
        let _ = writeln!(out, "  style s{at} stroke-dasharray: 4");
    }
    out
}

/// Characters that mean something to Mermaid, as entities.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '<' | '>' | '&' | '#' | ';' | '`' | '\\' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
