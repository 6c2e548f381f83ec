//! What a message is about, without reading all of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What a message is about, read without the rest of it: a server speaks of other people's jobs, too, and of all nodes again and again. Of
/// a member that stands twice the first counts, since nothing behind it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Its `type`.
    pub kind: Cow<'a, str>,
    /// The job that it is about.
    pub prompt_id: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    /// Reads as much of a message as it takes to know. `None` when that cannot be said; [`Event::parse`](super::Event::parse) may know more.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let whole = Outer(&mut found).deserialize(&mut json).is_ok() && json.end().is_ok();
        let kind = found.kind?;
        (whole || found.prompt_id.is_some()).then_some(Self {
            kind,
            prompt_id: found.prompt_id,
        })
    }
}

#[derive(Default)]
struct Found<'a> {
    kind: Option<Cow<'a, str>>,
    prompt_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// All that was wanted is read: there is no other way to leave a reader before the end.
fn enough<E: serde::de::Error>() -> E {
    E::custom("")
}

struct Outer<'f, 'a>(&'f mut Found<'a>);

impl<'a> DeserializeSeed<'a> for Outer<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Outer<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "type" => self.0.kind = Some(map.next_value::<Text>()?.0),
                "data" => map.next_value_seed(Inner(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if self.0.kind.is_some() && self.0.prompt_id.is_some() {
                return Err(enough());
            }
        }
        Ok(())
    }
}

struct Inner<'f, 'a>(&'f mut Found<'a>);

impl<'a> DeserializeSeed<'a> for Inner<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Inner<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("what a message says")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if key == "prompt_id" {
                self.0.prompt_id = Some(map.next_value::<Text>()?.0);
                if self.0.kind.is_some() {
                    return Err(enough());
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, Option<String>)> {
        let head = Head::read(text)?;
        Some((head.kind.into_owned(), head.prompt_id.map(Cow::into_owned)))
    }

    fn is(kind: &str, id: &str) -> (String, Option<String>) {
        (kind.to_owned(), Some(id.to_owned()))
    }

    #[test]
    fn nothing_behind_the_job_is_read() {
        let cut = r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"1":{"val"#;
        assert_eq!(read(cut), Some(is("progress_state", "p")));
        let strange =
            r#"{"type":"execution_error","data":{"prompt_id":"p","current_inputs":[NaN]}}"#;
        assert_eq!(read(strange), Some(is("execution_error", "p")));
    }

    #[test]
    fn the_order_of_members_does_not_matter() {
        let executed = r#"{"type":"executed","data":{"node":"2","output":{"images":[{"prompt_id":"no"}]},"prompt_id":"p"}}"#;
        assert_eq!(read(executed), Some(is("executed", "p")));
        assert_eq!(
            read(r#"{"data":{"prompt_id":"p","x":[1]},"more":0,"type":"t"}"#),
            Some(is("t", "p"))
        );
        assert_eq!(
            read(r#"{"type":"\u0074","data":{"prompt_id":"p\n"}}"#),
            Some(is("t", "p\n"))
        );
    }

    #[test]
    fn a_message_about_no_job_names_none() {
        let status = r#"{"type":"status","data":{"status":{"exec_info":{"queue_remaining":1}}}}"#;
        assert_eq!(read(status), Some(("status".to_owned(), None)));
        assert_eq!(read(r#"{"type":"bare"}"#), Some(("bare".to_owned(), None)));
    }

    #[test]
    fn what_cannot_be_told_so_quickly_is_left_to_the_whole_reader() {
        for text in [
            r#"{"type":"executed","data":{"output":{"a":NaN},"prompt_id":"p"}}"#,
            r#"{"type":"t","data":7}"#,
            r#"{"type":"t","data":{"prompt_id":null}}"#,
            r#"{"type":"t","data":{"x":1}"#,
            "[1]",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
