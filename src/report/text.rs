//! Small words and figures.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

/// A duration as people say it: `0.4s`, `12s`, `3m 05s`, `1h 02m`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A duration in milliseconds, as [`duration`] says it; one that is negative is nothing.
pub(super) fn lasting(ms: i64) -> String {
    duration(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// `1 image`, `2 images`.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

/// The columns that a text takes on a terminal. Where terminals differ (joined emoji), it is the most of them.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// A text filled up with spaces to so many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{:missing$}", "")
}

/// Cuts a text to at most `columns` columns of a terminal, ending in `…` when something was cut.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut left = columns - 1;
    let mut short = String::new();
    for c in text.chars() {
        match left.checked_sub(c.width().unwrap_or(0)) {
            Some(rest) => left = rest,
            None => break,
        }
        short.push(c);
    }
    short.push('…');
    short
}

/// The first line of a text from outside, without characters that would command a terminal or turn its lines around.
pub fn tame(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line.chars()
        .map(|c| if c.is_control() || turns(c) { ' ' } else { c })
        .collect()
}

/// A line of a program's, tamed like [`tame`], with the indentation that it has.
pub(super) fn tame_line(line: &str) -> String {
    let line = line.replace('\t', "    ");
    let content = line.trim_start_matches(' ');
    format!("{}{}", &line[..line.len() - content.len()], tame(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_program_keeps_its_indentation() {
        assert_eq!(tame_line("\tat x\u{1b}[0m"), "    at x [0m");
        assert_eq!(tame_line("  a \r"), "  a");
    }

    #[test]
    fn durations_read_naturally() {
        for (ms, text) in [
            (40, "0.0s"),
            (431, "0.4s"),
            (12_345, "12s"),
            (185_000, "3m 05s"),
            (3_725_000, "1h 02m"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn a_text_from_a_server_commands_no_terminal() {
        assert_eq!(tame("a\u{1b}[2Jb\r\nsecond"), "a [2Jb");
        assert_eq!(tame("\n first\n"), "first");
        assert_eq!(tame("a\u{202e}b"), "a b");
    }

    #[test]
    fn long_text_is_cut_to_the_width() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("光と影の絵", 6), "光と…");
        assert_eq!(cut("光と影", 6), "光と影");
        assert_eq!(cut("光と影", 0), "");
    }

    #[test]
    fn a_text_is_filled_up_by_columns_and_not_by_characters() {
        assert_eq!(padded("光と", 6), "光と  ");
        assert_eq!(padded("abc", 2), "abc");
    }
}
