//! Durations: `500ms`, `2s`, `10m`, `1h30m`.

/// The units, longest first, with their milliseconds.
const UNITS: &[(&str, u64)] = &[("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The milliseconds of a duration: whole numbers with the units `h`, `m`, `s` and `ms`, each at most once and the longer ones first.
///
/// # Errors
/// What is wrong, to be read after the name of the key: "must be a duration such as …, and `10` has no unit".
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = |why: &str| {
        format!("must be a duration such as `500ms`, `2s`, `10m` or `1h30m`, and {why}")
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("this is empty"));
    }
    let mut total = 0_u64;
    let mut allowed = UNITS;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len()
            - after
                .trim_start_matches(|c: char| c.is_ascii_lowercase())
                .len();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(wrong(&format!("`{text}` is none")));
        }
        if unit.is_empty() && after.is_empty() {
            return Err(wrong(&format!("`{text}` ends without a unit")));
        }
        let Some(at) = allowed.iter().position(|(name, _)| *name == unit) else {
            return Err(wrong(&format!("`{text}` is none")));
        };
        let milliseconds = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(allowed[at].1))
            .and_then(|n| total.checked_add(n));
        total = milliseconds.ok_or_else(|| wrong(&format!("`{text}` is too long")))?;
        allowed = &allowed[at + 1..];
        rest = after;
    }
    Ok(total)
}
