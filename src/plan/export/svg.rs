//! A picture of its own, for whoever has nothing that draws.

use std::fmt::Write as _;

use super::super::sealed::Plan;
use super::diagram::diagram;
use super::layout::{LINE, layout};

/// The plan as an SVG picture, legible on light and dark ground.
pub fn to_svg(plan: &Plan) -> String {
    let diagram = diagram(plan);
    let layout = layout(&diagram);
    let (width, height) = (layout.width, layout.height);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">"
    );
    let _ = writeln!(out, "  <title>{}</title>", escaped(&diagram.title));
    out.push_str(
        "  <style>.b{fill:#f6f8fa;stroke:#57606a}.g{stroke-dasharray:4 3}.t{fill:#1f2328;font-weight:600}.s{fill:#57606a}\
         .a{fill:none;stroke:#8c959f;stroke-width:1.5}.o{stroke-dasharray:5 4}.h{fill:#8c959f}</style>\n  \
         <defs><marker id=\"h\" markerWidth=\"9\" markerHeight=\"8\" refX=\"8\" refY=\"4\" orient=\"auto\">\
         <path class=\"h\" d=\"M0,0 L9,4 L0,8 z\"/></marker></defs>\n",
    );
    for arrow in &diagram.arrows {
        let (from, to) = (layout.places[arrow.from], layout.places[arrow.to]);
        let (x1, y1) = (from.x + from.width, from.y + from.height / 2);
        let (x2, y2) = (to.x, to.y + to.height / 2);
        let middle = i32::midpoint(x1, x2);
        let optional = if arrow.optional { " o" } else { "" };
        let _ = writeln!(
            out,
            "  <path class=\"a{optional}\" marker-end=\"url(#h)\" d=\"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}\"/>"
        );
        if arrow.streams {
            let y = i32::midpoint(y1, y2) - 5;
            let _ = writeln!(
                out,
                "  <text class=\"s\" x=\"{middle}\" y=\"{y}\" font-size=\"11\" text-anchor=\"middle\">each</text>"
            );
        }
    }
    for (step, place) in diagram.boxes.iter().zip(&layout.places) {
        let given = if step.given { " g" } else { "" };
        let _ = writeln!(
            out,
            "  <rect class=\"b{given}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
            place.x, place.y, place.width, place.height
        );
        let mut y = place.y + LINE + 4;
        for (at, line) in step.lines.iter().enumerate() {
            let class = if at == 0 { "t" } else { "s" };
            let x = place.x + 12;
            let _ = writeln!(
                out,
                "  <text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
                escaped(line)
            );
            y += LINE;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no place for them, not even escaped.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
