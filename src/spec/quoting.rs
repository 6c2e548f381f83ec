//! How a text is quoted in YAML: for messages that show the right form.

/// A text as a quoted scalar.
pub(super) fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        format!("\"{text}\"")
    }
}

/// A text as an element of a flow list: quoted where it must be.
pub(super) fn element(text: &str) -> String {
    let odd = |c: char| c.is_whitespace() || c.is_control() || ",[]{}\"'#:&*!|>%@`\\".contains(c);
    let looks_typed = ["true", "false", "null", "~", "yes", "no", "on", "off"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    let first = text.starts_with(['?', '=', '<']) || text == "-";
    if text.is_empty() || text.contains(odd) || looks_typed || first {
        quoted(text)
    } else {
        text.to_owned()
    }
}
