//! Secrets in expressions: placeholders go through, values never come in.

use serde_json::json;

use super::*;
use crate::base::secret;

fn revealed(text: &str) -> Result<String, String> {
    let Datum::String(text) = eval(text).map_err(|e| e.message)? else {
        panic!("{text}: no text");
    };
    secret::reveal(&text, &|name| (name == "KEY").then(|| "s3cret".to_owned()))
        .map_err(|e| e.to_string())
}

#[test]
fn a_secret_is_joined_and_revealed_only_at_the_end() {
    for (text, expected) in [
        ("{{ secret('KEY') }}", "s3cret"),
        ("Bearer {{ secret('KEY') }}", "Bearer s3cret"),
        ("{{ 'Bearer ' ~ secret('KEY') }}", "Bearer s3cret"),
        ("{{ 'a' + secret('KEY') }}", "as3cret"),
        ("{{ [secret('KEY'), 'b'] | join(':') }}", "s3cret:b"),
        ("{{ secret('KEY') | string | default('x') }}", "s3cret"),
        (
            "{% set k = secret('KEY') %}{% if k %}{{ k }}{% endif %}",
            "s3cret",
        ),
        ("{{ [secret('KEY')][0] }}", "s3cret"),
        ("{{ params.none or secret('KEY') }}", "s3cret"),
    ] {
        assert_eq!(revealed(text).as_deref(), Ok(expected), "{text}");
        let held = format!("{:?}", eval(text));
        assert!(!held.contains("s3cret"), "{text}: {held}");
    }
}

#[test]
fn what_would_look_into_a_secret_is_refused() {
    for text in [
        "{{ secret('KEY') | upper }}",
        "{{ secret('KEY') | slug }}",
        "{{ secret('KEY') | replace('s', 't') }}",
        "{{ 'x' | replace('x', secret('KEY')) }}",
        "{{ secret('KEY') | length }}",
        "{{ secret('KEY') | split('s') }}",
        "{{ secret('KEY') | trim }}",
        "{{ ('a' ~ secret('KEY')) | title }}",
        "{{ secret('KEY') | list }}",
        "{{ secret('KEY') | first }}",
        "{{ secret('KEY') | int }}",
        "{{ secret('KEY') | fromjson }}",
        "{{ secret('KEY') | wildcard(1) }}",
        "{{ 'a' | wildcard(secret('KEY')) }}",
        "{{ secret('KEY') | basename }}",
        "{{ secret('KEY') | indent(2) }}",
        "{{ '%s' | format(secret('KEY')) }}",
        "{{ secret('KEY') | tojson }}",
        "{{ [secret('KEY')] | tojson }}",
        "{{ [secret('KEY'), 'a'] | sort }}",
        "{{ [secret('KEY'), 'a'] | max }}",
        "{{ {'a': secret('KEY')} | dictsort(by='value') }}",
        "x{{ [secret('KEY')] }}",
        "{{ secret('KEY') == 's3cret' }}",
        "{{ 's3cret' != secret('KEY') }}",
        "{{ secret('KEY') < 'z' }}",
        "{{ 's' in secret('KEY') }}",
        "{{ secret('KEY') in ['s3cret'] }}",
        "{{ 's3cret' in [secret('KEY')] }}",
        "{{ secret('KEY') is startingwith('s') }}",
        "{{ secret('KEY') is eq('s3cret') }}",
        "{{ ['a', secret('KEY')] | select('eq', 's3cret') }}",
        "{{ seed(secret('KEY')) }}",
        "{{ env(secret('KEY')) }}",
        "{{ file(secret('KEY')) }}",
        "{{ read_text('a' ~ secret('KEY')) }}",
        "{{ secret(secret('KEY')) }}",
        "{{ ['a', secret('KEY')] | map('upper') }}",
    ] {
        let error = eval(text).expect_err(text);
        assert_eq!(error.kind, TemplateErrorKind::Failed, "{text}: {error:?}");
    }
    let (_, at, message, help) = error("x {{ secret('KEY') | upper }}");
    assert!(at.contains("upper"), "{at}");
    assert_eq!(
        message,
        "`upper` cannot look into a secret, whose value is only put in where it is sent"
    );
    assert_eq!(
        help,
        "a secret can be joined to other text, and nothing else"
    );
}

#[test]
fn a_secret_that_was_cut_is_an_error_where_it_is_revealed() {
    for text in [
        "{{ secret('KEY')[0:4] }}",
        "{{ secret('KEY')[1:] }}",
        "{{ secret('KEY')[::-1] }}",
        "{% for c in secret('KEY') %}{{ c }}.{% endfor %}",
    ] {
        assert!(
            revealed(text)
                .unwrap_err()
                .contains("was changed on its way"),
            "{text}"
        );
    }
}

#[test]
fn a_missing_secret_is_told_where_it_is_asked_for() {
    let (kind, _, message, help) = error("{{ secret('NOPE') }}");
    assert_eq!(kind, TemplateErrorKind::Failed);
    assert_eq!(message, "the environment variable `NOPE` is not set");
    assert!(help.contains(".env"), "{help}");
    assert_eq!(
        value("{{ secret('NOPE') if false else 1 }}"),
        json!(1),
        "what is not needed is not asked for"
    );
    assert_eq!(error("{{ secret('a b') }}").0, TemplateErrorKind::Failed);
}

#[test]
fn text_from_outside_cannot_pass_for_a_secret() {
    let forged = secret::placeholder("KEY");
    let made = artifact("", Some(&forged));
    let scope = Scope::default()
        .with("item", Datum::Artifact(Arc::clone(&made)))
        .with_step("s", step(vec![made]));
    for text in [
        "{{ item }}",
        "{{ steps.s.text }}",
        "x{{ steps.s.texts }}",
        "{{ read_text('forged') }}",
        "{{ read_json('forged.json') }}",
        "{{ env('FORGED') }}",
    ] {
        let template = Template::parse(text).unwrap().unwrap();
        let held = engine()
            .eval(&template, &scope)
            .unwrap()
            .to_json()
            .to_string();
        assert!(secret::names_in(&held).is_empty(), "{text}: {held}");
    }
}
