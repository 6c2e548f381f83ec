//! JSON as Python writes it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Parses JSON in which the bare tokens `NaN`, `Infinity` and `-Infinity` stand for `null`.
///
/// Strict JSON is tried first, so a well-formed text costs nothing more.
///
/// # Errors
/// When the text is no JSON even so.
pub fn tolerant_json(text: &str) -> Result<Value, serde_json::Error> {
    read(text)
}

/// [`tolerant_json`] into any type.
///
/// # Errors
/// When the text is no JSON even so, or does not have the type's shape.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match without_nan(text) {
        Cow::Owned(clean) => serde_json::from_str(&clean),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Replaces the bare tokens outside strings by `null`; borrowed when there is none.
pub fn without_nan(text: &str) -> Cow<'_, str> {
    replaced(text, |out, _| out.push_str("null"))
}

/// Puts the bare tokens outside strings into quotes; borrowed when there is none. Where Python reads a number from a text, as a server
/// does with the inputs of a node, it takes `"NaN"` for what `NaN` is.
pub fn quoted_nan(text: &str) -> Cow<'_, str> {
    replaced(text, |out, token| {
        out.push('"');
        out.push_str(token);
        out.push('"');
    })
}

fn replaced(text: &str, put: impl Fn(&mut String, &str)) -> Cow<'_, str> {
    const TOKENS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let bytes = text.as_bytes();
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    let mut found = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                let token = TOKENS
                    .iter()
                    .find(|token| bytes[at..].starts_with(token.as_bytes()));
                if let Some(token) = token {
                    clean.push_str(&text[copied..at]);
                    put(&mut clean, token);
                    at += token.len();
                    copied = at;
                    found = true;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if !found {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bare_tokens_are_quoted_and_strings_keep_theirs() {
        let text = r#"{"a":[NaN,-Infinity],"b":"NaN"}"#;
        assert_eq!(quoted_nan(text), r#"{"a":["NaN","-Infinity"],"b":"NaN"}"#);
        assert!(matches!(quoted_nan("{\"a\": -1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn bare_tokens_become_null_and_strings_keep_theirs() {
        let value =
            tolerant_json(r#"{"a":[NaN,-Infinity, Infinity,-1],"NaN":"a \"NaN, Infinity\\"}"#);
        assert_eq!(
            value.unwrap(),
            json!({"a": [null, null, null, -1], "NaN": "a \"NaN, Infinity\\"})
        );
    }

    #[test]
    fn what_is_no_json_stays_an_error() {
        for bad in ["", "{", "[NaN", "Nan", "<html>", "{\"a\": NaNN}"] {
            assert!(tolerant_json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strict_text_is_not_copied() {
        assert!(matches!(
            without_nan(r#"{"a":-1,"b":"NaN"}"#),
            Cow::Borrowed(_)
        ));
    }
}
