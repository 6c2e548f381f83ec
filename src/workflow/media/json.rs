//! Files with JSON at their head: models and tensors.

use std::io;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::carried::Texts;
use super::source::{Source, le32};

/// An object whose values are not looked into.
type Members = IndexMap<String, Box<RawValue>>;

/// `asset.extras` of a binary glTF.
pub(super) fn glb(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let head: [u8; 20] = source.array(0)?;
    let length = le32(&head, 12).unwrap_or(0);
    if head[16..20] != *b"JSON" {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bytes = source.bytes(20, u64::from(length))?;
    members(&bytes, "/asset/extras", texts)
}

/// `__metadata__` of tensors.
pub(super) fn safetensors(source: &mut Source<'_>, texts: &mut Texts) -> io::Result<()> {
    let length = u64::from_le_bytes(source.array(0)?);
    let bytes = source.bytes(8, length)?;
    members(&bytes, "/__metadata__", texts)
}

/// The texts of an object inside. What else there is, such as the places of ten thousand tensors, is passed over.
fn members(bytes: &[u8], place: &str, texts: &mut Texts) -> io::Result<()> {
    let read = |json: &str| serde_json::from_str::<Members>(json);
    let text = std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut found = read(text).map_err(|_| io::ErrorKind::InvalidData)?;
    for name in place.split('/').skip(1) {
        let inside = found.get(name).and_then(|inside| read(inside.get()).ok());
        found = inside.unwrap_or_default();
    }
    for (name, value) in &found {
        match value.get() {
            text if text.starts_with('"') => {
                texts.add(
                    name,
                    &serde_json::from_str::<String>(text).unwrap_or_default(),
                );
            }
            object if object.starts_with('{') => texts.add(name, object),
            _ => {}
        }
    }
    Ok(())
}
