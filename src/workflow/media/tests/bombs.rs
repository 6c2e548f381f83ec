//! Small files that are meant to fill the memory, or to be read for ever.

use super::{Kind, MediaError, PROMPT, be, boxed, chunk, found, png, riff, zipped};

#[test]
fn a_packed_text_that_unfolds_without_end_is_left_alone() {
    let bomb = zipped(&" ".repeat(40 << 20));
    let data = [b"prompt\0\0".as_slice(), &bomb].concat();
    let file = png(&[chunk(b"zTXt", &data), chunk(b"IEND", &[])]);
    assert!(matches!(found(&file), Err(MediaError::Nothing(Kind::Png))));
}

#[test]
fn a_thousand_packed_texts_cost_no_more_than_a_few() {
    let bomb = [b"k\0\0".as_slice(), &zipped(&"a".repeat(30 << 20))].concat();
    let prompt = chunk(b"tEXt", format!("prompt\0{PROMPT}").as_bytes());
    let mut chunks = vec![prompt];
    chunks.extend(std::iter::repeat_n(chunk(b"zTXt", &bomb), 1_000));
    chunks.push(chunk(b"IEND", &[]));
    // All of them would be thirty gigabytes.
    let carried = found(&png(&chunks)).unwrap();
    assert_eq!(carried.prompt.as_deref(), Some(PROMPT));
}

#[test]
fn a_thousand_fields_at_one_place_cost_no_more_than_a_few() {
    let size = 8_u32 << 20;
    let mut block = b"II*\0\x08\0\0\0".to_vec();
    let count = 5_000_u16;
    block.extend(count.to_le_bytes());
    let data = 8 + 2 + 12 * u32::from(count) + 4;
    for tag in 0..count {
        block.extend((0x010e + tag).to_le_bytes());
        block.extend(2_u16.to_le_bytes());
        block.extend(size.to_le_bytes());
        block.extend(data.to_le_bytes());
    }
    block.extend([0; 4]);
    block.resize(block.len() + size as usize, b'a');
    // All of them would be forty gigabytes.
    let file = riff(&[(b"EXIF", block)]);
    assert!(matches!(found(&file), Err(MediaError::Nothing(Kind::Webp))));
}

#[test]
fn a_place_that_a_table_names_a_thousand_times_is_not_read_a_thousand_times() {
    let size = 8_usize << 20;
    let infe = boxed(b"infe", b"\x02\0\0\0\0\x01\0\0Exif\0");
    let iinf = boxed(b"iinf", &[b"\0\0\0\0\0\x01".as_slice(), &infe].concat());
    let mut table = b"\0\0\0\0\x44\0\0\x01\0\x01\0\0".to_vec();
    table.extend(1_000_u16.to_be_bytes());
    for _ in 0..1_000 {
        table.extend(be(0));
        table.extend(be(size));
    }
    let iloc = boxed(b"iloc", &table);
    let meta = boxed(b"meta", &[&[0; 4], iinf.as_slice(), &iloc].concat());
    let mut file = [boxed(b"ftyp", b"avif\0\0\0\0avif"), meta].concat();
    file.resize(file.len() + size, 0);
    assert!(matches!(
        found(&file),
        Err(MediaError::Damaged(Kind::Avif, "a part of it is too long"))
    ));
}

#[test]
fn a_drawing_of_nothing_but_beginnings_is_read_once() {
    let open = "<metadata>".repeat(2_000_000);
    for text in [
        format!("<svg>{open}</svg>"),
        format!("<svg>{open}</metadata></svg>"),
    ] {
        assert!(matches!(
            found(text.as_bytes()),
            Err(MediaError::Nothing(Kind::Svg))
        ));
    }
    let two = format!(
        "<svg><metadata>x</metadata><metadata><![CDATA[{{\"prompt\": {PROMPT}}}]]></metadata></svg>"
    );
    assert_eq!(
        found(two.as_bytes()).unwrap().prompt.as_deref(),
        Some(PROMPT)
    );
}
