//! Binary messages of the socket: a big-endian number, then what it announces.

use serde_json::{Map, Value};

/// A binary message.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame<'a> {
    /// 1: a preview or a picture of `SaveImageWebsocket`, without a word on whose it is.
    Preview {
        /// `image/jpeg`, `image/png`, or empty for a number this code does not know.
        media_type: &'static str,
        /// The encoded picture.
        image: &'a [u8],
    },
    /// 3: a line of a node's own progress text; names no job.
    Text {
        /// The node.
        node: String,
        /// The line.
        text: String,
    },
    /// 4: as 1, with its node and job.
    PreviewWithMetadata {
        /// `node_id`, `prompt_id`, `display_node_id`, `image_type`, …
        metadata: Map<String, Value>,
        /// The encoded picture.
        image: &'a [u8],
    },
    /// A custom node's own.
    Unknown {
        /// Its number.
        number: u32,
        /// What follows the number.
        bytes: &'a [u8],
    },
}

/// A binary message that is shorter than it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a binary message of {length} bytes is cut short")]
pub struct FrameError {
    /// Its length.
    pub length: usize,
}

impl<'a> Frame<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When a length in it exceeds the message, or its metadata is no JSON object.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let short = FrameError {
            length: bytes.len(),
        };
        let (number, rest) = number(bytes).ok_or(short)?;
        Ok(match number {
            1 => {
                let (kind, image) = super::frame::number(rest).ok_or(short)?;
                Self::Preview {
                    media_type: match kind {
                        1 => "image/jpeg",
                        2 => "image/png",
                        _ => "",
                    },
                    image,
                }
            }
            3 => {
                let (node, text) = counted(rest).ok_or(short)?;
                Self::Text {
                    node: String::from_utf8_lossy(node).into_owned(),
                    text: String::from_utf8_lossy(text).into_owned(),
                }
            }
            4 => {
                let (json, image) = counted(rest).ok_or(short)?;
                let text = String::from_utf8_lossy(json);
                let metadata = super::read(&text).map_err(|_| short)?;
                Self::PreviewWithMetadata { metadata, image }
            }
            number => Self::Unknown {
                number,
                bytes: rest,
            },
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*head), rest))
}

/// A length and that many bytes.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_tell_their_type() {
        assert_eq!(
            Frame::parse(b"\0\0\0\x01\0\0\0\x02png").unwrap(),
            Frame::Preview {
                media_type: "image/png",
                image: b"png"
            }
        );
    }

    #[test]
    fn a_preview_with_metadata_names_its_job() {
        let json = br#"{"node_id":"3","prompt_id":"p","image_type":"image/jpeg"}"#;
        let mut bytes = b"\0\0\0\x04\0\0\0".to_vec();
        bytes.push(u8::try_from(json.len()).unwrap());
        bytes.extend_from_slice(json);
        bytes.extend_from_slice(b"jpeg");
        let Frame::PreviewWithMetadata { metadata, image } = Frame::parse(&bytes).unwrap() else {
            panic!("wrong kind");
        };
        assert_eq!(metadata["prompt_id"], "p");
        assert_eq!(image, b"jpeg");
    }

    #[test]
    fn text_is_split_after_the_node() {
        assert_eq!(
            Frame::parse("\0\0\0\x03\0\0\0\x021:h\u{e9}llo".as_bytes()).unwrap(),
            Frame::Text {
                node: "1:".to_owned(),
                text: "h\u{e9}llo".to_owned()
            }
        );
    }

    #[test]
    fn a_number_of_a_custom_node_is_passed_on() {
        assert_eq!(
            Frame::parse(b"\0\0\x03\xe8xy").unwrap(),
            Frame::Unknown {
                number: 1000,
                bytes: b"xy"
            }
        );
    }

    #[test]
    fn lengths_beyond_the_message_are_refused() {
        for bad in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\x01\0\0",
            b"\0\0\0\x03\xff\xff\xff\xffab",
            b"\0\0\0\x04\0\0\0\x02[]x",
        ] {
            assert!(Frame::parse(bad).is_err(), "{bad:?}");
        }
    }
}
