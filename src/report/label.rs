//! What lines of several pipelines on one terminal begin with.

use super::text::width;

/// What stands between a label and its line.
const BETWEEN: usize = 3;

/// The columns that a label takes before a line.
pub fn label_width(label: Option<&str>) -> usize {
    label.map_or(0, |label| width(label) + BETWEEN)
}
