//! `{red|green|blue}`: choices inside a text, drawn by a seed.
//!
//! Groups may stand inside choices. `2::red` makes a choice twice as likely. A backslash before `{`, `|` or `}` makes it a plain
//! character. Nothing is ever expanded unless the filter is asked to.

use super::error::failed;
use super::functions::draw;
use minijinja::Error;

/// How deep groups may stand inside each other.
const DEEPEST: usize = 64;

/// The text with one choice of each group.
///
/// # Errors
/// When a group is never closed, or closes without having been opened.
pub(super) fn expand(text: &str, seed: &str) -> Result<String, Error> {
    let mut reader = Reader {
        rest: text,
        seed,
        drawn: 0,
    };
    let expanded = reader.text(0)?;
    match reader.rest.chars().next() {
        None => Ok(expanded),
        Some(_) => Err(failed(
            "`wildcard`: a `}` closes nothing; write `\\}` for the character itself",
        )),
    }
}

struct Reader<'a> {
    rest: &'a str,
    seed: &'a str,
    /// How many groups were met: each draws for itself, chosen or not, so that a choice never shifts the ones after it.
    drawn: u64,
}

impl Reader<'_> {
    /// Reads up to what ends a choice (or, outside of groups, up to a stray `}`).
    fn text(&mut self, depth: usize) -> Result<String, Error> {
        let mut out = String::new();
        while let Some(c) = self.rest.chars().next() {
            match c {
                '}' => break,
                '|' if depth > 0 => break,
                '{' => {
                    self.rest = &self.rest[1..];
                    out.push_str(&self.group(depth + 1)?);
                }
                '\\' if self.rest[1..].starts_with(['{', '|', '}', '\\']) => {
                    out.push_str(&self.rest[1..2]);
                    self.rest = &self.rest[2..];
                }
                c => {
                    out.push(c);
                    self.rest = &self.rest[c.len_utf8()..];
                }
            }
        }
        Ok(out)
    }

    /// Reads a group whose `{` has been read, and draws.
    fn group(&mut self, depth: usize) -> Result<String, Error> {
        if depth > DEEPEST {
            return Err(failed(format!(
                "`wildcard`: groups stand inside each other more than {DEEPEST} deep"
            )));
        }
        self.drawn += 1;
        let place = self.drawn.to_string();
        let mut choices = Vec::new();
        loop {
            let weight = self.weight();
            let choice = self.text(depth)?;
            choices.push((weight, choice));
            let mut signs = self.rest.chars();
            let sign = signs.next();
            self.rest = signs.as_str();
            match sign {
                Some('|') => {}
                Some(_) => break,
                None => {
                    return Err(failed(
                        "`wildcard`: a `{` is never closed; write `\\{` for the character itself",
                    ));
                }
            }
        }
        let total: f64 = choices.iter().map(|(weight, _)| weight).sum();
        let drawn = f64::from(draw("wildcard", 0, [self.seed, &place])) / 4_294_967_296.0;
        let mut left = drawn * total;
        let last = choices.len() - 1;
        let mut choice = choices.iter().position(|(weight, _)| {
            left -= weight;
            left < 0.0
        });
        if total <= 0.0 {
            choice = None;
        }
        Ok(choices.swap_remove(choice.unwrap_or(last)).1)
    }

    /// `2::` before a choice.
    fn weight(&mut self) -> f64 {
        let weight = self.rest.split_once("::").and_then(|(number, rest)| {
            let number = number.trim();
            let digits = |c: char| c.is_ascii_digit() || c == '.';
            let weight = number
                .chars()
                .all(digits)
                .then(|| number.parse::<f64>().ok())??;
            weight.is_finite().then_some((weight, rest))
        });
        match weight {
            Some((weight, rest)) => {
                self.rest = rest;
                weight
            }
            None => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn counts(text: &str) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for seed in 0..1000 {
            *counts
                .entry(expand(text, &seed.to_string()).unwrap())
                .or_default() += 1;
        }
        counts
    }

    #[test]
    fn every_choice_comes_up_about_as_often() {
        let counts = counts("a {red|green} {c{at|ow}|dog}");
        assert_eq!(counts.len(), 6);
        assert!(
            (180..320).contains(&(counts["a red cat"] + counts["a red cow"])),
            "{counts:?}"
        );
        assert!((180..320).contains(&counts["a green dog"]), "{counts:?}");
    }

    #[test]
    fn weights_tilt_the_draw() {
        let counts = counts("{3::a|b|0::c}");
        assert!((680..820).contains(&counts["a"]), "{counts:?}");
        assert!(!counts.contains_key("c"));
    }

    #[test]
    fn the_same_seed_draws_the_same_and_a_choice_moves_no_other() {
        assert_eq!(
            expand("{a|b|c|d}", "7").unwrap(),
            expand("{a|b|c|d}", "7").unwrap()
        );
        for seed in ["1", "2", "3", "4", "5", "6"] {
            let long = expand("{x{1|2}|y} {a|b|c|d}", seed).unwrap();
            let other = expand("{q{1|2}|q} {a|b|c|d}", seed).unwrap();
            assert_eq!(
                long.split_once(' ').unwrap().1,
                other.split_once(' ').unwrap().1
            );
        }
    }

    #[test]
    fn plain_braces_are_written_with_a_backslash_and_open_ones_refused() {
        assert_eq!(
            expand(r"\{a\|b\} c\d | e ü", "1").unwrap(),
            r"{a|b} c\d | e ü"
        );
        assert_eq!(expand("{only} {}", "1").unwrap(), "only ");
        assert_eq!(
            expand("{1.5::a} {a::b} {12:30::x|12:30::x}", "1").unwrap(),
            "a a::b 12:30::x"
        );
        for text in ["{a|b", "a}", "{a{b}", &"{".repeat(100)] {
            assert!(expand(text, "1").is_err(), "{text}");
        }
    }
}
