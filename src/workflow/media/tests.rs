//! Every container, built as its writers build it, and broken in thousands of ways.

use std::io::Cursor;
use std::io::Write as _;

use super::{Carried, Kind, MediaError, read};

mod bombs;

const PROMPT: &str = r#"{"1":{"class_type":"A","inputs":{"x":"ü"}}}"#;
const DRAWN: &str = r#"{"nodes":[],"links":[]}"#;

fn found(bytes: &[u8]) -> Result<Carried, MediaError> {
    read(&mut Cursor::new(bytes))
}

fn both(kind: Kind) -> Carried {
    Carried {
        kind,
        prompt: Some(PROMPT.to_owned()),
        workflow: Some(DRAWN.to_owned()),
    }
}

fn be(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_be_bytes()
}

fn le(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_le_bytes()
}

fn chunk(name: &[u8], data: &[u8]) -> Vec<u8> {
    [&be(data.len()), name, data, &[0; 4]].concat()
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let head = chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    let mut out = [b"\x89PNG\r\n\x1a\n".as_slice(), &head].concat();
    for chunk in chunks {
        out.extend_from_slice(chunk);
    }
    out.extend(chunk(b"IDAT", &[0; 40]));
    out
}

fn zipped(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

fn pngs() -> [Vec<u8>; 3] {
    let end = chunk(b"IEND", &[]);
    let text = |key: &str, text: &str| chunk(b"tEXt", format!("{key}\0{text}").as_bytes());
    let plain = png(&[text("prompt", PROMPT), text("workflow", DRAWN)]);
    let packed = [b"prompt\0\0".as_slice(), &zipped(PROMPT)].concat();
    let international = [b"Workflow\0\x01\0en\0\0".as_slice(), &zipped(DRAWN)].concat();
    let other = png(&[chunk(b"zTXt", &packed), chunk(b"iTXt", &international)]);
    let mut animated = png(&[]);
    animated.extend(chunk(b"comf", format!("prompt\0{PROMPT}").as_bytes()));
    animated.extend(chunk(b"comf", format!("workflow\0{DRAWN}").as_bytes()));
    [plain, other, animated].map(|mut file| {
        file.extend_from_slice(&end);
        file
    })
}

/// An EXIF block with texts under tags, as Pillow writes them.
fn exif(texts: &[(u16, String)]) -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend(u16::try_from(texts.len()).unwrap().to_le_bytes());
    let mut at = 8 + 2 + texts.len() * 12 + 4;
    let mut data = Vec::new();
    for (tag, text) in texts {
        out.extend(tag.to_le_bytes());
        out.extend(2_u16.to_le_bytes());
        out.extend(le(text.len() + 1));
        out.extend(le(at));
        data.extend_from_slice(text.as_bytes());
        data.push(0);
        at += text.len() + 1;
    }
    out.extend([0; 4]);
    out.extend(data);
    out
}

fn model_and_make() -> Vec<u8> {
    exif(&[
        (0x010f, format!("workflow:{DRAWN}")),
        (0x0110, format!("Prompt:{PROMPT}")),
    ])
}

fn riff(chunks: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, data) in chunks {
        body.extend_from_slice(name);
        body.extend(le(data.len()));
        body.extend_from_slice(data);
        body.extend(vec![0; data.len() % 2]);
    }
    [b"RIFF".as_slice(), &le(body.len()), &body].concat()
}

fn webp() -> Vec<u8> {
    let block = [b"Exif\0\0".as_slice(), &model_and_make()].concat();
    riff(&[(b"VP8L", vec![1; 33]), (b"EXIF", block)])
}

fn jpeg() -> Vec<u8> {
    let block = [b"Exif\0\0".as_slice(), &model_and_make()].concat();
    let length = u16::try_from(block.len() + 2).unwrap().to_be_bytes();
    [
        b"\xff\xd8\xff\xe0\0\x04ab\xff\xe1".as_slice(),
        &length,
        &block,
        b"\xff\xda\0\0",
    ]
    .concat()
}

fn boxed(name: &[u8], data: &[u8]) -> Vec<u8> {
    [&be(data.len() + 8), name, data].concat()
}

fn mp4(big: bool) -> Vec<u8> {
    let key = |name: &str| boxed(b"mdta", name.as_bytes());
    let keys = [&[0; 4], be(2).as_slice(), &key("prompt"), &key("workflow")].concat();
    let value = |at: usize, text: &str| {
        let data = [&[0, 0, 0, 1, 0, 0, 0, 0], text.as_bytes()].concat();
        boxed(&be(at), &boxed(b"data", &data))
    };
    // Some writers encode a text that is JSON already.
    let twice = serde_json::to_string(DRAWN).unwrap();
    let list = [value(1, PROMPT), value(2, &twice)].concat();
    let meta = [
        &[0; 4],
        boxed(b"hdlr", &[0; 25]).as_slice(),
        &boxed(b"keys", &keys),
        &boxed(b"ilst", &list),
    ]
    .concat();
    let moov = boxed(b"moov", &boxed(b"udta", &boxed(b"meta", &meta)));
    let data = if big {
        [
            &be(1),
            b"mdat".as_slice(),
            &(16_u64 + 500).to_be_bytes(),
            &[7; 500],
        ]
        .concat()
    } else {
        boxed(b"mdat", &[7; 500])
    };
    [boxed(b"ftyp", b"isom\0\0\0\0"), data, moov].concat()
}

fn quicktime_comment() -> Vec<u8> {
    let text = format!("{{\"prompt\":{PROMPT},\"workflow\":{DRAWN}}}");
    let data = [&[0, 0, 0, 1, 0, 0, 0, 0], text.as_bytes()].concat();
    let list = boxed(b"\xa9cmt", &boxed(b"data", &data));
    let meta = [boxed(b"hdlr", &[0; 25]), boxed(b"ilst", &list)].concat();
    [
        boxed(b"wide", &[]),
        boxed(b"moov", &boxed(b"udta", &boxed(b"meta", &meta))),
    ]
    .concat()
}

fn avif() -> Vec<u8> {
    let block = [&be(6), b"Exif\0\0".as_slice(), &model_and_make()].concat();
    let entry = [&[2, 0, 0, 0, 0, 1, 0, 0], b"Exif".as_slice(), &[0]].concat();
    let infos = [&[0, 0, 0, 0, 0, 1], boxed(b"infe", &entry).as_slice()].concat();
    let place = |at: usize| {
        let head = [0, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        [head.as_slice(), &be(at), &be(block.len())].concat()
    };
    let file = |at: usize| {
        let meta = [
            &[0; 4],
            boxed(b"iinf", &infos).as_slice(),
            &boxed(b"iloc", &place(at)),
        ]
        .concat();
        let front = [boxed(b"ftyp", b"avif\0\0\0\0"), boxed(b"meta", &meta)].concat();
        (front.len() + 8, [front, boxed(b"mdat", &block)].concat())
    };
    let (at, _) = file(0);
    file(at).1
}

fn element(id: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (u64::try_from(data.len()).unwrap() | 1 << 56).to_be_bytes();
    [id, &length, data].concat()
}

fn webm() -> Vec<u8> {
    let tag = |name: &str, text: &str| {
        let inside = [
            element(b"\x45\xa3", name.as_bytes()),
            element(b"\x44\x87", text.as_bytes()),
        ];
        element(b"\x67\xc8", &inside.concat())
    };
    let tags = element(
        b"\x73\x73",
        &[tag("PROMPT", PROMPT), tag("WORKFLOW", DRAWN)].concat(),
    );
    let inside = [
        element(b"\x1f\x43\xb6\x75", &[0; 300]),
        element(b"\x12\x54\xc3\x67", &tags),
    ]
    .concat();
    let unknown = [
        b"\x18\x53\x80\x67".as_slice(),
        &[0x01, 255, 255, 255, 255, 255, 255, 255],
    ]
    .concat();
    [element(b"\x1a\x45\xdf\xa3", &[0; 10]), unknown, inside].concat()
}

fn comments() -> Vec<u8> {
    let mut out = [le(4).as_slice(), b"kiln", &le(2)].concat();
    for (name, text) in [("prompt", PROMPT), ("WORKFLOW", DRAWN)] {
        let entry = format!("{name}={text}");
        out.extend(le(entry.len()));
        out.extend(entry.as_bytes());
    }
    out
}

fn flac() -> Vec<u8> {
    let block = |kind: u8, data: &[u8]| [&[kind], &be(data.len())[1..], data].concat();
    [
        b"fLaC".to_vec(),
        block(0, &[0; 34]),
        block(0x84, &comments()),
        vec![0xff; 90],
    ]
    .concat()
}

fn ogg() -> Vec<u8> {
    let page = |serial: u8, packet: &[u8]| {
        let mut table = vec![255_u8; packet.len() / 255];
        table.push(u8::try_from(packet.len() % 255).unwrap());
        let mut head = b"OggS\0\0".to_vec();
        head.extend([0; 8]);
        head.extend([serial, 0, 0, 0]);
        head.extend([0; 8]);
        head.push(u8::try_from(table.len()).unwrap());
        [head, table, packet.to_vec()].concat()
    };
    let tags = [b"OpusTags".as_slice(), &comments()].concat();
    [page(1, b"OpusHead"), page(1, &tags), page(1, &[9; 400])].concat()
}

fn mp3(version: u8, wide: bool) -> Vec<u8> {
    let seven =
        |value: usize| [21, 14, 7, 0].map(|shift| u8::try_from(value >> shift & 0x7f).unwrap());
    let frame = |name: &str, text: &str| {
        let body = if wide {
            let mut body = vec![1];
            for part in [name, text] {
                body.extend([0xff, 0xfe]);
                body.extend(part.encode_utf16().flat_map(u16::to_le_bytes));
                body.extend([0, 0]);
            }
            body
        } else {
            format!("\x03{name}\0{text}").into_bytes()
        };
        let length = if version == 4 {
            seven(body.len())
        } else {
            be(body.len())
        };
        [b"T".as_slice(), &[b'X'; 3], &length, &[0, 0], &body].concat()
    };
    let tag = [
        frame("prompt", PROMPT),
        frame("workflow", DRAWN),
        vec![0; 20],
    ]
    .concat();
    [
        b"ID3".as_slice(),
        &[version, 0, 0],
        &seven(tag.len()),
        &tag,
        &[0xff, 0xfb, 0, 0],
    ]
    .concat()
}

fn glb() -> Vec<u8> {
    let json = serde_json::json!({"asset": {"version": "2.0", "extras": {"prompt": PROMPT, "workflow": DRAWN}}});
    let mut json = json.to_string();
    while !json.len().is_multiple_of(4) {
        json.push(' ');
    }
    [
        b"glTF".as_slice(),
        &le(2),
        &le(20 + json.len()),
        &le(json.len()),
        b"JSON",
        json.as_bytes(),
    ]
    .concat()
}

fn safetensors() -> Vec<u8> {
    let json =
        serde_json::json!({"__metadata__": {"prompt": PROMPT, "workflow": DRAWN}}).to_string();
    [
        &(json.len() as u64).to_le_bytes(),
        json.as_bytes(),
        &[0; 64],
    ]
    .concat()
}

fn svg(wrapped: bool) -> Vec<u8> {
    let data = format!("{{\"prompt\":{PROMPT},\"workflow\":{DRAWN}}}");
    let data = if wrapped {
        format!("<![CDATA[{data}]]>")
    } else {
        data.replace('"', "&quot;")
    };
    format!("<?xml version=\"1.0\"?>\n<svg><metadata id=\"m\">{data}</metadata><path/></svg>")
        .into_bytes()
}

fn all() -> Vec<(Kind, Vec<u8>)> {
    let [plain, other, animated] = pngs();
    vec![
        (Kind::Png, plain),
        (Kind::Png, other),
        (Kind::Png, animated),
        (Kind::Webp, webp()),
        (Kind::Jpeg, jpeg()),
        (Kind::Avif, avif()),
        (Kind::Mp4, mp4(false)),
        (Kind::Mp4, mp4(true)),
        (Kind::Mp4, quicktime_comment()),
        (Kind::Matroska, webm()),
        (Kind::Flac, flac()),
        (Kind::Ogg, ogg()),
        (Kind::Mp3, mp3(3, false)),
        (Kind::Mp3, mp3(4, true)),
        (Kind::Glb, glb()),
        (Kind::Safetensors, safetensors()),
        (Kind::Svg, svg(true)),
        (Kind::Svg, svg(false)),
    ]
}

#[test]
fn every_container_gives_what_was_put_into_it() {
    for (at, (kind, bytes)) in all().into_iter().enumerate() {
        let carried = found(&bytes).unwrap_or_else(|error| panic!("{at}, {kind}: {error}"));
        assert_eq!(carried, both(kind), "{at}");
    }
}

#[test]
fn comments_of_exif_may_hold_both_in_one_object() {
    let text = format!("{{\"prompt\": {PROMPT}, \"workflow\": {DRAWN}}}");
    let description = exif(&[(0x010e, text)]);
    let carried = found(&riff(&[(b"EXIF", description)])).unwrap();
    assert_eq!(carried.workflow.as_deref(), Some(DRAWN));
    assert!(carried.prompt.is_some());
}

#[test]
fn texts_are_read_in_every_encoding_that_editors_write() {
    let wide = |big: bool, mark: bool| {
        let text = if mark {
            format!("\u{feff}{PROMPT}")
        } else {
            PROMPT.to_owned()
        };
        let units = text.encode_utf16();
        units
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect::<Vec<u8>>()
    };
    let marked = [b"\xef\xbb\xbf".as_slice(), PROMPT.as_bytes()].concat();
    let files = [
        PROMPT.as_bytes().to_vec(),
        marked,
        wide(false, true),
        wide(true, true),
        wide(false, false),
        wide(true, false),
    ];
    for (at, bytes) in files.iter().enumerate() {
        let carried = found(bytes).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(carried.workflow.as_deref(), Some(PROMPT), "{at}");
        assert_eq!(carried.kind, Kind::Json, "{at}");
    }
    assert!(matches!(
        found(b"{\"a\": \"\xe4\"}"),
        Err(MediaError::NotText)
    ));
}

#[test]
fn what_carries_nothing_says_what_it_is() {
    let empty = png(&[chunk(b"IEND", &[])]);
    let said = found(&empty).unwrap_err().to_string();
    assert_eq!(said, "is a PNG picture without a workflow");
    let other = png(&[
        chunk(b"tEXt", b"parameters\0a cat, Steps: 20"),
        chunk(b"IEND", &[]),
    ]);
    let said = found(&other).unwrap_err().to_string();
    assert_eq!(
        said,
        "is a PNG picture with the settings of another program, and no workflow"
    );
    let cut = &mp4(false)[..120];
    let said = found(cut).unwrap_err().to_string();
    assert_eq!(said, "is an MP4 film, but damaged: it ends too early");
    let said = found(&[0, 1, 2, 3, 0, 0, 9, 9]).unwrap_err().to_string();
    assert_eq!(said, "is neither a workflow nor a file that can carry one");
}

/// A film as long as a day, of which only the ends exist.
struct Huge {
    front: Vec<u8>,
    back: Vec<u8>,
    length: u64,
    at: u64,
    read: u64,
}

impl std::io::Read for Huge {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for (place, byte) in buffer.iter_mut().enumerate() {
            let at = self.at + place as u64;
            let back = at.checked_sub(self.length - self.back.len() as u64);
            *byte = match back {
                Some(place) => self.back[usize::try_from(place).unwrap()],
                None => self
                    .front
                    .get(usize::try_from(at).unwrap())
                    .copied()
                    .unwrap_or(0),
            };
        }
        self.at += buffer.len() as u64;
        self.read += buffer.len() as u64;
        Ok(buffer.len())
    }
}

impl std::io::Seek for Huge {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.at = match to {
            std::io::SeekFrom::Start(at) => at,
            std::io::SeekFrom::End(_) => self.length,
            std::io::SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
        };
        Ok(self.at)
    }
}

#[test]
fn of_a_film_of_many_gigabytes_only_a_few_bytes_are_read() {
    let whole = mp4(true);
    let moov = whole.windows(4).position(|name| name == b"moov").unwrap() - 4;
    let back = whole[moov..].to_vec();
    let data = 40_u64 << 30;
    let front = [
        boxed(b"ftyp", b"isom\0\0\0\0"),
        [&be(1), b"mdat".as_slice(), &(16 + data).to_be_bytes()].concat(),
    ]
    .concat();
    let mut film = Huge {
        length: front.len() as u64 + data + back.len() as u64,
        front,
        back,
        at: 0,
        read: 0,
    };
    assert_eq!(read(&mut film).unwrap(), both(Kind::Mp4));
    assert!(film.read < 4096, "{} bytes were read", film.read);
}

#[test]
fn damaged_files_are_read_to_the_end() {
    let mut rng = fastrand::Rng::with_seed(20_261_122);
    let files = all();
    for _ in 0..6000 {
        let (_, bytes) = &files[rng.usize(..files.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=rng.u8(..6) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..6) {
                0 => bytes[at] = 0xff,
                1 => bytes[at] = 0,
                2 => bytes.truncate(at.max(1)),
                3 => {
                    let from = rng.usize(..bytes.len());
                    let part = bytes[from..(from + 16).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => bytes[at] = rng.u8(..),
            }
        }
        if let Err(error) = found(&bytes) {
            assert!(!error.to_string().is_empty());
        }
    }
}
