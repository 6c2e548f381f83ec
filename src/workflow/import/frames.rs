//! Every sheet as often as it is used: the root, and one for each node behind which a sheet stands.

use std::collections::HashMap;

use super::document::{Document, Mode, Sheet, UiNode};
use super::notice::{Notice, What};

/// How deep sheets may stand inside each other.
const DEEPEST: usize = 32;
/// More nodes than this, all sheets opened, are no workflow that anybody drew.
const MOST_NODES: usize = 100_000;

/// And more links, inputs and outputs than this.
const MOST_ENDS: usize = 2_000_000;

/// One use of a sheet.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// The sheet.
    pub(super) sheet: &'a Sheet<'a>,
    /// What stands before the ids of its nodes: `12:3:`.
    pub(super) prefix: String,
    /// The frame and the node it stands behind.
    pub(super) host: Option<(usize, &'a UiNode<'a>)>,
    /// Frames behind its nodes, by node id.
    pub(super) inside: HashMap<&'a str, usize>,
    depth: usize,
}

/// Opens all sheets.
///
/// # Errors
/// When a sheet stands inside itself, or there are too many.
pub(super) fn open<'a>(document: &'a Document<'a>) -> Result<Vec<Frame<'a>>, Box<Notice>> {
    let mut frames = vec![Frame {
        sheet: &document.root,
        prefix: String::new(),
        host: None,
        inside: HashMap::new(),
        depth: 0,
    }];
    let mut nodes = document.root.nodes.len();
    let mut ends = 0_usize;
    let mut at = 0;
    while at < frames.len() {
        let sheet = frames[at].sheet;
        for node in sheet.nodes.values() {
            let Some(part) = document.part(node.class) else {
                continue;
            };
            // Only on the first sheet does the editor leave out what stands behind a node that is muted or bypassed.
            if at == 0 && node.mode != Mode::Runs {
                continue;
            }
            let failed =
                |what| Box::new(Notice::at(&node.pointer, what).of(node, &frames[at].prefix));
            if is_inside(&frames, at, part) {
                return Err(failed(What::InsideItself(part.name.to_owned())));
            }
            nodes += part.nodes.len();
            ends += part.links.len() + part.inputs.len() + part.outputs.len();
            let depth = frames[at].depth + 1;
            if depth > DEEPEST || nodes > MOST_NODES || ends > MOST_ENDS {
                return Err(failed(What::TooMuch));
            }
            let new = frames.len();
            let prefix = format!("{}{}:", frames[at].prefix, node.number);
            frames[at].inside.insert(&node.id, new);
            frames.push(Frame {
                sheet: part,
                prefix,
                host: Some((at, node)),
                inside: HashMap::new(),
                depth,
            });
        }
        at += 1;
    }
    Ok(frames)
}

/// Whether a frame is, or stands inside, a use of the sheet.
fn is_inside(frames: &[Frame<'_>], frame: usize, sheet: &Sheet<'_>) -> bool {
    let mut at = Some(frame);
    while let Some(here) = at {
        if std::ptr::eq(frames[here].sheet, sheet) {
            return true;
        }
        at = frames[here].host.map(|(outer, _)| outer);
    }
    false
}
