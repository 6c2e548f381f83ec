//! For Graphviz.

use std::fmt::Write as _;

use super::super::sealed::Plan;
use super::diagram::diagram;

/// The plan in Graphviz' language.
pub fn to_dot(plan: &Plan) -> String {
    let diagram = diagram(plan);
    let mut out = String::new();
    let _ = writeln!(out, "digraph {} {{", quoted(&diagram.title));
    out.push_str("  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    for step in &diagram.boxes {
        let style = if step.given {
            ", style=\"rounded,dashed\""
        } else {
            ""
        };
        let label = quoted(&step.lines.join("\n"));
        let _ = writeln!(out, "  {} [label={label}{style}];", quoted(&step.id));
    }
    for arrow in &diagram.arrows {
        let mut about = Vec::new();
        if arrow.optional {
            about.push("style=dashed");
        }
        if arrow.streams {
            about.push("label=\"each\"");
        }
        let about = match about.as_slice() {
            [] => String::new(),
            about => format!(" [{}]", about.join(", ")),
        };
        let (from, to) = (&diagram.boxes[arrow.from].id, &diagram.boxes[arrow.to].id);
        let _ = writeln!(out, "  {} -> {}{about};", quoted(from), quoted(to));
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}
