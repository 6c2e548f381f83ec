//! EXIF: where pictures that have no chunks of text keep them.

use super::carried::Texts;

/// The texts of an EXIF block, with or without its own head in front.
pub(super) fn texts(block: &[u8], texts: &mut Texts) {
    let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    if texts.left() == 0 {
        return;
    }
    let mut reader = exif::Reader::new();
    reader.continue_on_error(true);
    let read = reader
        .read_raw(block.to_vec())
        .or_else(|error| error.distill_partial_result(|_| {}));
    let Ok(read) = read else { return };
    for field in read.fields() {
        // Many fields may stand at one place, each as large as the block, and each is a copy.
        if !texts.spend(size(&field.value)) {
            return;
        }
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

/// How many bytes a value takes, about.
fn size(value: &exif::Value) -> usize {
    match value {
        exif::Value::Ascii(lines) => lines.iter().map(|line| line.len() + 24).sum(),
        exif::Value::Byte(bytes) | exif::Value::Undefined(bytes, _) => bytes.len(),
        exif::Value::SByte(bytes) => bytes.len(),
        exif::Value::Short(numbers) => 2 * numbers.len(),
        exif::Value::SShort(numbers) => 2 * numbers.len(),
        exif::Value::Long(numbers) => 4 * numbers.len(),
        exif::Value::SLong(numbers) => 4 * numbers.len(),
        exif::Value::Float(numbers) => 4 * numbers.len(),
        exif::Value::Rational(numbers) => 8 * numbers.len(),
        exif::Value::SRational(numbers) => 8 * numbers.len(),
        exif::Value::Double(numbers) => 8 * numbers.len(),
        exif::Value::Unknown(..) => 0,
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
