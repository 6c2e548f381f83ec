//! Whether the bytes of a file are all there and as they were written, as far as its own format tells.
//!
//! A length can be lost on the way, or be that of a truncated copy, and nothing else of a download says what it should be. But some formats
//! do: PNG ends with a chunk of its own and sums up each chunk, WebP, WAV and AVI (RIFF) and GLB begin with their length, MP4 and its
//! relatives are boxes that tell theirs. What JPEG, GIF, FLAC, Matroska and all others hold is believed.

/// Why a file is not what it was when it was written.
pub(super) type Damage = &'static str;

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// What ISO files of pictures call themselves.
const PICTURES: [&[u8]; 6] = [b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"];
/// The boxes that an ISO file may consist of. What begins otherwise is none of it.
const BOXES: [&[u8]; 24] = [
    b"ftyp", b"styp", b"pdin", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide",
    b"meta", b"meco", b"uuid", b"sidx", b"ssix", b"prft", b"emsg", b"udta", b"pnot", b"idat",
    b"imda", b"grpl", b"jumb", b"etyp",
];
/// How many bytes tell a format: the magic numbers, and the length that comes with them.
const ENOUGH: usize = 16;

/// What is never empty.
const NEVER_EMPTY: [&str; 16] = [
    "png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "mp4", "webm", "mkv", "wav",
    "flac", "mp3", "glb",
];

/// Reads a file as it comes.
#[derive(Debug, Default)]
pub(super) struct Seal {
    /// Its name says that there is something in it.
    filled: bool,
    /// The first bytes, until the format is known.
    head: Vec<u8>,
    format: Format,
    /// Bytes seen.
    seen: u64,
}

#[derive(Debug, Default)]
enum Format {
    /// Not enough has come.
    #[default]
    Unknown,
    /// It tells nothing.
    Mute,
    /// It is at least so long.
    Long(u64),
    Png(Chunks),
    Boxes(Boxes),
}

impl Seal {
    /// Of a file that the server calls so.
    pub(super) fn of(name: &str) -> Self {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        let filled = |ending: &str| {
            let mut known = NEVER_EMPTY.iter();
            known.any(|known| known.eq_ignore_ascii_case(ending))
        };
        Self {
            filled: ending.is_some_and(filled),
            ..Self::default()
        }
    }

    /// Takes the file from its beginning again.
    pub(super) fn start_again(&mut self) {
        *self = Self {
            filled: self.filled,
            ..Self::default()
        };
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        if matches!(self.format, Format::Unknown) {
            let missing = ENOUGH.saturating_sub(self.head.len()).min(bytes.len());
            let (more, rest) = bytes.split_at(missing);
            self.head.extend_from_slice(more);
            bytes = rest;
            if self.head.len() < ENOUGH {
                return;
            }
            self.format = Format::of(&self.head);
            let head = std::mem::take(&mut self.head);
            self.format.take(&head);
        }
        self.format.take(bytes);
    }

    /// What is wrong with the file, now that it has ended.
    pub(super) fn damage(&self) -> Option<Damage> {
        const CUT: Damage = "it ends before its own format says";
        match &self.format {
            Format::Unknown if self.filled && self.seen == 0 => Some("it is empty"),
            Format::Unknown => {
                let begins = |magic: &[u8]| self.head.starts_with(magic);
                let boxes = self.head.get(4..8) == Some(b"ftyp");
                (boxes || begins(&PNG) || begins(b"RIFF") || begins(b"glTF")).then_some(CUT)
            }
            Format::Mute => None,
            Format::Long(least) => (self.seen < *least).then_some(CUT),
            Format::Png(chunks) if chunks.at == At::Damage => Some("a checksum in it is wrong"),
            Format::Png(chunks) => (chunks.at != At::End).then_some(CUT),
            Format::Boxes(boxes) => (!boxes.is_whole()).then_some(CUT),
        }
    }
}

impl Format {
    /// What begins so.
    fn of(head: &[u8]) -> Self {
        let number = |at: usize| head.get(at..at + 4)?.first_chunk().copied();
        let little = |at| number(at).map_or(0, |bytes| u64::from(u32::from_le_bytes(bytes)));
        if head.starts_with(&PNG) {
            return Self::Png(Chunks::default());
        }
        if head.starts_with(b"RIFF") {
            return match little(4) {
                // Who writes into a pipe does not know how much will follow.
                0 | 0xffff_ffff => Self::Mute,
                length => Self::Long(length + 8),
            };
        }
        if head.starts_with(b"glTF") {
            return Self::Long(little(8));
        }
        if head.get(4..8) == Some(b"ftyp") {
            return Self::Boxes(Boxes {
                picture: PICTURES.iter().any(|brand| head[8..].starts_with(brand)),
                ..Boxes::default()
            });
        }
        Self::Mute
    }

    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Png(chunks) => chunks.take(bytes),
            Self::Boxes(boxes) => boxes.take(bytes),
            Self::Unknown | Self::Mute | Self::Long(_) => {}
        }
    }
}

/// The chunks of a PNG: length, name, content, and a sum over the latter two.
#[derive(Debug, Default)]
struct Chunks {
    at: At,
    /// The signature, a chunk's length and name, or its sum, as far as it has come.
    part: Vec<u8>,
    /// What is left of the content.
    left: u64,
    /// Whether it is the last chunk.
    last: bool,
    sum: crc32fast::Hasher,
}

/// What comes next of a PNG.
#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Signature,
    /// The length and name of a chunk.
    Head,
    /// The content of a chunk, and then its sum.
    Content,
    /// Nothing that counts.
    End,
    /// A sum was wrong.
    Damage,
}

impl Chunks {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !matches!(self.at, At::End | At::Damage) {
            if self.at == At::Content && self.left > 0 {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let (content, rest) = bytes.split_at(left.min(bytes.len()));
                self.sum.update(content);
                self.left -= content.len() as u64;
                bytes = rest;
                continue;
            }
            let wanted = if self.at == At::Content { 4 } else { 8 };
            let (more, rest) = bytes.split_at((wanted - self.part.len()).min(bytes.len()));
            self.part.extend_from_slice(more);
            bytes = rest;
            if self.part.len() == wanted {
                self.step();
                self.part.clear();
            }
        }
    }

    /// A signature, the head of a chunk, or its sum has come.
    fn step(&mut self) {
        let number = self.part.first_chunk();
        let number = number.map_or(0, |four| u32::from_be_bytes(*four));
        self.at = match self.at {
            At::Signature => At::Head,
            At::Head => {
                let name = &self.part[4..];
                self.last = name == b"IEND";
                self.sum.update(name);
                self.left = u64::from(number);
                At::Content
            }
            _ if std::mem::take(&mut self.sum).finalize() != number => At::Damage,
            _ if self.last => At::End,
            _ => At::Head,
        };
    }
}

/// The boxes of an MP4: length and name, maybe a longer length, content.
#[derive(Debug, Default)]
struct Boxes {
    head: Vec<u8>,
    /// What is left of the box.
    left: u64,
    /// The last one goes on to the end, or there was a last one, and something else follows.
    open: bool,
    /// It is a picture: `meta` is to it what `moov` is to a film.
    picture: bool,
    found: Found,
}

/// Whether there is a `moov` (or `meta`), and a `mdat`.
#[derive(Debug, Default)]
struct Found {
    index: bool,
    media: bool,
}

impl Boxes {
    /// Whether the boxes before this one are a file. Whoever writes notes or padding behind it leaves it whole.
    fn is_enough(&self) -> bool {
        self.found.index && self.found.media
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.open {
            if self.left > 0 {
                let length = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= length as u64;
                bytes = &bytes[length..];
                continue;
            }
            let long = self.head.len() >= 8 && self.head[..4] == [0, 0, 0, 1];
            let wanted = if long { 16 } else { 8 };
            let (more, rest) = bytes.split_at((wanted - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(more);
            bytes = rest;
            if self.head.len() == wanted {
                self.step(long);
            }
        }
    }

    fn step(&mut self, long: bool) {
        let name = &self.head[4..8];
        if self.is_enough() && !BOXES.contains(&name) {
            self.open = true;
            return;
        }
        let short = self
            .head
            .first_chunk()
            .map_or(0, |four| u32::from_be_bytes(*four));
        let length = match (short, long) {
            (1, false) => return,
            (1, true) => self
                .head
                .last_chunk()
                .map_or(0, |eight| u64::from_be_bytes(*eight)),
            (0, _) => {
                self.open = true;
                0
            }
            (short, _) => u64::from(short),
        };
        self.found.index |= name == if self.picture { b"meta" } else { b"moov" };
        self.found.media |= name == b"mdat";
        self.left = length.saturating_sub(self.head.len() as u64);
        self.head.clear();
    }

    fn is_whole(&self) -> bool {
        self.open || (self.left == 0 && (self.head.is_empty() || self.is_enough()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png() -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::from_fn(40, 30, |x, y| {
            image::Rgb([u8::try_from(x).unwrap(), u8::try_from(y).unwrap(), 7])
        });
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn webp() -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::new(40, 30);
        image
            .write_to(&mut bytes, image::ImageFormat::WebP)
            .unwrap();
        bytes.into_inner()
    }

    /// Boxes of all three ways to tell a length.
    fn mp4() -> Vec<u8> {
        let mut bytes = b"\0\0\0\x14ftypisom\0\0\0\0mp42".to_vec();
        bytes.extend_from_slice(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x15hello");
        bytes.extend_from_slice(b"\0\0\0\x0cmoovdone");
        bytes
    }

    fn avif() -> Vec<u8> {
        let mut bytes = b"\0\0\0\x14ftypavif\0\0\0\0mif1".to_vec();
        bytes.extend_from_slice(b"\0\0\0\x0cmetailoc");
        bytes.extend_from_slice(b"\0\0\0\x0dmdathello");
        bytes
    }

    fn glb() -> Vec<u8> {
        let mut bytes = b"glTF\x02\0\0\0\x20\0\0\0".to_vec();
        bytes.resize(32, 7);
        bytes
    }

    fn damage(bytes: &[u8], piece: usize) -> Option<Damage> {
        let mut seal = Seal::default();
        for piece in bytes.chunks(piece) {
            seal.update(piece);
        }
        seal.damage()
    }

    #[test]
    fn whole_files_are_whole_in_pieces_of_any_size() {
        for file in [png(), webp(), mp4(), avif(), glb()] {
            for piece in [1, 3, 7, 16, 1000, 100_000] {
                assert_eq!(damage(&file, piece), None);
                for tail in [
                    &b"what somebody put behind it"[..],
                    b"{}\n",
                    b"\0",
                    &[0; 300],
                    &[0xff; 40],
                ] {
                    let longer = [&file[..], tail].concat();
                    assert_eq!(
                        damage(&longer, piece),
                        None,
                        "{tail:?} in pieces of {piece}"
                    );
                }
            }
        }
    }

    #[test]
    fn files_that_end_anywhere_before_their_end_are_not() {
        // What follows `moov` and `mdat` and is another part of the film is one that it needs.
        let parts = b"\0\0\0\x0cmooffrag\0\0\0\x0dmdatagain";
        let in_parts = [&mp4()[..], parts].concat();
        for file in [png(), webp(), mp4(), avif(), in_parts, glb()] {
            for end in 8..file.len() {
                // Between two boxes nothing is missing that a box tells of.
                let between = match &file[4..12] {
                    b"ftypisom" => {
                        end == 20
                            || end == 41
                            || (53..=60).contains(&end)
                            || (65..=72).contains(&end)
                    }
                    b"ftypavif" => end == 20 || end == 32,
                    _ => false,
                };
                let told = damage(&file[..end], 5).is_some();
                assert!(told || between || end < 8, "{end} of {}", file.len());
            }
        }
    }

    #[test]
    fn every_bit_of_a_png_counts() {
        let file = png();
        for at in 8..file.len() {
            let mut other = file.clone();
            other[at] ^= 0x10;
            assert!(damage(&other, 64).is_some(), "byte {at}");
        }
    }

    #[test]
    fn a_picture_is_never_empty_and_a_text_may_be() {
        assert_eq!(Seal::of("a.PNG").damage(), Some("it is empty"));
        for name in ["a.txt", "png", "a.png.json"] {
            assert_eq!(Seal::of(name).damage(), None, "{name}");
        }
        let mut again = Seal::of("a.mp4");
        again.update(&mp4()[..30]);
        again.start_again();
        assert_eq!(again.damage(), Some("it is empty"));
    }

    #[test]
    fn of_other_formats_nothing_is_known() {
        for file in [
            &b"\xff\xd8\xff\xe0 half a jpeg"[..],
            b"",
            b"text",
            b"RIFF\0\0\0\0WAVEfmt ",
        ] {
            assert_eq!(damage(file, 4), None, "{file:?}");
        }
    }
}
