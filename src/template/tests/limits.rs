//! Templates that want too much, and texts that are hardly templates.

use proptest::strategy::Strategy as _;
use serde_json::json;

use super::*;

#[test]
fn a_runaway_template_is_stopped_and_told_how_far_it_may_go() {
    let (kind, _, message, _) =
        error("{% for a in range(5000) %}{% for b in range(5000) %}{% endfor %}{% endfor %}");
    assert_eq!(kind, TemplateErrorKind::Fuel);
    assert_eq!(
        message,
        "the template was stopped after 1,000,000 instructions"
    );
    let (kind, _, message, _) =
        error("{% set s = 'x' * 100000 %}{% for a in range(5000) %}{{ s }}{% endfor %}");
    assert_eq!(kind, TemplateErrorKind::Fuel);
    assert_eq!(message, "the template wrote more than 16 MiB of text");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// Whatever stands in a scalar: it is read or refused, and a complaint points into it.
    #[test]
    fn no_text_makes_the_engine_stumble(
        parts in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::sample::select(vec![
                    "{{ ", " }}", "{% ", " %}", "{#", "#}", "params", ".subject", "steps.base", ".image", "['", "']", " | ", "join(',')",
                    "map(attribute='k')", "range(3)", " ~ ", " + ", "(", ")", "[", "]", "if ", "for a in ", "endfor", "endif", "'", "\"", "\\",
                    "-", "raw", "endraw", "set x = ", "x", "1", "1e999", "none", "is defined", "random()", "file('a.png')", "tojson", "ü", "😀",
                    "\n", " ", "loop", "{'a': 1}", "items", "**", "9999999999999999999", "%", "first",
                ]).prop_map(str::to_owned).boxed(),
                "[a-z{}%.|'\" ]{0,3}".boxed(),
            ],
            0..14,
        )
    ) {
        let text = parts.concat();
        let outcome = Template::parse(&text).and_then(|template| {
            template.map(|t| {
                for error in engine().check(&t, &scope()) {
                    assert!(text.get(error.range.clone()).is_some(), "{text:?}: {error:?}");
                }
                engine().eval(&t, &scope())
            }).transpose()
        });
        if let Err(error) = outcome {
            assert!(text.get(error.range.clone()).is_some_and(|t| !t.is_empty()), "{text:?}: {error:?}");
            assert!(!error.message.contains('\u{f8fe}'), "{error:?}");
        }
    }
}

/// Expressions of numbers and texts, with operators of every binding strength.
fn expression() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let leaf = proptest::sample::select(vec![
        "1",
        "2.5",
        "-3",
        "1e-2",
        "'a'",
        "'~ + *'",
        "params.count",
        "params['tags'][1]",
        "params.size.w",
        "[1, 2]",
        "('b')",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = proptest::sample::select(vec![
            " ~ ", " + ", "-", " * ", " / ", " // ", " % ", " ** ", " == ", " != ", " < ", ">=",
            " in ", " not in ", " and ", " or ",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a}{op}{b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("(not {a})")),
            inner
                .clone()
                .prop_map(|a| format!("[{a}, x if {a} else {a}]").replace('x', "7")),
            inner
                .clone()
                .prop_map(|a| format!("({a}) | string | default(b={a})").replace("b=", "")),
            inner.clone().prop_map(|a| format!("({a} is none)")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{'k': {a}}}['k'] if {b} else none")),
        ]
    })
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// The hidden filters behind operands change neither what binds to what nor what comes out. (`~` alone may write a boolean, `null`
    /// or a list differently, which is what it is for: where those are joined, only the success is compared.)
    #[test]
    fn guarded_operators_bind_as_plain_ones(code in expression()) {
        let text = format!("{{{{ {code} }}}}");
        let Ok(Some(template)) = Template::parse(&text) else {
            return Ok(());
        };
        let operators = ["~", "+", "*", "==", "!=", "<", ">=", " in "];
        let expected = operators.iter().any(|op| code.replace("'~ + *'", "").replace("**", "").contains(op));
        assert_eq!(expected, template.guarded.code.contains("__kiln"), "{code}");
        let mut plain = template.clone();
        plain.guarded = super::super::guard::Guarded::plain(&code);
        let (guarded, plain) = (engine().eval(&template, &scope()), engine().eval(&plain, &scope()));
        assert_eq!(guarded.is_ok(), plain.is_ok(), "{code}: {guarded:?} {plain:?}");
        if let (Ok(guarded), Ok(plain)) = (guarded, plain)
            && !code.contains('~')
        {
            assert_eq!(guarded, plain, "{code}");
        }
    }
}

#[test]
fn greedy_filters_end_in_an_error_not_in_the_memory() {
    for text in [
        "{{ 'x' * 9999999999 }}",
        "{{ [1] * 9999999999 }}",
        "{{ range(9999999999) }}",
        "{{ 'x\ny' | indent(9999999999) }}",
        "{{ 'x\ny' | indent(width=9999999999) }}",
        "{{ '%9999999999d' | format(1) }}",
        "{{ '%*d' | format(9999999999, 1) }}",
        "{{ [1] | slice(9999999999) }}",
        "{{ [1] | batch(9999999999, 0) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{{ 'xxxxxxxxxx' | replace('x', 'y' * 9999999) }}",
        "{{ range(99999) | join('y' * 9999) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s * 2 %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = (ns.s + ns.s) | list %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + ['x' * 9999999] %}{% endfor %}",
        "{% macro f(s) %}{{ s }}{{ s }}{% endmacro %}{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = f(ns.s) %}{% endfor %}",
        "{{ ('x\n' * 9999) | indent(9999) }}",
    ] {
        let error = eval(text).expect_err(text);
        assert!(
            matches!(
                error.kind,
                TemplateErrorKind::Failed | TemplateErrorKind::Fuel
            ),
            "{text}: {error:?}"
        );
    }
    assert_eq!(value("{{ 'a\nb' | indent(2) }}"), json!("a\n  b"));
    assert_eq!(value("{{ 'a\nb' | indent(width=1) }}"), json!("a\n b"));
    assert_eq!(
        value("{{ range(5) | batch(2) }}"),
        json!([[0, 1], [2, 3], [4]])
    );
    assert_eq!(value("{{ '%05d' | format(42) }}"), json!("00042"));
    assert_eq!(value("{{ 'a-b' | replace('-', '_') }}"), json!("a_b"));
}
