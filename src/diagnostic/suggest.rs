//! Did you mean …? And names and numbers for sentences.

use std::fmt::Display;

/// Nobody makes a slip in a name of more bytes, and to compare long ones would take for ever.
const LONGEST: usize = 200;

/// The candidate nearest to `wrong`, when it is near enough to be a slip: a different case, `-` for `_`, a few wrong letters, or
/// the only candidate that starts with what was written.
pub fn did_you_mean<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if wrong.len() > LONGEST {
        return None;
    }
    let plain = fold(wrong);
    let count = plain.chars().count();
    let mut best: Option<(f64, &str)> = None;
    let mut prefixed = Vec::new();
    for candidate in candidates {
        if candidate.len() > LONGEST {
            continue;
        }
        let folded = fold(candidate);
        if folded == plain {
            return Some(candidate);
        }
        if count >= 3
            && (folded.starts_with(&plain) || plain.starts_with(&folded) && folded.len() >= 3)
        {
            prefixed.push(candidate);
        }
        let other = folded.chars().count();
        let longest = count.max(other);
        // So many letters are missing in any case: most names need no closer look.
        if count.abs_diff(other) > (longest * 34 / 100).max(1) {
            continue;
        }
        let score = strsim::damerau_levenshtein(&plain, &folded);
        #[expect(
            clippy::cast_precision_loss,
            reason = "names are far shorter than 2^52 characters"
        )]
        let ratio = score as f64 / longest as f64;
        if (score <= 1 && longest > 2 || ratio <= 0.34) && best.is_none_or(|(b, _)| ratio < b) {
            best = Some((ratio, candidate));
        }
    }
    best.map(|(_, name)| name).or(match prefixed.as_slice() {
        [only] => Some(only),
        _ => None,
    })
}

fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// A number as people read it: `100,000`.
pub fn thousands(number: impl Display + Copy) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Names for a sentence: `` `a`, `b` and 3 more ``.
pub fn list_of<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let all: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = all.iter().take(most).map(|n| format!("`{n}`")).collect();
    match (all.len().saturating_sub(most), shown.split_last()) {
        (_, None) => "none".to_owned(),
        (0, Some((last, []))) => last.clone(),
        (0, Some((last, rest))) => format!("{} and {last}", rest.join(", ")),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let keys = ["workflow", "needs", "save_as", "outputs", "set"];
        assert_eq!(did_you_mean("workfow", keys), Some("workflow"));
        assert_eq!(did_you_mean("saveAs", keys), Some("save_as"));
        assert_eq!(did_you_mean("save-as", keys), Some("save_as"));
        assert_eq!(did_you_mean("output", keys), Some("outputs"));
        assert_eq!(did_you_mean("model", keys), None);
        assert_eq!(
            did_you_mean("KSampler", ["KSampler (Efficient)", "VAEDecode"]),
            Some("KSampler (Efficient)")
        );
    }

    #[test]
    fn names_as_long_as_books_are_not_compared() {
        let book = "a".repeat(2_000_000);
        let other = "b".repeat(2_000_000);
        assert_eq!(did_you_mean(&book, [other.as_str(), "ab"]), None);
        assert_eq!(
            did_you_mean("seed", [book.as_str(), "sed"]),
            Some("sed"),
            "the others are"
        );
    }

    #[test]
    fn names_read_as_a_sentence() {
        assert_eq!(list_of([], 3), "none");
        assert_eq!(list_of(["a"], 3), "`a`");
        assert_eq!(list_of(["a", "b"], 3), "`a` and `b`");
        assert_eq!(list_of(["a", "b", "c", "d"], 2), "`a`, `b` and 2 more");
    }
}
