//! Paths that a terminal opens (OSC 8).

use std::path::Path;

/// A text that leads to a file or folder; where that cannot be said, only the text.
pub(super) fn linked(path: &Path, text: &str) -> String {
    let whole = std::path::absolute(path).ok();
    match whole.and_then(|path| url::Url::from_file_path(path).ok()) {
        Some(url) => format!("\x1b]8;;{url}\x1b\\{text}\x1b]8;;\x1b\\"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_the_file_in_characters_that_command_nothing() {
        assert_eq!(
            linked(Path::new("/a b/\u{1b}光.png"), "x"),
            "\u{1b}]8;;file:///a%20b/%1B%E5%85%89.png\u{1b}\\x\u{1b}]8;;\u{1b}\\"
        );
    }
}
