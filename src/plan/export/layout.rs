//! Where the boxes stand: in columns by their longest way from a start, so that every arrow leads to the right.

use super::diagram::Diagram;

/// Pixels.
pub(super) const LINE: i32 = 18;
const PADDING: i32 = 12;
const BETWEEN_COLUMNS: i32 = 64;
const BETWEEN_ROWS: i32 = 24;
const MARGIN: i32 = 16;
/// The width of a character, on the safe side.
const CHARACTER: i32 = 8;

/// A placed box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// All boxes placed, and the size of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    pub(super) width: i32,
    pub(super) height: i32,
}

pub(super) fn layout(diagram: &Diagram) -> Layout {
    let columns = columns(diagram);
    let mut places: Vec<Place> = diagram
        .boxes
        .iter()
        .map(|step| {
            let longest = step.lines.iter().map(|line| line.chars().count()).max();
            Place {
                x: 0,
                y: 0,
                width: size(longest.unwrap_or(0)) * CHARACTER + 2 * PADDING,
                height: size(step.lines.len()) * LINE + 2 * PADDING - 4,
            }
        })
        .collect();
    let tall = |column: &Vec<usize>, places: &[Place]| {
        let boxes: i32 = column.iter().map(|at| places[*at].height).sum();
        boxes + BETWEEN_ROWS * size(column.len().saturating_sub(1))
    };
    let height = columns
        .iter()
        .map(|column| tall(column, &places))
        .max()
        .unwrap_or(0);
    let mut x = MARGIN;
    for column in &columns {
        let widest = column.iter().map(|at| places[*at].width).max().unwrap_or(0);
        let mut y = MARGIN + (height - tall(column, &places)) / 2;
        for at in column {
            let place = &mut places[*at];
            place.x = x;
            place.y = y;
            place.width = widest;
            y += place.height + BETWEEN_ROWS;
        }
        x += widest + BETWEEN_COLUMNS;
    }
    Layout {
        places,
        width: x - BETWEEN_COLUMNS + MARGIN,
        height: height + 2 * MARGIN,
    }
}

/// Boxes by column; inside one they stand near what they wait for, ties in file order.
fn columns(diagram: &Diagram) -> Vec<Vec<usize>> {
    let mut depth = vec![0_usize; diagram.boxes.len()];
    // As often as there are boxes: enough for the longest chain, and an end for any graph.
    for _ in 0..diagram.boxes.len() {
        for arrow in &diagram.arrows {
            depth[arrow.to] = depth[arrow.to].max(depth[arrow.from] + 1);
        }
    }
    let deepest = depth
        .iter()
        .copied()
        .max()
        .unwrap_or(0)
        .min(diagram.boxes.len());
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); deepest + 1];
    for (at, depth) in depth.iter().enumerate() {
        columns[(*depth).min(deepest)].push(at);
    }
    let mut row = vec![0_usize; diagram.boxes.len()];
    for column in &mut columns {
        column.sort_by_key(|at| {
            let above: Vec<usize> = diagram
                .arrows
                .iter()
                .filter(|arrow| arrow.to == *at)
                .map(|arrow| row[arrow.from])
                .collect();
            // The mean row, in thousandths.
            let mean = above.iter().sum::<usize>() * 1000 / above.len().max(1);
            (mean, *at)
        });
        for (place, at) in column.iter().enumerate() {
            row[*at] = place;
        }
    }
    columns
}

fn size(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX / 1000)
}
