//! Choices inside texts, `{red|green}`, which the editor draws before it sends a text, and the comments that it strips.

/// How deep choices may stand inside each other.
const DEEPEST: usize = 64;

/// The text as it is sent, and whether anything was drawn.
pub(super) fn draw(text: &str, draw: &mut dyn FnMut(usize) -> usize) -> (String, bool) {
    if !text.contains(['{', '/']) {
        return (text.to_owned(), false);
    }
    let plain = without_comments(text);
    let mut reader = Reader {
        rest: &plain,
        draw,
        drawn: false,
    };
    let out = reader.text(0);
    let drawn = reader.drawn;
    (out.replace("\\{", "{").replace("\\}", "}"), drawn)
}

/// Without `/* … */` and without `// …` up to the end of the line. A comment that is never closed is none.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with("//") {
            rest.find(['\n', '\r']).or(Some(rest.len()))
        } else {
            let inside = rest.strip_prefix("/*").and_then(|rest| rest.find("*/"));
            inside.map(|end| end + 4)
        };
        if let Some(end) = end {
            rest = &rest[end..];
        } else {
            out.push('/');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

struct Reader<'a, 'd> {
    rest: &'a str,
    draw: &'d mut dyn FnMut(usize) -> usize,
    drawn: bool,
}

impl Reader<'_, '_> {
    /// Reads up to what ends a choice.
    fn text(&mut self, depth: usize) -> String {
        let mut out = String::new();
        while let Some(c) = self.rest.chars().next() {
            match c {
                '|' | '}' if depth > 0 => break,
                '{' if depth < DEEPEST => {
                    self.rest = &self.rest[1..];
                    out.push_str(&self.group(depth + 1));
                }
                '\\' if self.rest[1..].starts_with(['{', '}', '|']) => {
                    out.push_str(&self.rest[..2]);
                    self.rest = &self.rest[2..];
                }
                c => {
                    out.push(c);
                    self.rest = &self.rest[c.len_utf8()..];
                }
            }
        }
        out
    }

    fn group(&mut self, depth: usize) -> String {
        let mut options = Vec::new();
        loop {
            options.push(self.text(depth));
            let mut signs = self.rest.chars();
            let sign = signs.next();
            self.rest = signs.as_str();
            if sign != Some('|') {
                break;
            }
        }
        let chosen = match options.len() {
            1 => 0,
            many => {
                self.drawn = true;
                (self.draw)(many).min(many - 1)
            }
        };
        options.swap_remove(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> String {
        draw(text, &mut |_| 0).0
    }

    #[test]
    fn choices_are_drawn_comments_go_and_escapes_stay() {
        assert_eq!(first("a {red|green} car"), "a red car");
        assert_eq!(draw("{a|{b|c}}", &mut |many| many - 1).0, "c");
        assert_eq!(first("a // b\nc /* d\ne */f"), "a \nc f");
        assert_eq!(first("1/2 /* open"), "1/2 /* open");
        assert_eq!(first(r"\{a|b\}"), "{a|b}");
        assert_eq!(draw("{only}", &mut |_| 0), ("only".to_owned(), false));
        assert!(draw("{a|b}", &mut |_| 0).1);
    }

    #[test]
    fn odd_texts_neither_panic_nor_overflow() {
        for text in ["{", "}", "|", "{|", "ä{ö|ü", "\\", "/", "/*/"] {
            let _ = first(text);
        }
        let _ = first(&"{".repeat(200_000));
    }
}
