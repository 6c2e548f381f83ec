//! Files with JSON at their head: models and tensors.

use std::io;

use serde_json::Value;

use super::carried::Texts;
use super::source::{Source, le32};

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

fn members(bytes: &[u8], place: &str, texts: &mut Texts) -> io::Result<()> {
    let json: Value =
        serde_json::from_slice(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    for (name, value) in json
        .pointer(place)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        match value {
            Value::String(text) => texts.add(name, text),
            Value::Object(_) => texts.add(name, &value.to_string()),
            _ => {}
        }
    }
    Ok(())
}
