//! How deep an expression may be. Whoever reads, compiles or evaluates one goes as deep as its brackets and its chains of operators do,
//! and a stack ends the whole program when it ends.

use super::error::{TemplateError, TemplateErrorKind};
use super::scan::{Placed, Token};

/// The most brackets within brackets.
const NESTED: usize = 64;
/// The most signs and words that join what stands on both sides of them, one after the other and around each other.
const JOINED: usize = 500;

/// Complains about the first block that is too deep.
pub(super) fn check<'a>(
    blocks: impl IntoIterator<Item = &'a [Placed]>,
) -> Result<(), TemplateError> {
    // Each `elif` stands inside the one before: how many each open `if` has had.
    let mut open: Vec<usize> = Vec::new();
    let mut elifs = 0;
    for tokens in blocks {
        if let Some(first) = tokens.first() {
            match name(first) {
                "if" => open.push(0),
                "elif" => {
                    elifs += 1;
                    if let Some(innermost) = open.last_mut() {
                        *innermost += 1;
                    }
                    if elifs > JOINED {
                        return Err(too_deep(first));
                    }
                }
                "endif" => elifs -= open.pop().unwrap_or_default(),
                _ => {}
            }
        }
        block(tokens)?;
    }
    Ok(())
}

fn name(placed: &Placed) -> &str {
    match &placed.token {
        Token::Name(name) => name,
        _ => "",
    }
}

fn too_deep(at: &Placed) -> TemplateError {
    let help = "give parts of it names with `{% set %}`, or compute the value elsewhere";
    TemplateError {
        range: at.range.clone(),
        kind: TemplateErrorKind::Syntax,
        message: "the expression is too deep here".to_owned(),
        help: Some(help.to_owned()),
    }
}

fn block(tokens: &[Placed]) -> Result<(), TemplateError> {
    // How many joints each open bracket has had since its last comma.
    let mut open = vec![0_usize];
    let mut joints = 0;
    for placed in tokens {
        let Some(level) = open.last_mut() else {
            return Ok(());
        };
        match &placed.token {
            Token::Sign(',') => {
                joints -= *level;
                *level = 0;
                continue;
            }
            Token::Sign(')' | ']' | '}') => {
                if open.len() > 1 {
                    joints -= open.pop().unwrap_or_default();
                }
                continue;
            }
            Token::Sign(sign) => {
                *level += 1;
                joints += 1;
                if matches!(sign, '(' | '[' | '{') {
                    open.push(0);
                }
            }
            Token::Name(name) if joins(name) => {
                *level += 1;
                joints += 1;
            }
            _ => continue,
        }
        if open.len() > NESTED || joints > JOINED {
            return Err(too_deep(placed));
        }
    }
    Ok(())
}

fn joins(name: &str) -> bool {
    matches!(name, "and" | "or" | "not" | "in" | "is" | "if" | "else")
}

#[cfg(test)]
mod tests {
    use crate::template::Template;

    #[test]
    fn chains_and_brackets_without_end_are_refused_where_they_become_too_deep() {
        for link in [
            "+1",
            ".a",
            "|upper",
            "[0]",
            " and 1",
            "(1)",
            " if 1 else 1",
            "[x[0.a",
        ] {
            let text = format!("{{{{ 1{} }}}}", link.repeat(50_000));
            for text in [text.clone(), format!("so: {text}")] {
                let error = Template::parse(&text).unwrap_err();
                assert_eq!(error.message, "the expression is too deep here", "{link}");
                assert!(error.range.start < 8000, "{link}: {:?}", error.range);
            }
            let elifs = "{% elif 1 %}a".repeat(10_000);
            assert!(Template::parse(&format!("{{% if 1 %}}{elifs}{{% endif %}}")).is_err());
            let bare = format!("1{}", link.repeat(50_000));
            assert!(Template::parse_expression(&bare).is_err());
        }
    }

    #[test]
    fn elifs_are_as_deep_as_those_that_are_open_around_them() {
        let elifs = |count: usize| "{% elif 1 %}a".repeat(count);
        let one = format!("{{% if 1 %}}a{}{{% endif %}}", elifs(300));
        assert!(Template::parse(&one.repeat(20)).is_ok());
        let within = format!("{{% if 1 %}}a{}{one}{{% endif %}}", elifs(300));
        assert!(Template::parse(&within).is_err());
        // What is said in text ends nothing.
        for text in [
            "{% raw %}endraw{% endif %}{% endraw %}",
            "{# {% endif %} #}",
            "{{ '{% endif %}' }}",
        ] {
            let fooled = format!(
                "{{% if 1 %}}a{}{text}{}{{% endif %}}",
                elifs(300),
                elifs(300)
            );
            assert!(Template::parse(&fooled).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_long_and_not_deep_is_taken() {
        let numbers = "-1.5, (2 + 3) * 4, ".repeat(3000);
        let blocks = "{{ a.b.c + 1 }} ".repeat(3000);
        for text in [format!("{{{{ [{numbers}] }}}}"), blocks] {
            assert!(Template::parse(&text).unwrap().is_some());
        }
    }
}
