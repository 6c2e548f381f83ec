//! Names of tasks: `base[i=0]`, `upscale[base[i=0]]`, `tag[cat]`. A task's name never depends on when it became known.

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::artifact::Datum;
use crate::base::{StepId, TaskName, secret};

/// Longer values are told by their place instead.
const LONGEST: usize = 40;

/// A value as part of a name: a scalar as it is, anything else by its place in its list.
pub(super) fn part(value: &Datum, at: usize) -> String {
    let text = match value {
        Datum::Null => "null".to_owned(),
        Datum::Bool(value) => value.to_string(),
        Datum::Number(value) => value.to_string(),
        Datum::String(text) => text.clone(),
        _ => return at.to_string(),
    };
    let plain = !text.is_empty()
        && text.chars().count() <= LONGEST
        && text.trim() == text
        && !text.chars().any(char::is_control)
        && !secret::is_in(&text)
        && balanced(&text);
    if plain { text } else { at.to_string() }
}

/// Brackets that close what they open: a name's parts can be told apart only then.
fn balanced(text: &str) -> bool {
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0
}

/// The parts that a combination of the matrix adds: `i=0`, `style=ink`. `places` tells where each value stands in its list.
pub(super) fn of_matrix(
    matrix: &IndexMap<String, Datum>,
    place: impl Fn(&str, &Datum) -> usize,
) -> Vec<String> {
    matrix
        .iter()
        .map(|(key, value)| format!("{key}={}", part(value, place(key, value))))
        .collect()
}

/// Makes names that differ from each other.
#[derive(Debug, Default)]
pub(super) struct Namer {
    taken: HashSet<String>,
}

impl Namer {
    /// The name of a task from its parts. One that is taken gets its place appended.
    pub(super) fn name(&mut self, step: &StepId, parts: &[String], place: usize) -> TaskName {
        let whole = |mark: &str| match parts.split_last() {
            None => format!("{step}{mark}"),
            Some((last, [])) => format!("{step}[{last}{mark}]"),
            Some((last, rest)) => format!("{step}[{},{last}{mark}]", rest.join(",")),
        };
        let mut mark = String::new();
        loop {
            let name = whole(&mark);
            if self.taken.insert(name.clone()) {
                return TaskName(name);
            }
            mark = format!("{mark}#{place}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_name_themselves_and_the_rest_its_place() {
        let named = |value: serde_json::Value| part(&Datum::from(value), 7);
        assert_eq!(named(json!("a red fox")), "a red fox");
        assert_eq!(named(json!(0.5)), "0.5");
        assert_eq!(named(json!(true)), "true");
        assert_eq!(named(json!("x".repeat(40))), "x".repeat(40));
        for by_place in [
            json!("x".repeat(41)),
            json!("two\nlines"),
            json!(""),
            json!(" x"),
            json!("a]"),
            json!("[a"),
            json!(format!("x{}", secret::placeholder("TOKEN"))),
            json!([1]),
            json!({"a": 1}),
        ] {
            assert_eq!(named(by_place.clone()), "7", "{by_place}");
        }
    }

    #[test]
    fn a_taken_name_gets_its_place() {
        let mut names = Namer::default();
        let step = StepId::from("tag");
        let mut name = |text: &str, at| names.name(&step, &[text.to_owned()], at).0;
        assert_eq!(name("cat", 0), "tag[cat]");
        assert_eq!(name("dog", 1), "tag[dog]");
        assert_eq!(name("cat", 3), "tag[cat#3]");
        assert_eq!(name("cat#3", 4), "tag[cat#3#4]");
        assert_eq!(name("cat#3", 3), "tag[cat#3#3]");
    }
}
