//! Pictures in terminals that can show them: kitty's protocol, iTerm2's, and sixel.
//!
//! Each picture is made small first; what the terminal gets is pixels or a picture that kiln wrote, never a file as it came.

use std::fmt::Write as _;
use std::io::{BufRead, Cursor, Seek};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::imageops::{FilterType, dither};
use image::{DynamicImage, ImageFormat, ImageReader, Limits, RgbaImage};

use super::sixel::{Cube, encoded};

/// How a terminal takes pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// kitty's graphics protocol; Ghostty, Konsole and `WezTerm` have it, too.
    Kitty,
    /// iTerm2's inline images; `WezTerm`, mintty and the terminal of VS Code have them, too.
    Iterm,
    /// Sixel: foot, mlterm, Windows Terminal, xterm where it is enabled.
    Sixel,
}

/// Rows that a picture takes at most.
const ROWS: u32 = 12;
/// Rows that a picture of what a task is at takes at most.
const GLIMPSE_ROWS: u32 = 6;
/// Its largest edge, and the most memory that looking at it may take.
const GLIMPSE_EDGE: u32 = 4096;
const GLIMPSE_MEMORY: u64 = 64 * 1024 * 1024;
/// Sixel counts in pixels: of a row that is lower than most, so that nothing reaches below the rows that were made for it.
const LOW_ROW: u32 = 14;
/// What a cell of a terminal is taken for, pixels.
const CELL: (u32, u32) = (10, 20);
/// Columns before a picture.
const INDENT: u32 = 6;
/// Characters of one piece of kitty's protocol.
const PIECE: usize = 4096;
/// The largest picture that is looked at, pixels on an edge.
const EDGE: u32 = 16_384;
/// The most memory that looking at a picture may take.
const MEMORY: u64 = 512 * 1024 * 1024;

/// A picture in the columns of a terminal; `None` when it cannot be read as one.
pub(super) fn drawn(path: &Path, protocol: Protocol, columns: usize) -> Option<String> {
    let picture = read(path)?;
    let columns = u32::try_from(columns)
        .unwrap_or(80)
        .saturating_sub(INDENT + 2);
    let (columns, rows) = cells(picture.width(), picture.height(), (columns, ROWS))?;
    let small = picture.resize(columns * CELL.0, rows * CELL.1, FilterType::Triangle);
    let indent = " ".repeat(INDENT as usize);
    let code = match protocol {
        Protocol::Kitty => kitty(&png(&small)?, (columns, rows), ""),
        Protocol::Iterm => iterm(&png(&small)?, columns, rows),
        Protocol::Sixel => sixel(&small.to_rgba8()),
    };
    Some(format!("{indent}{code}"))
}

/// A small picture of what a task is at, to be drawn above the live lines.
#[derive(Debug)]
pub(super) struct Glimpse {
    /// Leaves the cursor at the beginning of the row below it.
    pub(super) code: String,
    pub(super) rows: usize,
    /// Takes it away, where wiping its rows does not.
    pub(super) erase: String,
}

/// What a job sent of itself, in the columns of a terminal; `None` when it cannot be read as a picture.
pub(super) fn glimpse(bytes: &[u8], protocol: Protocol, columns: usize) -> Option<Glimpse> {
    let reader = ImageReader::new(Cursor::new(bytes));
    let picture = decoded(reader, (GLIMPSE_EDGE, GLIMPSE_MEMORY))?;
    let room = u32::try_from(columns).unwrap_or(80).saturating_sub(4);
    let (columns, rows) = cells(picture.width(), picture.height(), (room, GLIMPSE_ROWS))?;
    let row = if protocol == Protocol::Sixel {
        LOW_ROW
    } else {
        CELL.1
    };
    let small = picture.resize(columns * CELL.0, rows * row, FilterType::Triangle);
    // Its rows are made first, so that nothing scrolls while it is drawn, and the cursor goes where it was told to, whatever is drawn.
    let down = "\n".repeat(rows as usize);
    let id = std::process::id().clamp(1, 0x00ff_ffff);
    let (drawn, erase) = match protocol {
        Protocol::Kitty => (
            kitty(&png(&small)?, (columns, rows), &format!("i={id},p=1,C=1,")),
            format!("\x1b_Ga=d,d=I,i={id},q=2\x1b\\"),
        ),
        Protocol::Iterm => (iterm(&png(&small)?, columns, rows), String::new()),
        Protocol::Sixel => (sixel(&small.to_rgba8()), String::new()),
    };
    Some(Glimpse {
        code: format!("{down}\x1b[{rows}A\x1b7\x1b[2C{drawn}\x1b8\x1b[{rows}B"),
        rows: rows as usize,
        erase,
    })
}

fn read(path: &Path) -> Option<DynamicImage> {
    decoded(ImageReader::open(path).ok()?, (EDGE, MEMORY))
}

fn decoded<R: BufRead + Seek>(
    reader: ImageReader<R>,
    (edge, memory): (u32, u64),
) -> Option<DynamicImage> {
    let mut reader = reader.with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(edge);
    limits.max_image_height = Some(edge);
    limits.max_alloc = Some(memory);
    reader.limits(limits);
    reader.decode().ok()
}

/// The columns and rows of a picture; a row is twice as high as a column is wide.
fn cells(width: u32, height: u32, (room, most): (u32, u32)) -> Option<(u32, u32)> {
    if width == 0 || height == 0 || room == 0 {
        return None;
    }
    let of = |rows: u32| (u64::from(rows) * 2 * u64::from(width)).div_ceil(u64::from(height));
    let rows = (1..=most).rev().find(|rows| of(*rows) <= u64::from(room));
    let rows = rows.unwrap_or(1);
    let columns = of(rows).min(u64::from(room)).max(1);
    Some((u32::try_from(columns).ok()?, rows))
}

fn png(picture: &DynamicImage) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgba8(picture.to_rgba8());
    picture.write_to(&mut bytes, ImageFormat::Png).ok()?;
    Some(bytes.into_inner())
}

fn kitty(png: &[u8], (columns, rows): (u32, u32), how: &str) -> String {
    let text = STANDARD.encode(png);
    let mut code = String::with_capacity(text.len() + 256);
    let pieces = text.as_bytes().chunks(PIECE);
    let last = pieces.len().saturating_sub(1);
    for (at, piece) in pieces.enumerate() {
        let more = u8::from(at < last);
        let _ = if at == 0 {
            write!(
                code,
                "\x1b_Ga=T,f=100,q=2,{how}c={columns},r={rows},m={more};"
            )
        } else {
            write!(code, "\x1b_Gq=2,m={more};")
        };
        code.push_str(&String::from_utf8_lossy(piece));
        code.push_str("\x1b\\");
    }
    code
}

fn iterm(png: &[u8], columns: u32, rows: u32) -> String {
    let text = STANDARD.encode(png);
    let size = png.len();
    format!(
        "\x1b]1337;File=inline=1;size={size};width={columns};height={rows};preserveAspectRatio=1:{text}\x07"
    )
}

fn sixel(picture: &RgbaImage) -> String {
    let mut picture = picture.clone();
    dither(&mut picture, &Cube);
    encoded(&picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        // Nothing that could be packed into a few bytes.
        let mut dice = fastrand::Rng::with_seed(7);
        let paint = move |_: u32, _: u32| image::Rgb([dice.u8(..), dice.u8(..), dice.u8(..)]);
        image::RgbImage::from_fn(width, height, paint)
            .save(&path)
            .unwrap();
        (dir, path)
    }

    #[test]
    fn a_picture_keeps_its_shape_and_fits_the_terminal() {
        assert_eq!(cells(100, 100, (100, ROWS)), Some((24, 12)));
        assert_eq!(cells(1600, 100, (60, ROWS)), Some((32, 1)));
        assert_eq!(cells(100, 1600, (60, ROWS)), Some((2, 12)));
        assert_eq!(cells(9000, 1, (60, ROWS)), Some((60, 1)));
        assert_eq!(cells(0, 1, (60, ROWS)), None);
    }

    #[test]
    fn kitty_gets_a_small_png_in_pieces() {
        let (_dir, path) = picture(1000, 1000);
        let code = drawn(&path, Protocol::Kitty, 80).unwrap();
        let pieces: Vec<&str> = code.trim_start().split("\x1b\\").collect();
        assert!(pieces[0].starts_with("\x1b_Ga=T,f=100,q=2,c=24,r=12,m=1;"));
        let data = |piece: &&str| piece.split_once(';').map(|(_, data)| data.to_owned());
        let text: String = pieces.iter().filter_map(data).collect();
        let png = STANDARD.decode(text).unwrap();
        let read = image::load_from_memory(&png).unwrap();
        assert_eq!((read.width(), read.height()), (240, 240));
        assert!(pieces.iter().all(|piece| piece.len() < PIECE + 60));
        assert!(pieces[pieces.len() - 2].starts_with("\x1b_Gq=2,m=0;"));
    }

    #[test]
    fn iterm_gets_one_png_with_its_size_in_cells() {
        let (_dir, path) = picture(200, 100);
        let code = drawn(&path, Protocol::Iterm, 80).unwrap();
        let code = code.trim_start();
        assert!(code.starts_with("\x1b]1337;File=inline=1;size="), "{code}");
        assert!(code.contains(";width=48;height=12;preserveAspectRatio=1:"));
        assert!(code.ends_with('\x07'));
    }

    #[test]
    fn sixel_gets_all_of_the_picture_and_nothing_that_is_not_sixel() {
        let (_dir, path) = picture(100, 100);
        let code = drawn(&path, Protocol::Sixel, 80).unwrap();
        let code = code.trim_start();
        assert!(
            code.starts_with("\x1bP") && code.ends_with("\x1b\\"),
            "{code:?}"
        );
        assert!(code.contains("\"1;1;240;240"), "its size: {}", &code[..40]);
        let inner = &code[2..code.len() - 2];
        assert!(inner.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }

    #[test]
    fn a_glimpse_is_low_and_can_be_taken_away() {
        let (_dir, path) = picture(512, 512);
        let bytes = std::fs::read(path).unwrap();
        let glimpse = glimpse(&bytes, Protocol::Kitty, 80).unwrap();
        assert_eq!(glimpse.rows, 6);
        let id = std::process::id();
        let begin = "\n\n\n\n\n\n\x1b[6A\x1b7\x1b[2C\x1b_Ga=T,f=100,q=2,";
        assert!(glimpse.code.starts_with(begin), "{:?}", &glimpse.code[..60]);
        assert!(glimpse.code.contains(&format!(",i={id},p=1,C=1,c=12,r=6,")));
        assert!(glimpse.code.ends_with("\x1b8\x1b[6B"));
        assert_eq!(glimpse.erase, format!("\x1b_Ga=d,d=I,i={id},q=2\x1b\\"));
        assert!(super::glimpse(b"none", Protocol::Kitty, 80).is_none());
    }

    #[test]
    fn what_is_no_picture_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        std::fs::write(&path, "none").unwrap();
        assert_eq!(drawn(&path, Protocol::Kitty, 80), None);
    }
}
