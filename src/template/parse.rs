//! A template that was understood.

use super::depth;
use super::engine::{ANSWER, KEPT, WITH_COMMENTS, WITHOUT_COMMENTS};
use super::error::{TemplateError, TemplateErrorKind, from_syntax};
use super::filters::RESULT;
use super::guard::{Guarded, guard};
use super::names::{Mentions, mentions};
use super::scan::{self, Placed, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A scalar that contains `{{` or `{%`. One whole `{{ expression }}` (white space around it aside) keeps its value's type, anything
/// else becomes a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) text: String,
    pub(super) body: Body,
    pub(super) comments: bool,
    /// What is compiled: the expression, or the whole text.
    pub(super) guarded: Guarded,
    /// The name under which it stays compiled.
    pub(super) kept: String,
    pub(super) mentions: Mentions,
    uses: Uses,
}

/// How a template is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// As the expression in these bytes.
    Expression(Range<usize>),
    /// As text with holes.
    Text,
}

/// The names that a template uses, over-approximated: branches not taken count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Steps, as `steps.X` or `steps['X']`.
    pub steps: BTreeSet<String>,
    /// Where each of them is first mentioned, in bytes of the text.
    pub step_ranges: BTreeMap<String, Range<usize>>,
    /// Params, as `params.X` or `params['X']`.
    pub params: BTreeSet<String>,
    /// All names that the template takes from outside, functions included.
    pub names: BTreeSet<String>,
    /// `steps` is used in a way that does not tell which step; the first such place.
    pub bare_steps: Option<Range<usize>>,
}

impl Template {
    /// Understands a scalar; `None` when there is no template in it.
    ///
    /// # Errors
    /// When its syntax is wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, TemplateError> {
        Self::parse_scalar(text, true)
    }

    /// Like [`Template::parse`], but `{#` is no comment: prompts in workflow files contain it.
    ///
    /// # Errors
    /// When its syntax is wrong.
    pub fn parse_in_workflow(text: &str) -> Result<Option<Self>, TemplateError> {
        Self::parse_scalar(text, false)
    }

    fn parse_scalar(text: &str, comments: bool) -> Result<Option<Self>, TemplateError> {
        if !text.contains("{{") && !text.contains("{%") {
            return Ok(None);
        }
        if let Some(inside) = whole_expression(text) {
            return Ok(Some(Self::expression(text, inside)));
        }
        let blocks = scan::blocks(text, comments);
        depth::check(blocks.iter().map(Vec::as_slice))?;
        let env = if comments {
            &*WITH_COMMENTS
        } else {
            &*WITHOUT_COMMENTS
        };
        let parsed = env
            .template_from_str(text)
            .map_err(|error| from_syntax(text, &error))?;
        let flat = unsliced(text, &blocks.concat());
        let seen = env.template_from_str(&flat);
        let seen = seen.as_ref().unwrap_or(&parsed);
        let undeclared = seen.undeclared_variables(false).into_iter().collect();
        let guarded = guard(text, blocks.iter().map(Vec::as_slice));
        let guarded = match env.template_from_str(&guarded.code) {
            Ok(_) => guarded,
            Err(_) => Guarded::plain(text),
        };
        let mentions = mentions(&blocks.concat());
        Ok(Some(Self {
            text: text.to_owned(),
            body: Body::Text,
            comments,
            kept: format!("{KEPT}{}", guarded.code),
            guarded,
            uses: uses(&mentions, undeclared),
            mentions,
        }))
    }

    /// Understands a bare expression, or one with `{{ … }}` around it.
    ///
    /// # Errors
    /// When its syntax is wrong, or it is empty.
    pub fn parse_expression(text: &str) -> Result<Self, TemplateError> {
        if let Some(inside) = whole_expression(text) {
            return Ok(Self::expression(text, inside));
        }
        let inside = trimmed(text, 0..text.len());
        if inside.is_empty() {
            return Err(TemplateError {
                range: 0..text.len(),
                kind: TemplateErrorKind::Syntax,
                message: "there is no expression".to_owned(),
                help: None,
            });
        }
        depth::check([scan::bare(text, inside.clone()).as_slice()])?;
        WITH_COMMENTS
            .compile_expression(&text[inside.clone()])
            .map_err(|error| {
                let mut error = from_syntax(&text[inside.clone()], &error);
                error.range = error.range.start + inside.start..error.range.end + inside.start;
                error
            })?;
        Ok(Self::expression(text, inside))
    }

    fn expression(text: &str, inside: Range<usize>) -> Self {
        let mentions = mentions(&scan::bare(text, inside.clone()));
        let code = &text[inside.clone()];
        let tokens = scan::bare(code, 0..code.len());
        let flat = unsliced(code, &tokens);
        let seen = WITH_COMMENTS.compile_expression(&flat);
        let undeclared = seen
            .or_else(|_| WITH_COMMENTS.compile_expression(code))
            .map(|e| e.undeclared_variables(false).into_iter().collect())
            .unwrap_or_default();
        let guarded = guard(code, [tokens.as_slice()]);
        let guarded = match WITH_COMMENTS.compile_expression(&guarded.code) {
            Ok(_) => guarded,
            Err(_) => Guarded::plain(code),
        };
        Self {
            text: text.to_owned(),
            body: Body::Expression(inside),
            comments: true,
            kept: format!("{KEPT}{{% set {ANSWER} = ({})|{RESULT} %}}", guarded.code),
            guarded,
            uses: uses(&mentions, undeclared),
            mentions,
        }
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names it uses.
    pub fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Whether it waits for results: it uses `steps`.
    pub fn needs_results(&self) -> bool {
        self.uses.names.contains("steps")
    }

    /// The names of a template that is nothing but a path, such as `steps.base.images`: `["steps", "base", "images"]`.
    ///
    /// A path that goes through a list (`steps.base.images[0]`) is none.
    pub fn path(&self) -> Option<Vec<String>> {
        let Body::Expression(inside) = &self.body else {
            return None;
        };
        let [chain] = self.mentions.chains.as_slice() else {
            return None;
        };
        let (first, last) = (chain.parts.first()?, chain.parts.last()?);
        // What stands after the last name may only close its brackets.
        let rest = &self.text[last.range.end..inside.end];
        let closed = rest.trim().is_empty() || rest.trim() == "]";
        (first.range.start == inside.start && closed && !chain.called)
            .then(|| chain.parts.iter().map(|p| p.name.clone()).collect())
    }
}

impl Template {
    /// The arguments of a template that is nothing but a call of this function, as they are written; those with a name come with it.
    pub fn call_of(&self, function: &str) -> Option<Vec<(Option<String>, String)>> {
        let Body::Expression(inside) = &self.body else {
            return None;
        };
        let code = &self.text[inside.clone()];
        let tokens = scan::bare(code, 0..code.len());
        let [name, open, rest @ ..] = tokens.as_slice() else {
            return None;
        };
        let called = name.token == Token::Name(function.to_owned());
        if !called || open.token != Token::Sign('(') || name.range.start != 0 {
            return None;
        }
        let mut arguments = Vec::new();
        let (mut depth, mut start) = (1_usize, open.range.end);
        for (place, placed) in rest.iter().enumerate() {
            match placed.token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth = depth.checked_sub(1)?,
                _ => {}
            }
            let ends = depth == 0 || depth == 1 && placed.token == Token::Sign(',');
            if ends {
                let text = code.get(start..placed.range.start)?;
                if !text.trim().is_empty() {
                    arguments.push(argument(text));
                }
                start = placed.range.end;
            }
            if depth == 0 {
                return (place + 1 == rest.len()).then_some(arguments);
            }
        }
        None
    }
}

/// An argument and its name, if it has one.
fn argument(text: &str) -> (Option<String>, String) {
    let tokens = scan::bare(text, 0..text.len());
    match tokens.as_slice() {
        [
            Placed {
                token: Token::Name(name),
                ..
            },
            Placed {
                token: Token::Sign('='),
                range,
            },
            next,
            ..,
        ] if next.token != Token::Sign('=') => {
            (Some(name.clone()), text[range.end..].trim().to_owned())
        }
        _ => (None, text.trim().to_owned()),
    }
}

/// The text with every slice `a[b:c]` as an index, for minijinja does not tell which names a slice uses. It is looked at and never
/// evaluated.
fn unsliced(text: &str, tokens: &[Placed]) -> String {
    let mut open: Vec<(char, usize, Vec<usize>)> = Vec::new();
    let mut changes: Vec<(usize, &str)> = Vec::new();
    for placed in tokens {
        let at = placed.range.start;
        match placed.token {
            Token::Sign(sign @ ('[' | '(' | '{')) => open.push((sign, at, Vec::new())),
            Token::Sign(':') => {
                if let Some((_, _, colons)) = open.last_mut() {
                    colons.push(at);
                }
            }
            Token::Sign(']' | ')' | '}') => {
                if let Some(('[', start, colons)) = open.pop()
                    && !colons.is_empty()
                {
                    changes.push((start, "[("));
                    changes.extend(colons.into_iter().map(|colon| (colon, ")~(")));
                    changes.push((at, ")]"));
                }
            }
            _ => {}
        }
    }
    changes.sort_unstable();
    let mut out = String::with_capacity(text.len() + 2 * changes.len());
    let mut done = 0;
    for (at, new) in changes {
        out.push_str(&text[done..at]);
        out.push_str(new);
        done = at + 1;
    }
    out.push_str(&text[done..]);
    out
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    let end = range.start + part.trim_end().len();
    start..end.max(start)
}

/// The bytes of the expression when the whole scalar is one `{{ expression }}`.
fn whole_expression(text: &str) -> Option<Range<usize>> {
    let outer = trimmed(text, 0..text.len());
    let part = &text[outer.clone()];
    let inner = part.strip_prefix("{{")?.strip_suffix("}}")?;
    let dashed = |c: char| matches!(c, '-' | '+');
    let from = outer.start + 2 + usize::from(inner.starts_with(dashed));
    let to = (outer.end - 2 - usize::from(inner.len() > 1 && inner.ends_with(dashed))).max(from);
    // `{{ -1 }}` and `{{-1}}` differ: the second's dash belongs to the braces, as minijinja has it.
    let inside = trimmed(text, from..to);
    let code = &text[inside.clone()];
    // Before anybody goes into its depths.
    depth::check([scan::bare(text, inside.clone()).as_slice()]).ok()?;
    (!code.is_empty() && WITH_COMMENTS.compile_expression(code).is_ok()).then_some(inside)
}

fn uses(mentions: &Mentions, names: BTreeSet<String>) -> Uses {
    let mut uses = Uses {
        names,
        ..Uses::default()
    };
    for chain in &mentions.chains {
        let (Some(root), next) = (chain.parts.first(), chain.parts.get(1)) else {
            continue;
        };
        match (root.name.as_str(), next) {
            ("steps", Some(step)) if uses.names.contains("steps") => {
                uses.steps.insert(step.name.clone());
                uses.step_ranges
                    .entry(step.name.clone())
                    .or_insert_with(|| step.range.clone());
            }
            ("steps", None) if uses.names.contains("steps") && uses.bare_steps.is_none() => {
                uses.bare_steps = Some(root.range.clone());
            }
            ("params", Some(param)) if uses.names.contains("params") => {
                uses.params.insert(param.name.clone());
            }
            _ => {}
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> Option<String> {
        match Template::parse(text).unwrap().unwrap().body {
            Body::Expression(inside) => Some(text[inside].to_owned()),
            Body::Text => None,
        }
    }

    #[test]
    fn one_whole_expression_is_told_from_text() {
        assert_eq!(expression("{{ a }}").as_deref(), Some("a"));
        assert_eq!(expression(" {{- a -}}\n").as_deref(), Some("a"));
        assert_eq!(expression("{{ '}} {{' }}").as_deref(), Some("'}} {{'"));
        assert_eq!(
            expression("{{ {'a':{'b':1}}}}").as_deref(),
            Some("{'a':{'b':1}}")
        );
        assert_eq!(expression("{{ a }} and {{ b }}"), None);
        assert_eq!(expression("{{a}}{{b}}"), None);
        assert_eq!(expression("{% if a %}{{ b }}{% endif %}"), None);
        assert_eq!(Template::parse("plain {# text").unwrap(), None);
    }

    #[test]
    fn used_steps_and_params_are_known_before_anything_runs() {
        let template =
            Template::parse("{{ params.p ~ steps.a.image }} {{ steps['b'].text }} {{ now() }}")
                .unwrap()
                .unwrap();
        let uses = template.uses();
        assert_eq!(uses.steps, ["a", "b"].map(str::to_owned).into());
        assert_eq!(&template.text()[uses.step_ranges["a"].clone()], "a");
        assert_eq!(uses.params, ["p".to_owned()].into());
        assert_eq!(uses.bare_steps, None);
        assert!(uses.names.contains("now"));
        assert!(template.needs_results());

        let loose = Template::parse("{{ steps[params.which].image }}")
            .unwrap()
            .unwrap();
        assert!(loose.uses().bare_steps.is_some());

        let local = Template::parse("{% set steps = {'a': 1} %}{{ steps.a }}")
            .unwrap()
            .unwrap();
        assert!(!local.needs_results());
    }

    #[test]
    fn names_inside_slices_are_used_like_all_others() {
        for text in [
            "{{ steps.a.images[1:] }}",
            "{{ steps.a.images[:2] }}",
            "{{ (steps.a.images | reverse)[:] }}",
            "{{ params.p[::steps.a.data] }} and text",
            "{{ [{'k': 1}, steps.a.images[0:1][0]] }}",
            "{% for x in steps.a.images[1:] %}{{ x }}{% endfor %}",
        ] {
            let template = Template::parse(text).unwrap().unwrap();
            assert!(template.needs_results(), "{text}");
            assert!(template.uses().steps.contains("a"), "{text}");
        }
        let local = Template::parse("{% set steps = [1, 2] %}{{ steps[1:] }}");
        assert!(!local.unwrap().unwrap().needs_results());
    }

    #[test]
    fn a_bare_path_is_told_from_an_expression() {
        let path = |text: &str| {
            Template::parse_expression(text)
                .unwrap()
                .path()
                .map(|p| p.join("/"))
        };
        assert_eq!(path("steps.base").as_deref(), Some("steps/base"));
        assert_eq!(
            path("{{ steps['base'].images }}").as_deref(),
            Some("steps/base/images")
        );
        assert_eq!(
            path(" steps.base.outputs['final'] ").as_deref(),
            Some("steps/base/outputs/final")
        );
        for text in [
            "steps.base.images[0]",
            "steps.base.images | list",
            "steps.base.images + []",
            "not steps.base",
            "steps[params.x]",
            "[steps.base]",
            "range(3)",
            "(steps.base)",
            "1",
        ] {
            assert_eq!(path(text), None, "{text}");
        }
    }

    #[test]
    fn comments_exist_in_pipelines_but_not_in_workflow_files() {
        let text = "{# note #}{{ a }}!";
        let mine = Template::parse(text).unwrap().unwrap();
        let theirs = Template::parse_in_workflow(text).unwrap().unwrap();
        assert!(mine.comments);
        assert!(!theirs.comments);
    }

    #[test]
    fn a_bare_expression_may_wear_braces() {
        for text in ["params.a == 1", "{{ params.a == 1 }}"] {
            let template = Template::parse_expression(text).unwrap();
            assert!(matches!(template.body, Body::Expression(_)));
        }
        assert!(Template::parse_expression("  ").is_err());
        let error = Template::parse_expression("a ==").unwrap_err();
        assert_eq!(error.kind, TemplateErrorKind::Syntax);
    }
}
