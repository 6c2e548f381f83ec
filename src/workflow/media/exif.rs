//! EXIF: where pictures that have no chunks of text keep them.

use super::carried::Texts;

/// The texts of an EXIF block, with or without its own head in front.
pub(super) fn texts(block: &[u8], texts: &mut Texts) {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let mut reader = exif::Reader::new();
    reader.continue_on_error(true);
    let read = reader
        .read_raw(block.to_vec())
        .or_else(|error| error.distill_partial_result(|_| {}));
    let Ok(read) = read else { return };
    for field in read.fields() {
        let name = field.tag.to_string();
        match &field.value {
            exif::Value::Ascii(lines) => {
                for line in lines {
                    texts.add_bytes(&name, line);
                }
            }
            exif::Value::Undefined(bytes, _) if field.tag == exif::Tag::UserComment => {
                texts.add(&name, &comment(bytes));
            }
            exif::Value::Byte(bytes) => texts.add_bytes(&name, bytes),
            _ => {}
        }
    }
}

/// A comment says its encoding in its first eight bytes.
fn comment(bytes: &[u8]) -> String {
    let Some((code, text)) = bytes.split_first_chunk::<8>() else {
        return String::new();
    };
    match code {
        b"UNICODE\0" => {
            let plain = super::text::decoded(text.to_vec());
            plain.unwrap_or_else(|| String::from_utf8_lossy(text).into_owned())
        }
        b"ASCII\0\0\0" | b"\0\0\0\0\0\0\0\0" => String::from_utf8_lossy(text).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}
